"""qianfan's private parts that providers/wires/sdk/qianfan.py uses exist in this version."""

from __future__ import annotations

import pytest
import requests

qianfan = pytest.importorskip("qianfan", reason="the vendor's client is not installed (extra sdk)")


@pytest.fixture
def chat():
    from qianfan.config import Config

    configuration = Config(_env_file=None, CONSOLE_API_BASE_URL="http://127.0.0.1:9", BEARER_TOKEN="any")
    return qianfan.ChatCompletion(version="2", config=configuration)


@pytest.mark.parametrize("path", ["_real", "_real._client", "_real._client._client", "_real._client._client._session"])
def test_the_session_of_a_chat_is_where_we_put_ours(chat, path):
    owner = chat
    for name in path.split("."):
        assert hasattr(owner, name), f"see where qianfan keeps {path} now: ChatCompletion, its client, its requester"
        owner = getattr(owner, name)


def test_the_session_is_one_of_requests(chat):
    assert isinstance(chat._real._client._client._session, requests.Session)


def test_the_configuration_takes_the_keys_that_we_set():
    from qianfan.config import Config

    names = {name.upper() for name in getattr(Config, "model_fields", None) or Config.__fields__}
    wanted = {"CONSOLE_API_BASE_URL", "CHAT_V2_API_ROUTE", "BEARER_TOKEN", "DISABLE_CACHE"}
    assert wanted <= names, "see what qianfan.config.Config calls them now"
