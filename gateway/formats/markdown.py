"""Text to SQL for clients that show Markdown alone: the rows as a table, and why a statement was refused."""

from __future__ import annotations

from typing import Any

from gateway.answers.steps import EventName

# A chat window shows no more, and the table comes back as a message with the next question.
MAX_ROWS = 50
MAX_CELL_CHARACTERS = 200


def text_of(name: str, data: dict[str, Any]) -> str:
    """What an event adds to the text of the reply; "" for most."""
    if name == EventName.MESSAGE:
        text: str = data["text"]
        return text
    if name == EventName.ROWS:
        return "\n\n" + table(data)
    if name == EventName.SQL and not data["ok"]:
        return f"\n\n> ✗ {_line(data['reason'] or '')}\n\n"
    return ""


def table(rows: dict[str, Any]) -> str:
    """A `rows` event as a Markdown table of at most MAX_ROWS rows, and a last line that says what is missing."""
    names = [_cell(column["name"]) for column in rows["columns"]]
    shown = rows["rows"][:MAX_ROWS]
    lines = [_row(names), _row(["---"] * len(names)), *(_row([_cell(value) for value in row]) for row in shown)]
    count = len(rows["rows"])
    if rows["truncated"]:
        lines += ["", f"({len(shown)} of more than {count} rows)"]
    elif count > len(shown):
        lines += ["", f"({len(shown)} of {count} rows)"]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    text = "" if value is None else _line(str(value))
    if len(text) > MAX_CELL_CHARACTERS:
        text = text[: MAX_CELL_CHARACTERS - 1] + "…"
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())
