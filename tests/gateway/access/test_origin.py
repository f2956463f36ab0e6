"""Which host names are served without keys, and which pages may ask."""

from __future__ import annotations

import hashlib

import pytest

KEY = "sluice_test-key"
KEYS = {"keys": [{"name": "web", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}

OURS = ["127.0.0.1:9001", "127.8.9.10", "localhost", "localhost:80", "LOCALHOST.", "app.localhost:1", "[::1]:9001"]
FOREIGN = [
    "evil.example",
    "evil.example:9001",
    "10.0.0.1",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "x",
    "[",
]


def ask(client, method="POST", path="/getAnwser", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if method == "GET":
        return client.get(f"{path}?question=hi", headers=headers)
    return client.post(path, json={"question": "hi"}, headers={"Accept": "application/json"} | headers)


@pytest.mark.parametrize("host", OURS)
def test_without_keys_a_loopback_name_is_served(app_for, host):
    assert ask(app_for().test_client(), Host=host).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_without_keys_no_other_name_is_served_on_any_route_nor_is_the_upstream_asked(app_for, upstream, host):
    client = app_for().test_client()
    for path in ("/", "/page/state", "/v1/models", "/answers/x", "/nothing"):
        assert client.get(path, headers={"Host": host}).status_code == 403
    for reply in (ask(client, Host=host), ask(client, "GET", Host=host)):
        assert (reply.status_code, reply.get_json()["error"]["code"]) == (403, "forbidden")
        assert reply.get_json()["error"]["message"].startswith("Host: ")
    # A load balancer's probe names the machine as it likes.
    assert client.get("/healthz", headers={"Host": host}).status_code == 200
    assert client.get("/readyz", headers={"Host": host}).get_json() == {"status": "ok"}
    assert upstream.asked == []


def test_names_that_the_configuration_lists_are_served(app_for):
    client = app_for(server={"hosts": ["sluice.example", "*.inside.example"]}).test_client()
    for host in ("sluice.example", "Sluice.Example:8443", "a.inside.example", "127.0.0.1"):
        assert ask(client, Host=host).status_code == 200
    for host in ("inside.example", "evilsluice.example", "a.sluice.example"):
        assert ask(client, Host=host).status_code == 403
    assert ask(app_for(server={"hosts": ["*"]}).test_client(), Host="any.example").status_code == 200


def test_with_keys_every_name_is_served_for_a_stranger_can_do_nothing(app_for):
    client = app_for(auth=KEYS).test_client()
    assert ask(client, Host="any.example").status_code == 401
    assert ask(client, Host="any.example", Authorization=f"Bearer {KEY}").status_code == 200


# headers → whether the page may ask
PAGES = [
    ({}, True),
    ({"Origin": "http://localhost"}, True),
    ({"Origin": "http://localhost:80"}, True),
    # A proxy speaks TLS, the gateway behind it does not see it.
    ({"Origin": "https://localhost"}, True),
    ({"Origin": "http://localhost:3000"}, False),
    ({"Origin": "http://evil.example"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": "http://["}, False),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, False),
    # Behind a proxy that changes the port, the browser's own word counts.
    ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8080"}, True),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"}, True),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "HTTPS://App.example"}, True),
    ({"Origin": "https://app.example"}, True),
    ({"Origin": "https://app.example.evil.example"}, False),
]


@pytest.mark.parametrize(("headers", "allowed"), PAGES, ids=str)
@pytest.mark.parametrize("auth", [{}, KEYS], ids=["open", "keys"])
def test_only_own_and_listed_pages_may_ask(app_for, upstream, headers, allowed, auth):
    client = app_for(server={"cors": ["https://app.example"]}, auth=auth).test_client()
    headers = headers | ({"Authorization": f"Bearer {KEY}"} if auth else {})
    replies = [ask(client, **headers), ask(client, "GET", **headers), ask(client, path="/api", **headers)]
    for reply in replies:
        assert (reply.status_code == 200) is allowed
        if not allowed:
            assert (reply.status_code, reply.get_json()["error"]["code"]) == (403, "forbidden")
    assert bool(upstream.asked) is allowed


def test_the_page_itself_opens_from_a_link_on_any_page(app_for):
    client = app_for().test_client()
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status_code == 200


def test_every_listed_origin_is_let_in_by_a_star(app_for):
    client = app_for(server={"cors": ["*"]}).test_client()
    reply = ask(client, Origin="http://any.example", Sec_Fetch_Site="cross-site")
    assert reply.status_code == 200
    assert reply.headers["Access-Control-Allow-Origin"] in ("*", "http://any.example")
