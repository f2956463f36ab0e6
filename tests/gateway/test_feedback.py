"""/feedback and the rows as CSV, from outside."""

from __future__ import annotations

import csv
import io

import pytest

from demo.metro import build
from gateway.app import create_app
from gateway.settings import parse
from gateway.text2sql.databases import Databases
from tests.gateway.text2sql.test_flow import BAD, GOOD, Provider

QUESTION = "沈塘桥在哪条线？"


class Providers(Provider):
    def described(self):
        return []

    def engines(self):
        return {}


@pytest.fixture
def serving(tmp_path):
    """Builds a client whose model gives the replies, one after the other; and what it was asked with."""
    build.build(tmp_path / "metro.db")

    def built(*replies, **database):
        settings = parse(
            {
                "default": "m",
                "providers": {"m": {"type": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}},
                "databases": {"metro": {"url": f"sqlite:///{tmp_path / 'metro.db'}", **database}},
                "text2sql": {"corrections": 0},
            },
            environ={},
        )
        providers = Providers(*replies)
        databases = Databases(settings.databases, settings.text2sql)
        return create_app(settings, providers, databases).test_client(), providers

    return built


def ask(client, **headers):
    return client.post("/getAnwser", json={"question": QUESTION}, headers={"Accept": "application/json"} | headers)


def system_message(providers):
    return providers.requests[-1][0].messages[0]["content"]


def test_an_answer_that_was_right_is_an_example_for_the_next_question(serving, tmp_path):
    client, providers = serving(GOOD, GOOD, memory=str(tmp_path / "memory.db"))
    answer = ask(client).get_json()
    assert QUESTION not in system_message(providers)
    reply = client.post("/feedback", json={"id": answer["id"], "question": QUESTION, "right": True})
    assert (reply.status_code, reply.get_json()) == (200, {"remembered": True, "forgotten": False})
    ask(client)
    assert QUESTION in system_message(providers) and answer["sql"]["sql"] in system_message(providers)


def test_a_corrected_statement_is_remembered_instead(serving, tmp_path):
    client, providers = serving(BAD, GOOD, memory=str(tmp_path / "memory.db"))
    answer = ask(client).get_json()
    sql = "select line from dtzpt where name = '沈塘桥'"
    assert client.post("/feedback", json={"id": answer["id"], "question": QUESTION, "sql": sql}).status_code == 200
    ask(client)
    assert "SELECT line FROM dtzpt WHERE name = '沈塘桥'" in system_message(providers)


def test_an_answer_that_turns_out_wrong_is_forgotten(serving, tmp_path):
    client, providers = serving(GOOD, GOOD, memory=str(tmp_path / "memory.db"))
    answer = ask(client).get_json()
    body = {"id": answer["id"], "question": QUESTION}
    client.post("/feedback", json=body | {"right": True})
    assert client.post("/feedback", json=body | {"right": False}).get_json()["forgotten"]
    ask(client)
    assert QUESTION not in system_message(providers)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"right": True}, 400, "bad_request"),
        ({"id": "{id}", "question": "q"}, 400, "bad_request"),
        ({"id": "{id}", "question": "", "right": True}, 400, "bad_request"),
        ({"id": "{id}", "question": "q", "right": True, "extra": 1}, 400, "bad_request"),
        ({"id": "{id}", "question": "q", "right": True, "database": "nope"}, 400, "bad_request"),
        ({"id": "unknown", "question": "q", "right": True}, 404, "not_found"),
        ({"id": "{id}", "question": "q", "sql": "DROP TABLE dtzpt"}, 422, "sql_refused"),
        ({"id": "{id}", "question": "q", "sql": "SELECT gone FROM dtzpt"}, 422, "sql_refused"),
        ({"id": "{id}", "question": "q", "right": True, "database": "none"}, 422, "bad_request"),
    ],
)
def test_bad_feedback_is_refused_by_name(serving, tmp_path, body, status, code):
    client, _ = serving(GOOD, memory=str(tmp_path / "memory.db"))
    answer = ask(client).get_json()
    sent = {name: answer["id"] if value == "{id}" else value for name, value in body.items()}
    reply = client.post("/feedback", json=sent)
    assert (reply.status_code, reply.get_json()["error"]["code"]) == (status, code)


def test_an_answer_without_a_good_statement_cannot_be_confirmed(serving, tmp_path):
    client, _ = serving(BAD, memory=str(tmp_path / "memory.db"))
    answer = ask(client).get_json()
    reply = client.post("/feedback", json={"id": answer["id"], "question": QUESTION, "right": True})
    assert reply.status_code == 422


def test_nothing_is_remembered_unless_the_owner_named_a_file(serving):
    client, _ = serving(GOOD)
    answer = ask(client).get_json()
    reply = client.post("/feedback", json={"id": answer["id"], "question": QUESTION, "right": True})
    assert reply.status_code == 422 and "memory" in reply.get_json()["error"]["message"]


def test_rows_come_as_csv(serving):
    client, _ = serving(GOOD)
    reply = ask(client, Accept="text/csv")
    assert reply.status_code == 200 and reply.content_type.startswith("text/csv")
    assert list(csv.reader(io.StringIO(reply.get_data(as_text=True)))) == [
        ["name", "line"], ["沈塘桥", "19号线"], ["沈塘桥", "2号线"],
    ]  # fmt: skip
    assert reply.headers["X-Rows-Truncated"] == "false"
    again = client.get(f"/answers/{reply.headers['X-Answer-Id']}/events?format=csv")
    assert again.get_data() == reply.get_data()


def test_an_answer_without_rows_has_no_csv(serving):
    client, _ = serving("你好")
    assert ask(client, Accept="text/csv").status_code == 404
