"""The Responses API over our own log, judged by OpenAI's client for Python."""

from __future__ import annotations

import itertools
import json

import openai
import pytest

from tests.clients.service import COUNTED, LONG, SEPARATED
from tests.waiting import eventually

ALL = "".join(COUNTED)
LOOK = {"type": "input_text", "text": "look"}
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0, timeout=20) as found:
        yield found


def events_of(live, path, body=None):
    with live.call("POST" if body else "GET", path, body) as reply:
        assert reply.status == 200, reply.body()
        blocks = [block for block in reply.body().decode().split("\n\n") if block and not block.startswith(":")]
    found = []
    for block in blocks:
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


@pytest.mark.parametrize(
    ("model", "text"), [("plain", "一二三四五六"), ("silent", "一二三四五六"), ("separated", SEPARATED), ("long", LONG)]
)
def test_a_response_comes_whole_and_streamed(client, model, text):
    whole = client.responses.create(model=model, input="hi")
    assert (whole.status, whole.output_text, whole.usage.total_tokens) == ("completed", text, 13)
    with client.responses.stream(model=model, input="hi") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text
    assert (final.status, final.output_text) == ("completed", text)
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


def test_what_was_asked_reaches_the_upstream(client, service):
    client.responses.create(
        model="plain",
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [LOOK, {"type": "input_image", "image_url": "data:x"}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        ],
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        max_output_tokens=9,
        temperature=0.5,
        reasoning={"effort": "low"},
    )  # fmt: skip
    asked = service.asked[-1]
    assert [message["role"] for message in asked["messages"]][2:] == ["user", "assistant", "tool"]
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {"type": "image_url", "image_url": {"url": "data:x"}} in asked["messages"][2]["content"]
    assert asked["messages"][3]["tool_calls"][0]["id"] == asked["messages"][4]["tool_call_id"] == "c1"
    assert asked["tools"][0]["function"]["name"] == asked["tool_choice"]["function"]["name"] == "weather"
    assert asked["response_format"]["json_schema"]["name"] == "n"
    assert (asked["max_tokens"], asked["temperature"], asked["reasoning_effort"]) == (9, 0.5, "low")


def test_function_calls_are_items_of_the_output(client, live):
    whole = client.responses.create(model="tools", input="hi", tools=[WEATHER])
    (call,) = whole.output
    assert (call.type, call.call_id, call.name, json.loads(call.arguments)) == (
        "function_call", "call_1", "weather", {"city": "杭州"},
    )  # fmt: skip
    events = list(client.responses.create(model="tools", input="hi", tools=[WEATHER], stream=True))
    arguments = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(arguments)) == {"city": "杭州"}


def test_reasoning_is_an_item_of_its_own(client):
    whole = client.responses.create(model="thinks", input="hi")
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert whole.output[0].summary[0].text == "先想一想。" and whole.output_text == "一二三四五六"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": []}, "input"),
        ({"input": "a\0"}, "input"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"background": True, "store": False}, "background"),
    ],
)
def test_what_cannot_be_done_is_named(client, service, fields, param):
    before = len(service.asked)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**({"model": "plain", "input": "hi"} | fields))
    assert caught.value.param == param
    assert len(service.asked) == before


def test_a_failure_in_mid_stream_is_the_last_event(client, live):
    events = events_of(live, "/v1/responses", {"model": "fails", "input": "hi", "stream": True})
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "upstream_error"
    assert "".join(event.get("delta", "") for event in events) == "一二三"
    with pytest.raises(openai.APIStatusError) as caught:
        client.responses.create(model="refused", input="hi", stream=True)
    assert caught.value.code == "upstream_auth"


def test_a_background_response_runs_by_itself_and_is_read_afterwards(client, service):
    begun = client.responses.create(model="counted", input="in the background", background=True)
    assert begun.status == "in_progress" and begun.background
    done = eventually(lambda: (found := client.responses.retrieve(begun.id)).status == "completed" and found)
    assert done.output_text == ALL and service.questions("in the background") == 1


def test_a_cut_stream_goes_on_after_any_event(client, live, service):
    stream = client.responses.create(model="counted", input="cut in the middle", background=True, stream=True)
    seen = list(itertools.islice(stream, 12))
    stream.close()
    rest = client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    events = [*seen, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ALL
    assert service.questions("cut in the middle") == 1
    path = f"/v1/responses/{seen[0].response.id}?stream=true"
    whole = events_of(live, path)
    for number in (0, 3, len(whole) - 2):
        assert events_of(live, f"{path}&starting_after={number}") == whole[number + 1 :]


def test_a_response_without_background_can_be_resumed_within_the_window(client, service):
    stream = client.responses.create(model="counted", input="in the window", stream=True)
    seen = list(itertools.islice(stream, 12))
    stream.close()
    rest = client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    events = [*seen, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed" and service.questions("in the window") == 1


def test_a_cancelled_response_is_stopped_at_the_upstream(client, service):
    service.closed.clear()
    begun = client.responses.create(model="counted", input="cancelled", background=True)
    eventually(lambda: client.responses.retrieve(begun.id).output_text)
    cancelled = client.responses.cancel(begun.id)
    assert cancelled.status == "cancelled" and ALL.startswith(cancelled.output_text)
    assert client.responses.cancel(begun.id).status == "cancelled"
    eventually(lambda: service.closed == ["counted"])


def test_a_conversation_goes_on_from_the_previous_response(client, service):
    first = client.responses.create(model="plain", input="first", instructions="only once")
    second = client.responses.create(model="plain", input="second", previous_response_id=first.id)
    third = client.responses.create(model="plain", input="third", previous_response_id=second.id)
    assert third.previous_response_id == second.id
    told = [(message["role"], message["content"]) for message in service.asked[-1]["messages"]]
    assert told == [
        ("user", "first"),
        ("assistant", "一二三四五六"),
        ("user", "second"),
        ("assistant", "一二三四五六"),
        ("user", "third"),
    ]


@pytest.mark.parametrize("response_id", ["resp_unknown", "nothing"])
def test_an_unknown_response_is_not_found(client, live, response_id):
    for call in (client.responses.retrieve, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call(response_id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="plain", input="x", previous_response_id=response_id)
    assert caught.value.param == "previous_response_id"


def test_an_answer_of_another_route_is_no_response(client, live):
    with live.call("POST", "/getAnwser", {"question": "hi", "database": "none"}) as reply:
        answer_id = reply.headers["x-answer-id"]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(f"resp_{answer_id}")
    unkept = client.responses.create(model="plain", input="x", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


@pytest.mark.parametrize("after", ["x", "-1", "1.5"])
def test_a_malformed_starting_after_is_named(client, live, after):
    found = client.responses.create(model="plain", input="hi")
    with live.call("GET", f"/v1/responses/{found.id}?stream=true&starting_after={after}") as reply:
        assert reply.status == 400 and "starting_after" in reply.json()["error"]["message"]


def test_text_to_sql_is_a_model_here_too(client):
    found = client.responses.create(model="sql/metro@sql", input="全部地铁站的名称")
    assert "| 1 | 西湖文化广场 |" in found.output_text
