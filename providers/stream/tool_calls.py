"""The tool calls of one reply: which call a piece belongs to, whatever index and id the upstream gives it."""

from __future__ import annotations

import secrets

import msgspec

from providers.delta import ToolCallDelta
from providers.stream.channel import Channel

MAX_LOOKS = 8  # decodings of one call's arguments to find out whether they are complete: keeps the cost linear


def made_id(index: int) -> str:
    """An id for a call that came without one; clients match a call's result to it within a whole conversation."""
    return f"call_{index}_{secrets.token_hex(8)}"


class ToolCalls:
    """Numbers the calls in the order of their first pieces."""

    def __init__(self, snapshots: str) -> None:
        self.calls: list[_Call] = []
        self._snapshots = snapshots
        self._at: dict[int, _Call] = {}

    def piece(self, piece: ToolCallDelta) -> ToolCallDelta | None:
        """What a piece adds, under our own index; None if it adds nothing."""
        call = self._at.get(piece.index)
        if call is None and self.calls and not piece.id and not piece.name:
            # No head announced this index: the arguments go on with the last call (SGLang numbers a head by the
            # tool's place in the request, and its arguments by the call's place in the reply).
            call = self._at[piece.index] = self.calls[-1]
        elif call is not None and call.says_again(piece):
            return None  # a last chunk with the whole call once more
        elif call is None or self._another(call, piece):
            name = "" if call is None or piece.name else call.name
            call = self._at[piece.index] = _Call(len(self.calls), self._snapshots, name)
            self.calls.append(call)
        elif (
            piece.id and piece.id == call.id and piece.arguments and piece.arguments == call.text and call.is_complete()
        ):
            return None  # the last chunk says a whole call again
        return call.take(piece)

    def whole(self, pieces: list[ToolCallDelta]) -> list[ToolCallDelta]:
        """What calls that repeat those so far add to them; their place in the list says which is which."""
        added = []
        for at, piece in enumerate(pieces):
            if at >= len(self.calls):
                added.append(self.piece(msgspec.structs.replace(piece, index=-1 - at)))
                continue
            call = self.calls[at]
            rest = piece.arguments[len(call.text) :] if piece.arguments.startswith(call.text) else ""
            added.append(call.take(ToolCallDelta(at, piece.id, "" if call.name else piece.name, rest)))
        return [piece for piece in added if piece]

    def release(self) -> list[ToolCallDelta]:
        """What was held back, when nothing more comes."""
        rests = [(call.index, call.arguments.release()) for call in self.calls]
        return [ToolCallDelta(index, arguments=rest) for index, rest in rests if rest]

    def _another(self, call: _Call, piece: ToolCallDelta) -> bool:
        """Some servers give every call the same index: whether this piece begins another call."""
        if piece.id and call.id and piece.id != call.id and piece.name:
            return True
        if self._snapshots != "never":
            return False
        # A call whole in its own chunk, or a second object behind a whole one, without an id that could tell.
        begins = piece.name or piece.arguments.lstrip().startswith("{")
        return bool(begins) and not (piece.id and piece.id == call.id and not piece.arguments) and call.is_complete()


class _Call:
    def __init__(self, index: int, snapshots: str, name: str = "") -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments = Channel(snapshots)
        self._pieces: list[str] = []
        self._name_to_send = name  # of the call before, where this one has no head of its own
        self._looks = 0

    @property
    def text(self) -> str:
        """The arguments so far."""
        if len(self._pieces) != 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def is_complete(self) -> bool:
        """Whether the arguments so far are a whole JSON object."""
        if not self._pieces or not self._pieces[-1].rstrip().endswith("}") or self._looks >= MAX_LOOKS:
            return False
        self._looks += 1
        try:
            return isinstance(msgspec.json.decode(self.text), dict)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False

    def says_again(self, piece: ToolCallDelta) -> bool:
        """Whether a piece is the whole call that came in pieces before, under the id that it has."""
        same = bool(piece.id) and piece.id == self.id and bool(piece.arguments) and piece.arguments == self.text
        return same and self.is_complete()

    def take(self, piece: ToolCallDelta) -> ToolCallDelta | None:
        name = self._more_of_the_name(piece.name or self._name_to_send)
        self._name_to_send = ""
        id = ""
        if not self.id and (piece.id or name or piece.arguments):
            # Clients need an id to answer a call; where the upstream sends none, one is made.
            id = self.id = piece.id or made_id(self.index)
        self.name += name
        arguments = self.arguments.piece(piece.arguments) if piece.arguments else ""
        if arguments:
            self._pieces.append(arguments)
        if not (id or name or arguments or piece.extra_content):
            return None
        return ToolCallDelta(self.index, id, name, arguments, piece.extra_content)

    def _more_of_the_name(self, name: str) -> str:
        """A name may come once, again in every piece, or in several pieces; once arguments came it is a repetition."""
        if not self.name:
            return name
        if name.startswith(self.name):
            return name[len(self.name) :]
        return "" if self._pieces or self.name.endswith(name) else name
