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

from providers.delta import Delta, Usage
from providers.errors import CutOff, TooLarge
from providers.stream.channel import Channel
from providers.stream.thinking import ThinkTags
from providers.stream.tool_calls import ToolCalls

MIN_SNAPSHOT = 16  # characters: as in `snapshots: auto`, shorter text may repeat itself by chance


class Normaliser:
    """The deltas of one reply as they come from an adapter, made to keep the promises above.

    snapshots         never: text is to append; always: it is all the text so far; auto: watch which it is
    think_tags        how to find thoughts between tags in the text: None, or a mode of `ThinkTags`
    max_answer_bytes  of text, reasoning and tool arguments together, in UTF-8; beyond it TooLarge is raised
    """

    def __init__(
        self,
        snapshots: str = "never",
        think_tags: str | tuple[str, str] | None = None,
        max_answer_bytes: int = 16 << 20,
    ) -> None:
        self.finish_reason: str | None = None
        self.finish_reason_raw: str | None = None
        self.usage: Usage | None = None
        self.begun = False  # something of the reply came
        self._left = max_answer_bytes
        self.max_answer_bytes = max_answer_bytes
        self._snapshots = snapshots
        self._think = ThinkTags(think_tags) if think_tags else None
        self._all_there = False
        # In the usual mode a delta needs no channel until one ends in half a character.
        self._plain = snapshots == "never" and self._think is None
        self._text = Channel(snapshots)
        self._reasoning = Channel(snapshots)
        self._text_so_far = _SoFar()
        self._reasoning_so_far = _SoFar()
        self._calls = ToolCalls(snapshots)
        self._logprobs: list[dict[str, Any]] = []
        # Of the deltas that passed as they are since the last one that did not.
        self._plain_from = max_answer_bytes
        self._plain_reasoning = 0
        self._last_plain = self._last_plain_reasoning = ""

    @property
    def finished(self) -> bool:
        """The reply has its finish_reason. One that came before anything of the reply ends nothing."""
        return self.finish_reason is not None and self.begun

    def push(self, deltas: Iterable[Delta], out: list[Delta]) -> None:
        """Append to `out` what `deltas` add to the reply; where it raises, `out` has what came before.

        Raises BrokenProtocol if a snapshot rewrites text already sent, TooLarge if the answer is over its cap.
        """
        for delta in deltas:
            if delta.finish_reason or delta.usage:
                # Not every upstream puts usage beside finish_reason: some send it one chunk later.
                self.usage = delta.usage or self.usage
                reason, raw = delta.finish_reason, delta.finish_reason_raw
                if reason:
                    # Only when its text is in: a last chunk that takes text back or is over the cap completes nothing.
                    self._push_with_care(delta, out)
                    self.finish_reason, self.finish_reason_raw = reason, raw
                    # More of the reply may follow and take it back: `_push_with_care` looks.
                    self._plain = False
                    continue
                if not (delta.text or delta.reasoning or delta.tool_calls or delta.logprobs or delta.extras):
                    continue
                delta.usage = None
            if self._plain and not (delta.tool_calls or delta.logprobs or delta.extras or delta.whole):
                # The usual delta passes as it is: 0.2 µs instead of 1.5 (python -m benchmarks.normaliser).
                try:
                    size = len(delta.text.encode())
                    if delta.reasoning:
                        thought = len(delta.reasoning.encode())
                        self._plain_reasoning += thought
                        size += thought
                except UnicodeEncodeError:
                    pass  # half a character: the channel waits for the rest
                else:
                    if size:
                        self._left -= size
                        if self._left < 0:
                            self._too_large()
                        self.begun = True
                        self._last_plain, self._last_plain_reasoning = delta.text, delta.reasoning
                        out.append(delta)
                    continue
            self._push_with_care(delta, out)

    def expect_all(self) -> None:
        """The whole reply comes at once: a closing tag can still say that what stands before it was thought."""
        self._all_there = True

    def push_text(self, text: str) -> bool:
        """As `push` for deltas with text alone, which is `text` together and passes as it is; False: use `push`."""
        if not self._plain:
            return False
        if text:
            size = len(text) if text.isascii() else len(text.encode())
            if size > self._left:
                return False  # what fits of it still passes
            self._left -= size
            self.begun = True
            self._last_plain = text
        return True

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
        out.append(
            Delta(
                finish_reason=self.finish_reason,
                usage=self.usage,
                logprobs=self._logprobs or None,
                finish_reason_raw=self.finish_reason_raw,
            )
        )

    def release(self, out: list[Delta]) -> None:
        """Append what was held back: nothing more will come, whether the reply ended well or not."""
        reasoning, text = self._reasoning.release(), self._text.release()
        if self._think:
            thought, text = self._think.split(text, last=True)
            reasoning += thought
        pieces = self._calls.release()
        if text or reasoning or pieces:
            self._emit(Delta(text, reasoning, pieces), out)

    def _push_with_care(self, delta: Delta, out: list[Delta]) -> None:
        if self._plain_from != self._left:
            self._text_so_far.bytes += self._plain_from - self._left - self._plain_reasoning
            self._reasoning_so_far.bytes += self._plain_reasoning
            self._text_so_far.last, self._reasoning_so_far.last = self._last_plain, self._last_plain_reasoning
            self._plain_reasoning = 0
        text, reasoning = delta.text, delta.reasoning
        if delta.whole:
            text = self._text_so_far.beyond(text, self._text, bool(delta.finish_reason))
            reasoning = self._reasoning_so_far.beyond(reasoning, self._reasoning, bool(delta.finish_reason))
            pieces = self._calls.whole(delta.tool_calls)
        else:
            pieces = [added for piece in delta.tool_calls if (added := self._calls.piece(piece))]
        if text or reasoning or pieces or delta.extras:
            # More of the reply behind a finish_reason takes the reason back.
            self.begun, self.finish_reason, self.finish_reason_raw = True, None, None
        if not delta.whole:
            self._text_so_far.add(text)
            self._reasoning_so_far.add(reasoning)
            text = self._text.piece(text) if text else ""
            reasoning = self._reasoning.piece(reasoning) if reasoning else ""
        if self._think:
            reasoning, text = self._without_thoughts(text, reasoning, bool(pieces))
        if delta.logprobs:
            self._logprobs += delta.logprobs
        if text or reasoning or pieces or delta.extras:
            logprobs, self._logprobs = self._logprobs or None, []
            self._emit(Delta(text, reasoning, pieces, logprobs=logprobs, extras=delta.extras), out)
        # The usual way may be taken again once no channel waits for the other half of a character.
        if self._snapshots == "never" and (self._think is None or self._think.looks_no_more):
            self._plain = not (self._text.waiting or self._reasoning.waiting)
        self._plain_from = self._left

    def _without_thoughts(self, text: str, reasoning: str, calls: bool) -> tuple[str, str]:
        """(reasoning, text) with the thoughts between tags among the reasoning."""
        assert self._think is not None
        if reasoning or calls:
            # The upstream keeps thoughts apart by itself, or the reply goes on to a call: tags are text from here on.
            text = self._think.give_up() + text
        if not text:
            return reasoning, ""
        thought, text = self._think.split_whole(text) if self._all_there else self._think.split(text)
        if self._think.held > self._left:
            self._too_large()
        return reasoning + thought, text

    def _emit(self, delta: Delta, out: list[Delta]) -> None:
        text = delta.text + delta.reasoning + "".join(piece.arguments for piece in delta.tool_calls)
        self._left -= len(text.encode())
        if self._left < 0:
            self._too_large()
        out.append(delta)
        self._plain_from = self._left

    def _too_large(self) -> None:
        raise TooLarge(f"the answer is longer than {self.max_answer_bytes} bytes")


class _SoFar:
    """How much of one channel came: enough to find what a chunk that repeats the reply so far adds to it.

    The text itself is not kept while it comes as deltas, for that would cost every reply its size in memory.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.last = ""
        self._from_wholes: str | None = None

    def add(self, text: str) -> None:
        """Text that came as a delta."""
        if text:
            self.bytes += len(text.encode("utf-8", "surrogatepass"))
            self.last = text
            self._from_wholes = None

    def beyond(self, text: str, channel: Channel, at_the_end: bool) -> str:
        """What `text` of a chunk with a whole `message` adds."""
        if not text:
            return ""
        if self.bytes == 0 or self._from_wholes is not None:
            so_far = self._from_wholes or ""
            repeats = text.startswith(so_far) and (at_the_end or len(so_far) >= MIN_SNAPSHOT)
            # A service may send each delta as a `message`: only what repeats enough of the text is a snapshot.
            rest = text[len(so_far) :] if repeats else text
            self._from_wholes = so_far + rest
            self.bytes += len(rest.encode("utf-8", "surrogatepass"))
            return rest
        if channel.keeps_text:
            return channel.beyond(text)
        raw = text.encode("utf-8", "surrogatepass")
        seen = raw[: self.bytes]
        if len(seen) < self.bytes or not seen.endswith(self.last.encode("utf-8", "surrogatepass")):
            return ""
        self.bytes, self.last = len(raw), text[-16:]
        return raw[len(seen) :].decode("utf-8", "surrogatepass")
