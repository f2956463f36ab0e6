"""Each recorded stream through the real decoder, adapter and normaliser, however the network cut it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from providers.catalogue import WIRES
from providers.errors import ProviderError
from tests.cases import Case
from tests.providers.stream.recorded import CASES, REFUSALS, STREAMS, adapter_of, expected, read

Cut = Callable[[bytes], Iterator[list[bytes]]]


def judge(case: Case, failure: ProviderError) -> None:
    """A failure is what the case says of it."""
    assert case.failure is not None, failure
    wanted = dict(case.failure)
    assert failure.code == wanted.pop("code"), failure.message
    assert wanted.pop("says", "") in failure.message
    for name, value in wanted.items():
        assert getattr(failure, name) == value, name


def whole(body: bytes) -> Iterator[list[bytes]]:
    yield [body]


def by_byte(body: bytes) -> Iterator[list[bytes]]:
    yield [body[at : at + 1] for at in range(len(body))]


def at_every_position(body: bytes) -> Iterator[list[bytes]]:
    for at in range(1, len(body)):
        yield [body[:at], body[at:]]


@pytest.mark.parametrize("cut", [whole, by_byte, at_every_position])
@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_the_reply_is_the_same_however_the_network_cuts_it(case: Case, cut: Cut):
    for pieces in cut(case.body):
        deltas, failure = read(case, pieces)
        assert deltas == expected(case), [len(piece) for piece in pieces][:4]
        assert (failure is None) == (case.failure is None), failure
        if failure:
            judge(case, failure)


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_a_refusal_is_named_by_what_it_means(case: Case):
    judge(case, adapter_of(case).failure(case.status, case.headers, case.body))


COMPLETE = [case for case in STREAMS if case.finish_reason]


# Where snapshots are only guessed, what was held back when the stream broke off is not told apart.
def _grows(case: Case) -> bool:
    """Whether a body cut anywhere gives a beginning of the reply: not where half a tag, or a reason taken back, is."""
    tags = any(tag in case.body for tag in (b"<think", b"<thou"))
    return case.configuration.get("snapshots") != "auto" and not tags and "taken back" not in case.name


@pytest.mark.parametrize("case", [case for case in COMPLETE if _grows(case)], ids=str)
def test_a_body_that_ends_anywhere_is_never_a_longer_or_another_reply(case: Case):
    """Whatever was cut off the end: what came is a prefix of the reply, and its end is the reply's own or a failure."""
    # Text that is held until a closing tag comes is text where the body ends before the tag.
    holds = case.configuration.get("think_tags") is True
    reply = "".join(delta.reasoning * holds + delta.text for delta in case.deltas)
    for at in range(len(case.body)):
        reading = adapter_of(case).reply_reader(case.content_type)
        deltas = reading.feed(case.body[:at])
        if not (reading.ended or reading.failure):
            deltas += reading.end(cut=True)
        text = "".join(delta.reasoning * holds + delta.text for delta in deltas)
        if reading.failure:
            assert reading.failure.code in ("truncated", "upstream_protocol")
        else:
            assert deltas[-1].finish_reason == case.finish_reason
        assert reply.startswith(text.removesuffix("\ufffd"))


def test_there_are_enough_cases_on_every_wire():
    count = Counter(case.wire for case in CASES)
    assert set(count) == set(WIRES) - {"local"}
    assert min(count.values()) >= 12
    assert sum(count.values()) >= 120
