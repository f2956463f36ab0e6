"""What a vendor's SDK needs before it may carry a stream: asked once, under our deadlines, silent, closed at once.

Both SDKs are `requests` underneath. Each stream has a session of its own, whose only way out is `Once`; what the SDK
reads is written down as events again, so that the same reader and normaliser judge it as on our own transport.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import gevent
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import DecodeError, HTTPError, NameResolutionError, NewConnectionError, ReadTimeoutError

from providers.configuration import Timeouts
from providers.delta import Delta
from providers.errors import BrokenProtocol, CutOff, ProviderError, TimedOut, TooLarge, Unreachable
from providers.wires.adapter import HostedAdapter, redirected

MAX_ERROR_BYTES = 256 << 10
READ_BYTES = 64 << 10
Events = Iterator[bytes]


def silence(*names: str) -> None:
    """Let these loggers say nothing: they write down request bodies, headers with keys, and tracebacks."""
    for name in names:
        logger = logging.getLogger(name)
        if _nothing not in logger.filters:
            logger.addFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


class Once(HTTPAdapter):
    """Sends one request, whatever the SDK tries; a refusal by HTTP status is read here, before the SDK logs it."""

    def __init__(self, adapter: HostedAdapter) -> None:
        super().__init__(max_retries=0)
        self.failure: ProviderError | None = None
        self.sent = False
        self._adapter = adapter
        self._timeouts = adapter.configuration.timeouts
        self._host = urlsplit(adapter.configuration.base_url[0]).hostname
        self._response: requests.Response | None = None

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        """Raises the first request's failure where there is one."""
        if self.failure:
            raise self.failure
        if self.sent:
            raise BrokenProtocol("the SDK wanted to ask a second time")
        self.sent = True
        # Of each read alone: the deadlines between events are those of `Waits`.
        options |= {
            "stream": True,
            "timeout": (self._timeouts.connect, max(self._timeouts.first_token, self._timeouts.idle)),
        }
        try:
            response = super().send(request, **options)
        except requests.RequestException as error:
            self.failure = self._unsent(error)
            raise self.failure from None
        self._response = response
        max_bytes = self._adapter.configuration.max_event_bytes
        response.iter_lines = lambda *_, **__: lines(response, max_bytes)  # type: ignore[method-assign]
        if response.status_code != 200:
            self.failure = self._refused(response)
            self.close_stream()
            raise self.failure
        return response

    def close_stream(self) -> None:
        """Close the connection at once; urllib3 by itself leaves it to the collector."""
        if self._response is not None:
            self._response.close()
        pools = self.poolmanager.pools
        for key in pools.keys():  # noqa: SIM118 - it is no dict, and cannot be iterated over
            pools[key].close()
        self.close()

    def _unsent(self, error: requests.RequestException) -> ProviderError:
        limit = self._timeouts
        if isinstance(error, requests.ConnectTimeout):
            return TimedOut.after(limit.connect, "connect", str(self._host), request_sent=False)
        if isinstance(error, requests.Timeout):
            return TimedOut.after(limit.first_token, "first_token", str(self._host))
        reason = getattr(error.args[0], "reason", None) if error.args else None
        if isinstance(reason, (NewConnectionError, NameResolutionError)) or isinstance(
            error, requests.exceptions.SSLError
        ):
            return Unreachable(f"cannot reach {self._host}", request_sent=False)
        return Unreachable(f"{self._host} closed the connection before it answered")

    def _refused(self, response: requests.Response) -> ProviderError:
        status = response.status_code
        if 300 <= status < 400:
            return redirected(str(self._host), status, response.headers.get("location", ""))
        if 200 <= status < 300:
            return BrokenProtocol(f"{self._host} answered with status {status} and no reply")
        headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        try:
            body = response.raw.read(MAX_ERROR_BYTES, decode_content=True)
        except Exception:  # noqa: BLE001 - urllib3 and the SDKs raise many kinds
            body = b""
        return self._adapter.failure(status, headers, body)


def lines(response: requests.Response, max_bytes: int) -> Iterator[bytes]:
    """The body's lines as they come, at a cost linear in the bytes.

    `requests`' own takes 512 bytes at a time and looks at all of a pending line again for each: an endless one stops
    the worker. Raises a ProviderError where the body breaks off, is corrupt, or has a line over `max_bytes`.
    """
    pending = bytearray()
    after_cr = False
    while data := _read(response):
        if after_cr and data.startswith(b"\n"):
            data = data[1:]
        after_cr = data.endswith(b"\r") if data else after_cr
        *whole, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            pending += line
            yield bytes(pending)
            pending.clear()
        pending += rest
        if len(pending) > max_bytes:
            raise TooLarge(f"a line of the upstream's stream is longer than {max_bytes} bytes")
    if pending:
        yield bytes(pending)


def _read(response: requests.Response) -> bytes:
    """Some bytes of the body, b"" at its end."""
    try:
        return response.raw.read1(READ_BYTES, decode_content=True)
    except ReadTimeoutError:
        raise TimedOut("the upstream fell silent (timeouts.idle)", deadline="idle") from None
    except DecodeError:
        raise BrokenProtocol("the upstream's compressed body is corrupt") from None
    except HTTPError:
        raise CutOff("the upstream closed the stream before the reply ended") from None


class Waits:
    """The deadlines between events; they end a wait where gevent has patched the standard library."""

    def __init__(self, timeouts: Timeouts, host: str) -> None:
        self._timeouts = timeouts
        self._host = host
        self._began = monotonic()
        self._answering = False

    def next(self, events: Events) -> bytes | None:
        """The next event; None at the end. Raises TimedOut."""
        limit = self._timeouts
        left = max(0.001, self._began + limit.total - monotonic())
        deadline, wait = ("idle", limit.idle) if self._answering else ("first_token", limit.first_token)
        if left < wait:
            deadline, wait = "total", left
        with gevent.Timeout(wait, TimedOut.after(getattr(limit, deadline), deadline, self._host)):
            return next(events, None)

    def event(self, answering: bool) -> None:
        """An event came."""
        self._answering = self._answering or answering


def exchange(adapter: HostedAdapter, base_url: str, ask: Callable[[requests.Session], Events]) -> Iterator[list[Delta]]:
    """One attempt: what `ask` reads with the given session, in batches; closed before the last one is handed out."""
    once = Once(adapter)
    reading = adapter.reply_reader("text/event-stream")
    waits = Waits(adapter.configuration.timeouts, urlsplit(base_url).hostname or "")
    with _session(adapter, once) as session:
        events = ask(session)
        try:
            while True:
                try:
                    data = waits.next(events)
                except Exception as error:  # noqa: BLE001 - urllib3 and the SDKs raise many kinds
                    batch = reading.fail(once.failure or _named(error))
                    break
                batch = reading.feed(data) if data is not None else reading.end()
                if data is None or reading.ended or reading.failure:
                    break
                waits.event(reading.answering)
                if batch:
                    yield batch
        finally:
            once.close_stream()
            close = getattr(events, "close", None)
            if close:
                close()
    if batch:
        yield batch
    if reading.failure:
        raise reading.failure


def _session(adapter: HostedAdapter, once: Once) -> requests.Session:
    session = requests.Session()
    proxy = adapter.configuration.proxy
    session.trust_env = proxy == "env"
    if proxy not in ("", "env"):
        session.proxies = {"http": proxy, "https": proxy}
    session.headers["Accept-Encoding"] = "identity"
    session.mount("http://", once)
    session.mount("https://", once)
    return session


def _named(error: Exception) -> ProviderError:
    """What an exception from inside an SDK means."""
    if isinstance(error, ProviderError):
        return error
    return BrokenProtocol(f"the SDK could not read the upstream's reply ({type(error).__name__})")
