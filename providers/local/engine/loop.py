"""The engine's loop, without its sockets: asks come in, every step's pieces go out.

Failures stay with whom they concern. A request that cannot begin fails by itself; a sequence whose logits are no
numbers fails by itself, and its blocks are wiped; a step without memory fails its youngest sequence; a step that
raises is run sequence by sequence, and those that raise again fail.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from providers.errors import ProviderError
from providers.local.engine.drafts import Drafting
from providers.local.engine.replies import Reply
from providers.local.engine.scheduler import QueueFull, Scheduler
from providers.local.engine.sequence import Chunk, Key, Sequence
from providers.local.wire import Ask, Failed, Piece

log = logging.getLogger("sluice.engine")


class Runs(Protocol):
    """What the loop needs of runner.Runner."""

    def run(self, chunks: list[Chunk]) -> list[Any]: ...

    def wipe(self, blocks: list[int]) -> None: ...


Sent = tuple[Key, Piece | Failed]


class Loop:
    """
    make         the sequence for a key and its ask; raises ProviderError
    end_tokens   tokens that end a reply
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runs,
        make: Callable[[Key, Ask], Sequence],
        end_tokens: frozenset[int],
        out_of_memory: type[Exception],
        drafting: Drafting,
    ) -> None:
        self.scheduler = scheduler
        self.counters = Counters()
        self._runner = runner
        self._make = make
        self._ends = end_tokens
        self._out_of_memory = out_of_memory
        self._drafting = drafting
        self._sequences: dict[Key, Sequence] = {}

    @property
    def busy(self) -> bool:
        return bool(self._sequences)

    def ask(self, key: Key, ask: Ask) -> Failed | None:
        """Take a request; what it failed with, if it cannot begin."""
        try:
            # Before the time is spent on its tokens.
            self.scheduler.check_room()
            sequence = self._make(key, ask)
            self.scheduler.add(sequence)
        except QueueFull:
            return Failed(ask.id, "overloaded", "the engine's queue is full", retry_after=1)
        except ProviderError as error:
            return Failed(ask.id, error.code, error.message)
        except Exception as error:
            log.exception("a request could not begin")
            return Failed(ask.id, "internal", f"the engine failed to begin: {type(error).__name__}")
        self._sequences[key] = sequence
        return None

    def cancel(self, key: Key) -> None:
        """Forget a sequence; its blocks are free for the next step. Unknown keys are sequences that ended meanwhile."""
        sequence = self._sequences.pop(key, None)
        if sequence is None:
            return
        if sequence.blocks and not sequence.generated:
            # Nothing was drawn yet, so nobody has looked whether what it computed are numbers.
            self._runner.wipe(self.scheduler.expel(sequence, sequence.cached or 0))
        else:
            self.scheduler.remove(sequence)

    def cancel_all(self, owner: int) -> None:
        """Forget every sequence of a connection that went."""
        for key in [key for key in self._sequences if key[0] == owner]:
            self.cancel(key)

    def step(self) -> list[Sent]:
        """Run one step; what it brought, by the sequences' keys."""
        began = time.perf_counter()
        chunks = self.scheduler.plan(self._draft)
        self._runner.wipe(self.scheduler.to_wipe())
        if not chunks:
            return []
        drawn, sent = self._run(chunks)
        for result in drawn:
            sent += self._take(result)
        self.counters.step(chunks, time.perf_counter() - began)
        return sent

    def _draft(self, sequence: Sequence) -> list[int]:
        return self._drafting.draft(sequence, len(self.scheduler.running), self.scheduler.blocks.available)

    def _run(self, chunks: list[Chunk]) -> tuple[list[Any], list[Sent]]:
        sent: list[Sent] = []
        while chunks:
            try:
                drawn = self._runner.run(chunks)
            except self._out_of_memory:
                youngest = max(chunks, key=lambda chunk: chunk.sequence.arrived)
                chunks = [chunk for chunk in chunks if chunk is not youngest]
                sent += self._fail(youngest.sequence, "overloaded", "the engine ran out of memory for this request")
            except Exception:
                log.exception("a step failed; its sequences are run one by one")
                return self._one_by_one(chunks, sent)
            else:
                self._note(chunks)
                return drawn, sent
        return [], sent

    def _one_by_one(self, chunks: list[Chunk], sent: list[Sent]) -> tuple[list[Any], list[Sent]]:
        drawn: list[Any] = []
        for chunk in chunks:
            try:
                drawn += self._runner.run([chunk])
            except Exception as error:
                sent += self._fail(
                    chunk.sequence, "upstream_error", f"the engine failed on this request: {type(error).__name__}"
                )
            else:
                self._note([chunk])
        return drawn, sent

    def _note(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self.scheduler.computed(chunk.sequence, chunk.start + chunk.count)

    def _take(self, result: Any) -> list[Sent]:
        """Give a sequence what was drawn for it."""
        sequence = result.chunk.sequence
        reply: Reply = sequence.text
        told = result.logprobs or [None] * len(result.tokens)
        draft = result.chunk.draft
        right = 0
        for i, token in enumerate(result.tokens):
            if token is None:
                return self._fail(sequence, "upstream_error", "the model's output for this request is not a number")
            sequence.append(token)
            if sequence.constraint:
                sequence.constraint.advance(token)
            self.counters.generated += 1
            reply.take(sequence, self._ends, told[i])
            # What was drawn behind a drafted token counts only if that token is the one that was drawn.
            if reply.finish_reason or token not in draft[i : i + 1]:
                break
            right += 1
        if draft:
            self.scheduler.computed(sequence, result.chunk.start + 1 + right)
            self.counters.drafted += len(draft)
            self.counters.accepted += right
            sequence.drafts.learn(len(draft), right)
        return self._piece(sequence, reply)

    def _piece(self, sequence: Sequence, reply: Reply) -> list[Sent]:
        if not (reply.text or reply.finish_reason):
            return []
        id = sequence.key[1]
        piece = Piece(id, reply.text, logprobs=reply.logprobs or None)
        reply.text, reply.logprobs = "", []
        if reply.finish_reason:
            piece.finish_reason = reply.finish_reason
            piece.prompt_tokens, piece.completion_tokens = sequence.prompt, sequence.generated
            piece.cached_tokens = sequence.cached or 0
            self.counters.ended(sequence)
            self.cancel(sequence.key)
        return [(sequence.key, piece)]

    def _fail(self, sequence: Sequence, code: str, message: str) -> list[Sent]:
        self._sequences.pop(sequence.key, None)
        self._runner.wipe(self.scheduler.expel(sequence))
        return [(sequence.key, Failed(sequence.key[1], code, message))]


class Counters:
    """What the engine has done since its start; the rate is a moving average over about ten seconds."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.steps = self.batch_sum = self.generated = self.prompt = self.cached = self.drafted = self.accepted = 0
        self.step_seconds = 0.0
        self._rate = 0.0
        self._seen = (self.started, 0)

    def step(self, chunks: list[Chunk], seconds: float) -> None:
        self.steps += 1
        self.batch_sum += len(chunks)
        self.step_seconds += seconds

    def ended(self, sequence: Sequence) -> None:
        self.prompt += sequence.prompt
        self.cached += sequence.cached or 0

    def rate(self) -> float:
        """Tokens per second lately."""
        now, generated = time.monotonic(), self.generated
        before, count = self._seen
        if now - before >= 1:
            keep = 0.5 ** ((now - before) / 5)
            self._rate = self._rate * keep + (generated - count) / (now - before) * (1 - keep)
            self._seen = (now, generated)
        return self._rate
