"""Qianfan V2 through its vendor's SDK, `transport: sdk`; the wire itself is read in providers/wires/qianfan.py.

source   qianfan 0.4.12, qianfan/resources/; where it reads otherwise than we do stands in docs/providers.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import requests
from qianfan import ChatCompletion
from qianfan.config import Config
from qianfan.errors import APIError

from providers.chat import ChatRequest
from providers.delta import Delta
from providers.stream.sse import encode
from providers.wires import qianfan
from providers.wires.sdk.transport import exchange, silence

silence("qianfan", "qianfan.requests", "bce-qianfan-sdk")


def use_session(chat: ChatCompletion, session: requests.Session) -> None:
    """Let `chat` send through `session`: the SDK has no public way, so this is the one place that knows its inside.

    tests/contracts/test_qianfan.py names each of these attributes.
    """
    chat._real._client._client._session = session


class Adapter(qianfan.Adapter):
    """Asks as providers/wires/qianfan.py does, with the SDK between."""

    def _exchange(self, request: ChatRequest, base_url: str) -> Iterator[list[Delta]]:
        body = self.body(request)
        return exchange(self, base_url, lambda session: self._events(session, body, base_url))

    def _events(self, session: requests.Session, body: dict[str, Any], base_url: str) -> Iterator[bytes]:
        # Its own configuration each time: the SDK's is one for the process, and reads the environment and a .env file.
        configuration = Config(
            _env_file=None,  # type: ignore[call-arg]
            CONSOLE_API_BASE_URL=base_url,
            CHAT_V2_API_ROUTE="/chat/completions",
            BEARER_TOKEN=self.configuration.api_key,
            DISABLE_CACHE=True,
        )
        chat = ChatCompletion(version="2", config=configuration)
        use_session(chat, session)
        wanted = {name: value for name, value in body.items() if name not in ("messages", "model", "stream")}
        try:
            replies = chat.do(messages=body["messages"], model=body["model"], stream=True, retry_count=1, **wanted)
            for reply in replies:
                yield encode(json.dumps(reply.body))
        except APIError as error:
            yield encode(
                json.dumps({"error": {"code": error.error_code, "message": error.error_msg}, "id": error.req_id})
            )
