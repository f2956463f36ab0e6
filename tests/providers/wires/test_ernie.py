"""ERNIE's requests: turns, ranges, addresses; and its token, asked for once and renewed once."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from providers import Providers
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import BadKey, ProviderError, Rejected, Unreachable
from providers.scripted import Upstream
from providers.wires.ernie import Adapter
from providers.wires.ernie_messages import ernie_messages
from tests.ports import free_port
from tests.providers.raw_server import Caller, Server, serving
from tests.upstream.faults import TEXT

TOOL = {"type": "function", "function": {"name": "now", "description": "The time."}}
USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}


def adapter(**told: Any) -> Adapter:
    known = {"type": "ernie", "model": "completions_pro", "api_key": "application", "secret_key": "s"}
    return Adapter(ProviderConfiguration(**(known | told)))


def asking(*messages: dict[str, Any], **more: Any) -> ChatRequest:
    return ChatRequest.of(list(messages) or [USER], **more)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


# -- parameters


def test_a_bare_question_sends_nothing_that_was_not_asked_for():
    assert adapter().body(asking()) == {"messages": [USER], "stream": True}


def test_parameters_get_ernies_names_and_ranges_and_what_was_moved_is_told():
    request = asking(temperature=0.0, repetition_penalty=0.5, max_tokens=1, top_p=0.3, stop=("a",))
    sent = adapter().body(request)
    assert (sent["temperature"], sent["penalty_score"], sent["max_output_tokens"]) == (0.01, 1.0, 2)
    assert (sent["top_p"], sent["stop"]) == (0.3, ["a"])
    assert "max_tokens" not in sent and "repetition_penalty" not in sent
    assert adapter().parameter_changes(request) == [
        "temperature raised to 0.01: the limit of ERNIE's temperature",
        "repetition_penalty raised to 1: the limit of ERNIE's penalty_score",
        "max_tokens raised to 2: the limit of ERNIE's max_output_tokens",
    ]


def test_extra_goes_over_everything():
    sent = adapter(extra={"max_output_tokens": 8000, "disable_search": True}).body(asking(max_tokens=9000))
    assert (sent["max_output_tokens"], sent["disable_search"]) == (8000, True)


def test_what_it_lacks_is_dropped_and_told():
    request = asking(top_k=4, min_p=0.1, seed=7)
    assert adapter().body(request) == {"messages": [USER], "stream": True}
    assert len(adapter().parameter_changes(request)) == 3


@pytest.mark.parametrize(
    "more",
    [
        {"stop": ("a",) * 5},
        {"stop": ("a" * 21,)},
        {"logprobs": True},
        {"response_format": {"type": "json_schema"}},
        {"tools": [TOOL], "tool_choice": "required"},
    ],
    ids=str,
)
def test_what_the_caller_would_miss_is_refused_before_anything_is_sent(more):
    with pytest.raises(Rejected):
        adapter().check(asking(**more))


def test_tools_become_functions_of_the_first_generation():
    sent = adapter().body(asking(tools=[TOOL]))
    parameters = {"type": "object", "properties": {}}
    assert sent["functions"] == [{"name": "now", "description": "The time.", "parameters": parameters}]
    assert "functions" not in adapter().body(asking(tools=[TOOL], tool_choice="none"))
    assert adapter().body(asking(response_format={"type": "json_object"}))["response_format"] == "json_object"


@pytest.mark.parametrize(
    ("model", "endpoint"),
    [
        ("completions_pro", "completions_pro"),
        ("ERNIE-4.0-8K", "completions_pro"),
        ("ERNIE-3.5-8K", "completions"),
        ("ernie-4.0-turbo-8k", "ernie-4.0-turbo-8k"),
        ("my own/model?x", "my%20own%2Fmodel%3Fx"),
    ],
)
def test_the_model_is_the_last_segment_of_the_address(model, endpoint):
    signs = adapter(model=model, api_key="ALTAKabc")
    assert signs.url("http://h") == f"http://h/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/{endpoint}"


# -- turns


def test_the_system_text_stands_apart():
    system, made, changed = ernie_messages(
        asking({"role": "system", "content": "A"}, USER, {"role": "system", "content": "B"}), "it"
    )
    assert (system, made, changed) == ("A\n\nB", [USER], [])


@pytest.mark.parametrize(
    ("messages", "made"),
    [
        ([user("a"), user("b")], [user("a\nb")]),
        ([user("a"), assistant("b"), assistant("c"), user("d")], [user("a"), assistant("b\nc"), user("d")]),
        ([assistant("welcome"), user("a")], [user("a")]),
        ([user("a"), assistant(""), user("b")], [user("a\nb")]),
        ([user(""), user("a")], [user("a")]),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], [user("a")]),
    ],
)
def test_turns_are_made_to_alternate_and_to_be_odd_and_the_change_is_told(messages, made):
    _, found, changed = ernie_messages(asking(*messages), "it")
    assert found == made
    assert len(found) % 2 == 1
    assert bool(changed) == (isinstance(messages[0]["content"], str))


def test_each_result_of_a_tool_stands_behind_its_call():
    other = {**CALL, "id": "c2", "function": {"name": "zone", "arguments": '{"a": 1}'}}
    messages = [USER, {"role": "assistant", "content": "", "tool_calls": [CALL, other]}]
    messages += [{"role": "tool", "tool_call_id": id, "content": id} for id in ("c1", "c2")]
    _, made, _ = ernie_messages(asking(*messages), "it")
    assert made == [
        USER,
        {"role": "assistant", "content": "", "function_call": {"name": "now", "arguments": "{}"}},
        {"role": "function", "name": "now", "content": "c1"},
        {"role": "assistant", "content": "", "function_call": {"name": "zone", "arguments": '{"a": 1}'}},
        {"role": "function", "name": "zone", "content": "c2"},
    ]


def test_the_words_beside_a_call_stay_with_it():
    called = {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL]}
    _, made, _ = ernie_messages(asking(USER, called, {"role": "tool", "tool_call_id": "c1", "content": "9"}), "it")
    assert [message["role"] for message in made] == ["user", "assistant", "function"]
    assert made[1]["content"] == "Let me look."
    assert made[1]["function_call"]["name"] == "now"


def test_a_question_right_after_a_result_gets_a_turn_between():
    called = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "9"}
    _, made, changed = ernie_messages(asking(USER, called, result, user("and now?")), "it")
    assert [message["role"] for message in made] == ["user", "assistant", "function", "assistant", "user"]
    assert len(changed) == 1


@pytest.mark.parametrize(
    "messages",
    [
        [user("a"), assistant("b")],
        [{"role": "system", "content": "a"}],
        [user("a"), {"role": "tool", "tool_call_id": "?", "content": "x"}],
        [user("a"), {"role": "critic", "content": "x"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    ],
    ids=str,
)
def test_what_cannot_be_made_into_turns_is_refused(messages):
    with pytest.raises(Rejected):
        ernie_messages(asking(*messages), "it")


# -- the token


@pytest.fixture
def upstream():
    with Upstream() as running:
        yield running


def ask(upstream: Upstream | Server, **told: Any) -> str:
    known = {"type": "ernie", "model": "m", "api_key": "application", "secret_key": "s", "retries": 0}
    providers = Providers({"p": ProviderConfiguration(**(known | {"base_url": upstream.url} | told))}, "p")
    try:
        return "".join(delta.text for batch in providers.stream(asking()) for delta in batch)
    finally:
        providers.close()


def test_many_questions_at_once_ask_for_one_token(upstream):
    texts = [greenlet.get() for greenlet in [gevent.spawn(ask, upstream) for _ in range(20)]]
    assert texts == [TEXT] * 20
    assert upstream.ledger.tokens_given == 1
    assert len(upstream.asked) == 20


def test_two_providers_with_the_same_keys_share_a_token(upstream):
    assert ask(upstream, model="one") == ask(upstream, model="two") == TEXT
    assert upstream.ledger.tokens_given == 1


def test_other_keys_get_another_token(upstream):
    ask(upstream, secret_key="one")
    ask(upstream, secret_key="two")
    assert upstream.ledger.tokens_given == 2


@pytest.mark.parametrize("plan", ["token=expired", "token=invalid"])
def test_a_refused_token_is_renewed_once_for_all_who_used_it(upstream, plan):
    greenlets = [gevent.spawn(ask, upstream, model=f"m@{plan}") for _ in range(8)]
    assert [greenlet.get() for greenlet in greenlets] == [TEXT] * 8
    assert upstream.ledger.tokens_given == 2


def test_a_token_that_is_always_refused_is_renewed_only_once(upstream):
    with pytest.raises(BadKey):
        ask(upstream, model="m@token=always")
    assert upstream.ledger.tokens_given == 2
    assert len(upstream.asked) == 2


def test_keys_that_get_no_token_are_a_bad_key_and_nothing_is_asked(upstream):
    with pytest.raises(BadKey, match="Client authentication failed"):
        ask(upstream, secret_key="bad")
    assert upstream.asked == []


def test_a_token_from_nobody_is_unreachable_and_provably_not_asked(upstream):
    with pytest.raises(Unreachable) as caught:
        ask(upstream, base_url=f"http://127.0.0.1:{free_port()}")
    assert caught.value.request_sent is False


def test_a_reader_that_leaves_while_the_token_comes_leaves_the_way_free_for_the_next():
    with Upstream() as upstream:
        upstream.plan_next("hang=accept")
        first = gevent.spawn(ask, upstream)
        while not upstream.ledger.connections:
            gevent.sleep(0.002)
        first.kill()
        assert ask(upstream) == TEXT


def test_an_access_key_signs_and_asks_for_no_token(upstream):
    assert ask(upstream, api_key="ALTAKabcdef0123456789") == TEXT
    assert upstream.ledger.tokens_given == 0
    asked = upstream.asked[0]
    assert asked.headers["authorization"].startswith("bce-auth-v1/ALTAKabcdef0123456789/")
    assert "access_token" not in asked.path


def test_a_token_that_the_service_repeats_in_its_words_is_not_shown():
    token = "24.canary.2592000.1700000000.282335-1"

    def script(caller: Caller) -> None:
        while request := caller.request():
            told = f'{{"error_code": 110, "error_msg": "Access token invalid: {token}"}}'
            if b"/oauth/" in request:
                told = f'{{"access_token": "{token}", "expires_in": 2592000}}'
            caller.head(f"Content-Length: {len(told)}", kind="application/json")
            caller.send(told.encode())

    with serving(script) as server, pytest.raises(BadKey) as caught:
        ask(server, api_key="repeats")
    assert "Access token invalid: …" in caught.value.message


def test_no_message_shows_a_token_or_a_secret(upstream):
    for plan in ("token=always", "fail=auth", "cut", "html=502"):
        with pytest.raises(ProviderError) as caught:
            ask(upstream, model=f"m@{plan}", secret_key="secret-canary")
        for secret in ("24.token", "secret-canary", "access_token=24"):
            assert secret not in caught.value.message
