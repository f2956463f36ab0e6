"""Tickets: a native EventSource with keys on, and attacks on them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json

import pytest

from gateway.access import tickets
from gateway.access.tickets import EXPIRES_IN_S, Tickets
from gateway.app import create_app
from gateway.settings import parse
from tests.clients.gateways import served_by, stations
from tests.gateway.live import Live, text_of

SECRET = "a secret of the tests' own"
KEYS = {"a": "key-of-a", "b": "key-of-b"}
A, B = ({"Authorization": f"Bearer {key}"} for key in KEYS.values())


@pytest.fixture(scope="module")
def locked(service, tmp_path_factory):
    """A gateway with two keys, of which b may not ask the database."""
    url = stations(tmp_path_factory.mktemp("database") / "metro.db")
    keys = [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest()} | ({"databases": []} if name == "b" else {})
        for name, key in KEYS.items()
    ]
    configuration = served_by(
        service,
        databases={"metro": {"url": url, "tables": ["dtzpt"]}},
        auth={"keys": keys, "secret": SECRET},
        server={"cors": ["http://app.example"]},
    )
    with Live(configuration) as running:
        yield running


def ticket(live, key=A, **bound):
    with live.call("POST", "/tickets", bound, key) as reply:
        assert reply.status == 200, reply.body()
        told = reply.json()
    assert told.keys() == {"ticket", "expires_in"} and told["expires_in"] == 60
    return told["ticket"]


def asked(live, text, question="hi", headers=None, **fields):
    query = "&".join(f"{name}={value}" for name, value in {"database": "none", **fields}.items() if value is not None)
    return live.call("GET", f"/getAnwser?question={question}&{query}&ticket={text}", headers=headers)


def forged(live, **changes):
    """A ticket of the gateway's with members of its payload changed and its mac kept."""
    payload, _, mac = ticket(live).partition(".")
    members = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return base64.urlsafe_b64encode(json.dumps(members | changes).encode()).decode().rstrip("=") + "." + mac


def expired(monkeypatch, owner, **bound):
    digest = hashlib.sha256(owner.encode()).hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(tickets.time, "time", lambda: 1_700_000_000.0)
        return Tickets(SECRET).issue(digest, **bound)


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key", "api-key"])
def test_a_key_gives_a_ticket_and_the_ticket_opens_the_get_form(locked, header):
    key = {header: f"Bearer {KEYS['a']}" if header == "Authorization" else KEYS["a"]}
    with asked(locked, ticket(locked, key)) as reply:
        assert reply.status == 200
        events = list(reply.events())
    assert text_of(events) == "一二三四五六" and events[-1].name == "done"
    with locked.call("GET", "/getAnwser?question=hi") as reply:
        assert reply.status == 401


def test_a_cut_event_source_comes_back_with_its_ticket(locked, service):
    text = ticket(locked)
    reply = asked(locked, text, question="comes-back", provider="counted")
    seen = list(itertools.islice(reply.events(), 6))
    reply.close()
    with asked(locked, text, question="comes-back", headers={"Last-Event-ID": seen[-1].id}) as reply:
        seen += reply.events()
    assert [event.n for event in seen] == list(range(1, len(seen) + 1)) and seen[-1].name == "done"
    assert service.questions("comes-back") == 1
    answer_id = seen[0].id.rpartition(".")[0]
    for method, path, status in (("GET", "", 200), ("GET", "/events", 200), ("DELETE", "", 204)):
        with locked.call(method, f"/answers/{answer_id}{path}?ticket={text}") as reply:
            assert reply.status == status


@pytest.mark.parametrize(
    "altered",
    [
        "",
        "x",
        "x.y",
        "%C3%A9.%C3%A9",
        "." * 3000,
        pytest.param(lambda live: ticket(live)[:-1], id="cut"),
        pytest.param(lambda live: ticket(live) + "A", id="longer"),
        pytest.param(lambda live: forged(live, x=9_999_999_999), id="expiry"),
        pytest.param(lambda live: forged(live, k=hashlib.sha256(b"key-of-b").hexdigest()), id="another key"),
        pytest.param(lambda live: forged(live, database="metro"), id="database"),
        pytest.param(
            lambda live: Tickets("another secret of 16").issue(hashlib.sha256(b"key-of-a").hexdigest()), id="secret"
        ),
        pytest.param(lambda live: Tickets(SECRET).issue(hashlib.sha256(b"revoked").hexdigest()), id="revoked key"),
    ],
)
def test_an_altered_or_foreign_ticket_opens_nothing(locked, service, altered):
    text = altered(locked) if callable(altered) else altered
    asked_before = len(service.asked)
    with locked.call("GET", f"/getAnwser?question=hi&ticket={text}") as reply:
        assert reply.status == 401
    assert len(service.asked) == asked_before


def test_an_expired_ticket_asks_nothing_and_opens_no_other_answer(locked, service, monkeypatch):
    with locked.call("POST", "/getAnwser", {"question": "hi", "database": "none"}, A) as reply:
        last = list(reply.events())[-2].id
    text, before = expired(monkeypatch, KEYS["a"]), len(service.asked)
    answer_id = last.rpartition(".")[0]
    with asked(locked, text) as reply:
        assert reply.status == 401 and "expired" in reply.json()["error"]["message"]
    with asked(locked, text, headers={"Last-Event-ID": last}) as reply:
        assert reply.status == 401
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        with locked.call(method, f"/answers/{answer_id}{path}?ticket={text}") as reply:
            assert reply.status == 401
    assert len(service.asked) == before


def test_an_answer_stays_followable_with_the_ticket_that_began_it(service, monkeypatch):
    configuration = served_by(service, auth={"keys": [hashlib.sha256(b"key-of-a").hexdigest()]})
    client = create_app(parse(configuration, environ={})).test_client()
    text = client.post("/tickets", headers=A).get_json()["ticket"]
    answer_id = client.get(f"/getAnwser?question=hi&ticket={text}").headers["X-Answer-Id"]
    later = tickets.time.time() + EXPIRES_IN_S + 1
    monkeypatch.setattr(tickets.time, "time", lambda: later)
    follow = client.get(f"/getAnwser?question=hi&ticket={text}", headers={"Last-Event-ID": f"{answer_id}.1"})
    assert follow.status_code == 200 and b"event: done" in follow.get_data()
    assert client.get(f"/answers/{answer_id}/events?ticket={text}").status_code == 200
    assert client.get(f"/getAnwser?question=hi&ticket={text}").status_code == 401
    assert client.delete(f"/answers/{answer_id}?ticket={text}").status_code == 401


def test_a_ticket_opens_only_what_it_was_bound_to(locked):
    bodies = [{"question": question, "database": "none"} for question in ("one", "two")]
    ids = []
    for body in bodies:
        with locked.call("POST", "/getAnwser", body, A) as reply:
            ids.append(reply.headers["x-answer-id"])
            reply.body()
    bound = ticket(locked, answer=ids[0])
    for answer_id, status in zip(ids, (200, 403), strict=True):
        with locked.call("GET", f"/answers/{answer_id}?ticket={bound}") as reply:
            assert reply.status == status
    with asked(locked, bound) as reply:
        assert reply.status == 403
    bound = ticket(locked, database="metro")
    with asked(locked, bound, database="none") as reply:
        assert reply.status == 403
    with asked(locked, bound, database=None, provider="sql") as reply:
        assert reply.status == 200 and any(event.name == "rows" for event in reply.events())
    with locked.call("GET", f"/answers/{ids[0]}?ticket={bound}") as reply:
        assert reply.status == 403
    bound = ticket(locked, origin="http://app.example")
    for origin, status in (("http://app.example", 200), ("http://evil.example", 403), (None, 403)):
        with asked(locked, bound, headers={"Origin": origin} if origin else None) as reply:
            assert reply.status == status


def test_a_ticket_has_the_rights_of_its_key_and_no_more(locked):
    text = ticket(locked, B)
    with asked(locked, text, database="metro") as reply:
        assert reply.status == 403
    with locked.call("POST", "/getAnwser", {"question": "mine", "database": "none"}, A) as reply:
        foreign = reply.headers["x-answer-id"]
        reply.body()
    with locked.call("GET", f"/answers/{foreign}?ticket={text}") as reply:
        assert reply.status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/getAnwser"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("POST", "/tickets"),
        ("POST", "/feedback"),
        ("GET", "/chat/x/stream"),
    ],
)
def test_a_ticket_opens_no_other_route(locked, method, path):
    with locked.call(method, f"{path}?ticket={ticket(locked)}", {} if method == "POST" else None) as reply:
        assert reply.status == 401


@pytest.mark.parametrize(
    ("bound", "status"),
    [
        ({"answer": "unknown"}, 404),
        ({"database": "nowhere"}, 400),
        ({"origin": "app.example"}, 400),
        ({"origin": "http://app.example/path"}, 400),
        ({"more": 1}, 400),
    ],
)
def test_a_ticket_is_bound_only_to_what_there_is(locked, bound, status):
    with locked.call("POST", "/tickets", bound, A) as reply:
        assert reply.status == status


def test_no_log_line_has_a_ticket(locked):
    text = ticket(locked)
    with asked(locked, text) as reply:
        reply.body()
    with asked(locked, text[:-2]) as reply:
        assert reply.status == 401
    log = locked.log.read_text("utf-8")
    assert text not in log and text.partition(".")[0] not in log and SECRET not in log


def test_a_ticket_shows_the_page_what_it_may_ask_and_no_more(locked):
    with locked.call("GET", f"/page/state?ticket={ticket(locked, database='metro')}") as reply:
        state = reply.json()
    assert [found["name"] for found in state["databases"]] == ["metro"] and state["sql"] is False
    with locked.call("GET", f"/page/state?ticket={ticket(locked, B)}") as reply:
        assert reply.json()["databases"] == []
    with locked.call("GET", f"/page/schema?database=metro&ticket={ticket(locked)}") as reply:
        assert [table["name"] for table in reply.json()["tables"]] == ["dtzpt"]
    for path in ("/page/state?", "/page/schema?database=metro&"):
        with locked.call("GET", f"{path}ticket={forged(locked, database='metro')}") as reply:
            assert reply.status == 401


def test_a_ticket_for_an_answer_and_an_expired_one_show_the_page_nothing(locked, monkeypatch):
    with asked(locked, ticket(locked)) as reply:
        reply.body()
        bound = ticket(locked, answer=reply.headers["x-answer-id"])
    for text, status in ((bound, 403), (expired(monkeypatch, KEYS["a"]), 401)):
        with locked.call("GET", f"/page/state?ticket={text}") as reply:
            assert reply.status == status
