"""What an evaluation found, as a table for a terminal, as JSON and as a picture (SVG)."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

COLUMNS = (
    ("provider", "provider"), ("cases", "cases"), ("right", "right"), ("right_or_more", "or with more"),
    ("valid_sql", "valid SQL"), ("refused", "refused"), ("failed", "failed"),
    ("tokens", "tokens/answer"), ("first_token_s", "first token"), ("total_s", "total"),
)  # fmt: skip
COLOURS = {
    "right": "#2f9e63", "more": "#8fc7a3", "wrong": "#d9822b", "refused": "#c23030", "no_sql": "#8a9ba8",
    "unneeded": "#b8a25c", "failed": "#5c3a6e",
}  # fmt: skip


@dataclass(slots=True)
class Result:
    """
    verdict        right, more (the right rows, with further columns beside them or repeated), wrong, refused (by the
                   guard), failed (in the database or upstream), no_sql, or unneeded (a statement where none was wanted)
    reply          the text of the answer, in a conversation
    valid          its statement passed the guard and ran
    tokens         of the reply and its corrections, where the upstream counts
    first_token_s  None where nothing came
    """

    provider: str
    key: str
    question: str
    verdict: str
    valid: bool = False
    sql: str | None = None
    reason: str | None = None
    reply: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_s: float | None = None
    total_s: float = 0.0


def summary(results: Sequence[Result], provider: str) -> dict[str, Any]:
    """One provider's figures: shares of all cases, medians of seconds and tokens (None where nothing was counted)."""
    own = [result for result in results if result.provider == provider]
    verdicts = Counter(result.verdict for result in own)
    count = len(own) or 1
    tokens = [result.completion_tokens for result in own if result.completion_tokens is not None]
    firsts = [result.first_token_s for result in own if result.first_token_s is not None]
    return {
        "provider": provider,
        "cases": len(own),
        "right": round(verdicts["right"] / count, 4),
        "right_or_more": round((verdicts["right"] + verdicts["more"]) / count, 4),
        "valid_sql": round(sum(result.valid for result in own) / count, 4),
        "refused": round(verdicts["refused"] / count, 4),
        "failed": round(verdicts["failed"] / count, 4),
        "tokens": statistics.median(tokens) if tokens else None,
        "first_token_s": round(statistics.median(firsts), 3) if firsts else None,
        "total_s": round(statistics.median(result.total_s for result in own), 3) if own else None,
        "verdicts": dict(sorted(verdicts.items())),
    }


def table(results: Sequence[Result], names: Sequence[str]) -> str:
    """The figures of all providers, in columns."""
    rows = [[heading for _, heading in COLUMNS]]
    for name in names:
        figures = summary(results, name)
        rows.append([_cell(key, figures[key]) for key, _ in COLUMNS])
    widths = [max(len(row[n]) for row in rows) for n in range(len(COLUMNS))]
    lines = []
    for row in rows:
        first, *rest = (
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]))
    return "\n".join(lines)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key in ("right", "right_or_more", "valid_sql", "refused", "failed"):
        return f"{value:.1%}"
    if key in ("first_token_s", "total_s"):
        return f"{value:.2f} s"
    return f"{value:g}" if isinstance(value, float) else str(value)


def write(results: Sequence[Result], names: Sequence[str], out: Path) -> None:
    """report.json (figures, and every answer) and report.svg into the folder `out`."""
    report = {
        "providers": [summary(results, name) for name in names],
        "answers": [asdict(result) for result in results],
    }
    (out / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (out / "report.svg").write_text(picture([summary(results, name) for name in names]), "utf-8")


def picture(figures: Sequence[dict[str, Any]]) -> str:
    """A bar for each provider, of its answers by verdict; the seconds beside it."""
    left, bar, height = 160, 420, 34
    drawn = []
    for n, one in enumerate(figures):
        y, x = 40 + n * height, float(left)
        drawn.append(f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(one["provider"])}</text>')
        for verdict, colour in COLOURS.items():
            width = bar * one["verdicts"].get(verdict, 0) / (one["cases"] or 1)
            if width:
                place = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="22"'
                title = f"<title>{verdict}: {one['verdicts'][verdict]}</title>"
                drawn.append(f'<rect {place} fill="{colour}">{title}</rect>')
            x += width
        seconds = f"{_cell('right', one['right'])} right, {_cell('total_s', one['total_s'])}"
        drawn.append(f'<text x="{left + bar + 10}" y="{y + 16}">{seconds}</text>')
    for n, (verdict, colour) in enumerate(COLOURS.items()):
        x = left + n * 75
        drawn.append(
            f'<rect x="{x}" y="12" width="12" height="12" fill="{colour}"/><text x="{x + 16}" y="23">{verdict}</text>'
        )
    size = f'width="{left + bar + 200}" height="{60 + len(figures) * height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(drawn)}</svg>\n'
    )
