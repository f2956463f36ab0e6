"""The grammar of `constrain: sql` as replies get it, walked byte by byte and at random, judged by the guard."""

from __future__ import annotations

import os
import random

import pytest

from gateway.text2sql import extract
from gateway.text2sql.guard.judge import judge
from prompts.tables import Column, Schema, Table
from providers.errors import Rejected
from providers.local.engine.serving import sqlgrammar
from providers.local.engine.serving.grammars import Grammars
from tests.providers.local.models import make_tokenizer

SCHEMA = {"dtzpt": ["id", "name", "line"], "lines": ["line", "colour"]}
STATEMENT = "SELECT name FROM dtzpt"
WALKS = int(os.environ.get("SLUICE_STATEMENTS", "200"))


class Walker:
    """Replies under the grammar of a small tokeniser, whose tokens 3 to 258 are the bytes."""

    def __init__(self, folder) -> None:
        self.tokenizer = make_tokenizer(folder)
        self.end = self.tokenizer.token_to_id("<|im_end|>")
        self.vocabulary = self.tokenizer.get_vocab_size()
        self.grammars = Grammars(self.tokenizer.to_str(), self.vocabulary, [self.end])

    def matcher(self, schema=SCHEMA, dialect="sqlite"):
        return self.grammars.constraint("sql", schema, dialect).matcher

    def bytes(self, text: str) -> list[int]:
        return [self.grammars._tokenizer.tokenize_bytes(bytes([byte]))[0] for byte in text.encode()]

    def refused(self, text: str, schema=SCHEMA, dialect="sqlite") -> str | None:
        """What of `text` comes before the byte that may not, all of it if it may not end there, None if it may be."""
        matcher = self.matcher(schema, dialect)
        for n, token in enumerate(self.bytes(text)):
            # Not the mask, which has the library's own tokens where the next bytes are certain.
            if matcher.validate_tokens([token]) != 1:
                return text.encode()[:n].decode(errors="replace")
            matcher.consume_token(token)
        return None if matcher.compute_logit_bias()[self.end] else text

    def walk(self, seed: int, begin: str = "", liked: str = "", schema=SCHEMA, dialect="sqlite") -> tuple[str, bool]:
        """A random reply that begins with `begin`, and whether it ended; bytes of `liked` are drawn half the time."""
        rng, matcher, tokens = random.Random(seed), self.matcher(schema, dialect), self.bytes(begin)
        matcher.consume_tokens(tokens)
        likes, fence = self.bytes(liked), self.bytes("```sql\n")
        while len(tokens) < 600:
            mask = matcher.compute_logit_bias()
            assert not matcher.is_error()
            allowed = [token for token in range(self.vocabulary) if mask[token]]
            assert allowed, "a dead end"
            if mask[self.end] and (len(allowed) == 1 or len(tokens) > 200 or rng.random() < 0.03):
                return self.text(tokens), True
            if rng.random() < 0.03 and matcher.validate_tokens(fence) == len(fence):
                matcher.consume_tokens(fence)
                tokens += fence
                continue
            liking = [token for token in likes if mask[token]] if rng.random() < 0.5 else []
            token = rng.choice(liking or [each for each in allowed if each != self.end])
            matcher.consume_token(token)
            tokens.append(token)
        return self.text(tokens), False

    def text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=False)


@pytest.fixture(scope="module")
def walker(tmp_path_factory):
    return Walker(tmp_path_factory.mktemp("walker"))


def found(text: str, ended: bool = True) -> str | None:
    statements = extract.statements(text, cut=not ended)
    return statements[-1] if statements else None


def fenced(text: str) -> str | None:
    _, fence, rest = text.partition("```sql\n")
    statement, close, _ = rest.partition("\n```")
    return statement if fence and close else None


def reasons(statements, schema, dialect) -> list[tuple[str, str | None]]:
    tables = tuple(Table(name, tuple(Column(each, "TEXT") for each in columns)) for name, columns in schema.items())
    verdicts = [(sql, judge(sql, Schema(dialect, tables), 10)) for sql in statements]
    return [(sql, verdict.reason) for sql, verdict in verdicts if not verdict.ok]


@pytest.mark.parametrize("prose", [*range(40), 100, 399, 400, 401, 3_999, 4_000, 4_001, 9_000])
def test_behind_prose_of_any_length_a_statement_may_come_and_prose_again(walker, prose):
    for before in ("a" * prose, "`题` " * (prose // 4) + "x" * (prose % 4), "\n" * prose):
        for after in ("", "\n", "\nIt is so.\n\n1. `a`"):
            reply = f"{before}```sql\n{STATEMENT}\n```{after}"
            assert walker.refused(reply) is None
            assert found(reply) == STATEMENT


@pytest.mark.parametrize(
    "reply",
    [
        "SELECT password FROM users;",
        "Here:\n  select password from users;",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "ok\n\twıth x as",
        "x\nſelect 1;",
        "Here it is:\n~~~sql\nDELETE FROM accounts\n~~~\n",
        "~~~\nSELECT * FROM secret\n~~~",
        "```\nSELECT * FROM secret\n```",
        "```python\n```",
        f"````sql\n{STATEMENT}\n```",
        f"```sql\n{STATEMENT}\n```\n```sql\nSELECT id FROM dtzpt\n```",
        "```sql\nSELECT id FROM dtzpt WHERE name = '```'\n```",
        "```sql\nSELECT id FROM dtzpt WHERE name = 'a``` x'\n```\n",
        "```sql\nSELECT nothing FROM dtzpt\n```",
    ],
)
def test_what_would_be_taken_for_another_statement_is_refused(walker, reply):
    assert walker.refused(reply) is not None


@pytest.mark.parametrize(
    "reply",
    ["", "Selected stations, within ~5 km; select one.", "`a``b`", "Without them\nwithin", "答案：\n- with a ~~line~~"],
)
def test_other_prose_is_free_and_no_statement(walker, reply):
    assert walker.refused(reply) is None
    assert found(reply) is None


def test_the_gateway_finds_the_fenced_statement_or_none_whatever_the_prose(walker):
    finds = {True: 0, False: 0}
    for seed in range(WALKS):
        begin = random.Random(seed).choice(["", "a" * 500, "x\n", "`", "``", "\n", "1. ", "> ", "\n  sel", "\nWIT"])
        text, ended = walker.walk(seed, begin, liked="`~\n ;selectwithSELECTWITHsql1>")
        assert found(text, ended) == fenced(text), text
        finds[fenced(text) is None] += 1
        if statement := fenced(text):
            assert reasons([statement], SCHEMA, "sqlite") == []
    assert finds[True] > WALKS / 10 and finds[False] > WALKS / 10


@pytest.mark.parametrize("dialect", ["sqlite", "mysql", "postgresql"])
def test_tables_of_other_schemas_call_their_columns_by_the_tables_name(walker, dialect):
    schema = {"main.t": ["a", "b"], "other.T": ["a", "c"], "x": ["a.b", "c"]}
    texts = [walker.walk(seed, "```sql\n", "\n`", schema, dialect)[0] for seed in range(WALKS)]
    statements = [statement for text in texts if (statement := fenced(text))]
    assert reasons(statements, schema, dialect) == []
    assert any(" main.t" in each and "JOIN" in each.upper() for each in statements)


def test_names_that_cannot_be_written_are_left_out_of_the_schema(walker):
    odd = ["a\x7f", "\x00", "a\nb", "", "a`b", "c```d", "`"]
    schema = {"t": [*odd, "fine"], "t\x7f": ["a"], ".x": ["a"], "```": ["y"], "u": ["\x7f"]}
    for dialect in ("sqlite", "mysql"):
        texts = [walker.walk(seed, "```sql\n", "\n`", schema, dialect)[0] for seed in range(WALKS // 2)]
        statements = [statement for text in texts if (statement := fenced(text))]
        assert statements
        assert all(found(text) == fenced(text) for text in texts if fenced(text))
        assert reasons(statements, schema, dialect) == []
    with pytest.raises(Rejected, match="names can be written"):
        walker.matcher({"t": odd[:4]})


@pytest.mark.parametrize("shared", [False, True])
def test_with_many_tables_too_a_column_belongs_to_its_table_unless_two_are_joined(walker, shared):
    schema = {f"table{i}": [f"c_{j}" if shared else f"c{i}_{j}" for j in range(20)] for i in range(50)}
    texts = [walker.walk(seed, "```sql\n", "\n`", schema)[0] for seed in range(WALKS // 4)]
    statements = [statement for text in texts if (statement := fenced(text))]
    alone = [statement for statement in statements if "JOIN" not in statement.upper()]
    assert len(alone) > len(texts) / 4
    assert reasons(alone, schema, "sqlite") == []
    join = "```sql\nSELECT table7.{0} FROM table7 LEFT JOIN table8 ON table7.{0} = table8.{1}\n```"
    names = ("c_1", "c_2") if shared else ("c7_1", "c8_2")
    assert walker.refused(join.format(*names), schema) is None


def test_columns_called_like_functions_are_columns_and_functions_functions(walker):
    functions = ["sum", "avg", "min", "max", "abs", "length", "upper", "round", "substr"]
    assert not sqlgrammar.RESERVED & {*functions}
    schema = {"t": functions, "upper": ["t", "sum_", "su"], "sums": ["upper", "t"]}
    texts = [walker.walk(seed, "```sql\n", "\n`(ml", schema)[0] for seed in range(WALKS)]
    statements = [statement for text in texts if (statement := fenced(text))]
    assert reasons(statements, schema, "sqlite") == []
    for each in ("SUM(sum)", "sum", "UPPER(t.upper)", "upper(upper)", "sum(max), MAX(abs)"):
        assert walker.refused(f"```sql\nSELECT {each} FROM t\n```", schema) is None
    assert walker.refused("```sql\nSELECT upper.su FROM upper WHERE upper(su) = 'a'\n```", schema) is None


@pytest.mark.parametrize(("tables", "columns"), [(1, 3_000), (8, 375), (200, 15), (500, 6)])
@pytest.mark.parametrize("shared", [False, True])
def test_the_largest_schemas_have_masks_at_every_step(walker, tables, columns, shared):
    schema = {f"t{i}": [f"c_{j}" if shared else f"c{i}_{j}" for j in range(columns)] for i in range(tables)}
    for seed in range(5):
        walker.walk(seed, "```sql\n", "\n`", schema)
