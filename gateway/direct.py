"""The asking routes, reached before Flask's dispatch: nearly all that a worker is asked comes by them.

A WSGI layer around the application. A POST whose path is one of these routes gets Flask's objects (`request`, `g` and
`current_app` work as ever), its handlers of errors, and what runs before and after each request. It does without the
URL map, the session, signals and conversions of what a view returns: a tenth of a question's instructions
(`python -m benchmarks.gateway.instructions`). Everything else goes to Flask, which is also the judge in tests.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response
from flask.ctx import RequestContext
from werkzeug.routing import Rule

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATHS = frozenset(
    {"/getAnwser", "/getAnswer", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/chat", "/api"}
)

# Any other Host is Flask's to judge.
_PLAIN_HOST = re.compile(r"([A-Za-z0-9.-]{1,200}|\[[0-9A-Fa-f:.]{2,50}\])(:[0-9]{1,5})?")


class Context(RequestContext):
    """Flask's context of a request whose route is known.

    tests/contracts/test_flask.py names each attribute, and says what to look at when a new Flask has others.
    """

    def __init__(self, app: Flask, environ: WSGIEnvironment, rule: Rule, session: Any) -> None:
        self.app = app
        # Not noted in `environ`: that would be a cycle, which each stream would leave to the garbage collector.
        self.request = app.request_class(environ, populate_request=False)
        self.request.json_module = app.json
        self.request.url_rule, self.request.view_args = rule, {}
        # Without an adapter, push() asks no URL map.
        self.url_adapter = None
        self.flashes = None
        self._session = session
        self._after_request_functions = []
        self._cv_tokens = []


class Direct:
    """Made when every route and hook of `app` is registered."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._flask = app.wsgi_app
        self._session = app.session_interface.make_null_session(app)
        self._routes: dict[str, tuple[Rule, Callable[[], Any]]] = {
            rule.rule: (rule, app.view_functions[rule.endpoint])
            for rule in app.url_map.iter_rules()
            if rule.rule in PATHS and rule.methods is not None and "POST" in rule.methods
        }
        blueprints = {None, *(rule.endpoint.rpartition(".")[0] for rule, _ in self._routes.values())}
        own = blueprints & (app.before_request_funcs.keys() | app.after_request_funcs.keys()) - {None}
        assert not own, f"hooks of these blueprints would not run: {own}"
        self._before = [app.ensure_sync(hook) for hook in app.before_request_funcs.get(None, [])]
        self._after = [app.ensure_sync(hook) for hook in reversed(app.after_request_funcs.get(None, []))]
        self._plain_host = functools.lru_cache(maxsize=256)(_PLAIN_HOST.fullmatch)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        route = self._routes.get(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "POST" else None
        if route is None or not self._plain_host(environ.get("HTTP_HOST", "")):
            return self._flask(environ, start_response)
        rule, view = route
        with Context(self._app, environ, rule, self._session):
            reply = self._reply(view)
            return reply(environ, start_response)

    def _reply(self, view: Callable[[], Any]) -> Response:
        try:
            reply: Response = self._first() or view()
        except Exception as error:  # noqa: BLE001 - the application's own handler makes a reply of each
            reply = self._app.make_response(self._app.handle_user_exception(error))
        for hook in self._after:
            reply = hook(reply)
        return reply

    def _first(self) -> Any:
        for hook in self._before:
            if (reply := hook()) is not None:
                return reply
        return None
