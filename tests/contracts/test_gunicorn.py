"""gunicorn's insides that gateway/server/ and gateway/gunicorn_reply.py build on, each named.

Where one fails after an upgrade: read gunicorn's arbiter.py, workers/base.py, workers/ggevent.py and http/wsgi.py at
the new version, look at what the attribute became, and run tests/gateway/server and tests/reliability.
"""

from __future__ import annotations

import inspect
import io

import pytest
from gunicorn import arbiter, errors, glogging, util
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.workers import ggevent


@pytest.mark.parametrize(
    "method",
    [
        *("setup", "reload", "stop", "handle_int", "handle_quit", "kill_workers", "kill_worker", "reap_workers"),
        *("manage_workers", "spawn_worker", "init_signals"),
    ],
)
def test_the_arbiter_has_the_methods_that_ours_replaces_or_calls(method):
    assert callable(getattr(arbiter.Arbiter, method))


@pytest.mark.parametrize("attribute", ["WORKERS", "LISTENERS"])
def test_the_arbiter_has_its_tables(attribute):
    assert hasattr(arbiter.Arbiter, attribute)


@pytest.mark.parametrize("attribute", ["num_workers", "cfg", "address", "systemd"])
def test_the_arbiter_sets_what_ours_reads(attribute):
    source = inspect.getsource(arbiter.Arbiter)
    assert f"self.{attribute} = " in source


def test_the_arbiter_waits_for_workers_where_ours_expects_it():
    """stop() calls kill_workers(SIGQUIT) for a second signal, and reload() ends with manage_workers()."""
    assert "self.kill_workers(" in inspect.getsource(arbiter.Arbiter.stop)
    assert "self.manage_workers()" in inspect.getsource(arbiter.Arbiter.reload)
    assert issubclass(errors.HaltServer, BaseException)


@pytest.mark.parametrize(
    "method", ["init_process", "init_signals", "handle_exit", "notify", "handle", "timeout_ctx", "run"]
)
def test_the_worker_has_the_methods_that_ours_replaces(method):
    assert callable(getattr(ggevent.GeventWorker, method))


@pytest.mark.parametrize(
    "attribute", ["age", "ppid", "sockets", "cfg", "tmp", "alive", "worker_connections", "wsgi", "app"]
)
def test_the_worker_sets_what_ours_reads(attribute):
    source = "".join(inspect.getsource(kind) for kind in ggevent.GeventWorker.__mro__[:-1])
    assert f"self.{attribute} = " in source or f", self.{attribute}" in source


def test_the_workers_sign_of_life_can_be_read():
    from gunicorn.workers.workertmp import WorkerTmp

    assert callable(WorkerTmp.notify) and callable(WorkerTmp.last_update)


def test_a_response_says_what_was_sent_and_start_response_returns_its_write():
    class Request:
        version, method, headers = (1, 1), "GET", ()

        def should_close(self):
            return False

    response = wsgi.Response(Request(), io.BytesIO(), Config())
    write = response.start_response("200 OK", [("Content-Type", "text/plain")])
    assert write.__self__ is response
    assert (response.headers_sent, response.chunked) == (False, True)
    assert response.response_length is None
    assert response.default_headers()[0] == "HTTP/1.1 200 OK\r\n"
    assert response.headers == [("Content-Type", "text/plain")]


def test_addresses_loggers_and_settings_are_where_we_look():
    assert util.parse_address("127.0.0.1:1") == ("127.0.0.1", 1)
    assert callable(glogging.Logger.setup) and callable(glogging.Logger.error)
    known = Config().settings
    assert {"bind", "workers", "worker_class", "logger_class", "worker_connections", "keepalive"} <= known.keys()
    assert {"timeout", "limit_request_line", "graceful_timeout", "control_socket_disable", "umask"} <= known.keys()


def test_a_requests_chunked_body_is_read_by_a_class_that_can_be_replaced():
    from gunicorn.http import body, message

    assert message.ChunkedReader is body.ChunkedReader or issubclass(message.ChunkedReader, body.ChunkedReader)
    assert "ChunkedReader(self, self.unreader)" in inspect.getsource(message)
    assert list(inspect.signature(body.ChunkedReader.parse_chunked).parameters) == ["self", "unreader"]
    assert callable(body.ChunkedReader.parse_trailers)
    assert body.CHUNK_EXT_RE.fullmatch(b";a=b") and not body.CHUNK_EXT_RE.fullmatch(b";\x00")
    assert (
        "read_ahead" in inspect.signature(__import__("gunicorn.http.unreader", fromlist=["x"]).Unreader.read).parameters
    )


def test_a_worker_answers_what_it_cannot_read_by_one_method():
    assert list(inspect.signature(ggevent.GeventWorker.handle_error).parameters) == [
        "self",
        "req",
        "client",
        "addr",
        "exc",
    ]
