"""What a request needs before its first step is made beside the loop, which goes on."""

from __future__ import annotations

import threading
import time

import pytest

from providers.errors import Rejected
from providers.local.engine.preprocessing import Preprocessing
from providers.local.wire import BrokenFrame, Failed, Piece
from tests.providers.local.engine.running import a_loop, asking


class Gate:
    """Makes sequences as the engine does, but those that ask "slow …" only when the gate is opened."""

    def __init__(self, make) -> None:
        self._make = make
        self.open = threading.Event()

    def __call__(self, key, ask):
        if ask.messages[0]["content"].startswith("slow"):
            assert self.open.wait(10)
        return self._make(key, ask)


@pytest.fixture
def loop(models):
    return a_loop(models["qwen3"][0])


@pytest.fixture
def gate(loop):
    loop.preprocessing.make = gate = Gate(loop.preprocessing.make)
    yield gate
    gate.open.set()
    loop.preprocessing.settle()


def ask(loop, number: int, text: str, owner: int = 1, **told) -> Failed | None:
    made = asking(text, **told)
    made.id = number
    return loop.ask((owner, number), made)


def steps(loop, until) -> list[tuple[tuple[int, int], Piece | Failed]]:
    """What the steps bring until `until` of it is true."""
    sent: list[tuple[tuple[int, int], Piece | Failed]] = []
    last = time.monotonic() + 60
    while not until(sent):
        assert time.monotonic() < last
        sent += loop.step()
    return sent


def ended(number: int):
    return lambda sent: any(key[1] == number and getattr(told, "finish_reason", "failed") for key, told in sent)


def test_a_request_that_is_slow_to_prepare_stops_no_other_stream(loop, gate):
    assert ask(loop, 1, "hello", max_tokens=50) is None
    steps(loop, bool)
    assert ask(loop, 2, "slow") is None
    assert {key for key, _ in steps(loop, ended(1))} == {(1, 1)}
    assert not loop.busy
    gate.open.set()
    assert {key for key, _ in steps(loop, ended(2))} == {(1, 2)}


def test_a_readers_requests_begin_in_the_order_in_which_they_were_asked(loop, gate):
    for number, (text, cache_salt) in enumerate([("slow", "a"), ("hello", "a"), ("hello", "b")]):
        ask(loop, number, text, cache_salt=cache_salt)
    assert {key[1] for key, _ in steps(loop, ended(2))} == {2}
    gate.open.set()
    loop.preprocessing.settle()
    loop.scheduler.max_batch = 1
    first, *_ = (key[1] for key, _ in steps(loop, ended(1)))
    assert first == 0


def test_a_request_that_is_cancelled_before_it_is_ready_is_forgotten(loop, gate):
    ask(loop, 1, "slow")
    loop.cancel((1, 1))
    ask(loop, 1, "hello", owner=2)
    gate.open.set()
    assert {key for key, _ in steps(loop, ended(1))} == {(2, 1)}
    loop.preprocessing.settle()
    assert not loop.busy and loop.step() == []
    assert loop.scheduler.blocks.available == loop.scheduler.blocks.count - 1


def test_a_connection_that_goes_takes_along_what_is_in_preparation(loop, gate):
    for number in range(8):  # more than are prepared at once
        ask(loop, number, "slow")
    loop.cancel_all(1)
    gate.open.set()
    loop.preprocessing.settle()
    assert not loop.busy


def test_what_is_in_preparation_counts_in_the_queue(models):
    loop = a_loop(models["qwen3"][0], max_batch=1, max_queue=1)
    loop.preprocessing.make = gate = Gate(loop.preprocessing.make)
    assert [bool(ask(loop, number, "slow")) for number in range(3)] == [False, False, True]
    assert ask(loop, 4, "hello").code == "overloaded"
    gate.open.set()
    steps(loop, ended(1))


@pytest.mark.parametrize("when", ["in preprocessing", "running"])
def test_two_requests_under_one_number_break_their_connection(loop, gate, when):
    ask(loop, 1, "slow" if when == "in preprocessing" else "hello")
    if when == "running":
        steps(loop, bool)
    with pytest.raises(BrokenFrame, match="id 1"):
        ask(loop, 1, "hello")
    gate.open.set()
    steps(loop, ended(1))
    assert ask(loop, 1, "hello") is None  # the number is free again
    steps(loop, ended(1))


def test_readers_take_turns_in_preparation():
    begun, gate = [], threading.Event()

    def make(key, ask):
        begun.append(key[1])
        assert gate.wait(10)
        raise Rejected("enough is known")

    preprocessing = Preprocessing(make)
    for number in range(20):
        preprocessing.begin((1, number), asking("x", cache_salt="greedy"))
    preprocessing.begin((1, 100), asking("x", cache_salt="modest"))
    preprocessing.begin((1, 101), asking("x", cache_salt="modest"))
    preprocessing.begin((1, 200), asking("x", cache_salt="another"))
    gate.set()
    preprocessing.settle()
    # Two were under way when the others came.
    assert set(begun[:2]) == {0, 1}
    assert begun.index(100) < 5 and begun.index(200) < 5 and begun.index(101) < 8
    greedy = [number for number in begun if number < 20]
    assert all(abs(number - at) <= 1 for at, number in enumerate(greedy)), "two threads begin them, in order"


class Panic(BaseException):
    """As the libraries written in Rust raise it."""


def test_whoever_waits_is_woken_when_something_is_ready_be_it_a_failure():
    def make(key, ask):
        raise Panic

    woken = threading.Event()
    preprocessing = Preprocessing(make)
    preprocessing.wake = woken.set
    preprocessing.begin((1, 1), asking("hello"))
    assert woken.wait(10)
    assert preprocessing.ready() == [(1, 1)]
    assert preprocessing.take((1, 1)).code == "internal"
    assert preprocessing.ready() == []


LONG = "How many stations? 沈塘桥 " * 40_000
COLUMNS = {f"table_{i}": [f"column_{i}_{j}" for j in range(25)] for i in range(100)}


@pytest.mark.parametrize(
    "told", [{"text": LONG}, {"text": "x", "constrain": "sql", "constrain_schema": COLUMNS}], ids=["text", "schema"]
)
def test_long_texts_and_large_schemas_leave_the_interpreter_to_others(models, told):
    loops = [a_loop(models["qwen3"][0]) for _ in range(3)]
    # A busy machine may keep this thread waiting too, but not each time.
    assert any(longest_wait(loop.preprocessing, told) < 0.5 for loop in loops)


def longest_wait(preprocessing, told) -> float:
    """How long this thread had to wait at a time while a request was prepared, as a share of the whole."""
    preprocessing.make.keywords["max_context"] = 1 << 20
    began = last = time.perf_counter()
    done = threading.Event()
    preprocessing.wake = done.set
    preprocessing.begin((1, 1), asking(**told))
    longest = 0.0
    while not done.wait(0.0005):
        longest = max(longest, time.perf_counter() - last)
        last = time.perf_counter()
    assert preprocessing.take((1, 1)).tokens
    return longest / (last - began)
