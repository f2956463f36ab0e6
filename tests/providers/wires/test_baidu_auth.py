"""Baidu's signature against its own signer, and the rule that tells an access key from an application's."""

from __future__ import annotations

from typing import Any

import pytest

from providers.configuration import Timeouts
from providers.scripted import Upstream
from providers.transport.client import Client
from providers.wires.baidu_auth import Token, is_access_key, signed


@pytest.mark.parametrize(
    ("key", "signs"),
    [
        ("ALTAKxyz0123456789", True),
        ("ALTAK-xyz_0", True),
        ("0123456789abcdef0123456789abcdef", True),
        ("0123456789ABCDEF0123456789ABCDEF", False),
        ("aBcDeFgHiJkLmNoPqRsTuVwX", False),
        ("", False),
    ],
)
def test_the_shape_of_a_key_decides(key, signs):
    assert is_access_key(key) is signs


@pytest.mark.parametrize("path", ["/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/completions_pro", "/a~b/c%20d"])
@pytest.mark.parametrize("host", ["aip.baidubce.com", "127.0.0.1:8866"])
def test_the_signature_is_the_official_signers(host, path):
    signer = pytest.importorskip("baidubce.auth.bce_v1_signer")
    from baidubce.auth.bce_credentials import BceCredentials

    now = 1_700_000_000
    headers = {b"Host": host.encode(), b"x-bce-date": b"2023-11-14T22:13:20Z"}
    credentials = BceCredentials("ALTAKaccess", "secret")
    names = [b"host", b"x-bce-date"]
    official = signer.sign(credentials, b"POST", path.encode(), headers, {}, now, 300, names)
    ours = signed("ALTAKaccess", "secret", "POST", f"https://{host}{path}", now=lambda: now)
    assert ours["Authorization"].encode() == official
    assert ours["x-bce-date"] == "2023-11-14T22:13:20Z"


def test_a_token_is_renewed_before_it_lapses():
    now_s = [0.0]
    timeouts = Timeouts(connect=1, first_token=1, idle=1, total=2)
    with Upstream() as upstream:
        token, client = Token(upstream.url, "application", "s", clock=lambda: now_s[0]), Client(timeouts)
        days = 24 * 3600.0
        given: list[Any] = []
        for now_s[0] in (0.0, 29.9 * days, 30 * days - 300):
            given.append(token.value(client))
        client.close()
    assert given[0] == given[1] != given[2]
