"""Addresses of services as people write them: put right, or refused with the sentence that says what to write."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from providers.configuration import ProviderConfiguration


def configured(url: str, **more) -> ProviderConfiguration:
    return ProviderConfiguration(**{"type": "openai", "model": "m", "base_url": url, **more})


@pytest.mark.parametrize(
    ("url", "base_url", "query"),
    [
        ("http://gpu1:8000/v1/", "http://gpu1:8000/v1", {}),
        (" http://gpu1:8000/v1 ", "http://gpu1:8000/v1", {}),
        ("http://h/v1/chat/completions", "http://h/v1", {}),
        ("https://h/openai/deployments/d?api-version=1", "https://h/openai/deployments/d", {"api-version": "1"}),
        ("https://h/openai/d/chat/completions?a=1&b=", "https://h/openai/d", {"a": "1", "b": ""}),
    ],
)
def test_what_is_clear_is_put_right(url, base_url, query):
    found = configured(url)
    assert (found.base_url, found.query) == ([base_url], query)


def test_a_path_of_ones_own_is_taken_off_too_and_a_query_of_ones_own_goes_first():
    found = configured("http://h/v1/ask?v=1", path="/ask", query={"v": "2"})
    assert (found.base_url, found.query) == (["http://h/v1"], {"v": "2"})


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("gpu1:8000/v1", "write https://gpu1:8000/v1 or http://gpu1:8000/v1"),
        ("ftp://gpu1/v1", "http:// or https://"),
        ("http://HOST/my path/v1", "write %20"),
        ("http://模型.example/v1", "punycode"),
        ("http://user:secret-word@h/v1", "headers"),
        ("http://h/v1#top", "#"),
        ("http://h:port/v1", "port"),
        ("http:///v1", "host"),
    ],
)
def test_anything_else_is_refused_with_its_cure_and_without_a_secret(url, cure):
    with pytest.raises(ValidationError) as caught:
        configured(url)
    (problem,) = caught.value.errors()
    assert cure in problem["msg"] and "secret-word" not in problem["msg"]


def test_a_proxy_of_another_kind_is_refused():
    with pytest.raises(ValidationError, match="SOCKS"):
        configured("http://h/v1", proxy="socks5://h:1080")
