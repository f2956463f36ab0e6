"""DashScope through its vendor's SDK, `transport: sdk`; the wire itself is read in providers/wires/dashscope.py.

source   dashscope 2.0, dashscope/aigc/generation.py; where it reads otherwise than we do stands in docs/providers.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import requests
from dashscope import Generation, MultiModalConversation

from providers.chat import ChatRequest
from providers.delta import Delta
from providers.stream.sse import encode
from providers.wires import dashscope
from providers.wires.sdk.transport import exchange, silence

silence("dashscope")
# What the SDK hands out for data that is no JSON; the data itself is then its message.
NOT_JSON = "Unknown"


class Adapter(dashscope.Adapter):
    """Asks as providers/wires/dashscope.py does, with the SDK between."""

    def _exchange(self, request: ChatRequest, base_url: str) -> Iterator[list[Delta]]:
        body = self.body(request)
        parameters = body["parameters"]
        if not parameters["incremental_output"]:
            # With False the SDK asks for deltas and adds them up; without the argument it leaves the stream as it is.
            del parameters["incremental_output"]
        return exchange(self, base_url, lambda session: self._events(session, body, base_url))

    def _events(self, session: requests.Session, body: dict[str, Any], base_url: str) -> Iterator[bytes]:
        replies: Any = (MultiModalConversation if self.sees else Generation).call(
            model=body["model"],
            messages=body["input"]["messages"],
            api_key=self.configuration.api_key,
            stream=True,
            base_address=base_url,
            session=session,
            **body["parameters"],
        )
        for reply in replies:
            yield event(reply)


def event(reply: Any) -> bytes:
    """The event that one of the SDK's replies was read from."""
    if reply.get("code") == NOT_JSON:
        return encode(reply.get("message") or "")
    if reply.get("status_code") != 200:
        failure = {name: reply.get(name) for name in ("code", "message", "request_id")}
        head = f"event:error\n:HTTP_STATUS/{reply.get('status_code')}\n"
        return head.encode() + encode(json.dumps(failure))
    usage = reply.get("usage") or {}
    # Where the upstream counts nothing, the SDK counts zero.
    chunk = {"output": reply.get("output"), "usage": usage if usage.get("total_tokens") or usage.get("models") else {}}
    chunk["request_id"] = reply.get("request_id")
    return encode(json.dumps(chunk))
