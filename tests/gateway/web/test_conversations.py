"""Conversations stay on the device: a reload, the list, exports and links."""

from __future__ import annotations

import json
import threading

from tests.gateway.web.scripted import DONE, FULL, OVER, START, Scripted, answered, ask, opened, served, text


def reload(page, server) -> None:
    page.open("about:blank")
    opened(page, server)


def test_a_reload_in_the_middle_of_an_answer_goes_on_with_it(page, server):
    more = threading.Event()
    server.scripts["q"] = [START, text("One, "), text("two, "), more, text("three."), DONE]
    ask(page, "q")
    page.wait("document.querySelector('.prose')?.innerText.trim() === 'One, two,'")
    page.js("new Promise((resolve) => setTimeout(resolve, 600))")  # what has come is kept within 400 ms
    reload(page, server)
    page.wait("document.querySelector('.prose')?.innerText.startsWith('One, two,')")
    more.set()
    page.wait(OVER)
    assert page.text(".prose") == "One, two, three."
    assert len(server.asked) == 1 and page.texts(".asked .words") == ["q"]


def test_a_reload_before_the_first_event_asks_nothing_twice(page, server):
    more = threading.Event()
    server.scripts["q"] = [more, *FULL]
    ask(page, "q")
    page.until(lambda: server.asked)
    page.js("new Promise((resolve) => setTimeout(resolve, 300))")
    reload(page, server)
    page.wait("document.querySelector('.asked')")
    more.set()
    page.wait(OVER)
    assert len(server.asked) == 1 and page.texts("td") == ["沈塘桥", "2号线", "1"]


def test_a_finished_answer_is_there_after_a_reload_and_asks_the_server_nothing(page, server):
    answered(page, server, FULL)
    before = page.text(".answer .code")
    reload(page, server)
    page.wait("document.querySelector('.result')")
    assert page.text(".answer .code") == before and page.texts("td") == ["沈塘桥", "2号线", "1"]
    assert (len(server.asked), server.followed) == (1, [])
    server.scripts["and?"] = [START, text("More."), DONE]
    ask(page, "and?")
    page.wait("document.querySelectorAll('.usage').length === 2")
    assert server.asked[1][0]["history"][0]["question"] == "q"


def test_another_tab_begins_with_nothing(page, server, browser):
    answered(page, server, FULL)
    page.js("sessionStorage.clear()")
    reload(page, server)
    page.js("new Promise((resolve) => setTimeout(resolve, 200))")
    assert page.texts(".turn") == []


def test_conversations_are_listed_opened_renamed_and_deleted(page, server):
    answered(page, server, FULL, "first question")
    page.click("#fresh")
    answered(page, server, [START, text("Two."), DONE], "second question")
    page.click("#history")
    page.wait("document.querySelectorAll('.conversations li').length === 2")
    assert page.texts(".conversations .open span") == ["second question", "first question"]
    page.click(".conversations li:last-child .open")
    page.wait("document.querySelector('.asked .words')?.innerText === 'first question'")
    page.wait("document.querySelector('.result')")
    page.click("#history")
    page.click(".conversations li:last-child [data-tool=rename]")
    page.wait("document.activeElement.matches('.conversations input')")
    page.type("a better name")
    page.press("Enter")
    page.until(lambda: "a better name" in page.texts(".conversations .open span"))
    page.click(".conversations li:first-child [data-tool=delete]")
    page.wait("document.querySelectorAll('.conversations li').length === 1")
    assert page.texts(".conversations .open span") == ["a better name"]
    page.press("Escape")
    page.wait("!document.querySelector('dialog[open]')")
    assert page.texts(".asked .words") == ["first question"]


def test_a_conversation_is_exported_whole(page, server):
    answered(page, server, FULL)
    page.click("#history")
    page.wait("document.querySelector('.conversations li')")
    page.js("URL.createObjectURL = (blob) => (window.saved = blob, 'data:,')")
    page.click("[data-tool=exportMarkdown]")
    page.wait("window.saved")
    document = page.js("window.saved.text()")
    assert document.startswith("# q\n\n## q\n\n查询沈塘桥：") and "| 沈塘桥 | 2号线 | 1 |" in document
    page.js("window.saved = null")
    page.click("[data-tool=exportJson]")
    page.wait("window.saved")
    exported = json.loads(page.js("window.saved.text()"))
    assert [event["name"] for event in exported["turns"][0]["events"]] == ["start", "message", "sql", "rows", "done"]
    assert "key" not in exported["turns"][0]


def test_a_link_opens_the_answer_for_another_reader(page, server, browser):
    answered(page, server, FULL)
    page.click(".tools .copy[data-tool=copyLink]")
    page.wait("document.querySelector('.said')?.textContent.includes('10 minutes')")
    link = page.js("import('/page/conversation.js').then(() => `${location.origin}/#answer=a1&q=q`)")
    other = browser.page()
    other.speaks("en-US")
    other.open(link)
    other.wait(OVER)
    assert other.texts("td") == ["沈塘桥", "2号线", "1"] and other.texts(".asked .words") == ["q"]
    assert other.js("location.hash") == "" and len(server.asked) == 1
    other.close()


def test_a_link_to_an_answer_that_is_gone_says_so(page, server):
    page.open("about:blank")
    page.open(server.url + "/#answer=gone&q=q")
    page.wait("document.querySelector('.failure')")
    assert "no longer there" in page.text(".failure")


def test_what_was_chosen_is_remembered(page, server):
    for name, value in (("provider", "vllm"), ("database", "none")):
        page.js(f"document.querySelector('#{name}').value = '{value}'")
        page.js(f"document.querySelector('#{name}').dispatchEvent(new Event('change'))")
    reload(page, server)
    assert page.js("['provider', 'database'].map(name => document.getElementById(name).value)") == ["vllm", "none"]


def test_the_key_is_kept_on_the_device_if_the_person_says_so_and_cancelling_explains(browser):
    server = Scripted(key="s3cret")
    with served(server.app) as server.url:
        page = browser.page()
        page.speaks("en-US")
        page.open(server.url + "/")
        page.wait("document.querySelector('#gate').open")
        page.click("#gate-cancel")
        page.wait("!document.querySelector('#note').hidden")
        assert page.text("#note").startswith("Without a key nothing can be asked")
        page.click("#open-gate")
        page.wait("document.querySelector('#gate').open")
        page.js("document.querySelector('#gate-key').focus()")
        page.type("s3cret")
        page.click("#gate-keep")
        page.press("Enter") if page.js("document.activeElement.id === 'gate-key'") else page.click("#gate .solid")
        page.wait("document.querySelectorAll('#provider option').length > 1")
        assert page.js("[sessionStorage.getItem('sluice-key'), localStorage.getItem('sluice-key')]") == [None, "s3cret"]
        page.close()
