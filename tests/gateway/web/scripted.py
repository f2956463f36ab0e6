"""A small server of the contract whose answers are scripts: for what is hard to provoke in the real one.

A script is a list of steps. A pair is an event, an Event (threading) is waited for before going on, a function is
called, CUT breaks the connection of the first client that reads up to there, and a Reply is a whole HTTP reply and no
stream. The log, resuming and stopping work as the contract says.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

from gateway.access.auth import ANYONE
from gateway.answers.steps import TERMINAL, EventName
from gateway.settings import Settings, parse
from gateway.text2sql.database import Databases
from gateway.web import page
from tests.gateway.web.chromium import Page

CUT = object()


@dataclass
class Reply:
    status: int
    code: str
    message: str = ""
    retryable: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Provider:
    name: str
    model: str
    available: bool = True
    reason: str | None = None


@dataclass
class Answer:
    id: str
    events: list[tuple[str, str]] = field(default_factory=list)
    cuts: set[int] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopped: bool = False

    def put(self, name: str, data: dict[str, Any]) -> None:
        with self.changed:
            if not self.over:
                self.events.append((name, json.dumps(data, ensure_ascii=False)))
                self.changed.notify_all()

    @property
    def over(self) -> bool:
        return bool(self.events) and self.events[-1][0] in TERMINAL


class Scripted:
    """
    asked     every question's JSON and headers
    followed  every `Last-Event-ID`
    stopped   every stopped id
    ran       every body of `/sql`
    rated     every body of `/feedback`
    """

    def __init__(self, key: str = "", heartbeat_s: float = 10) -> None:
        self.scripts: dict[str, list[Any]] = {}
        self.answers: dict[str, Answer] = {}
        self.by_key: dict[str, Answer] = {}
        self.asked: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.followed: list[str | None] = []
        self.stopped: list[str] = []
        self.ran: list[dict[str, Any]] = []
        self.rated: list[dict[str, Any]] = []
        self.key = key
        self.providers = [
            Provider("local", "metro-sql"),
            Provider("qwen", "qwen-max", False, "DASHSCOPE_API_KEY is not set"),
            Provider("vllm", "Qwen2.5-7B-Instruct"),
        ]
        self.url = ""
        self.timezone: str | None = None
        self.app = self._app(parse(SETTINGS | {"server": {"heartbeat_s": heartbeat_s}}))

    def _app(self, settings: Settings) -> Flask:
        app = Flask("scripted", static_folder=None)
        app.register_blueprint(page(settings, lambda: self.providers, Databases(settings.databases)))

        @app.after_request
        def zoned(reply: Response) -> Response:
            if request.path == "/page/state" and self.timezone:
                state = reply.get_json()
                for database in state["databases"]:
                    database["timezone"] = self.timezone
                reply.data = json.dumps(state)
            return reply

        @app.before_request
        def guarded() -> Any:
            g.rights = ANYONE
            files = request.endpoint in ("page.index", "page.static")
            if self.key and not files and request.headers.get("Authorization") != f"Bearer {self.key}":
                return _refusal(Reply(401, "unauthorized", "a valid key is needed"))
            return None

        app.add_url_rule("/sql", view_func=self._run, methods=["POST"])
        app.add_url_rule("/feedback", view_func=self._rated, methods=["POST"])
        app.add_url_rule("/getAnwser", view_func=self._ask, methods=["GET", "POST"])
        app.add_url_rule("/answers/<id>/events", view_func=self._follow)
        app.add_url_rule("/answers/<id>", view_func=self._stop, methods=["DELETE"])
        return app

    def _ask(self) -> Any:
        get = request.method == "GET"
        last = request.headers.get("Last-Event-ID")
        if get and last:
            return self._from(last.rpartition(".")[0], int(last.rpartition(".")[2]))
        body = dict(request.args) if get else request.get_json()
        key = body.pop("key", "") if get else request.headers.get("Idempotency-Key", "")
        if key in self.by_key:
            return self._stream(self.by_key[key], 0)
        self.asked.append((body, dict(request.headers)))
        script = self.scripts[body["question"]]
        if isinstance(script[0], Reply):
            return _refusal(script.pop(0))
        answer = Answer(f"a{len(self.answers) + 1}")
        self.answers[answer.id] = self.by_key[key] = answer
        threading.Thread(target=_play, args=(answer, script), daemon=True).start()
        return self._stream(answer, 0)

    def _run(self) -> Any:
        """A statement that a person edited: its script is that of the statement."""
        body = request.get_json()
        self.ran.append(body)
        script = self.scripts[body["sql"]]
        if isinstance(script[0], Reply):
            return _refusal(script[0])
        answer = Answer(f"s{len(self.ran)}")
        _play(answer, script)
        return self._stream(answer, 0)

    def _rated(self) -> Any:
        self.rated.append(request.get_json())
        return {"remembered": True, "forgotten": False}

    def _follow(self, id: str) -> Any:
        last = request.headers.get("Last-Event-ID")
        self.followed.append(last)
        return self._from(id, int(last.rpartition(".")[2]) if last else 0)

    def _from(self, id: str, seen: int) -> Any:
        answer = self.answers.get(id)
        if answer is None:
            return _refusal(Reply(404, "not_found", "no such answer"))
        if answer.over and seen >= len(answer.events):
            return "", 204
        return self._stream(answer, seen)

    def _stop(self, id: str) -> Any:
        self.stopped.append(id)
        self.answers[id].stopped = True
        self.answers[id].put("done", {"finish_reason": "cancelled", "usage": None, "timing": {}})
        return "", 204

    def _stream(self, answer: Answer, seen: int) -> Response:
        return Response(_written(answer, seen), mimetype="text/event-stream", headers={"X-Answer-Id": answer.id})


def _play(answer: Answer, script: list[Any]) -> None:
    for step in script:
        if step is CUT:
            answer.cuts.add(len(answer.events))
        elif isinstance(step, threading.Event):
            # Forever, where the test wants no more: the thread is a daemon.
            step.wait()
        elif callable(step):
            step()
        elif not answer.stopped:
            answer.put(*step)


def _written(answer: Answer, seen: int) -> Iterator[bytes]:
    yield b"retry: 1000\n"
    while True:
        with answer.changed:
            # Looked at once more each 50 ms, for a cut that comes without an event.
            while len(answer.events) <= seen and seen not in answer.cuts:
                answer.changed.wait(0.05)
        if seen in answer.cuts:
            answer.cuts.discard(seen)
            raise ConnectionError("cut, as the script says")
        name, data = answer.events[seen]
        seen += 1
        named = "" if name == EventName.MESSAGE else f"event: {name}\n"
        yield f"id: {answer.id}.{seen}\n{named}data: {data}\n\n".encode()
        if name in TERMINAL:
            return


def _refusal(reply: Reply) -> Any:
    error = {"code": reply.code, "message": reply.message, "retryable": reply.retryable, "request_id": "r-1"}
    return jsonify(error=error), reply.status, reply.headers


SQL = "SELECT name, line, COUNT(*) AS n FROM dtzpt WHERE name = '沈塘桥' LIMIT 5"
START = ("start", {"id": "a1", "provider": "local", "model": "metro-sql", "created": 1})
JUDGED = ("sql", {"sql": SQL, "dialect": "sqlite", "tables": ["dtzpt"], "ok": True, "reason": None})
USAGE = {"prompt_tokens": 312, "completion_tokens": 48, "total_tokens": 360}
DONE = ("done", {"finish_reason": "stop", "usage": USAGE, "timing": {"first_token": 120, "generate": 640, "sql": 3}})
COLUMNS = [{"name": "name", "type": "TEXT"}, {"name": "line", "type": "TEXT"}, {"name": "n", "type": "INTEGER"}]
OVER = "document.querySelector('#stop').hidden && document.querySelector('.usage') !== null"


def text(words: str) -> tuple[str, dict[str, Any]]:
    return "message", {"text": words}


def rows(columns: list[dict[str, str]], values: list[list[Any]], truncated: bool = False) -> tuple[str, dict[str, Any]]:
    return "rows", {"columns": columns, "rows": values, "truncated": truncated, "elapsed_ms": 2.6}


FENCED = text(f"查询沈塘桥：\n\n```sql\n{SQL}\n```\n")
FULL = [START, FENCED, JUDGED, rows(COLUMNS, [["沈塘桥", "2号线", 1]]), DONE]


SETTINGS = {
    "default": "local",
    "providers": {"local": {"type": "local", "model": "metro-sql"}},
    "databases": {"metro": {"url": "sqlite://", "tables": ["dtzpt"], "memory": "memory.db"}},
}


class Quiet(WSGIRequestHandler):
    """Cuts are on purpose and no news."""

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def served(app: Callable[..., Any]) -> Iterator[str]:
    """The URL of `app` while it is served, a thread for each request."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def opened(page: Page, server: Scripted) -> None:
    page.open(server.url + "/")
    page.wait("document.querySelectorAll('#provider option').length > 1")


def ask(page: Page, question: str) -> None:
    page.js("document.querySelector('#question').focus()")
    page.type(question)
    page.press("Enter")


def answered(page: Page, server: Scripted, script: list[Any], question: str = "q") -> None:
    server.scripts[question] = script
    ask(page, question)
    page.wait(OVER)
