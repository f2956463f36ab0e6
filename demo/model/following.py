"""What every maker of a next question uses: its words as typed, and a change of the first question's statement."""

import re
from functools import lru_cache
from random import Random

from demo.model.drawing import Drawn, catalogue, phrase, typed
from demo.model.grammar import Intent, Slot

# In the middle of a conversation people are short: most of these words come without greetings and slips.
PLAIN = 0.65
ENDS = {"zh": ["", "", "", "？", "？", "?", "。"], "en": ["", "", "?", "?", "."]}


@lru_cache(maxsize=1)
def titled() -> dict[str, Intent]:
    """The intents by title, the first of each."""
    found: dict[str, Intent] = {}
    for intent in catalogue():
        found.setdefault(intent.title, intent)
    return found


def said(template: str, text: str, rng: Random, language: str) -> str:
    """A short question around `text`, as typed."""
    text = (
        text
        if language == "zh"
        else re.sub(r"^(?:on|in|for|during|over) (?=[A-Z0-9])", "", text)
        if rng.random() < 0.5
        else text
    )
    slots = {"X": Slot(text, text, {"v": ""})}
    if rng.random() < PLAIN:
        return phrase(template, slots, rng, marks=False) + rng.choice(ENDS[language])
    return typed(template, slots, rng, language)


def derived(first: Drawn, question: str, bare: str, zh: str, en: str, language: str) -> Drawn:
    """The next question, whose statement is a change of the first one's; zh and en tell the change."""
    restated = f"同上，{zh}" if language == "zh" else f"the same, {en}"
    return Drawn(Intent(first.intent.title, restated=first.intent.restated), {}, question, restated, bare)
