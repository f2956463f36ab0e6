"""A statement cut into the lexemes that its server would see: texts, names, numbers, words and signs.

What is sent to the server is these lexemes as they were written. Comments go, with the hints and executable comments
among them, and so does the semicolon at the end. A character that a keyboard or a model puts for an ASCII one outside
of quotes (full-width punctuation, curly quotes, no-break and zero-width spaces) is read as that one.

The parser (sqlglot) reads the text that is sent. `agree` makes sure that it found the same texts and names in it, so
that nothing of what was judged as a text can be code for the server, or the other way round.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from sqlglot.tokens import Token, TokenType

from gateway.text2sql.databases.dialect import Dialect
from gateway.text2sql.guard.refused import STATEMENT_CHARACTERS, Refused

LEXEMES = 6_000
NESTING = 60

WIDE = "（），；：．＝＜＞！＋－＊／％＾＆｜～［］｛｝＠＃＄？＿＇＂｀＼"
MEANT = {ord(letter): chr(ord(letter) - 0xFEE0) for letter in WIDE} | {
    0x3000: " ", 0x00A0: " ", 0x202F: " ", 0x205F: " ", 0x2028: "\n", 0x2029: "\n", 0x0085: "\n",
    ord("、"): ",", ord("。"): ";", ord("‘"): "'", ord("’"): "'", ord("“"): '"', ord("”"): '"',
    ord("≤"): "<=", ord("≥"): ">=", ord("≠"): "<>", ord("−"): "-", ord("–"): "-", ord("×"): "*", ord("÷"): "/",
    0xFEFF: "", 0x200B: "", 0x200C: "", 0x200D: "", 0x2060: "", 0x00AD: "", 0x200E: "", 0x200F: "",
} | dict.fromkeys(range(8192, 8203), " ")  # fmt: skip
WIDE_WORD = re.compile("[０-９Ａ-Ｚａ-ｚ＿]+")
CURLY = {"‘": "’", "’": "’", "“": "”", "”": "”"}
LITERALS = {
    TokenType.STRING, TokenType.BYTE_STRING, TokenType.HEX_STRING, TokenType.BIT_STRING, TokenType.NATIONAL_STRING,
    TokenType.HEREDOC_STRING, TokenType.RAW_STRING,
}  # fmt: skip


Piece = tuple[str, str, str]  # kind, text, the gap in front


# What stands behind # where it is PostgreSQL's operator: a sign or a value, or a name with more of the query behind it.
_OPERAND = re.compile(
    r"#\s*(?:[>\-+'\"(\d]|\w+\s*(?:[,;()=<>.]|(?:as|from|where|and|or|group|order|limit)\b)"
    r"|[a-z_][a-z0-9_]*\s*\Z)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Lexeme:
    """
    kind        text, name, number, word or sign
    start, end  its place in the statement that is sent
    gap         white space or nothing stands in front of it
    """

    kind: str
    text: str
    start: int
    end: int
    gap: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """The statement that is sent, and its lexemes."""

    text: str
    lexemes: list[Lexeme]


def read(sql: str, dialect: Dialect) -> Statement:
    """`sql` as it is sent; raises Refused for what the server could read in another way."""
    if len(sql) > STATEMENT_CHARACTERS:
        raise Refused(f"the statement must have at most {STATEMENT_CHARACTERS:,} characters, got {len(sql):,}")
    if "\0" in sql:
        raise Refused("the statement has a NUL character in it")
    pieces = _without_materialized(_pieces(_as_meant(sql, dialect), dialect))
    while pieces and pieces[-1][1] == ";":
        pieces.pop()
    if not pieces:
        raise Refused("there is no statement")
    if any(text == ";" for _, text, _ in pieces):
        raise Refused("there must be one statement, got several")
    return _joined(pieces, dialect)


def _without_materialized(pieces: list[Piece]) -> list[Piece]:
    """The pieces without AS [NOT] MATERIALIZED's last words: they say how a server plans, never what it answers."""
    kept: list[Piece] = []
    for n, piece in enumerate(pieces):
        kept.append(piece)
        following = pieces[n + 1 : n + 2]
        if piece[0] == "word" and piece[1].lower() == "materialized" and following and following[0][1] == "(":
            words = [word[1].lower() for word in kept[-3:]]
            if words[-2:-1] == ["as"]:
                kept.pop()
            elif words[-3:-1] == ["as", "not"]:
                del kept[-2:]
    return kept


def _as_meant(sql: str, dialect: Dialect) -> str:
    """`sql` with the ASCII characters that were meant outside of quotes."""
    if sql.isascii():
        return sql
    written, at = [], 0
    while at < len(sql):
        lexeme = dialect.lexemes.match(sql, at)
        if lexeme is not None:
            # A number or a word of SQL in full-width letters; a name may have them.
            plain = unicodedata.normalize("NFKC", lexeme[0]) if WIDE_WORD.fullmatch(lexeme[0]) else lexeme[0]
            known = plain.isdigit() or plain.lower() in dialect.words | dialect.functions
            written.append(plain if known else lexeme[0])
            at = lexeme.end()
            continue
        letter = sql[at]
        closing = CURLY.get(letter)
        end = sql.find(closing, at + 1) if closing else -1
        if end > 0:
            quote = MEANT[ord(letter)]
            inner = sql[at + 1 : end]
            if quote in inner or "\\" in inner:
                raise Refused("a text in curly quotes has a quote in it: write it in single quotes")
            written.append(f"{quote}{inner}{quote}")
            at = end + 1
            continue
        written.append(MEANT.get(ord(letter), letter))
        at += 1
    return "".join(written)


def _pieces(sql: str, dialect: Dialect) -> list[Piece]:
    """(kind, text, gap in front) of each lexeme."""
    pieces: list[Piece] = []
    gap, had_comment, at, depth = "", False, 0, 0
    while at < len(sql):
        lexeme = dialect.lexemes.match(sql, at)
        if lexeme is None or (sql.startswith("/*", at) and lexeme["sign"]):
            raise Refused(_unreadable(sql, at))
        kind = next(name for name in ("space", "comment", "text", "name", "word", "number", "sign") if lexeme[name])
        text = lexeme[kind]
        at = lexeme.end()
        if kind == "space":
            gap += text
        elif kind == "comment":
            _check_comment(text, pieces, gap)
            # A comment to the line's end leaves that end behind it; one within a line leaves a space.
            gap, had_comment = gap + (" " if text.startswith("/*") else ""), True
        else:
            depth += (text in ("(", "[")) - (text in (")", "]"))
            if depth > NESTING:
                raise Refused(f"parentheses must nest at most {NESTING} deep")
            if kind in ("name", "word") and len(text.strip('`"[]').encode("utf-8", "replace")) > dialect.name_bytes:
                raise Refused(f"a name must have at most {dialect.name_bytes} bytes, got {text[:20]}…")
            if had_comment:
                gap = "\n" if "\n" in gap else " "
            pieces.append((kind, text, gap))
            gap, had_comment = "", False
    if len(pieces) > LEXEMES:
        raise Refused(f"the statement must have at most {LEXEMES:,} words and signs, got {len(pieces):,}")
    return pieces


def _check_comment(text: str, pieces: list[Piece], gap: str) -> None:
    if text.startswith("#") and pieces and "\n" not in gap and _OPERAND.match(text):
        # In PostgreSQL # is an operator, and so are #> and #>>: what stands behind it would be lost.
        raise Refused("# begins a comment in MySQL: write -- for a comment, or JSON_EXTRACT(…) to read JSON")


def _unreadable(sql: str, at: int) -> str:
    letter = sql[at]
    if letter in "'\"`[":
        return f"a text or a name begins with {letter} and does not end: {sql[at : at + 30]}"
    if sql.startswith("/*", at):
        return "a comment begins with /* and does not end"
    if letter.isdigit() or letter == ".":
        return f"a number must not run into letters: {sql[at : at + 20]}"
    return f"a statement cannot have the character {letter!r} outside of quotes"


def _joined(pieces: list[Piece], dialect: Dialect) -> Statement:
    written: list[str] = []
    lexemes: list[Lexeme] = []
    at = 0
    for n, (kind, text, before) in enumerate(pieces):
        gap = before if before.strip(" \t\r\n\f") == "" else " "
        if n == 0 or (dialect.glued and text == "(" and _is_call(pieces[n - 1], dialect)):
            gap = ""
        written += [gap, text]
        at += len(gap)
        lexemes.append(Lexeme(kind, text, at, at + len(text), bool(gap)))
        at += len(text)
    return Statement("".join(written), lexemes)


def _is_call(piece: Piece, dialect: Dialect) -> bool:
    kind, text, _ = piece
    return kind == "word" and text.lower() in dialect.functions and text.lower() not in dialect.words


def agree(statement: Statement, tokens: list[Token]) -> None:
    """Raise Refused unless the parser's tokens are the statement's lexemes: texts and names one by one."""
    lexemes, n = statement.lexemes, 0
    for token in tokens:
        first = n
        end = token.end + 1
        while n < len(lexemes) and lexemes[n].end <= end:
            n += 1
        covered = lexemes[first:n]
        if not covered and first < len(lexemes) and lexemes[first].kind == "number":
            continue  # the parser reads .5 as two tokens
        if not covered or covered[-1].end != end or (covered[0].start != token.start and covered[0].kind != "number"):
            raise Refused(_unclear(statement, token.start))
        kinds = {lexeme.kind for lexeme in covered}
        is_quoted = token.token_type in LITERALS or token.token_type == TokenType.IDENTIFIER
        if covered[0].kind == "number" and len(covered) == 1 and covered[0].text[:2].lower() == "0x":
            continue  # MySQL's and SQLite's 0x1f; elsewhere it is no number
        if is_quoted != bool(kinds & {"text", "name"}) or (is_quoted and len(covered) > 1):
            raise Refused(_unclear(statement, token.start))
    if n != len(lexemes):
        raise Refused(_unclear(statement, lexemes[n].start))


def _unclear(statement: Statement, at: int) -> str:
    near = statement.text[at : at + 30].replace("\n", " ")
    return f"it cannot be read for certain near {near}: write texts in single quotes, and spaces around words and signs"


def token_list(reader: Any, statement: Statement) -> list[Token]:
    """The parser's tokens of the statement that is sent, once they agree with its lexemes."""
    tokens: list[Token] = reader.tokenize(statement.text)
    agree(statement, tokens)
    return tokens
