"""A kept connection that its server closed: the question is asked once more only where it provably did not arrive."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from providers.errors import Unreachable
from providers.transport.connection import Connection
from tests.providers.raw_server import serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what was acknowledged")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def blind(monkeypatch):
    """The close of the other end is not seen in time, as when it is still on its way."""
    monkeypatch.setattr(Connection, "unpark", _unpark_without_looking)


def _unpark_without_looking(self: Connection) -> bool:
    self._readable.stop()
    self._lapse.stop()
    self._lapse.close()
    self._lapse = None
    return True


def asked(client, url) -> bytes:
    with client.ask("POST", url, {}, b"{}") as response:
        body = response.body()
        response.done()
    return body


def test_a_question_that_met_a_closed_connection_is_asked_on_a_new_one(client, blind):
    questions: list[bytes] = []
    closed = threading.Event()

    def script(caller):
        questions.append(caller.request())
        caller.send(OK)
        caller.sock.close()
        closed.set()

    with serving(script) as server:
        assert asked(client, server.url) == b"hi"
        closed.wait(5)
        time.sleep(0.05)
        assert asked(client, server.url) == b"hi"
    assert len(questions) == 2


def test_a_question_that_arrived_is_not_asked_again(client):
    questions: list[bytes] = []

    def script(caller):
        questions.append(caller.request())
        caller.send(OK)
        questions.append(caller.request())
        caller.sock.close()

    with serving(script) as server:
        assert asked(client, server.url) == b"hi"
        with pytest.raises(Unreachable) as caught:
            asked(client, server.url)
    assert caught.value.request_sent
    assert len(questions) == 2
