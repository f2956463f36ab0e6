from __future__ import annotations

import itertools

import gevent
import pytest

from gateway.text2sql import cpu_slot
from gateway.text2sql.cpu_slot import in_cpu_slot


def test_between_two_computations_the_loop_goes_round(monkeypatch):
    monkeypatch.setattr(cpu_slot, "APART_S", 1e9)  # however slow the machine is
    order = []

    def computing(n):
        in_cpu_slot(lambda: order.append(n))

    def ticking():
        while True:
            order.append("tick")
            gevent.sleep(0.0001)

    ticker = gevent.spawn(ticking)
    gevent.joinall([gevent.spawn(computing, n) for n in range(100)], raise_error=True)
    ticker.kill()
    # A timer of somebody else's had its turn between any two of them but perhaps the first.
    computed = [n for n, word in enumerate(order) if word != "tick"]
    assert sorted(order[n] for n in computed) == list(range(100))
    assert all("tick" in order[one:other] for one, other in itertools.pairwise(computed))


def test_a_failure_ends_the_turn():
    with pytest.raises(ZeroDivisionError):
        in_cpu_slot(lambda: 1 // 0)
    assert in_cpu_slot(lambda: "next") == "next"
