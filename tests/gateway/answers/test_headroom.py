"""What makes a worker refuse new questions before any upstream could look at fault."""

from __future__ import annotations

import itertools
import os
import resource

import pytest

from gateway.answers.answers import Answers
from gateway.answers.headroom import RESERVED, Descriptors, Lateness
from gateway.errors import Failure
from gateway.settings import Server


def a_busy_loop() -> Lateness:
    """One whose thread computes all the time: a second of processor time passes at each look."""
    return Lateness(itertools.count().__next__)


def test_a_loop_is_late_when_it_was_late_twice():
    loop = a_busy_loop()
    assert loop.seconds(100.0) == 0
    loop.ran(0.4, 10.0)
    assert loop.seconds(9.9) <= 0.25
    # The turn that runs now counts as well.
    assert loop.seconds(10.3) == pytest.approx(0.3)
    loop.ran(0.5, 11.0)
    assert loop.seconds(10.5) == 0.4
    loop.ran(0.01, 12.0)
    assert loop.seconds(11.5) == 0.01


def test_a_loop_that_the_system_did_not_let_run_is_not_busy():
    loop = Lateness(lambda: 0.0)
    loop.ran(3.0, 10.0)
    loop.ran(3.0, 20.0)
    assert loop.seconds(30.0) == 0
    assert not loop.too_late


def test_a_late_loop_refuses_questions_with_a_time_to_wait_and_then_takes_them():
    answers = Answers(Server())
    answers.lateness = a_busy_loop()
    answers.lateness.ran(0.3, float("inf"))
    answers.lateness.ran(0.3, float("inf"))
    with pytest.raises(Failure) as caught:
        answers.admit("")
    assert (caught.value.code, caught.value.retry_after) == ("overloaded", 1)
    answers.lateness.ran(0.0, float("inf"))
    answers.admit("")


def test_descriptors_are_short_before_the_last_one_is_taken():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + RESERVED + 3, hard))
        descriptors = Descriptors()
        taken = []
        while not descriptors.short:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        assert 1 <= len(taken) <= 4
        for one in taken:
            os.close(one)
        assert not descriptors.short
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
