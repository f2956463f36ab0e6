"""The part that every wire over HTTP shares: one attempt, from a request to batches of deltas.

A wire's module brings `payload`, `failure` and a parser of its chunks (`parse_fast`, `parse`, `end`); see
providers/wires/openai.py for the shortest one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from providers.catalogue import WIRES
from providers.chat import ChatRequest, Delivery
from providers.configuration import ProviderConfiguration
from providers.delta import Delta
from providers.errors import (
    BadKey,
    BrokenProtocol,
    CutOff,
    NoSuchModel,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Rejected,
    TimedOut,
    TooLarge,
    Unreachable,
    UpstreamFailed,
)
from providers.redaction import redacted
from providers.routing.replicas import Replicas
from providers.stream.normaliser import Normaliser
from providers.stream.reader import ChunkParser, ReplyReader
from providers.transport.client import Client, Response
from providers.wires.fitting import MAX_LESSONS, Fitting

MAX_MESSAGE = 300
MAX_COMMENTS_A_READ = 2  # more in one read, or so many before the first token, say nothing about a queue
MAX_COMMENTS_WAITING = 2000
# Models whose chat templates write <think> into the prompt: the reply may hold the closing tag alone. Where the
# service keeps thoughts in a channel of their own, the first of them ends the search.
_OPENED_BY_THE_PROMPT = re.compile(
    r"deepseek-r1|r1-distill|\bqwq|\bqvq|qwen3[\w.-]*-thinking|glm-z1|glm-4\.1v-thinking", re.IGNORECASE
)
# By name, because a service's own words may stand in angle brackets too: <400>, <think>.
_TAG = re.compile(
    r"</?(a|b|br|center|code|div|em|font|h[1-6]|hr|i|iframe|img|li|ol|p|pre|script|small|span|strong|style|svg|table|t[dhr]"
    r"|u|ul)(\s[^<>]*)?/?>",
    re.IGNORECASE,
)


class HostedAdapter:
    """Asks one configured provider. Subclasses say how its wire looks; nothing here knows which wire it is."""

    passes_unknown = False  # members of a request that we do not know go out on this wire

    def __init__(self, configuration: ProviderConfiguration, name: str = "") -> None:
        """name: the provider's, as the configuration calls it."""
        self.name = name
        self.configuration = configuration
        self.client = Client(configuration.timeouts, configuration.proxy, configuration.tls)
        self.fitting = Fitting(configuration)
        self.replicas = Replicas(configuration.base_url)

    # -- what a wire says

    def url(self, base_url: str) -> str:
        """Where to ask."""
        raise NotImplementedError

    def address(self, request: ChatRequest, base_url: str) -> str:
        """Where this request is asked."""
        return self.url(base_url)

    def headers(self, base_url: str) -> dict[str, str]:
        """Headers of this wire, its key among them; may itself ask for a token."""
        return self.fitting.headers()

    def payload(self, request: ChatRequest) -> dict[str, Any]:
        """The JSON to send, without the configuration's `extra`."""
        raise NotImplementedError

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """What is sent: the payload with the configuration's `extra` over it, made to fit the service."""
        return self.fitting.body(self.payload(request), request, self.passes_unknown)

    def parser(self) -> ChunkParser:
        """Reads the chunks of one reply."""
        raise NotImplementedError

    def looks_for_thoughts(self, request: ChatRequest) -> bool:
        """Whether thoughts between tags are taken out of the reply's text, where the configuration wants that."""
        return True

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What a status that is not 2xx means."""
        return failed_status(status, headers, "")

    def credentials_refreshed(self, error: ProviderError) -> bool:
        """Whether the access token was refreshed after this error, so the request should be retried."""
        return False

    def check(self, request: ChatRequest) -> None:
        """Raise Rejected for what can be judged before anything is sent."""

    def parameter_changes(self, request: ChatRequest) -> list[str]:
        """What of the request this wire cannot do as asked, and what is done instead, a sentence each."""
        changes = self.fitting.changes(self.payload(request)) if self.fitting.changes_some else []
        return changes + self.unknown_dropped(request)

    def unknown_dropped(self, request: ChatRequest) -> list[str]:
        """A sentence for each member that we do not know and that this wire cannot pass on."""
        if self.passes_unknown:
            return []
        return [f"{name} dropped: {self.configuration.type} has no such parameter" for name in request.extra]

    # -- one attempt

    def ask(self, request: ChatRequest) -> Iterator[list[Delta]]:
        """Ask once; batches as they arrive, the last delta of the last one with a finish_reason.

        Raises a ProviderError after what came before it was yielded. Closing the iterator closes the connection.
        """
        self.check(request)
        passed_over, credentials_refreshed, begun, lessons = 0, False, False, 0
        while True:
            try:
                for batch in self._ask_one(request):
                    begun = True
                    yield batch
                return
            except ProviderError as error:
                error.message = self.clean(error.message)
                # A replica that could not be reached is passed over, which is no try of its own.
                if (
                    not error.request_sent
                    and self.replicas.alive
                    and passed_over < len(self.configuration.base_url) - 1
                ):
                    passed_over += 1
                elif not begun and not credentials_refreshed and self.credentials_refreshed(error):
                    credentials_refreshed = True
                elif not begun and lessons < MAX_LESSONS and self.fitting.learn(error, self.body(request)):
                    lessons += 1
                else:
                    raise

    def close(self) -> None:
        """Close what is kept open between questions."""
        self.client.close()

    def reply_reader(self, label: str = "", *, thoughts: bool = True) -> ReplyReader:
        """How a response's body is read, with this configuration; label: its content type.

        thoughts   look for thoughts between tags, where the configuration wants that
        """
        configuration = self.configuration
        snapshots = configuration.snapshots or ("never" if self.incremental else "always")
        think_mode = self.think_mode if thoughts else None
        normaliser = Normaliser(snapshots, think_mode, configuration.max_answer_bytes)
        return ReplyReader(self.parser(), normaliser, label=label, max_event_bytes=configuration.max_event_bytes)

    @property
    def think_mode(self) -> str | tuple[str, str] | None:
        """How thoughts between tags are found in the text; None where they are not looked for."""
        wanted = self.configuration.think_tags
        if isinstance(wanted, list):
            return wanted[0], wanted[1]
        if isinstance(wanted, bool):
            return "true" if wanted else None
        if wanted == "auto" and _OPENED_BY_THE_PROMPT.search(self.configuration.model):
            return "true"
        return wanted

    @property
    def incremental(self) -> bool:
        """Whether text comes as deltas: what the configuration says, or else what this wire does by itself."""
        wanted = self.configuration.incremental_output
        return WIRES[self.configuration.type].incremental if wanted is None else wanted

    def clean(self, message: str) -> str:
        """A message for a person: short, on one line, without this provider's secrets and without HTML."""
        configuration = self.configuration
        written = (*configuration.headers.values(), *configuration.query.values())
        for secret in (
            configuration.api_key,
            configuration.secret_key,
            *(value for value in written if len(value) > 7),
        ):
            if len(secret) > 3:
                message = message.replace(secret, "…")
        return presentable(message)

    def ask_json(self, url: str, base_url: str, body: dict[str, Any]) -> dict[str, Any]:
        """One question with one JSON object for an answer, beside chats; raises a ProviderError."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self.headers(base_url)}
        try:
            with self.client.ask("POST", url, headers, msgspec.json.encode(body)) as response:
                if response.status != 200:
                    raise self._refused(response)
                data = bytearray()
                for piece in response.pieces():
                    data += piece
                    if len(data) > self.configuration.max_answer_bytes:
                        raise TooLarge(f"the upstream's answer is over {self.configuration.max_answer_bytes} bytes")
                if response.cut:
                    raise CutOff("the upstream closed the connection before its answer was complete")
                response.done()
            reply = msgspec.json.decode(bytes(data))
        except msgspec.DecodeError:
            raise BrokenProtocol("the upstream answered with something that is no JSON") from None
        except ProviderError as error:
            error.message = self.clean(error.message)
            raise
        if not isinstance(reply, dict):
            raise BrokenProtocol("the upstream answered with JSON that is no object")
        return reply

    def _ask_one(self, request: ChatRequest) -> Iterator[list[Delta]]:
        base_url = self.replicas.take()
        try:
            yield from self._exchange(request, base_url)
        except (Unreachable, TimedOut) as error:
            if isinstance(error, Unreachable) or error.deadline == "connect":
                self.replicas.dead(base_url)
            raise
        finally:
            self.replicas.release(base_url)

    def _exchange(self, request: ChatRequest, base_url: str) -> Iterator[list[Delta]]:
        body = msgspec.json.encode(self.body(request))
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **self.headers(base_url)}
        with self.client.ask("POST", self.address(request, base_url), headers, body) as response:
            if response.status != 200:
                raise self._refused(response)
            label = response.headers.get("content-type", "")
            reading = self.reply_reader(label, thoughts=self.looks_for_thoughts(request))
            yield from self._batches(response, reading, request.delivery)

    def _batches(
        self, response: Response, reading: ReplyReader, delivery: Delivery | None = None
    ) -> Iterator[list[Delta]]:
        try:
            for data in response.pieces():
                batch = _fed(response, reading, data)
                if reading.ended or reading.failure:
                    break
                if batch:
                    yield batch
                    if delivery is not None and delivery.take is not None and response.deliverable:
                        batch = _delivered(response, reading, delivery)
                        break
            else:
                batch = reading.end(cut=response.cut)
        except ProviderError as error:
            batch = reading.fail(error)
        # Release the connection before yielding the last batch: the consumer may be slow.
        if reading.failure:
            response.close()
        else:
            response.done()
        if batch:
            yield batch
        if reading.failure:
            raise reading.failure

    def _refused(self, response: Response) -> ProviderError:
        host = urlsplit(self.configuration.base_url[0]).hostname
        if 300 <= response.status < 400:
            return redirected(str(host), response.status, response.headers.get("location", ""))
        if 200 <= response.status < 300:
            return BrokenProtocol(f"{host} answered with status {response.status} and no reply")
        body = response.body()
        if not response.cut:
            response.done()
        return self.failure(response.status, response.headers, body)


def redirected(host: str, status: int, location: str) -> BrokenProtocol:
    """A redirect is not followed: the key would go to an address that the configuration does not name."""
    parts = urlsplit(location)
    there = f"{parts.scheme}://{parts.hostname}" if parts.hostname else ""
    there += f":{parts.port}" if parts.hostname and parts.port else ""
    to = f" to {there}{parts.path[:100]}" if location else ""
    return BrokenProtocol(f"{host} redirects{to} (status {status}), which is not followed: write that as base_url")


def _fed(response: Response, reading: ReplyReader, data: bytes) -> list[Delta]:
    """The batch that `data` brings; keeps the deadlines up to date."""
    seen, comments = reading.events, reading.comments
    batch = reading.feed(data)
    if not (reading.ended or reading.failure):
        if reading.events != seen:
            response.deadlines.event(reading.answering)
        # A flood of comments is not a queue: services send one every few seconds.
        if 0 < reading.comments - comments <= MAX_COMMENTS_A_READ and reading.comments < MAX_COMMENTS_WAITING:
            response.deadlines.still_there()
        if reading.finished is not response.deadlines.is_finished:
            response.deadlines.finished(reading.finished)
    return batch


def _delivered(response: Response, reading: ReplyReader, delivery: Delivery) -> list[Delta]:
    """Read the rest of the reply in the event loop, each batch to `delivery`; returns the last batch, which is not.

    Raises what `_batches` handles: deadlines, and what the body's framing finds.
    """
    last: list[Delta] = []
    take, take_text = delivery.take, delivery.take_text
    usual, event = reading.usual, response.deadlines.event
    assert take is not None and take_text is not None

    def arrived(data: bytes) -> bool:
        nonlocal last
        text = usual(data)
        if text is not None:
            event(True)
            if text:
                take_text(text)
            return True
        batch = _fed(response, reading, data)
        if reading.ended or reading.failure:
            last = batch
            return False
        if batch:
            take(batch)
        return True

    response.deliver(arrived)
    return last if reading.ended or reading.failure else reading.end(cut=response.cut)


def failed_status(status: int, headers: Mapping[str, str], message: str) -> ProviderError:
    """What an HTTP status means where the body does not say more. message: the upstream's own words, or ""."""
    if status == 402:
        return QuotaExceeded(message or "the upstream wants to be paid first (status 402)")
    if status in (401, 403):
        return BadKey(message or f"the upstream refused the key (status {status})")
    if status == 404:
        return NoSuchModel(message or "the upstream knows no such model or address (status 404)")
    if status == 429:
        said = message or "the upstream says: too many requests"
        return RateLimited(said, retry_after=retry_after(headers), upstream_said_retry=True)
    if status in (408, 504):
        return TimedOut(message or f"the upstream gave up waiting (status {status})", deadline="total")
    if status >= 500:
        said = message or f"the upstream failed (status {status})"
        return UpstreamFailed(said, retry_after=retry_after(headers), upstream_said_retry=status == 503)
    return Rejected(message or f"the upstream refused the request (status {status})")


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait, from its number or its date; None without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value)) if re.fullmatch(r"\d+(\.\d+)?", value) else _until(value, now)
    except (ValueError, TypeError, OverflowError):
        return None


def _until(date: str, now: float | None) -> float:
    return max(0.0, parsedate_to_datetime(date).timestamp() - (time.time() if now is None else now))


def presentable(message: str) -> str:
    """An upstream's words for a person: one line, at most 300 characters, no HTML, nothing that looks like a secret."""
    if re.search(r"<(!doctype|html|head|body|title)\b", message, re.IGNORECASE):
        return "the upstream answered with a page instead of a message"
    message = _TAG.sub(" ", redacted(message, "…"))
    # Neither half a character, which cannot be sent on, nor what would steer a terminal.
    message = " ".join("".join(c if c.isprintable() else " " for c in message[: 4 * MAX_MESSAGE]).split())
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
