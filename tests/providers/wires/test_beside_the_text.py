"""What is not understood beside the text costs itself, never the answer: on each wire, for each member of each chunk.

Every member of a usual stream that is not the text itself is replaced by what JSON can hold; the text stays as it is.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from providers.catalogue import WIRES
from providers.configuration import ProviderConfiguration
from tests.cases import SECRETS

ODD: tuple[Any, ...] = (
    None, [], {}, 0, 1, 7, -1, 2.5, 1e400, True, False, "", "x", "12", [None], [[]], [1], ["x"], [{}], {"x": None},
    {"0": {}}, {"x": {"y": [1]}}, "x" * 300,
)  # fmt: skip


def openai(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {
        "index": 0, "delta": delta, "finish_reason": finish_reason, "stop_reason": None, "native_finish_reason": None,
        "logprobs": {"content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]},
        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}, "matched_stop": None, "seed": 7,
    }  # fmt: skip
    about = {
        "id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "f",
        "service_tier": None, "provider": "p", "prompt_filter_results": [{"prompt_index": 0}], "x_groq": {"id": "r"},
        "citations": ["http://x"], "search_results": [], "timings": {"prompt_n": 1}, "nvext": {},
    }  # fmt: skip
    return about | {"choices": [choice]} | more


USAGE = {
    "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1}, "cost": 0.1, "num_sources_used": 0,
}  # fmt: skip
PART = {
    "role": "assistant",
    "refusal": None,
    "annotations": [],
    "audio": None,
    "function_call": None,
    "tool_calls": None,
}
OPENAI = [
    openai(PART | {"content": "", "images": []}),
    openai(PART | {"content": "", "reasoning": "想", "reasoning_content": "想", "reasoning_details": [{"text": "想"}]}),
    openai(PART | {"content": "杭州"}),
    openai({"content": "，早"}, usage=USAGE),
    openai({"content": ""}, "stop", usage=USAGE, x_groq={"usage": USAGE}),
    openai({}, usage=USAGE) | {"choices": []},
]


def dashscope(content: Any, finish_reason: str = "null") -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "reasoning_content": "", "annotations": [], "phase": "answer"}
    choice = {"message": message, "finish_reason": finish_reason, "logprobs": {"content": []}, "index": 0}
    usage = {
        "input_tokens": 5, "output_tokens": 2, "total_tokens": 7, "input_tokens_details": {"text_tokens": 5},
        "output_tokens_details": {"reasoning_tokens": 0}, "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip
    output = {"choices": [choice], "search_info": {"search_results": []}, "audio": {"id": "a"}}
    return {"output": output, "usage": usage, "request_id": "r-1"}


def app(text: str, finish_reason: str = "null") -> dict[str, Any]:
    thoughts = [{"thought": "", "action_type": "agentRag", "arguments": "{}", "observation": "[]"}]
    documents = [{"index_id": "1", "title": "t", "doc_name": "d", "text": "x"}]
    output = {"session_id": "s", "finish_reason": finish_reason, "text": text, "thoughts": thoughts,
              "doc_references": documents, "workflow_message": {}, "reject_status": False}  # fmt: skip
    return {"output": output, "usage": {"models": [{"input_tokens": 5, "output_tokens": 2, "model_id": "m"}]},
            "request_id": "r-1"}  # fmt: skip


def ernie(result: str, is_end: bool = False) -> dict[str, Any]:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "plugins": []}
    search = {"search_results": [{"index": 1, "url": "http://x", "title": "t"}]}
    return {
        "id": "as-1", "object": "chat.completion", "created": 1, "sentence_id": 0, "is_end": is_end, "result": result,
        "is_truncated": False, "need_clear_history": False, "ban_round": 0, "usage": usage, "search_info": search,
        "function_call": None, "thoughts": "", "reasoning_content": "", "finish_reason": "normal", "flag": 0,
    }  # fmt: skip


def qianfan(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chunks = copy.deepcopy(chunks)
    for chunk in chunks:
        for choice in chunk["choices"]:
            choice |= {"flag": 0, "ban_round": 0}
    return chunks


SNAPSHOTS = [dashscope("杭州"), dashscope("杭州，早"), dashscope("杭州，早", "stop")]
MULTI = [dashscope([{"text": "杭州"}]), dashscope([{"text": "，早"}]), dashscope([], "stop")]
INCREMENTAL = {"incremental_output": True}
STREAMS: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "openai": ("openai", {}, OPENAI),
    "dashscope_compatible": ("dashscope_compatible", {}, OPENAI),
    "qianfan": ("qianfan", {}, qianfan(OPENAI)),
    "dashscope": ("dashscope", INCREMENTAL, [dashscope("杭州"), dashscope("，早"), dashscope("", "stop")]),
    "dashscope, snapshots": (
        "dashscope",
        {},
        [dashscope("杭州"), dashscope("杭州，早"), dashscope("杭州，早", "stop")],
    ),
    "dashscope, multimodal": ("dashscope", {**INCREMENTAL, "multimodal": True}, MULTI),
    "dashscope_app": ("dashscope_app", {}, [app("杭州"), app("，早"), app("", "stop")]),
    "ernie": ("ernie", {}, [ernie("杭州"), ernie("，早"), ernie("", True)]),
}
# The text itself, what ends or fails a reply, and which choice it is: another value there means something else.
MEANINGFUL = {
    "content", "finish_reason", "choices", "delta", "message", "output", "index", "result", "text", "is_end", "flag",
    "need_clear_history", "is_truncated", "sentence_id", "function_call", "tool_calls",
}  # fmt: skip
SAYS_MORE = {"refusal", "reasoning", "reasoning_content", "reasoning_details", "thoughts", "thought"}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member that has no meaning for the text."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in members:
        if name not in MEANINGFUL and not isinstance(name, int):
            yield (*path, name)
        yield from places(inner, (*path, name))


def replaced(chunks: list[dict[str, Any]], path: tuple[Any, ...], value: Any) -> list[dict[str, Any]]:
    chunks = copy.deepcopy(chunks)
    place: Any = chunks
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return chunks


@functools.cache
def adapter(wire: str, **row: Any) -> Any:
    configuration = ProviderConfiguration(**{"type": wire, "model": "m", "base_url": "http://x", **SECRETS, **row})
    return WIRES[wire].load().Adapter(configuration, "p")


def answer(wire: str, row: dict[str, Any], chunks: list[dict[str, Any]]) -> tuple[str, Any]:
    """(text, how it ended)."""
    reading = adapter(wire, **row).reply_reader("text/event-stream")
    body = "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in chunks)
    deltas = reading.feed(body.encode() + (b"data: [DONE]\n\n" if "choices" in chunks[0] else b""))
    if not (reading.ended or reading.failure):
        deltas += reading.end()
    text = "".join(delta.text for delta in deltas)
    return text, reading.failure or deltas[-1].finish_reason


@pytest.mark.parametrize("name", STREAMS)
def test_the_stream_itself_is_read(name):
    assert answer(*STREAMS[name]) == ("杭州，早", "stop")


@pytest.mark.parametrize("name", STREAMS)
def test_no_member_beside_the_text_costs_the_answer(name):
    wire, row, chunks = STREAMS[name]
    wrong = {}
    for path in places(chunks):
        for value in ODD:
            if path[-1] in SAYS_MORE and isinstance(value, str) and path[-1] == "refusal":
                continue  # a refusal is what the person reads
            text, end = answer(wire, row, replaced(chunks, path, value))
            if (text, end) != ("杭州，早", "stop"):
                wrong[path, str(value)[:20]] = text, str(end)
    assert not wrong


@pytest.mark.parametrize("name", STREAMS)
def test_a_member_that_nobody_knows_costs_nothing(name):
    wire, row, chunks = STREAMS[name]

    def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        if isinstance(value, dict):
            yield path
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for member, inner in members:
            yield from objects(inner, (*path, member))

    for path in objects(chunks):
        for value in ODD:
            assert answer(wire, row, replaced(chunks, (*path, "unheard_of"), value)) == ("杭州，早", "stop"), path
