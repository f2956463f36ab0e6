"""Makes every upstream keep the same promises.

    1. Joining every delta's text gives the reply, byte for byte.
    2. No delta but the last is empty; order is kept; nothing is trimmed.
    3. The last delta, and no other, has a finish_reason, and usage if the upstream counts (the last running total).
    4. Channels (text, reasoning, the arguments of each tool call) never mix.

Pure: deltas in, deltas out. It works in batches, because a call per delta would cost more than the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from providers.delta import Delta, ToolCallDelta, Usage
from providers.errors import CutOff, TooLarge
from providers.stream.channel import Channel, ThinkTags


class Normaliser:
    """The deltas of one reply as they come from an adapter, made to keep the promises above.

    snapshots         never: text is to append; always: it is all the text so far; auto: watch which it is
    think_tags        True: what stands between <think> and </think> in the text is reasoning
    max_answer_bytes  of text, reasoning and tool arguments together, in UTF-8; beyond it TooLarge is raised
    """

    def __init__(self, snapshots: str = "never", think_tags: bool = False, max_answer_bytes: int = 16 << 20) -> None:
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.begun = False  # something of the reply came
        self._left = max_answer_bytes
        self.max_answer_bytes = max_answer_bytes
        self._snapshots = snapshots
        # In the usual mode a delta needs no channel until one ends in half a character.
        self._plain = snapshots == "never" and not think_tags
        self._text = Channel(snapshots)
        self._reasoning = Channel(snapshots)
        self._think = ThinkTags() if think_tags else None
        self._calls: list[_Call] = []
        self._call_at: dict[int, _Call] = {}
        self._logprobs: list[dict[str, Any]] = []

    def push(self, deltas: Iterable[Delta], out: list[Delta]) -> None:
        """Append to `out` what `deltas` add to the reply; where it raises, `out` has what came before.

        Raises BrokenProtocol if a snapshot rewrites text already sent, TooLarge if the answer is over its cap.
        """
        for delta in deltas:
            if delta.finish_reason or delta.usage:
                # Not every upstream puts usage beside finish_reason: some send it one chunk later.
                self.usage = delta.usage or self.usage
                reason = delta.finish_reason
                delta = Delta(delta.text, delta.reasoning, delta.tool_calls, logprobs=delta.logprobs)
                if reason:
                    # Only when its text is in: a last chunk that takes text back or is over the cap completes nothing.
                    self._push_with_care(delta, out)
                    self.finish_reason = reason
                    continue
            if self._plain and not delta.tool_calls and not delta.logprobs:
                # The usual delta passes as it is: 0.2 µs instead of 1.5 (python -m benchmarks.normaliser).
                try:
                    size = len((delta.text + delta.reasoning).encode())
                except UnicodeEncodeError:
                    pass  # half a character: the channel waits for the rest
                else:
                    if size:
                        self._left -= size
                        if self._left < 0:
                            self._too_large()
                        self.begun = True
                        out.append(delta)
                    continue
            self._push_with_care(delta, out)

    def end(self, out: list[Delta], *, said_done: bool = False) -> None:
        """Append what was held back, then the last delta.

        said_done  the upstream sent its own end marker ([DONE]): after some text that is an end by itself

        Raises CutOff if the upstream stopped without a finish_reason.
        """
        if self.finish_reason is None and said_done and self.begun:
            self.finish_reason = "stop"
        self.release(out)
        if self.finish_reason is None:
            raise CutOff("the upstream closed the stream before the reply ended")
        out.append(Delta(finish_reason=self.finish_reason, usage=self.usage, logprobs=self._logprobs or None))

    def release(self, out: list[Delta]) -> None:
        """Append what was held back: nothing more will come, whether the reply ended well or not."""
        reasoning, text = self._reasoning.release(), self._text.release()
        if self._think:
            thought, text = self._think.split(text, last=True)
            reasoning += thought
        pieces = []
        for call in self._calls:
            arguments = call.arguments.release()
            if arguments:
                pieces.append(ToolCallDelta(call.index, arguments=arguments))
        if text or reasoning or pieces:
            self._emit(Delta(text, reasoning, pieces), out)

    def _push_with_care(self, delta: Delta, out: list[Delta]) -> None:
        reasoning = self._reasoning.piece(delta.reasoning) if delta.reasoning else ""
        text = self._text.piece(delta.text) if delta.text else ""
        if self._think and text:
            thought, text = self._think.split(text)
            reasoning += thought
        pieces = [made for piece in delta.tool_calls if (made := self._tool_call(piece))]
        if delta.text or delta.reasoning or pieces:
            self.begun = True
        if delta.logprobs:
            self._logprobs += delta.logprobs
        if text or reasoning or pieces:
            logprobs, self._logprobs = self._logprobs or None, []
            self._emit(Delta(text, reasoning, pieces, logprobs=logprobs), out)
        # The usual way may be taken again once no channel waits for the other half of a character.
        if self._snapshots == "never" and not self._think:
            self._plain = not (self._text.waiting or self._reasoning.waiting)

    def _emit(self, delta: Delta, out: list[Delta]) -> None:
        text = delta.text + delta.reasoning + "".join(piece.arguments for piece in delta.tool_calls)
        self._left -= len(text.encode())
        if self._left < 0:
            self._too_large()
        out.append(delta)

    def _tool_call(self, piece: ToolCallDelta) -> ToolCallDelta | None:
        call = self._call_at.get(piece.index)
        # Some servers number every call 0; a second id together with a name begins another call.
        if call is None or (piece.id and piece.name and call.id and piece.id != call.id):
            call = self._call_at[piece.index] = _Call(len(self._calls), self._snapshots)
            self._calls.append(call)
        # Each is passed on once: some servers repeat them, or send "" in later pieces.
        id, name = "" if call.id else piece.id, "" if call.name else piece.name
        call.id, call.name = call.id or id, call.name or name
        arguments = call.arguments.piece(piece.arguments) if piece.arguments else ""
        return ToolCallDelta(call.index, id, name, arguments) if id or name or arguments else None

    def _too_large(self) -> None:
        raise TooLarge(f"the answer is longer than {self.max_answer_bytes} bytes")


class _Call:
    """One tool call of the reply, numbered in the order of their first pieces."""

    def __init__(self, index: int, snapshots: str) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments = Channel(snapshots)
