"""Asking once: what is sent, what heads say, and faults before the body."""

from __future__ import annotations

import socket
import ssl
import threading

import gevent.socket
import pytest

from providers.errors import BrokenProtocol, CutOff, ProviderError, Unreachable
from providers.transport import client as client_module
from providers.transport import connection as connection_module
from providers.transport.client import Client
from tests.providers.raw_server import Limits, answer, hang, read, serving

# -- what is sent


def test_the_request_asks_for_no_compression_and_carries_its_length(client):
    seen = []

    def script(caller):
        seen.append(caller.request())
        caller.head("Content-Length: 0")

    with serving(script) as server:
        client.ask("POST", server.url + "/v1/chat?x=1", {"Authorization": "Bearer k"}, b'{"a": "\xe4\xbd\xa0"}').close()
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/chat?x=1 HTTP/1.1"
    assert {b"Host: 127.0.0.1:%d" % server.port, b"Accept-Encoding: identity", b"Authorization: Bearer k"} <= {*lines}
    assert body == b'{"a": "\xe4\xbd\xa0"}'


def test_no_proxy_is_taken_from_the_environment_unless_told(client, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(answer("Content-Length: 2", body=b"ok")) as server:
        assert read(client, server.url) == (b"ok", False)
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(Unreachable):
            Client(Limits(), "env").ask("POST", server.url, {})


def test_a_proxy_gets_the_whole_address():
    seen = []

    def script(caller):
        seen.append(caller.request())
        caller.head("Content-Length: 0")

    with serving(script) as proxy:
        Client(Limits(), f"http://user:p%40ss@127.0.0.1:{proxy.port}").ask("POST", "http://far.example/v1", {}).close()
    assert seen[0].startswith(b"POST http://far.example/v1 HTTP/1.1\r\nHost: far.example\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz" in seen[0]


def test_https_goes_through_a_proxys_tunnel_which_may_refuse():
    seen = []

    def script(caller):
        seen.append(caller.request())
        caller.send(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with serving(script) as proxy, pytest.raises(Unreachable, match="proxy refused the way to far") as caught:
        Client(Limits(), proxy.url).ask("POST", "https://far.example/v1", {})
    assert seen[0].startswith(b"CONNECT far.example:443 HTTP/1.1\r\n")
    assert not caught.value.request_sent


# -- heads


def test_interim_responses_are_skipped(client):
    def script(caller):
        caller.request()
        caller.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        caller.head("Content-Length: 2")
        caller.send(b"ok")

    with serving(script) as server:
        assert read(client, server.url) == (b"ok", False)


def test_header_names_are_in_lower_case_and_repeated_ones_joined(client):
    with (
        serving(answer("X-A: 1", "x-a: 2", "Content-Length: 0")) as server,
        client.ask("GET", server.url, {}) as response,
    ):
        assert response.headers["x-a"] == "1, 2"


@pytest.mark.parametrize(
    "reply", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x15\x03\x01"]
)
def test_what_is_no_http_is_broken_protocol(client, reply):
    def script(caller):
        caller.request()
        caller.send(reply)

    with serving(script) as server, pytest.raises(BrokenProtocol):
        client.ask("POST", server.url, {})


def test_a_head_without_end_is_broken_protocol(client):
    def script(caller):
        caller.request()
        caller.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000)
        caller.wait_for_close()

    with serving(script) as server, pytest.raises(BrokenProtocol, match="head longer than"):
        client.ask("POST", server.url, {})


# -- faults before the body


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return closed.getsockname()[1]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}", "http://no-such-name.invalid", f"http://{'x' * 80}.example"]
)
def test_what_cannot_be_reached_was_not_asked(client, url):
    with pytest.raises(Unreachable) as caught:
        client.ask("POST", url.format(port=refused_port()), {})
    assert not caught.value.request_sent


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_closed_before_any_byte_of_a_response_may_have_asked(client, how):
    def script(caller):
        caller.request()
        if how == "reset":
            caller.reset()

    with serving(script) as server, pytest.raises(Unreachable) as caught:
        client.ask("POST", server.url, {})
    assert caught.value.request_sent


def test_a_connection_closed_within_the_head_is_cut_off(client):
    def script(caller):
        caller.request()
        caller.send(b"HTTP/1.1 200 OK\r\nContent-")

    with serving(script) as server, pytest.raises(CutOff):
        client.ask("POST", server.url, {})


@pytest.mark.parametrize("lines", [["Content-Length: 100"], ["Transfer-Encoding: chunked"], ["Connection: close"]])
def test_a_reset_within_the_body_keeps_what_came(client, lines):
    seen = threading.Event()

    def script(caller):
        caller.request()
        caller.head(*lines)
        caller.send(b"5\r\nhello\r\n" if "chunked" in lines[0] else b"hello")
        assert seen.wait(5)
        caller.reset()

    with serving(script) as server, client.ask("POST", server.url, {}) as response:
        pieces = response.pieces()
        assert next(pieces) == b"hello"
        seen.set()
        assert b"".join(pieces) == b""
        assert response.cut


def test_tls_is_verified(client, certificate, monkeypatch):
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)

    def script(caller):
        caller.sock = server_side.wrap_socket(caller.sock, server_side=True)
        caller.send = caller.sock.sendall
        caller.request()
        caller.head("Content-Length: 6")
        caller.send(b"secret")

    with serving(script) as server:
        url = f"https://localhost:{server.port}"
        with pytest.raises(Unreachable, match="certificate was refused") as caught:
            client.ask("POST", url, {})
        assert not caught.value.request_sent
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        connection_module.tls_context.cache_clear()
        try:
            assert read(client, url) == (b"secret", False)
        finally:
            connection_module.tls_context.cache_clear()


def test_tls_to_a_plain_port_is_told_so(client):
    def script(caller):
        caller.sock.recv(65536)
        caller.head(status="400 Bad Request")

    with serving(script) as plain, pytest.raises(Unreachable, match="TLS failed"):
        client.ask("POST", f"https://localhost:{plain.port}", {})


def test_a_head_whose_lines_end_with_lf_alone_is_read(client):
    def script(caller):
        caller.request()
        caller.sock.sendall(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi")

    with serving(script) as server, client.ask("POST", server.url, {}) as response:
        assert (response.status, response.body()) == (200, b"hi")


# -- small questions


def test_a_failure_never_tells_the_address_it_asked(client):
    with serving(hang()) as server, pytest.raises(ProviderError) as caught:
        Client(Limits(first_token=0.05)).ask("POST", f"{server.url}/chat?access_token=SECRET", {})
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ProviderError) as caught:
        client.ask("POST", f"http://127.0.0.1:{refused_port()}/chat?access_token=SECRET", {})
    assert "SECRET" not in str(caught.value)


def test_endless_interim_responses_are_broken_protocol(client):
    def script(caller):
        caller.request()
        caller.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)
        caller.wait_for_close()

    with serving(script) as server, pytest.raises(BrokenProtocol, match="interim"):
        client.ask("POST", server.url, {})


def test_a_line_end_in_a_header_does_not_get_out(client):
    seen = []

    def script(caller):
        seen.append(caller.request())
        caller.head("Content-Length: 0")

    with serving(script) as server:
        client.ask("POST", server.url, {"Authorization": "Bearer key\n"}).close()
    assert b"Authorization: Bearer key\r\n" in seen[0]


@pytest.mark.parametrize("body", [b"", b"corrupt"])
def test_what_a_refusal_says_is_not_waited_for(client, monkeypatch, body):
    monkeypatch.setattr(client_module, "ERROR_BODY_S", 0.1)

    def script(caller):
        caller.request()
        caller.head("Content-Length: 99", "Content-Encoding: gzip", status="500 Broken")
        caller.send(body)
        caller.wait_for_close()

    with serving(script) as server, client.ask("POST", server.url, {}) as response:
        assert (response.status, response.body()) == (500, b"")


@pytest.fixture
def lookups(monkeypatch):
    """The names that the resolver is asked for."""
    asked = []
    real = gevent.socket.getaddrinfo
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda host, *more: asked.append(host) or real(host, *more))
    connection_module._resolved.clear()
    return asked


def test_an_address_in_numbers_needs_no_resolver(client, lookups):
    with serving(answer(body=b"ok")) as server:
        client.ask("POST", server.url, {}).close()
    assert lookups == []


def test_a_name_is_resolved_once_for_some_seconds_and_again_when_its_address_refuses(client, lookups):
    with serving(answer(body=b"ok")) as server:
        url = f"http://localhost:{server.port}"
        for _ in range(2):
            client.ask("POST", url, {}).close()
        assert lookups == ["localhost"]
    for asked in (1, 2):
        with pytest.raises(Unreachable):
            client.ask("POST", url, {})
        assert lookups == ["localhost"] * asked
