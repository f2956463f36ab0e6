"""The statements in a reply: those that a person would point at. The reply's text itself is not touched.

Of several statements the last query counts: what stands before it is a draft, a sketch of a table, a first version or a
step. A thought is never searched. Where a statement stands, the first kind that holds a query decides:

    ```sql … ```          a fenced block with any label, also in a quotation or behind words
    <sql>…</sql>          a tag; {"sql": "…"} a member of JSON
    SQL: SELECT …         a line that says so
    SELECT … FROM t       unfenced, up to its semicolon or the end of its paragraph; `inline code`

Only where nothing of this is a query, a block labelled as SQL counts that is none (DELETE …): the guard says why not.

Prompts of a shell, line numbers, quotation marks and USE or SET in front of a statement are no part of it. Every search
is linear in the reply, and of a very long reply the end is searched.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterable

from providers.stream.harmony import Harmony
from providers.stream.thought_tags import HARMONY, TAG

LABELS = "sql|sqlite3?|postgres|postgresql|pgsql|psql|plsql|tsql|mysql|mariadb"
SEARCHED = 256 << 10  # characters at a reply's end that are searched
_MOST_FENCE = 99
_TRIES = 200  # tags, members and beginnings that are looked at, from the end
_BACKTICKS, _TILDES = rf"`{{3,{_MOST_FENCE}}}+(?!`)", rf"~{{3,{_MOST_FENCE}}}+(?!~)"
_OPENING = re.compile(
    rf"""^[ \t>*\-+0-9.]{{0,60}}+(?P<fence>{_BACKTICKS}|{_TILDES})[ \t]*+(?P<info>[^\n`]*+)(?:\n|\Z)
       | (?<!`)(?P<inline>{_BACKTICKS})[ \t]{{0,20}}+\{{?\.?(?P<label>{LABELS})\b\}}?""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
_SQL_LABEL = re.compile(rf"\{{?\.?(?:{LABELS})", re.IGNORECASE)
_STREAMED = re.compile(rf"```+[ \t]*\{{?\.?(?:{LABELS})[^\n`]*\n", re.IGNORECASE)
# What is before the query is never taken otherwise than it was first: with many comments that would be 2^n ways.
_QUERY = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*+(?:select(?=[\s('\"`*\[\d@$+\-:,]|\Z)(?!\s*=)|with\s|values\s*\()",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"<(sql|sql_?query|query|code|pre|answer|final_?sql)\b[^<>]{0,100}>", re.IGNORECASE)
# In JSON, or as Python prints a dictionary.
_MEMBER = re.compile(
    r"""["'](?:(?:final_?|generated_?)?sql|sql_?query|query|statement|sql_?statement)["']\s{0,20}:\s{0,20}
        ("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# A text in a program: cursor.execute("SELECT …").
_PROGRAM_TEXT = re.compile(
    r"(?P<quote>\"{3}|'{3})(?P<long>.{6,20000}?)(?P=quote)|\"(?P<double>[^\"\n]{6,4000})\"|'(?P<single>[^'\n]{6,4000})'",
    re.DOTALL,
)
_SAYS_SO = re.compile(
    r"(?:^|[\s。；【\[])(?:sql(?: ?query| ?statement)?|query|(?:SQL ?|查询)?语句|查询)\s{0,5}[:：】\]]"
    r"\s*(?:\|\s*\n\s*)?(?=[(\s]*+(?:select|with)\b)",
    re.IGNORECASE,
)
_BEGINNING = re.compile(r"(?:^|(?<=[\s:：,，。；;（(「“\"'>】\]]))(?:SELECT|WITH)\b", re.IGNORECASE | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]{6,4000})`(?!`)")
_FROM = re.compile(r"\bfrom\s+[\"`\[]?([\w.$]+)", re.IGNORECASE)
_LOOKS_LIKE_SQL = re.compile(r"\bselect\b.{1,2000}?\bfrom\b", re.IGNORECASE | re.DOTALL)
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad"
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
    r"\s*(?:\\[a-z!?]+[^\n]*\n|(?:GO|sql)[ \t]*\n|(?:\#|//)[^\n]*\n|[\[【<]\s?sql[^\n\]】>]{0,20}[\]】>]"
    r"|\+(?=[ \t]+(?:select|with)\b)|(?:BEGIN|START\s+TRANSACTION)(?:\s+(?:READ ONLY|TRANSACTION))?\s*[;；])",
    re.IGNORECASE,
)
# And behind one: \G, GO, </sql>, COMMIT;
_TAIL = re.compile(
    r"(?:\\[gG]\s{0,9}[;；]?|\n\s{0,20}GO|[\[【<]/sql[^\n\]】>]{0,20}[\]】>]"
    r"|(?<=[;；])\s{0,20}(?:COMMIT|ROLLBACK|END)\s{0,9}[;；]?)\s{0,200}\Z",
    re.IGNORECASE,
)
_IGNORED = re.compile(r"--[^\n]*|/\*.{0,4000}?\*/|[;；\s]", re.DOTALL)
_WHOLE = {"“": "”", '"': '"', "`": "`", "'": "'"}  # quotation marks around a whole statement
_SQL_LINES = (
    "select|from|where|group|order|having|limit|offset|union|join|left|right|inner|full|cross|natural|and|or|on|"
    "case|when|then|else|end|with|as|in|not|between|fetch|window|values|except|intersect"
)
# Where a statement among words ends: at its semicolon, a full stop, an empty line, and where words go on.
_END = re.compile(
    r"--[^\n]*+|/\*.{0,4000}?\*/|'(?:[^']|'')*+'|\"[^\"]*+\"|`[^`]*+`|(?P<open>\()|(?P<close>\))"
    r"|(?P<end>[;；。]|\n[ \t]*\n)"
    r"|(?P<stop>```|~~~|</[a-z]|<\||\n[ \t]*(?:'''|\"\"\"|\$\$|`{1,2}(?=\s|\Z)|【|\[/)"
    r"|\n[ \t]*(?=[^\W\d_][\w ]{0,20}[:：](?![:=]))"
    rf"|\n[ \t]*(?=(?!(?:{_SQL_LINES})\b)[a-z]+ [^\n;'()=]{{2,200}}[.!][ \t]*(?:\n|\Z))"
    r"|\s(?=(?:这条|这个语句|这个查询|该语句|该查询|此语句|此查询|以上|上述)))",
    re.DOTALL | re.IGNORECASE,
)


class OpenStatement:
    """Follows a reply while it streams: `partial` is what has come of a block labelled as SQL that is still open."""

    def __init__(self) -> None:
        self._text = ""  # the open block's content, or the end of what may begin one
        self._is_open = False

    @property
    def partial(self) -> str:
        return self._text if self._is_open else ""

    def feed(self, text: str) -> None:
        """Take the reply's next piece of text."""
        self._text += text
        while True:
            if self._is_open:
                end = self._text.find("```", max(0, len(self._text) - len(text) - 3))
                if end < 0:
                    return
                self._text, self._is_open, text = self._text[end + 3 :], False, self._text[end + 3 :]
            found = _STREAMED.search(self._text)
            if found is None:
                self._text = self._text[-200:]
                return
            self._text, self._is_open, text = self._text[found.end() :], True, self._text[found.end() :]


def statements(reply: str, tables: Iterable[str] = (), *, cut: bool = False) -> list[str]:
    """The statements of a whole reply, in order; the last one is the answer's. [] where there is none.

    tables  the open tables: a sentence that says "select … from …" is a statement if it reads one of them
    cut     the reply was cut short: a block that is still open is none
    """
    # A fence that was escaped on its way is one.
    text = without_thoughts(reply[-SEARCHED:]).replace("\\`\\`\\`", "```")
    blocks, rest = _blocks(text, cut)
    queries = [query for content, _ in blocks for query in _split(content)]
    for content, _ in blocks:
        if not _QUERY.match(content):
            queries += _members(content)
    if not queries:
        programs = [content for content, is_sql in blocks if not is_sql]
        queries = [query for content in programs for query in _named(content) or _program_texts(content)]
    queries = queries or _tagged(rest) or _members(rest)
    if queries:
        return queries
    labelled = [content for content, is_sql in blocks if is_sql and content]
    if labelled:
        return labelled[-1:]
    if cut:
        return []
    known = {name.rpartition(".")[2].lower() for name in tables}
    return _named(rest) or _plain(rest, known) or _inline(rest)


def looks_like_sql(reply: str) -> bool:
    """Whether a reply has a SELECT … FROM in it, outside of its thoughts."""
    return _LOOKS_LIKE_SQL.search(without_thoughts(reply[-SEARCHED:])) is not None


def without_thoughts(text: str) -> str:
    """`text` without what stands in thinking tags; a closing tag alone ends a thought that the prompt began."""
    kept: list[str] = []
    at, is_open = 0, False
    if HARMONY.match(text.lstrip()):
        text = Harmony().split(text.lstrip(), last=True)[1]
    for tag in TAG.finditer(text):
        if tag["closing"]:
            if not is_open:
                kept.clear()
            is_open, at = False, tag.end()
        elif not is_open:
            kept.append(text[at : tag.start()])
            is_open = True
    if not is_open:
        kept.append(text[at:])
    return "".join(kept)


def _blocks(text: str, cut: bool) -> tuple[list[tuple[str, bool]], str]:
    """The fenced blocks, each with whether its label says SQL, and the text outside of them."""
    blocks: list[tuple[str, bool]] = []
    rest: list[str] = []
    at = 0
    while (opening := _OPENING.search(text, at)) is not None:
        rest.append(text[at : opening.start()])
        fence, info = opening["fence"] or opening["inline"], opening["info"] or ""
        is_sql = bool(opening["label"] or _SQL_LABEL.match(info))
        closing = re.compile(f"(?<!{fence[0]}){fence[0]}{{{len(fence)},}}+").search(text, opening.end())
        end = closing.start() if closing else len(text)
        if closing or not cut:
            content = text[opening.end() : end]
            # A query may stand in the label's place: ```SELECT 1```.
            blocks.append((cleaned(content if closing else content.rstrip().rstrip("`~")), is_sql))
        at = closing.end() if closing else len(text)
    rest.append(text[at:])
    return blocks, "\n\n".join(rest)


def cleaned(content: str) -> str:
    """A statement without what stands around it: quotation marks of mail, prompts, line numbers, USE and SET."""
    lines = content.strip("\n").split("\n")
    if all(line.lstrip().startswith(">") for line in lines if line.strip()):
        lines = [re.sub(r"^\s*>\s?", "", line) for line in lines]
    content = "\n".join(lines).strip(" \t\r\n\f" + _INVISIBLE)
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
        content = content[:at] + content[at + 1 : -1] if _QUERY.match(content, at + 1) else content
    if _QUERY.match(content, at):
        content = _TAIL.sub("", content[at:])
    return content.strip(" \t\r\n\f" + _INVISIBLE)


def _without_numbers(content: str) -> str:
    lines = content.split("\n")
    numbers = [_NUMBERED.match(line) for line in lines]
    given = [int(number[1]) for number in numbers if number]
    whole = all(number or not line.strip() for number, line in zip(numbers, lines, strict=True))
    if not whole or not given or given != list(range(given[0], given[0] + len(given))):
        return content
    if not _QUERY.match(lines[0][numbers[0].end() :] if numbers[0] else lines[0]):
        return content
    return "\n".join(line[number.end() :] if number else line for number, line in zip(numbers, lines, strict=True))


def _split(content: str) -> list[str]:
    """The queries of a block: several where nothing else stands in it, the block as it is otherwise."""
    if not _QUERY.match(content):
        return []
    parts, at = [], 0
    for mark in _END.finditer(content):
        if mark["end"] in (";", "；"):
            parts.append(content[at : mark.end()].strip())
            at = mark.end()
    parts.append(content[at:].strip())
    queries = [part for part in parts if _QUERY.match(part)]
    others = [part for part in parts if not _QUERY.match(part) and _IGNORED.sub("", part)]
    # A backslash may hide the end of a text: then the guard says what it is.
    return queries if len(queries) > 1 and not others and "\\" not in content else [content]


def _program_texts(text: str) -> list[str]:
    found = list(_PROGRAM_TEXT.finditer(text))[-_TRIES:]
    queries = _queries(one["long"] or one["double"] or one["single"] for one in found)
    return [query for query in queries if _FROM.search(query)]


def _queries(found: Iterable[str]) -> list[str]:
    texts = (cleaned(text) for text in found)
    return [text for text in texts if _QUERY.match(text)]


def _tagged(text: str) -> list[str]:
    found = []
    for tag in list(_TAG.finditer(text))[-_TRIES:]:
        end = text.lower().find(f"</{tag[1].lower()}>", tag.end())
        if end >= 0:
            found.append(html.unescape(text[tag.end() : end]))
    return _queries(found)


def _members(text: str) -> list[str]:
    found = []
    for member in list(_MEMBER.finditer(text))[-_TRIES:]:
        try:
            given = json.loads(member[1], strict=False) if member[1][0] == '"' else ast.literal_eval(member[1])
            found.append(str(given))
        except (ValueError, SyntaxError):
            continue
    return _queries(found)


def _named(text: str) -> list[str]:
    return _queries(_until_end(text, name.end())[0] for name in list(_SAYS_SO.finditer(text))[-_TRIES:])


def _plain(text: str, tables: set[str]) -> list[str]:
    """Statements among words: one that begins a line in capitals, ends with a semicolon, or reads an open table."""
    found, at = [], 0
    for beginning in list(_BEGINNING.finditer(text))[-_TRIES:]:
        start = beginning.start()
        if start < at:
            continue  # inside of the one before
        statement, end = _until_end(text, start)
        is_closed = text[end - 1 : end] in (";", "；")
        source = _FROM.search(statement)
        reads = source is not None and source[1].rpartition(".")[2].lower() in tables
        in_line = text[text.rfind("\n", 0, start) + 1 : start].strip(" \t>*-#" + _INVISIBLE) != ""
        in_capitals = beginning[0].isupper()
        if (
            reads
            or (in_capitals and not in_line and (source or is_closed or "\n" not in statement))
            or (is_closed and source is not None and (in_capitals or not in_line))
        ):
            found.append(statement)
            at = end
    return _queries(found)


def _inline(text: str) -> list[str]:
    return [query for query in _queries(match[1] for match in _INLINE.finditer(text)) if _FROM.search(query)]


def _until_end(text: str, start: int) -> tuple[str, int]:
    """The statement that begins at `start`, and where it ends."""
    depth, end, after = 0, len(text), len(text)
    for mark in _END.finditer(text, start):
        depth += (mark["open"] is not None) - (mark["close"] is not None)
        if mark["end"] and mark["end"][0] == "\n" and (depth > 0 or _goes_on(text, start, mark.end())):
            continue
        if mark["end"] or mark["stop"]:
            end, after = mark.start(), mark.end() if mark["end"] else mark.start()
            break
    statement, quote = text[start:end], text[start - 1 : start] if start else ""
    if quote in ("'", '"') and statement.count(quote) % 2:
        statement = statement[: statement.rindex(quote)]  # it stood in quotation marks
    return statement, after


_GOES_ON = re.compile(r"\s*(?:FROM|WHERE|GROUP|ORDER|HAVING|LIMIT|UNION|JOIN|LEFT|INNER|AND|OR)\b")
_GOES_ON_WITH = re.compile(r"\s*SELECT\b", re.IGNORECASE)


def _goes_on(text: str, start: int, at: int) -> bool:
    """Whether a statement goes on behind an empty line."""
    if text[start : start + 4].upper() == "WITH" and text[start:at].rstrip().endswith(")"):
        return _GOES_ON_WITH.match(text, at) is not None
    return _GOES_ON.match(text, at) is not None
