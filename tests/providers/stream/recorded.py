"""The recorded streams, and the real decoder, adapter and normaliser that read them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from providers.catalogue import WIRES
from providers.configuration import ProviderConfiguration
from providers.delta import Delta
from providers.errors import ProviderError
from tests.cases import Case, recorded_cases

CASES = recorded_cases()
STREAMS = [case for case in CASES if case.status == 200]
REFUSALS = [case for case in CASES if case.status != 200]


@cache
def adapter(wire: str, configuration: str) -> Any:
    provider = ProviderConfiguration(**json.loads(configuration))
    return WIRES[wire].load().Adapter(provider, "case")


def adapter_of(case: Case) -> Any:
    return adapter(case.wire, json.dumps(case.provider))


def expected(case: Case) -> list[Delta]:
    """What the case says that comes of it, its last delta included."""
    if case.failure:
        return case.deltas
    end = Delta(finish_reason=case.finish_reason, usage=case.usage, finish_reason_raw=case.finish_reason_raw)
    return [*case.deltas, end]


def read(case: Case, pieces: list[bytes]) -> tuple[list[Delta], ProviderError | None]:
    """The deltas of one reply as the pieces of its body come, and how it failed."""
    reading = adapter_of(case).reply_reader(case.content_type)
    out: list[Delta] = []
    for piece in pieces:
        out += reading.feed(piece)
        if reading.ended or reading.failure:
            break
    else:
        out += reading.end(cut=case.cut)
    return out, reading.failure
