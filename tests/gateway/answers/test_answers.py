"""Answers from the inside: one end each, bounded logs, and nothing left over."""

from __future__ import annotations

import json
import logging

import gevent
import pytest
from gevent.event import Event as Happened

from gateway.answers import retention as module
from gateway.answers.answers import Answers, Observer
from gateway.answers.production import AnswerRequest
from gateway.answers.reader import Progress, Reader
from gateway.answers.record import Record
from gateway.answers.steps import Done, Start, Text
from gateway.errors import Failure
from gateway.formats.native import Sse
from gateway.settings import Server
from providers.errors import CutOff
from tests.waiting import eventually


class Counting(Observer):
    def __init__(self):
        self.begun, self.ends = 0, []

    def started(self, answer):
        self.begun += 1

    def ended(self, answer):
        self.ends.append(answer.cause)


def said(*texts, end="stop"):
    yield [Start("p", "m")]
    for text in texts:
        yield [Text(text)]
    if end:
        yield [Done(end)]


def ask(answers, flow, **more):
    return answers.ask(AnswerRequest(flow, **more), lambda: None)


def read(answer):
    """Everything that a reader gets, once the answer has ended."""
    reader = Reader(answer, Sse(), None)
    reader.until_ended()
    reader.close()
    return answer.after(0).events


def names(answer):
    return [name for name, _ in read(answer)]


@pytest.fixture
def counting():
    return Counting()


@pytest.fixture
def answers(counting):
    return Answers(Server(resume_window_s=0), counting)


def raising(error, *texts):
    yield from said(*texts, end="")
    raise error


FLOWS = {
    "complete": (lambda: said("a"), ["start", "message", "done"], "stop"),
    "it says nothing": (lambda: said(), ["start", "done"], "stop"),
    "it stops without an end": (lambda: said("a", end=""), ["start", "message", "failed"], "internal"),
    "nothing at all": (lambda: iter(()), ["start", "failed"], "internal"),
    "it fails": (lambda: raising(CutOff("cut"), "a"), ["start", "message", "failed"], "truncated"),
    "a fault of ours": (lambda: raising(ZeroDivisionError(), "a"), ["start", "message", "failed"], "internal"),
    "no start is told": (lambda: iter([[Text("a"), Done("stop")]]), ["start", "message", "done"], "stop"),
    "it goes on after its end": (
        lambda: iter([[Text("a")], [Done("stop")], [Text("b")], [Done("stop")]]),
        ["start", "message", "done"],
        "stop",
    ),
    "it is killed": (lambda: raising(gevent.GreenletExit()), ["start", "failed"], "internal"),
}


@pytest.mark.parametrize("flow", FLOWS)
def test_every_answer_has_one_end_and_is_counted_once(answers, counting, flow):
    made, expected, cause = FLOWS[flow]
    assert names(ask(answers, made(), provider="p", model="m")) == expected
    assert (counting.begun, counting.ends) == (1, [cause])
    assert not answers.running


def test_stopping_an_answer_that_has_not_begun_asks_nothing(answers, counting):
    asked = []

    def flow():
        asked.append(True)
        yield from said("a")

    answer = ask(answers, flow())
    answer.cancel()
    answer.cancel()
    gevent.sleep(0)
    assert (names(answer), asked, counting.ends) == (["start", "done"], [], ["cancelled"])


def test_an_answer_that_said_nothing_has_no_time_of_a_first_token(answers):
    silent, spoke = ask(answers, said()), ask(answers, said("a"))
    ends = [read(answer)[-1].data["timing"] for answer in (silent, spoke)]
    assert ["first_token" in timing for timing in ends] == [False, True]
    assert ends[0].keys() | {"first_token"} == ends[1].keys()


def test_stopping_closes_the_flow_at_once(answers):
    closed, begun = Happened(), Happened()

    def flow():
        try:
            yield [Start("p", "m"), Text("a")]
            begun.set()
            gevent.sleep(60)
        finally:
            closed.set()

    answer = ask(answers, flow())
    assert begun.wait(1)
    answer.cancel()
    assert closed.wait(1)
    assert names(answer) == ["start", "message", "done"]


def test_an_answer_longer_than_its_log_fails_and_its_flow_is_closed(counting):
    closed = Happened()

    def flow():
        try:
            while True:
                yield [Text("x" * 100)]
                gevent.sleep(0)
        finally:
            closed.set()

    answer = ask(Answers(Server(log_bytes=1024), counting), flow())
    found = read(answer)
    assert closed.wait(1)
    assert (found[-1].name, found[-1].data["code"]) == ("failed", "upstream_too_large")
    assert answer.log.count == len(found)
    ids = [line for line in answer.after(0).sse.split(b"\n") if line.startswith(b"id: ")]
    assert ids == [f"id: {answer.id}.{n}".encode() for n in range(1, len(found) + 1)]


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([[Start("p", "m"), Text("x" * 2000)]], ["start", "failed"]),
        ([[Text("x" * 2000)]], ["start", "failed"]),
        ([[Start("p", "m"), Text("x" * 2000), Done("stop")]], ["start", "failed"]),
        ([[Start("p", "m"), Text("a")], [Text("x" * 2000), Done("stop")]], ["start", "message", "failed"]),
    ],
    ids=["the first batch", "the first batch, without a start", "the only batch", "the last batch"],
)
def test_every_batch_is_measured_and_the_start_comes_first(counting, batches, expected):
    answer = ask(Answers(Server(log_bytes=1024), counting), iter(batches), provider="p", model="m")
    found = read(answer)
    assert [name for name, _ in found] == expected
    assert (found[0].data["provider"], found[-1].data["code"]) == ("p", "upstream_too_large")
    ids = [line for line in answer.after(0).sse.split(b"\n") if line.startswith(b"id: ")]
    assert ids == [f"id: {answer.id}.{n}".encode() for n in range(1, len(found) + 1)]
    assert counting.ends == ["upstream_too_large"]


def test_an_answer_expires_some_time_after_its_end_with_its_key():
    answers = Answers(Server(log_age_s=0.5))
    answer = ask(answers, said("a"), idempotency=("k", "d"))
    read(answer)
    assert answers.find(answer.id, "") is answer
    eventually(lambda: not answers.kept(), 5, sleep=gevent.sleep)
    with pytest.raises(Failure) as caught:
        answers.find(answer.id, "")
    assert caught.value.code == "not_found"
    assert ask(answers, said("b"), idempotency=("k", "other")) is not answer


def test_ended_answers_are_kept_within_bounds(monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 50_000)
    answers = Answers(Server())
    made = [ask(answers, said("x" * 2000)) for _ in range(30)]
    for answer in made:
        read(answer)
    kept = answers.kept()
    assert 0 < len(kept) < 10
    assert kept == made[-len(kept) :]


def test_the_oldest_alone_go_however_many_came_before(monkeypatch, counting):
    """What a forgotten answer was counted for is given back whole, its question too."""
    monkeypatch.setattr(module, "KEPT_BYTES", 50_000)
    answers = Answers(Server(), counting)
    made = [ask(answers, said("a"), record=Record("汉" * 1000, "d")) for _ in range(40)]
    for answer in made:
        read(answer)
    assert len(answers.kept()) == 5
    assert answers.kept() == made[-5:]
    assert counting.ends == ["stop"] * 40


def test_an_answer_that_is_not_kept_is_accounted_for(monkeypatch, counting):
    monkeypatch.setattr(module, "KEPT_BYTES", 1000)
    answers = Answers(Server(), counting)
    assert names(ask(answers, said("a"))) == ["start", "message", "done"]
    assert (answers.kept(), counting.ends) == ([], ["stop"])
    assert not answers.running


def test_accounts_that_fail_harm_no_answer(caplog):
    class Failing(Observer):
        def started(self, answer):
            raise OSError("disk full")

        ended = started

    with caplog.at_level(logging.ERROR):
        assert names(ask(Answers(Server(), Failing()), said("a"))) == ["start", "message", "done"]
    assert "could not be logged or counted" in caplog.text


def test_a_reader_that_cannot_be_written_for_harms_no_other(answers):
    go_on = Happened()

    def flow():
        yield [Start("p", "m"), Text("a")]
        go_on.wait(1)
        yield [Text("b"), Done("stop")]

    class Broken(Sse):
        def write(self, batch):
            raise ValueError

    answer = ask(answers, flow())
    broken, well = Reader(answer, Broken(), None), Reader(answer, Sse(), None)
    broken.progress = Progress.PUSHED
    go_on.set()
    well.until_ended()
    assert [name for name, _ in answer.after(0).events] == ["start", "message", "message", "done"]
    assert broken.gone
    broken.close()
    well.close()


def endless():
    yield [Start("p", "m"), Text("a")]
    gevent.sleep(30)


def test_draining_waits_then_ends_what_still_runs():
    answers = Answers(Server(drain_s=0.1))
    quick = ask(answers, said("a"))
    slow = ask(answers, endless())
    answers.drain()
    assert names(quick)[-1] == "done"
    assert read(slow)[-1].data["code"] == "shutting_down"
    with pytest.raises(Failure) as caught:
        ask(answers, said("c"))
    assert (caught.value.code, caught.value.status) == ("shutting_down", 503)


def test_nothing_of_an_ended_answer_runs_on(answers, monkeypatch):
    spawned, spawn = [], gevent.spawn
    monkeypatch.setattr(gevent, "spawn", lambda *told: spawned.append(spawn(*told)) or spawned[-1])
    for _ in range(50):
        answer = ask(answers, said("a", "b"))
        read(answer)
    gevent.sleep(0)
    # The sweeper, once.
    assert len(spawned) == 51
    assert sum(not greenlet.dead for greenlet in spawned) == 1


def test_the_last_reader_that_leaves_stops_the_answer_after_the_window(counting):
    answers = Answers(Server(resume_window_s=0.05), counting)
    answer = ask(answers, endless())
    first, second = Reader(answer, Sse(), None), Reader(answer, Sse(), None)
    first.hold(1)
    first.close()
    gevent.sleep(0.15)
    assert not answer.ended
    second.close()
    third = Reader(answer, Sse(), None)
    gevent.sleep(0.15)
    assert not answer.ended
    third.close()
    eventually(lambda: counting.ends, 5, sleep=gevent.sleep)
    assert counting.ends == ["cancelled"]


class Slow:
    """A shared log whose answer about a key takes a moment; `held` is who has the key already."""

    def __init__(self, held=None):
        self.up, self.held, self.claims = True, held, 0

    def put(self, answer):
        return False

    def claim(self, answer):
        self.claims += 1
        gevent.sleep(0.05)
        return self.held

    def find(self, answer_id, owner):
        raise Failure("not_found", "no")

    def followed_elsewhere(self, answer):
        return False


def at_once(*calls):
    """What each of these gives, or the failure that it raises, when all are called at the same time."""

    def told(call):
        try:
            return call()
        except Failure as failure:
            return failure

    greenlets = [gevent.spawn(told, call) for call in calls]
    gevent.joinall(greenlets, timeout=5, raise_error=True)
    return [greenlet.value for greenlet in greenlets]


def test_one_key_asked_several_times_while_the_shared_log_is_slow_is_one_answer(counting):
    answers = Answers(Server(log_age_s=0.05), counting)
    answers.shared = Slow()
    same = [lambda: ask(answers, said("a"), idempotency=("k", "d"))] * 3
    first, *others, another = at_once(*same, lambda: ask(answers, said("a"), idempotency=("k", "other")))
    assert others == [first, first]
    assert (another.code, another.status) == ("bad_request", 422)
    assert answers.shared.claims == counting.begun == 1
    read(first)
    eventually(lambda: not answers.kept(), 5, sleep=gevent.sleep)


def test_whoever_waits_for_a_key_asks_itself_when_the_first_was_refused():
    answers = Answers(Server())
    answers.shared = Slow()

    def refused():
        gevent.sleep(0.05)
        raise Failure("rate_limited", "too many")

    first, second = at_once(
        lambda: answers.ask(AnswerRequest(said("a"), idempotency=("k", "d")), refused),
        lambda: ask(answers, said("a"), idempotency=("k", "d")),
    )
    assert first.code == "rate_limited"
    assert names(second)[-1] == "done"


def test_no_more_answers_run_than_may_however_slow_the_shared_log_is(counting):
    answers = Answers(Server(max_streams=3), counting, streams_per_key=2)
    answers.shared = Slow()
    made = at_once(
        *[lambda n=n: ask(answers, endless(), owner="one", idempotency=(f"k{n}", "d")) for n in range(5)],
        *[lambda n=n: ask(answers, endless(), owner=f"{n}", idempotency=("k", "d")) for n in range(5)],
    )
    assert [getattr(one, "code", "") for one in made] == ["", "", *["rate_limited"] * 3, "", *["overloaded"] * 4]
    assert len(answers.running) == counting.begun == 3
    for answer in list(answers.running):
        answer.cancel()
    assert names(ask(answers, said("a")))[-1] == "done"


def test_a_place_is_free_again_when_the_key_is_another_worker_s():
    answers = Answers(Server(max_streams=1))
    answers.shared = Slow(held=("elsewhere", "d"))
    for _ in range(2):
        with pytest.raises(Failure) as caught:
            ask(answers, said("a"), idempotency=("k", "d"))
        assert "cannot be read now" in str(caught.value)
    assert names(ask(answers, said("a")))[-1] == "done"


def test_while_the_shared_log_is_lost_nobody_waits_for_it():
    answers = Answers(Server())
    answers.shared = Slow()
    answers.shared.up = False
    assert names(ask(answers, said("a"), idempotency=("k", "d")))[-1] == "done"
    assert answers.shared.claims == 0


def test_a_question_that_is_still_coming_when_the_drain_ends_has_its_end_too(counting):
    answers = Answers(Server(drain_s=0.01), counting)
    answers.shared = Slow()
    coming = gevent.spawn(ask, answers, endless(), idempotency=("k", "d"))
    gevent.sleep(0)
    answers.drain()
    assert read(coming.get(timeout=5))[-1].data["code"] == "shutting_down"
    assert counting.ends == ["shutting_down"]


def test_the_window_begins_anew_with_the_last_that_leaves(monkeypatch):
    windows, spawn_later = [], gevent.spawn_later
    monkeypatch.setattr(gevent, "spawn_later", lambda *told: windows.append(spawn_later(*told)) or windows[-1])
    answer = ask(Answers(Server(resume_window_s=60)), endless())
    Reader(answer, Sse(), None).close()
    # Somebody on another worker came and went meanwhile.
    answer.maybe_abandon()
    back = Reader(answer, Sse(), None)
    gevent.sleep(0)
    assert [window.dead for window in windows] == [True, True]
    back.close()
    gevent.sleep(0)
    assert [window.dead for window in windows] == [True, True, False]
    answer.cancel()


def test_an_event_is_json_on_one_line(answers):
    answer = ask(answers, said("a\n\nb\r\u2028"))
    read(answer)
    for block in answer.after(0).sse.split(b"\n\n")[:-1]:
        *_, data = block.split(b"\n")
        json.loads(data.removeprefix(b"data: "))
