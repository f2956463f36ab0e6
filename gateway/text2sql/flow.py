"""From a question to the steps of its answer: a plain chat, or a question about a database (asking.py)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from gateway.answers import chat
from gateway.answers.question import Question
from gateway.answers.record import Record
from gateway.answers.steps import Step
from gateway.text2sql.configured import Configured
from providers import Providers


def answer(
    question: Question, providers: Providers, databases: Configured, record: Record | None = None
) -> Generator[list[Step], Any, None]:
    """The steps of the answer, a list for each batch of the upstream's; the last one is Done.

    Raises ProviderError, SqlError and KeyError (a database that is not configured); killing the greenlet that iterates
    stops the upstream and cancels the statement. `record` collects verdicts and row counts for the log.
    """
    database = databases.get(question.database)
    if database is None:
        yield from chat.answer(question.request(question.chat()), providers, question.provider)
        return
    # Loaded with the databases (app.py): a worker without them has neither SQLAlchemy nor sqlglot.
    from gateway.text2sql.asking import Asking

    yield from Asking(question, providers, databases, database, record or Record()).steps()
