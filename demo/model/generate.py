"""Draw the training questions and their replies.

    python -m demo.model.generate 1000 > examples.jsonl

An example is a question as somebody may type it, and the reply the model should write: what was understood, where the
answer lies, and one SELECT. A question that the database cannot answer gets a reply without SQL.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random

from demo.model.grammar import HERE, Intent, Slot, expand, intents, render_sql, slot_names
from demo.model.noise import noisy
from demo.model.replies import answer, refusal
from demo.model.slots import fill

SUBJECTS = ("station", "stations", "lines", "riders", "declines")
ENGLISH = 0.4  # share of the questions
DECLINES = 0.11


@dataclass(frozen=True)
class Example:
    """A question, the statement that answers it (None: decline), and the reply to learn."""

    question: str
    sql: str | None
    reply: str
    language: str
    intent: str


@lru_cache(maxsize=1)
def catalogue() -> list[Intent]:
    """Every intent of the question grammar."""
    return [intent for subject in SUBJECTS for intent in intents(HERE / f"{subject}.txt")]


@lru_cache(maxsize=4)
def weighted(decline: bool) -> tuple[list[Intent], list[float]]:
    """The intents to answer or to decline, with their cumulative weights."""
    chosen = [intent for intent in catalogue() if (intent.sql is None) == decline]
    return chosen, list(accumulate(intent.weight for intent in chosen))


def phrase(template: str, slots: dict[str, Slot], rng: Random, marks: bool) -> str:
    """The template with its slots as typed; `marks` puts U+0001 and U+0002 around what must keep its letters."""
    said: set[str] = set()

    def text(name: str) -> str:
        if name.startswith("~"):
            return "" if name[1:] in said else f" {text(name[1:])}"
        name, _, form = name.partition(".")
        said.add(name)
        slot = slots[name]
        if form:
            return expand(slot.forms[form], rng)
        return f"\x01{slot.text}\x02" if marks and slot.sql else slot.text

    return re.sub(r" {2,}", " ", expand(template, rng, text)).strip(" ,，")


def plain(template: str, slots: dict[str, Slot], rng: Random) -> str:
    """The question restated, its slots by their plain names."""
    text = expand(template, rng, lambda name: slots[name].name)
    text = re.sub(r"(\d{4}-\d\d-\d\d)(?=[^ -])", r"\1 ", text)
    return re.sub(r" {2,}", " ", text).strip()


def example(rng: Random) -> Example:
    """One example, of any intent, in either language."""
    language = "en" if rng.random() < ENGLISH else "zh"
    chosen, weights = weighted(rng.random() < DECLINES)
    intent = rng.choices(chosen, cum_weights=weights)[0]
    template = rng.choice(intent.phrasings[language])
    needed = slot_names(" ".join([template, intent.sql or "", intent.restated[language]]))
    slots = fill(needed, rng, language)
    question = noisy(
        phrase(template.removeprefix("="), slots, rng, marks=True), template.startswith("="), language, rng
    )
    restated = plain(intent.restated[language], slots, rng)
    if intent.sql is None:
        return Example(question, None, refusal(intent.title, restated, language), language, intent.title)
    sql = render_sql(intent.sql, slots)
    return Example(question, sql, answer(restated, sql, language), language, intent.title)


def examples(count: int, seed: int) -> Iterator[Example]:
    """`count` examples, always the same for the same seed."""
    rng = Random(seed)
    for _ in range(count):
        yield example(rng)


def main() -> None:
    for one in examples(int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0):
        print(json.dumps(one.__dict__, ensure_ascii=False))


if __name__ == "__main__":
    main()
