"""ERNIE V1 (Wenxin): Baidu's wire before Qianfan V2 took OpenAI's shape.

chunk    {"result": "你好", "is_end": false, "is_truncated": false, "need_clear_history": false, "usage": {…}}
         finish_reason "normal" may stand on every chunk and says nothing: only is_end ends a reply
failure  {"error_code": 18, "error_msg": "…"}, bare or as an event, and the HTTP status is 200
source   Baidu's chat API reference; recorded streams in tests/cases/ernie/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.delta import Delta, ToolCallDelta, Usage
from providers.errors import (
    BadKey,
    ContextTooLong,
    Moderated,
    NoSuchModel,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Rejected,
    UpstreamFailed,
)
from providers.stream.sse import Frame
from providers.wires.adapter import HostedAdapter, failed_status, retry_after
from providers.wires.baidu_auth import Token, is_access_key, signed, token_for
from providers.wires.content import count, read_content, word
from providers.wires.ernie_messages import ernie_messages
from providers.wires.ernie_parameters import check, parameter_changes, parameters
from providers.wires.finish_reasons import finish_reason
from providers.wires.meanings import SUCCESS, by_code, by_words

CHAT_PATH = "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/"
FAILURES: dict[int, type[ProviderError]] = {
    1: UpstreamFailed, 2: UpstreamFailed, 3: NoSuchModel, 4: RateLimited, 6: BadKey, 13: BadKey, 14: BadKey,
    15: UpstreamFailed, 17: QuotaExceeded, 18: RateLimited, 19: QuotaExceeded, 100: BadKey, 110: BadKey, 111: BadKey,
    336000: UpstreamFailed, 336001: Rejected, 336002: Rejected, 336003: Rejected, 336004: BadKey, 336005: NoSuchModel,
    336006: ContextTooLong, 336007: ContextTooLong, 336100: UpstreamFailed, 336101: Rejected, 336103: ContextTooLong,
    336104: Rejected, 336105: Rejected, 336501: RateLimited, 336502: RateLimited,
}  # fmt: skip
# What Baidu's own client takes for "try again", and the two that its reference calls so.
TRY_AGAIN = {2, 4, 15, 18, 336100, 336501, 336502}
TOKEN_REFUSED = {110, 111}
# Models by their names; whatever is not here is taken for the last segment of the address itself.
ENDPOINTS = {
    "ernie-4.0-8k": "completions_pro",
    "ernie-4.0-8k-preview-0518": "completions_adv_pro",
    "ernie-3.5-8k": "completions",
    "ernie-speed-8k": "ernie_speed",
    "ernie-lite-8k-0922": "eb-instant",
    "ernie-bot-turbo": "eb-instant",
    "ernie-lite-8k-0308": "ernie-lite-8k",
    "ernie-character-8k": "ernie-char-8k",
    "ernie-character-fiction-8k": "ernie-char-fiction-8k",
    "ernie-function-8k": "ernie-func-8k",
}


class _Chunk(msgspec.Struct, gc=False):
    result: str
    is_end: bool
    usage: msgspec.Raw = msgspec.Raw()
    need_clear_history: bool = False
    flag: int = 0
    finish_reason: str = ""
    function_call: dict[str, Any] | None = None
    thoughts: str | None = None
    reasoning_content: str | None = None
    error_code: int | None = None


_chunk = msgspec.json.Decoder(_Chunk)


class TokenRefused(BadKey):
    """The token is invalid or lapsed: with a new one the same question may be taken."""


class Adapter(HostedAdapter):
    """Asks with an application's token, or signs with an access key: the shape of `api_key` decides."""

    def __init__(self, configuration: ProviderConfiguration, name: str = "") -> None:
        super().__init__(configuration, name)
        self._signs = is_access_key(configuration.api_key)

    def url(self, base_url: str) -> str:
        return self._chat(base_url) + ("" if self._signs else f"?access_token={quote(self._token(base_url), safe='')}")

    def headers(self, base_url: str) -> dict[str, str]:
        if not self._signs:
            return {}
        return signed(self.configuration.api_key, self.configuration.secret_key, "POST", self._chat(base_url))

    def payload(self, request: ChatRequest) -> dict[str, Any]:
        system, messages, _ = ernie_messages(request, "ERNIE")
        body = {"messages": messages, **({"system": system} if system else {}), "stream": True}
        return body | parameters(request)

    def check(self, request: ChatRequest) -> None:
        ernie_messages(request, "ERNIE")
        check(request)

    def parameter_changes(self, request: ChatRequest) -> list[str]:
        changes = [*parameter_changes(request), *ernie_messages(request, "ERNIE")[2]]
        changes += self.fitting.changes(self.payload(request))
        return changes + [f"{name} dropped: ERNIE has no such parameter" for name in request.extra]

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """A status that is not 2xx comes from the access control in front, or from something between."""
        try:
            body_json = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            body_json = None
        failure = reported(body_json, headers) if isinstance(body_json, dict) else None
        words = headers.get("x-bce-error-message", "")
        return failure or failed_status(status, headers, f"Baidu says: {words}" if words else "")

    def parser(self) -> Parser:
        return Parser()

    def credentials_refreshed(self, error: ProviderError) -> bool:
        return isinstance(error, TokenRefused) and not self._signs

    def clean(self, message: str) -> str:
        for base_url in self.configuration.base_url:
            message = self._tokens(base_url).hidden(message)
        return super().clean(message)

    def _exchange(self, request: ChatRequest, base_url: str) -> Iterator[list[Delta]]:
        token = "" if self._signs else self._token(base_url)
        try:
            yield from super()._exchange(request, base_url)
        except ProviderError as error:
            if token:
                # The one that this question went out with; the cache may hold another by now, or none.
                error.message = error.message.replace(token, "…")
            if isinstance(error, TokenRefused):
                self._tokens(base_url).refused(token)
            raise

    def _token(self, base_url: str) -> str:
        return self._tokens(base_url).value(self.client)

    def _tokens(self, base_url: str) -> Token:
        return token_for(base_url, self.configuration.api_key, self.configuration.secret_key)

    def _chat(self, base_url: str) -> str:
        model = self.configuration.model
        return base_url + CHAT_PATH + quote(ENDPOINTS.get(model.lower(), model), safe="@=,._-")


class Parser:
    """Reads one reply's chunks. Usage is a running total in every chunk, so the last one is kept undecoded."""

    done_marker = False
    ends_at_finish = True
    has_template = False  # it keeps the usage of each chunk

    def __init__(self) -> None:
        self.deltas_before = 0
        self._usage = msgspec.Raw()
        self._unsafe = False
        self._called = 0

    def end(self) -> list[Delta]:
        return []

    def parse_fast(self, frame: Frame) -> Delta | None:
        """Text of a chunk that does not end, fails, calls or thinks."""
        try:
            chunk = _chunk.decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if (
            chunk.is_end
            or chunk.need_clear_history
            or chunk.flag
            or chunk.function_call
            or chunk.thoughts
            or chunk.reasoning_content
            or chunk.error_code
            or chunk.finish_reason not in ("", "normal")
        ):
            return None
        if len(chunk.usage) > 2:
            self._usage = chunk.usage
        return Delta(chunk.result)

    def parse(self, chunk: dict[str, Any], frame: Frame) -> Iterator[Delta]:
        """Raises a ProviderError where the chunk reports a failure."""
        if failure := reported(chunk):
            raise failure
        reason, raw = finish_reason(chunk.get("finish_reason"))
        self._unsafe = self._unsafe or bool(chunk.get("need_clear_history")) or reason == "content_filter"
        call, calls = chunk.get("function_call"), []
        thoughts = "".join(read_content(chunk.get("thoughts") or chunk.get("reasoning_content")))
        if isinstance(call, dict):
            thoughts += word(call.get("thoughts"))
            id = f"call_{chunk.get('id') or 'ernie'}_{self._called}"
            arguments = call.get("arguments") or ""
            arguments = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
            calls.append(ToolCallDelta(self._called, id, word(call.get("name")), arguments))
            self._called += 1
        usage = read_usage(chunk.get("usage")) or (
            read_usage(msgspec.json.decode(self._usage)) if self._usage else None
        )
        text = read_content(chunk.get("result"))[0]
        # A reply that was not streamed has neither of these two members, and is at its end.
        ended = (
            chunk["is_end"] in (True, "true", 1)
            if "is_end" in chunk
            else "sentence_id" not in chunk and "result" in chunk
        )
        failed = ended and reason == "failed"
        ours = self._finish_reason(chunk, reason) if ended and not failed else None
        yield Delta(text, thoughts, calls, ours, usage, finish_reason_raw=raw if ended else None)
        if failed:
            raise UpstreamFailed(f"the upstream ended with {str(chunk.get('finish_reason'))[:64]!r}")

    def _finish_reason(self, chunk: dict[str, Any], reason: str | None) -> str:
        if self._unsafe:
            return "content_filter"
        if chunk.get("is_truncated") or reason == "length":
            return "length"
        return "tool_calls" if self._called else "stop"


def read_usage(usage: Any) -> Usage | None:
    """completion_tokens has meant one chunk's (2023) and the reply's (2024); the total holds."""
    if not isinstance(usage, dict):
        return None
    prompt, total = count(usage.get("prompt_tokens")), count(usage.get("total_tokens"))
    if prompt is None or total is None or total < prompt:
        return None
    return Usage(prompt, total - prompt, total)


def reported(chunk: dict[str, Any], headers: Mapping[str, str] | None = None) -> ProviderError | None:
    """The failure that a chunk reports, also in the form {"code", "msg"}; None if it reports none."""
    code, message = chunk.get("error_code"), chunk.get("error_msg")
    if code is None and "msg" in chunk:
        code, message = chunk.get("code"), chunk.get("msg")
    elif code is None and "result" not in chunk and isinstance(chunk.get("message"), str):
        code, message = chunk.get("code"), chunk["message"]
    if (code.lower() if isinstance(code, str) else code) in SUCCESS:
        code = None
    if not code and isinstance(error := chunk.get("error"), (str, dict)) and "result" not in chunk:
        said = error if isinstance(error, str) else str(error.get("message") or error.get("code") or "")
        return UpstreamFailed(f"ERNIE reports: {chunk.get('error_description') or said}")
    if not code:
        return None
    number = int(code) if str(code).isdigit() else 0
    kind = TokenRefused if number in TOKEN_REFUSED else FAILURES.get(number) or by_code([str(code).lower()])
    if kind is None or kind is Rejected:
        telling = by_words(str(message or ""), (QuotaExceeded, Moderated, ContextTooLong))
        kind = telling or kind or UpstreamFailed
    said = f"ERNIE says: {message or 'no reason'} (error {code})"
    upstream_id = chunk.get("id")
    return kind(
        said,
        retry_after=retry_after(headers or {}),
        upstream_id=upstream_id if isinstance(upstream_id, str) else None,
        upstream_said_retry=number in TRY_AGAIN,
    )
