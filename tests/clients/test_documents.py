"""Clients in the shapes of the documents that the routes' names come from, written anew; host and port are changed."""

from __future__ import annotations

import json

import pytest
import requests

QUESTION = "列出全部地铁站的名称"


def test_document_000_posts_nothing_and_reads_lines_with_the_text_so_far(live):
    """A page's fetch: POST /api without a body; every line is a JSON object whose `content` replaces what is shown."""
    shown = ""
    with requests.post(f"{live.url}/api", stream=True, timeout=20) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if line:
                shown = json.loads(line)["content"]
    assert shown == "一二三四五六"


def test_document_001_reads_chat_completions_line_by_line(live):
    """POST /v1/chat/completions with stream: lines that begin with `data: `, until [DONE]."""
    body = {"model": "plain", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    text = ""
    with requests.post(f"{live.url}/v1/chat/completions", json=body, stream=True, timeout=20) as reply:
        for line in reply.iter_lines(decode_unicode=False):
            if not line.startswith(b"data: ") or line == b"data: [DONE]":
                continue
            text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    assert text == "一二三四五六"


@pytest.mark.parametrize("provider", ["plain", "separated", "long", "silent", "sql"])
@pytest.mark.parametrize("database", ["none", "metro"])
def test_document_002_decodes_each_piece_of_1024_bytes_alone(live, provider, database):
    """POST /getAnwser, then `iter_content(chunk_size=1024)`: each piece is decoded by itself and printed."""
    body = {"question": QUESTION, "provider": provider, "database": database}
    printed = ""
    with requests.post(f"{live.url}/getAnwser", json=body, stream=True, timeout=20) as reply:
        for chunk in reply.iter_content(chunk_size=1024):
            if chunk:
                printed += chunk.decode("utf-8")
    assert "event: done" in printed
    assert ("龙翔桥" in printed) == (provider == "sql" and database == "metro")


def test_document_004_posts_a_query_and_takes_the_response_whole(live):
    """POST /conversation/ with {"query"}: one JSON object with `response`."""
    reply = requests.post(f"{live.url}/conversation/", json={"query": QUESTION}, timeout=20)
    assert reply.json() == {"response": "一二三四五六"}
