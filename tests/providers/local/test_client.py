"""From a question in the worker to an engine in its own process, and back."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from functools import reduce
from pathlib import Path
from types import SimpleNamespace

import gevent
import pytest

from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.delta import Delta
from providers.errors import ContextTooLong, EngineDied, EngineTimeout, Overloaded, Rejected, TimedOut, Unreachable
from providers.local import socket_path
from providers.local.client import Adapter
from providers.local.wire import Ask, frame, from_engine
from tests.reliability.rig import at_most


def asking(text: str = "hello", **told) -> ChatRequest:
    return ChatRequest.of([{"role": "user", "content": text}], **{"temperature": 0, "max_tokens": 30} | told)


def deltas(adapter: Adapter, request: ChatRequest) -> list[Delta]:
    return [delta for batch in adapter.ask(request) for delta in batch]


def text(told: list[Delta]) -> str:
    return "".join(delta.text for delta in told)


def engine_pids(adapter: Adapter) -> list[int]:
    """The engines are the supervisor's only children."""
    children = Path(f"/proc/{adapter.supervisor.pid}/task/{adapter.supervisor.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def engine_pid(adapter: Adapter) -> int:
    return engine_pids(adapter)[0]


def until(condition, seconds: float = 60) -> None:
    with gevent.Timeout(seconds):
        while not condition():
            gevent.sleep(0.02)


def test_a_reply_streams_and_ends_with_its_usage(engine):
    batches = list(engine.ask(asking()))
    assert len(batches) > 5
    last = batches[-1][-1]
    assert last.finish_reason == "length" and last.text == ""
    assert (last.usage.completion_tokens, last.usage.total_tokens) == (30, last.usage.prompt_tokens + 30)
    assert all(delta.text and delta.finish_reason is None for batch in batches for delta in batch if delta is not last)


def test_many_replies_at_once_do_not_mix(engine):
    questions = [f"{word} {i}" for i in range(4) for word in ("hello", "沈塘桥", "stations", "line")]
    alone = {question: text(deltas(engine, asking(question))) for question in questions}
    together = [gevent.spawn(lambda q=question: (q, text(deltas(engine, asking(q))))) for question in questions]
    gevent.joinall(together, raise_error=True)
    assert dict(greenlet.value for greenlet in together) == alone


def test_a_second_question_finds_its_beginning_in_the_cache(engine):
    schema = "CREATE TABLE dtzpt (name TEXT, line TEXT); " * 5
    first, second = (deltas(engine, asking(schema + question))[-1].usage for question in ("which?", "how many?"))
    assert first.cached_tokens < 32 < second.cached_tokens < second.prompt_tokens


def test_a_question_of_a_megabyte_is_read_and_judged(engine):
    running = gevent.spawn(deltas, engine, asking(max_tokens=300))
    with pytest.raises(ContextTooLong):
        deltas(engine, asking("沈塘桥" * 100_000))
    assert running.get()[-1].finish_reason == "length"


def test_a_prompt_that_does_not_fit_is_told_before_anything_is_generated(engine):
    with pytest.raises(ContextTooLong, match="tokens"):
        deltas(engine, asking("station " * 2000))


def test_the_room_that_is_left_bounds_the_reply(engine):
    last = deltas(engine, asking("x" * 430, max_tokens=None))[-1]
    assert last.finish_reason == "length"
    assert last.usage.total_tokens == 512


def asks_for_ever(adapter: Adapter) -> None:
    """Until it is killed: one reply might be over before that, where the engine has a processor and we wait for one."""
    while True:
        deltas(adapter, asking(max_tokens=None))


@pytest.mark.parametrize("leave", ["close", "kill"])
def test_leaving_cancels_the_sequence(engine, leave):
    until(lambda: engine.status()["running"] == 0)
    if leave == "close":
        stream = engine.ask(asking(max_tokens=None))
        next(stream)
        stream.close()
    else:
        greenlet = gevent.spawn(asks_for_ever, engine)
        until(lambda: engine.status()["running"] == 1)
        greenlet.kill()
    report = engine.status()
    assert report["running"] == 0 and report["blocks_free"] == report["blocks"]


def test_a_killed_greenlet_is_not_woken_by_what_came_meanwhile(engine):
    """A step that is on its way when its reader is killed must not switch into whatever the greenlet does next."""

    def asks_then_sleeps():
        try:
            asks_for_ever(engine)
        except gevent.GreenletExit:
            began = time.monotonic()
            gevent.sleep(0.2)
            return time.monotonic() - began

    greenlets = [gevent.spawn(asks_then_sleeps) for _ in range(4)]
    gevent.sleep(0.1)
    gevent.killall(greenlets)
    assert all(greenlet.value >= 0.19 for greenlet in greenlets)


def test_an_image_is_refused_before_it_is_asked(engine):
    with pytest.raises(Rejected, match="text only"):
        engine.check(ChatRequest([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]))
    engine.check(ChatRequest([{"role": "user", "content": [{"type": "text", "text": "hello"}]}]))


def test_a_template_that_refuses_fails_that_request_alone(engine):
    other = gevent.spawn(deltas, engine, asking(max_tokens=100))
    with pytest.raises(Rejected, match="template"):
        deltas(engine, ChatRequest([{"content": "no role"}]))
    assert text(other.get())


def test_garbage_on_the_socket_closes_that_connection_only(engine):
    running = gevent.spawn(deltas, engine, asking(max_tokens=200))
    path = str(socket_path("local", engine._configuration))
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 3) + b"\xc1\xc1\xc1", struct.pack(">I", 1 << 31)):
        with socket.socket(socket.AF_UNIX) as intruder:
            intruder.settimeout(30)
            intruder.connect(path)
            intruder.sendall(garbage)
            while intruder.recv(4096):
                pass
    assert running.get()[-1].finish_reason == "length"


@pytest.mark.parametrize(
    "told",
    [2**70, "\ud800", reduce(lambda inner, _: [inner], range(500), "x"), "x" * (9 << 20)],
    ids=["integer", "surrogate", "levels", "length"],
)
def test_a_message_that_cannot_be_sent_is_refused_and_others_go_on(engine, told):
    running = gevent.spawn(deltas, engine, asking(max_tokens=100))
    with pytest.raises(Rejected, match="message"):
        deltas(engine, ChatRequest([{"role": "user", "content": "hello", "extra": told}]))
    assert running.get()[-1].finish_reason == "length"


def test_two_questions_under_one_number_close_their_connection_only(engine):
    running = gevent.spawn(deltas, engine, asking(max_tokens=200))
    with socket.socket(socket.AF_UNIX) as worker:
        worker.settimeout(30)
        worker.connect(str(socket_path("local", engine._configuration)))
        (hello,) = from_engine().feed(worker.recv(4096))
        worker.sendall(frame(Ask(hello.epoch, 7, [{"role": "user", "content": "hello"}])) * 2)
        while worker.recv(4096):
            pass
    assert running.get()[-1].finish_reason == "length"
    until(lambda: engine.status()["running"] + engine.status()["waiting"] == 0)


def test_an_ask_that_was_meant_for_an_engine_before_is_not_run(engine):
    with socket.socket(socket.AF_UNIX) as worker:
        worker.settimeout(30)
        worker.connect(str(socket_path("local", engine._configuration)))
        (hello,) = from_engine().feed(worker.recv(4096))
        worker.sendall(frame(Ask(hello.epoch - 1, 7, [{"role": "user", "content": "hello"}])))
        (failed,) = from_engine().feed(worker.recv(4096))
    assert (failed.id, failed.code) == (7, "engine_died")


def test_workers_do_not_get_each_others_replies(engine):
    other = Adapter(engine._configuration)
    alone = {question: text(deltas(engine, asking(question))) for question in ("hello", "stations")}
    streams = [
        gevent.spawn(lambda a=adapter, q=question: (q, text(deltas(a, asking(q)))))
        for adapter in (engine, other)
        for question in alone
    ]
    gevent.joinall(streams, raise_error=True)
    assert [stream.value for stream in streams] == list(alone.items()) * 2
    other.close()


def test_a_tenant_does_not_profit_from_anothers_prefix(engine):
    question = "SELECT name FROM dtzpt; " * 10
    usages = [deltas(engine, asking(question, cache_salt=cache_salt))[-1].usage for cache_salt in ("a", "b", "a")]
    assert [usage.cached_tokens > 0 for usage in usages] == [False, False, True]


def test_a_full_queue_is_told_at_once(start):
    engine = start(max_batch=1, max_queue=1)
    deltas(engine, asking(max_tokens=1))
    streams = [gevent.spawn(deltas, engine, asking(max_tokens=None)) for _ in range(2)]
    until(lambda: engine.status()["running"] + engine.status()["waiting"] == 2)
    with pytest.raises(Overloaded) as failure:
        deltas(engine, asking())
    assert failure.value.retry_after and failure.value.upstream_said_retry
    gevent.killall(streams)


def test_a_killed_engine_fails_its_reply_at_once_and_the_next_question_works(start):
    engine = start()
    stream = engine.ask(asking(max_tokens=None))
    next(stream)
    os.kill(engine_pid(engine), signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(EngineDied):
        for _ in stream:
            pass
    assert time.monotonic() - began < at_most(1)
    assert text(deltas(engine, asking()))


def test_a_stopped_engine_is_found_silent_killed_and_replaced(start, monkeypatch):
    monkeypatch.setattr("providers.local.supervisor.SILENCE_S", 2.0)
    engine = start()
    stream = engine.ask(asking(max_tokens=None))
    next(stream)
    os.kill(engine_pid(engine), signal.SIGSTOP)
    with pytest.raises(EngineTimeout):
        for _ in stream:
            pass
    assert text(deltas(engine, asking()))


def test_the_engine_ends_with_the_supervisor_and_the_supervisor_with_its_master(start):
    engine = start()
    deltas(engine, asking())
    pid = engine_pid(engine)
    engine.supervisor.stdin.close()
    engine.supervisor.wait(30)
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    with pytest.raises((Unreachable, EngineDied)):
        deltas(engine, asking())


def test_the_engine_ends_with_a_supervisor_that_was_killed(start):
    engine = start()
    deltas(engine, asking())
    pid = engine_pid(engine)
    engine.supervisor.kill()
    engine.supervisor.wait(30)
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_model_that_cannot_load_is_told_in_a_sentence(start, tmp_path):
    engine = start(tmp_path / "nothing")
    with pytest.raises(EngineDied, match="there is no folder") as failure:
        deltas(engine, asking())
    assert failure.value.retry_after > 1 and failure.value.request_sent is False
    assert engine.status()["state"] == "down"


def test_loading_is_waited_for_no_longer_than_the_first_token_may_take(start):
    engine = start(timeouts={"first_token": 0.05})
    until(lambda: engine.status(timeout_s=0.01)["state"] == "loading")
    with pytest.raises(TimedOut) as failure:
        deltas(engine, asking())
    assert failure.value.deadline == "first_token"


def test_several_devices_have_an_engine_each_and_share_the_questions(start):
    engine = start(device=["cpu", "cpu"])
    answers = [gevent.spawn(deltas, engine, asking(f"question {i}", max_tokens=60)) for i in range(12)]
    gevent.joinall(answers, raise_error=True)
    alone = [text(deltas(engine, asking(f"question {i}", max_tokens=60))) for i in range(12)]
    assert [text(answer.value) for answer in answers] == alone
    status = engine.status()
    assert [report["state"] for report in status["engines"]] == ["serving", "serving"]
    assert all(report["generated_tokens"] > 0 for report in status["engines"])
    assert status["generated_tokens"] == 24 * 60


def test_prompts_that_begin_alike_go_to_the_same_engine_until_it_is_crowded():
    configuration = ProviderConfiguration(type="local", model="m", device=["cuda:0", "cuda:1", "cuda:2"])
    adapter = Adapter(configuration)
    request = ChatRequest([{"role": "system", "content": "schema"}, {"role": "user", "content": "1"}])
    adapter._connections = [SimpleNamespace(sequences={}, free=1.0) for _ in range(3)]
    home = adapter._by_preference(request)[0]
    request.messages[1]["content"] = "2"
    assert adapter._by_preference(request)[0] == home
    adapter._connections[home].sequences = dict.fromkeys(range(5))
    assert adapter._by_preference(request)[-1] == home
    adapter._connections[home].sequences = {}
    adapter._connections[home].free = 0.05
    assert adapter._by_preference(request)[0] != home


def test_questions_of_an_engine_that_died_go_to_another_or_to_its_successor(start):
    engine = start(device=["cpu", "cpu"])
    for i in range(8):
        deltas(engine, asking(f"question {i}", max_tokens=2))
    assert len(engine_pids(engine)) == 2
    os.kill(engine_pid(engine), signal.SIGKILL)
    for i in range(8):
        assert text(deltas(engine, asking(f"question {i}")))


def test_without_a_supervisor_the_status_says_that_there_is_no_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_RUN_DIR", str(tmp_path))
    monkeypatch.setattr("providers.local.connection.APPEARS_WITHIN_S", 0.1)
    adapter = Adapter(ProviderConfiguration(type="local", model="m"))
    for _ in range(3):
        assert adapter.status(timeout_s=0.05)["state"] == "absent"
        gevent.sleep(0.1)
    with pytest.raises(Unreachable) as failure:
        deltas(adapter, asking())
    assert failure.value.request_sent is False


def test_the_report_counts(engine):
    before = engine.status()
    deltas(engine, asking(max_tokens=7))
    after = engine.status()
    assert after["state"] == "serving"
    assert after["generated_tokens"] - before["generated_tokens"] == 7
    assert after["steps"] > before["steps"]


def test_thoughts_and_calls_come_as_deltas_of_their_own(start, tmp_path):
    from tests.providers.local.models import TOOL_TEMPLATE, make_speaker

    said = [
        "<think>",
        "hmm",
        "</think>",
        "Well.",
        "<tool_call>",
        '{"name": "f", ',
        '"arguments": {"a": 1',
        "}}",
        "</tool_call>",
    ]
    engine = start(make_speaker(tmp_path, said, TOOL_TEMPLATE))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    request = asking("x", tools=tools, extra={"min_tokens": 2, "unheard_of": 1})
    assert engine.parameter_changes(request) == ["unheard_of dropped: the local engine does not have it"]
    got = deltas(engine, request)
    assert "".join(delta.reasoning for delta in got) == "hmm"
    assert text(got) == "Well."
    calls = [call for delta in got for call in delta.tool_calls]
    assert (calls[0].name, "".join(call.arguments for call in calls)) == ("f", '{"a": 1}')
    assert got[-1].finish_reason == "tool_calls" and got[-1].usage.reasoning_tokens == 3
