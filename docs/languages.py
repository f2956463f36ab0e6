"""The Chinese of what the generated pages say: `zh/words.json`, an English sentence or cell → the same in Chinese."""

from __future__ import annotations

import json
import re
from pathlib import Path

FILE = Path(__file__).parent / "zh" / "words.json"
WORDS: dict[str, str] = json.loads(FILE.read_text("utf-8"))


def chinese(text: str) -> str:
    """A sentence of the configuration's page. Raises KeyError with the place where its Chinese belongs."""
    if text and text not in WORDS:
        raise KeyError(f"docs/zh/words.json has no Chinese for: {text}")
    return WORDS.get(text, "")


def chinese_table(text: str) -> str:
    """Lines of Markdown whose headings and cells are in Chinese as far as there are words for them.

    Names, codes and what only a service's own document says stay as they are.
    """
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    if found := re.fullmatch(r"(#+) (.+)", line):
        return f"{found[1]} {WORDS.get(found[2], found[2])}"
    if not line.startswith("| "):
        return line
    cells = re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(cell: str) -> str:
    if cell in WORDS:
        return WORDS[cell]
    if cell.endswith(", reported"):
        return f"{cell.removesuffix(', reported')}，并说明"
    if "; " in cell:
        return "；".join(map(_cell, cell.split("; ")))
    return cell
