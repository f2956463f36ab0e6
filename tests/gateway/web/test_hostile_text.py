"""Whatever a model, a database or an upstream says, on the page it is text."""

from __future__ import annotations

from tests.gateway.web.scripted import DONE, START, answered, rows, text


def test_hostile_text_is_only_ever_text(page, server):
    evil = "<img src=x onerror=\"window.hit=1\"><script>window.hit=1</script><a href='javascript:hit()'>‮x</a>"
    statement = f"SELECT '{evil}' FROM {evil}"
    failed = {"code": "internal", "message": evil, "retryable": False, "retry_after": None, "request_id": evil}
    start = ("start", {"id": "a1", "provider": evil, "model": evil, "created": 1})
    judged = {"sql": statement, "dialect": evil, "tables": [evil], "ok": False, "reason": evil}
    prose = f"{evil} `{evil}` **{evil}**\n```{evil}\n{evil}\n```\n```sql\n{statement}\n```\n"
    answered(page, server, [
        start, ("reasoning", {"text": evil}), text(prose), ("sql", judged),
        rows([{"name": evil, "type": evil}], [[evil]]), ("failed", failed),
    ], evil)  # fmt: skip
    assert page.text(".prose p").startswith("<img src=x")
    assert page.text("td") == evil and page.text(".failure p") == evil and page.text(".asked .words") == evil
    assert page.js("document.querySelectorAll('#turns img, #turns script, #turns a').length") == 0
    assert page.js("window.hit") is None


def test_the_policy_lets_no_string_become_markup(page):
    reply = page.js("fetch('/').then(r => Object.fromEntries(r.headers))")
    policy = reply["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"} <= set(policy)
    assert reply["x-content-type-options"] == "nosniff" and reply["referrer-policy"] == "no-referrer"
    refused = "(() => { try { document.body.innerHTML = '<b>x</b>' } catch (error) { return error.name } })()"
    assert page.js(refused) == "TypeError"
    page.events.clear()  # the violation is in the console, as it should be


def test_very_much_text_does_not_stall_the_page(page, server):
    pieces = [text(("word " * 40 + ("\n" if n % 3 else "")) * 5) for n in range(400)]
    answered(page, server, [START, *pieces, DONE])
    assert page.js("document.querySelector('.prose').textContent.length") >= 390_000
