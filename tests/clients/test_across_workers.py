"""With Redis the new forms resume and stop in any worker, after any event, and the upstream is asked once."""

from __future__ import annotations

import hashlib
import itertools
import json

import openai
import pytest
import redis

from tests.clients.gateways import served_by
from tests.clients.service import COUNTED
from tests.gateway.live import Live
from tests.gateway.redis_server import RedisServer
from tests.parts import require
from tests.waiting import eventually

ALL = "".join(COUNTED)
KEY = {"Authorization": "Bearer key-of-a"}


@pytest.fixture(scope="module")
def store():
    require("redis-server")
    running = RedisServer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def two(service, store):
    """Two gateways that share answers and sign tickets with the same secret."""
    auth = {"keys": [hashlib.sha256(b"key-of-a").hexdigest()], "secret": "the same on each machine"}
    configuration = served_by(service, auth=auth, server={"redis_url": store.url, "resume_window_s": 5})
    with Live(configuration) as here, Live(configuration) as there:
        yield here, there


def frames(reply):
    return [json.loads(line[6:]) for line in reply.body().decode().split("\n") if line.startswith("data: {")]


def test_a_response_goes_on_in_another_worker_from_every_event(two, service):
    here, there = (openai.OpenAI(base_url=f"{one.url}/v1", api_key="key-of-a", max_retries=0) for one in two)
    stream = here.responses.create(model="counted", input="elsewhere", background=True, stream=True)
    seen = list(itertools.islice(stream, 8))
    stream.close()
    response_id = seen[0].response.id
    rest = there.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number)
    events = [*seen, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ALL
    for client in (here, there):
        assert client.responses.retrieve(response_id).output_text == ALL
    path = f"/v1/responses/{response_id}?stream=true&starting_after="
    written = [[one.call("GET", f"{path}{number}", headers=KEY).body() for number in (0, 7, 20)] for one in two]
    assert written[0] == written[1]
    continued = there.responses.create(model="plain", input="and then", previous_response_id=response_id)
    assert continued.status == "completed"
    assert [message["content"] for message in service.asked[-1]["messages"]] == ["elsewhere", ALL, "and then"]
    assert service.questions('"elsewhere"') == 2  # asked once, and once more as the beginning of a conversation


def test_a_response_is_cancelled_by_another_worker(two, service):
    here, there = (openai.OpenAI(base_url=f"{one.url}/v1", api_key="key-of-a", max_retries=0) for one in two)
    service.closed.clear()
    begun = here.responses.create(model="counted", input="stopped elsewhere", background=True)
    eventually(lambda: there.responses.retrieve(begun.id).output_text)
    assert there.responses.cancel(begun.id).status == "cancelled"
    assert here.responses.retrieve(begun.id).status == "cancelled"
    eventually(lambda: service.closed == ["counted"])


def test_a_chat_is_resumed_and_stopped_in_another_worker(two, service):
    here, there = two
    message = {"role": "user", "parts": [{"type": "text", "text": "chat elsewhere"}]}
    body = {"id": "chat-1", "model": "counted", "messages": [message]}
    reply = here.call("POST", "/chat", body, KEY)
    assert list(itertools.islice(iter(reply.read, b""), 4))
    reply.close()
    with there.call("GET", "/chat/chat-1/stream", headers=KEY) as reply:
        assert reply.headers["x-vercel-ai-ui-message-stream"] == "v1"
        found = frames(reply)
    assert "".join(frame.get("delta", "") for frame in found if frame["type"] == "text-delta") == ALL
    assert service.questions("chat elsewhere") == 1
    # The next question of the chat, asked of the other worker, is the one that counts.
    reply = there.call("POST", "/chat", body, KEY)
    assert list(itertools.islice(iter(reply.read, b""), 4))
    eventually(lambda: here.call("GET", "/chat/chat-1/stream", headers=KEY).status == 200)
    with here.call("DELETE", "/chat/chat-1/stream", headers=KEY) as stopped:
        assert stopped.status == 204
    assert {"type": "abort"} in frames(reply)
    for one in two:
        with one.call("GET", "/chat/chat-1/stream", headers=KEY) as reply:
            assert reply.status == 204


def test_a_ticket_opens_every_worker_and_never_reaches_redis(two, service, store):
    here, there = two
    with here.call("POST", "/tickets", headers=KEY | {"Content-Length": "0"}) as reply:
        ticket = reply.json()["ticket"]
    path = f"/getAnwser?question=ticketed&provider=counted&ticket={ticket}"
    reply = here.call("GET", path)
    seen = list(itertools.islice(reply.events(), 6))
    reply.close()
    with there.call("GET", path, headers={"Last-Event-ID": seen[-1].id}) as reply:
        seen += reply.events()
    assert [event.n for event in seen] == list(range(1, len(seen) + 1)) and seen[-1].name == "done"
    assert service.questions("ticketed") == 1
    client = redis.Redis.from_url(store.url)
    for key in client.scan_iter("sluice:*"):
        kind = client.type(key)
        value = client.hgetall(key) if kind == b"hash" else client.xrange(key) if kind == b"stream" else client.get(key)
        assert ticket.partition(".")[0].encode() not in repr(value).encode()
