"""The first questions that the page offers for a database: the team's own examples, or ones about its tables."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from gateway.settings import DatabaseSettings
from prompts.example_store import BadExamples, load
from prompts.tables import Schema, Table

log = logging.getLogger("sluice")

MOST = 4  # of one language
COMMENT_CHARACTERS = 12
# The demo's table, and questions that its small model answers.
DEMO_TABLE = "dtzpt"
DEMO = (
    "沈塘桥地铁站的信息",
    "哪些站可以换乘5号线",
    "哪个区的地铁站最多",
    "2024年3月8日进站人数最多的是哪个站",
    "Tell me about Shentangqiao station",
    "Which stations connect to Line 5?",
    "Which district has the most stations?",
    "Which station had the most entries on 2024-03-08?",
)
_HAN = re.compile(r"[\u3400-\u9fff]")

# Columns whose values are each their own: rows are not counted by them.
NAMING = r"(^|_)(id|name|title|phone|mobile|tel|email|mail|address|url|token|code|no)$|name$|id$"

# path of an examples file → when it was changed, and its questions
_read: dict[str, tuple[int, list[str]]] = {}


def is_demo(database: DatabaseSettings) -> bool:
    return DEMO_TABLE in (database.tables or ())


def first_words(database: DatabaseSettings, schema: Schema | None) -> list[dict[str, str]]:
    """Questions as {"lang", "text"}, at most MOST of a language; `schema` is None where it has not been read yet."""
    questions = list(DEMO) if is_demo(database) else _from_file(database.examples)
    if not questions and schema is not None:
        questions = [question for table in schema.tables[:2] for question in _about(table)]
    offered: dict[str, list[str]] = {"zh": [], "en": []}
    for question in questions:
        offered["zh" if _HAN.search(question) else "en"].append(question)
    return [{"lang": lang, "text": text} for lang, texts in offered.items() for text in texts[:MOST]]


def _from_file(path: str) -> list[str]:
    if not path:
        return []
    try:
        changed_ns = Path(path).stat().st_mtime_ns
        if _read.get(path, (0, []))[0] != changed_ns:
            _read[path] = changed_ns, [pair.question for pair in load(path) if len(pair.question) <= 60]
    except (OSError, BadExamples) as error:
        # The database's own check reports it; the page goes on without first questions.
        log.debug("examples of the page: %s", error)
        return []
    return _read[path][1]


def _about(table: Table) -> list[str]:
    """Questions that any table answers, in Chinese and in English."""
    zh = _short(table.comment) or table.name
    en = table.name.rpartition(".")[2].replace("_", " ")
    questions = [f"{zh}一共有多少条？", f"How many {en} are there?"]
    for column in table.columns:
        if re.search(r"char|text|enum", column.type, re.IGNORECASE) and not re.search(
            NAMING, column.name, re.IGNORECASE
        ):
            words = _short(column.comment) or column.name
            # Latin letters stand apart from Chinese ones.
            words = f" {words} " if words.isascii() else words
            return [*questions, f"按{words}统计{zh}的数量", f"Count {en} by {column.name.replace('_', ' ')}"]
    return questions


def _short(comment: str) -> str:
    """The first words of a Chinese comment; "" where it is no name."""
    words = re.split(r"[，。；：,;:（(\s]", comment.strip())[0]
    return words if _HAN.search(words) and len(words) <= COMMENT_CHARACTERS else ""
