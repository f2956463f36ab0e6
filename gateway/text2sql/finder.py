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

from gateway.text2sql.guard import STATEMENT_CHARACTERS

LABELS = "sql|sqlite3?|postgres|postgresql|pgsql|psql|mysql|mariadb"
_OPENING = re.compile(
    rf"""(?:^[ \t>*\-+\d.]*(?P<fence>`{{3,}}|~{{3,}})[ \t]*(?P<info>[^\n`]*)\n)
       | (?P<inline>`{{3,}})[ \t]*\{{?\.?(?P<label>{LABELS})\b\}}?[ \t]*\n?""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
_SQL_LABEL = re.compile(rf"\{{?\.?(?:{LABELS})\b", re.IGNORECASE)
# What is before the query is never taken otherwise than it was first: with many comments that would be 2^n ways.
_QUERY = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*+(?:select|with)\b", re.IGNORECASE | re.DOTALL)
_IN_CAPITALS = re.compile(r"^[ \t]*(?:SELECT|WITH)\b", re.MULTILINE)
_IN_ANY_CASE = re.compile(_IN_CAPITALS.pattern, re.MULTILINE | re.IGNORECASE)
_MOST_LINE = 400  # characters of a line that are kept while it may still become a fence


class Finder:
    """Fed with the reply's text as it comes; `statement` is the SQL once it is complete.

    partial   what has come of an SQL block that is still open, "" outside of one
    """

    def __init__(self) -> None:
        self.statement: str | None = None
        self.partial = ""
        self._text = ""  # from where the next fence could begin
        self._closing: re.Pattern[str] | None = None
        self._fence_characters = 0
        self._looked = 0  # characters of `_text` in which no closing fence begins
        self._is_sql = False
        self._labelled = False
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
        if self._closing is None:
            match = _OPENING.search(self._text)
            if match is None:
                self._forget()
                return False
            if match.group("inline") and self._may_be_fence(match):
                return False
            fence = match.group("fence") or match.group("inline")
            self._is_sql = bool(match.group("label") or _SQL_LABEL.match(match.group("info") or ""))
            self._labelled = bool(match.group("label") or (match.group("info") or "").strip())
            self._fence_characters, self._looked = len(fence), 0
            self._closing = re.compile(re.escape(fence[0]) + "{" + str(len(fence)) + ",}")
            self._had_fence = True
            self._text = self._text[match.end() :]
        closing = self._closing.search(self._text, self._looked)
        if closing is None:
            return self._still_open()
        content = self._text[: closing.start()].strip()
        if self._is_block(content) and content:
            self.statement = content
        self.partial = ""
        self._closing = None
        # The line break that ended the line before a fence lets the next one begin a line.
        self._text = self._text[closing.end() :]
        return True

    def _still_open(self) -> bool:
        """Look at a block that has no closing fence yet; True if it is complete all the same."""
        self._looked = max(0, len(self._text) - self._fence_characters + 1)
        is_long = len(self._text) > STATEMENT_CHARACTERS
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
        return self._is_sql or (not self._labelled and _QUERY.match(content) is not None)

    def _may_be_fence(self, match: re.Match[str]) -> bool:
        """Whether the rest of its line could still make a fence of its own of what looks like an inline one."""
        rest = self._text[match.end() :]
        if match.group().endswith("\n") or "\n" in rest or "`" in rest or len(rest) > _MOST_LINE:
            return False
        before = self._text[: match.start()].rpartition("\n")[2]
        return not rest or not before.strip(" \t>*-+.0123456789")

    def _forget(self) -> None:
        # A fence needs its line from the start, so the last line is kept; of a long one the end, marked as no start.
        self._text = self._text[self._text.rfind("\n") + 1 :]
        if len(self._text) > _MOST_LINE:
            self._text = "…" + self._text[-_MOST_LINE // 2 :]


def _unfenced(whole: str) -> str | None:
    """The statement in the last lines of a reply without a fence; it has no backtick in it."""
    whole = whole.rstrip()
    begins = [_IN_CAPITALS.search(whole, whole.rfind("`") + 1)]
    if whole.endswith(";"):
        before = max(whole.rfind("`"), whole.rfind(";", 0, -1))
        begins.append(_IN_ANY_CASE.search(whole, before + 1))
    first = min((match.start() for match in begins if match), default=None)
    return None if first is None else whole[first:].strip()
