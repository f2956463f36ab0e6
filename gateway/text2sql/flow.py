"""From a question to the steps of its answer: prompt, reply, statement, judgement, rows, and at times a correction.

The reply passes through as it comes. Its statement is judged as soon as it is complete; one that may not run stops the
reply while a correction is left, and the model is asked again with the reason. Rows come after the reply's text.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from gateway.answers.chat import answer as reply_steps
from gateway.answers.question import Question
from gateway.answers.record import Record
from gateway.answers.steps import Correcting, Done, Sql, Step, Text
from gateway.text2sql import prompting
from gateway.text2sql.cpu_slot import in_cpu_slot
from gateway.text2sql.database import Database, Databases
from gateway.text2sql.errors import SqlFailed
from gateway.text2sql.extract import SqlExtractor
from gateway.text2sql.guard.early_reject import early_reject
from gateway.text2sql.guard.judge import Verdict
from prompts import render
from providers import Providers
from providers.chat import Message
from providers.delta import Usage

# How much more of a statement has to come before it is looked at again: at least so much, and a share of what has come,
# for each look reads all of it.
EARLY_CHARACTERS = 48
EARLY_SHARE = 8

log = logging.getLogger("sluice.sql")


def answer(
    question: Question, providers: Providers, databases: Databases, record: Record | None = None
) -> Iterator[list[Step]]:
    """The steps of the answer, a list for each batch of the upstream's; the last one is Done.

    Raises ProviderError, SqlError and KeyError (a database that is not configured); killing the greenlet that iterates
    stops the upstream and cancels the statement. `record` collects verdicts and row counts for the log.
    """
    database = databases.get(question.database)
    if database is None:
        yield from _Reply(question, providers).follow(question.chat())
        return
    yield from _Asking(question, providers, databases, database, record or Record()).steps()


@dataclass(slots=True)
class _Reply:
    """One reply of the model, as it streams."""

    question: Question
    providers: Providers
    is_first: bool = True
    dialect: str = ""

    def follow(
        self, messages: list[Message], constrain: dict[str, list[str]] | None = None
    ) -> Generator[list[Step], None, None]:
        request = self.question.request(messages)
        if constrain:
            request.constrain_schema = constrain
            request.constrain_dialect = self.dialect
        yield from reply_steps(request, self.providers, self.question.provider, first=self.is_first)


@dataclass(slots=True)
class _Asking:
    question: Question
    providers: Providers
    databases: Databases
    database: Database
    record: Record
    usage: Usage | None = None
    replies: int = 0
    timing: dict[str, float] = field(default_factory=dict)

    def steps(self) -> Iterator[list[Step]]:
        began = time.perf_counter()
        if self._executes:
            # A database whose role may do too much is not asked; better said before a model was.
            self.database.check_role()
        schema = self.database.schema()
        language = self.question.language or self.databases.text2sql.language
        messages = in_cpu_slot(lambda: prompting.messages(self.question, self.database, self.databases.text2sql))
        self.timing["prompt"] = _ms(began)
        constrain = {table.name: [column.name for column in table.columns] for table in schema.tables}
        left = self.databases.text2sql.corrections
        while True:
            reply, reason = yield from self._one_reply(messages, constrain, may_correct=left > 0)
            if reason is None:
                return
            left -= 1
            attempt = self.databases.text2sql.corrections - left
            # The second reply begins on a line of its own.
            yield [Correcting(reason, attempt), Text("\n\n")]
            messages = [
                *messages,
                {"role": "assistant", "content": reply},
                {"role": "user", "content": render.correction(reason, language)},
            ]

    def _one_reply(
        self, messages: list[Message], constrain: dict[str, list[str]], may_correct: bool
    ) -> Generator[list[Step], None, tuple[str, str | None]]:
        """One reply's steps; returns its text and, where the model is to be asked again, why."""
        extractor, text, verdict, done = SqlExtractor(), "", None, None
        look_at = EARLY_CHARACTERS  # how long the statement is when it is judged next, before it is complete
        reply = _Reply(self.question, self.providers, self.replies == 0, self.database.schema().dialect)
        self.replies += 1
        following = reply.follow(messages, constrain)
        try:
            for batch in following:
                steps: list[Step] = []
                for step in batch:
                    if isinstance(step, Done):
                        done = step
                        break
                    steps.append(step)
                    if isinstance(step, Text):
                        text += step.text
                        found = extractor.feed(step.text)
                        if found is not None:
                            verdict = self._judge(found, steps)
                        elif may_correct and len(extractor.partial) >= look_at:
                            look_at = len(extractor.partial) + max(
                                EARLY_CHARACTERS, len(extractor.partial) // EARLY_SHARE
                            )
                            verdict = self._judge_early(extractor.partial, steps)
                if steps:
                    yield steps
                if verdict is not None and not verdict.ok and may_correct:
                    return text, verdict.reason
        finally:
            following.close()
        assert done is not None, "a reply's last step is Done"
        self._count(done.usage)
        if verdict is None and (found := extractor.finish(text, cut=done.finish_reason == "length")) is not None:
            steps = []
            verdict = self._judge(found, steps)
            yield steps
            if not verdict.ok and may_correct:
                return text, verdict.reason
        if verdict is not None and verdict.ok and self._executes:
            began, failed = time.perf_counter(), None
            try:
                rows = self.database.run(verdict)
            except SqlFailed as error:
                if not may_correct or error.retryable:
                    raise
                failed = error.message
                self._note(verdict.sql, verdict.tables, failed)
            finally:
                self.timing["sql"] = self.timing.get("sql", 0) + _ms(began)
            if failed is not None:
                # The guard let it pass and the database did not: the caller sees why it is asked for again.
                yield [Sql(verdict.sql, self.database.schema().dialect, verdict.tables, ok=False, reason=failed)]
                return text, failed
            self.record.rows = len(rows.rows)
            yield [rows]
        yield [Done(done.finish_reason, self.usage, self.timing)]
        return text, None

    @property
    def _executes(self) -> bool:
        # A caller may ask for less than the owner allows, never for more.
        return self.database.settings.execute and self.question.execute is not False

    def _judge(self, statement: str, steps: list[Step]) -> Verdict:
        # So that many statements at once do not add up to a gap in everybody's stream: benchmarks/slow_database.py.
        verdict = in_cpu_slot(lambda: self.database.judge(statement))
        steps.append(Sql(verdict.sql, self.database.schema().dialect, verdict.tables, verdict.ok, verdict.reason))
        self._note(verdict.sql, verdict.tables, verdict.reason)
        return verdict

    def _judge_early(self, partial: str, steps: list[Step]) -> Verdict | None:
        """The verdict on a statement that is not complete, where it cannot become one that may run."""
        schema = self.database.schema()
        reason = in_cpu_slot(lambda: early_reject(partial, schema))
        if reason is None:
            return None
        steps.append(Sql(partial.strip(), schema.dialect, [], ok=False, reason=reason))
        self._note(partial.strip(), [], reason)
        return Verdict(partial, ok=False, reason=reason)

    def _note(self, sql: str, tables: list[str], reason: str | None) -> None:
        self.record.judged(sql, tables, reason, with_text=self.databases.text2sql.log_sql)

    def _count(self, usage: Usage | None) -> None:
        """Add a reply's cost; None as soon as one reply's is not known."""
        if self.replies == 1:
            self.usage = usage
        elif self.usage is None or usage is None:
            self.usage = None
        else:
            self.usage = Usage(
                self.usage.prompt_tokens + usage.prompt_tokens,
                self.usage.completion_tokens + usage.completion_tokens,
                self.usage.total_tokens + usage.total_tokens,
                _sum(self.usage.cached_tokens, usage.cached_tokens),
                _sum(self.usage.reasoning_tokens, usage.reasoning_tokens),
            )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
