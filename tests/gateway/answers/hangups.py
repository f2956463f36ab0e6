"""What the upstream saw of a client that left."""

from __future__ import annotations

from typing import Any

from providers.scripted import Upstream
from tests.reliability.rig import at_most

# Far above what closing takes (a few ms), far below the next heartbeat.
AT_ONCE_S = at_most(0.5)


def connection_of(upstream: Upstream, question: str) -> Any:
    """The upstream's connection on which `question` is being answered; waits until it is."""

    def found() -> list[Any]:
        return [one for one in upstream.asked if one.body["messages"][-1]["content"] == question]

    assert upstream.wait_until(lambda: bool(found()), 5)
    number = found()[-1].connection
    return next(connection for connection in upstream.ledger.connections if connection.number == number)


def closes(upstream: Upstream, connection: Any, timeout_s: float = AT_ONCE_S) -> bool:
    return upstream.wait_until(lambda: connection.closed_at is not None, timeout_s)
