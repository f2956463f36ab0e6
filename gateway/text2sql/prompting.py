"""The messages that are sent for a question: its database's schema, confirmed examples, the history."""

from __future__ import annotations

from gateway.answers.question import Question
from gateway.settings import TextToSql
from gateway.text2sql.database import Database
from gateway.text2sql.databases.zones import today
from prompts import render
from providers.chat import Message

SCHEMA_SHARE = 0.6


def messages(question: Question, database: Database | None, text2sql: TextToSql) -> list[Message]:
    """The messages for `question`; a plain chat without a database. Raises SqlFailed if no schema can be read."""
    if database is None:
        return question.chat()
    # The rest of the budget is for rules, examples and history.
    schema = database.linked_schema(question.question, int(text2sql.prompt_tokens * SCHEMA_SHARE))
    return render.messages(
        question.question,
        schema,
        database.dialect,
        database.examples.nearest(question.question, database.schema()),
        question.language or text2sql.language,
        question.history,
        text2sql.prompt_tokens,
        str(today(database.settings.timezone or schema.timezone)),
    )
