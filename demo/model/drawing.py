"""One question drawn from the grammar, with the slots that fill it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random

from demo.model.figures import with_figures
from demo.model.grammar import HERE, Intent, Slot, expand, intents, render_sql, slot_names
from demo.model.noise import noisy
from demo.model.slots import fill

SUBJECTS = ("station", "stations", "lines", "riders", "declines")


@dataclass(frozen=True)
class Drawn:
    """A question with its intent and slots; `bare` is the statement without figures beside names, None to decline."""

    intent: Intent
    slots: dict[str, Slot]
    question: str
    restated: str
    bare: str | None

    @property
    def sql(self) -> str | None:
        return None if self.bare is None else with_figures(self.bare)


@lru_cache(maxsize=1)
def catalogue() -> list[Intent]:
    """Every intent of the question grammar."""
    return [intent for subject in SUBJECTS for intent in intents(HERE / f"{subject}.txt")]


@lru_cache(maxsize=4)
def weighted(decline: bool) -> tuple[list[Intent], list[float]]:
    """The intents to answer or to decline, with their cumulative weights."""
    chosen = [intent for intent in catalogue() if (intent.sql is None) == decline]
    return chosen, list(accumulate(intent.weight for intent in chosen))


def pick(rng: Random, decline: bool = False) -> Intent:
    """An intent, by its weight."""
    chosen, weights = weighted(decline)
    return rng.choices(chosen, cum_weights=weights)[0]


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


def needed(intent: Intent, template: str, language: str) -> list[str]:
    """The slots that a phrasing of the intent needs."""
    return slot_names(" ".join([template, intent.sql or "", intent.restated[language]]))


def stated(intent: Intent, slots: dict[str, Slot], rng: Random, language: str, question: str) -> Drawn:
    """`question` with what it means: the intent's statement over these slots."""
    restated = plain(intent.restated[language], slots, rng)
    return Drawn(intent, slots, question, restated, None if intent.sql is None else render_sql(intent.sql, slots))


def typed(template: str, slots: dict[str, Slot], rng: Random, language: str) -> str:
    """The phrasing as somebody may type it."""
    return noisy(phrase(template.removeprefix("="), slots, rng, marks=True), template.startswith("="), language, rng)


def draw(rng: Random, language: str, intent: Intent, templates: Sequence[str] = ()) -> Drawn:
    """One question of the intent."""
    template = rng.choice(templates or intent.phrasings[language])
    slots = fill(needed(intent, template, language), rng, language)
    return stated(intent, slots, rng, language, typed(template, slots, rng, language))
