"""Where services of OpenAI's wire put their errors, and what these mean by providers/wires/meanings.py.

error    {"error": {"message", "type", "param", "code"}}; code is a string, null, or the HTTP status as a number
         {"error": "Unauthorized"}, {"object": "error", "message", …}, {"detail": "Not Found"}, {"code", "msg"},
         {"error": {"error": {…}}}, [{"error": {…}}], {"errors": [{…}]}, {"base_resp": {"status_code", "status_msg"}},
         {"error": {"metadata": {"raw": "{…}"}}}, {"choices": [{"error": {…}}]}, {"detail": [{"loc", "msg"}]}, "words"
source   OpenAI's error reference, the servers of vLLM, llama.cpp and Qianfan, and public reports of Gemini, OpenRouter,
         MiniMax, Cloudflare, xAI and LiteLLM; recorded bodies in tests/cases/openai/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

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
from providers.wires.adapter import failed_status, retry_after
from providers.wires.meanings import BUSY, MINIMAX, SUCCESS, by_code, by_words

MAX_DEPTH = 4
_SENTENCES = (
    "message", "msg", "error_msg", "error_message", "errormessage", "status_msg", "error_description",
    "faultstring", "detail", "reason",
)  # fmt: skip
_CODES = ("code", "type", "status", "reason", "error_code", "errorcode", "innererror")
# Members that hold the error of a service whose own wire is another: Spark, Ark, Tencent Cloud, Apigee, FastAPI.
_ENVELOPES = ("header", "responsemetadata", "response", "fault", "errormsg", "detail")
# What says no more than the HTTP status does: where anything else is said, that is the sentence.
_CAPITALS = frozenset({"Error", "ERROR", "Errors", "Message", "Code"})
_SUCCESS_WORDS = frozenset({"success", "ok", "succeeded", "操作成功", "成功"})
_EMPTY_WORDS = frozenset(
    {"bad request", "unauthorized", "forbidden", "not found", "provider returned error", "error", "upstream error"}
)


@dataclass
class _Report:
    """What an error says: its codes in lower case, its sentences, the outermost first, and a status."""

    codes: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    status: int = 0
    kind: type[ProviderError] | None = None
    upstream_id: str | None = None
    retry_after: float | None = None
    parameter: str = ""

    @property
    def sentence(self) -> str:
        """The innermost sentence that says something: outer ones are often no more than "Provider returned error"."""
        telling = [sentence for sentence in self.sentences if sentence.strip(" .!").lower() not in _EMPTY_WORDS]
        if telling:
            return telling[-1]
        return self.sentences[-1] if self.sentences else ""


def body_failure(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """What a response that is not a 200 means."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    failure = None
    if isinstance(answer, (dict, list, str)):
        failure = chunk_failure(answer, is_error=True, status=status)
    if failure is None:
        text = body[:2000].decode("utf-8", "replace").strip()
        words = "" if answer is not None or text[:1] in "{[<" else text
        failure = _failure(_Report(sentences=[words] if words else []), status)
    failure.retry_after = failure.retry_after or retry_after(headers)
    failure.upstream_id = failure.upstream_id or headers.get("x-request-id")
    return failure


def chunk_failure(chunk: Any, is_error: bool = False, status: int = 0) -> ProviderError | None:
    """The failure that a chunk or a body reports; None if it reports none.

    is_error  it came where only errors come, so a bare {"message": …} is one
    status    the HTTP status; 0 inside a stream, where only the error itself can tell
    """
    error = chunk if is_error else next(_errors(chunk), None)
    if error is None:
        return None
    report = _Report()
    _read(error, report)
    if isinstance(chunk, dict):
        id = chunk.get("request_id") or chunk.get("id")
        report.upstream_id = id if isinstance(id, str) else None
    return _failure(report, status)


def _errors(chunk: dict[str, Any]) -> Iterator[Any]:
    """The parts of a chunk of a 200 that report an error."""
    if "choices" not in chunk and "error" not in chunk and not chunk.keys().isdisjoint(_CAPITALS):
        chunk = _lowered(chunk)
    if error := chunk.get("error"):
        # Beside {"error": "Bad Request"} the sentence is the chunk's own message.
        yield error if not isinstance(error, str) else {**chunk, "choices": None}
        return
    errors = chunk.get("errors")
    if errors and isinstance(errors, (list, str, dict)):
        yield errors
    base = chunk.get("base_resp")
    if isinstance(base, dict) and base.get("status_code") not in SUCCESS:
        yield {"base_resp": base}
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("error"):
            yield choice["error"]
    if chunk.get("object") == "error" or (not choices and _reports(_lowered(chunk))):
        yield chunk


def _lowered(error: dict[str, Any]) -> dict[str, Any]:
    return {str(name).lower(): value for name, value in error.items()}


def _reports(said: dict[str, Any], depth: int = 0) -> bool:
    """Whether an object without choices is an error; its names are in lower case."""
    if said.get("success") is False or "faultstring" in said or (depth and said.get("error")):
        return True
    for name in _ENVELOPES:
        inner = said.get(name)
        if isinstance(inner, dict) and depth < MAX_DEPTH and _reports(_lowered(inner), depth + 1):
            return True
    sentences = [said[name] for name in _SENTENCES if isinstance(said.get(name), str) and said[name].strip()]
    if said.keys() == {"detail"} and said["detail"]:
        return True  # FastAPI's, whose status was lost on the way
    if not sentences or sentences[0].strip(" .!").lower() in _SUCCESS_WORDS:
        return False
    status = said.get("status")
    if status is False or (isinstance(status, (int, str)) and str(status).isdigit() and int(status) >= 400):
        return True
    codes = [said.get(name) for name in ("code", "error_code", "errorcode")]
    # A bare sentence may be a sign of life; one whose words are those of an error is none.
    return any(_word(code) not in SUCCESS for code in codes) or by_words(sentences[0]) is not None


def _word(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value if isinstance(value, int) else None


def _read(error: Any, report: _Report, depth: int = 0) -> None:
    """Collect what `error`, of whatever shape, says."""
    if depth > MAX_DEPTH:
        return
    if isinstance(error, str):
        _read_text(error, report, depth)
    elif isinstance(error, list) and all(isinstance(part, str) for part in error):
        _read_text("; ".join(error[:3]), report, depth)
    elif isinstance(error, list):
        for part in error[:3]:
            _read(part, report, depth + 1)
    elif isinstance(error, dict):
        _read_object(error, report, depth)


def _read_text(text: str, report: _Report, depth: int) -> None:
    """A sentence, or JSON with the error inside."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            inner = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            pass
        else:
            _read(inner, report, depth + 1)
            return
    if text.strip():
        report.sentences.append(text.strip())


def _read_object(error: dict[str, Any], report: _Report, depth: int) -> None:
    error = _lowered(error)
    _read_envelopes(error, report, depth)
    for name in _CODES:
        _read_code(error.get(name), report, depth)
    if isinstance(error.get("param"), str):
        report.parameter = report.parameter or error["param"]
    inner = error.get("error")
    if isinstance(inner, str) and any(isinstance(error.get(name), str) for name in ("message", "msg")):
        report.codes.append(inner.lower())
        report.sentences.insert(0, inner)
    elif inner:
        _read(inner, report, depth + 1)
    for name in _SENTENCES:
        value = error.get(name)
        if name == "detail" and isinstance(value, (list, dict)):
            _read_details(value, report, depth)
        elif isinstance(value, str) and not (name == "reason" and report.sentences):
            _read_text(value, report, depth)
        elif name == "message" and isinstance(value, (dict, list)) and value:
            report.sentences.append(msgspec.json.encode(value).decode())
    for name in ("errors", "details"):
        if isinstance(error.get(name), (list, dict)):
            _read_details(error[name], report, depth)
        elif name == "errors" and isinstance(error.get(name), str):
            _read_text(error[name], report, depth)
    metadata = error.get("metadata")
    if isinstance(metadata, dict):
        _read(metadata.get("raw"), report, depth + 1)
        if metadata.get("flagged_input") or metadata.get("reasons"):
            report.kind = report.kind or Moderated
    if error.get("contentfilter") and report.kind is None and not report.codes:
        report.kind = Moderated


def _read_envelopes(error: dict[str, Any], report: _Report, depth: int) -> None:
    """What the error holds that belongs to another wire."""
    for name in _ENVELOPES:
        if name != "detail" and isinstance(error.get(name), dict):
            _read(error[name], report, depth + 1)
    base = error.get("base_resp")
    if isinstance(base, dict):
        code = base.get("status_code")
        code = int(code) if isinstance(code, str) and code.isdigit() else code
        report.kind = report.kind or (MINIMAX.get(code) if isinstance(code, int) else None)
        _read(base.get("status_msg"), report, depth + 1)


def _read_code(value: Any, report: _Report, depth: int) -> None:
    if isinstance(value, dict):
        _read({name: value.get(name) for name in ("code", "type")}, report, depth + 1)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
        number = int(value)
        if 400 <= number < 600:
            report.status = report.status or number
        else:
            report.codes.append(str(number))
    elif isinstance(value, str) and value:
        report.codes.append(value.lower())
        if " " in value and len(value) > 24:
            report.sentences.insert(0, value)  # a sentence in place of a code


def _read_details(details: Any, report: _Report, depth: int) -> None:
    """FastAPI's [{"loc": […], "msg": "…"}], Google's [{"reason": "…"}], or Cloudflare's [{"code", "message"}]."""
    if isinstance(details, list) and all(isinstance(detail, str) for detail in details):
        details = ["; ".join(details[:3])]
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, dict) and isinstance(detail.get("loc"), list):
            place = ".".join(str(part) for part in detail["loc"])
            report.parameter = report.parameter or str(detail["loc"][-1] if detail["loc"] else "")
            report.sentences.append(f"{place}: {detail.get('msg') or detail.get('type') or 'not accepted'}")
        elif isinstance(detail, dict):
            reason = detail.get("reason")
            if isinstance(reason, str):
                report.codes.append(reason.lower())
            _read({name: value for name, value in detail.items() if name != "reason"}, report, depth + 1)
        elif isinstance(detail, str):
            report.sentences.append(detail)


def _failure(report: _Report, status: int) -> ProviderError:
    """The error that a report means. status: HTTP's, or 0 inside a stream."""
    status = status if status >= 400 else report.status
    said = report.sentence or (f"the upstream reports {report.codes[0]!r}" if report.codes else "")
    kind = _kind(report, status, " ".join(report.sentences) or said)
    busy = bool(BUSY & set(report.codes)) or status == 503
    failure: ProviderError
    if kind is None:
        failure = failed_status(status, {}, said) if status else UpstreamFailed(said or "the upstream reports an error")
        failure.upstream_said_retry = failure.upstream_said_retry or busy
    else:
        failure = kind(said or _plain(kind, status), upstream_said_retry=kind is RateLimited or busy)
    failure.upstream_id, failure.parameter = report.upstream_id, report.parameter
    return failure


def _plain(kind: type[ProviderError], status: int) -> str:
    """A sentence for an error that says nothing."""
    said = f" (status {status})" if status else ""
    return "the upstream says: no money is left" + said if kind is QuotaExceeded else f"the upstream refused it{said}"


def _kind(report: _Report, status: int, words: str) -> type[ProviderError] | None:
    """The class of the failure; None where the status alone decides."""
    if status >= 500:
        return None  # its own fault, whatever the body says
    if status == 402:
        return QuotaExceeded
    kind = report.kind or by_code([code.replace(" ", "_") for code in report.codes])
    if kind in (QuotaExceeded, Moderated):
        return kind
    # Words say more than codes such as invalid_request_error, which many services put beside everything.
    telling = by_words(words, (QuotaExceeded, Moderated))
    if telling is QuotaExceeded and kind is RateLimited and "retry in" in words.lower():
        telling = None  # Gemini's quota per minute, which passes by itself
    if telling:
        return telling
    if kind not in (None, Rejected, UpstreamFailed):
        return kind
    if status == 429:
        return RateLimited
    if status in (401, 403):
        return BadKey
    telling = by_words(words, (BadKey, ContextTooLong, NoSuchModel))
    if telling:
        return telling
    if status == 404:
        return NoSuchModel
    if status == 0 and kind is None:
        return by_words(words, (RateLimited, UpstreamFailed))
    return kind
