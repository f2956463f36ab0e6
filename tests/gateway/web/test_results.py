"""The rows of an answer as a person works with them: sorted, formatted, drawn, saved and copied."""

from __future__ import annotations

import io
import zipfile

import pytest

from tests.gateway.web.scripted import DONE, JUDGED, START, answered, rows, text


def column(name: str, kind: str = "text") -> dict[str, str]:
    return {"name": name, "type": kind}


def result(page, server, columns, values) -> None:
    answered(page, server, [START, text("Rows:"), JUDGED, rows(columns, values), DONE])


def saved(page, name: str) -> bytes:
    """The bytes of the file that the button called `name` hands to the browser."""
    page.js("URL.createObjectURL = (blob) => (window.saved = blob, 'data:,')")
    page.js(f"[...document.querySelectorAll('.result button')].find(b => b.textContent === '{name}').click()")
    page.wait("window.saved")
    return bytes(page.js("window.saved.arrayBuffer().then(bytes => [...new Uint8Array(bytes)])"))


def test_a_click_on_a_column_sorts_it_up_down_and_back(page, server):
    values = [["十", 10, "b"], ["九", 9, None], ["千", 1000, "a"]]
    result(page, server, [column("字"), column("n", "integer"), column("c")], values)
    numbers = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[1].textContent)"
    assert page.js(numbers) == ["10", "9", "1,000"]
    for expected, sort in ((["9", "10", "1,000"], "ascending"), (["1,000", "10", "9"], "descending")):
        page.click("th:nth-child(2) button")
        assert page.js(numbers) == expected
        assert page.js("document.querySelector('th:nth-child(2)').getAttribute('aria-sort')") == sort
    page.click("th:nth-child(2) button")
    assert page.js(numbers) == ["10", "9", "1,000"]
    page.click("th:nth-child(3) button")
    page.click("th:nth-child(3) button")
    assert page.js(numbers) == ["10", "1,000", "9"]  # NULL is last, whichever way


def test_figures_have_separators_and_what_only_looks_like_one_has_none(page, server):
    names = ["amount", "price", "year", "order_id", "at", "nothing", "empty"]
    kinds = ["integer", "decimal", "integer", "integer", "datetime", "text", "text"]
    columns = [column(name, kind) for name, kind in zip(names, kinds, strict=True)]
    row = [-1234567, "12345678901234567890.50", 2024, 100200, "2024-03-01T08:30:00.000000+08:00", None, ""]
    result(page, server, columns, [row])
    assert page.texts("td") == [
        "-1,234,567", "12,345,678,901,234,567,890.50", "2024", "100200", "2024-03-01 08:30:00+08:00", "NULL", "empty",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "times", "heading", "cells"),
    [
        (None, ["2024-03-01T08:30:00+08:00", None], "at UTC+08:00", ["2024-03-01 08:30:00", "NULL"]),
        ("Asia/Shanghai", ["2024-03-01T08:30:00.5+08:00"], "at Asia/Shanghai, UTC+08:00", ["2024-03-01 08:30:00.5"]),
        ("+08:00", ["2024-03-01T08:30:00+08:00"], "at UTC+08:00", ["2024-03-01 08:30:00"]),
        (None, ["2024-03-01T08:30:00+00:00"], "at UTC", ["2024-03-01 08:30:00"]),
        ("Europe/Berlin", ["2024-03-31T01:30:00+01:00", "2024-03-31T03:30:00+02:00"], "at Europe/Berlin",
         ["2024-03-31 01:30:00+01:00", "2024-03-31 03:30:00+02:00"]),
        (None, ["infinity"], "at", ["infinity"]),
    ],
)  # fmt: skip
def test_times_stand_in_the_zone_of_the_database_and_the_heading_names_it(page, server, name, times, heading, cells):
    server.timezone = name
    page.open(server.url + "/")
    page.wait("document.querySelectorAll('#provider option').length > 1")
    result(page, server, [column("at", "timestamptz"), column("x")], [[time, "x"] for time in times])
    assert page.js("document.querySelector('th').innerText.replace(/\\s+/g, ' ').trim()") == heading
    assert page.js("[...document.querySelectorAll('td:first-child')].map(cell => cell.textContent)") == cells


def test_twenty_rows_stand_on_the_page_and_more_scroll(page, server):
    result(page, server, [column("a"), column("b")], [[f"a{n}", f"b{n}"] for n in range(20)])
    tall = "(s => s.scrollHeight > s.clientHeight + 1)(document.querySelector('.scroller'))"
    assert page.js(tall) is False
    page.click("#fresh")
    result(page, server, [column("a"), column("b")], [[f"a{n}", f"b{n}"] for n in range(21)])
    assert page.js(tall) is True


DAYS = [[f"2024-03-{n:02}", 100 * n] for n in range(1, 11)]
DISTRICTS = [["余杭", 38], ["西湖", 35], ["上城", 31]]


@pytest.mark.parametrize(
    ("columns", "values", "kinds"),
    [
        ([column("day", "date"), column("n", "integer")], DAYS, ["line", "bar", "none"]),
        ([column("区"), column("站数", "integer")], DISTRICTS, ["bar", "pie", "none"]),
        ([column("区"), column("占比", "number")], DISTRICTS, ["pie", "bar", "none"]),
        ([column("区"), column("a", "integer"), column("b", "integer")],
         [["x", 1, 2], ["y", 3, 4]], ["bar", "stacked", "none"]),
        ([column("n", "integer")], [[12345678]], ["number", "none"]),
        ([column("year", "integer"), column("n", "integer")], [[2022, 5], [2023, 6]], ["line", "bar", "none"]),
        ([column("month"), column("line"), column("n", "integer")],
         [["2024-01", "1", 5], ["2024-01", "2", 6], ["2024-02", "1", 7], ["2024-02", "2", 8]],
         ["line", "bar", "stacked", "none"]),
        ([column("name"), column("address")], [["a", "b"], ["c", "d"]], []),
        ([column("id", "integer"), column("name")], [[1, "a"], [2, "b"]], []),
        ([column("区"), column("n", "integer")], [["same", 1], ["same", 2]], []),
        ([column("区"), column("n", "integer")], [[None, 1], ["x", 2]], []),
    ],
    ids=lambda value: "-".join(value) if value and isinstance(value[0], str) else "",
)  # fmt: skip
def test_the_rows_themselves_decide_which_charts_there_are(page, server, columns, values, kinds):
    result(page, server, columns, values)
    assert page.js("[...document.querySelectorAll('.switch [data-kind]')].map(button => button.dataset.kind)") == kinds
    for kind in kinds:
        page.click(f".switch [data-kind={kind}]")
        drawn = page.js("document.querySelectorAll('.place:not([hidden]) svg :is(rect, path, circle, .big)').length")
        assert (drawn > 0) == (kind != "none")
        assert page.js("document.querySelector('.scroller').checkVisibility()") == (kind != "number")


def test_a_chart_says_its_figures_in_the_readers_language_and_fits_a_phone(page, server):
    result(
        page,
        server,
        [column("day", "date"), column("人次", "integer")],
        [["2024-01-01", 120000], ["2024-01-02", 250000]],
    )
    words = "[...document.querySelectorAll('.chart text')].map(one => one.textContent)"
    assert "250K" in page.js(words) and "Jan 1" in page.js(words)
    page.click("#language")
    page.wait("[...document.querySelectorAll('.chart text')].some(one => one.textContent === '25万')")
    assert "1月1日" in page.js(words)
    assert page.js("document.querySelector('.chart circle title').textContent") == "2024-01-01 · 人次: 120,000"
    page.size(width=360, height=700)
    page.wait("document.querySelector('.chart').getBoundingClientRect().width < 330")
    assert page.js("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 38], [0, 10, 20, 30, 40]),
        ([0.2, 0.97], [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ([-5, 12], [-5, 0, 5, 10, 15]),
        ([0, 0], [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ([1234567], [0, 500000, 1000000, 1500000]),
    ],
)
def test_an_axis_has_round_steps_that_hold_every_value(page, values, expected):
    found = page.js(f"import('/page/answer/chart.js').then(({{ ticks }}) => ticks({values}))")
    assert found == expected or (values == [0, 0] and found == [0])


def test_a_chart_is_saved_as_a_picture_of_its_own_colours(page, server):
    result(page, server, [column("区"), column("站数", "integer")], DISTRICTS)
    picture = saved(page, "Save picture")
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width = int.from_bytes(picture[16:20], "big")
    assert width == 2 * page.js("Math.floor(document.querySelector('.chart').getBoundingClientRect().width)")
    # The colour of the bars is in the picture: it was drawn with the page's own style.
    found = page.js("""createImageBitmap(window.saved).then(image => {
      const canvas = new OffscreenCanvas(image.width, image.height), context = canvas.getContext('2d');
      context.drawImage(image, 0, 0);
      const data = context.getImageData(0, 0, image.width, image.height).data;
      let bars = 0;
      for (let n = 0; n < data.length; n += 4) if (data[n] < 30 && data[n + 1] > 100 && data[n + 1] < 140) bars++;
      return bars;
    })""")
    assert found > 5000


def test_a_workbook_holds_numbers_as_numbers_and_no_formula(page, server):
    values = [["=1+1", 5], ["<b>&\x01", None], ["是", 1.5]]
    result(page, server, [column("name"), column("n", "integer")], values)
    book = zipfile.ZipFile(io.BytesIO(saved(page, "Excel")))
    assert book.testzip() is None
    sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<v>5</v>" in sheet and "<v>1.5</v>" in sheet and "<f>" not in sheet
    assert "=1+1</t>" in sheet and "&lt;b&gt;&amp;\ufffd" in sheet
    assert {"[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"} <= set(book.namelist())


def test_the_table_is_copied_as_a_table(page, server, browser):
    browser.call(
        "Browser.grantPermissions",
        permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
        browserContextId=page.context,
    )
    result(page, server, [column("名"), column("n", "integer")], [["<i>", 1234], ["两\n行", None]])
    page.js("[...document.querySelectorAll('.result button')].find(b => b.textContent === 'Copy table').click()")
    page.wait("[...document.querySelectorAll('.result button')].some(b => b.textContent === 'Copied')")
    assert page.js("navigator.clipboard.readText()") == "名\tn\n<i>\t1234\n两 行\t"
    html = page.js("navigator.clipboard.read().then(([item]) => item.getType('text/html')).then(blob => blob.text())")
    assert "<td>1234</td>" in html and "&lt;i&gt;" in html


def test_what_the_statement_asks_for_stands_above_its_rows(page, server):
    name, data = rows([column("n", "integer")], [[1]])
    said = {"zh": "进站人次的合计", "en": "total entries"}
    answered(page, server, [START, JUDGED, (name, data | {"explanation": said}), DONE])
    assert page.text(".shows") == "This shows: total entries"
    page.click("#language")
    assert page.text(".shows") == "查的是：进站人次的合计"
