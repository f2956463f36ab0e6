"""Execution accuracy of the demo model.

    python -m demo.model.evaluate QUESTIONS.jsonl [--model models/metro-sql] [--at-least 0.9]

A line of the file is {"question", "sql", "language"} and may have "class" and "key"; `sql` null means that the model
should decline. The model runs as it does in use: float32, one thread, greedy. How a reply is judged:

- Where `sql` is null, the reply must have no SQL at all.
- Otherwise the reply must hold one ```sql block, and its result must equal the gold statement's result: the same
  number of columns, in any order and under any names, and the same set of rows. Repeated rows count once. The order of
  rows counts only where the gold statement ends in its own ORDER BY. Numbers that are not whole may differ by 1/10000.
- Where `key` names a column ("information about a station"), what else is shown is a matter of taste: only that
  column's values must be the same.

Beside this strict figure the report gives a second one that also forgives columns shown in addition to the gold ones.
"""

import argparse
import itertools
import json
import math
import re
import sqlite3
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.metro.build import build

FENCE = re.compile(r"```sql\n(.*?)\n```", re.DOTALL)
Row = tuple[object, ...]


@dataclass
class Verdict:
    """How one question went."""

    question: dict
    reply: str
    right: bool
    right_with_more_columns: bool


class Model:
    """The model as the engine runs it: greedy, float32, one thread."""

    def __init__(self, folder: str | Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.torch = torch
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def reply(self, question: str) -> str:
        """The whole reply to one question."""
        messages = [{"role": "user", "content": question}]
        prompt = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with self.torch.inference_mode():
            tokens = self.model.generate(**prompt, max_new_tokens=320)
        return self.tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


def statement(reply: str) -> str | None:
    """The reply's SQL: its one fenced block, or None."""
    blocks = FENCE.findall(reply)
    return blocks[0] if len(blocks) == 1 else None


def result(database: sqlite3.Connection, sql: str) -> tuple[list[str], list[Row]]:
    """Column names and rows; raises sqlite3.Error."""
    cursor = database.execute(sql)
    return [column[0] for column in cursor.description or []], cursor.fetchall()


def same_value(one: object, other: object) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and math.isclose(one, other, rel_tol=1e-4)  # type: ignore[arg-type]
    return one == other


def same_rows(gold: list[Row], rows: list[Row], ordered: bool) -> bool:
    """Whether the rows agree, as lists or as sets."""
    if not ordered:
        gold, rows = list(dict.fromkeys(gold)), list(dict.fromkeys(rows))
    if len(gold) != len(rows):
        return False
    if not ordered:
        gold, rows = sorted(gold, key=sort_key), sorted(rows, key=sort_key)
    return all(all(map(same_value, one, other)) for one, other in zip(gold, rows, strict=True))


def sort_key(row: Row) -> list[tuple[str, float]]:
    return [("", round(value)) if isinstance(value, int | float) else (str(value), 0.0) for value in row]


def agree(gold: list[Row], rows: list[Row], ordered: bool, more: bool = False) -> bool:
    """Whether some choice and order of the columns makes the rows equal; with `more`, columns may be left over."""
    if not gold or not rows:
        return gold == rows
    wide, narrow = len(rows[0]), len(gold[0])
    if wide < narrow or (wide > narrow and not more):
        return False
    for chosen in itertools.permutations(range(wide), narrow):
        if same_rows(gold, [tuple(row[column] for column in chosen) for row in rows], ordered):
            return True
    return False


def is_ordered(sql: str) -> bool:
    """Whether the statement itself, not a part of it in brackets, has an ORDER BY."""
    outside, before = sql, ""
    while outside != before:
        outside, before = re.sub(r"\([^()]*\)", "", outside), outside
    return "ORDER BY" in outside.upper()


def judge(database: sqlite3.Connection, question: dict, reply: str) -> Verdict:
    """One reply against its gold statement, by the rules in the module's docstring."""
    sql = statement(reply)
    if question["sql"] is None:
        right = "```" not in reply
        return Verdict(question, reply, right, right)
    if sql is None:
        return Verdict(question, reply, False, False)
    try:
        names, rows = result(database, sql)
    except sqlite3.Error:
        return Verdict(question, reply, False, False)
    gold_names, gold = result(database, question["sql"])
    if key := question.get("key"):
        if key not in names:
            return Verdict(question, reply, False, False)
        chosen, wanted = names.index(key), gold_names.index(key)
        right = {row[chosen] for row in rows} == {row[wanted] for row in gold}
        return Verdict(question, reply, right, right)
    ordered = is_ordered(question["sql"])
    right = agree(gold, rows, ordered)
    return Verdict(question, reply, right, right or agree(gold, rows, ordered, more=True))


def report(verdicts: list[Verdict]) -> str:
    """Accuracy overall, by language and by class, then what failed."""
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups["overall"].append(verdict)
        groups[f"language {verdict.question['language']}"].append(verdict)
        groups[f"class {verdict.question.get('class', 'none')}"].append(verdict)
    lines = ["group                right  of    strict  with more columns"]
    for name, group in sorted(
        groups.items(), key=lambda item: (item[0] != "overall", item[0].split()[0] == "class", item[0])
    ):
        right = sum(verdict.right for verdict in group)
        more = sum(verdict.right_with_more_columns for verdict in group)
        lines.append(f"{name:20} {right:5} {len(group):4} {right / len(group):8.1%} {more / len(group):8.1%}")
    for verdict in verdicts:
        if not verdict.right:
            got = statement(verdict.reply) or verdict.reply
            lines += ["", f"✗ {verdict.question['question']}", f"  gold {verdict.question['sql']}", f"  got  {got}"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Execution accuracy of the demo model.")
    parser.add_argument("questions", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/metro-sql"))
    parser.add_argument("--at-least", type=float, default=0.0, help="exit with 1 below this share of right answers")
    options = parser.parse_args()
    questions = [
        json.loads(line) for line in options.questions.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    model = Model(options.model)
    with tempfile.TemporaryDirectory() as folder:
        build(path := Path(folder) / "metro.db")
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        verdicts = [judge(database, question, model.reply(question["question"])) for question in questions]
        database.close()
    print(report(verdicts))
    if sum(verdict.right for verdict in verdicts) < options.at_least * len(verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
