"""Whose address counts behind proxies."""

from __future__ import annotations

import pytest

from gateway.access.client_address import Proxies

LOOPBACK = ["127.0.0.0/8", "::1/128"]
NGINX = [*LOOPBACK, "10.1.0.0/16"]


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        (LOOPBACK, "127.0.0.1", "", "127.0.0.1"),
        (LOOPBACK, "127.0.0.1", "203.0.113.9", "203.0.113.9"),
        # Everything before the last entry is the client's own word.
        (LOOPBACK, "127.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        # A client on this machine cannot be another one by a header of its own.
        (LOOPBACK, "127.0.0.1", "1.1.1.1, 127.0.0.1", "127.0.0.1"),
        (LOOPBACK, "203.0.113.9", "1.1.1.1", "203.0.113.9"),
        ([], "127.0.0.1", "1.1.1.1", "127.0.0.1"),
        # nginx on a unix socket.
        (LOOPBACK, "", "203.0.113.9", "203.0.113.9"),
        (LOOPBACK, "", "", ""),
        (NGINX, "10.1.2.3", "203.0.113.9", "203.0.113.9"),
        # Two proxies, both trusted; then one that is not.
        (NGINX, "127.0.0.1", "203.0.113.9, 10.1.2.3", "203.0.113.9"),
        (NGINX, "127.0.0.1", "1.1.1.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        (NGINX, "10.2.0.1", "203.0.113.9", "10.2.0.1"),
        (LOOPBACK, "127.0.0.1", "nonsense", "127.0.0.1"),
        (LOOPBACK, "127.0.0.1", "203.0.113.9, nonsense", "127.0.0.1"),
        (LOOPBACK, "::ffff:127.0.0.1", "2001:db8::1", "2001:db8::1"),
        (LOOPBACK, "::1", "[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_the_address_is_what_a_trusted_proxy_saw(trusted, peer, forwarded, client):
    assert Proxies(trusted).client(peer, forwarded) == client


def test_a_forged_header_gives_no_further_questions(app_for):
    client = app_for(limits={"requests": "2/minute"}, server={"trusted_proxies": []}).test_client()
    forged = [
        client.post("/getAnwser", json={"question": "a"}, headers={"X-Forwarded-For": f"1.1.1.{n}"}) for n in range(4)
    ]
    assert [reply.status_code for reply in forged] == [200, 200, 429, 429]
