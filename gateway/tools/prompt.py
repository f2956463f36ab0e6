"""`sluice prompt`: exactly what would be sent for a question, and about how many tokens it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click

from gateway.answers.question import Question
from gateway.settings import Settings
from gateway.text2sql.database import Databases
from gateway.text2sql.errors import SqlError
from gateway.text2sql.prompting import messages
from gateway.tools.doctor import unknown
from prompts.tokens import estimate


def run(
    settings: Settings,
    question: str,
    echo: Callable[[str], object],
    database: str | None = None,
    language: str | None = None,
    complain: Callable[[str], object] = partial(click.echo, err=True),
) -> int:
    """Print the prompt; returns the exit code: 0 good, 1 the database cannot be read, 2 there is no such database.

    `complain` takes the sentence that says why.
    """
    databases = Databases(settings.databases, settings.text2sql)
    try:
        chosen = databases.get(database)
    except KeyError:
        complain(f"sluice: {unknown('database', str(database), [*settings.databases, 'none'])}")
        return 2
    try:
        sent = messages(Question(question, language=language), chosen, settings.text2sql)
    except SqlError as error:
        complain(f"sluice: {error.message}")
        return 1
    finally:
        databases.close()
    for message in sent:
        echo(f"── {message['role']}\n{message['content']}\n")
    echo(f"── about {sum(estimate(message['content']) for message in sent):,} tokens")
    return 0
