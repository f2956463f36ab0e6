"""The Responses API's input, tools and formats as those of a chat completion."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.decoding import BadQuestion, plain
from gateway.errors import shown

# Items that say nothing to another model: a model's thinking, in a form that only its maker reads.
_SKIPPED = {"reasoning"}
_TEXTS = {"input_text", "output_text", "text", "summary_text"}


def messages(given: str | list[Any]) -> list[dict[str, Any]]:
    """The messages in `input`; raises BadQuestion."""
    if isinstance(given, str):
        plain("input", given)
        return [{"role": "user", "content": given}]
    messages: list[dict[str, Any]] = []
    for n, item in enumerate(given):
        path = f"input[{n}]"
        if not isinstance(item, dict):
            raise BadQuestion(f"{path}: must be an object")
        kind = item.get("type") or "message"
        if kind == "message":
            messages.append(_message(path, item))
        elif kind == "function_call":
            _call(path, item, messages)
        elif kind == "function_call_output":
            output = item.get("output")
            content = output if isinstance(output, str) else msgspec.json.encode(output).decode()
            messages.append({"role": "tool", "tool_call_id": _text(path, item, "call_id"), "content": content})
        elif kind not in _SKIPPED:
            raise BadQuestion(f"{path}.type: {shown(str(kind))} is not supported; send messages and function calls")
    return messages


def _text(path: str, item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise BadQuestion(f"{path}.{name}: must be a string")
    return value


def _call(path: str, item: dict[str, Any], found: list[dict[str, Any]]) -> None:
    """Neighbouring calls belong to one message of the model."""
    function = {"name": _text(path, item, "name"), "arguments": _text(path, item, "arguments")}
    call = {"id": _text(path, item, "call_id"), "type": "function", "function": function}
    if found and found[-1]["role"] == "assistant":
        found[-1].setdefault("tool_calls", []).append(call)
    else:
        found.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _message(path: str, item: dict[str, Any]) -> dict[str, Any]:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise BadQuestion(f'{path}.role: must be "user", "assistant", "system" or "developer"')
    content = item.get("content")
    if isinstance(content, str):
        plain(f"{path}.content", content)
        return {"role": role, "content": content}
    if not isinstance(content, list):
        raise BadQuestion(f"{path}.content: must be a string or an array of parts")
    parts = [_part(f"{path}.content[{n}]", part) for n, part in enumerate(content)]
    if all(part["type"] == "text" for part in parts):
        return {"role": role, "content": "".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def _part(path: str, part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS:
        text = _text(path, part, "text")
        plain(f"{path}.text", text)
        return {"type": "text", "text": text}
    if kind == "refusal":
        return {"type": "text", "text": _text(path, part, "refusal")}
    if kind == "input_image":
        image = {"url": _text(path, part, "image_url")}
        return {"type": "image_url", "image_url": image | ({"detail": part["detail"]} if part.get("detail") else {})}
    if kind == "input_file":
        names = ("file_data", "file_id", "filename")
        return {"type": "file", "file": {name: part[name] for name in names if part.get(name)}}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    raise BadQuestion(f"{path}.type: {shown(str(kind))} is not supported")


def tools(given: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Function tools in a chat completion's form; raises BadQuestion, which names a built-in tool."""
    functions = []
    for n, tool in enumerate(given or ()):
        kind = tool.get("type")
        if kind != "function":
            raise BadQuestion(f"tools[{n}].type: built-in tool {shown(str(kind))} is not available; must be function")
        _text(f"tools[{n}]", tool, "name")
        function = {name: tool[name] for name in ("name", "description", "parameters", "strict") if name in tool}
        functions.append({"type": "function", "function": function})
    return functions or None


def tool_choice(given: Any) -> Any:
    """`tool_choice` in a chat completion's form; raises BadQuestion."""
    if given in (None, "auto", "none", "required"):
        return given
    if isinstance(given, dict) and given.get("type") == "function":
        return {"type": "function", "function": {"name": _text("tool_choice", given, "name")}}
    raise BadQuestion('tool_choice: must be "auto", "none", "required" or a function')


def response_format(text: dict[str, Any] | None) -> dict[str, Any] | None:
    """`text.format` in a chat completion's form; raises BadQuestion."""
    text_format = (text or {}).get("format")
    if text_format is None:
        return None
    kind = text_format.get("type") if isinstance(text_format, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind == "json_schema":
        names = ("name", "description", "schema", "strict")
        return {
            "type": "json_schema",
            "json_schema": {name: text_format[name] for name in names if name in text_format},
        }
    raise BadQuestion('text.format.type: must be "text", "json_object" or "json_schema"')


def spoken(events_output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A response's output as messages, for the response that continues it."""
    return messages([{name: value for name, value in item.items() if name != "status"} for item in events_output])
