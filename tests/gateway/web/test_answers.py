"""An answer on the page: its text as it streams, reasoning, SQL, rows, and how it can end."""

from __future__ import annotations

import threading

from tests.gateway.web.scripted import (
    COLUMNS,
    DONE,
    FENCED,
    FULL,
    JUDGED,
    OVER,
    SQL,
    START,
    Reply,
    answered,
    ask,
    rows,
    text,
)


def test_text_streams_in_as_it_comes(page, server):
    more = threading.Event()
    server.scripts["q"] = [START, text("The first "), text("words"), more, text(" and the last."), DONE]
    ask(page, "q")
    page.wait("document.querySelector('.prose').innerText === 'The first words'")
    assert page.text(".by") == "local\nmetro-sql"
    assert page.js("document.querySelector('.answer').classList.contains('running')")
    assert page.js("document.querySelector('#status').textContent") == "Answering"
    more.set()
    page.wait(OVER)
    assert page.text(".prose") == "The first words and the last."
    assert page.js("document.querySelector('#status').textContent") == "Answer complete"


def test_sql_is_coloured_while_it_is_still_being_written(page, server):
    more = threading.Event()
    server.scripts["q"] = [
        START,
        text("```sql\nSELECT COUNT(*) FROM dtzpt WHERE name = '沈"),
        more,
        text("塘桥'\n```"),
        DONE,
    ]
    ask(page, "q")
    page.wait("document.querySelector('.code .string')?.innerText === \"'沈\"")
    assert page.texts(".code .keyword") == ["SELECT", "FROM", "WHERE"]
    assert page.texts(".code .call") == ["COUNT"]
    more.set()
    page.wait("document.querySelector('.code .string').innerText === \"'沈塘桥'\"")


def test_the_statement_shows_what_the_guard_said_and_its_rows(page, server):
    answered(page, server, FULL)
    assert page.texts(".code pre") == [SQL]  # once: the fenced one is the one that was judged
    assert page.text(".verdict") == "✓ Checked" or page.text(".verdict") == "Checked"
    assert page.text(".kind") == "SQL · sqlite · dtzpt"
    assert page.texts("th") == ["name", "line", "n"]
    assert page.texts("td") == ["沈塘桥", "2号线", "1"]
    assert page.js("[...document.querySelectorAll('td')].map(cell => getComputedStyle(cell).textAlign)") == [
        "start", "start", "end",
    ]  # fmt: skip
    assert page.text(".facts span") == "1 row · 3 ms"
    assert page.text(".usage").startswith("312 + 48 tokens\nfirst token 120 ms\n")
    assert page.js("document.querySelector('#status').textContent") == "Answer complete, 1 row"


def test_a_statement_that_differs_from_the_text_is_shown_as_what_was_run(page, server):
    other = ("sql", JUDGED[1] | {"sql": SQL.replace("5", "200")})
    answered(page, server, [START, FENCED, other, rows(COLUMNS, []), DONE])
    assert page.texts(".code pre") == [SQL, other[1]["sql"]]
    assert page.text(".prose .aside") == "What was run:"
    assert page.text(".facts") == "No rows match · 3 ms"


def test_reasoning_is_apart_and_folds_away_when_the_reply_begins(page, server):
    more = threading.Event()
    server.scripts["q"] = [
        START,
        ("reasoning", {"text": "Let me "}),
        ("reasoning", {"text": "think"}),
        more,
        text("Yes."),
        DONE,
    ]
    ask(page, "q")
    page.wait("document.querySelector('.reasoning pre').innerText === 'Let me think'")
    assert page.js("document.querySelector('.reasoning').open")
    more.set()
    page.wait(OVER)
    assert not page.js("document.querySelector('.reasoning').open")
    assert page.text(".prose") == "Yes."
    page.click(".reasoning summary")
    assert page.js("document.querySelector('.reasoning pre').checkVisibility()")


def test_a_refused_statement_says_why_and_its_correction_follows(page, server):
    refused = (
        "sql",
        {
            "sql": "DELETE FROM dtzpt",
            "dialect": "sqlite",
            "tables": ["dtzpt"],
            "ok": False,
            "reason": "only SELECT is allowed",
        },
    )
    answered(page, server, [START, text("```sql\nDELETE FROM dtzpt\n```\n"), refused, *FULL[1:]])
    assert page.texts(".verdict") == ["Refused", "Checked"]
    assert page.text(".why").startswith("This statement was not run: only SELECT is allowed")
    assert page.text(".prose .aside") == "Corrected:"
    assert page.js("document.querySelector('.code.refused').nextElementSibling.matches('p')")


def test_of_several_statements_each_is_judged_and_the_rows_are_the_last_ones(page, server):
    one, two = "SELECT name FROM dtzpt", "SELECT line FROM lines"
    said = text(f"First:\n\n```sql\n{one}\n```\n\nthen:\n\n```sql\n{two}\n```\n\nThat is all.")
    judged = [("sql", JUDGED[1] | {"sql": sql, "final": sql == two}) for sql in (one, two)]
    answered(page, server, [START, said, *judged, rows(COLUMNS[:1], [["1号线"]]), DONE])
    assert page.texts(".code pre") == [one, two] and page.texts(".verdict") == ["Checked", "Checked"]
    assert page.js("document.querySelector('.result').previousElementSibling.querySelector('pre').innerText") == two
    assert page.texts(".prose > .aside") == []


def test_a_statement_that_the_database_refuses_is_shown_once_and_its_correction_below(page, server):
    failed = ("sql", JUDGED[1] | {"ok": False, "reason": "the statement gives no rows"})
    other = "SELECT name FROM dtzpt LIMIT 1"
    again = [("correcting", {"reason": "it failed", "attempt": 1}), text(f"\n\n```sql\n{other}\n```\n")]
    corrected = ("sql", JUDGED[1] | {"sql": other})
    answered(page, server, [START, FENCED, JUDGED, failed, *again, corrected, rows(COLUMNS, []), DONE])
    assert page.texts(".code pre") == [SQL, other] and page.texts(".verdict") == ["Refused", "Checked"]
    assert page.texts(".prose .aside") == ["Corrected:"]


def test_a_failure_has_its_code_its_message_and_a_way_to_ask_again(page, server):
    failed = {"code": "engine_died", "message": "it stopped", "retryable": True, "retry_after": 5, "request_id": "r-7"}
    answered(page, server, [START, text("So far"), ("failed", failed)])
    assert page.text(".prose") == "So far"
    assert page.texts(".failure strong, .failure p, .failure button") == [
        "The local model stopped and is being restarted", "it stopped", "engine_died\nrequest r-7",
        "Try again (better in 5 s)",
    ]  # fmt: skip
    server.scripts["q"] = FULL
    page.click(".failure button")
    page.wait("document.querySelector('.result')")
    assert page.texts(".asked .words") == ["q"] and page.text(".failure") == ""
    keys = [headers["Idempotency-Key"] for _, headers in server.asked]
    assert len(set(keys)) == 2 and all(len(key) == 32 for key in keys)


def test_a_failure_that_asking_again_cannot_mend_offers_no_button(page, server):
    refusal = Reply(400, "bad_request", "question: too long")
    answered(page, server, [refusal])
    assert page.texts(".failure p:not(.usage)") == ["question: too long"]
    assert page.js("document.querySelector('.failure button')") is None


def test_failures_and_refusals_are_told_in_the_readers_language(page, server):
    page.click("#language")
    reason = "there is no table secret here, or it is not open; the tables are: dtzpt"
    refused = JUDGED[1] | {"ok": False, "reason": reason}
    message = "provider local is not asked: it failed several times in a row and is given a rest"
    failed = {"code": "overloaded", "message": message, "retryable": True, "retry_after": 5, "request_id": "r-7"}
    answered(page, server, [START, FENCED, ("sql", refused), ("failed", failed)])
    assert page.text(".why span") == "没有表 secret，或者它没有开放；可以查的表有：dtzpt"
    # An open breaker is the model service's trouble.
    assert page.text(".failure strong") == "模型服务连续出错，暂时不问它"
    assert page.text(".failure p") == "暂时不问模型服务 local：它连续出错，暂时不问它"
    page.click("#language")
    assert page.text(".failure p") == message and page.text(".why span") == reason


def test_stopping_keeps_the_text_so_far_and_tells_the_server(page, server):
    server.scripts["q"] = [START, text("So far"), threading.Event()]
    ask(page, "q")
    page.wait("document.querySelector('.prose').innerText === 'So far'")
    page.click("#stop")
    page.wait(OVER)
    page.until(lambda: server.stopped)
    assert (server.stopped, page.text(".prose"), page.text(".answer > .aside")) == (["a1"], "So far", "Stopped")


def test_escape_stops_too_and_the_next_question_can_be_asked(page, server):
    server.scripts["q"] = [START, text("So far"), threading.Event()]
    ask(page, "q")
    page.wait("document.querySelector('.prose').innerText === 'So far'")
    page.press("Escape")
    page.wait(OVER)
    page.until(lambda: server.stopped)
    assert server.stopped == ["a1"]
    server.scripts["again"] = FULL
    ask(page, "again")
    page.wait("document.querySelectorAll('.result').length === 1")


def test_ten_thousand_rows_come_in_sight_as_one_scrolls(page, server):
    columns = [{"name": "n", "type": "INTEGER"}, {"name": "name", "type": "TEXT"}]
    answered(page, server, [START, text("Many:"), rows(columns, [[n, f"站{n}"] for n in range(10_000)], True), DONE])
    assert page.js("document.querySelectorAll('tbody tr').length") == 200
    assert page.text(".facts span") == "Only the first 10000 rows, there are more · 3 ms"
    page.js("document.querySelector('.scroller').scrollTop = 1e6")
    page.wait("document.querySelectorAll('tbody tr').length === 400")
    header, scroller = (f"document.querySelector('{name}').getBoundingClientRect().top" for name in ("th", ".scroller"))
    assert page.js(f"{header} - {scroller}") == 0  # the header stays


def test_a_downloaded_table_runs_no_formula_and_loses_nothing(page, server):
    columns = [{"name": "=name", "type": "TEXT"}, {"name": "n", "type": "INTEGER"}]
    values = [["=1+1", -5], ["+8", 2], ['@a "b", c', None], ["两\n行", 9007199254740993], ["\tx", 1.5], ["-3.5", True]]
    answered(page, server, [START, rows(columns, values), DONE])
    page.js("URL.createObjectURL = (blob) => (window.saved = blob, 'data:text/csv,')")
    page.click(".facts button")
    saved = page.js(
        "window.saved.arrayBuffer().then(bytes => new TextDecoder('utf-8', {ignoreBOM: true}).decode(bytes))"
    )
    assert saved == (
        '\ufeff"\'=name",n\r\n"\'=1+1",-5\r\n"\'+8",2\r\n"\'@a ""b"", c",\r\n"两\n行",9007199254740993\r\n'
        '"\'\tx",1.5\r\n-3.5,true\r\n'
    )


def test_the_statement_can_be_copied(page, server, browser):
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite"], browserContextId=page.context)
    answered(page, server, FULL)
    page.click(".code .copy")
    page.wait("document.querySelector('.code .copy').textContent === 'Copied'")
    assert page.js("navigator.clipboard.readText()") == SQL
