"""Asking an upstream once, over HTTP/1.1, and reading its reply under four deadlines.

Our own client and not a library: it knows whether the question went out, closes at once, and costs less than
`requests` does (benchmarks/results/normaliser.md). A message never holds a URL: ERNIE's has a token in it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Self

import gevent
from gevent import get_hub

from providers.errors import BrokenProtocol, CutOff, Overloaded, ProviderError, TimedOut, Unreachable
from providers.transport.connection import (
    RECV_BYTES,
    Address,
    Connection,
    Pool,
    address,
    connect,
    proxy_authorization,
)
from providers.transport.framing import MAX_HEAD_BYTES, Head, decompressor, framing, parse_head

MAX_ERROR_BYTES = 256 << 10
SETTLE_S = 0.1  # how long the end of a body may lag behind the end of the reply
AFTER_FINISH_S = 2.0  # what may still come after the finish_reason (usage, [DONE]) is not waited for longer
ERROR_BODY_S = 2.0  # what a refusal says is not waited for longer: its status says enough
MAX_INTERIM = 10
_READS_IN_A_ROW = 32
SLICE_BYTES = 16 << 10
TURN_S = 0.005  # after so long one connection lets the others have their turn
LATE_S = 0.25  # a timer that fires so much later than it should was kept waiting by our own work
SECOND_LOOK_S = 0.05  # what has arrived in the meantime is read first
# Some servers end the head's lines with LF alone, which RFC 9112 lets a reader take.
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class Timeouts(Protocol):
    """Seconds; the configuration's section of that name."""

    connect: float
    first_token: float
    idle: float
    total: float


class Tls(Protocol):
    """The configuration's section of that name."""

    ca: str
    verify: bool
    cert: str
    key: str


class Deadlines:
    """The four deadlines of one try, on one timer: a read costs nothing, the timer looks when it fires."""

    def __init__(self, timeouts: Timeouts, host: str) -> None:
        self._timeouts = timeouts
        self._host = host
        self._began = self._asked = self._event = time.monotonic()
        self._waiting_for = "first_token"
        self.is_finished = False  # what `finished` was called with last
        self._connection: Connection | None = None
        self._timer: Any = None
        self._fired = self._looked_twice = False

    def connecting(self) -> gevent.Timeout:
        """The deadline of name, TCP and TLS together."""
        left = min(self._timeouts.connect, self._timeouts.total)
        return gevent.Timeout(left, TimedOut.after(left, "connect", self._host, request_sent=False))

    def asked(self, connection: Connection) -> None:
        """The question goes out now."""
        self._connection = connection
        self._asked = self._event = time.monotonic()
        self._arm()

    def event(self, answering: bool) -> None:
        """An event with data came. answering: some of the reply is there."""
        self._event = time.monotonic()
        if answering and self._waiting_for == "first_token":
            self._waiting_for = "idle"
            self._arm()
        elif self._fired and self._connection is not None and self._due()[1] != "total":
            # The timer fired while no read was waiting: the events had arrived, only this greenlet was late.
            self._connection.interrupt(None)
            self._arm()

    def finished(self, is_finished: bool) -> None:
        """The reply is complete but for what an upstream sends after it; False: it went on all the same."""
        self.is_finished = is_finished
        waiting_for = "finished" if is_finished else "idle"
        if self._waiting_for != waiting_for and (is_finished or self._waiting_for == "finished"):
            self._waiting_for = waiting_for
            self._arm()

    @property
    def running(self) -> bool:
        """A question is under way."""
        return self._connection is not None

    def still_there(self) -> None:
        """The upstream says that the question waits in its queue: only `total` bounds that, not `first_token`."""
        if self._waiting_for == "first_token":
            self._asked = time.monotonic()

    def stop(self) -> None:
        """No deadline is on any more."""
        self._connection = None
        self._disarm()

    def _due(self) -> tuple[float, str, float]:
        """When the nearest deadline is, its name and its length."""
        limit = self._timeouts
        near = {
            "first_token": (self._asked + limit.first_token, "first_token", limit.first_token),
            "idle": (self._event + limit.idle, "idle", limit.idle),
            "finished": (self._event + min(AFTER_FINISH_S, limit.idle), "idle", limit.idle),
        }[self._waiting_for]
        return min(near, (self._began + limit.total, "total", limit.total))

    def _arm(self) -> None:
        self._disarm()
        self._fired = self._looked_twice = False
        self._timer = get_hub().loop.timer(max(0.001, self._due()[0] - time.monotonic()))
        self._timer.start(self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _look(self) -> None:
        at, deadline, limit_s = self._due()
        late = time.monotonic() - at
        if late < -0.001:
            self._arm()
        elif late > LATE_S and not self._looked_twice:
            # Our own loop was late: the upstream's bytes may lie unread. Judge after they had a chance.
            self._looked_twice = True
            self._disarm()
            self._timer = get_hub().loop.timer(SECOND_LOOK_S)
            self._timer.start(self._look)
        elif self._connection is not None:
            self._fired = True
            self._connection.interrupt(TimedOut.after(limit_s, deadline, self._host))


class Response:
    """A response whose head has come. Close it, or use it in `with`: that closes the connection at once."""

    def __init__(self, head: Head, rest: bytes, connection: Connection, deadlines: Deadlines, pool: Pool) -> None:
        self.status = head.status
        self.headers = head.headers
        self.cut = False  # the body ended before its framing said so
        self.deadlines = deadlines
        self._head = head
        self._rest = rest
        self._connection: Connection | None = connection
        self._pool = pool
        self._framing = framing(head)
        self._inflate = decompressor(head)
        self._slicing = False  # `pieces` has handed out a part of what it read

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives, decoded. Sets `cut` where it ends too early; raises TimedOut or BrokenProtocol."""
        data, self._rest = self._rest, b""
        reads, full = 0, False
        overdue: Exception | None = None  # the deadline that had passed before the last read
        while True:
            if data:
                data = self._framing.feed(data)
                if self._inflate:
                    for piece in self._inflate.feed(data):
                        yield piece
                        gevent.sleep(0)
                elif len(data) <= SLICE_BYTES:
                    if data:
                        yield data
                else:
                    self._slicing = True
                    yield from _slices(data)
                    self._slicing = False
            if self._framing.complete or self._connection is None:
                break
            # A wait is ended by its deadline; where bytes are always there is none. An event takes the deadline back.
            if overdue is not None and self._connection.overdue is overdue:
                raise overdue
            overdue = self._connection.overdue
            # An upstream that always has bytes ready would keep every other greenlet waiting.
            reads += 1
            if full or reads % _READS_IN_A_ROW == 0:
                gevent.sleep(0)
            try:
                data = self._connection.recv()
                full = len(data) == RECV_BYTES
            except OSError:
                self.cut = True
                return
            if not data:
                self.cut = not self._framing.at_close()
                break
        if self._inflate and not self._inflate.complete:
            self.cut = True

    @property
    def deliverable(self) -> bool:
        """Whether `deliver` can read the rest: not while `pieces` holds some of it, nor through TLS or compression."""
        if self._connection is None or self._slicing:
            return False
        return not self._connection.where.secure and self._inflate is None

    def deliver(self, took: Callable[[bytes], bool]) -> None:
        """As `pieces`, for the rest of the body, but each piece goes to `took` from the event loop.

        Returns when `took` returns False, or the body has ended; this greenlet sleeps until then.
        """

        framing, feed = self._framing, self._framing.feed

        def arrived(data: bytes) -> bool:
            if not data:
                self.cut = not framing.at_close()
                return False
            data = feed(data)
            if data and not took(data):
                return False
            return not framing.complete

        if self._connection is None or self._framing.complete:
            return
        try:
            self._connection.deliver(arrived)
        except OSError:
            self.cut = True

    def body(self, max_bytes: int = MAX_ERROR_BYTES) -> bytes:
        """The body, at most its first `max_bytes`, as far as it came within 2 s; never raises."""
        body = bytearray()
        with gevent.Timeout(ERROR_BODY_S, False):
            try:
                for piece in self.pieces():
                    body += piece
                    if len(body) >= max_bytes:
                        break
            except ProviderError:
                pass  # what came is what there is
        return bytes(body[:max_bytes])

    def done(self) -> None:
        """The reply is complete: keep the connection if the body ends now too, close it if not."""
        self.deadlines.stop()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if not self._reusable(connection):
            connection.close()
        elif self._framing.complete:
            self._pool.keep(connection)
        else:
            gevent.spawn(self._settle, connection)

    def close(self) -> None:
        """Close the connection at once."""
        self.deadlines.stop()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _reusable(self, connection: Connection) -> bool:
        hint = self._head.headers.get("keep-alive", "").partition("timeout=")[2].split(",")[0].strip()
        if hint.isdigit():
            connection.idle_s = min(connection.idle_s, int(hint) - 1)
        return self._head.keep_alive and not self._framing.junk and not self.cut

    def _settle(self, connection: Connection) -> None:
        try:
            with gevent.Timeout(SETTLE_S, False):
                while not self._framing.complete:
                    data = connection.recv()
                    if not data or self._framing.feed(data):
                        break
        except (OSError, ProviderError):
            pass  # it is only worth closing
        if self._framing.complete and not self._framing.junk:
            self._pool.keep(connection)
        else:
            connection.close()


def _slices(data: bytes) -> Iterator[bytes]:
    """A large piece in parts: 64 KiB of empty comments cost 60 ms, and other greenlets may not wait for that long."""
    began = time.monotonic()
    for at in range(0, len(data), SLICE_BYTES):
        yield data[at : at + SLICE_BYTES]
        if time.monotonic() - began > TURN_S:
            gevent.sleep(0)
            began = time.monotonic()


class Client:
    """Asks one upstream; keeps the connections that ended cleanly."""

    def __init__(self, timeouts: Timeouts, proxy: str = "", tls: Tls | None = None) -> None:
        self._timeouts = timeouts
        self._tls = tls
        self._proxy = proxy
        self._pool = Pool()

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()

    def _connected(self, where: Address, deadlines: Deadlines) -> Connection:
        """A new connection. A deadline that fired late proves nothing: then it is tried once more."""
        for last in (False, True):
            began = time.monotonic()
            try:
                with deadlines.connecting():
                    return connect(where, self._tls)
            except TimedOut as error:
                late = time.monotonic() - began - min(self._timeouts.connect, self._timeouts.total)
                if late < LATE_S:
                    raise
                if last:
                    raise Overloaded(
                        f"this gateway is too busy to reach {where.host}: its own timers are {late:.1f} s late",
                        retry_after=1.0,
                        request_sent=False,
                    ) from error
        raise AssertionError("the second try returns or raises")

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Send the request once and wait for the response's head.

        Raises Unreachable, TimedOut, CutOff or BrokenProtocol; `request_sent` is False where no byte of the
        request went out.
        """
        where, target = address(url, self._proxy)
        deadlines = Deadlines(self._timeouts, where.host)
        lines = {"Host": where.authority, "Accept-Encoding": "identity", "Content-Length": str(len(body)), **headers}
        if where.proxy and not where.secure and (secret := proxy_authorization(where.proxy)):
            lines["Proxy-Authorization"] = secret
        # A line end that came with a key, from a file or the environment, must not end the header.
        head = [f"{method} {target} HTTP/1.1", *(f"{name}: {' '.join(lines[name].split())}" for name in lines), "", ""]
        request = "\r\n".join(head).encode("latin-1", "replace") + body
        kept = self._pool.take(where)
        if kept is not None:
            acknowledged = kept.acknowledged()
            try:
                return self._exchange(kept, request, deadlines, close=False)
            except Unreachable as error:
                # The server closed the idle connection while the question was on its way to it.
                if error.request_sent and not kept.never_received_since(acknowledged):
                    raise
            finally:
                if not deadlines.running:
                    kept.close()
        return self._exchange(self._connected(where, deadlines), request, deadlines)

    def _exchange(self, connection: Connection, request: bytes, deadlines: Deadlines, close: bool = True) -> Response:
        where = connection.where
        try:
            deadlines.asked(connection)
            sent = connection.send(request)
            if sent == 0:
                raise Unreachable(f"{where.host} closed the connection", request_sent=False)
            received, rest = _head(connection, where.host)
            return Response(received, rest, connection, deadlines, self._pool)
        except BaseException:
            deadlines.stop()
            if close:
                connection.close()
            raise


def _head(connection: Connection, host: str) -> tuple[Head, bytes]:
    """The final response's head and what came after it; interim (1xx) responses are skipped."""
    data = bytearray()
    looked = interim = 0
    while True:
        if end := _END_OF_HEAD.search(data, looked):
            head = parse_head(bytes(data[: end.start()]))
            del data[: end.end()]
            looked = 0
            if head.status == 101 or head.status < 100:
                raise BrokenProtocol(f"{host} answered with status {head.status}")
            if head.status >= 200:
                return head, bytes(data)
            interim += 1
            if interim > MAX_INTERIM:
                raise BrokenProtocol(f"{host} answers with nothing but interim responses")
            continue
        looked = max(0, len(data) - 3)
        if len(data) > MAX_HEAD_BYTES:
            raise BrokenProtocol(f"{host} sent a head longer than {MAX_HEAD_BYTES} bytes")
        try:
            more = connection.recv()
        except OSError:
            more = b""
        if not more and not data:
            raise Unreachable(f"{host} closed the connection before it answered")
        if not more:
            raise CutOff(f"{host} closed the connection within its response's head")
        data += more
        if not b"HTTP/".startswith(data[:5]):
            raise BrokenProtocol(f"{host} does not answer in HTTP")
