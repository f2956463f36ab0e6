"""Structured output and forced tool calls as grammars, in Lark's form as llguidance reads it.

response_format   OpenAI's json_object and json_schema
structured_outputs, guided_json, guided_regex, guided_choice, guided_grammar   vLLM's
tool_choice       required, or a named function: calls in the model's own form, arguments by the function's schema
"""

from __future__ import annotations

import json
from typing import Any

from providers.errors import Rejected
from providers.local.wire import Ask

# Models write JSON compactly or indented; without a limit a model may write white space for ever.
SPACES = {"x-guidance": {"whitespace_pattern": r"( ?|\n[ \t]{0,24})"}}
GUIDED = ("json", "regex", "choice", "grammar")


def grammar(ask: Ask, form: str | None) -> str:
    """The grammar that the reply must follow; "" if it is free. Raises Rejected.

    form   how the model writes tool calls, see toolcalls.py
    """
    wanted = _wanted(ask)
    forced = ask.tools and ask.tool_choice not in (None, "auto", "none")
    if len(wanted) + bool(forced) + bool(ask.constrain and ask.constrain_schema) > 1:
        names = [name for name, _ in wanted] + ["tool_choice"] * bool(forced) + ["constrain"] * bool(ask.constrain)
        raise Rejected(f"{names[0]}: only one of these may be given, got {', '.join(names)}")
    if forced:
        return _calls(ask, form or "hermes")
    return wanted[0][1] if wanted else ""


def member(ask: Ask) -> str:
    """The member of the request that asks for a structure."""
    wanted = _wanted(ask)
    return wanted[0][0] if wanted else "tools"


def _wanted(ask: Ask) -> list[tuple[str, str]]:
    """Each structure that the request asks for: the member's name and the grammar."""
    wanted: list[tuple[str, str]] = []
    kind = ask.response_format.get("type", "text")
    if kind == "json_object":
        wanted.append(("response_format", _json({"type": "object"})))
    elif kind == "json_schema":
        inner = ask.response_format.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, dict) else None
        if not isinstance(schema, dict):
            raise Rejected("response_format: json_schema.schema must be an object")
        wanted.append(("response_format", _json(schema)))
    elif kind != "text":
        raise Rejected(f'response_format: type must be "text", "json_object" or "json_schema", got "{kind}"')
    structured = ask.options.get("structured_outputs") or {}
    if not isinstance(structured, dict):
        raise Rejected("structured_outputs: must be an object")
    for name in GUIDED:
        if (value := structured.get(name)) is not None:
            wanted.append((f"structured_outputs.{name}", _guided(f"structured_outputs.{name}", name, value)))
        if (value := ask.options.get(f"guided_{name}")) is not None:
            wanted.append((f"guided_{name}", _guided(f"guided_{name}", name, value)))
    if structured.get("json_object"):
        wanted.append(("structured_outputs.json_object", _json({"type": "object"})))
    return wanted


def _guided(member: str, kind: str, value: Any) -> str:
    if kind == "json":
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise Rejected(f"{member}: must be a JSON schema") from None
        if not isinstance(value, dict | bool):
            raise Rejected(f"{member}: must be a JSON schema")
        return _json(value if isinstance(value, dict) else {})
    if kind == "choice":
        if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
            raise Rejected(f"{member}: must be a list of strings, at least one and none empty")
        return f"start: {' | '.join(map(literal, value))}\n"
    if not isinstance(value, str) or not value:
        raise Rejected(f"{member}: must be a string that is not empty")
    if kind == "regex":
        escaped = value.replace("\\/", "/").replace("/", "\\/").replace("\n", "\\n")
        return f"start: /{escaped}/\n"
    if "::=" in value:
        from llguidance.gbnf_to_lark import gbnf_to_lark

        try:
            return str(gbnf_to_lark(value))
        except Exception as error:  # noqa: BLE001 - the library raises many kinds
            raise Rejected(f"{member}: is not a grammar: {str(error).splitlines()[0]}") from None
    return value


def _json(schema: dict[str, Any]) -> str:
    return f"start: value\nvalue: %json {json.dumps(SPACES | schema)}\n"


def _calls(ask: Ask, form: str) -> str:
    """One call or several, to any tool or to the named one."""
    functions = [tool["function"] for tool in ask.tools]
    if isinstance(ask.tool_choice, dict):
        inner = ask.tool_choice.get("function")
        name = inner.get("name") if isinstance(inner, dict) else None
        functions = [function for function in functions if function["name"] == name]
        if not functions:
            known = ", ".join(tool["function"]["name"] for tool in ask.tools)
            raise Rejected(f"tool_choice: must name one of the tools ({known}), got {json.dumps(name)}")
    elif ask.tool_choice != "required":
        raise Rejected(
            f'tool_choice: must be "none", "auto", "required" or a function, got {json.dumps(ask.tool_choice)}'
        )
    several = ask.parallel_tool_calls and not isinstance(ask.tool_choice, dict)
    arguments = "parameters" if form == "llama" else "arguments"
    call = {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "name": {"const": function["name"]},
                    arguments: function.get("parameters") or {"type": "object"},
                },
                "required": ["name", arguments],
                "additionalProperties": False,
            }
            for function in functions
        ]
    }
    rules = f"call: %json {json.dumps(SPACES | call)}\n"
    if form == "llama":
        return f"start: call{' (/; ?/ call)*' if several else ''}\n{rules}"
    one = 'one: /\\n?/ "<tool_call>" /\\n?/ call /\\n?/ "</tool_call>"\n'
    return f"start: one{'+' if several else ''}\n{one}{rules}"


def literal(text: str) -> str:
    """Lark's string for `text`."""
    escaped = "".join(f"\\x{ord(c):02x}" if c < " " else "\\" + c if c in '"\\' else c for c in text)
    return f'"{escaped}"'
