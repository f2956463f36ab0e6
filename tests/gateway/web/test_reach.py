"""The page for everybody: keyboard, input methods, languages, colours, a phone's width."""

from __future__ import annotations

import pytest

from tests.gateway.web.scripted import DONE, FULL, OVER, START, answered, opened, rows, text


def test_everything_can_be_done_with_the_keyboard(page, server):
    server.scripts["one\ntwo"] = FULL
    for _ in range(4):
        page.press("Tab", shift=True)
    assert page.js("document.activeElement.className") == "brand"
    page.press("Tab", shift=True)
    assert page.js("document.activeElement.className") == "skip"
    page.press("Enter")
    page.wait("document.activeElement.id === 'question'")
    page.type("one")
    page.press("Enter", shift=True)
    page.type("two")
    page.press("Enter")
    page.wait(OVER)
    reached = []
    for _ in range(32):
        page.press("Tab")
        reached.append(page.js("document.activeElement.id || document.activeElement.className"))
        assert page.js("getComputedStyle(document.activeElement).outlineStyle") != "none" or reached[-1] in (
            "question",
            "",
        )
    assert {
        "provider",
        "database",
        "theme",
        "language",
        "fresh",
        "history",
        "tables",
        "scroller tall",
        "quiet small",
    } <= set(reached)


def test_composing_with_an_input_method_never_sends(page, server):
    page.call("Input.imeSetComposition", text="hang", selectionStart=4, selectionEnd=4)
    for code in (13, 229):  # as the Enter that ends a composition comes in Chromium, and in Safari
        page.call("Input.dispatchKeyEvent", type="rawKeyDown", key="Enter", code="Enter", windowsVirtualKeyCode=code)
    page.press("Escape")
    assert server.asked == [] and page.js("document.querySelector('#question').value") == "hang"
    page.type("杭州")
    server.scripts["杭州"] = FULL
    page.press("Enter")
    page.wait(OVER)
    assert len(server.asked) == 1


def test_the_page_speaks_the_browser_s_language_and_switches(browser, server):
    page = browser.page()
    page.speaks("zh-CN")
    opened(page, server)
    assert page.js("document.documentElement.lang") == "zh"
    assert page.text("h1") == "用平常的话，问你的数据"
    answered(page, server, FULL)
    assert page.text(".facts span") == "1 行 · 3 毫秒"
    page.click("#language")
    assert page.js("document.documentElement.lang") == "en"
    assert page.text(".facts span") == "1 row · 3 ms" and page.text(".verdict") == "Checked"
    assert page.js("document.querySelector('#send').getAttribute('aria-label')") == "Send"
    opened(page, server)  # and it is remembered
    assert page.text("h1") == "Ask your data in plain words"
    page.close()


def test_both_languages_have_the_same_words(page):
    assert page.js("""import("/page/words.js").then(({ WORDS }) => {
      const paths = (from, at = "") => Object.entries(from).flatMap(([name, value]) =>
        typeof value === "object" ? paths(value, `${at}${name}.`) : `${at}${name}:${typeof value}`);
      return [paths(WORDS.zh).join(), paths(WORDS.en).join()];
    }).then(([zh, en]) => zh === en && zh.length > 100)""")


def test_it_is_dark_where_the_system_is_and_where_it_was_chosen(page, server):
    def dark() -> bool:
        return page.js("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part < 60)")

    page.media(prefers_color_scheme="dark")
    page.wait("getComputedStyle(document.documentElement).colorScheme.includes('dark')")
    assert dark()
    page.click("#theme")
    assert not dark()
    opened(page, server)  # and it is remembered
    assert not dark()


@pytest.mark.parametrize("width", [320, 400])
def test_nothing_sticks_out_on_a_phone(page, server, width):
    page.size(width=width, height=640)
    wide = [{"name": f"column_{n}", "type": "TEXT"} for n in range(12)]
    long = "x" * 3000
    answered(
        page,
        server,
        [START, text(f"{long}\n\n```sql\nSELECT '{long}'\n```\n"), rows(wide, [["value"] * 12]), DONE],
        long[:200],
    )
    assert page.js("document.documentElement.scrollWidth <= innerWidth")
    assert page.js("(s => s.scrollWidth > s.clientWidth)(document.querySelector('.scroller'))")
    assert page.js("document.querySelector('#send').getBoundingClientRect().right <= innerWidth")


def test_paper_gets_the_whole_answer_in_ink_on_white(page, server):
    columns = [{"name": "name", "type": "text"}, {"name": "n", "type": "integer"}]
    page.click("#theme")  # dark, chosen by hand
    answered(page, server, [*FULL[:3], rows(columns, [[f"row {n}", n * 1000] for n in range(450)]), DONE])
    assert len(page.texts("tbody tr")) == 200
    page.call("Page.printToPDF")
    assert len(page.texts("tbody tr")) == 450
    page.call("Emulation.setEmulatedMedia", media="print")
    visible = "[...document.querySelectorAll('{}')].filter(one => one.checkVisibility()).length"
    assert page.js(visible.format(":is(.answer, .top, .composer) button:not(th button)")) == 0
    assert page.js(visible.format(".asked, .code, .result table")) == 3
    assert page.js("getComputedStyle(document.querySelector('td')).color.match(/\\d+/g).every(part => part < 90)")
    assert page.js("(s => s.scrollHeight - s.clientHeight)(document.querySelector('.scroller'))") <= 1
    page.call("Emulation.setEmulatedMedia", media="")
