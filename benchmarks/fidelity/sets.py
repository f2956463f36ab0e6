"""The public sets of statements: fetched by name, commit and digest; nothing of them is kept in this repository.

Each set is read from a clone of its repository at one commit; the digest is that of the files that are read, in order.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import sqlglot
from sqlglot import exp


@dataclass(frozen=True)
class Column:
    """kind: integer, number, date or text."""

    name: str
    kind: str


@dataclass
class Schema:
    """Tables to create and to fill with made-up rows; or `script`, which creates and fills them itself."""

    name: str
    tables: dict[str, list[Column]] = field(default_factory=dict)
    script: str = ""


@dataclass
class Set:
    """schemas: by name; statements: (name of the schema, statement)."""

    name: str
    servers: tuple[str, ...]
    schemas: dict[str, Schema]
    statements: list[tuple[str, str]]


class Repository:
    """A public repository at one commit, cloned into `folder`."""

    def __init__(self, folder: Path, name: str, commit: str) -> None:
        self.name, self.commit = name, commit
        self._path = folder / name.replace("/", "+")
        if not self._path.exists():
            self._path.mkdir(parents=True)
            self._git("init", "-q", "--bare")
            self._git("fetch", "-q", "--depth", "1", f"https://github.com/{name}", commit)
        self._digest = hashlib.sha256()

    def _git(self, *arguments: str) -> bytes:
        return subprocess.run(["git", "-C", str(self._path), *arguments], capture_output=True, check=True).stdout

    def text(self, path: str) -> str:
        content = self._git("show", f"{self.commit}:{path}")
        self._digest.update(content)
        return content.decode("utf-8", "replace")

    def names(self, pattern: str) -> list[str]:
        listed = self._git("ls-tree", "-r", "--name-only", self.commit).decode().splitlines()
        return sorted(name for name in listed if re.fullmatch(pattern, name))

    def check(self, digest: str) -> None:
        if self._digest.hexdigest()[:16] != digest:
            raise SystemExit(f"{self.name}: the files' digest must be {digest}, got {self._digest.hexdigest()[:16]}")


def _kind(declared: str) -> str:
    for word, kind in (("int", "integer"), ("serial", "integer"), ("date", "date"), ("timestamp", "date")):
        if word in declared:
            return kind
    return "number" if re.search("dec|num|real|float|double", declared) else "text"


def _tables(ddl: str) -> dict[str, list[Column]]:
    found = {}
    for tree in sqlglot.parse(ddl, read="postgres", error_level=sqlglot.ErrorLevel.IGNORE):
        if isinstance(tree, exp.Create) and isinstance(tree.this, exp.Schema):
            columns = [node for node in tree.this.expressions if isinstance(node, exp.ColumnDef)]
            found[tree.this.this.name] = [Column(node.name, _kind(str(node.args["kind"]).lower())) for node in columns]
    return found


def join_order(folder: Path) -> Set:
    repository = Repository(folder, "gregrahn/join-order-benchmark", "a39603662e023e449cb2121997a5034df9e02ebf")
    schema = Schema("imdb", _tables(repository.text("schema.sql")))
    statements = [("imdb", repository.text(name)) for name in repository.names(r"\d+[a-z]\.sql")]
    repository.check("b7d9481caf175f22")
    return Set("Join-Order Benchmark", ("sqlite", "postgresql", "mysql"), {"imdb": schema}, statements)


def tpc_ds(folder: Path) -> Set:
    name = "cwida/tpcds-result-reproduction"
    repository = Repository(folder, name, "61ba82e7f6868760dcfbfa4347fe06cfd67a798f")
    schema = Schema("tpcds", _tables(repository.text("tools/tpcds.sql")))
    texts = [repository.text(name) for name in repository.names(r"query_qualification/\d+[a-z]?\.sql")]
    repository.check("5abf573738ac2951")
    statements = [("tpcds", one) for text in texts for one in text.split(";") if one.strip()]
    return Set("TPC-DS", ("sqlite", "postgresql", "mysql"), {"tpcds": schema}, statements)


def spider(folder: Path) -> Set:
    repository = Repository(folder, "taoyds/spider", "b7b5b8c890cd30e35427348bb9eb8c6d1350ca7c")
    described = json.loads(repository.text("evaluation_examples/examples/tables.json"))
    asked = json.loads(repository.text("evaluation_examples/examples/dev.json"))
    repository.check("d736ba9ac9d24fc5")
    wanted = {entry["db_id"] for entry in asked}
    schemas = {}
    for one in described:
        if one["db_id"] not in wanted:
            continue
        tables: dict[str, list[Column]] = {name: [] for name in one["table_names_original"]}
        for (table, column), kind in zip(one["column_names_original"], one["column_types"], strict=True):
            if table >= 0:
                name = one["table_names_original"][table]
                tables[name].append(Column(column, {"number": "integer"}.get(kind, "text")))
        tables.pop("sqlite_sequence", None)  # SQLite's own
        schemas[one["db_id"]] = Schema(one["db_id"], tables)
    return Set("Spider dev", ("sqlite",), schemas, [(entry["db_id"], entry["query"]) for entry in asked])


def sql_eval(folder: Path) -> Set:
    questions = Repository(folder, "defog-ai/sql-eval", "b83332416ea2d424b0cd12994a0a9ba100f4b4af")
    data = Repository(folder, "defog-ai/defog-data", "856295d8f0aa8a0b0fb71b9623e86f363469797a")
    statements = []
    for name in ("questions_gen_postgres", "instruct_advanced_postgres", "instruct_basic_postgres"):
        for row in csv.DictReader(io.StringIO(questions.text(f"data/{name}.csv"))):
            for statement in re.split(r";\s*(?=SELECT|WITH|$)", row["query"], flags=re.IGNORECASE):
                # {a, b} stands for any of these columns, and {} for the grouping that goes with them.
                columns = ", ".join(re.findall(r"\{([^{}]+)\}", statement))
                written = re.sub(r"\{([^{}]*)\}", lambda found, all_of=columns: found[1] or all_of, statement)
                if written.strip():
                    statements.append((row["db_name"], written))
    names = sorted({name for name, _ in statements})
    schemas = {name: Schema(name, script=data.text(f"defog_data/{name}/{name}.sql")) for name in names}
    questions.check("b7bac3fd6ce84616")
    data.check("ee3c0cc84f1d65f1")
    return Set("sql-eval", ("postgresql",), schemas, statements)


SETS: dict[str, Callable[[Path], Set]] = {
    "job": join_order, "tpc-ds": tpc_ds, "spider": spider, "sql-eval": sql_eval,
}  # fmt: skip
