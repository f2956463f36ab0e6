"""Takes the README's picture from a running Sluice.

python -m tests.gateway.web.picture http://127.0.0.1:9001 2024年3月8日到14日凤起路每天的进站人数 docs/images/page.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.gateway.web.chromium import chromium
from tests.gateway.web.scripted import OVER, ask
from tests.parts import require


def picture(url: str, question: str, file: Path) -> None:
    """The page with the whole answer, light, 1,080 pixels wide, its size that of the answer."""
    with chromium(require("chromium")) as browser:
        page = browser.page(width=1080, height=640)
        page.speaks("zh-CN")
        page.media(prefers_color_scheme="light")
        page.open(url)
        page.wait("document.querySelectorAll('#provider option').length > 0")
        ask(page, question)
        page.wait(OVER, timeout_s=60)
        page.js("document.activeElement.blur(); scrollTo(0, 0)")
        page.size(width=1080, height=min(1150, max(560, page.js("document.documentElement.scrollHeight"))))
        page.js("new Promise((resolve) => setTimeout(resolve, 300))")
        file.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(file)


if __name__ == "__main__":
    picture(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
