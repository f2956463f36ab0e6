# ruff: noqa: E501 - the services' own bytes and sentences stay on one line
"""Each shipped row against its service's own dialect: what it accepts, what it refuses, its odd chunks and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import Providers
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import ProviderError
from providers.services import SERVICES
from tests.upstream.services import DIALECTS, END, ERRORS, HELLO, service, shipped

QUESTION = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]
# What /getAnwser and OpenAI's clients send of their own.
ASKED = {"temperature": 0.0, "max_tokens": 1024}


def ask(configuration: ProviderConfiguration, **members: Any) -> tuple[str, list[str], Any]:
    """(text, what was adjusted, the last delta) of one question."""
    providers = Providers({"p": configuration}, "p")
    stream = providers.stream(ChatRequest.of(QUESTION, **{**ASKED, **members}))
    deltas = [delta for batch in stream for delta in batch]
    adjusted = stream.parameter_changes
    providers.close()
    return "".join(delta.text for delta in deltas), adjusted, deltas[-1]


@pytest.mark.parametrize("name", SERVICES)
def test_a_shipped_row_is_accepted_by_its_service_at_once(name):
    rules, reply = DIALECTS[name]
    refusals: list[str] = []
    counting = [
        lambda *asked, rule=rule: refusals.append(said) or said if (said := rule(*asked)) else "" for rule in rules
    ]
    with service(counting, 200, reply) as (address, accepted):
        text, adjusted, last = ask(shipped(name, address))
    assert (text, last.finish_reason, refusals) == ("杭州，早", "stop", [])
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (5, 2)
    assert ("temperature" in accepted[0]) == (name != "moonshot")
    assert any("temperature" in sentence for sentence in adjusted) == (name == "moonshot")


@pytest.mark.parametrize("name", SERVICES)
def test_a_services_own_error_is_named_by_its_meaning(name):
    status, body, code = ERRORS[name]
    with service([], status, json.dumps(body), "application/json") as (address, accepted):
        with pytest.raises(ProviderError) as caught:
            ask(shipped(name, address))
        assert (caught.value.code, len(accepted)) == (code, 1)


# -- what a service refuses is learned


REFUSALS = {
    "an OpenAI model of the o series": (
        lambda body, *_: (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            if "max_tokens" in body
            else "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
            if body.get("temperature", 1) != 1
            else ""
        ),
        ["max_tokens sent as max_completion_tokens", "temperature dropped: the service refused it"],
    ),
    "kimi": (
        lambda body, *_: (
            "invalid temperature: only 1 is allowed for this model" if body.get("temperature", 1) != 1 else ""
        ),
        ["temperature dropped: the service refused it"],
    ),
    "mistral": (
        lambda body, *_: "stream_options: Extra inputs are not permitted" if "stream_options" in body else "",
        [],
    ),
    "a role": (
        lambda body, *_: (
            "developer is not one of ['system', 'assistant', 'user', 'tool', 'function'] - 'messages.[0].role'"
            if any(message["role"] == "developer" for message in body["messages"])
            else ""
        ),
        ["role developer sent as system"],
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_parameter_is_left_out_and_remembered(name):
    rule, adjusted = REFUSALS[name]
    refusals: list[str] = []
    with service(
        [lambda *asked: refusals.append(said) or said if (said := rule(*asked)) else ""], 200, HELLO + END
    ) as (
        address,
        accepted,
    ):
        configuration = ProviderConfiguration(type="openai", model="m", base_url=f"{address}/v1", retries=0)
        providers = Providers({"p": configuration}, "p")
        for _ in range(2):
            stream = providers.stream(ChatRequest.of(QUESTION, **ASKED))
            assert "".join(delta.text for batch in stream for delta in batch) == "杭州，早"
            assert stream.parameter_changes == adjusted
        providers.close()
    # The second question is written right at once.
    assert (len(refusals), len(accepted)) == (max(1, len(adjusted)), 2)


def test_a_value_out_of_range_is_refused_and_not_left_out():
    with (
        service([lambda body, *_: "max_tokens must not be greater than 100"], 200, HELLO + END) as (address, _),
        pytest.raises(ProviderError, match="greater than 100"),
    ):
        ask(ProviderConfiguration(type="openai", model="m", base_url=address))


def test_what_the_configuration_says_goes_out_as_it_says():
    row = {
        "extra": {"max_tokens": None, "temperature": 1, "max_completion_tokens": 4096},
        "headers": {"X-Team": "metro"}, "query": {"v": "1 2"}, "path": "/ask", "auth": "X-Key", "api_key": "sk-service-key",
        "rename": {"top_p": "nucleus"}, "drop": ["seed"], "roles": {"developer": "system"}, "stream_options": False,
    }  # fmt: skip
    seen: list[tuple[dict[str, Any], dict[str, str], str]] = []
    with service([lambda *asked: seen.append(asked) or ""], 200, HELLO + END) as (address, _):
        configuration = ProviderConfiguration(type="openai", model="m", base_url=f"{address}/v1?w=2", **row)
        ask(configuration, top_p=0.5, seed=3, extra={"reasoning_effort": "low", "model": "other", "stream": False})
    body, headers, path = seen[0]
    assert path == "/v1/ask?w=2&v=1+2"
    assert (headers["x-team"], headers["x-key"]) == ("metro", "sk-service-key") and "authorization" not in headers
    assert body == {
        "model": "m", "messages": [{"role": "system", "content": "be brief"}, QUESTION[1]], "stream": True,
        "temperature": 1, "max_completion_tokens": 4096, "nucleus": 0.5, "reasoning_effort": "low",
    }  # fmt: skip
