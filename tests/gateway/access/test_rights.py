"""Keys × rights × routes: the table is generated from the application's own routes."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest

from gateway.access.revocation import end_invalid
from gateway.app import ANY_HOST, OPEN, create_app
from gateway.settings import parse
from tests.gateway.configurations import configuration

PAST = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
# name → rights
RIGHTS = {
    "all": {},
    "other": {},
    "operator": {"admin": True},
    "narrow": {"providers": ["second"], "databases": ["shop"]},
    "chats": {"databases": []},
    "expired": {"expires": PAST},
    "revoked": {},
    "slow": {"limits": {"requests": "1/minute"}},
    "one": {"limits": {"streams": 1}},
}
VALID = ["all", "other", "operator", "narrow", "chats", "slow", "one"]
INVALID = {"none": {}, "unknown": {"Authorization": "Bearer nobody"}, "malformed": {"Authorization": "Basic eDp5"}}


def digest(name):
    return hashlib.sha256(f"key-{name}".encode()).hexdigest()


def headers(name):
    return INVALID.get(name, {"Authorization": f"Bearer key-{name}"})


@pytest.fixture
def app(upstream, tmp_path):
    import sqlite3

    for name in ("shop", "staff"):
        with sqlite3.connect(tmp_path / f"{name}.db") as made:
            made.execute("CREATE TABLE t (name text)")
    settings = configuration(
        upstream,
        {"second": "", "stuck": "hang=between"},
        databases={name: {"url": f"sqlite:///{tmp_path}/{name}.db"} for name in ("staff", "shop")},
        auth={"keys": [{"name": name, "sha256": digest(name)} | rights for name, rights in RIGHTS.items()]},
    )
    app = create_app(parse(settings, environ={}))
    app.extensions["sluice"].keys.revoke_all_but([digest(name) for name in RIGHTS if name != "revoked"])
    return app


def calls(app):
    """Every method of every route, with something in the place of its variables."""
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            yield rule.endpoint, method, re.sub(r"<[^>]*>", "x", rule.rule)


def test_every_route_needs_a_valid_key_but_the_open_ones(app):
    client, table = app.test_client(), {}
    for endpoint, method, path in calls(app):
        for name in [*INVALID, "expired", "revoked", *VALID]:
            status = client.open(path, method=method, headers=headers(name)).status_code
            if endpoint in OPEN:
                good = status not in (401, 403)
            else:
                good = (status == 401) is (name not in VALID)
            if not good:
                table[endpoint, method, name] = status
    assert table == {}
    assert ANY_HOST <= OPEN


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "X-Api-Key"])
def test_a_key_may_come_in_the_headers_of_other_clients(app, header):
    client = app.test_client()
    assert client.get("/v1/models", headers={header: "key-all"}).status_code == 200
    assert client.get("/v1/models", headers={header: "nothing"}).status_code == 401


UI_MESSAGES = [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]
# Each asking route: how it is asked with a provider's name, and whether it takes a database.
ASKING = {
    "/getAnwser": lambda client, provider, database, name: client.post(
        "/getAnwser",
        json={"question": "hi"} | fields(provider=provider, database=database),
        headers=headers(name) | {"Accept": "application/json"},
    ),
    "GET /getAnwser": lambda client, provider, database, name: client.get(
        "/getAnwser",
        query_string={"question": "hi"} | fields(provider=provider, database=database),
        headers=headers(name),
    ),
    "/api": lambda client, provider, database, name: client.post(
        "/api", json={"question": "hi"} | fields(provider=provider), headers=headers(name)
    ),
    "/conversation/": lambda client, provider, database, name: client.post(
        "/conversation/", json={"query": "hi"} | fields(provider=provider), headers=headers(name)
    ),
    "/v1/chat/completions": lambda client, provider, database, name: client.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "hi"}]} | fields(model=provider),
        headers=headers(name),
    ),
    "/v1/completions": lambda client, provider, database, name: client.post(
        "/v1/completions", json={"prompt": "hi"} | fields(model=provider), headers=headers(name)
    ),
    "/v1/responses": lambda client, provider, database, name: client.post(
        "/v1/responses", json={"input": "hi"} | fields(model=provider), headers=headers(name)
    ),
    "/chat": lambda client, provider, database, name: client.post(
        "/chat",
        json={"id": f"chat-{provider}-{name}", "database": "none", "messages": UI_MESSAGES} | fields(provider=provider),
        headers=headers(name),
    ),
}


def fields(**named):
    return {name: value for name, value in named.items() if value is not None}


@pytest.mark.parametrize("route", ASKING)
@pytest.mark.parametrize(
    ("name", "provider", "status"),
    [
        ("all", None, 200),
        ("all", "vllm", 200),
        ("all", "second", 200),
        ("narrow", None, 200),
        ("narrow", "second", 200),
        ("narrow", "vllm", 403),
    ],
)
def test_a_provider_is_asked_by_those_who_may(app, upstream, route, name, provider, status):
    database = "none" if "getAnwser" in route else None
    reply = ASKING[route](app.test_client(), provider, database, name)
    assert reply.status_code == status
    if status == 403:
        assert reply.get_json()["error"]["code"] == "forbidden"
        assert upstream.asked == []
        assert "vllm" not in reply.get_json()["error"]["message"].partition(";")[2]


@pytest.mark.parametrize("route", ["/getAnwser", "GET /getAnwser"])
@pytest.mark.parametrize(
    ("name", "database", "status"),
    [
        ("narrow", "shop", 200),
        ("narrow", "staff", 403),
        ("narrow", "none", 200),
        ("chats", "shop", 403),
        ("chats", None, 200),
    ],
)
def test_a_database_is_asked_by_those_who_may(app, route, name, database, status):
    reply = ASKING[route](app.test_client(), None, database, name)
    assert reply.status_code == status
    if status == 403:
        assert reply.get_json()["error"]["message"].startswith("database: this key may not ask")
        assert "staff" not in reply.get_json()["error"]["message"].partition(";")[2]


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/chat/completions", {"model": "sql/{}", "messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/responses", {"model": "sql/{}", "input": "hi"}),
        ("/sql", {"sql": "SELECT name FROM t", "database": "{}"}),
        ("/chat", {"id": "c", "database": "{}", "messages": UI_MESSAGES}),
        ("/tickets", {"database": "{}"}),
    ],
)
def test_a_database_is_closed_by_name_on_every_other_route_too(app, upstream, route, body):
    client = app.test_client()
    for database, closed in (("staff", True), ("shop", False)):
        named = {key: value.format(database) if isinstance(value, str) else value for key, value in body.items()}
        reply = client.post(route, json=named, headers=headers("narrow"))
        assert (reply.status_code == 403) is closed, reply.data
    assert all("staff" not in str(asked.body) for asked in upstream.asked)


def test_the_lists_have_only_what_a_key_may_use(app):
    client = app.test_client()

    def lists(name):
        models = {one["id"] for one in client.get("/v1/models", headers=headers(name)).get_json()["data"]}
        state = client.get("/page/state", headers=headers(name)).get_json()
        return models, {one["name"] for one in state["providers"]}, {one["name"] for one in state["databases"]}

    models, providers, databases = lists("all")
    assert {"vllm", "second", "stuck"} <= models and {"vllm", "second", "stuck"} <= providers
    assert databases == {"staff", "shop"}
    models, providers, databases = lists("narrow")
    assert providers == {"second"} and databases == {"shop"}
    assert not any("vllm" in model or "staff" in model for model in models)
    assert client.get("/page/state", headers=headers("narrow")).get_json()["default"] == "second"
    unknown = client.post("/getAnwser", json={"question": "a", "provider": "nope"}, headers=headers("narrow"))
    assert "vllm" not in unknown.get_json()["error"]["message"]


def test_an_answer_is_its_keys_alone(app):
    client = app.test_client()
    reply = client.post("/getAnwser", json={"question": "hi", "database": "none"}, headers=headers("all"))
    answer_id = reply.headers["X-Answer-Id"]
    for name, status in (("all", 200), ("other", 404), ("operator", 404), ("none", 401), ("expired", 401)):
        for path in (f"/answers/{answer_id}", f"/answers/{answer_id}/events"):
            assert client.get(path, headers=headers(name)).status_code == status
    assert client.delete(f"/answers/{answer_id}", headers=headers("other")).status_code == 404


def test_only_the_operator_sees_the_details_of_readiness(app):
    client = app.test_client()
    assert client.get("/readyz").get_json() == {"status": "ok"}
    assert client.get("/readyz", headers=headers("all")).get_json() == {"status": "ok"}
    details = client.get("/readyz", headers=headers("operator")).get_json()
    assert {one["name"] for one in details["databases"]} == {"staff", "shop"}
    assert details["redis"] == {"available": True, "reason": None}


def test_without_keys_details_are_for_this_machine_alone(app_for):
    client = app_for().test_client()
    assert "providers" in client.get("/readyz").get_json()
    for strange in ({"X-Forwarded-For": "203.0.113.9"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}):
        assert client.get("/readyz", headers=strange).get_json() == {"status": "ok"}
    assert client.get("/readyz", environ_base={"REMOTE_ADDR": "203.0.113.9"}).get_json() == {"status": "ok"}


def test_a_key_has_a_rate_of_its_own(app):
    client = app.test_client()
    ask = {"json": {"question": "hi", "database": "none"}}
    assert [client.post("/getAnwser", headers=headers("slow"), **ask).status_code for _ in range(2)] == [200, 429]
    assert [client.post("/getAnwser", headers=headers("all"), **ask).status_code for _ in range(2)] == [200, 200]


def test_a_key_has_a_number_of_streams_of_its_own_and_its_answers_end_with_it(app):
    client = app.test_client()
    ask = {"json": {"question": "hi", "database": "none", "provider": "stuck"}}
    running = client.post("/getAnwser", headers=headers("one"), **ask)
    assert client.post("/getAnwser", headers=headers("one"), **ask).status_code == 429
    sluice = app.extensions["sluice"]
    # The key is revoked: what runs with it ends.
    sluice.keys.revoke_all_but([digest("all")])
    end_invalid(sluice.keys, sluice.answers)
    assert b"event: failed" in running.data and b'"code":"unauthorized"' in running.data
    assert not sluice.answers.running
    assert client.post("/getAnwser", headers=headers("one"), **ask).status_code == 401
