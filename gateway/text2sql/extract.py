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

from gateway.text2sql.statement_text import INVISIBLE, QUERY, cleaned, unquoted
from providers.stream.harmony import Harmony
from providers.stream.thought_tags import HARMONY, TAG

LABELS = "sql|sqlite3?|postgres|postgresql|pgsql|psql|plsql|tsql|mysql|mariadb"
SEARCHED = 256 << 10  # characters at a reply's end that are searched
_MOST_FENCE = 99
DEPTH = 2  # blocks within blocks
_TRIES = 200  # tags, members and beginnings that are looked at, from the end
_BACKTICKS, _TILDES = rf"`{{3,{_MOST_FENCE}}}+(?!`)", rf"~{{3,{_MOST_FENCE}}}+(?!~)"
_OPENING = re.compile(
    rf"""^[ \t>*\-+0-9.]{{0,60}}+(?P<fence>{_BACKTICKS}|{_TILDES})[ \t]*+(?P<info>[^\n`]*+)(?:\n|\Z)
       | (?<!`)(?P<inline>{_BACKTICKS})[ \t]{{0,20}}+\{{?\.?(?P<label>{LABELS})\b\}}?""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
_DIFF_LABEL = re.compile(r"(?:diff|patch)\b", re.IGNORECASE)
_SMART_FENCE = re.compile(r"^[ \t]*[‘’]{3}", re.MULTILINE)
_SQL_LABEL = re.compile(rf"\{{?\.?(?:{LABELS})", re.IGNORECASE)
_STREAMED = re.compile(rf"```+[ \t]*\{{?\.?(?:{LABELS})[^\n`]*\n", re.IGNORECASE)
_TAG = re.compile(
    r"<(sql|sql_?query|query|code|pre|answer|final_?(?:sql|answer)|parameter|statement|output|result)\b[^<>]{0,100}>",
    re.IGNORECASE,
)
# In JSON, or as Python prints a dictionary.
_MEMBER = re.compile(
    r"""["'](?:\w{0,20}sql\w{0,20}|SQL\ ?语句|查询语句|语句|query|statement|code|answer|input|action_input|command)["']
        \s{0,20}:\s{0,20}
        ("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'
        |\[\s{0,20}"(?:[^"\\]|\\.)*+"(?:\s{0,20},\s{0,20}"(?:[^"\\]|\\.)*+")*+\s{0,20}\])""",
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
_BEGINNING = re.compile(
    r"(?:^|(?<=[\s:：,，。；;（(「『“‘\"'>】\]{*|]))(?:SELECT|WITH)\b", re.IGNORECASE | re.MULTILINE
)
_INLINE = re.compile(r"(?<!`)(`{1,2})([^`\n]{6,4000})\1(?!`)")
# Words between two statements of a block.
_OR = re.compile(
    r"\s*(?:or|and|then|alternatively|或者?|或是|也可以|以及|然后|另一种(?:写法|方式)?)\s{0,5}[:：,，]?[ \t]*\n",
    re.IGNORECASE,
)
# What ends a statement that stands in it; a cell of a table ends with its bar.
_PAIRS = {"“": "”", "‘": "’", "「": "」", "『": "』", "{": "}", "（": "）"}
_BAR = re.compile(r"(?<![\\|])\|(?!\|)")

_FROM = re.compile(r"\bfrom\s+[\"`\[]?([\w.$]+)", re.IGNORECASE)
_LOOKS_LIKE_SQL = re.compile(r"\bselect\b.{1,2000}?\bfrom\b", re.IGNORECASE | re.DOTALL)
_IGNORED = re.compile(r"--[^\n]*|/\*.{0,4000}?\*/|[;；\s]", re.DOTALL)
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
    r"|\s(?=(?:来(?:查询|查看|获取|得到|列出|统计|计算)|即可|就可以|就行|这条|这个语句|这个查询|该语句|该查询|此语句|此查询|以上|上述)))",
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
            match = _STREAMED.search(self._text)
            if match is None:
                self._text = self._text[-200:]
                return
            self._text, self._is_open, text = self._text[match.end() :], True, self._text[match.end() :]


def statements(reply: str, tables: Iterable[str] = (), *, cut: bool = False) -> list[str]:
    """The statements of a whole reply, in order; the last one is the answer's. [] where there is none.

    tables  the open tables: a sentence that says "select … from …" is a statement if it reads one of them
    cut     the reply was cut short: a block that is still open is none
    """
    # A fence that was escaped on its way is one.
    text = without_thoughts(reply[-SEARCHED:]).replace("\\`\\`\\`", "```")
    if "\n" not in text:
        text = text.replace("\r", "\n")  # lines that end as on an old Mac
    text = unquoted(_SMART_FENCE.sub("```", text))
    blocks, rest = _blocks(text, cut)
    queries = [query for content, _ in blocks for query in _split(content)]
    for content, _ in blocks:
        if not QUERY.match(content):
            queries += _members(content)
    if not queries:
        programs = [content for content, is_sql in blocks if not is_sql]
        queries = [query for content in programs for query in _named(content) or _program_texts(content)]
    queries = queries or _tagged(rest) or _members(rest)
    if not queries and '\\"' in rest:
        queries = _members(rest.replace('\\"', '"'))  # JSON in a text of JSON
    if queries:
        return queries
    labelled = [content for content, is_sql in blocks if is_sql and content]
    if labelled:
        return labelled[-1:]
    if cut:
        return []
    table_names = {name.rpartition(".")[2].lower() for name in tables}
    inside = "\n\n".join(content for content, _ in blocks)
    return _named(rest) or _plain(rest, table_names) or _inline(rest) or _plain(inside, table_names)


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


def _blocks(text: str, cut: bool, depth: int = 0) -> tuple[list[tuple[str, bool]], str]:
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
            content = cleaned(
                content if closing else content.rstrip().rstrip("`~"), is_diff=_DIFF_LABEL.match(info) is not None
            )
            # A block of Markdown may have blocks in it.
            has_blocks = depth < DEPTH and "```" in content[1:] and not QUERY.match(content)
            inner = _blocks(content, cut, depth + 1)[0] if has_blocks else []
            blocks += inner or [(content, is_sql)]
        at = closing.end() if closing else len(text)
    rest.append(text[at:])
    return blocks, "\n\n".join(rest)


def _split(content: str) -> list[str]:
    """The queries of a block: several where nothing else stands in it, the block as it is otherwise."""
    if not QUERY.match(content):
        return []
    parts, at = [], 0
    for mark in _END.finditer(content):
        if mark["end"] in (";", "；"):
            parts.append(content[at : mark.end()].strip())
            at = mark.end()
    parts.append(content[at:].strip())
    parts = [_OR.sub("", f"{part}\n", count=1).strip() if _OR.match(f"{part}\n") else part for part in parts]
    queries = [part for part in parts if QUERY.match(part)]
    others = [part for part in parts if not QUERY.match(part) and _IGNORED.sub("", part)]
    # A backslash may hide the end of a text: then the guard says what it is.
    return queries if len(queries) > 1 and not others and "\\" not in content else [content]


def _program_texts(text: str) -> list[str]:
    matches = list(_PROGRAM_TEXT.finditer(text))[-_TRIES:]
    queries = _queries(one["long"] or one["double"] or one["single"] for one in matches)
    return [query for query in queries if _FROM.search(query)]


def _queries(found: Iterable[str]) -> list[str]:
    texts = (cleaned(text) for text in found)
    return [text for text in texts if QUERY.match(text)]


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
            given = ast.literal_eval(member[1]) if member[1][0] == "'" else json.loads(member[1], strict=False)
            found.append("\n".join(given) if isinstance(given, list) else str(given))
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
        in_line = text[text.rfind("\n", 0, start) + 1 : start].strip(" \t>*-#" + INVISIBLE) != ""
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
    return [query for query in _queries(match[2] for match in _INLINE.finditer(text)) if _FROM.search(query)]


def _until_end(text: str, start: int) -> tuple[str, int]:
    """The statement that begins at `start`, and where it ends."""
    before = text[start - 1 : start] if start else ""
    depth, after = 0, len(text)
    end = _outside(text, start, before)
    for mark in _END.finditer(text, start, end):
        depth += (mark["open"] is not None) - (mark["close"] is not None)
        if mark["end"] and mark["end"][0] == "\n" and (depth > 0 or _goes_on(text, start, mark.end())):
            continue
        if mark["end"] or mark["stop"]:
            end, after = mark.start(), mark.end() if mark["end"] else mark.start()
            break
    statement, quote = text[start:end], before
    if quote in ("'", '"') and statement.count(quote) % 2:
        statement = statement[: statement.rindex(quote)]  # it stood in quotation marks
    return statement, after


def _outside(text: str, start: int, before: str) -> int:
    """Where what a statement stands in ends at the latest: quotation marks, bold letters, a cell of a table."""
    closing = "**" if text[max(0, start - 2) : start] == "**" else _PAIRS.get(before)
    found = text.find(closing, start) if closing else -1
    line = text.rfind("\n", 0, start) + 1
    if text[line:start].lstrip().startswith("|"):
        row_end = text.find("\n", start)
        bar = _BAR.search(text, start, row_end if row_end >= 0 else len(text))
        found = bar.start() if bar else found
    return found if found >= 0 else len(text)


_GOES_ON = re.compile(r"\s*(?:FROM|WHERE|GROUP|ORDER|HAVING|LIMIT|UNION|JOIN|LEFT|INNER|AND|OR)\b")
_GOES_ON_WITH = re.compile(r"\s*SELECT\b", re.IGNORECASE)


def _goes_on(text: str, start: int, at: int) -> bool:
    """Whether a statement goes on behind an empty line."""
    if text[start : start + 4].upper() == "WITH" and text[start:at].rstrip().endswith(")"):
        return _GOES_ON_WITH.match(text, at) is not None
    return _GOES_ON.match(text, at) is not None
