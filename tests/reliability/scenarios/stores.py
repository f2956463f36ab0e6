"""Answers in Redis: followed from another worker, and what becomes of them when a worker or Redis itself fails."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from providers.scripted import Upstream
from tests.gateway.text2sql.servers import PostgreSQL
from tests.reliability.numbered import problems
from tests.reliability.proxy import Fault, Proxy
from tests.reliability.reader import Reader, fetch, request
from tests.reliability.rig import Gateway, Redis, at_most
from tests.reliability.scenarios import scenario
from tests.reliability.scenarios.workers import connected_to, gateway
from tests.waiting import eventually

LEASE_S = 5.0


class Shared:
    """Redis, a fault proxy before it, an upstream and a gateway of two workers."""

    def __init__(self, where: Path, stack: contextlib.ExitStack, *arguments: str, **server: Any) -> None:
        self.redis = Redis(where / "redis", *arguments)
        stack.callback(lambda: self.redis.kill())
        self.to_redis = stack.enter_context(Proxy(to=("127.0.0.1", self.redis.port)))
        self.upstream = stack.enter_context(Upstream())
        self.server = {"workers": 2, "redis_url": f"redis://127.0.0.1:{self.to_redis.port}/0"} | server
        self.gateway = self.another(where / "gateway", stack)

    def another(self, where: Path, stack: contextlib.ExitStack) -> Gateway:
        """One more gateway on the same Redis, as on another machine."""
        made = Gateway(where, self.upstream.url, server=self.server)
        stack.callback(made.kill)
        return made

    def asked(self, stream: str) -> int:
        return sum(asked.body["messages"][-1]["content"] == stream for asked in self.upstream.asked)

    def elsewhere(self, worker: int) -> socket.socket:
        """A connection to another worker than this one."""
        return connected_to(self.gateway, lambda pid: pid != worker)


@scenario(
    "client",
    "returns to the other worker",
    "between tokens",
    "byte-identical at random cuts; asked once",
)
def returning_elsewhere(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    dice = random.Random(6)
    for number in range(6):
        reader = Reader(shared.gateway.address, f"s{number}", 40, "steady").ask()
        while not reader.read_events(len(reader.events) + dice.randint(1, 15)).over:
            worker = shared.gateway.worker_of(reader.port)
            reader.leave()
            reader.follow_on(shared.elsewhere(worker))
        assert problems(reader.recording) == []
        assert shared.asked(f"s{number}") == 1


@scenario(
    "client",
    "stops, and asks again, at the other worker",
    "in silence",
    "the upstream is closed; an idempotency key gives the same answer; asked once",
    full=True,
)
def stopping_elsewhere(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    reader = Reader(shared.gateway.address, "s1", 20, "silent").ask().read_events(2)
    worker = shared.gateway.worker_of(reader.port)
    again = Reader(shared.gateway.address, "s1", 20, "silent").ask_on(shared.elsewhere(worker)).read_events(2)
    assert again.answer_id == reader.answer_id
    sock = shared.elsewhere(worker)
    stopped_at = time.monotonic()
    sock.sendall(request("DELETE", f"/answers/{reader.answer_id}"))
    assert sock.recv(12) == b"HTTP/1.1 204"
    assert shared.upstream.wait_until(lambda: not shared.upstream.open_connections())
    assert time.monotonic() - stopped_at <= at_most(0.5)
    for following in (reader, again):
        assert problems(following.read().recording) == []
        assert following.events[-1].data["finish_reason"] == "cancelled"
    assert shared.asked("s1") == 1
    sock.close()


@scenario(
    "worker",
    "kill -9, with Redis",
    "between tokens",
    "its readers, following on the other worker, get what was there and `failed:worker_died` within the lease (5 s)",
)
def killed_with_redis(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    readers = [Reader(shared.gateway.address, f"s{n}", 400, "long").ask().read_events(8) for n in range(6)]
    victim = shared.gateway.worker_of(readers[0].port)
    mine = [reader for reader in readers if shared.gateway.worker_of(reader.port) == victim]
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()
    for reader in mine:
        assert reader.read().end == "cut"
        reader.follow_on(shared.elsewhere(victim))
    for reader in mine:
        assert problems(reader.read().recording, ends="failed:worker_died") == []
    assert time.monotonic() - killed_at <= LEASE_S + at_most(1.5)
    for reader in mine:
        # A reader that comes later, at any worker, sees the same end.
        sock = shared.elsewhere(0)
        sock.sendall(request("GET", f"/answers/{reader.answer_id}", Connection="close"))
        reply = b""
        while data := sock.recv(65536):
            reply += data
        assert b'"worker_died"' in reply
        assert shared.asked(reader.recording.stream) == 1


@scenario(
    "gateway",
    "SIGTERM, with Redis",
    "between tokens",
    "`failed:shutting_down` can be read to its end on another machine",
    full=True,
)
def terminated_with_redis(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack, drain_s=0.5)
    other = shared.another(where / "other", stack)
    reader = Reader(shared.gateway.address, "s1", 400, "long").ask().read_events(8)
    late = Reader(shared.gateway.address, "s2", 400, "long").ask().read_events(8)
    late.leave()
    shared.gateway.signal(signal.SIGTERM)
    assert problems(reader.read().recording, ends="failed:shutting_down") == []
    shared.gateway.wait()
    assert problems(late.follow(other.address).read().recording, ends="failed:shutting_down") == []
    assert shared.asked("s1") == shared.asked("s2") == 1


def undisturbed(shared: Shared, break_it: Callable[[], Any], mend_it: Callable[[], Any]) -> None:
    """What holds whatever Redis does: streams go on, new ones come whole; afterwards any worker can follow again."""
    readers = [Reader(shared.gateway.address, f"before{n}", 40, "slow").ask().read_events(4) for n in range(4)]
    break_it()
    during = [Reader(shared.gateway.address, f"during{n}", 40, "steady").ask() for n in range(4)]
    for reader in during + readers:
        assert problems(reader.read().recording) == [], reader.end
        assert shared.asked(reader.recording.stream) == 1
    # What another worker has cannot be known now; the answer is that, and not silence.
    begun_at = time.monotonic()
    status = fetch(shared.gateway.address, "GET", "/answers/AAAAAAAAAAAAAAAAAAAAAA").status
    assert status in (404, 503)
    assert time.monotonic() - begun_at < 5
    mend_it()

    def followed_elsewhere() -> bool:
        reader = Reader(shared.gateway.address, f"after{time.monotonic_ns()}", 40, "steady").ask().read_events(8)
        worker = shared.gateway.worker_of(reader.port)
        reader.leave()
        reader.follow_on(shared.elsewhere(worker)).read()
        return reader.reply.status == 200 and problems(reader.recording) == []

    eventually(followed_elsewhere, 20)


@scenario(
    "Redis",
    "kill -9, started again",
    "between tokens",
    "streams go on, new ones are taken; followed elsewhere when it is back",
)
def redis_killed(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)

    def kill() -> None:
        shared.redis.signal(signal.SIGKILL)
        shared.redis.wait()

    undisturbed(shared, kill, shared.redis.start)


@scenario(
    "Redis",
    "SIGSTOP",
    "between tokens",
    "streams go on, new ones are taken; followed elsewhere when it is back",
    full=True,
)
def redis_stopped(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    undisturbed(shared, lambda: shared.redis.signal(signal.SIGSTOP), lambda: shared.redis.signal(signal.SIGCONT))


@scenario(
    "gateway–Redis",
    "black hole",
    "between tokens",
    "streams go on, new ones are taken; followed elsewhere afterwards",
    full=True,
)
def redis_lost(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    undisturbed(shared, lambda: shared.to_redis.set(Fault(black_hole_after=0)), lambda: shared.to_redis.set(None))


@scenario(
    "gateway–Redis",
    "resets, over and over",
    "between tokens",
    "streams go on, new ones are taken",
    full=True,
)
def redis_reset(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    undisturbed(shared, lambda: shared.to_redis.set(Fault(reset_after=3000)), lambda: shared.to_redis.set(None))


@scenario(
    "gateway–Redis",
    "latency 0.1 s",
    "between tokens",
    "streams go on, whole",
    full=True,
)
def redis_slow(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    undisturbed(shared, lambda: shared.to_redis.set(Fault(latency_s=0.1)), lambda: shared.to_redis.set(None))


@scenario(
    "Redis",
    "full",
    "between tokens",
    "streams go on, new ones are taken; followed elsewhere when there is room",
    full=True,
)
def redis_full(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    address = ("127.0.0.1", shared.redis.port)

    def limit(size: str) -> None:
        import redis

        redis.Redis(*address).config_set("maxmemory", size)

    undisturbed(shared, lambda: limit("1"), lambda: limit("0"))


def order(shared: Shared, *command: str) -> None:
    """A command to Redis itself."""
    import redis

    client: Any = redis.Redis("127.0.0.1", shared.redis.port)
    client.execute_command(*command)


@scenario(
    "Redis",
    "a read-only replica for a while",
    "between tokens",
    "streams go on, new ones are taken; readers on other workers are cut within 10 s, and get the rest afterwards",
    full=True,
)
def redis_read_only(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    reader = Reader(shared.gateway.address, "elsewhere", 400, "long").ask().read_events(8)
    worker = shared.gateway.worker_of(reader.port)
    reader.leave()
    reader.follow_on(shared.elsewhere(worker)).read_events(12)
    order(shared, "REPLICAOF", "127.0.0.1", "1")
    began_at = time.monotonic()
    assert reader.read(silence_s=at_most(10)).end == "cut"
    assert time.monotonic() - began_at < at_most(10)
    undisturbed(shared, lambda: None, lambda: order(shared, "REPLICAOF", "NO", "ONE"))


@scenario(
    "Redis",
    "FLUSHALL",
    "between tokens",
    "streams go on, new ones are taken; it is written again, and followed elsewhere: byte-identical; asked once",
)
def redis_emptied(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    reader = Reader(shared.gateway.address, "emptied", 200, "lasting").ask().read_events(8)
    worker = shared.gateway.worker_of(reader.port)
    reader.leave()
    reader.follow_on(shared.elsewhere(worker)).read_events(12)
    undisturbed(shared, lambda: order(shared, "FLUSHALL"), lambda: None)
    assert problems(reader.read(timeout_s=90).recording) == [], reader.end
    assert shared.asked("emptied") == 1


def health(made: Gateway) -> dict[str, Any]:
    """What /readyz says to a program on the same machine."""
    said: dict[str, Any] = json.loads(fetch(made.address, "GET", "/readyz").body)
    return said


@scenario(
    "Redis",
    "kill -9, seen by the operator",
    "no streams",
    "/readyz stays 200 and says `degraded` with the reason, `sluice_redis_up` is 0; both are well when it is back",
)
def redis_in_health(where: Path, stack: contextlib.ExitStack) -> None:
    shared = Shared(where, stack)
    eventually(lambda: health(shared.gateway)["status"] == "ok", 30)
    eventually(lambda: shared.gateway.metrics().get("sluice_redis_up") == 1, 30)
    shared.redis.process.kill()
    shared.redis.process.wait()
    eventually(lambda: health(shared.gateway)["status"] == "degraded", 30)
    assert health(shared.gateway)["redis"]["reason"]
    assert fetch(shared.gateway.address, "GET", "/readyz").status == 200
    eventually(lambda: shared.gateway.metrics()["sluice_redis_up"] == 0, 30)
    shared.redis.start()
    eventually(lambda: health(shared.gateway)["status"] == "ok", 60)
    eventually(lambda: shared.gateway.metrics()["sluice_redis_up"] == 1, 30)


STATEMENT = "```sql\nSELECT count(*) AS n FROM lines\n```"


@scenario(
    "gateway–database",
    "connections are reset and refused",
    "before rows",
    "the answer ends as `failed:sql_failed`; /readyz stays 200 and says `degraded` with the reason, "
    "`sluice_database_up` is 0; the next question after its return has rows",
    full=True,
)
def database_in_health(where: Path, stack: contextlib.ExitStack) -> None:
    server = PostgreSQL({})
    stack.callback(server.drop)
    url = make_url(server.reader_url)
    proxy = stack.enter_context(Proxy(to=(url.host or "", url.port or 5432)))
    through = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    shop = {"url": through, "tables": ["lines"]}
    upstream, made = gateway(where, stack, server={"workers": 1}, databases={"shop": shop})
    eventually(lambda: health(made)["databases"] == [{"name": "shop", "available": True, "reason": None}], 30)

    def ended(stream: str) -> str:
        upstream.plan_next("", text=STATEMENT)
        reader = Reader(made.address, stream, 9, "planned", database="shop").ask().read()
        return reader.end if reader.end != "failed" else f"failed:{reader.events[-1].data['code']}"

    assert ended("d1") == "done"
    proxy.set(Fault(refuse=True))
    proxy.cut()
    assert ended("d2") == "failed:sql_failed"
    said = health(made)
    assert said["status"] == "degraded"
    assert said["databases"][0]["reason"]
    assert fetch(made.address, "GET", "/readyz").status == 200
    eventually(lambda: made.metrics().get('sluice_database_up{database="shop"}') == 0, 30)
    proxy.set(None)
    eventually(lambda: ended(f"d{time.monotonic_ns()}") == "done", 30)
    assert health(made)["status"] == "ok"
    eventually(lambda: made.metrics().get('sluice_database_up{database="shop"}') == 1, 30)
