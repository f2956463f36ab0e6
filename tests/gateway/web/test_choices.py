"""What can be chosen on the page, and what a question brings along."""

from __future__ import annotations

from tests.gateway.web.scripted import DONE, FULL, OVER, START, Scripted, answered, ask, served, text


def test_the_default_is_not_named_and_another_provider_is(page, server):
    assert page.js("[...document.querySelectorAll('#provider option')].map(o => [o.textContent, o.disabled])") == [
        ["local · metro-sql (default)", False],
        ["qwen · qwen-max: unavailable (DASHSCOPE_API_KEY is not set)", True],
        ["vllm · Qwen2.5-7B-Instruct", False],
    ]
    assert page.text("#note").startswith("The demo model answers questions about the demo database")
    answered(page, server, FULL)
    page.js(
        "const pick = document.querySelector('#provider'); pick.value = 'vllm'; pick.dispatchEvent(new Event('change'))"
    )
    assert page.text("#note") == ""
    page.click("#fresh")
    answered(
        page, server, [("start", START[1] | {"provider": "vllm", "model": "Qwen2.5-7B-Instruct"}), *FULL[1:]], "哪个区"
    )
    assert page.text(".by") == "vllm\nQwen2.5-7B-Instruct"
    assert [body for body, _ in server.asked] == [
        {"question": "q", "language": "en", "database": "metro"},
        {"question": "哪个区", "language": "zh", "database": "metro", "provider": "vllm"},
    ]


def test_another_provider_that_answered_instead_is_named(page, server):
    answered(page, server, [("start", START[1] | {"provider": "vllm", "model": "m"}), text("Yes"), DONE])
    assert page.text(".by") == "vllm (instead of local)\nm"


def test_a_plain_chat_asks_no_database(page, server):
    page.js(
        "const pick = document.querySelector('#database'); pick.value = 'none'; pick.dispatchEvent(new Event('change'))"
    )
    assert page.js("document.querySelector('#examples').hidden")
    answered(page, server, FULL)
    assert server.asked[0][0]["database"] == "none"


def test_a_follow_up_brings_the_conversation_and_a_new_one_does_not(page, server):
    answered(page, server, [START, text("One."), DONE], "first")
    server.scripts |= {"second": [START, text("Two."), DONE], "third": [START, text("Three."), DONE]}
    ask(page, "second")
    page.wait("document.querySelectorAll('.usage').length === 2")
    page.click("#fresh")
    assert page.texts(".turn") == []
    ask(page, "third")
    page.wait("document.querySelectorAll('.usage').length === 1")
    assert [body.get("history") for body, _ in server.asked] == [None, [{"question": "first", "answer": "One."}], None]


def test_an_example_asks_at_a_click(page, server):
    example = "Tell me about Shentangqiao station"
    server.scripts[example] = FULL
    page.click("#examples button")
    page.wait(OVER)
    assert server.asked[0][0]["question"] == example


def test_a_server_with_keys_asks_for_one_and_keeps_it_for_this_tab(browser):
    server = Scripted(key="s3cret")
    server.scripts["q"] = FULL
    with served(server.app) as server.url:
        page = browser.page()
        page.open(server.url + "/")
        for key in ("wrong", "s3cret"):
            page.wait("document.querySelector('#gate').open && document.querySelector('#gate-key').value === ''")
            page.js("document.querySelector('#gate-key').focus()")
            page.type(key)
            page.press("Enter")
        page.wait("document.querySelectorAll('#provider option').length > 1")
        ask(page, "q")
        page.wait(OVER)
        assert server.asked[0][1]["Authorization"] == "Bearer s3cret"
        assert page.js("[sessionStorage.getItem('sluice-key'), JSON.stringify(localStorage)]") == ["s3cret", "{}"]
        page.close()
