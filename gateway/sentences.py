"""The sentences for failure codes and messages, in Chinese and English: `sentences.json`, one catalogue for all.

codes    failure code → {"zh", "en"}: what it means to a person, and who failed
commands the words of `sluice` in a terminal; gateway/tools/spoken.py has them through gettext
details  a message as the code writes it, with {} for each value → the same in Chinese, with {} or {1}, {2} for them

The page gets it as `/page/sentences.json`; the command line calls `title` and `detail`.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("sentences.json")
# What only the page meets: it cannot reach the gateway; a provider that is given a rest.
OF_THE_PAGE = {"unreachable", "breaker"}


@functools.cache
def _catalogue() -> dict[str, Any]:
    catalogue: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return catalogue


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile("(.+?)".join(map(re.escape, en.split("{}"))), re.DOTALL), zh)
        for en, zh in _catalogue()["details"].items()
    ]


def codes() -> list[str]:
    """Every failure code of the gateway."""
    return [code for code in _catalogue()["codes"] if code not in OF_THE_PAGE]


def title(code: str, language: str) -> str:
    """What a failure code means, in `language` (zh, en)."""
    codes = _catalogue()["codes"]
    return str(codes.get(code, codes["internal"])[language])


def detail(message: str, language: str) -> str:
    """A message in `language`; as it is where the catalogue has no translation for it."""
    if language != "zh":
        return message
    for pattern, zh in _patterns():
        match = pattern.fullmatch(message)
        if match:
            # A value may be a message itself, such as what the provider said.
            values = [detail(value, language) for value in match.groups()]
            return re.sub(r"\{(\d?)\}", lambda place, values=values: values[int(place[1] or 1) - 1], zh)  # type: ignore[misc]
    return message
