"""With `constrain: sql`, whatever the weights say, SQL names only what the schema has."""

from __future__ import annotations

import os

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

from providers.errors import Rejected
from providers.local.engine.serving import grammars, sqlgrammar
from providers.local.engine.serving.grammars import Grammars
from tests.providers.local.engine.running import a_loop, asking, run
from tests.providers.local.engine.serving.schemas import SCHEMA

# SLUICE_STATEMENTS=1000 is what was promised; fewer find the same faults sooner.
STATEMENTS = int(os.environ.get("SLUICE_STATEMENTS", "200"))


def statement(text: str) -> str | None:
    """The fenced SQL of a reply, if it was finished."""
    _, fence, rest = text.partition("```sql\n")
    sql, close, _ = rest.partition("```")
    return sql if fence and close else None


@pytest.fixture(scope="module")
def loop(models):
    loop = a_loop(models["qwen3"][0], max_batch=64, max_queue=5000, kv_cache_mb=32)
    # Short prose, so that random models soon begin a statement.
    loop.preprocessing.make.keywords["grammars"]._prose = 4
    return loop


@pytest.fixture(scope="module")
def replies(loop) -> list[str]:
    """Replies of a random model that was asked to constrain itself."""
    told = {"temperature": 1.5, "max_tokens": 250, "constrain": "sql", "constrain_schema": SCHEMA}
    found: list[str] = []
    seed = 0
    while len(found) < STATEMENTS:
        asks = [asking("which?", seed=seed + i, **told) for i in range(200)]
        seed += len(asks)
        found += [sql for answer in run(loop, asks) if (sql := statement(answer.text))]
    return found


def test_random_statements_parse_and_name_only_what_exists(replies):
    tables = {table.lower(): {column.lower() for column in columns} for table, columns in SCHEMA.items()}
    read = set()
    for sql in replies:
        (tree,) = sqlglot.parse(sql, dialect="sqlite")
        assert isinstance(tree, exp.Select), sql
        for query in tree.find_all(exp.Select):
            mine = {table.name.lower() for table in query.find_all(exp.Table)}
            assert mine and mine <= set(tables), sql
            read |= mine
        for column in tree.find_all(exp.Column):
            if not isinstance(column.this, exp.Star):
                owners = [column.table.lower()] if column.table else list(tables)
                assert any(column.name.lower() in tables[owner] for owner in owners), sql
        # Every column belongs to a table of its own query: qualify finds its owner, or raises.
        columns = {table: dict.fromkeys(columns, "text") for table, columns in SCHEMA.items()}
        qualify(tree, dialect="sqlite", schema=columns, quote_identifiers=False)
    assert read == set(tables)


def test_the_guard_accepts_what_the_grammar_allows(replies):
    from gateway.text2sql.guard.judge import judge
    from prompts.tables import Column, Schema, Table

    tables = [Table(table, tuple(Column(name, "TEXT") for name in columns)) for table, columns in SCHEMA.items()]
    schema = Schema("sqlite", tuple(tables))
    verdicts = [judge(sql, schema, 10) for sql in replies]
    assert [verdict.reason for verdict in verdicts if not verdict.ok] == []


# Names that mean something else where they stand bare, in one dialect or another; and names that need quotes anyway.
AWKWARD = [
    "array", "lateral", "grant", "analyze", "interval", "unique", "key", "initially", "current_date", "localtime",
    "user", "collate", "returning", "rank", "limit", "Name", "a b", "a\"b", "x`y", "it's", "user@host", "编号",
    "order-id", "1st", "_utf8", "Ünï", "%x%", "name",
]  # fmt: skip


@pytest.mark.parametrize("dialect", ["sqlite", "mysql", "postgresql"])
def test_awkward_names_are_columns_and_tables_in_every_dialect(loop, dialect):
    parsed = {"postgresql": "postgres"}.get(dialect, dialect)
    schema = {"t": AWKWARD, "sales.Order Details": ["id"], "lateral": ["order"], "user": ["check"]}
    told = {"constrain_schema": schema, "constrain_dialect": dialect}
    asks = [asking("?", constrain="sql", temperature=1.5, max_tokens=200, seed=i, **told) for i in range(300)]
    seen = set()
    for sql in [sql for answer in run(loop, asks) if (sql := statement(answer.text))]:
        tree = sqlglot.parse_one(sql, dialect=parsed)
        assert {table.name for table in tree.find_all(exp.Table)} <= {"t", "Order Details", "lateral", "user"}, sql
        names = {column.name for column in tree.find_all(exp.Column) if not isinstance(column.this, exp.Star)}
        assert names <= {*AWKWARD, "id", "order", "check", *(alias.alias for alias in tree.find_all(exp.Alias))}, sql
        seen |= names
    assert len(seen) > len(AWKWARD) / 2


def test_every_keyword_of_the_parser_is_a_column_as_the_grammar_writes_it():
    for dialect, parsed in (("sqlite", "sqlite"), ("mysql", "mysql"), ("postgresql", "postgres")):
        kind = sqlglot.Dialect.get_or_raise(parsed)
        words = {word.lower() for word in (*kind.tokenizer_class.KEYWORDS, *kind.parser_class.FUNCTIONS)}
        for word in sorted(word for word in words if word.isidentifier()):
            name = sqlgrammar._written(word, sqlgrammar.QUOTES.get(dialect, '"'))
            tree = sqlglot.parse_one(
                f"SELECT {name}, LOWER({name}) FROM t WHERE {name} = 1 AND t.{name} LIKE 'a' ORDER BY {name}",
                dialect=parsed,
            )
            assert [column.name for column in tree.find_all(exp.Column)] == [word] * 5, (dialect, word)


def test_mysql_reads_quoted_names_as_columns_not_as_texts():
    text = sqlgrammar.grammar({"t": ["User Name", "order"]}, "mysql")
    assert "`User Name`" in text and "`order`" in text and '\\"User' not in text


def test_prose_needs_no_statement(loop):
    answers = run(
        loop, [asking("hi", constrain="sql", constrain_schema=SCHEMA, temperature=2.0, seed=i) for i in range(60)]
    )
    ended = [answer for answer in answers if answer.finish_reason == "stop"]
    assert any("```" not in answer.text for answer in ended)


def test_others_in_the_batch_are_not_constrained(loop):
    alone = run(loop, [asking("hello")])[0].tokens
    both = run(loop, [asking("hello"), asking("which?", constrain="sql", constrain_schema=SCHEMA)])
    assert both[0].tokens == alone


def test_a_schema_of_very_many_tables_compiles_in_bounded_time_and_keeps_to_its_names(loop):
    schema = {f"table_{i}": [f"column_{i}_{j}" for j in range(20)] for i in range(100)}
    asks = [
        asking("x", constrain="sql", constrain_schema=schema, temperature=1.5, max_tokens=200, seed=i)
        for i in range(60)
    ]
    statements = [sql for answer in run(loop, asks) if (sql := statement(answer.text))]
    assert statements
    for sql in statements:
        tree = sqlglot.parse_one(sql)
        assert {table.name for table in tree.find_all(exp.Table)} <= set(schema)


@pytest.mark.parametrize(
    ("kind", "schema", "words"),
    [
        ("json", SCHEMA, "json"),
        ("sql", {"t": []}, "has columns"),
        ("sql", {"t": [f"c{i}" for i in range(5000)]}, "at most 3,000 columns"),
        ("sql", {"t" * 2000: [f"c{i}" for i in range(300)]}, "at most 500,000 characters of names"),
        ("sql", {"t": ["c" * 4_000_000]}, "at most 500,000 characters of names"),
    ],
)
def test_what_cannot_be_constrained_is_refused(loop, kind, schema, words):
    with pytest.raises(Rejected, match=words):
        loop.preprocessing.make.keywords["grammars"].constraint(kind, schema)


def test_a_model_without_an_end_token_cannot_be_constrained(loop):
    text = loop.preprocessing.make.keywords["chat"].tokenizer.to_str()
    with pytest.raises(Rejected, match="end token"):
        Grammars(text, 400, []).constraint("sql", SCHEMA)


def test_a_tokeniser_that_the_library_does_not_read_can_do_all_but_constrain():
    with pytest.raises(Rejected, match="this model's tokeniser"):
        Grammars("{}", 400, [2]).constraint("sql", SCHEMA)


def test_a_grammar_is_compiled_once_per_schema(loop):
    grammars = loop.preprocessing.make.keywords["grammars"]
    grammars.constraint("sql", SCHEMA)
    before = list(grammars._compiled.values())
    grammars.constraint("sql", dict(SCHEMA))
    after = list(grammars._compiled.values())
    assert [id(each) for each in after] == [id(each) for each in before]


def test_requests_with_a_new_schema_that_are_prepared_at_once_compile_it_once(loop, monkeypatch):
    compiled = []
    grammar = grammars.grammar
    monkeypatch.setattr(grammars, "grammar", lambda *told: compiled.append(told) or grammar(*told))
    schema = {f"fresh_{i}": ["id", "name"] for i in range(9)}
    run(
        loop, [asking("x", constrain="sql", constrain_schema=schema, max_tokens=1, cache_salt=str(i)) for i in range(8)]
    )
    assert len(compiled) == 1
