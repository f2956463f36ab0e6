"""OpenAI's chat completions: vLLM, SGLang, OpenAI itself, DashScope's compatible mode, and anything that speaks it.

chunk    {"choices": [{"index": 0, "delta": {"content": "你好"}, "finish_reason": null}]}
         {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}, then [DONE]
failure  {"error": {"message": "…", "type": "…", "code": 400 or "…"}} or {"error": "Unauthorized"}, also in a stream
source   OpenAI's API reference and vLLM's server; recorded streams in tests/cases/openai/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.chat import ChatRequest
from providers.embeddings import Embeddings, EmbeddingsRequest, vector
from providers.errors import BrokenProtocol, ProviderError
from providers.stream.reader import ChunkParser
from providers.wires.adapter import HostedAdapter
from providers.wires.openai_chunks import Parser
from providers.wires.openai_errors import body_failure, chunk_failure

_OTHERS = ("top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "response_format")


def payload(request: ChatRequest, model: str) -> dict[str, Any]:
    """The body to send: OpenAI's members and vLLM's beside them, those that the request sets."""
    body: dict[str, Any] = {"model": model, "messages": request.messages, "stream": True}
    body["stream_options"] = {"include_usage": True}
    body |= request.sampling.members()
    body |= {name: value for name in _OTHERS if (value := getattr(request, name)) is not None}
    if request.logprobs:
        body["logprobs"] = True
    if "max_tokens" in body and request.max_tokens_name != "max_tokens":
        body[request.max_tokens_name] = body.pop("max_tokens")
    return body


def text_payload(request: ChatRequest, model: str) -> dict[str, Any]:
    """The body of POST /completions: the prompt as it came, no template around it."""
    body: dict[str, Any] = {"model": model, "prompt": request.prompt, "stream": True}
    return body | {"stream_options": {"include_usage": True}} | request.sampling.members()


class Adapter(HostedAdapter):
    """One provider of type `openai` or of a row that speaks the same."""

    passes_unknown = True

    def url(self, base_url: str) -> str:
        return self.fitting.url(base_url, "/chat/completions")

    def parser(self) -> ChunkParser:
        return Parser()

    def address(self, request: ChatRequest, base_url: str) -> str:
        if self._as_text(request):
            return self.fitting.with_query(f"{base_url}/completions")
        return super().address(request, base_url)

    def payload(self, request: ChatRequest) -> dict[str, Any]:
        written = text_payload if self._as_text(request) else payload
        return written(request, self.configuration.model)

    def looks_for_thoughts(self, request: ChatRequest) -> bool:
        """Not in a text completion: it is passed on as it is."""
        return not self._as_text(request)

    def _as_text(self, request: ChatRequest) -> bool:
        return request.prompt is not None and self.configuration.text_completions

    def embed(self, request: EmbeddingsRequest) -> Embeddings:
        """POST /embeddings: {"model", "input": [texts]} → {"data": [{"index", "embedding"}], "usage"}."""
        base_url = self.configuration.base_url[0]
        model = self.configuration.embedding_model or self.configuration.model
        body: dict[str, Any] = {"model": model, "input": request.texts, "encoding_format": "float"}
        body |= {name: value for name in ("dimensions", "user") if (value := getattr(request, name)) is not None}
        reply = self.ask_json(f"{base_url}/embeddings", base_url, body)
        if failure := chunk_failure(reply):
            raise failure
        try:
            entries = sorted(reply["data"], key=lambda entry: int(entry["index"]))
            vectors = [vector(entry["embedding"]) for entry in entries]
        except (KeyError, TypeError, ValueError):
            raise BrokenProtocol("the upstream answered without embeddings in its data") from None
        if len(vectors) != len(request.texts):
            raise BrokenProtocol(f"the upstream gave {len(vectors)} embeddings for {len(request.texts)} texts")
        usage = reply.get("usage")
        tokens = usage.get("prompt_tokens", usage.get("total_tokens")) if isinstance(usage, dict) else None
        return Embeddings(vectors, tokens if isinstance(tokens, int) else None, model)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return body_failure(status, headers, body)
