"""One channel of a reply (text, reasoning, the arguments of one tool call): what each piece adds to it.

A piece may be all the text so far (a snapshot), and may end in half a character.
"""

from __future__ import annotations

import re

from providers.errors import BrokenProtocol

ENOUGH = 16  # characters that a piece must repeat before `auto` takes it for a snapshot
IN_A_ROW = 3

_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF_AT_END = "".join(map(chr, range(0xD800, 0xDC00)))


class Channel:
    """`piece()` gives what to append now, `release()` what was still held back when nothing more comes."""

    def __init__(self, snapshots: str = "never") -> None:
        self.waiting = ""  # a high surrogate whose half has not come yet
        self._mode = snapshots
        self._sent: list[str] = []  # joined it is the text so far; kept only where snapshots may come
        self._length = 0
        self._tail = ""  # of a snapshot: not sent, because its last character is not whole yet
        self._held: list[str] = []  # what may be snapshots, while `auto` has not decided
        self._in_a_row = 0  # how many of them repeat enough to count

    def piece(self, text: str) -> str:
        """What `text` adds; "" if it adds nothing, or nothing yet. Raises BrokenProtocol if it takes text back."""
        if self._mode == "always":
            return self._from_snapshot(text)
        if self._mode == "auto":
            text = self._watched(text)
        return self._whole_characters(text)

    @property
    def keeps_text(self) -> bool:
        """Whether the text so far is kept, because snapshots may come."""
        return self._mode != "never"

    def beyond(self, text: str) -> str:
        """What `text`, which repeats the reply so far, adds to it; "" where it does not begin with the text so far."""
        so_far = "".join([*self._sent, *self._held, self._tail])
        return text[len(so_far) :] if text.startswith(so_far) else ""

    def release(self) -> str:
        """What was held back; half a character becomes U+FFFD."""
        rest = self._tail + "".join(self._held)
        self._tail, self._held = "", []
        return self._whole_characters(rest, last=True)

    def _from_snapshot(self, text: str) -> str:
        whole = text.rstrip("\ufffd" + _HALF_AT_END) if not text.isascii() else text
        sent = self._text_so_far()
        if not whole.startswith(sent):
            raise BrokenProtocol("the upstream took back text that it had already sent")
        self._tail = text[len(whole) :]
        self._sent, self._length = [whole], len(whole)
        return self._whole_characters(whole[len(sent) :])

    def _watched(self, text: str) -> str:
        """`auto`: hold back what begins with all the text so far; the third such piece in a row decides.

        Pieces that grow from the very first one are held too while the text is short: sent, they could not be unsent.
        """
        so_far = None
        if self._held:
            so_far = self._held[-1].rstrip("\ufffd")
        elif len(self._sent) == 1 or ENOUGH <= self._length <= len(text):
            so_far = self._text_so_far()
        if so_far is not None and text.startswith(so_far):
            enough = len(so_far) >= ENOUGH
            if enough or len(text) > len(so_far):
                self._held.append(text)
                self._in_a_row += enough
                if self._in_a_row < IN_A_ROW:
                    return ""
                self._mode, self._held = "always", []
                return self._from_snapshot(text)
        text = "".join(self._held) + text
        self._held, self._in_a_row = [], 0
        self._sent.append(text)
        self._length += len(text)
        return text

    def _text_so_far(self) -> str:
        if len(self._sent) != 1:
            self._sent = ["".join(self._sent)]
        return self._sent[0]

    def _whole_characters(self, text: str, last: bool = False) -> str:
        """Join a pair of surrogates that the upstream cut in two; a half that stays alone is U+FFFD."""
        if not self.waiting and (text.isascii() or not _SURROGATE.search(text)):
            return text
        text = self.waiting + text
        self.waiting = ""
        if not last and "\ud800" <= text[-1:] <= "\udbff":
            self.waiting, text = text[-1], text[:-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
