"""Execution accuracy of the demo model.

    python -m demo.model.evaluate QUESTIONS.jsonl [MORE.jsonl …] [--model models/metro-sql] [--at-least 0.9]

A line of a file is {"question", "sql", "language"} and may have "class", "key", "conversation" and "also"; `sql` null
means that the model should decline. Lines with the same "conversation" are asked one after another: each sees the
questions before it and the model's own replies to them. The first one counts as a single question, the others as
follow-ups. "also" is a list of further gold statements, each as right as `sql`. The model runs as it does in use:
float32, one thread, greedy; what does not wait for an answer before it is asked together. How a reply is judged:

- Where `sql` is null, the reply must have no SQL at all.
- Otherwise the reply must hold one ```sql block, and its result must equal the gold statement's result: the same set of
  rows, in columns of any order and any names. Repeated rows count once. The order of rows counts only where the gold
  statement ends in its own ORDER BY. Numbers that are not whole may differ by 1/10000.
- Where `key` names a column ("information about a station"), what else is shown is a matter of taste: only that
  column's values must be the same.

Three figures: `exact` wants the gold's columns and no other. `strict` lets further columns stand beside them: a figure
beside the name that was asked for. `lenient` is strict, and also forgives figures that are missing beside right names:
the gold's columns of text and dates must be there.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.metro.build import build

FENCE = re.compile(r"```sql\n(.*?)\n```", re.DOTALL)
Row = tuple[object, ...]
# Questions that are asked together.
TOGETHER = 32


@dataclass
class Verdict:
    """How one question went."""

    question: dict
    reply: str
    exact: bool
    strict: bool
    lenient: bool
    is_follow_up: bool = False


class Model:
    """The model as the engine runs it: greedy, float32, one thread."""

    def __init__(self, folder: str | Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.torch = torch
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def reply(self, question: str, history: Sequence[tuple[str, str]] = ()) -> str:
        """The whole reply to one question; `history` has the questions before it and their replies."""
        return self.replies([(question, history)])[0]

    def replies(self, asked: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> list[str]:
        """The replies to several questions, each after its own history, made together."""
        prompts = [self.prompt(question, history) for question, history in asked]
        # Prompts of like length stand together: there is less to pad.
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        replies = [""] * len(prompts)
        for begin in range(0, len(order), TOGETHER):
            chosen = order[begin : begin + TOGETHER]
            batch = self.tokenizer(
                [prompts[index] for index in chosen], return_tensors="pt", padding=True, return_token_type_ids=False
            )
            with self.torch.inference_mode():
                tokens = self.model.generate(**batch, max_new_tokens=320)
            texts = self.tokenizer.batch_decode(tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            for index, text in zip(chosen, texts, strict=True):
                replies[index] = text
        return replies

    def prompt(self, question: str, history: Sequence[tuple[str, str]]) -> str:
        turns = [(("user", asked), ("assistant", replied)) for asked, replied in history]
        messages = [{"role": role, "content": text} for turn in turns for role, text in turn]
        messages.append({"role": "user", "content": question})
        return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


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


def names_of(gold: list[Row]) -> list[Row]:
    """The rows without their columns of numbers; all columns where there is none of text."""
    columns = [index for index, value in enumerate(gold[0]) if isinstance(value, str)] if gold else []
    return [tuple(row[index] for index in columns) for row in gold] if columns else gold


def is_ordered(sql: str) -> bool:
    """Whether the statement itself, not a part of it in brackets, has an ORDER BY."""
    outside, before = sql, ""
    while outside != before:
        outside, before = re.sub(r"\([^()]*\)", "", outside), outside
    return "ORDER BY" in outside.upper()


def judge(database: sqlite3.Connection, question: dict, reply: str, is_follow_up: bool = False) -> Verdict:
    """One reply against its gold statements, by the rules in the module's docstring."""
    sql = statement(reply)
    if question["sql"] is None:
        declined = "```" not in reply
        return Verdict(question, reply, declined, declined, declined, is_follow_up)
    wrong = Verdict(question, reply, False, False, False, is_follow_up)
    if sql is None:
        return wrong
    try:
        names, rows = result(database, sql)
    except sqlite3.Error:
        return wrong
    verdicts = [against(database, question, gold, names, rows) for gold in [question["sql"], *question.get("also", [])]]
    return Verdict(question, reply, *(any(figure) for figure in zip(*verdicts, strict=True)), is_follow_up)


def against(
    database: sqlite3.Connection, question: dict, gold_sql: str, names: list[str], rows: list[Row]
) -> tuple[bool, bool, bool]:
    """Exact, strict and lenient, for one gold statement."""
    gold_names, gold = result(database, gold_sql)
    if key := question.get("key"):
        if key not in names:
            return False, False, False
        chosen, wanted = names.index(key), gold_names.index(key)
        right = {row[chosen] for row in rows} == {row[wanted] for row in gold}
        return right, right, right
    ordered = is_ordered(gold_sql)
    exact = agree(gold, rows, ordered)
    strict = exact or agree(gold, rows, ordered, more=True)
    return exact, strict, strict or agree(names_of(gold), rows, ordered, more=True)


def groups(verdicts: list[Verdict]) -> Iterator[tuple[str, list[Verdict]]]:
    """What is reported: all, by kind, by kind and language, by class."""
    found: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        question = verdict.question
        kind = "declines" if question["sql"] is None else "follow-ups" if verdict.is_follow_up else "singles"
        found["overall"].append(verdict)
        found[kind].append(verdict)
        found[f"{kind} {question['language']}"].append(verdict)
        found[f"language {question['language']}"].append(verdict)
        found[f"class {question.get('class', 'none')}"].append(verdict)
    yield from sorted(found.items(), key=lambda item: (item[0] != "overall", item[0].startswith("class"), item[0]))


def report(verdicts: list[Verdict]) -> str:
    """Accuracy overall, by kind, language and class, then what is not strictly right."""
    lines = ["group                  strict      lenient     exact"]
    for name, group in groups(verdicts):
        figures = (sum(getattr(verdict, kind) for verdict in group) for kind in ("strict", "lenient", "exact"))
        shown = "  ".join(f"{right:3} {right / len(group):6.1%}" for right in figures)
        lines.append(f"{name:18} {len(group):4} {shown}")
    for verdict in verdicts:
        if not verdict.strict:
            got = statement(verdict.reply) or verdict.reply
            mark = "~" if verdict.lenient else "✗"
            lines += ["", f"{mark} {verdict.question['question']}"]
            lines += [f"  gold {verdict.question['sql']}", f"  got  {got}"]
    return "\n".join(lines)


def asked(model: Model, database: sqlite3.Connection, questions: Sequence[dict]) -> Iterator[Verdict]:
    """Every question put to the model and judged; those of one conversation in their order, one after another."""
    histories: dict[object, list[tuple[str, str]]] = defaultdict(list)
    replies: dict[int, str] = {}
    rounds: dict[int, list[int]] = defaultdict(list)
    places: dict[object, int] = defaultdict(int)
    for index, question in enumerate(questions):
        conversation = question.get("conversation", f"alone {index}")
        rounds[places[conversation]].append(index)
        places[conversation] += 1
    for number in sorted(rounds):
        chosen = rounds[number]
        names = [questions[index].get("conversation", f"alone {index}") for index in chosen]
        found = model.replies(
            [(questions[index]["question"], histories[name]) for index, name in zip(chosen, names, strict=True)]
        )
        for index, name, reply in zip(chosen, names, found, strict=True):
            replies[index] = reply
            histories[name].append((questions[index]["question"], reply))
    later = {index for number, chosen in rounds.items() if number for index in chosen}
    for index, question in enumerate(questions):
        yield judge(database, question, replies[index], is_follow_up=index in later)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Execution accuracy of the demo model.")
    parser.add_argument("questions", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, default=Path("models/metro-sql"))
    parser.add_argument("--at-least", type=float, default=0.0, help="exit with 1 below this share strictly right")
    options = parser.parse_args()
    model = Model(options.model)
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as folder:
        build(path := Path(folder) / "metro.db")
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        for file in options.questions:
            verdicts += asked(model, database, read(file))
        database.close()
    print(report(verdicts))
    if sum(verdict.strict for verdict in verdicts) < options.at_least * len(verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
