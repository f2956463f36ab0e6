"""Qianfan V2: OpenAI's shape with Baidu's additions.

chunk    {"choices": [{"index": 0, "delta": {"content": "你好"}, "flag": 0}]}; finish_reason "normal" may stand on every
         chunk, or on the last alone; some services still put is_end and is_truncated into the choice; then [DONE]
failure  {"error": {"code": "rpm_rate_limit_exceeded", "message": "…", "type": "…"}, "id": "as-…"}
         or {"code": 336501, "msg": "…"} in a 200
source   Baidu's Qianfan V2 reference; recorded streams in tests/cases/qianfan/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from providers.chat import ChatRequest
from providers.delta import Delta
from providers.embeddings import Embeddings, EmbeddingsRequest, in_batches
from providers.errors import BadKey, NoSuchModel, ProviderError, Rejected
from providers.stream.sse import Frame
from providers.wires import openai, openai_chunks
from providers.wires.ernie import FAILURES, reported
from providers.wires.ernie_messages import ernie_messages
from providers.wires.ernie_parameters import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, PENALTY_SCORE
from providers.wires.fitting import dropped
from providers.wires.openai import Adapter as OpenAIAdapter

# "0 safe, 1 low risk": the reply goes on. 2 and above forbid it.
FORBIDDEN = 2
UNKNOWN = ("top_k", "min_p")  # sampling parameters that Qianfan does not know
# Texts of one request for embeddings.
EMBEDDINGS_TEXTS = 16
# ERNIE models that take images: their names say so, and previews of later ones do too.
_SEES = re.compile(r"-vl\b|preview", re.IGNORECASE)


class Adapter(OpenAIAdapter):
    """Asks a model by its name. A model whose name begins with `ernie` gets ERNIE's ranges and turns that alternate."""

    def embed(self, request: EmbeddingsRequest) -> Embeddings:
        return in_batches(request, EMBEDDINGS_TEXTS, super().embed)

    @property
    def is_ernie(self) -> bool:
        return self.configuration.model.lower().startswith("ernie")

    def payload(self, request: ChatRequest) -> dict[str, Any]:
        body = openai.payload(request, self.configuration.model)
        for name in (*UNKNOWN, "top_logprobs"):
            body.pop(name, None)
        if "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if "repetition_penalty" in body:
            body["penalty_score"] = body.pop("repetition_penalty")
        if self.is_ernie:
            body["messages"] = self._messages(request)
            for name, (low, high) in (
                ("temperature", (LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE)),
                ("penalty_score", PENALTY_SCORE),
            ):
                if name in body:
                    body[name] = max(low, min(body[name], high))
        return body

    def check(self, request: ChatRequest) -> None:
        if request.logprobs:
            raise Rejected("logprobs: Qianfan tells no log probabilities; expected false or nothing, got true")
        if self.is_ernie:
            self._messages(request)

    def parameter_changes(self, request: ChatRequest) -> list[str]:
        body, changes = self.payload(request), []
        for ours, theirs in (("temperature", "temperature"), ("repetition_penalty", "penalty_score")):
            wanted = getattr(request.sampling, ours)
            if wanted is not None and body[theirs] != wanted:
                way = "raised" if body[theirs] > wanted else "lowered"
                changes.append(f"{ours} {way} to {body[theirs]:g}: the limit of ERNIE's {theirs}")
        changes += dropped(request, "Qianfan", *UNKNOWN) + super().parameter_changes(request)
        if self.is_ernie and not self._as_they_are(request):
            changes += ernie_messages(request, "ERNIE")[2]
        return changes

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        failure = super().failure(status, headers, body)
        # The same word, invalid_model, with a 400 means that there is none, and with a 401 that it may not be used.
        if isinstance(failure, NoSuchModel) and status in (401, 403):
            return BadKey(failure.message, upstream_id=failure.upstream_id)
        return failure

    def parser(self) -> Parser:
        return Parser()

    def _as_they_are(self, request: ChatRequest) -> bool:
        """Whether the messages need no turns that alternate: those with tools, and images for a model that sees."""
        return _uses_tools(request) or (bool(_SEES.search(self.configuration.model)) and _has_parts(request))

    def _messages(self, request: ChatRequest) -> list[dict[str, Any]]:
        """Turns that alternate, the system's in front; see `_as_they_are` for what is passed on unchanged."""
        if self._as_they_are(request):
            return request.messages
        system, messages, _ = ernie_messages(request, "ERNIE")
        return [*([{"role": "system", "content": system}] if system else []), *messages]


def _has_parts(request: ChatRequest) -> bool:
    return any(
        part.get("type") != "text"
        for message in request.messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
    )


def _uses_tools(request: ChatRequest) -> bool:
    return any(message.get("role") == "tool" or message.get("tool_calls") for message in request.messages)


class _Choice(openai_chunks.FastChoice, gc=False):
    flag: Literal[0] = 0
    is_end: None = None
    need_clear_history: None = None


class _Chunk(openai_chunks.FastChunk, gc=False):
    choices: tuple[_Choice]
    code: None = None
    error_code: None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class Parser(openai_chunks.Parser):
    """Reads one reply's chunks: OpenAI's, and what Baidu puts into a choice."""

    def __init__(self) -> None:
        super().__init__()
        self._unmarked = False  # a chunk with text had no finish_reason: from here on "normal" is an end
        self._flagged = False

    def parse_fast(self, frame: Frame) -> Delta | None:
        """As on OpenAI's wire, unless the chunk has one of Baidu's members that mean something."""
        delta = openai_chunks.parse_fast(frame, _decode)
        if delta is not None and (delta.text or delta.reasoning):
            self._unmarked = True
        return delta

    def parse(self, chunk: dict[str, Any], frame: Frame) -> Iterator[Delta]:
        """Raises a ProviderError where the chunk reports a failure."""
        if failure := self._failure(chunk):
            raise failure
        chunk = openai_chunks.unwrapped(chunk)
        choice = next(iter(openai_chunks.our_choices(chunk)), None)
        if choice is None:
            yield from super().parse(chunk, frame)
            return
        flag = choice.get("flag")
        flag = flag if isinstance(flag, int) else 0
        self._flagged = self._flagged or bool(flag) or bool(choice.get("need_clear_history"))
        reason = self._reason(choice, flag, whole="message" in choice)
        our_choice = {**choice, "finish_reason": reason}
        for delta in super().parse({**chunk, "choices": [our_choice]}, frame):
            if not choice.get("finish_reason") and (delta.text or delta.reasoning):
                self._unmarked = True
            yield delta

    def _reason(self, choice: dict[str, Any], flag: int, whole: bool) -> Any:
        """The finish_reason that a choice means; "normal" is one only where the chunks before it had none."""
        reason = choice.get("finish_reason")
        normal = isinstance(reason, str) and reason.lower() == "normal"
        reason = reason or None
        ended = choice.get("is_end") is True or whole
        if normal and not ended and (choice.get("is_end") is False or not self._unmarked):
            reason = None
        if (flag >= FORBIDDEN or choice.get("need_clear_history")) and (reason or ended or flag >= FORBIDDEN):
            return "content_filter"
        if reason is None and not ended:
            return None
        if self._flagged:
            return "content_filter"
        if choice.get("is_truncated"):
            return "length"
        return "stop" if reason is None or normal else reason

    def _failure(self, chunk: dict[str, Any]) -> ProviderError | None:
        code = chunk.get("error_code") or chunk.get("code")
        if isinstance(code, str) and code.isdigit():
            code = int(code)
        if isinstance(code, int) and code in FAILURES:
            return reported(chunk)
        return None
