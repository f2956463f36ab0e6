"""The commands in the language of the terminal: help, errors and sentences, in English or Chinese.

click asks gettext for its own words, so the catalogue's section `commands` is there as a gettext file too:
`python -m docs.write_locale` writes it. Chinese characters are two columns wide and have no spaces between words;
help in Chinese is folded by columns.
"""

from __future__ import annotations

import gettext
import re
from collections.abc import Iterable
from pathlib import Path

import click

DOMAIN = "sluice"
FOLDER = Path(__file__).with_name("locale")
# Signs that do not begin a line, and signs that do not end one.
CLOSING = "，。；：！？、）”’》"
OPENING = "（“‘《"


def begin() -> bool:
    """Choose the terminal's language, once, before the first sentence; whether it is Chinese."""
    from gateway.settings.problems import language

    if language() != "zh":
        return False
    gettext.bindtextdomain(DOMAIN, str(FOLDER))
    gettext.textdomain(DOMAIN)
    return True


def spoken(text: str, *values: object) -> str:
    """A sentence of the catalogue in the terminal's language; each {} is one of `values`."""
    return gettext.gettext(text).format(*values)


def speak(command: click.Command) -> None:
    """Put the help of `command`, and of the commands below it, into the terminal's language."""
    command.context_class = WideContext
    command.help = _paragraphs(command.help)
    command.short_help = _paragraphs(command.short_help) or (command.help or "").split("\n\n")[0].rstrip("。") or None
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.help:
            parameter.help = gettext.gettext(parameter.help)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            speak(below)


def _paragraphs(text: str | None) -> str | None:
    if not text:
        return text
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(
        f"例：{part.removeprefix('Example: ')}" if part.startswith("Example: ") else gettext.gettext(part)
        for part in parts
    )


class WideFormatter(click.HelpFormatter):
    """Help folded by the columns that its characters take."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        self.write(f"{gettext.gettext('Usage:') if prefix is None else prefix}{prog} {args}\n")

    def write_heading(self, heading: str) -> None:
        self.write(f"{'':>{self.current_indent}}{heading}：\n")

    def write_text(self, text: str) -> None:
        indent = " " * self.current_indent
        parts = [folded(part, self.width - self.current_indent) for part in text.split("\n\n")]
        self.write("\n".join("".join(f"{indent}{line}\n" for line in lines) for lines in parts))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        from gateway.tools.terminal import width

        rows = list(rows)
        first = min(max(width(name) for name, _ in rows), col_max) + col_spacing
        indent = " " * self.current_indent
        room = max(self.width - first - self.current_indent, 10)
        for name, text in rows:
            lines = folded(text, room) if text else [""]
            pad = first - width(name)
            head = f"{indent}{name}{' ' * pad}{lines.pop(0)}" if pad >= col_spacing else f"{indent}{name}"
            rest = "".join(f"{indent}{' ' * first}{line}\n" for line in lines)
            self.write(f"{head.rstrip()}\n{rest}")


class WideContext(click.Context):
    formatter_class = WideFormatter


def folded(text: str, columns: int) -> list[str]:
    """`text` in lines of at most so many columns, broken at spaces and between Chinese characters."""
    from gateway.tools.terminal import width

    lines, line = [], ""
    for piece in _pieces(" ".join(text.split())):
        if line and width((line + piece).rstrip()) > columns:
            lines.append(line.rstrip())
            line = ""
            piece = piece.lstrip()
        line += piece
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _pieces(text: str) -> Iterable[str]:
    """The parts of a text that stay together: words with the space after them, Chinese characters with their signs."""
    return re.findall(rf"[{OPENING}]*(?:[\u2e80-\u9fff]|[^\s\u2e80-\u9fff{CLOSING}{OPENING}]+)?[{CLOSING}]*\s*", text)
