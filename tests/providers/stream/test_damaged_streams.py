"""Recorded streams, damaged at random: whatever comes, a reply ends once, and in a form that can be sent on."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from providers.delta import FINISH_REASONS, Delta
from providers.errors import ProviderError
from providers.wires.adapter import MAX_MESSAGE, presentable
from tests.cases import Case
from tests.providers.stream.recorded import REFUSALS, STREAMS, adapter_of, read

TIMES = 25
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    float("inf"),
    2**70,
    "",
    "x",
    "null",
    "\ud83d",
    [],
    ["a"],
    [{}],
    {},
    {"a": 1},
]


def damaged(body: bytes, chance: random.Random) -> bytes:
    """The body with one value of one chunk replaced, or with some bytes changed, lost, added or repeated."""
    lines = body.split(b"\n")
    with_json = [number for number, line in enumerate(lines) if b"{" in line]
    if with_json and chance.random() < 0.6:
        number = chance.choice(with_json)
        head, _, rest = lines[number].partition(b"{")
        try:
            lines[number] = head + json.dumps(other(json.loads(b"{" + rest), chance)).encode()
            return b"\n".join(lines)
        except ValueError:
            pass  # half of some JSON: the bytes will do
    changed = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(changed) + 1), chance.randint(1, 20)
        kind = chance.randrange(4)
        if kind == 0:
            changed[at : at + 1] = chance.randbytes(1)
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = chance.randbytes(length)
        else:
            changed[at:at] = changed[max(0, at - 4 * length) : at]
    return bytes(changed)


def other(value: Any, chance: random.Random) -> Any:
    """`value` with something inside it replaced or taken away."""
    if not value or not isinstance(value, (dict, list)) or chance.random() < 0.15:
        return chance.choice(VALUES)
    key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    made = value.copy()
    if isinstance(made, dict) and chance.random() < 0.1:
        del made[key]
    else:
        made[key] = other(value[key], chance)
    return made


def judge(delta: Delta) -> None:
    """Everything in it is what its name says, and can be written as JSON in UTF-8."""
    strings = [delta.text, delta.reasoning]
    for call in delta.tool_calls:
        assert type(call.index) is int
        strings += [call.id, call.name, call.arguments]
    "".join(strings).encode()
    if delta.usage:
        assert all(type(tokens) is int and tokens >= 0 for tokens in delta.usage.as_dict().values())


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_a_damaged_stream_ends_once_and_well_formed(case: Case):
    chance = random.Random(case.name)
    for _ in range(TIMES):
        body = damaged(case.body, chance)
        deltas, failure = read(case, [body])
        ends = [delta.finish_reason for delta in deltas if delta.finish_reason]
        assert len(ends) + (failure is not None) == 1, body
        if ends:
            assert deltas[-1].finish_reason in FINISH_REASONS
        for delta in deltas:
            judge(delta)


@pytest.mark.parametrize("case", [case for case in REFUSALS if case.body], ids=str)
def test_a_damaged_refusal_is_a_failure_all_the_same(case: Case):
    chance = random.Random(case.name)
    for _ in range(TIMES):
        failure = adapter_of(case).failure(case.status, case.headers, damaged(case.body, chance))
        assert isinstance(failure, ProviderError)
        str(failure).encode()


def test_an_upstreams_words_are_safe_to_show_and_to_send_on():
    assert presentable("too\nfast \ud83d\x1b[31m\x00now\u2028你好") == "too fast [31m now 你好"
    assert len(presentable("long " * 10_000)) == MAX_MESSAGE
