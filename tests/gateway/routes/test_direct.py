"""The asking routes before Flask's dispatch: each reply is what Flask's own dispatch gives."""

from __future__ import annotations

import hashlib
import re

import pytest

from gateway.app import create_app
from gateway.direct import PATHS, Direct
from gateway.settings import parse
from gateway.text2sql.database import Databases
from tests.gateway.text2sql.written_replies import Provider

KEY = {"Authorization": "Bearer secret"}
CHAT = {"messages": [{"role": "user", "content": "hi"}]}

REQUESTS = {
    "asked": ("/v1/chat/completions", {"json": CHAT, "headers": KEY}),
    "streamed": ("/v1/chat/completions", {"json": CHAT | {"stream": True}, "headers": KEY}),
    "our events": ("/getAnwser", {"json": {"question": "hi", "database": "none"}, "headers": KEY}),
    "in another form": ("/getAnwser?format=text", {"json": {"question": "hi", "database": "none"}, "headers": KEY}),
    "whole": ("/getAnswer?format=json", {"json": {"question": "hi", "database": "none"}, "headers": KEY}),
    "completions": ("/v1/completions", {"json": {"prompt": "hi"}, "headers": KEY}),
    "responses": ("/v1/responses", {"json": {"input": "hi"}, "headers": KEY}),
    "chat": ("/chat", {"json": {"id": "c", "messages": [{"role": "user", "parts": []}]}, "headers": KEY}),
    "api": ("/api", {"json": {"question": "hi"}, "headers": KEY}),
    "with a request id": ("/getAnwser", {"json": {"question": "hi"}, "headers": KEY | {"X-Request-Id": "mine"}}),
    "unknown parameter": ("/getAnwser?x=1", {"json": {"question": "hi"}, "headers": KEY}),
    "unknown field": ("/getAnwser", {"json": {"question": "hi", "x": 1}, "headers": KEY}),
    "no JSON": ("/v1/chat/completions", {"data": "{", "content_type": "application/json", "headers": KEY}),
    "no body": ("/v1/chat/completions", {"headers": KEY}),
    "another type": ("/getAnwser", {"data": "question=hi", "headers": KEY}),
    "too large": ("/getAnwser", {"json": {"question": "x" * (2 << 20)}, "headers": KEY}),
    "without a key": ("/v1/chat/completions", {"json": CHAT}),
    "an unknown key": ("/getAnwser", {"json": {"question": "hi"}, "headers": {"x-api-key": "wrong"}}),
    "an unknown model": ("/v1/chat/completions", {"json": CHAT | {"model": "x"}, "headers": KEY}),
    "a foreign page": ("/getAnwser", {"json": {"question": "hi"}, "headers": KEY | {"Origin": "https://evil.example"}}),
    "a page in cors": ("/getAnwser", {"json": {"question": "hi"}, "headers": KEY | {"Origin": "https://app.example"}}),
    "refused to a page in cors": ("/chat", {"json": {}, "headers": {"Origin": "https://app.example"}}),
    "a strange host": ("/getAnwser", {"json": {"question": "hi"}, "headers": KEY | {"Host": "a b"}}),
    "an unacceptable form": ("/getAnwser", {"json": {"question": "hi"}, "headers": KEY | {"Accept": "image/png"}}),
    "a slash behind it": ("/getAnwser/", {"json": {"question": "hi"}, "headers": KEY}),
    "a crash": ("/v1/chat/completions", {"json": CHAT | {"model": "broken"}, "headers": KEY}),
}


class Broken(Provider):
    def described(self):
        return []

    def engines(self):
        return {}

    def missing(self, name):
        if name == "broken":
            raise RuntimeError("a fault of ours")
        return ""


def app():
    row = {"type": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}
    settings = parse(
        {
            "default": "m",
            "providers": {"m": row, "broken": row},
            "server": {"cors": ["https://app.example"], "hosts": ["*"]},
            "auth": {"keys": [{"sha256": hashlib.sha256(b"secret").hexdigest(), "name": "k"}]},
        },
        environ={},
    )
    return create_app(settings, Broken("one two three"), Databases(settings.databases, settings.text2sql))


def shown(reply) -> tuple[int, list[tuple[str, str]], str]:
    """Status, headers and body without what is new in each answer."""
    text = reply.get_data(as_text=True)
    answer_id, request_id = reply.headers.get("X-Answer-Id", "-"), reply.headers.get("X-Request-Id", "-")

    def alike(value: str) -> str:
        value = value.replace(answer_id, "ID").replace(request_id, "REQUEST")
        value = re.sub(r"(dur=|_token\":|\"(?:queue|prompt|first_token|generate|sql|gateway)\":)[0-9.]+", r"\1T", value)
        return re.sub(r"\"(created|created_at|completed_at)\":\d+", r'"\1":T', value)

    headers = {name: alike(value) for name, value in reply.headers if name != "Content-Length"}
    assert not text or int(reply.headers.get("Content-Length", len(text.encode()))) == len(text.encode())
    return reply.status_code, sorted(headers.items()), alike(text)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_reply_is_the_one_of_flasks_own_dispatch(name):
    path, members = REQUESTS[name]
    direct, plain = app(), app()
    assert isinstance(direct.wsgi_app, Direct)
    plain.wsgi_app = plain.wsgi_app._flask
    assert shown(direct.test_client().post(path, **members)) == shown(plain.test_client().post(path, **members))


@pytest.mark.parametrize("method", ["get", "head", "options", "put", "delete"])
@pytest.mark.parametrize("path", sorted(PATHS))
def test_other_methods_are_flasks(path, method):
    direct, plain = app(), app()
    plain.wsgi_app = plain.wsgi_app._flask
    members = {"headers": KEY | {"Origin": "https://app.example"}}
    replies = [getattr(one.test_client(), method)(path, **members) for one in (direct, plain)]
    assert shown(replies[0]) == shown(replies[1])


def test_every_path_has_its_route():
    assert app().wsgi_app._routes.keys() == PATHS
