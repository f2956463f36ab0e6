"""Applications of Alibaba's Model Studio (百炼): agents and workflows that are asked by their id instead of a model.

request  POST {base}/apps/{app id}/completion, header X-DashScope-SSE, a workspace in X-DashScope-WorkSpace
         {"input": {"prompt": "…" or "messages": […], "session_id": "…"}, "parameters": {"incremental_output": true,
         "has_thoughts": true}, "debug": {}}
chunk    {"output": {"text": "你好", "finish_reason": "null", "session_id": "…",
         "thoughts": [{"action_type": "reasoning", "thought": "…"}],
         "doc_references": [{"index_id": "1", "title": "…"}]}, "usage": {"models": [{…}]}}
failure  as on DashScope's native wire
source   Alibaba Cloud Model Studio, "Application calling" reference; recorded streams in tests/cases/dashscope_app/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from providers.chat import ChatRequest
from providers.delta import Delta
from providers.errors import Rejected
from providers.stream.sse import Frame
from providers.wires import dashscope
from providers.wires.content import text_of
from providers.wires.fitting import dropped, lacking, refuse_missed

# What a caller may pass on, and where it goes.
IN_INPUT = frozenset({"session_id", "memory_id", "biz_params", "image_list", "file_list"})
IN_PARAMETERS = frozenset({"has_thoughts", "enable_thinking", "enable_web_search", "rag_options", "flow_stream_mode"})


class Adapter(dashscope.Adapter):
    """Asks an application: `model` is its id, and what it samples with is said where it was made."""

    @property
    def sees(self) -> bool:
        return False

    @property
    def incremental(self) -> bool:
        return self.configuration.incremental_output is not False

    def url(self, base_url: str) -> str:
        return self.fitting.url(base_url, f"/apps/{quote(self.configuration.model, safe='')}/completion")

    def body(self, request: ChatRequest) -> dict[str, Any]:
        payload = self.payload(request)
        payload["parameters"] = self.fitting.body(payload["parameters"], request, passes_unknown=False)
        return payload

    def payload(self, request: ChatRequest) -> dict[str, Any]:
        messages = [
            {"role": self.configuration.roles.get(message.get("role", ""), message.get("role")), "content": text}
            for message in request.messages
            if (text := text_of(message.get("content"), "this application"))
        ]
        entered: dict[str, Any] = {name: value for name, value in request.extra.items() if name in IN_INPUT}
        # One turn is a prompt. Several are messages, unless a session holds the turns before.
        if entered.get("session_id") or len(messages) == 1:
            entered["prompt"] = messages[-1]["content"] if messages else ""
        else:
            entered["messages"] = messages
        parameters = {name: value for name, value in request.extra.items() if name in IN_PARAMETERS}
        parameters = {"has_thoughts": True, **parameters, "incremental_output": self.incremental}
        return {"input": entered, "parameters": parameters, "debug": {}}

    def check(self, request: ChatRequest) -> None:
        refuse_missed(request, "an application of DashScope", IN_INPUT | IN_PARAMETERS)
        for message in request.messages:
            text_of(message.get("content"), "this application")
        missed = [name for name in ("tools", "response_format") if getattr(request, name)]
        if missed or request.logprobs or request.sampling.stop:
            names = [*missed, *(["logprobs"] if request.logprobs else []), *(["stop"] if request.sampling.stop else [])]
            raise Rejected(f"{names[0]}: an application of DashScope has no such parameter; leave it out")

    def parameter_changes(self, request: ChatRequest) -> list[str]:
        unknown = [name for name in request.extra if name not in IN_INPUT | IN_PARAMETERS]
        changes = [f"{name} dropped: an application of DashScope has no such parameter" for name in unknown]
        return dropped(request, "an application of DashScope", *lacking("stop"), "parallel_tool_calls") + changes

    def parser(self) -> Parser:
        return Parser()


class Parser(dashscope.Parser):
    """DashScope's chunks, with an agent's thoughts, the documents that it cites, and its session."""

    def __init__(self) -> None:
        super().__init__()
        self._extras: dict[str, Any] = {}

    def parse_fast(self, frame: Frame) -> Delta | None:
        if b'"thoughts":' in frame.data or b'"doc_references":' in frame.data:
            return None
        return super().parse_fast(frame)

    def parse(self, chunk: dict[str, Any], frame: Frame) -> Iterator[Delta]:
        """Raises a ProviderError where the chunk reports a failure."""
        output = chunk.get("output")
        if isinstance(output, dict):
            thoughts = output.get("thoughts")
            steps = [step for step in thoughts if isinstance(step, dict)] if isinstance(thoughts, list) else []
            texts = [step.get("thought") for step in steps if step.get("action_type") in ("reasoning", None)]
            if reasoning := "".join(text for text in texts if isinstance(text, str)):
                yield Delta(reasoning=reasoning)
            cited = output.get("doc_references")
            if isinstance(cited, list) and cited:
                self._extras["annotations"] = [
                    {"type": "doc_reference", "doc_reference": one} for one in cited if isinstance(one, dict)
                ]
            if isinstance(output.get("session_id"), str):
                self._extras["session_id"] = output["session_id"]
        for delta in super().parse(chunk, frame):
            if delta.finish_reason and self._extras:
                yield Delta(delta.text, delta.reasoning, delta.tool_calls, extras=self._extras)
                self._extras = {}
                delta.text = delta.reasoning = ""
                delta.tool_calls = []
            yield delta
