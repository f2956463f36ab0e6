"""Images, audio and files in messages: passed on by wires that take them, refused by name by the others."""

from __future__ import annotations

import pytest

from gateway.app import create_app
from gateway.settings import parse
from providers.scripted import Upstream

PARTS = {
    "image_url": {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    "input_audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    "file": {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
}
PROVIDERS = {
    "openai": {"type": "openai", "model": "m"},
    "qianfan_vl": {"type": "qianfan", "model": "ernie-4.5-turbo-vl-preview"},
    "qianfan": {"type": "qianfan", "model": "ernie-4.5-turbo-128k"},
    "ernie": {"type": "ernie", "model": "completions_pro"},
    "dashscope": {"type": "dashscope", "model": "qwen-max"},
    "dashscope_vl": {"type": "dashscope", "model": "qwen-vl-max"},
}
TAKES = {
    "openai": {"image_url", "input_audio", "file"},
    "qianfan_vl": {"image_url", "input_audio", "file"},
    "dashscope_vl": {"image_url", "input_audio"},
}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def client(upstream):
    wires = {"openai": "openai", "qianfan": "qianfan", "ernie": "ernie", "dashscope": "dashscope"}
    providers = {
        name: {**row, "base_url": upstream.base_url(wires[row["type"]]), "api_key": "k", "retries": 0}
        | ({"secret_key": "s"} if row["type"] == "ernie" else {})
        for name, row in PROVIDERS.items()
    }
    return create_app(parse({"default": "openai", "providers": providers}, environ={})).test_client()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", PARTS)
def test_a_part_is_passed_on_or_refused_by_name(client, upstream, provider, kind):
    upstream.forget()
    content = [{"type": "text", "text": "look"}, PARTS[kind]]
    body = {"model": provider, "messages": [{"role": "user", "content": content}]}
    reply = client.post("/v1/chat/completions", json=body)
    if kind in TAKES.get(provider, ()):
        assert reply.status_code == 200, reply.get_json()
        assert "AAAA" in str(upstream.asked[-1].body)
    else:
        assert reply.status_code == 400 and kind in reply.get_json()["error"]["message"]
        assert not [one for one in upstream.asked if "messages" in (one.body or {})]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_developers_message_reaches_every_wire(client, upstream, provider):
    upstream.forget()
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert client.post("/v1/chat/completions", json={"model": provider, "messages": messages}).status_code == 200
    assert "Be brief." in str(upstream.asked[-1].body)


def test_a_body_of_v1_may_be_large_and_no_other(client):
    large = "x" * (2 << 20)
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{large}"}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    reply = client.post("/getAnwser", json={"question": large})
    assert reply.status_code == 413 and "1 MiB" in reply.get_json()["error"]["message"]
    body["messages"][0]["content"] = large * 11
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 413 and "20 MiB" in reply.get_json()["error"]["message"]
