"""OpenAI's messages, as clients send them, in the shape that chat templates read.

content       one text; null beside tool calls is "", or null for templates that test for it
tool_calls    their arguments are an object for templates that write JSON, and the text as sent for those that join it
roles         developer and function become system and tool where the template does not know them
null, []      members without a value are left out: some templates ask only whether a member is there
"""

from __future__ import annotations

import json
import re
from typing import Any

from providers.errors import Rejected

_TESTS_FOR_NULL = re.compile(r"""content(?:['"]\])?\s+is\s+(?:not\s+)?none""")
_OLDER_ROLES = {"developer": "system", "function": "tool"}


class Arguments(dict[str, Any]):
    """A call's arguments: an object, and for templates that join them to a text, that text.

    Qwen's templates write `arguments | tojson`; DeepSeek's write `'…' + arguments + '…'`.
    """

    def __init__(self, members: dict[str, Any], source: str) -> None:
        super().__init__(members)
        self.source = source

    def __str__(self) -> str:
        return self.source

    def __add__(self, other: str) -> str:
        return self.source + other

    def __radd__(self, other: str) -> str:
        return other + self.source


def as_templates_expect(message: dict[str, Any], template: str) -> dict[str, Any]:
    """A message in the shape that `template`, the model's own, reads. Raises Rejected."""
    changed = {name: value for name, value in message.items() if value is not None and value != []}
    role = message.get("role")
    if role in _OLDER_ROLES and f"'{role}'" not in template and f'"{role}"' not in template:
        changed["role"] = _OLDER_ROLES[role]
    content = _joined(message.get("content"))
    changed["content"] = content
    if isinstance(calls := changed.get("tool_calls"), list):
        changed["tool_calls"] = [_with_object(call) for call in calls]
        if not content and _TESTS_FOR_NULL.search(template):
            changed["content"] = None
    return changed


def _with_object(call: Any) -> Any:
    """A tool call of the history. OpenAI sends its arguments as a string of JSON."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    sent = function.get("arguments")
    source = sent or "{}" if isinstance(sent, str) else json.dumps(sent, ensure_ascii=False)
    try:
        arguments = json.loads(source)
    except ValueError:
        return call
    if not isinstance(arguments, dict):
        return call
    return {**call, "function": {**function, "arguments": Arguments(arguments, source)}}


def _joined(content: Any) -> Any:
    """A message's content as one text. OpenAI's clients send null beside tool calls."""
    if content is None:
        return ""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(parts):
        raise Rejected("messages: every part of a content list must have a text")
    return "".join(texts)
