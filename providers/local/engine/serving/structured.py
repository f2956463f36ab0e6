"""Structured output and forced tool calls as grammars, in Lark's form as llguidance reads it.

response_format   OpenAI's json_object and json_schema
structured_outputs, guided_json, guided_regex, guided_choice, guided_grammar   vLLM's
tool_choice       required, or a named function: calls in the model's own form, arguments by the function's schema
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from providers.errors import Rejected
from providers.local.engine.toolcalls import CLOSE, OPEN
from providers.local.wire import Ask

# Models write JSON compactly or indented; without a limit a model may write white space for ever.
SPACES: dict[str, dict[str, Any]] = {"x-guidance": {"whitespace_pattern": r"( ?|\n[ \t]{0,24})"}}
# A forced call is as good as a free one where the library cannot follow all of a function's schema.
LENIENT = {"x-guidance": SPACES["x-guidance"] | {"lenient": True}}
FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
# Members of a schema that are values and no schemas.
VALUES = ("const", "enum", "default", "examples")
SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
GUIDED = ("json", "regex", "choice", "grammar")


def grammar(ask: Ask, form: str | None, tags: Collection[str] = ()) -> str:
    """The grammar that the reply must follow; "" if it is free. Raises Rejected.

    form   how the model writes tool calls, see toolcalls.py
    tags   mark-up that is one token each in the model's tokeniser
    """
    wanted = _wanted(ask)
    forced = ask.tools and ask.tool_choice not in (None, "auto", "none")
    if len(wanted) + bool(forced) + bool(ask.constrain and ask.constrain_schema) > 1:
        names = [name for name, _ in wanted] + ["tool_choice"] * bool(forced) + ["constrain"] * bool(ask.constrain)
        raise Rejected(f"{names[0]}: only one of these may be given, got {', '.join(names)}")
    if forced:
        return _calls(ask, form or "hermes", tags)
    if not wanted:
        return ""
    asked_by, lark = wanted[0]
    if form and asked_by == "response_format":
        # The model may still call a function instead.
        start, rules = _call_rules([tool["function"] for tool in ask.tools], form, ask.parallel_tool_calls, tags)
        return lark.replace("start: value", f"start: value | {start}", 1) + rules
    return lark


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
    for name in structured.keys() - {*GUIDED, "json_object"}:
        if structured[name]:
            raise Rejected(f"structured_outputs.{name}: is not supported by the local engine; leave it out")
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
        # An escaped slash stays; one that ends no escape is escaped, because Lark writes an expression between two.
        escaped = re.sub(r"\\.|/", lambda found: "\\/" if found[0] == "/" else found[0], value, flags=re.DOTALL)
        escaped = escaped.replace("\n", "\\n")
        return f"start: /{escaped}/\n"
    if "::=" in value:
        from llguidance.gbnf_to_lark import gbnf_to_lark

        try:
            return str(gbnf_to_lark(value))
        except Exception as error:  # noqa: BLE001 - the library raises many kinds
            raise Rejected(f"{member}: is not a grammar: {str(error).splitlines()[0]}") from None
    return value


def _json(schema: dict[str, Any]) -> str:
    return f"start: value\nvalue: %json {json.dumps(SPACES | _placed(schema))}\n"


def _placed(schema: Any, at: str = "#") -> Any:
    """A schema as it stands at the JSON pointer `at` of another: its references point there.

    A format that the grammar library does not know is a remark, as JSON Schema says, and is left out.
    """
    if isinstance(schema, list):
        return [_placed(each, at) for each in schema]
    if not isinstance(schema, dict):
        return schema
    placed: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "$ref" and isinstance(value, str) and value.startswith("#"):
            placed[name] = at + value[1:]
        elif name == "$id" and at != "#":
            # A name of its own would change where its references begin.
            continue
        elif name in SCHEMAS_BY_NAME and isinstance(value, dict):
            placed[name] = {inner: _placed(each, at) for inner, each in value.items()}
        elif name == "format" and isinstance(value, str) and value not in FORMATS:
            continue
        else:
            placed[name] = value if name in VALUES else _placed(value, at)
    return placed


def _calls(ask: Ask, form: str, tags: Collection[str]) -> str:
    """One call or several, to any tool or to the named one."""
    functions = [tool["function"] for tool in ask.tools]
    if isinstance(ask.tool_choice, dict):
        inner = ask.tool_choice.get("function")
        name = inner.get("name") if isinstance(inner, dict) else None
        functions = [function for function in functions if function["name"] == name]
        if not functions:
            names = ", ".join(tool["function"]["name"] for tool in ask.tools)
            raise Rejected(f"tool_choice: must name one of the tools ({names}), got {json.dumps(name)}")
    elif ask.tool_choice != "required":
        raise Rejected(
            f'tool_choice: must be "none", "auto", "required" or a function, got {json.dumps(ask.tool_choice)}'
        )
    several = ask.parallel_tool_calls and not isinstance(ask.tool_choice, dict)
    start, rules = _call_rules(functions, form, several, tags)
    return f"start: {start}\n{rules}"


def _call_rules(functions: list[dict[str, Any]], form: str, several: bool, tags: Collection[str]) -> tuple[str, str]:
    """What stands for one call or several to these functions, and the rules that say it."""
    arguments = "parameters" if form == "llama" else "arguments"
    call = {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "name": {"const": function["name"]},
                    arguments: {"type": "object"}
                    | _placed(function.get("parameters") or {}, f"#/anyOf/{n}/properties/{arguments}"),
                },
                "required": ["name", arguments],
                "additionalProperties": False,
            }
            for n, function in enumerate(functions)
        ]
    }
    rules = f"call: %json {json.dumps(LENIENT | call)}\n"
    if form == "llama":
        return "call (/; ?/ call)*" if several else "call", rules
    # A tag that is a token is named without quotes. As a text the library first demands its token and then refuses it.
    opening, closing = (tag if tag in tags else f'"{tag}"' for tag in (OPEN, CLOSE))
    one = f"one: /\\n?/ {opening} /\\n?/ call /\\n?/ {closing}\n"
    return "one+" if several else "one", one + rules


def described(tools: list[dict[str, Any]], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the functions in a system message, for a chat template that has no place for tools."""
    lines = [json.dumps(tool["function"], ensure_ascii=False) for tool in tools]
    form = 'Call them as <tool_call>{"name": …, "arguments": {…}}</tool_call>.'
    text = "\n".join(["You can call these functions:", *lines, form])
    first = messages[0] if messages else {}
    if first.get("role") in ("system", "developer") and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def literal(text: str) -> str:
    """Lark's string for `text`."""
    escaped = "".join(f"\\x{ord(c):02x}" if c < " " else "\\" + c if c in '"\\' else c for c in text)
    return f'"{escaped}"'
