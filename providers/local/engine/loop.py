"""The engine's loop without its sockets: asks in, every step's pieces out.

A failure ends only the request that caused it. A request whose preprocessing fails ends alone. A sequence whose logits
are NaN ends alone, and its blocks are wiped before reuse. A step without memory ends its youngest sequence. A step that
raises is run again sequence by sequence, and those that raise again end; `Counters.failed_steps` counts such steps.

A step's ids are appended first; they decide which sequences go on, except for stop strings. The text is decoded later.
On a device that works asynchronously (`Runner.ahead`) the next step is launched in between and runs while text is
decoded and sent; and while the same sequences decode, it is launched even before the ids are read (`_follow`). A
sequence that has ended meanwhile has then drawn a token too many, which is discarded. A sequence that is cancelled
while a step is in flight keeps its blocks until that step has ended.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from providers.local.engine.errors import OutOfMemory
from providers.local.engine.output import OutputBuffer, TokenLogprobs
from providers.local.engine.preprocessing import Preprocessing
from providers.local.engine.scheduler import Scheduler
from providers.local.engine.sequence import Key, ScheduledTokens, Sequence
from providers.local.wire import Ask, BrokenFrame, Failed, Piece

if TYPE_CHECKING:
    # For type checking only: this module imports torch.
    from providers.local.engine.compute.runner import Launched, Runner, StepOutput

log = logging.getLogger("sluice.engine")

Emitted = tuple[Key, Piece | Failed]


@dataclass(slots=True)
class InFlightStep:
    """A planned step, or one that follows it.

    launched    None until it is launched, also if a launch failed
    gone        of a step that follows another: sequences that have no part in it any more
    abandoned   whether the step before failed: what this one computes is of no use
    """

    chunks: list[ScheduledTokens]
    began: float
    launched: Launched | None = None
    gone: set[Sequence] = field(default_factory=set)
    abandoned: bool = False

    def begin(self) -> None:
        """The step before was collected: every sequence that is still here is one token further."""
        self.chunks = [chunk for chunk in self.chunks if chunk.sequence not in self.gone]
        for chunk in self.chunks:
            chunk.start += 1

    def carries(self, sequence: Sequence) -> bool:
        return any(chunk.sequence is sequence for chunk in self.chunks)


@dataclass(slots=True)
class SampledTokens:
    """New tokens of a sequence whose text is not decoded yet, and the finish reason that the last one gives."""

    sequence: Sequence
    tokens: list[int]
    logprobs: list[TokenLogprobs]
    finish_reason: str | None


class Loop:
    """
    preprocessing   makes the sequence of a key and its ask
    end_tokens      tokens that end a buffer
    draft_rows      up to so many tokens in a step, further ones are nearly free, so drafts pay
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        preprocessing: Preprocessing,
        draft_rows: int,
    ) -> None:
        self.scheduler = scheduler
        self.preprocessing = preprocessing
        self.counters = Counters()
        self._runner = runner
        self._draft_rows = draft_rows
        self._sequences: dict[Key, Sequence] = {}
        self._in_flight: InFlightStep | None = None
        # The step that follows the one that is being collected; and who left since a step was last launched.
        self._following: InFlightStep | None = None
        self._left: list[Sequence] = []
        # So many next steps are planned, because a draw has to be done again.
        self._planned = 0
        # Output of the current step so far.
        self._emitted: list[Emitted] = []

    @property
    def graphs(self) -> bool:
        """Whether decode steps run as CUDA graphs."""
        return self._runner.graphs

    @property
    def busy(self) -> bool:
        """Whether a step has something to do."""
        return bool(self._sequences or self._in_flight or self.preprocessing.ready())

    def ask(self, key: Key, ask: Ask) -> Failed | None:
        """Accept a request, or return Failed if the queue is full; other failures come with a step.

        Raises BrokenFrame if the key's last request has not ended: their replies would be mixed up.
        """
        if key in self._sequences or key in self.preprocessing.pending:
            raise BrokenFrame(f"a second request with id {ask.id} before the first has ended")
        if not self.scheduler.has_room(len(self.preprocessing.pending)):
            return Failed(ask.id, "overloaded", "the engine's queue is full; try again later", retry_after=1)
        self.preprocessing.begin(key, ask)
        return None

    def cancel(self, key: Key) -> None:
        """Cancel a sequence; its blocks are free before the next step is planned. Unknown keys have ended already."""
        self.preprocessing.forget(key)
        sequence = self._sequences.pop(key, None)
        if sequence is None:
            return
        self._left.append(sequence)
        if not (self._in_flight and self._in_flight.carries(sequence)):
            self.scheduler.remove(sequence)

    def cancel_all(self, owner: int) -> None:
        """Cancel every sequence of a closed connection."""
        for key in [key for key in (*self._sequences, *self.preprocessing.pending) if key[0] == owner]:
            self.cancel(key)

    def step(self) -> list[Emitted]:
        """Run one step; its output, by the sequences' keys."""
        self._emitted = []
        in_flight, self._in_flight = self._in_flight or self._plan(), None
        if in_flight is None:
            return self._emitted
        if in_flight.launched is None and self._runner.ahead:
            self._launch(in_flight)
        following = self._following = self._follow(in_flight)
        sampled = [each for result in self._collect(in_flight) if (each := self._append(result))]
        self._following = None
        if following and not following.abandoned:
            following.begin()
            self._in_flight = following
        elif self._runner.ahead:
            self._in_flight = self._plan()
            if self._in_flight:
                self._launch(self._in_flight)
        for each in sampled:
            self._emit(each)
        self._runner.wipe(self.scheduler.to_wipe())
        self.counters.step(in_flight.chunks, in_flight.began, time.perf_counter())
        return self._emitted

    def _plan(self) -> InFlightStep | None:
        """The next step, not launched yet; None if there is nothing to do."""
        began = time.perf_counter()
        self._begin()
        self._left = []
        chunks = self.scheduler.plan(self._draft)
        self._runner.wipe(self.scheduler.to_wipe())
        return InFlightStep(chunks, began) if chunks else None

    def _follow(self, in_flight: InFlightStep) -> InFlightStep | None:
        """The step behind this one, launched before its ids are read; None if it must be planned.

        It must if a sequence may be admitted, if drafts may be made, or if the runner needs the ids.
        """
        if in_flight.launched is None or in_flight.launched.streak is None:
            return None
        if self._planned:
            self._planned -= 1
            return None
        waiting = self.preprocessing.ready() or self.scheduler.waiting
        if not self.scheduler.running:
            return None
        if (waiting and not self.scheduler.full) or self._draft_rows // len(self.scheduler.running) > 1:
            return None
        began = time.perf_counter()
        left, self._left = self._left, []
        for sequence in left:
            in_flight.launched.streak.drop(sequence)
        try:
            launched = self._runner.follow(in_flight.launched, self.scheduler.take_block)
        except OutOfMemory:
            return None
        return InFlightStep(launched.chunks, began, launched) if launched else None

    def _launch(self, in_flight: InFlightStep) -> None:
        try:
            in_flight.launched = self._runner.launch(in_flight.chunks)
        except OutOfMemory:
            # _collect launches it again and handles a second failure.
            log.warning("the device has too little memory to launch a step ahead")
        except Exception:
            self.counters.failed_steps += 1
            log.warning("a step could not be launched ahead", exc_info=True)

    def _begin(self) -> None:
        """Queue the preprocessed sequences; report those whose preprocessing failed."""
        for key in self.preprocessing.ready():
            sequence = self.preprocessing.take(key)
            if isinstance(sequence, Failed):
                self._emitted.append((key, sequence))
            else:
                self._sequences[key] = sequence
                self.scheduler.add(sequence)

    def _draft(self, sequence: Sequence) -> list[int]:
        """A draft for `sequence`; none where masks or edits change with every token."""
        running = len(self.scheduler.running)
        most = min(self._draft_rows // running, sequence.max_new_tokens - sequence.generated) - 1
        if most < 1 or sequence.constraint or sequence.edits or self.scheduler.blocks.available < running:
            return []
        return sequence.drafts.propose(sequence.tokens, most)

    def _collect(self, in_flight: InFlightStep) -> list[StepOutput]:
        """The step's outputs; sequences that made it fail are reported, and the others run again."""
        chunks, launched = in_flight.chunks, in_flight.launched
        if launched is None:
            # A sequence that was cancelled meanwhile is not launched again: its last tokens may be gone.
            chunks = self._alive(chunks, [])
        while chunks:
            try:
                outputs = self._runner.collect(launched or self._runner.launch(chunks))
            except OutOfMemory:
                self._abandon()
                chunks = self._alive(chunks, [])
                if chunks:
                    youngest = max(chunks, key=lambda chunk: chunk.sequence.arrived)
                    chunks.remove(youngest)
                    self._fail(youngest.sequence, "overloaded", "the engine ran out of memory for this request")
            except Exception:
                log.exception("a step failed; its sequences are run one by one")
                self.counters.failed_steps += 1
                self._abandon()
                return self._one_by_one(self._alive(chunks, []))
            else:
                return self._settle(chunks, outputs)
            launched = None
        return []

    def _abandon(self) -> None:
        """What follows a step that failed is of no use."""
        if self._following:
            self._following.abandoned = True

    def _leaves(self, sequence: Sequence) -> None:
        """The sequence has ended: steps that follow go on without it."""
        self._left.append(sequence)
        if self._following:
            self._following.gone.add(sequence)

    def _one_by_one(self, chunks: list[ScheduledTokens]) -> list[StepOutput]:
        outputs: list[StepOutput] = []
        for chunk in chunks:
            try:
                result = self._runner.collect(self._runner.launch([chunk]))
            except Exception as error:  # noqa: BLE001 - one sequence fails, the batch goes on
                self._fail(
                    chunk.sequence, "upstream_error", f"the engine failed on this request: {type(error).__name__}"
                )
            else:
                outputs += self._settle([chunk], result)
        return outputs

    def _settle(self, chunks: list[ScheduledTokens], outputs: list[StepOutput]) -> list[StepOutput]:
        """Drop the outputs of cancelled sequences; mark the others' tokens as computed."""
        alive = {id(chunk): chunk for chunk in self._alive(chunks, outputs)}
        again = {id(result.chunk) for result in outputs if not result.tokens}
        for each, chunk in alive.items():
            if each not in again:
                self.scheduler.mark_computed(chunk.sequence, chunk.start + chunk.count)
            else:
                # The next steps are planned: one that takes its last token again, and is read before another follows.
                self._planned = 2
                self._leaves(chunk.sequence)
        return [result for result in outputs if id(result.chunk) in alive and result.tokens]

    def _alive(self, chunks: list[ScheduledTokens], outputs: list[StepOutput]) -> list[ScheduledTokens]:
        """The chunks whose sequences were not cancelled meanwhile. The others release their blocks, which are trusted
        if a token that was drawn after them shows that they hold no NaN."""
        here, well = [], {id(result.chunk) for result in outputs if None not in result.tokens}
        for chunk in chunks:
            sequence = chunk.sequence
            if self._sequences.get(sequence.key) is sequence:
                here.append(chunk)
            else:
                trusted = chunk.start if sequence.generated else sequence.num_cached_tokens or 0
                self.scheduler.remove(sequence, chunk.start + chunk.count if id(chunk) in well else trusted)
        return here

    def _append(self, result: StepOutput) -> SampledTokens | None:
        """Append the output's tokens to the sequence; end it if they do. None if it fails."""
        sequence, draft = result.chunk.sequence, result.chunk.draft
        mine = SampledTokens(sequence, [], result.logprobs, None)
        right = 0
        for i, token in enumerate(result.tokens):
            if token is None:
                self._fail(sequence, "upstream_error", "the model's logits for this request are not numbers")
                return None
            sequence.append(token)
            mine.tokens.append(token)
            if sequence.constraint:
                sequence.constraint.advance(token)
            if token in sequence.ends:
                mine.finish_reason = "stop"
            elif sequence.generated >= sequence.max_new_tokens:
                mine.finish_reason = "length"
            # The token after a drafted one counts only if the drafted one is the token that was drawn.
            if mine.finish_reason or token not in draft[i : i + 1]:
                break
            right += 1
        if draft:
            self.scheduler.mark_computed(sequence, result.chunk.start + 1 + right)
            self.counters.drafted += len(draft)
            self.counters.accepted += right
            sequence.drafts.learn(len(draft), right)
        if mine.finish_reason:
            # A step that follows writes behind what is computed, and nothing has shown that it writes numbers.
            self.scheduler.remove(sequence, sequence.num_computed_tokens if self._following else None)
            self._leaves(sequence)
        return mine

    def _emit(self, sampled: SampledTokens) -> None:
        """Decode new tokens: their text, and whether a stop string ends the sequence."""
        sequence = sampled.sequence
        buffer: OutputBuffer = sequence.output
        last = len(sampled.tokens) - 1
        for i, token in enumerate(sampled.tokens):
            self.counters.generated += 1
            ended = sampled.finish_reason if i == last else None
            buffer.take(token, ended, sampled.logprobs[i] if sampled.logprobs else None)
            if buffer.finish_reason:
                # Tokens behind the end are discarded.
                del sequence.tokens[len(sequence.tokens) - (last - i) :]
                break
        if buffer.unsent:
            self._emitted.append((sequence.key, self._piece(sequence, buffer)))
        if buffer.finish_reason:
            self.counters.ended(sequence)
            if sampled.finish_reason:
                # Its blocks are released already.
                del self._sequences[sequence.key]
            else:
                self.cancel(sequence.key)

    def _piece(self, sequence: Sequence, buffer: OutputBuffer) -> Piece:
        piece = Piece(sequence.key[1], buffer.text, logprobs=buffer.logprobs or None)
        piece.reasoning = buffer.reasoning
        piece.tool_calls = [(each.index, each.id, each.name, each.arguments) for each in buffer.call_pieces] or None
        buffer.text, buffer.reasoning, buffer.call_pieces, buffer.logprobs = "", "", [], []
        if buffer.finish_reason:
            piece.finish_reason = buffer.finish_reason
            piece.prompt_tokens, piece.completion_tokens = sequence.prompt_len, sequence.generated
            piece.cached_tokens = sequence.num_cached_tokens or 0
            piece.reasoning_tokens = buffer.reasoning_tokens
        return piece

    def _fail(self, sequence: Sequence, code: str, message: str) -> None:
        self._sequences.pop(sequence.key, None)
        self.scheduler.remove(sequence, trusted=0)
        self._leaves(sequence)
        self._emitted.append((sequence.key, Failed(sequence.key[1], code, message)))


class Counters:
    """Counts since the engine's start; the rate is a moving average over about ten seconds.

    failed_steps   steps that raised, other than for memory, when they were launched or collected
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.steps = self.failed_steps = self.batch_sum = 0
        self.generated = self.prompt = self.cached = self.drafted = self.accepted = 0
        self.step_seconds = 0.0
        self._step_ended = 0.0
        self._rate = 0.0
        self._seen = (self.started, 0)

    def step(self, chunks: list[ScheduledTokens], began: float, ended: float) -> None:
        self.steps += 1
        self.batch_sum += len(chunks)
        # A step that was launched ahead began before the last one ended.
        self.step_seconds += ended - max(began, self._step_ended)
        self._step_ended = ended

    def ended(self, sequence: Sequence) -> None:
        self.prompt += sequence.prompt_len
        self.cached += sequence.num_cached_tokens or 0

    def rate(self) -> float:
        """Tokens per second, recently."""
        now, generated = time.monotonic(), self.generated
        before, count = self._seen
        if now - before >= 1:
            keep = 0.5 ** ((now - before) / 5)
            self._rate = self._rate * keep + (generated - count) / (now - before) * (1 - keep)
            self._seen = (now, generated)
        return self._rate
