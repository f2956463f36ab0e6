"""The page keeps an answer through cuts, and asks once."""

from __future__ import annotations

import threading

from tests.gateway.web.scripted import CUT, DONE, FULL, OVER, START, Scripted, answered, ask, opened, served, text


def test_a_cut_answer_goes_on_where_it_was_and_is_asked_once(page, server):
    # A browser forgets what a connection brought that nobody has read when it breaks.
    first, second = threading.Event(), threading.Event()
    said = [text("One, "), text("two, "), first, CUT, text("three, "), second, CUT, text("four.")]
    server.scripts["q"] = [START, *said, DONE]
    ask(page, "q")
    for words, then in (("two", first), ("three", second)):
        page.wait(f"document.querySelector('.prose').textContent.includes('{words}')")
        then.set()
    page.wait(OVER)
    assert page.text(".prose") == "One, two, three, four."
    assert (len(server.asked), server.followed) == (1, ["a1.3", "a1.4"])


def test_an_answer_that_is_cut_before_its_first_event_is_followed_not_asked_again(page, server):
    answered(page, server, [CUT, *FULL])
    assert (len(server.asked), server.followed) == (1, [None])
    assert page.texts("td") == ["沈塘桥", "2号线", "1"]


def test_a_question_that_was_asked_offline_is_sent_once_when_the_network_is_back(page, server):
    server.scripts["q"] = FULL
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.call("Network.emulateNetworkConditions", **offline)
    ask(page, "q")
    page.wait("document.querySelector('.wait').innerText.includes('reconnecting')")
    assert server.asked == []
    page.call("Network.emulateNetworkConditions", **offline | {"offline": False})
    page.wait(OVER)
    assert len(server.asked) == 1 and page.text(".failure") == ""


def test_an_answer_that_is_gone_says_so(page, server):
    shown = threading.Event()
    server.scripts["q"] = [START, text("So far"), shown, lambda: server.answers.clear(), CUT]
    ask(page, "q")
    page.wait("document.querySelector('.prose').textContent === 'So far'")
    shown.set()
    page.wait(OVER)
    assert "not_found" in page.text(".failure") and len(server.asked) == 1


def test_a_native_event_source_gets_the_same_answer_and_does_not_ask_twice(page, server):
    server.scripts["q"] = FULL
    reply = page.js("""new Promise((resolve) => {
      const [source, got] = [new EventSource("/getAnwser?question=q&key=k1"), []];
      for (const name of ["start", "message", "sql", "rows", "done"])
        source.addEventListener(name, (event) => got.push([name, JSON.parse(event.data)]));
      source.onerror = () => source.readyState === EventSource.CLOSED && resolve(got);
    })""")
    assert [tuple(event) for event in reply] == FULL
    assert len(server.asked) == 1


def test_a_connection_that_went_silent_is_made_again(browser):
    server = Scripted(heartbeat_s=0.2)
    back = threading.Event()
    server.scripts["q"] = [START, text("One, "), back, text("two."), DONE]
    with served(server.app) as server.url:
        page = browser.page()
        opened(page, server)
        ask(page, "q")
        page.until(lambda: server.followed)
        back.set()
        page.wait(OVER)
        assert page.text(".prose") == "One, two." and len(server.asked) == 1
        page.close()
