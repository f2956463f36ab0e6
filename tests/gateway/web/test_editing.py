"""A statement that a person edits runs through the guard, and can be kept as the right one; answers are rated."""

from __future__ import annotations

from tests.gateway.web.scripted import COLUMNS, DONE, FULL, JUDGED, START, Reply, answered, rows, text

EDITED = "SELECT name FROM dtzpt"
REASON = "only SELECT is allowed"
REFUSED = {"sql": "DELETE FROM dtzpt", "dialect": "sqlite", "tables": ["dtzpt"], "ok": False, "reason": REASON}
FAILED = {"code": "sql_refused", "message": REASON, "retryable": False, "retry_after": None, "request_id": "r"}


def edit(page, sql: str) -> None:
    page.click(".code .edit")
    page.wait("document.activeElement.matches('.code textarea')")
    page.js("document.activeElement.select()")
    page.type(sql)


def test_an_edited_statement_is_judged_and_its_rows_are_shown(page, server):
    answered(page, server, FULL)
    server.scripts[EDITED] = [START, ("sql", JUDGED[1] | {"sql": EDITED}), rows(COLUMNS[:1], [["凤起路"]]), DONE]
    edit(page, EDITED)
    page.click(".code .choices .solid")
    page.wait("document.querySelector('.edited .result')")
    assert server.ran == [{"sql": EDITED, "database": "metro"}]
    assert page.text(".edited pre") == EDITED and page.texts(".edited td") == ["凤起路"]
    assert page.texts(".code pre")[0].startswith("SELECT name, line")  # the model's statement is still there
    page.click(".keep")
    page.until(lambda: server.rated)
    assert server.rated == [{"id": "a1", "sql": EDITED}]
    page.wait("document.querySelector('.keep').textContent === 'Kept' && document.querySelector('.keep').disabled")


def test_a_refused_edit_says_why_and_can_be_edited_again(page, server):
    answered(page, server, FULL)
    server.scripts["DELETE FROM dtzpt"] = [START, ("sql", REFUSED), ("failed", FAILED)]
    edit(page, "DELETE FROM dtzpt")
    page.press("Enter", control=True)
    page.wait("document.querySelector('.edited .why')")
    assert "only SELECT is allowed" in page.text(".edited .why") and page.text(".edited .result") == ""
    page.click(".edited .why button")
    page.wait("document.activeElement.matches('.edited textarea')")


def test_an_edit_that_is_refused_before_its_first_event_says_why(page, server):
    answered(page, server, FULL)
    server.scripts["DELETE FROM dtzpt"] = [Reply(422, "sql_refused", REASON)]
    edit(page, "DELETE FROM dtzpt")
    page.press("Enter", control=True)
    page.wait("document.querySelector('.edited .why')")
    assert REASON in page.text(".edited .why") and page.text(".failure") == ""
    page.events.clear()


def test_cancelling_leaves_the_statement_as_it_was(page, server):
    answered(page, server, FULL)
    edit(page, "SELECT 1")
    page.press("Escape")
    assert page.js("document.querySelector('.code textarea')") is None and server.ran == []
    assert page.text(".code pre").startswith("SELECT name, line")


def test_an_answer_is_rated(page, server):
    answered(page, server, FULL)
    page.click("[data-tool=right]")
    page.until(lambda: server.rated)
    assert server.rated == [{"id": "a1", "right": True}]
    page.wait("document.querySelector('[data-tool=right]').getAttribute('aria-pressed') === 'true'")
    page.click("[data-tool=wrong]")
    page.until(lambda: len(server.rated) == 2)
    assert server.rated[1] == {"id": "a1", "right": False}


def test_asking_again_and_having_it_explained(page, server):
    answered(page, server, FULL)
    server.scripts["q"] = list(FULL)
    page.click("[data-tool=askAgain]")
    page.until(lambda: len(server.asked) == 2)
    page.wait("document.querySelector('[data-tool=explain]')")
    explained = f"Explain this SQL statement in plain words:\n\n{JUDGED[1]['sql']}"
    server.scripts[explained] = [START, text("It counts."), DONE]
    page.click("[data-tool=explain]")
    page.until(lambda: len(server.asked) == 3)
    page.wait("document.querySelectorAll('.usage').length === 2")
    assert server.asked[2][0] | {"history": None} == {
        "question": explained, "language": "zh", "database": "none", "history": None,
    }  # fmt: skip


def test_a_refused_statement_offers_to_edit_it_and_to_ask_again(page, server):
    answered(page, server, [START, text("```sql\nDELETE FROM dtzpt\n```\n"), ("sql", REFUSED), ("failed", FAILED)])
    assert page.texts(".why button") == ["Edit this statement"]
    server.scripts["q"] = list(FULL)
    page.click(".failure button")
    page.wait("document.querySelector('.result')")
    assert len(server.asked) == 2


def test_arrow_up_brings_back_the_last_question(page, server):
    answered(page, server, FULL)
    page.js("document.querySelector('#question').focus()")
    page.press("ArrowUp")
    assert page.js("document.querySelector('#question').value") == "q"
    page.press("ArrowUp")  # in a field that has text it moves the cursor
    assert page.js("document.querySelector('#question').value") == "q"
