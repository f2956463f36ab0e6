"""The engine's loop, without its sockets: asks come in, every step's pieces go out.

Failures stay with whom they concern. A request that cannot begin fails by itself; a sequence whose logits are no
numbers fails by itself, and its blocks are wiped before others have them; a step without memory fails its youngest
sequence; a step that raises is run sequence by sequence, and those that raise again fail.

A step's ids are appended first, and say who goes on but for stop strings; its text is read after. Where the device
works by itself (`Runner.ahead`), the next step is launched in between, and so runs while text is read and sent. Then a
sequence that a stop string ends has drawn a token too much, which is nobody's; and who is forgotten while a step
flies keeps its blocks until that has landed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from providers.local.engine.errors import OutOfMemory
from providers.local.engine.output import Reply, Told
from providers.local.engine.preprocessing import Preparation
from providers.local.engine.scheduler import Scheduler
from providers.local.engine.sequence import Chunk, Key, Sequence
from providers.local.wire import Ask, BrokenFrame, Failed, Piece

if TYPE_CHECKING:
    # With torch, of which the loop needs nothing.
    from providers.local.engine.compute.runner import Drawn, Launched, Runner

log = logging.getLogger("sluice.engine")

Sent = tuple[Key, Piece | Failed]


@dataclass(slots=True)
class Flying:
    """A step that was planned. `launched` is None where it is yet to be launched, maybe because that failed."""

    chunks: list[Chunk]
    began: float
    launched: Launched | None = None

    def carries(self, sequence: Sequence) -> bool:
        return any(chunk.sequence is sequence for chunk in self.chunks)


@dataclass(slots=True)
class Taken:
    """Tokens that a sequence took from a step, whose text is to be read; the finish reason that its last one gives."""

    sequence: Sequence
    tokens: list[int]
    logprobs: list[Told]
    finish_reason: str | None


class Loop:
    """
    preparation   makes the sequence for a key and its ask
    end_tokens    tokens that end a reply
    draft_rows    tokens of a step up to which more of them are nearly free, so that drafts pay
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        preparation: Preparation,
        end_tokens: frozenset[int],
        draft_rows: int,
    ) -> None:
        self.scheduler = scheduler
        self.preparation = preparation
        self.counters = Counters()
        self._runner = runner
        self._ends = end_tokens
        self._draft_rows = draft_rows
        self._sequences: dict[Key, Sequence] = {}
        self._flying: Flying | None = None
        # What the step under way has brought so far.
        self._sent: list[Sent] = []

    @property
    def busy(self) -> bool:
        """Whether there is something for a step to do."""
        return bool(self._sequences or self._flying or self.preparation.ready())

    def ask(self, key: Key, ask: Ask) -> Failed | None:
        """Take a request, and tell at once where there is no room; a step tells what else it fails with.

        Raises BrokenFrame if the key's last request has not ended: nobody could tell the two's replies apart.
        """
        if key in self._sequences or key in self.preparation.begun:
            raise BrokenFrame(f"a second question under number {ask.id} before the first has ended")
        if not self.scheduler.has_room(len(self.preparation.begun)):
            return Failed(ask.id, "overloaded", "the engine's queue is full", retry_after=1)
        self.preparation.begin(key, ask)
        return None

    def cancel(self, key: Key) -> None:
        """Forget a sequence; its blocks are free before the next step is planned. Unknown keys ended meanwhile."""
        self.preparation.forget(key)
        sequence = self._sequences.pop(key, None)
        if sequence and not (self._flying and self._flying.carries(sequence)):
            self.scheduler.remove(sequence)

    def cancel_all(self, owner: int) -> None:
        """Forget every sequence of a connection that went."""
        for key in [key for key in (*self._sequences, *self.preparation.begun) if key[0] == owner]:
            self.cancel(key)

    def step(self) -> list[Sent]:
        """Run one step; what it brought, by the sequences' keys."""
        self._sent = []
        flying, self._flying = self._flying or self._plan(), None
        if flying is None:
            return self._sent
        taken = [each for result in self._collect(flying) if (each := self._take(result))]
        if self._runner.ahead:
            self._flying = self._plan()
            if self._flying:
                self._launch(self._flying)
        for each in taken:
            self._read(each)
        self._runner.wipe(self.scheduler.to_wipe())
        self.counters.step(flying.chunks, flying.began, time.perf_counter())
        return self._sent

    def _plan(self) -> Flying | None:
        """The next step, not yet launched; None where there is nothing to do."""
        began = time.perf_counter()
        self._begin()
        chunks = self.scheduler.plan(self._draft)
        self._runner.wipe(self.scheduler.to_wipe())
        return Flying(chunks, began) if chunks else None

    def _launch(self, flying: Flying) -> None:
        try:
            flying.launched = self._runner.launch(flying.chunks)
        except Exception:
            # It is launched again where it is collected; what fails there too is told there.
            log.warning("a step could not be launched ahead", exc_info=True)

    def _begin(self) -> None:
        """Let what is prepared wait for its turn; what could not be prepared is told."""
        for key in self.preparation.ready():
            made = self.preparation.take(key)
            if isinstance(made, Failed):
                self._sent.append((key, made))
            else:
                self._sequences[key] = made
                self.scheduler.add(made)

    def _draft(self, sequence: Sequence) -> list[int]:
        """A draft for `sequence`, or none: penalties and constraints change with every token, one at a time."""
        running = len(self.scheduler.running)
        most = min(self._draft_rows // running, sequence.max_new - sequence.generated) - 1
        if most < 1 or sequence.sampling.penalised or sequence.constraint or self.scheduler.blocks.available < running:
            return []
        return sequence.drafts.propose(sequence.tokens, most)

    def _collect(self, flying: Flying) -> list[Drawn]:
        """What the step drew; who made it fail is told, and the rest of it runs again."""
        chunks, launched = flying.chunks, flying.launched
        if launched is None:
            # Who was forgotten since is not launched again: its last tokens may be gone.
            chunks = self._landed(chunks, [])
        while chunks:
            try:
                drawn = self._runner.collect(launched or self._runner.launch(chunks))
            except OutOfMemory:
                chunks = self._landed(chunks, [])
                if chunks:
                    youngest = max(chunks, key=lambda chunk: chunk.sequence.arrived)
                    chunks.remove(youngest)
                    self._fail(youngest.sequence, "overloaded", "the engine ran out of memory for this request")
            except Exception:
                log.exception("a step failed; its sequences are run one by one")
                return self._one_by_one(self._landed(chunks, []))
            else:
                return self._noted(chunks, drawn)
            launched = None
        return []

    def _one_by_one(self, chunks: list[Chunk]) -> list[Drawn]:
        drawn: list[Drawn] = []
        for chunk in chunks:
            try:
                result = self._runner.collect(self._runner.launch([chunk]))
            except Exception as error:  # noqa: BLE001 - one sequence fails, the batch goes on
                told = f"the engine failed on this request: {type(error).__name__}"
                self._fail(chunk.sequence, "upstream_error", told)
            else:
                drawn += self._noted([chunk], result)
        return drawn

    def _noted(self, chunks: list[Chunk], drawn: list[Drawn]) -> list[Drawn]:
        """What was drawn for sequences that still are; what was computed for them is in the cache now."""
        landed = {id(chunk): chunk for chunk in self._landed(chunks, drawn)}
        for chunk in landed.values():
            self.scheduler.computed(chunk.sequence, chunk.start + chunk.count)
        return [result for result in drawn if id(result.chunk) in landed]

    def _landed(self, chunks: list[Chunk], drawn: list[Drawn]) -> list[Chunk]:
        """The chunks whose sequences were not forgotten meanwhile. The others give back their blocks, trusted where
        something drawn behind them tells that they hold numbers."""
        here, well = [], {id(result.chunk) for result in drawn if None not in result.tokens}
        for chunk in chunks:
            sequence = chunk.sequence
            if self._sequences.get(sequence.key) is sequence:
                here.append(chunk)
            else:
                trusted = chunk.start if sequence.generated else sequence.cached or 0
                self.scheduler.remove(sequence, chunk.start + chunk.count if id(chunk) in well else trusted)
        return here

    def _take(self, result: Drawn) -> Taken | None:
        """Give a sequence what was drawn for it, and let it go where that ends it; None where it fails."""
        sequence, draft = result.chunk.sequence, result.chunk.draft
        mine = Taken(sequence, [], result.logprobs, None)
        right = 0
        for i, token in enumerate(result.tokens):
            if token is None:
                self._fail(sequence, "upstream_error", "the model's output for this request is not a number")
                return None
            sequence.append(token)
            mine.tokens.append(token)
            if sequence.constraint:
                sequence.constraint.advance(token)
            if token in self._ends:
                mine.finish_reason = "stop"
            elif sequence.generated >= sequence.max_new:
                mine.finish_reason = "length"
            # What was drawn behind a drafted token counts only if that token is the one that was drawn.
            if mine.finish_reason or token not in draft[i : i + 1]:
                break
            right += 1
        if draft:
            self.scheduler.computed(sequence, result.chunk.start + 1 + right)
            self.counters.drafted += len(draft)
            self.counters.accepted += right
            sequence.drafts.learn(len(draft), right)
        if mine.finish_reason:
            self.scheduler.remove(sequence)
        return mine

    def _read(self, taken: Taken) -> None:
        """Read what a sequence took: its text, and whether a stop string ends it."""
        sequence = taken.sequence
        reply: Reply = sequence.text
        last = len(taken.tokens) - 1
        for i, token in enumerate(taken.tokens):
            self.counters.generated += 1
            ended = taken.finish_reason if i == last else None
            reply.take(token, ended, taken.logprobs[i] if taken.logprobs else None)
            if reply.finish_reason:
                # What was drawn behind it is nobody's.
                del sequence.tokens[len(sequence.tokens) - (last - i) :]
                break
        if reply.text or reply.finish_reason:
            self._sent.append((sequence.key, self._piece(sequence, reply)))
        if reply.finish_reason:
            self.counters.ended(sequence)
            if taken.finish_reason:
                # Its blocks are given back already.
                del self._sequences[sequence.key]
            else:
                self.cancel(sequence.key)

    def _piece(self, sequence: Sequence, reply: Reply) -> Piece:
        piece = Piece(sequence.key[1], reply.text, logprobs=reply.logprobs or None)
        reply.text, reply.logprobs = "", []
        if reply.finish_reason:
            piece.finish_reason = reply.finish_reason
            piece.prompt_tokens, piece.completion_tokens = sequence.prompt, sequence.generated
            piece.cached_tokens = sequence.cached or 0
        return piece

    def _fail(self, sequence: Sequence, code: str, message: str) -> None:
        self._sequences.pop(sequence.key, None)
        self.scheduler.remove(sequence, trusted=0)
        self._sent.append((sequence.key, Failed(sequence.key[1], code, message)))


class Counters:
    """What the engine has done since its start; the rate is a moving average over about ten seconds."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.steps = self.batch_sum = self.generated = self.prompt = self.cached = self.drafted = self.accepted = 0
        self.step_seconds = 0.0
        self._step_ended = 0.0
        self._rate = 0.0
        self._seen = (self.started, 0)

    def step(self, chunks: list[Chunk], began: float, ended: float) -> None:
        self.steps += 1
        self.batch_sum += len(chunks)
        # One that was launched ahead began before the last one ended.
        self.step_seconds += ended - max(began, self._step_ended)
        self._step_ended = ended

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
