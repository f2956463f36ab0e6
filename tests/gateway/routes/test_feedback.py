"""/feedback and the rows as CSV, from outside."""

from __future__ import annotations

import csv
import io
import logging

import pytest

from tests.gateway.text2sql.written_replies import BAD, GOOD

QUESTION = "沈塘桥在哪条线？"


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
    assert "select line from dtzpt where name = '沈塘桥'" in system_message(providers)


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
        ({"id": "{id}"}, 400, "bad_request"),
        ({"id": "{id}", "question": "", "right": True}, 400, "bad_request"),
        ({"id": "{id}", "question": "q", "right": True}, 400, "bad_request"),
        ({"id": "{id}", "question": "q", "sql": "SELECT 0"}, 400, "bad_request"),
        ({"id": "{id}", "right": True, "extra": 1}, 400, "bad_request"),
        ({"id": "{id}", "right": True, "database": "nope"}, 400, "bad_request"),
        ({"id": "{id}", "right": True, "database": "other"}, 400, "bad_request"),
        ({"id": "unknown", "right": True}, 404, "not_found"),
        ({"id": "{id}", "sql": "DROP TABLE dtzpt"}, 422, "sql_refused"),
        ({"id": "{id}", "sql": "SELECT gone FROM dtzpt"}, 422, "sql_refused"),
    ],
)
def test_bad_feedback_is_refused_by_name(serving, tmp_path, body, status, code):
    client, _ = serving(GOOD, memory=str(tmp_path / "memory.db"))
    answer = ask(client).get_json()
    sent = {name: answer["id"] if value == "{id}" else value for name, value in body.items()}
    reply = client.post("/feedback", json=sent)
    assert (reply.status_code, reply.get_json()["error"]["code"]) == (status, code)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_a_key_neither_replaces_nor_forgets_what_another_key_confirmed(serving, tmp_path):
    client, providers = serving(GOOD, GOOD, GOOD, keys=("alice", "bob"), memory=str(tmp_path / "memory.db"))
    hers, his = (ask(client, **bearer(key)).get_json() for key in ("alice", "bob"))
    assert client.post("/feedback", json={"id": hers["id"], "right": True}, headers=bearer("alice")).status_code == 200
    assert client.post("/feedback", json={"id": hers["id"], "right": False}, headers=bearer("bob")).status_code == 404
    wrong = {"id": his["id"], "sql": "SELECT COUNT(*) AS wrong FROM dtzpt"}
    assert client.post("/feedback", json=wrong, headers=bearer("bob")).status_code == 200
    ask(client, **bearer("bob"))
    assert hers["sql"]["sql"] in system_message(providers) and "wrong" not in system_message(providers)
    gone = {"id": his["id"], "right": False}
    assert client.post("/feedback", json=gone, headers=bearer("bob")).get_json()["forgotten"]
    assert not client.post("/feedback", json=gone, headers=bearer("bob")).get_json()["forgotten"]
    ask(client, **bearer("alice"))
    assert hers["sql"]["sql"] in system_message(providers)


def test_only_a_statement_that_ran_is_confirmed(serving, tmp_path):
    client, _ = serving(GOOD, memory=str(tmp_path / "memory.db"))
    body = {"question": QUESTION, "execute": False}
    answer = client.post("/getAnwser", json=body, headers={"Accept": "application/json"}).get_json()
    reply = client.post("/feedback", json={"id": answer["id"], "right": True})
    assert reply.status_code == 422 and "gave rows" in reply.get_json()["error"]["message"]


def test_an_answer_of_a_plain_chat_and_a_very_long_question_are_not_remembered(serving, tmp_path):
    client, _ = serving(GOOD, GOOD, memory=str(tmp_path / "memory.db"))
    for question, database in ((QUESTION, "none"), (QUESTION * 100, "metro")):
        body = {"question": question, "database": database}
        answer = client.post("/getAnwser", json=body, headers={"Accept": "application/json"}).get_json()
        assert client.post("/feedback", json={"id": answer["id"], "right": True}).status_code == 422


def test_feedback_is_logged_without_the_question(serving, tmp_path, caplog):
    caplog.set_level("INFO")
    client, _ = serving(GOOD, keys=("alice",), memory=str(tmp_path / "memory.db"))
    answer = ask(client, **bearer("alice")).get_json()
    client.post("/feedback", json={"id": answer["id"], "right": True}, headers=bearer("alice"))
    (told,) = [record.getMessage() for record in caplog.records if record.name == "sluice.feedback"]
    assert answer["id"] in told and "metro" in told and "alice" in told and QUESTION not in told


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


def test_a_refused_statement_as_csv_says_why(serving):
    client, _ = serving(BAD)
    reply = ask(client, Accept="text/csv")
    error = reply.get_json()["error"]
    assert (reply.status_code, error["code"]) == (422, "sql_refused") and error["message"]
    assert reply.headers["X-Answer-Id"]


def test_the_log_line_of_an_answer_says_who_asked_which_database_and_what_ran(serving, caplog):
    caplog.set_level("INFO")
    client, _ = serving(GOOD, BAD, keys=("alice",))
    logging.getLogger("sluice.answers").addHandler(caplog.handler)
    try:
        for _ in range(2):
            ask(client, **bearer("alice"))
    finally:
        logging.getLogger("sluice.answers").removeHandler(caplog.handler)
    told = {record.fields["id"]: record.fields for record in caplog.records if record.name == "sluice.answers"}
    good, bad = told.values()
    assert (good["key"], good["database"], good["rows"]) == ("alice", "metro", 2)
    (statement,) = good["statements"]
    assert statement["tables"] == ["dtzpt"] and statement["ok"] and len(statement["digest"]) == 16
    assert "sql" not in statement and QUESTION not in str(good)
    assert bad["rows"] is None and not bad["statements"][0]["ok"] and bad["statements"][0]["reason"]


def test_an_answer_without_rows_has_no_csv(serving):
    client, _ = serving("你好")
    assert ask(client, Accept="text/csv").status_code == 404
