"""DashScope's requests: what is sent, and what is refused before anything is."""

from __future__ import annotations

from typing import Any

import pytest

from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import Rejected
from providers.wires.dashscope import Adapter

TOOL = {"type": "function", "function": {"name": "now"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}


def adapter(**told: Any) -> Adapter:
    return Adapter(ProviderConfiguration(type="dashscope", api_key="k", **({"model": "qwen-plus"} | told)))


def asking(content: Any = "hi", **more: Any) -> ChatRequest:
    return ChatRequest.of([{"role": "user", "content": content}], **more)


def test_a_bare_question_sends_nothing_that_was_not_asked_for():
    assert adapter(incremental_output=True).body(asking()) == {
        "model": "qwen-plus",
        "input": {"messages": [{"role": "user", "content": "hi"}]},
        "parameters": {"result_format": "message", "incremental_output": True},
    }


def test_the_mode_is_always_said_so_that_both_sides_agree_on_it():
    assert adapter().body(asking())["parameters"]["incremental_output"] is False
    assert adapter(incremental_output=False).body(asking())["parameters"]["incremental_output"] is False


def test_extra_goes_into_parameters_and_over_ours():
    told = adapter(extra={"enable_search": True, "result_format": "text"}).body(asking())
    assert told["parameters"]["enable_search"] is True
    assert told["parameters"]["result_format"] == "text"
    assert set(told) == {"model", "input", "parameters"}


def test_sampling_keeps_its_names_and_ends_before_2():
    request = asking(temperature=2.0, top_p=0.5, top_k=3, max_tokens=9, seed=1, stop=("a",), repetition_penalty=1.2)
    sent = adapter().body(request)["parameters"]
    assert sent["temperature"] == 1.99
    told = {name: sent[name] for name in ("top_p", "top_k", "max_tokens", "seed", "stop", "repetition_penalty")}
    assert told == {"top_p": 0.5, "top_k": 3, "max_tokens": 9, "seed": 1, "stop": ["a"], "repetition_penalty": 1.2}
    assert adapter().parameter_changes(request) == ["temperature lowered to 1.99: DashScope's range ends before 2"]


def test_what_it_lacks_is_dropped_and_told():
    request = asking(min_p=0.1, frequency_penalty=0.5)
    assert set(adapter().body(request)["parameters"]) == {"result_format", "incremental_output"}
    assert adapter().parameter_changes(request) == [
        "min_p dropped: DashScope has no such parameter",
        "frequency_penalty dropped: DashScope has no such parameter",
    ]


def test_tools_pass_and_their_choice_only_beside_them():
    sent = adapter().body(asking(tools=[TOOL], tool_choice="auto", parallel_tool_calls=True))["parameters"]
    assert (sent["tools"], sent["tool_choice"], sent["parallel_tool_calls"]) == ([TOOL], "auto", True)
    assert "tool_choice" not in adapter().body(asking(tool_choice="auto"))["parameters"]


@pytest.mark.parametrize("model", ["qwen-vl-plus", "qwen2.5-vl-72b-instruct", "qwen3.5-plus", "qwen3.7-plus-2026"])
def test_a_model_that_sees_is_asked_at_the_multimodal_endpoint_with_lists_of_parts(model):
    sees = adapter(model=model)
    assert sees.url("http://h/api/v1") == "http://h/api/v1/services/aigc/multimodal-generation/generation"
    sent = sees.body(asking([{"type": "text", "text": "What is it?"}, IMAGE]))["input"]["messages"]
    assert sent == [{"role": "user", "content": [{"text": "What is it?"}, {"image": "https://example.org/cat.png"}]}]
    assert sees.body(asking("hi"))["input"]["messages"] == [{"role": "user", "content": [{"text": "hi"}]}]


def test_a_model_that_reads_gets_text_and_refuses_an_image_before_anything_is_sent():
    reads = adapter()
    assert reads.url("http://h/api/v1") == "http://h/api/v1/services/aigc/text-generation/generation"
    sent = reads.body(asking([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))["input"]["messages"]
    assert sent == [{"role": "user", "content": "ab"}]
    with pytest.raises(Rejected, match="image_url"):
        reads.check(asking([IMAGE]))


def test_the_header_asks_for_a_stream_and_the_body_does_not():
    assert adapter().headers("http://h")["X-DashScope-SSE"] == "enable"
    assert adapter().headers("http://h")["Authorization"] == "Bearer k"
    assert "stream" not in adapter().body(asking())
