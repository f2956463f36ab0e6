"""One connection to the scripted upstream: its requests read, and answered as their plans say."""

from __future__ import annotations

import email.utils
import json
import socket
import struct
import time
from dataclasses import asdict
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from providers.delta import Delta
from providers.scripted import reply
from providers.scripted.alibaba import DashScope, DashScopeApp
from providers.scripted.baidu import Ernie, Qianfan
from providers.scripted.body import Body, body, endless
from providers.scripted.dialects import Call, DashScopeCompatible, Dialect, OpenAI, Refusal
from providers.scripted.ledger import Asked, Connection, Ledger
from providers.scripted.plan import EVENTS_BEFORE, Plan, UnknownWord, parse, split_model

MAX_HEAD_BYTES = 65536
GIVE_UP_S = 120.0
SETTLE_S = 0.02  # a reset takes back what the other side has not read yet
HTML = b"<!doctype html><html><head><title>Gateway</title></head><body><h1>Bad Gateway or Login</h1></body></html>"
CHAT = {
    "/api/v1/services/aigc/text-generation/generation": DashScope(),
    "/api/v1/services/aigc/multimodal-generation/generation": DashScope(),
    "/compatible-mode/v1/chat/completions": DashScopeCompatible(),
    "/v2/chat/completions": Qianfan(),
    "/v1/chat/completions": OpenAI(),
}
ERNIE_CHAT = "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/"
ERNIE = Ernie()
APPS = "/api/v1/apps/"
APP = DashScopeApp()
REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}


class Gone(Exception):
    """The client closed."""


class Upstream(Protocol):
    """What a connection needs of the server that accepted it; see providers/scripted/server.py."""

    key: str
    pace_s: float
    plan: str
    planned: list[tuple[str, str]]
    ledger: Ledger

    def plan_next(self, *plans: str, text: str = "") -> None: ...

    def forget(self) -> None: ...

    def next_plan(self, model: str) -> tuple[Plan, str]: ...

    def planned_before_reading(self) -> Plan: ...

    def note(self, asked: Asked) -> None: ...

    def token(self, client_id: str) -> str: ...

    def token_refusal(self, plan: Plan, query: dict[str, list[str]], headers: dict[str, str]) -> int: ...


class ServedConnection:
    """One connection's requests and answers."""

    def __init__(self, upstream: Upstream, sock: socket.socket, connection: Connection) -> None:
        self.upstream = upstream
        self.sock = sock
        self.connection = connection
        self.pending = b""

    def run(self) -> None:
        """Answer until one side closes."""
        before = self.upstream.planned_before_reading()
        if before.drop == "accept":
            return
        if before.hang == "accept":
            self._wait(GIVE_UP_S)
            return
        while self._answer_one():
            pass

    # -- reading a request

    def _read(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        return data

    def _request(self) -> tuple[str, str, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self.pending:
            self.pending += self._read()
            if len(self.pending) > MAX_HEAD_BYTES:
                raise Gone
        head, _, rest = self.pending.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = (first + "  ").split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("expect"):
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(headers.get("content-length") or 0)
        while len(rest) < length:
            rest += self._read()
        self.pending = rest[length:]
        return method, target, headers, rest[:length]

    def _answer_one(self) -> bool:
        """Read one request and answer it; False if the connection is at its end."""
        method, target, headers, raw = self._request()
        self.connection.requests += 1
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        if parts.path.startswith("/-/"):
            return self._control(method, parts.path, raw)
        if parts.path in ("/oauth/2.0/token", "/v1/BCE-BEARER/token"):
            return self._token(parts.path, query)
        if parts.path == "/v1/models":
            return self._json(200, {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "vllm"}]})
        form, model = CHAT.get(parts.path), ""
        if parts.path.startswith(ERNIE_CHAT):
            form, model = ERNIE, unquote(parts.path.removeprefix(ERNIE_CHAT))
        if parts.path.startswith(APPS) and parts.path.endswith("/completion"):
            form, model = APP, unquote(parts.path.removeprefix(APPS).removesuffix("/completion"))
        if form is None:
            return self._json(404, {"detail": "Not Found"})
        try:
            fields = json.loads(raw)
        except ValueError:
            return self._json(400, {"error": {"message": "the body is not JSON", "code": 400}})
        return self._chat(form, model or str(fields.get("model", "")), target, query, headers, fields)

    # -- what is no chat

    def _control(self, method: str, path: str, raw: bytes) -> bool:
        upstream = self.upstream
        if path == "/-/plans" and method == "POST":
            try:
                wanted = json.loads(raw)
                upstream.plan_next(*[wanted.get("plan", "")] * int(wanted.get("times", 1)), text=wanted.get("text", ""))
            except UnknownWord as error:
                return self._json(400, {"error": str(error)})
            except (ValueError, TypeError, AttributeError):
                return self._json(
                    400, {"error": 'a plan is JSON: {"plan": "cut=120", "text": "what it says", "times": 1}'}
                )
            return self._json(200, {"planned": len(upstream.planned)})
        if path == "/-/asked" and method == "GET":
            return self._json(200, asdict(upstream.ledger))
        if path == "/-/asked" and method == "DELETE":
            upstream.forget()
            return self._json(200, {})
        return self._json(404, {"error": "there is /-/plans and /-/asked"})

    def _token(self, path: str, query: dict[str, list[str]]) -> bool:
        if path.startswith("/v1/"):
            return self._json(200, {"token": "bce-v3/scripted/token", "expireTime": "2099-01-01T00:00:00Z"})
        secret, client = (query.get("client_secret") or [""])[0], (query.get("client_id") or [""])[0]
        plan = parse(self.upstream.plan)
        if plan.token == "refused" or "bad" in secret or (self.upstream.key and client != self.upstream.key):
            return self._json(401, {"error": "invalid_client", "error_description": "Client authentication failed"})
        return self._json(200, {"access_token": self.upstream.token(client), "expires_in": 2592000, "scope": "public"})

    def _json(self, status: int, value: Any) -> bool:
        self._refuse(Refusal(status, value))
        return True

    def _refuse(self, refusal: Refusal, plan: Plan | None = None) -> None:
        headers = list(refusal.headers)
        if plan and plan.retry is not None:
            headers.append(("Retry-After", f"{plan.retry:g}"))
        if plan and plan.retry_date is not None:
            headers.append(("Retry-After", email.utils.formatdate(time.time() + plan.retry_date, usegmt=True)))
        content = refusal.bytes()
        headers += [("Content-Type", refusal.content_type), ("Content-Length", str(len(content)))]
        self._head(refusal.status, headers)
        self.sock.sendall(content)

    def _head(self, status: int, headers: list[tuple[str, str]]) -> None:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{name}: {value}" for name, value in headers)]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    # -- a chat

    def _chat(
        self,
        form: Dialect,
        model: str,
        target: str,
        query: dict[str, list[str]],
        headers: dict[str, str],
        asked: dict[str, Any],
    ) -> bool:
        name, _ = split_model(model)
        try:
            plan, text = self.upstream.next_plan(model)
        except UnknownWord as error:
            return self._json(400, {"error": {"message": str(error), "code": 400}})
        key = headers.get("authorization", "").removeprefix("Bearer ")
        streamed = bool(asked.get("stream")) or headers.get("x-dashscope-sse") == "enable"
        streamed = streamed or (form.wire.startswith("dashscope") and "event-stream" in headers.get("accept", ""))
        call = Call(name, key, asked, streamed, "/multimodal-generation/" in target)
        noted = Asked(form.wire, model, target, headers, asked, self.connection.number, time.monotonic())
        self.upstream.note(noted)
        if form.wire == "ernie":
            code = self.upstream.token_refusal(plan, query, headers)
            if code:
                said = "Access token expired" if code == 111 else "Access token invalid or no longer valid"
                return self._json(200, {"error_code": code, "error_msg": said})
        refusal = form.refusal(call, "" if form.wire == "ernie" else self.upstream.key)
        if refusal:
            self._refuse(refusal, plan)
            return True
        return self._planned(form, call, plan, text, noted)

    def _planned(self, form: Dialect, call: Call, plan: Plan, text: str, noted: Asked) -> bool:
        """Answer a request that the service would take, as the plan says."""
        if plan.drop == "head":
            return False
        if plan.hang == "head":
            self._wait(GIVE_UP_S)
            return False
        if plan.drop == "status":
            self.sock.sendall(b"HTTP/1.1 20")
            return False
        if plan.html or plan.status or plan.redirect:
            said = HTML if plan.html else b""
            status = plan.html or plan.status or 302
            headers = (("Location", "/v1/elsewhere"),) if plan.redirect else ()
            self._refuse(Refusal(status, said, "text/html" if said else "text/plain", headers), plan)
            return True
        events: list[bytes] | None = None
        if plan.fail and not plan.after:
            failed = form.failed(plan, call)
            if isinstance(failed, Refusal):
                self._refuse(failed, plan)
                return True
            events = failed
        steps = self._steps(plan, text, call)
        if events is None and (plan.whole or not call.streamed):
            return self._json(200, form.whole(steps, call, plan))
        self._stream(form, events or form.events(steps, call, plan), plan, noted)
        return not (plan.identity or plan.cut is not None or plan.reset is not None or plan.halfclose is not None)

    def _steps(self, plan: Plan, text: str, call: Call) -> list[Delta]:
        if plan.count is not None:
            return reply.counting(call.question, plan.count)
        if text:
            return reply.saying(text)
        return reply.thinking() if plan.think else reply.calling() if plan.tools else reply.plain()

    def _stream(self, form: Dialect, events: list[bytes], plan: Plan, noted: Asked) -> None:
        reply_body = body(events, plan, form.failed_event(plan) if plan.fail else [])
        kind = plan.type or "text/event-stream;charset=UTF-8"
        headers = [*form.headers, ("Content-Type", kind), ("Cache-Control", "no-cache")]
        if plan.gzip or plan.corrupt:
            headers.append(("Content-Encoding", "gzip"))
        headers.append(("Connection", "close") if plan.identity else ("Transfer-Encoding", "chunked"))
        if plan.flood == "head":
            self._flood_head()
        self._head(200, headers)
        pause = (
            plan.trickle if plan.trickle is not None else plan.pace if plan.pace is not None else self.upstream.pace_s
        )
        self._wait(plan.wait)
        for number, write in enumerate(reply_body.writes):
            if number:
                self._wait(plan.lull if plan.lull and number == EVENTS_BEFORE else pause)
            self._send(write, plan)
            noted.events_sent = number + 1
        self._stop(reply_body, plan)

    def _flood_head(self) -> None:
        """Lines of a head until the client closes."""
        self.sock.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            self.sock.sendall(b"x-more: and more\r\n" * 2048)

    def _send(self, data: bytes, plan: Plan) -> None:
        if data:
            self.sock.sendall(data if plan.identity else _chunk(data))

    def _stop(self, made: Body, plan: Plan) -> None:
        if made.endless:
            for data, pause in endless(made.endless, bytes if plan.identity else _chunk):
                self.sock.sendall(data)
                self._wait(pause)
        if made.stop == "hang":
            self._wait(GIVE_UP_S)
        elif made.stop == "halfclose":
            self.sock.shutdown(socket.SHUT_WR)
            self._wait(GIVE_UP_S)
        elif made.stop == "reset":
            self._wait(SETTLE_S)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif not made.stop and not plan.identity:
            self.sock.sendall(b"0\r\n\r\n")

    def _wait(self, seconds: float) -> None:
        """Do nothing for so long, but notice at once when the client closes."""
        if not seconds:
            return
        until = time.monotonic() + seconds
        try:
            while (left := until - time.monotonic()) > 0:
                self.sock.settimeout(left)
                self.pending += self._read()
        except TimeoutError:
            pass
        finally:
            self.sock.settimeout(None)


def _chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked transfer coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
