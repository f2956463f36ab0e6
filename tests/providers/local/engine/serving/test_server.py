from __future__ import annotations

import random
import select
import socket

import msgspec
import pytest

from providers.local.engine.serving import server
from providers.local.engine.serving.server import Connection, Server
from providers.local.wire import Ask, Cancel, Hello, Inquire, Piece, Report, Step, frame, from_engine
from providers.sampling import Sampling
from tests.providers.local.engine.running import a_loop


def test_a_worker_that_stops_reading_is_let_go_and_one_that_is_slow_gets_all(monkeypatch):
    monkeypatch.setattr(server, "MAX_UNSENT_BYTES", 1 << 20)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours)
        step = Step([Piece(1, "x" * 1000)])
        sent = 0
        while not connection.unsent:
            connection.send(step)
            sent += 1
        theirs.setblocking(False)
        frames, got = from_engine(), []
        while len(got) < sent:
            connection.flush()
            got += frames.feed(theirs.recv(1 << 16))
        assert got == [step] * sent
        with pytest.raises(OSError, match="does not read"):
            for _ in range(5000):
                connection.send(step)


@pytest.fixture
def serving(models, tmp_path):
    """A server with its loop but no process of its own, and a way to connect to it."""
    told = dict.fromkeys(Report.__struct_fields__, 0) | {"model": "m", "device": "cpu", "dtype": "float32"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen()
        loop = a_loop(models["qwen3"][0])
        made = Server(listener, loop, Hello(1, "m", 512), lambda: msgspec.convert(told, Report), lambda: None, 0)

        def connect() -> socket.socket:
            worker = socket.socket(socket.AF_UNIX)
            worker.settimeout(10)
            worker.connect(str(tmp_path / "engine.sock"))
            made.turn(0)
            return worker

        yield made, connect


def test_no_frame_with_flipped_bytes_ends_the_server(serving):
    """Each is a valid message but for a few bytes; only the connection that brought it may be closed."""
    made, connect = serving
    rnd = random.Random(3)
    content = ["hello", "沈塘桥", [{"type": "text", "text": "x"}]]
    how = Sampling(max_tokens=2, temperature=1.0, seed=5, top_k=3, stop=("x",))
    whole = [Ask(1, 7, [{"role": "user", "content": told}], how, logprobs=1) for told in content]
    valid = [msgspec.msgpack.encode(message) for message in [*whole, Cancel(7), Inquire()]]
    for _ in range(3000):
        body = bytearray(rnd.choice(valid))
        for _ in range(rnd.randint(1, 4)):
            body[rnd.randrange(len(body))] = rnd.choice([rnd.randrange(256), 0x91, 0xC1, 0xCB, 0xCF, 0xD3, 0xFF])
        with connect() as worker:
            worker.sendall(len(body).to_bytes(4, "big") + body)
            made.turn(0)
            if rnd.random() < 0.2:
                made._loop.preprocessing.settle()
                made.turn(0)
                made.turn(0)
    with connect() as worker:
        worker.sendall(frame(Ask(1, 1, [{"role": "user", "content": "hello"}], Sampling(max_tokens=2))))
        frames, got = from_engine(), []
        while not any(isinstance(told, Step) and told.pieces[-1].finish_reason for told in got):
            made.turn(0.01)
            if select.select([worker], [], [], 0)[0]:
                got += frames.feed(worker.recv(1 << 16))


def test_a_server_whose_supervisor_is_another_than_its_parent_does_not_serve(serving):
    made, _ = serving
    made.run()
