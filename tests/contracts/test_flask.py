"""Flask's insides that gateway/direct.py builds on, each named.

Where one fails after an upgrade: read flask/ctx.py (RequestContext) and flask/app.py (wsgi_app, full_dispatch_request)
at the new version, and run tests/gateway/routes/test_direct.py.
"""

from __future__ import annotations

import inspect

from flask import Flask
from flask.ctx import RequestContext
from werkzeug.test import EnvironBuilder

from gateway.direct import Context

app = Flask(__name__)
app.add_url_rule("/", "index", lambda: "", methods=["POST"])


def test_the_context_has_the_attributes_of_flasks_own():
    environ = EnvironBuilder("/", method="POST").get_environ()
    rule = next(rule for rule in app.url_map.iter_rules() if rule.endpoint == "index")
    ours = Context(app, environ, rule, None)
    assert vars(ours).keys() == vars(RequestContext(app, environ)).keys()


def test_push_asks_no_url_map_where_there_is_no_adapter():
    assert "if self.url_adapter is not None" in inspect.getsource(RequestContext.push)


def test_the_application_has_its_hooks_and_handlers():
    assert isinstance(app.before_request_funcs, dict) and isinstance(app.after_request_funcs, dict)
    assert callable(app.handle_user_exception) and callable(app.make_response)
