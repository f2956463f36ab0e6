"""The server behind `sluice upstream`: five wires on one port, a plan for each request, and a ledger of who asked.

One thread a connection, on plain sockets, so that it can do with a connection whatever a network does. In a process
where gevent has patched the standard library the threads are greenlets.

    POST /-/plans   {"plan": "cut=120", "text": "what it says", "times": 1}   for the next requests, in order
    GET /-/asked    what was asked, and the connections: opened, closed, by whom
    DELETE /-/asked forgets it
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from providers.scripted.connection import Gone, ServedConnection
from providers.scripted.ledger import Asked, Connection, Ledger
from providers.scripted.plan import Plan, parse, split_model

BASES = {
    "dashscope": "/api/v1",
    "dashscope_compatible": "/compatible-mode/v1",
    "ernie": "",
    "qianfan": "/v2",
    "openai": "/v1",
    "dashscope_app": "/api/v1",
}
MODELS = tuple(wire for wire in BASES if wire != "dashscope_app")
"""The wires that are asked for a model, with all that its request may hold; the table of faults is about these."""


class Upstream:
    """
    Listening from the moment it is made; `url` says where, `base_url(wire)` what a provider's configuration needs.

    key     the one key that is accepted; "" accepts any
    pace_s  between two events
    plan    what every request meets that has no plan of its own
    text    what it says, instead of a few words with every kind of character
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        key: str = "",
        pace_s: float = 0.0,
        plan: str = "",
        text: str = "",
    ) -> None:
        self.key = key
        self.pace_s = pace_s
        self.plan = plan
        self.text = text
        self.ledger = Ledger()
        self.log: Callable[[str], None] | None = None
        self.planned: list[tuple[str, str]] = []
        self._met: dict[str, int] = {}
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._sockets: set[socket.socket] = set()
        self._closing = False
        self._listener = socket.create_server((host, port), backlog=1024)
        self.host, self.port = self._listener.getsockname()[:2]
        self.url = f"http://{self.host}:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, name="scripted-upstream", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def base_url(self, wire: str) -> str:
        """The `base_url` of a provider of that type."""
        return self.url + BASES[wire]

    def plan_next(self, *plans: str, text: str = "") -> None:
        """What the next requests meet, in order; a plan behind a model's @ goes before it."""
        for plan in plans:
            parse(plan)
        with self._lock:
            self.planned += [(plan, text) for plan in plans]

    @property
    def asked(self) -> list[Asked]:
        return list(self.ledger.asked)

    def open_connections(self) -> list[Connection]:
        return [connection for connection in list(self.ledger.connections) if connection.closed_at is None]

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Wait until something in the ledger `holds`; False if it does not within `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(holds, timeout_s)

    def forget(self) -> None:
        """Empty the ledger and the plans."""
        with self._lock:
            self.ledger = Ledger()
            self.planned.clear()
            self._met.clear()

    def close(self) -> None:
        """Stop listening and cut whatever is open."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            open_sockets = list(self._sockets)
        for sock in open_sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(5)

    # -- connections

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                connection = Connection(len(self.ledger.connections) + 1, time.monotonic())
                self.ledger.connections.append(connection)
                self._sockets.add(sock)
            threading.Thread(target=self._serve, args=(sock, connection), daemon=True).start()

    def _serve(self, sock: socket.socket, connection: Connection) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ended_by = "upstream"
        try:
            ServedConnection(self, sock, connection).run()
        except (Gone, ConnectionError):
            ended_by = "client"
        except OSError:
            pass
        finally:
            with contextlib.suppress(OSError):
                sock.close()
            with self._changed:
                self._sockets.discard(sock)
                connection.closed_at = time.monotonic()
                connection.closed_by = ended_by
                self._changed.notify_all()

    # -- plans and tokens

    def next_plan(self, model: str) -> tuple[Plan, str]:
        """The plan of the next request to this model, and what it says."""
        _, behind = split_model(model)
        with self._lock:
            text, own = self.text, behind or self.plan
            if not behind and self.planned:
                own, text = self.planned.pop(0)
            plan = parse(own)
            self._met[model + own] = met = self._met.get(model + own, 0) + 1
        return (Plan() if plan.times is not None and met > plan.times else plan), text or self.text

    def planned_before_reading(self) -> Plan:
        """A plan set beforehand can act on a connection before its request was read; a model's name cannot."""
        with self._lock:
            plan = parse(self.planned[0][0] if self.planned else self.plan)
            if self.planned and (plan.hang == "accept" or plan.drop == "accept"):
                self.planned.pop(0)
        return plan

    def note(self, asked: Asked) -> None:
        with self._changed:
            self.ledger.asked.append(asked)
            self._changed.notify_all()
        if self.log:
            self.log(f"{asked.wire} {asked.model}")

    def token(self, client_id: str) -> str:
        """A new token for this client; the ones before it stay good unless a plan refuses them."""
        with self._lock:
            self.ledger.tokens_given += 1
            return f"24.token{self.ledger.tokens_given}.2592000.{client_id[-4:]}"

    def token_refusal(self, plan: Plan, query: dict[str, list[str]], headers: dict[str, str]) -> int:
        """ERNIE's error code for the token in the query; 0 if it is good."""
        token = (query.get("access_token") or [""])[0]
        if headers.get("authorization", "").startswith("bce-auth-v1/"):
            return 0
        if not token.startswith("24.token"):
            return 110
        if plan.token == "always":
            return 110
        with self._lock:
            if plan.token in ("expired", "invalid"):
                self._tokens.setdefault(plan.token + self.url, token)
                if self._tokens[plan.token + self.url] == token:
                    return 111 if plan.token == "expired" else 110
        return 0
