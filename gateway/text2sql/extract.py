"""The SQL in a reply, found while it streams; the reply's text itself is not touched.

A statement is what stands in the first fenced block that is SQL:

    ```sql … ```      any run of three or more backticks or tildes, closed by one at least as long of the same kind;
                      on a line of its own or, if it is labelled as SQL, behind words and with code on the same line
    ``` … ```         without a label, if it begins with SELECT or WITH

A reply without a fence holds a statement only in its last lines: from one that begins with SELECT or WITH (in capitals,
or closed by a semicolon) to the end. Prose such as "Select the station" is no statement.

The cost is linear in the reply: no text is searched again and again while the rest of it comes, and a block ends at the
length that the guard refuses anyway.
"""

from __future__ import annotations

import re

from gateway.text2sql.guard.lexemes import STATEMENT_CHARACTERS

LABELS = "sql|sqlite3?|postgres|postgresql|pgsql|psql|mysql|mariadb"
_MOST_LINE = 400  # characters of a line that may open a block; so many are kept while it comes
_MOST_FENCE = 99
_BACKTICKS, _TILDES = rf"`{{3,{_MOST_FENCE}}}+(?!`)", rf"~{{3,{_MOST_FENCE}}}+(?!~)"
# Nothing is taken otherwise than it was first, and no run is begun in its middle: each character is read a few times.
_OPENING = re.compile(
    rf"""^(?=[^\n]{{0,{_MOST_LINE}}}+(?:\n|\Z))
         [ \t>*\-+0-9.]*+(?P<fence>{_BACKTICKS}|{_TILDES})[ \t]*+(?P<info>[^\n`]*+)(?P<end>\n|\Z)
       | (?<!`)(?P<inline>{_BACKTICKS})[ \t]{{0,20}}+\{{?\.?(?P<label>{LABELS})\b\}}?""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
_SQL_LABEL = re.compile(rf"\{{?\.?(?:{LABELS})\b", re.IGNORECASE)
# What is before the query is never taken otherwise than it was first: with many comments that would be 2^n ways.
_QUERY = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*+(?:select|with)\b", re.IGNORECASE | re.DOTALL)
_IN_CAPITALS = re.compile(r"^[ \t]*(?:SELECT|WITH)\b", re.MULTILINE)
_IN_ANY_CASE = re.compile(_IN_CAPITALS.pattern, re.MULTILINE | re.IGNORECASE)


class SqlExtractor:
    """Fed with the reply's text as it comes; `statement` is the SQL once it is complete.

    partial   what has come of an SQL block that is still open, "" outside of one
    """

    def __init__(self) -> None:
        self.statement: str | None = None
        self.partial = ""
        self._text = ""  # from where the next fence could begin, or of the open block
        self._at = 0  # where the open block's content, or what follows the last one, begins in it
        self._closing: re.Pattern[str] | None = None
        self._fence_characters = 0
        self._looked = 0  # up to where no closing fence begins
        self._is_sql = False
        self._labelled = False
        self._query_at = 0  # how long an unlabelled block is when it is next asked whether it begins like a query
        self._had_fence = False

    def feed(self, text: str) -> str | None:
        """The statement, if `text` completes it; None otherwise, also for every block after the first."""
        if self.statement is not None:
            return None
        self._text += text
        while self._step():
            if self.statement is not None:
                return self.statement
        return None

    def finish(self, whole: str, cut: bool) -> str | None:
        """The statement, if the reply's end completes it.

        whole  all of the reply's text
        cut    the reply was cut short, so a block that is still open is no statement
        """
        if self.statement is not None:
            return None
        if self._closing is not None:
            content = self._text.strip().rstrip("`~").strip()
            if self._is_block(content) and not cut:
                self.statement = content
        elif not self._had_fence and not cut:
            self.statement = _unfenced(whole)
        return self.statement

    def _step(self) -> bool:
        """Take the next fence from the text; False when more has to come first."""
        if self._closing is None and not self._open():
            self._forget()
            return False
        assert self._closing is not None
        closing = self._closing.search(self._text, self._looked)
        if closing is None:
            return self._still_open()
        content = self._text[self._at : closing.start()].strip()
        if content and self._is_block(content):
            self.statement = content
        self.partial = ""
        self._closing = None
        self._at = closing.end()
        return True

    def _open(self) -> bool:
        """Whether a block begins in the text; not yet, if its opening may still become another."""
        match = _OPENING.search(self._text, self._at)
        if match is None or (match.end() == len(self._text) and match["end"] != "\n"):
            return False
        fence, info = match["fence"] or match["inline"], match["info"] or ""
        self._is_sql = bool(match["label"] or _SQL_LABEL.match(info))
        self._labelled = bool(match["label"] or info.strip())
        self._closing = re.compile(f"(?<!{fence[0]}){fence[0]}{{{len(fence)},}}+")
        self._fence_characters, self._query_at = len(fence), 0
        self._at = self._looked = match.end()
        self._had_fence = True
        return True

    def _still_open(self) -> bool:
        """Look at a block that has no closing fence yet; True if it is complete all the same."""
        self._text, self._at = self._text[self._at :], 0
        self._looked = max(0, len(self._text) - self._fence_characters + 1)
        is_long = len(self._text) > STATEMENT_CHARACTERS
        if len(self._text) < self._query_at and not (is_long or self._is_sql):
            return False
        self._query_at = len(self._text) + len(self._text) // 16
        if self._is_block(self._text):
            self.partial = "" if is_long else self._text
            self.statement = self._text.strip() if is_long else None
            return is_long
        self.partial = ""
        # An unlabelled block that is no query by now is something else, and its text is of no use.
        self._labelled = self._labelled or is_long
        if self._labelled:
            self._text, self._looked = self._text[self._looked :], 0
        return False

    def _is_block(self, content: str) -> bool:
        return self._is_sql or (not self._labelled and _QUERY.match(content, 0, STATEMENT_CHARACTERS) is not None)

    def _forget(self) -> None:
        # A fence needs its line from the start, so the last line is kept. Of a long one the end, and of what follows a
        # block that, with the character before: it begins no line, and no run of backticks.
        begins = max(self._text.rfind("\n") + 1, self._at - 1)
        self._at = 1 if begins == self._at - 1 else 0
        if len(self._text) - begins > _MOST_LINE:
            begins, self._at = len(self._text) - _MOST_LINE // 2, 1
        self._text = self._text[begins:]


def _unfenced(whole: str) -> str | None:
    """The statement in the last lines of a reply without a fence; it has no backtick in it."""
    whole = whole.rstrip()
    begins = [_IN_CAPITALS.search(whole, whole.rfind("`") + 1)]
    if whole.endswith(";"):
        before = max(whole.rfind("`"), whole.rfind(";", 0, -1))
        begins.append(_IN_ANY_CASE.search(whole, before + 1))
    first = min((match.start() for match in begins if match), default=None)
    return None if first is None else whole[first:].strip()
