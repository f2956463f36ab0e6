"""Draw the training questions and their replies.

    python -m demo.model.generate 1000 > examples.jsonl

An example is a question as somebody may type it, and the reply the model should write: what was understood, and one
SELECT. A question that the database cannot answer gets a reply without SQL. Some come after another question, which
they may need (followups.py) or not.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from random import Random

from demo.model.drawing import Drawn, draw, pick
from demo.model.followups import follow_up
from demo.model.replies import answer, refusal

ENGLISH = 0.4  # share of the questions
DECLINES = 0.13
FOLLOWING = 0.42  # share that needs the question before
AFTER_ANOTHER = 0.08  # share that comes after another and does not need it
# Such a question needs the one before, so it is not one that stands alone.
LEANS = re.compile("呢[？?。!！ ~～]*$|^那|^它|^(?:and|what about|how about)\\b", re.IGNORECASE)


@dataclass(frozen=True)
class Example:
    """A question, the statement that answers it (None: decline), and the reply to learn.

    earlier   the question before and its statement, where there was one
    """

    question: str
    sql: str | None
    reply: str
    language: str
    intent: str
    earlier: tuple[str, str] | None = None


def written(drawn: Drawn, language: str, earlier: Drawn | None = None) -> Example:
    """The example of a drawn question."""
    sql, title = drawn.sql, drawn.intent.title
    reply = refusal(title, drawn.restated, language) if sql is None else answer(drawn.restated, sql, language)
    before = None if earlier is None or earlier.sql is None else (earlier.question, earlier.sql)
    return Example(drawn.question, sql, reply, language, title, before)


def example(rng: Random) -> Example:
    """One example, of any intent, in either language."""
    language = "en" if rng.random() < ENGLISH else "zh"
    kind = rng.random()
    if kind < FOLLOWING:
        first, second = follow_up(rng, language)
        return written(second, language, first)
    drawn = draw(rng, language, pick(rng, decline=rng.random() < DECLINES))
    if kind < FOLLOWING + AFTER_ANOTHER and not LEANS.search(drawn.question) and len(drawn.question) > 5:
        before = "en" if rng.random() < ENGLISH else "zh"
        return written(drawn, language, draw(rng, before if rng.random() < 0.1 else language, pick(rng)))
    return written(drawn, language)


def examples(count: int, seed: int) -> Iterator[Example]:
    """`count` examples, always the same for the same seed."""
    rng = Random(seed)
    for _ in range(count):
        yield example(rng)


def main() -> None:
    for one in examples(int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0):
        print(json.dumps(asdict(one), ensure_ascii=False))


if __name__ == "__main__":
    main()
