"""`tls` of a provider against a real TLS server: which certificates are trusted, and which of ours is shown."""

from __future__ import annotations

import contextlib
import ssl
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.settings import SettingsError, load
from providers.errors import ProviderError, Unreachable
from providers.transport.client import Client
from tests.providers.raw_server import Limits, serving


def tls(**told: Any) -> Any:
    return SimpleNamespace(**{"ca": "", "verify": True, "cert": "", "key": "", **told})


@contextlib.contextmanager
def answering(certificate: Any, wants_one: bool = False) -> Any:
    """The port of a server with this certificate; wants_one: it speaks with nobody who does not show the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if wants_one:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate)

    def script(caller: Any) -> None:
        caller.sock = context.wrap_socket(caller.sock, server_side=True)
        caller.send = caller.sock.sendall
        caller.request()
        caller.head("Content-Length: 5")
        caller.send(b"hello")

    with serving(script) as server:
        yield server.port


def asked(port: int, where: str = "localhost", **told: Any) -> bytes:
    client = Client(Limits(), tls=tls(**told))
    try:
        with client.ask("POST", f"https://{where}:{port}/v1", {}) as response:
            return b"".join(response.pieces())
    finally:
        client.close()


def test_only_a_certificate_of_ca_is_trusted(certificate):
    with answering(certificate) as port:
        with pytest.raises(Unreachable, match="certificate was refused"):
            asked(port)
        assert asked(port, ca=str(certificate)) == b"hello"


def test_a_name_that_the_certificate_does_not_have_is_refused(certificate):
    with answering(certificate) as port:
        with pytest.raises(Unreachable, match="certificate was refused"):
            asked(port, "127.0.0.1", ca=str(certificate))
        assert asked(port, "127.0.0.1", verify=False) == b"hello"


def test_without_verify_any_certificate_is_trusted(certificate):
    with answering(certificate) as port:
        assert asked(port, verify=False) == b"hello"


def test_our_own_certificate_is_shown_where_the_server_wants_one(certificate, tmp_path):
    ca = str(certificate)
    key, _, cert = certificate.read_text().partition("-----BEGIN CERTIFICATE")
    (tmp_path / "ours.key").write_text(key)
    (tmp_path / "ours.pem").write_text("-----BEGIN CERTIFICATE" + cert)
    with answering(certificate, wants_one=True) as port:
        assert asked(port, ca=ca, cert=ca) == b"hello"
        assert asked(port, ca=ca, cert=str(tmp_path / "ours.pem"), key=str(tmp_path / "ours.key")) == b"hello"
        with pytest.raises(ProviderError):
            asked(port, ca=ca)


FILE = """\
default: a
providers:
  a: {{type: openai, model: m, base_url: "https://x/v1", {row}}}
"""


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("tls: {ca: none.pem}", "providers.a.tls.ca: cannot be read: there is no such file"),
        ("tls: {ca: text.pem}", "providers.a.tls.ca: cannot be read: the file has no certificate in PEM"),
        ("tls: {cert: none.pem}", "providers.a.tls.cert: cannot be read: there is no such file"),
        ("tls: {cert: ours.pem, key: none.key}", "providers.a.tls.key: cannot be read: there is no such file"),
        ("tls: {key: ours.pem}", "providers.a.tls.cert: cannot be read: it is missing"),
        (
            "proxy: env",
            "providers.a.proxy: the environment names a SOCKS proxy; expected an http:// one, got socks5://h",
        ),
        ("proxy: 'socks5h://user:word@h:1'", "providers.a.proxy: must be an http:// address; SOCKS is not spoken"),
    ],
)
def test_what_no_connection_could_use_is_refused_at_the_start(row, sentence, certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://user:word@h:1080")
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "ours.pem").write_bytes(certificate.read_bytes())
    file = tmp_path / "sluice.yaml"
    file.write_text(FILE.format(row=row))
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert sentence in str(caught.value) and "word" not in str(caught.value)


def test_files_of_tls_are_looked_for_beside_the_configuration(certificate, tmp_path):
    (tmp_path / "ours.pem").write_bytes(certificate.read_bytes())
    file = tmp_path / "sluice.yaml"
    file.write_text(FILE.format(row="tls: {ca: ours.pem, cert: ours.pem}"))
    assert load(file).providers["a"].tls.ca == str(tmp_path / "ours.pem")
