"""A statement without what stands around it in a reply: the marks of diffs, mail, pages, programs, shells and editors.

    + SELECT …              the new lines of a diff
    > SELECT …              a quotation's marks
    SELECT a &lt; 1 <br>     what a page writes for < and for a line's end; \\n, where a reply was escaped twice
    mysql> SELECT …         prompts of a shell, line numbers, %%sql, GO, BEGIN; and COMMIT;
    USE shop; SELECT …      USE and SET in front of it

Inside of quotes nothing is changed.
"""

from __future__ import annotations

import html
import re

# What is before the query is never taken otherwise than it was first: with many comments that would be 2^n ways.
QUERY = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*+(?:select(?=[\s('\"`*\[\d@$+\-:,]|\Z)(?!\s*=)|with\s|values\s*\()",
    re.IGNORECASE | re.DOTALL,
)
INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad"
_PROMPT = re.compile(
    r"^[ \t]*(?:mysql>|sqlite>|MariaDB \[[^\]\n]{0,60}\]>|[\w.-]{1,40}[=\-('\"*][#>]|->|\.\.\.>|[-'\"(]>)[ \t]+",
    re.IGNORECASE | re.MULTILINE,
)
_FIRST_PROMPT = re.compile(
    r"[ \t]*(?:mysql>|sqlite>|MariaDB \[[^\]\n]{0,60}\]>|[\w.-]{1,40}=[#>])[ \t]+(?=\S)", re.IGNORECASE
)
_NUMBERED = re.compile(r"^[ \t]*(\d{1,4})[ \t]*(?:[.:|)、]|\t| )[ \t]?", re.MULTILINE)
_SETTING = re.compile(
    r"(?:\s|--[^\n]*\n)*+(?:use|set)\b"
    r"[^;；'\"`]*+(?:(?:'[^']*+'|\"[^\"]*+\"|`[^`]*+`)[^;；'\"`]*+)*+[;；]",
    re.IGNORECASE,
)
_NAME = re.compile(r"\s*(?:sql|sql ?query|query|SQL ?语句)\s{0,5}[:：]\s*(?=[(\s]*+(?:select|with)\b)", re.IGNORECASE)
# What stands in front of a query and is none of it: \c shop, GO, sql, # a title, // a remark, [SQL], BEGIN;
_HEAD = re.compile(
    r"\s*(?:\\[a-z!?]+[^\n]*\n|(?:GO|sql)[ \t]*\n|%{1,2}\w{0,8}sql\b[^\n]{0,60}\n|%sql[ \t]|<!\[CDATA\["
    r"|(?:\#|//)[^\n]*\n|[\[【<]\s?sql[^\n\]】>]{0,20}[\]】>]"
    r"|\+(?=[ \t]+(?:select|with)\b)|(?:BEGIN|START\s+TRANSACTION)(?:\s+(?:READ ONLY|TRANSACTION))?\s*[;；])",
    re.IGNORECASE,
)
# And behind one: \G, GO, </sql>, COMMIT;
_TAIL = re.compile(
    r"(?:\\[gG]\s{0,9}[;；]?|\n\s{0,20}GO|[\[【<]/sql[^\n\]】>]{0,20}[\]】>]|\]\]>"
    r"|(?<=[;；])\s{0,20}(?:COMMIT|ROLLBACK|END)\s{0,9}[;；]?)\s{0,200}\Z",
    re.IGNORECASE,
)
# Quotation marks and the like around a whole statement.
_WHOLE = {"“": "”", '"': '"', "`": "`", "'": "'", "「": "」", "『": "』", "‘": "’"}
_EMPHASIS = re.compile(r"\*\*(?P<inner>[^*]{6,8000})\*\*\Z")
_QUOTED = r"'(?:[^']|'')*+'|\"[^\"]*+\"|`[^`]*+`"
# A line's end that was escaped twice: it stands at the beginning, at the end, or in front of a word that begins a line.
_LITERAL = re.compile(rf"(?P<quoted>{_QUOTED})|\\(?P<letter>[nrt])", re.IGNORECASE)
_LITERAL_END = re.compile(
    r"\A\s*\\n|\\n\s*\Z|\\n\s*(?:select|from|where|group|order|having|limit|join|left|inner|and|or|union|with)\b",
    re.IGNORECASE,
)
# What a page writes, and no SQL has outside of quotes and comments.
_ENTITY = re.compile(
    rf"(?P<quoted>{_QUOTED}|--[^\n]*|/\*.*?\*/)|(?P<line><br\s{{0,3}}/?>)"
    r"|(?P<entity>&(?:lt|gt|amp|quot|apos|nbsp|\#\d{1,5}|\#x[0-9a-f]{1,4});)",
    re.IGNORECASE | re.DOTALL,
)
_MARK = re.compile(r"[ \t]{0,9}>[ \t]?")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")


def cleaned(content: str, *, is_diff: bool = False) -> str:
    """A statement without what stands around it; `is_diff` says that its block is called so."""
    lines = content.strip("\n").split("\n")
    if is_diff or _is_diff(lines):
        lines = [line[1:] for line in lines if line[:1] in ("+", " ") and not line.startswith("+++ ")]
    if all(line.lstrip().startswith(">") for line in lines if line.strip()):
        lines = [re.sub(r"^\s*>\s?", "", line) for line in lines]
    content = _unescaped("\n".join(lines)).strip(" \t\r\n\f" + INVISIBLE)
    if (emphasis := _EMPHASIS.match(content)) is not None:
        content = emphasis["inner"].strip()
    if _FIRST_PROMPT.match(content):
        content = _PROMPT.sub("", content)
    content = _without_numbers(content)
    if (name := _NAME.match(content)) is not None:
        content = content[name.end() :]
    at = 0
    while (before := _SETTING.match(content, at) or _HEAD.match(content, at)) is not None:
        at = before.end()
    mark = content[at : at + 1]
    if mark in _WHOLE and _WHOLE[mark] == content[-1:] and content.count(_WHOLE[mark], at) <= 2:
        content = content[:at] + content[at + 1 : -1] if QUERY.match(content, at + 1) else content
    if QUERY.match(content, at):
        content = _TAIL.sub("", content[at:])
    return content.strip(" \t\r\n\f" + INVISIBLE)


def _without_numbers(content: str) -> str:
    lines = content.split("\n")
    numbers = [_NUMBERED.match(line) for line in lines]
    numbered = [int(number[1]) for number in numbers if number]
    whole = all(number or not line.strip() for number, line in zip(numbers, lines, strict=True))
    if not whole or not numbered or numbered != list(range(numbered[0], numbered[0] + len(numbered))):
        return content
    if not QUERY.match(lines[0][numbers[0].end() :] if numbers[0] else lines[0]):
        return content
    return "\n".join(line[number.end() :] if number else line for number, line in zip(numbers, lines, strict=True))


def _is_diff(lines: list[str]) -> bool:
    """Whether all lines have the marks of a diff, and a new one begins a query."""
    marked = [line for line in lines if line.strip()]
    return (
        any(line.startswith("+") and QUERY.match(line[1:]) for line in marked)
        and all(line[0] in "+- @\\" for line in marked)
        and (len(marked) > 1 or marked[0].startswith("+"))
    )


def _unescaped(content: str) -> str:
    """`content` with < for &lt; and a line's end for \\n and <br>, where one of these stands outside of quotes."""
    if not _QUERY_SOMEWHERE.search(content):
        return content
    if "\n" not in content.strip() and _LITERAL_END.search(content):
        letters = {"n": "\n", "r": "", "t": "\t"}
        # The reply was escaped as a whole, its quotes with it.
        content = _LITERAL.sub(
            lambda mark: mark[0] if mark["quoted"] else letters[mark["letter"].lower()], content.replace('\\"', '"')
        )
    found = [mark for mark in _ENTITY.finditer(content) if not mark["quoted"]]
    if any(mark["line"] for mark in found):
        content = _ENTITY.sub(lambda mark: "\n" if mark["line"] else mark[0], content)
    return html.unescape(content) if any(mark["entity"] for mark in found) else content


_QUERY_SOMEWHERE = re.compile(r"(?:select|with|values)(?:\s|\\|&|\(|<br)", re.IGNORECASE)


def unquoted(text: str) -> str:
    """A reply without the marks of a quotation (>), also where a fenced block stands in one.

    Within a block outside of a quotation, a line that begins with > is SQL; so is one behind a line of SQL.
    """
    if ">" not in text:
        return text
    kept: list[str] = []
    fence, depth, before = "", 0, ""
    for line in text.split("\n"):
        body, level = line, 0
        is_run = not before.strip() or before.rstrip().endswith((":", "：")) or before.lstrip().startswith(">")
        while (mark := _MARK.match(body)) is not None and (level < depth if fence else is_run):
            body, level = body[mark.end() :], level + 1
        opening = _FENCE.match(body)
        if fence:
            is_closed = opening is not None and opening[1].startswith(fence)
            fence, line = ("", "") if is_closed else (fence, line)
        elif opening:
            fence, depth = opening[1], level
        kept.append(body)
        before = line
    return "\n".join(kept)
