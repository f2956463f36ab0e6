"""A question about a database: prompt, reply, statement, judgement, rows, and at times a correction.

The reply passes through as it comes. A statement that can no longer become one that may run stops it while a correction
is left, and the model is asked again with the reason. At the reply's end all its statements are judged, and the last
one is run: what stands before it is a draft.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.answers.chat import answer as reply_steps
from gateway.answers.question import Question
from gateway.answers.record import Record
from gateway.answers.steps import Correcting, Done, Sql, Step, Text
from gateway.text2sql import extract, prompting
from gateway.text2sql.configured import Configured
from gateway.text2sql.cpu_slot import in_cpu_slot
from gateway.text2sql.database import Database
from gateway.text2sql.errors import SqlFailed
from gateway.text2sql.extract import OpenStatement
from gateway.text2sql.guard.early_reject import early_reject
from gateway.text2sql.guard.judge import Verdict
from gateway.text2sql.statement_text import cleaned
from prompts import render
from providers import Providers
from providers.chat import Message
from providers.delta import Usage

# How much more of a statement has to come before it is looked at again: at least so much, and a share of what has come,
# for each look reads all of it.
EARLY_CHARACTERS = 48
EARLY_SHARE = 8
# A reply that ended so was cut short: a block that is still open is no statement.
CUT = ("length", "content_filter")
# So many statements of a reply are judged, the last ones.
MOST_STATEMENTS = 20

log = logging.getLogger("sluice.sql")


@dataclass(slots=True)
class _Reply:
    """One reply of the model, as it streams."""

    question: Question
    providers: Providers
    is_first: bool = True
    dialect: str = ""

    def follow(
        self, messages: list[Message], constrain: dict[str, list[str]] | None = None
    ) -> Generator[list[Step], Any, None]:
        request = self.question.request(messages)
        if constrain:
            request.constrain_schema = constrain
            request.constrain_dialect = self.dialect
        yield from reply_steps(request, self.providers, self.question.provider, first=self.is_first)


@dataclass(slots=True)
class Asking:
    question: Question
    providers: Providers
    databases: Configured
    database: Database
    record: Record
    usage: Usage | None = None
    replies: int = 0
    language: str = "zh"
    timing: dict[str, float] = field(default_factory=dict)

    def steps(self) -> Iterator[list[Step]]:
        began = time.perf_counter()
        if self._executes:
            # A database whose role may do too much is not asked; better said before a model was.
            self.database.check_role()
        schema = self.database.schema()
        self.language = self.question.language or self.databases.text2sql.language
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
                {"role": "user", "content": render.correction(reason, self.language)},
            ]

    def _one_reply(
        self, messages: list[Message], constrain: dict[str, list[str]], may_correct: bool
    ) -> Generator[list[Step], None, tuple[str, str | None]]:
        """One reply's steps; returns its text and, where the model is to be asked again, why."""
        open_statement, parts, early, done = OpenStatement(), [], None, None
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
                        parts.append(step.text)
                        open_statement.feed(step.text)
                        length = len(open_statement.partial)
                        if may_correct and length >= look_at:
                            look_at = length + max(EARLY_CHARACTERS, length // EARLY_SHARE)
                            early = self._judge_early(open_statement.partial, "".join(parts), steps)
                if steps:
                    yield steps
                if early is not None:
                    return "".join(parts), early
        finally:
            following.close()
        assert done is not None, "a reply's last step is Done"
        self._count(done.usage)
        return (yield from self._end_of_reply("".join(parts), done, may_correct))

    def _end_of_reply(
        self, text: str, done: Done, may_correct: bool
    ) -> Generator[list[Step], None, tuple[str, str | None]]:
        """Judge the reply's statements, run the last one; as _one_reply returns."""
        cut = done.finish_reason in CUT or done.finish_reason_raw is not None
        statements = extract.statements(text, self.database.schema().by_name, cut=cut)[-MOST_STATEMENTS:]
        verdict: Verdict | None = None
        for n, statement in enumerate(statements, 1):
            verdict = self.database.judge(statement)
            corrected = not verdict.ok and may_correct
            yield [self._judged(verdict, final=n == len(statements) and not corrected)]
        if verdict is None:
            looks_like_sql = extract.looks_like_sql(text) and not cut
            if looks_like_sql and may_correct:
                return text, render.no_statement(self.language)
            sql_found = False if looks_like_sql else None
            yield [Done(done.finish_reason, self.usage, self.timing, sql_found, done.finish_reason_raw)]
            return text, None
        if not verdict.ok and may_correct:
            return text, verdict.reason
        if verdict.ok and self._executes:
            failed = yield from self._rows_of(verdict, may_correct)
            if failed is not None:
                return text, failed
        yield [Done(done.finish_reason, self.usage, self.timing, finish_reason_raw=done.finish_reason_raw)]
        return text, None

    def _rows_of(self, verdict: Verdict, may_correct: bool) -> Generator[list[Step], None, str | None]:
        """Run a statement that passed; returns the database's words where the model is to be asked again."""
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
            return failed
        self.record.rows = len(rows.rows)
        yield [rows]
        return None

    @property
    def _executes(self) -> bool:
        # A caller may ask for less than the owner allows, never for more.
        return self.database.settings.execute and self.question.execute is not False

    def _judged(self, verdict: Verdict, final: bool) -> Sql:
        self._note(verdict.sql, verdict.tables, verdict.reason)
        return Sql(verdict.sql, self.database.schema().dialect, verdict.tables, verdict.ok, verdict.reason, final)

    def _judge_early(self, partial: str, text: str, steps: list[Step]) -> str | None:
        """Why a statement that is not complete cannot become one that may run; None where it can."""
        schema = self.database.schema()
        if not extract.without_thoughts(text[-extract.SEARCHED :]).endswith(partial[-EARLY_CHARACTERS:]):
            return None  # it stands in a thought
        reason = in_cpu_slot(lambda: early_reject(cleaned(partial), schema))
        if reason is not None:
            steps.append(Sql(partial.strip(), schema.dialect, [], ok=False, reason=reason))
            self._note(partial.strip(), [], reason)
        return reason

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
