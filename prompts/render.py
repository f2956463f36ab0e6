"""Messages from a question: rules, schema and examples in the system message, the bare question last.

What is the same for every question comes first, so that an upstream's prefix cache hits; templates are data, in
templates/<language>.jinja, with what differs between servers in templates/<template>.<language>.jinja.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import make_url

from prompts.example_store import Pair
from prompts.tables import Schema, Table
from prompts.tokens import estimate
from providers.chat import Message

LANGUAGES = ("zh", "en")
NO_STATEMENT = {
    "zh": "回答里没有找到完整的 SQL 语句，它应当放在一个 ```sql 代码块里",
    "en": "no complete SQL statement was found in the reply; it has to stand in one ```sql block",
}


class Server(Protocol):
    """A kind of database server: its name for a person, and the template that holds its rules."""

    @property
    def title(self) -> str: ...

    @property
    def template(self) -> str: ...


class Turn(Protocol):
    """An earlier question and its answer."""

    question: str
    answer: str


@cache
def _templates() -> Environment:
    # Prompts are plain text, so nothing is escaped.
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,  # noqa: S701 - prompts are plain text, no HTML
        auto_reload=False,
    )


def messages(
    question: str,
    schema: Schema,
    server: Server,
    examples: Sequence[Pair] = (),
    language: str = "zh",
    history: Sequence[Turn] = (),
    prompt_tokens: int = 6000,
    today: str = "",
) -> list[Message]:
    """What is sent: a system message, the earlier turns that fit (the latest ones), and the question as it was asked.

    today           the date in the database's time zone; it stands last, so that it spoils no prefix cache
    prompt_tokens   about how many tokens all of it may be; the oldest turns give way first, then examples
    """
    kept = list(examples)
    system = system_message(schema, server, kept, language, today)
    while kept and estimate(system) + estimate(question) > prompt_tokens:
        kept.pop()
        system = system_message(schema, server, kept, language, today)
    left = prompt_tokens - estimate(system) - estimate(question)
    turns: list[Message] = []
    for turn in reversed(history):
        left -= estimate(turn.question) + estimate(turn.answer)
        if left < 0:
            break
        turns[:0] = [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer}]
    return [{"role": "system", "content": system}, *turns, {"role": "user", "content": question}]


def system_message(schema: Schema, server: Server, examples: Iterable[Pair], language: str, today: str = "") -> str:
    """The rules, the tables and the examples, in `language`."""
    template = _templates().get_template(f"{language}.jinja")
    return template.render(
        server=server.title,
        advice=f"{server.template}.{language}.jinja",
        tables=[table_text(table, schema.dialect) for table in schema.tables],
        examples=list(examples),
        timezone=schema.timezone,
        today=today,
    ).strip()


def correction(reason: str, language: str) -> str:
    """The message that asks the model again after its statement was refused or failed."""
    return _templates().get_template(f"correction.{language}.jinja").render(reason=reason).strip()


def no_statement(language: str) -> str:
    """The reason that is given where a reply looked like SQL and no statement was found in it."""
    return NO_STATEMENT[language]


@cache
def _quote(dialect: str) -> Callable[[str], str]:
    """A function that quotes a name where the server needs quotes: reserved words, capitals, spaces."""
    # A dialect without a driver: nothing is connected to. With "format" it would double each % for the driver.
    return make_url(f"{dialect}://").get_dialect()(paramstyle="named").identifier_preparer.quote  # type: ignore[call-arg]


def table_text(table: Table, dialect: str) -> str:
    """A table as a prompt shows it: CREATE TABLE's form, with comments behind their lines."""
    quote = _quote(dialect)
    lines = []
    for column in table.columns:
        comment = column.comment
        if column.samples:
            comment = f"{comment} [{' | '.join(column.samples)}]".strip()
        lines.append((f"{quote(column.name)} {column.type}".strip(), comment))
    if table.primary_key:
        lines.append((f"PRIMARY KEY ({', '.join(map(quote, table.primary_key))})", ""))
    for key in table.foreign_keys:
        there = ".".join(map(quote, key.table.split(".")))
        if key.references:
            there += f" ({', '.join(map(quote, key.references))})"
        lines.append((f"FOREIGN KEY ({', '.join(map(quote, key.columns))}) REFERENCES {there}", ""))
    written = [
        f"  {definition}{',' if n < len(lines) else ''}{f' -- {comment}' if comment else ''}"
        for n, (definition, comment) in enumerate(lines, 1)
    ]
    name = ".".join(map(quote, table.name.split(".")))
    head = f"CREATE {'VIEW' if table.is_view else 'TABLE'} {name} ("
    return "\n".join([f"{head} -- {table.comment}" if table.comment else head, *written, ")"])
