"""`sluice eval`: how well each provider answers questions whose answer is known.

Each line of the file is a case:

    {"question": "2号线有几个站", "sql": "SELECT COUNT(*) FROM dtzpt WHERE line = '2号线'"}
    {"question": "你好", "sql": ""}                      no statement is the right answer; null means the same
    {"question": "…", "rows": [[33]], "ordered": false}   rows instead of a statement that gives them
    {"question": "…", "sql": "…", "key": "name"}          only this column's values count, whatever else is shown
    {"question": "…", "sql": "…", "language": "en"}       the prompt's language
    {"question": "…", "sql": "…", "dialects": {"mysql": "…"}}   the statement on a server that needs other words
    {"question": "…", "sql": "…", "also": ["…"]}          further statements, each as right
    {"question": "那3号线呢", "sql": "…", "conversation": "7"}   asked after the cases of its conversation that
                                                         come before it, with the provider's answers to them

Every answer is written down as soon as it is there, so an evaluation that was stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from gateway.answers.history import Turn
from gateway.answers.question import Question
from gateway.answers.steps import Done, Reasoning, Rows, Sql, Text
from gateway.settings import Settings
from gateway.text2sql import flow
from gateway.text2sql.database import Database, Databases
from gateway.text2sql.errors import SqlError
from gateway.tools import evaluation_report
from gateway.tools.doctor import engines, unknown
from gateway.tools.evaluation_report import Result
from gateway.tools.result_equality import contains, is_ordered, same
from providers import Providers
from providers.catalogue import WIRES
from providers.chat import ChatRequest
from providers.errors import ProviderError
from providers.sampling import Sampling

# Whole results are compared, not what a page shows of them.
ROW_LIMIT = 10_000
MAX_TOKENS = 1024
SERVERS = {"sqlite", "postgresql", "mysql"}

Echo = Callable[[str], object]


class BadCases(ValueError):
    """The file cannot be used; the message says in which line and why."""


@dataclass(frozen=True, slots=True)
class Case:
    """
    sql         the statement that answers it, "" where none does
    dialects    sqlite, postgresql or mysql → the statement there, where it is another one
    also        further statements that answer it as well, on a server that `dialects` does not name
    rows        what it gives, in any order unless `ordered`; None: ask the database
    conversation  a name; the cases that share it are asked one after another
    kind, note  words of the author's, for nothing here
    """

    question: str
    sql: str = ""
    rows: list[list[Any]] | None = None
    ordered: bool = False
    key: str | None = None
    language: str | None = None
    dialects: dict[str, str] = field(default_factory=dict)
    also: list[str] = field(default_factory=list)
    conversation: str | int | None = None
    kind: str = ""
    note: str = ""

    def id(self, database: str) -> str:
        """What an answer of the database called that is kept under."""
        identity: list[Any] = [database, self.question, self.sql, self.rows, self.ordered, self.key, self.dialects]
        identity += [self.also, self.conversation] if self.also or self.conversation is not None else []
        return hashlib.sha256(json.dumps(identity, ensure_ascii=False).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case's answer is. rows: None where no statement is right; key: the place of the column that counts."""

    rows: list[list[Any]] | None
    ordered: bool = False
    key: int | None = None


def read_cases(file: Path) -> list[Case]:
    """The cases in a file of JSON lines; raises BadCases."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadCases(f"{file} cannot be read: {error}") from None
    cases = []
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            if "sql" not in raw and raw.get("rows") is None:
                raise ValueError("sql: is required, or rows")
            raw["kind"], raw["sql"] = raw.pop("class", ""), raw.get("sql") or ""
            cases.append(Case(**raw))
            if not isinstance(cases[-1].also, list) or not all(isinstance(sql, str) for sql in cases[-1].also):
                raise ValueError("also: must be a list of statements")
            if set(cases[-1].dialects) - SERVERS:
                raise ValueError(f"dialects: must be {' or '.join(sorted(SERVERS))}")
        except (TypeError, ValueError, AttributeError) as error:
            raise BadCases(f"{file}: line {n}: {error}") from None
    if not cases:
        raise BadCases(f"{file}: must have at least one case, got none")
    return cases


def run(
    settings: Settings,
    file: Path,
    names: Sequence[str],
    out: Path,
    echo: Echo,
    database: str | None = None,
    complain: Echo = partial(click.echo, err=True),
    *,
    as_json: bool = False,
) -> int:
    """Ask every case of every provider in `names` (the default one if empty), and report into the folder `out`.

    Returns 0 when everything was asked, 1 when the database or an expected statement is not good or it was stopped, 2
    for names or a file that cannot be used; `complain` takes the sentence that says why.
    """
    names = list(names) or [settings.default]
    databases = Databases(
        {
            name: known.model_copy(update={"row_limit": max(known.row_limit, ROW_LIMIT), "execute": True})
            for name, known in settings.databases.items()
        },
        settings.text2sql,
    )
    providers = Providers(settings.providers, settings.default)
    try:
        cases = read_cases(file)
        chosen = _known(settings, names, databases, database)
        expected = [_every_expected(case, chosen) for case in cases]
        out.mkdir(parents=True, exist_ok=True)
        with engines(settings, names):
            _warm(providers, [name for name in names if WIRES[settings.providers[name].type].own_process])
            finished = _ask_all(cases, expected, names, out / "results.jsonl", providers, databases, chosen)
        results = list(_written(out / "results.jsonl", {case.id(chosen.name) for case in cases}, {*names}))
        evaluation_report.write(results, names, out)
    except BadCases as error:
        complain(f"sluice: {error}")
        return 2
    except SqlError as error:
        complain(f"sluice: {error.message}")
        return 1
    except OSError as error:
        complain(f"sluice: nothing can be written into {out}: {error.strerror or error}")
        return 1
    finally:
        providers.close()
        databases.close()
    if as_json:
        echo((out / "report.json").read_text("utf-8").rstrip())
    else:
        echo(evaluation_report.table(results, names))
        echo(f"report: {out / 'report.json'}, plot: {out / 'report.svg'}")
    if not finished:
        complain("sluice: stopped; the same command goes on from here")
    return 0 if finished else 1


def _known(settings: Settings, names: Sequence[str], databases: Databases, database: str | None) -> Database:
    """The database to ask; raises BadCases where it, or one of the providers `names`, is not there."""
    for name in names:
        if name not in settings.providers:
            raise BadCases(unknown("provider", name, settings.providers))
        if missing := settings.providers[name].missing_secrets:
            raise BadCases(f"providers.{name}.{missing[0]}: is needed, but not set")
    try:
        chosen = databases.get(database)
    except KeyError:
        raise BadCases(unknown("database", str(database), settings.databases)) from None
    if chosen is None:
        raise BadCases("database: is required, because rows are compared; none is configured")
    return chosen


def _warm(providers: Providers, names: Sequence[str]) -> None:
    """Let our own engines load their models before anything is timed; one that cannot fails at its first question."""
    for name in names:
        with contextlib.suppress(ProviderError):
            for _ in providers.stream(ChatRequest([{"role": "user", "content": "1"}], Sampling(max_tokens=1)), name):
                pass


def _every_expected(case: Case, database: Database) -> list[Expected]:
    """What answers the case: its statement's rows, and those of `also` where the server needs no words of its own."""
    if database.schema().dialect in case.dialects:
        return [_expected(case, database)]
    return [_expected(case, database), *(_expected(replace(case, sql=sql, dialects={}), database) for sql in case.also)]


def _expected(case: Case, database: Database) -> Expected:
    if case.rows is not None:
        return Expected(case.rows, case.ordered)
    if not case.sql:
        return Expected(None)
    sql = case.dialects.get(database.schema().dialect, case.sql)
    verdict = database.judge(sql)
    if not verdict.ok:
        raise BadCases(f"the statement for {case.question!r} does not pass the guard: {verdict.reason}")
    rows = database.run(verdict)
    names = [column["name"] for column in rows.columns]
    if case.key is not None and case.key not in names:
        raise BadCases(f"the statement for {case.question!r} has no column {case.key}")
    key = names.index(case.key) if case.key is not None else None
    return Expected(rows.rows, case.ordered or is_ordered(sql, database.dialect.sqlglot), key)


def _ask_all(
    cases: list[Case],
    expected: list[list[Expected]],
    names: Sequence[str],
    file: Path,
    providers: Providers,
    databases: Databases,
    database: Database,
) -> bool:
    """Ask what has not been asked yet; False when it was stopped from the keyboard."""
    before = {(result.provider, result.key): result for result in _written(file)}
    talks = _conversations(cases, names, before, database.name)
    left = [
        (name, case, known)
        for name in names
        for case, known in zip(cases, expected, strict=True)
        if (name, case.id(database.name)) not in before
    ]
    try:
        with (
            click.progressbar(left, label="asking", file=sys.stderr) as shown,
            file.open("a") as to,
        ):
            if file.stat().st_size and not file.read_bytes().endswith(b"\n"):
                to.write("\n")  # the last answer was cut while it was written
            for name, case, known in shown:
                turns = talks.get((name, case.conversation), [])
                result = ask(case, known, name, providers, databases, database.name, turns)
                if case.conversation is not None:
                    talks.setdefault((name, case.conversation), []).append(Turn(case.question, result.reply or ""))
                to.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
                to.flush()
    except KeyboardInterrupt:
        return False
    return True


def _conversations(
    cases: list[Case], names: Sequence[str], before: dict[tuple[str, str], Result], database: str
) -> dict[tuple[str, str | int | None], list[Turn]]:
    """The turns of each provider's conversations that were asked before the evaluation was stopped."""
    talks: dict[tuple[str, str | int | None], list[Turn]] = {}
    for name in names:
        for case in cases:
            result = before.get((name, case.id(database)))
            if case.conversation is not None and result is not None:
                talks.setdefault((name, case.conversation), []).append(Turn(case.question, result.reply or ""))
    return talks


def ask(
    case: Case,
    expected: list[Expected],
    provider: str,
    providers: Providers,
    databases: Databases,
    database: str,
    turns: Sequence[Turn] = (),
) -> Result:
    """One case asked of one provider after the conversation's `turns`, and judged."""
    question = Question(
        case.question,
        provider=provider,
        database=database,
        history=list(turns),
        language=case.language,
        sampling=Sampling(temperature=0.0, max_tokens=MAX_TOKENS),
    )
    result = Result(provider, case.id(database), case.question, "no_sql")
    began = time.monotonic()
    statement: Sql | None = None
    received: Rows | None = None
    said: list[str] = []
    try:
        for batch in flow.answer(question, providers, databases):
            for step in batch:
                if isinstance(step, Text | Reasoning) and result.first_token_s is None:
                    result.first_token_s = round(time.monotonic() - began, 3)
                if isinstance(step, Text):
                    said.append(step.text)
                elif isinstance(step, Sql):
                    statement = step
                elif isinstance(step, Rows):
                    received = step
                elif isinstance(step, Done) and step.usage:
                    result.prompt_tokens = step.usage.prompt_tokens
                    result.completion_tokens = step.usage.completion_tokens
    except (ProviderError, SqlError) as error:
        result.verdict, result.reason = "failed", f"{error.code}: {error.message}"
    result.total_s = round(time.monotonic() - began, 3)
    result.valid = received is not None
    if statement is not None:
        result.sql, result.reason = statement.sql, result.reason or statement.reason
    if result.verdict != "failed":
        verdicts = [_verdict(statement, received, one, case.key) for one in expected]
        result.verdict = next((best for best in ("right", "more") if best in verdicts), verdicts[0])
    if case.conversation is not None:
        result.reply = "".join(said)
    return result


def _verdict(statement: Sql | None, received: Rows | None, expected: Expected, key: str | None) -> str:
    if expected.rows is None:
        return "right" if statement is None else "unneeded"
    if statement is None:
        return "no_sql"
    if received is None:
        return "refused"
    rows, wanted = received.rows, expected.rows
    if expected.key is not None:
        names = [column["name"] for column in received.columns]
        if key not in names:
            return "wrong"
        place = names.index(key)
        rows, wanted = [[row[place]] for row in rows], [[row[expected.key]] for row in wanted]
    if same(wanted, rows, expected.ordered):
        return "right"
    return "more" if contains(wanted, rows, expected.ordered) else "wrong"


def _written(file: Path, keys: set[str] | None = None, names: set[str] | None = None) -> Iterator[Result]:
    """The results in `file`, the last one for each provider and case; of these cases and providers alone, if given."""
    results: dict[tuple[str, str], Result] = {}
    for line in file.read_text("utf-8").splitlines() if file.exists() else []:
        try:
            result = Result(**json.loads(line))
        except (TypeError, ValueError):
            continue  # cut while it was written: it is asked again
        if (keys is None or result.key in keys) and (names is None or result.provider in names):
            results[result.provider, result.key] = result
    yield from results.values()
