"""An engine without its process: asks in, whole replies out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from providers.local.engine.assembly import build
from providers.local.engine.folder import open_folder
from providers.local.engine.loop import Loop
from providers.local.engine.sequence import Sequence
from providers.local.options import Options
from providers.local.wire import Ask, Failed


@dataclass
class Answer:
    tokens: list[int]
    text: str = ""
    pieces: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    cached: int = 0
    failed: Failed | None = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)


def a_loop(folder: Path, budget: int | None = None, **options) -> Loop:
    """An engine for `folder`; `budget` is the tokens of a step."""
    loop, _ = build(
        open_folder(str(folder)), Options(str(folder), threads=1, **({"kv_cache_mb": 8} | options)), lambda: None
    )
    if budget:
        loop.scheduler.budget = budget
    return loop


def asking(text: str, **told) -> Ask:
    return Ask(0, 0, [{"role": "user", "content": text}], **{"temperature": 0.0, "max_tokens": 24} | told)


def run(
    loop: Loop, asks: list[Ask], late: dict[int, int] | None = None, cancel: dict[int, int] | None = None
) -> list[Answer]:
    """Answer all asks together; `late` and `cancel` say before which step an ask comes and goes."""
    answers = [Answer([]) for _ in asks]
    sequences: dict[int, Sequence] = {}
    step, left = 0, set(range(len(asks)))
    while left or loop.busy:
        for i in [i for i in left if (late or {}).get(i, 0) <= step]:
            left.remove(i)
            asks[i].id = i
            answers[i].failed = loop.ask(("test", i), asks[i])
            if not answers[i].failed:
                sequences[i] = loop._sequences["test", i]
        for i in [i for i, at in (cancel or {}).items() if at == step]:
            loop.cancel(("test", i))
        for (_, i), told in loop.step():
            answer = answers[i]
            if isinstance(told, Failed):
                answer.failed = told
                continue
            answer.pieces.append(told.text)
            answer.logprobs += told.logprobs or []
            answer.finish_reason, answer.cached = told.finish_reason, told.cached_tokens
        step += 1
    for i, sequence in sequences.items():
        answers[i].tokens = sequence.tokens
        answers[i].text = "".join(answers[i].pieces)
    return answers
