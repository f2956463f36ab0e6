"""Pictures of the page in its states, to be looked at: `python -m tests.gateway.web.shots FOLDER [NAME …]`.

Each state in light and dark, 400 and 1,280 pixels wide, in Chinese and English, from the scripted server.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.gateway.web.chromium import Page, chromium
from tests.gateway.web.scripted import DONE, FENCED, FULL, JUDGED, START, Scripted, ask, opened, rows, served, text
from tests.parts import require

MONTHS = [[f"2024-{month:02}-01", 120000 + 9000 * month, 80000 + 12000 * (month % 5)] for month in range(1, 13)]
TREND = [
    START,
    text("每月进站人次：\n"),
    FENCED,
    JUDGED,
    rows(
        [
            {"name": "月份", "type": "date"},
            {"name": "1号线", "type": "integer"},
            {"name": "2号线", "type": "integer"},
        ],
        MONTHS,
    ),
    DONE,
]
DISTRICTS = [
    ["余杭区", 38],
    ["西湖区", 35],
    ["上城区", 31],
    ["萧山区", 29],
    ["拱墅区", 27],
    ["滨江区", 17],
    ["临平区", 12],
]
BARS = [
    START,
    FENCED,
    JUDGED,
    rows([{"name": "district", "type": "text"}, {"name": "stations", "type": "integer"}], DISTRICTS),
    DONE,
]
SHARES = [
    START,
    JUDGED,
    rows(
        [{"name": "线路", "type": "text"}, {"name": "占比", "type": "number"}],
        [["1号线", 41.5], ["2号线", 33], ["4号线", 25.5]],
    ),
    DONE,
]
ONE = [START, FENCED, JUDGED, rows([{"name": "进站人次", "type": "integer"}], [[12345678]]), DONE]
MARKDOWN = """## 步骤

1. **连接**两张表：`orders` 和 `customers`
2. 按月*汇总*，见 [文档](https://example.com/docs)
   - 第一项
   - [x] 完成

> 引用一句话。

| 区 | 站数 | 占比 |
|---|--:|:-:|
| 余杭区 | 38 | 20.1% |
| 西湖区 | 35 | 18.5% |

公式：$E = mc^2$，以及

$$\\sum_{i=1}^{n} x_i = \\frac{a}{b}$$

```python
def total(rows: list[int]) -> int:
    # add them up
    return sum(rows) or None
```
"""
REFUSED = {
    "sql": "DELETE FROM dtzpt",
    "dialect": "sqlite",
    "tables": ["dtzpt"],
    "ok": False,
    "reason": "only SELECT is allowed",
}
FAILED = {
    "code": "upstream_timeout",
    "message": "no first token within 60 s",
    "retryable": True,
    "retry_after": 5,
    "request_id": "r-7",
}
STATES: dict[str, list[Any]] = {
    "full": FULL,
    "trend": TREND,
    "bars": BARS,
    "shares": SHARES,
    "one": ONE,
    "markdown": [START, text(MARKDOWN), DONE],
    "refused": [
        START,
        text("```sql\nDELETE FROM dtzpt\n```\n"),
        ("sql", REFUSED),
        ("failed", FAILED | {"code": "sql_refused", "retryable": False}),
    ],
    "failed": [START, text("So far"), ("failed", FAILED)],
    "reasoning": [START, ("reasoning", {"text": "Let me think about the tables…"}), text("Yes."), DONE],
}


def history(page: Page) -> None:
    page.click("#history")
    page.wait("document.querySelector('.conversations li')")


def editing(page: Page) -> None:
    page.click(".code .edit")
    page.wait("document.querySelector('.code textarea')")


AFTER: dict[str, tuple[str, Callable[[Page], None]]] = {"history": ("full", history), "editing": ("full", editing)}


def shoot(folder: Path, wanted: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    server = Scripted()
    with chromium(require("chromium")) as browser, served(server.app) as server.url:
        for language, scheme, width in itertools.product(("zh-CN", "en-US"), ("light", "dark"), (1280, 400)):
            for name in ["empty", *STATES, *AFTER]:
                if wanted and name not in wanted:
                    continue
                page = browser.page(width=width, height=800)
                page.speaks(language)
                page.media(prefers_color_scheme=scheme)
                opened(page, server)
                state, after = AFTER.get(name, (name, None))
                if state in STATES:
                    server.scripts["各区有多少个地铁站？"] = list(STATES[state])
                    ask(page, "各区有多少个地铁站？")
                    page.wait("document.querySelector('#stop').hidden && document.querySelector('.usage') !== null")
                if after:
                    after(page)
                page.js("document.activeElement.blur(); new Promise((resolve) => setTimeout(resolve, 300))")
                page.size(width=width, height=min(1400, max(600, page.js("document.documentElement.scrollHeight"))))
                page.js("new Promise((resolve) => setTimeout(resolve, 150))")
                page.screenshot(folder / f"{name}-{language[:2]}-{scheme}-{width}.png")
                page.close()


if __name__ == "__main__":
    shoot(Path(sys.argv[1]), sys.argv[2:])
