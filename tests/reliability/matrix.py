"""The matrix of faults: its rows are data (matrix.yaml), and this plays one of them on a chain of real parts."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from tests.reliability.forms import FORMS
from tests.reliability.numbered import problems
from tests.reliability.proxy import Fault
from tests.reliability.reader import Reader
from tests.reliability.rig import STREAMS, Chain, at_most

ROWS = Path(__file__).with_name("matrix.yaml")
CLOSED_S = 0.2
# A reader gives up when nothing, not even a heartbeat (every 0.5 s here), came for so long.
SILENCE_S = 1.5

FAULTS = {
    "latency": Fault(latency_s=0.03),
    "slices": Fault(slices=(1, 2, 3, 7)),
    "sliced request": Fault(slices=(1, 2, 3, 7), up=True),
    "refused": Fault(refuse=True),
    "reset": Fault(reset_after=0),
    "reset after 900 bytes": Fault(reset_after=900),
    "reset after 3000 bytes": Fault(reset_after=3000),
    "close": Fault(limit=0),
    "close after 900 bytes": Fault(limit=900),
    "close after 3000 bytes": Fault(limit=3000),
    "half-close": Fault(half_close_after=0),
    "half-close of the request": Fault(half_close_after=0, up=True),
    "black hole": Fault(black_hole_after=0),
}

# when → the stream that is in that state for long enough
STATES = {
    "before connect": "steady",
    "before head": "mute",
    "before first token": "late",
    "between tokens": "steady",
    "in silence": "lull",
    "throughout": "steady",
}


PATHS = {name: form.asking("", "", {})[0] for name, form in FORMS.items()}


@dataclass(frozen=True)
class Row:
    """One row; matrix.yaml says what its members mean."""

    at: str
    fault: str
    when: str
    end: str
    again: str = ""
    closed: bool = False
    asked: int = 1
    way: str = "nginx"
    form: str = "answers"
    full: bool = False

    def __str__(self) -> str:
        promise = ", closed" if self.closed else ", again" if self.again else ""
        return f"{self.at}, {self.fault}, {self.when}{self.how}{promise}"

    @property
    def how(self) -> str:
        """The way and the form, where they are not the usual ones."""
        form = "" if self.form == "answers" else f", {PATHS[self.form]}"
        return (", direct" if self.way == "direct" else "") + form

    @property
    def resuming(self) -> bool:
        """Whether its gateway waits for readers to return, instead of closing the upstream at once.

        It does so for the clients that cannot return, too: their upstreams have to be closed all the same.
        """
        return not self.closed or FORMS[self.form].closes_at_once

    @property
    def must(self) -> str:
        """What must come out, in words."""
        promises = [f"`{self.end}`"]
        if self.again:
            promises.append(f"coming back gives the rest, `{self.again}`")
        if self.closed:
            promises.append(f"upstream closed within {CLOSED_S} s")
        return "; ".join([*promises, f"asked {('never', 'once')[self.asked]}"])


@cache
def rows() -> list[Row]:
    """All rows, in the file's order."""
    return [Row(**members) for members in yaml.safe_load(ROWS.read_text("utf-8"))]


_streams = itertools.count(1)


def play(row: Row, chain: Chain) -> list[str]:
    """Play the row; what did not come out as it must, a sentence each."""
    provider = "planned" if row.at == "upstream" else STATES[row.when]
    if row.closed:
        # Nothing else ends these streams but the client's leaving.
        provider = {"late": "mute", "lull": "silent", "steady": "slow"}[provider]
    elif row.again and row.form == "chat":
        # Who comes back to a chat finds only what still runs.
        provider = "slow"
    count = STREAMS[provider][1]
    stream = f"m{next(_streams)}"
    address = {"direct": chain.gateway.address, "nginx": chain.to_nginx.address}[row.way]
    # A client of OpenAI's routes without a key cannot come back.
    keyed = not (row.closed and FORMS[row.form].closes_at_once)
    reader = Reader(address, stream, count, provider, row.form, keyed)  # type: ignore[arg-type]
    if row.at == "upstream":
        chain.upstream.plan_next(row.fault)
    try:
        struck_at = _strike(row, chain, reader)
        reader.read(silence_s=SILENCE_S)
        found = _ending(row, reader)
    except TimeoutError as error:
        found = [f"silence: {error}"]
    finally:
        for proxy in chain.places.values():
            proxy.set(None)
    if row.again:
        found += _again(row, reader)
    elif row.at != "upstream" or "count" in row.fault:
        found += problems(reader.recording, ends=row.end if row.end.startswith(("done", "failed")) else "")
    asked = len(chain.asked(stream))
    if asked != row.asked:
        found.append(f"the upstream was asked {asked} times")
    if row.closed and not found:
        closed_at = chain.closed_at(stream, at_most(CLOSED_S) + 0.3)
        if closed_at is None or closed_at - struck_at > at_most(CLOSED_S):
            found.append(f"the upstream was not closed within {at_most(CLOSED_S):g} s")
    reader.leave()
    return found


def _strike(row: Row, chain: Chain, reader: Reader) -> float:
    """Ask, and let the fault happen at its moment; returns that moment."""
    stream = reader.recording.stream
    early = row.when in ("before connect", "throughout") and row.at in chain.places
    if early:
        chain.places[row.at].set(FAULTS[row.fault])
        # A connection that was kept from the row before would not have to be made.
        chain.places[row.at].cut()
    reader.ask()
    if early or row.at == "upstream":
        return time.monotonic()
    if row.when in ("before first token", "before head"):
        chain.upstream.wait_until(lambda: bool(chain.asked(stream)))
        # The upstream's head, where it sends one, is on its way.
        time.sleep(0.05)
    else:
        reader.read_events(2 if row.when == "in silence" else 8)
    if row.at == "client":
        return _misbehave(row, reader)
    chain.places[row.at].set(FAULTS[row.fault])
    return time.monotonic()


def _misbehave(row: Row, reader: Reader) -> float:
    at = reader.half_close() if row.fault == "half-closes" else reader.leave(reset=row.fault == "resets")
    reader.broke = True
    return at


def _ending(row: Row, reader: Reader) -> list[str]:
    if row.end == reader.end or (row.end == "cut" and reader.broke and reader.end not in ("done", "failed")):
        return []
    return [f"it ended with {reader.end or 'nothing'} instead of {row.end}"]


def _again(row: Row, reader: Reader) -> list[str]:
    try:
        reader.follow().read(silence_s=SILENCE_S)
    except TimeoutError as error:
        return [f"silence, on coming back: {error}"]
    return [f"on coming back: {problem}" for problem in problems(reader.recording, ends=row.again)]
