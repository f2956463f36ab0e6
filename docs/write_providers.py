"""Write the tables of docs/providers.md and docs/faults.md, in both languages, from code and test data:
`python -m docs.write_providers`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from docs.languages import chinese_table
from gateway.errors import TABLE
from providers.catalogue import WIRES
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import Rejected
from providers.sampling import OFF
from providers.scripted.server import MODELS
from providers.services import SERVICES
from providers.wires import finish_reasons
from providers.wires.meanings import MEANINGS

FOLDER = Path(__file__).parent
CASES = FOLDER.parent / "tests" / "cases"
PAGES = tuple(folder / name for folder in (FOLDER, FOLDER / "zh") for name in ("providers.md", "faults.md"))

TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
# What is asked for, as a reader sees it, and the request's members that say so; parameters that it lacks are added.
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("temperature 0", {"temperature": 0.0}),
    ("temperature 0.7", {"temperature": 0.7}),
    ("temperature 2", {"temperature": 2.0}),
    ("top_p 0.9", {"top_p": 0.9}),
    ("top_k 40", {"top_k": 40}),
    ("min_p 0.1", {"min_p": 0.1}),
    ("max_tokens 512", {"max_tokens": 512}),
    ("max_tokens 1", {"max_tokens": 1}),
    ("max_tokens 8000", {"max_tokens": 8000}),
    ("seed 7", {"seed": 7}),
    ("stop, 2 strings", {"stop": ("A", "B")}),
    ("stop, 5 strings", {"stop": ("A", "B", "C", "D", "E")}),
    ("repetition_penalty 1.1", {"repetition_penalty": 1.1}),
    ("repetition_penalty 0.9", {"repetition_penalty": 0.9}),
    ("presence_penalty 0.5", {"presence_penalty": 0.5}),
    ("frequency_penalty 0.5", {"frequency_penalty": 0.5}),
    ("tools", {"tools": [TOOL]}),
    ("tool_choice: required", {"tools": [TOOL], "tool_choice": "required"}),
    ("parallel_tool_calls", {"tools": [TOOL], "parallel_tool_calls": False}),
    ("response_format: json_object", {"response_format": {"type": "json_object"}}),
    ("response_format: json_schema", {"response_format": SCHEMA}),
    ("logprobs", {"logprobs": True}),
    ("top_logprobs 3", {"logprobs": True, "top_logprobs": 3}),
    ("an image", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "…"}}]}]}),
]
ASKED += [
    (f"{name} {OFF[name] + 1:g}", {name: OFF[name] + 1})
    for name in OFF
    if not any(name in members for _, members in ASKED)
]
COLUMNS = {
    "openai": ("`openai`, `dashscope_compatible`", "m"),
    "dashscope": ("`dashscope`", "qwen-plus"),
    "ernie": ("`ernie`", "completions_pro"),
    "qianfan": ("`qianfan`, an `ernie-*` model", "ernie-4.5-turbo-128k"),
}


def parameters() -> str:
    """What each wire does with each parameter, found by asking its adapter."""
    head = "| asked for | " + " | ".join(title for title, _ in COLUMNS.values()) + " |"
    lines = [head, "|" + "---|" * (len(COLUMNS) + 1)]
    for asked, members in ASKED:
        cells = [_done(wire, model, members) for wire, (_, model) in COLUMNS.items()]
        lines.append(f"| {asked} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _done(wire: str, model: str, members: dict[str, Any]) -> str:
    """What becomes of these members: what is sent, or that they are dropped or refused."""
    secrets = {"api_key": "k", "secret_key": "s"}
    row: dict[str, Any] = {"type": wire, "model": model, "base_url": "http://127.0.0.1:9", **secrets}
    adapter = WIRES[wire].load().Adapter(ProviderConfiguration(**row), "docs")
    plain = ChatRequest([{"role": "user", "content": "hi"}])
    request = ChatRequest.of(**{"messages": plain.messages, **members})
    try:
        adapter.check(request)
        before, after = _flat(adapter.payload(plain)), _flat(adapter.payload(request))
    except Rejected:
        return "refused"
    finally:
        adapter.close()
    sent = {name: value for name, value in after.items() if name != "messages" and before.get(name) != value}
    if not sent:
        return "sent" if "messages" in members else "dropped, reported"
    parts = [
        f"`{name}`" if isinstance(value, (dict, list)) else f"`{name}: {json.dumps(value)}`"
        for name, value in sent.items()
    ]
    return ", ".join(parts) + (", reported" if adapter.parameter_changes(request) else "")


def _flat(payload: dict[str, Any]) -> dict[str, Any]:
    """The members of the body, those of `parameters` among them."""
    return {**payload, **payload.get("parameters", {}), "parameters": None}


def sdk_differences() -> str:
    """Where a vendor's SDK gives something else."""
    cases = yaml.safe_load((CASES / "sdk.yaml").read_text("utf-8"))
    lines = ["| SDK | what comes | what the SDK does |", "|---|---|---|"]
    for name, does in (*cases["cases"].items(), *cases["faults"].items()):
        wire, _, what = name.partition(": ")
        lines.append(f"| `{wire}` | {re.sub(r' [(][^()]*[)]$', '', what)} | {does} |")
    return "\n".join(dict.fromkeys(lines))


def counts(language: str = "en") -> str:
    """How many recorded streams there are."""
    found = {wire: len(list((CASES / wire).glob("*.yaml"))) for wire in sorted(WIRES) if (CASES / wire).is_dir()}
    if language == "zh":
        listed = "，".join(f"`{wire}` {count} 段" for wire, count in found.items())
        return f"共 {sum(found.values())} 段录制的流：{listed}。"
    listed = ", ".join(f"{count} for `{wire}`" for wire, count in found.items())
    return f"{sum(found.values())} recorded streams: {listed}."


def faults() -> str:
    """The fault table, a section a group."""
    table = yaml.safe_load((CASES / "faults.yaml").read_text("utf-8"))
    hosted = list(MODELS)
    parts = []
    for group, rows in table.items():
        parts.append(f"## {group}\n")
        parts.append("| fault | wires | ends as | before any text | text kept | asked | connection |")
        parts.append("|---|---|---|---|---|---|---|")
        for row in rows:
            wires = row.get("wires", hosted)
            where = "all" if wires == hosted else ", ".join(f"`{wire}`" for wire in wires)
            code = row["ends"]
            end = f"`{code}`" + (f" ({row['deadline']})" if "deadline" in row else "")
            end += f", `{row['finish']}`" if "finish" in row else ""
            status = "" if code == "done" or row["text"] != "none" else str(TABLE[code][0])
            connection = row.get("connection", "closed")
            cells = [row["fault"], where, end, status, row["text"], str(row.get("asked", 1)), connection]
            parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts).rstrip()


def meanings() -> str:
    """What a service's error means, from providers/wires/meanings.py."""
    lines = ["| code | the service's codes | words | seen at |", "|---|---|---|---|"]
    for meaning in MEANINGS:
        codes = ", ".join(f"`{code}`" for code in sorted(meaning.codes))
        words = "yes" if meaning.words else ""
        lines.append(f"| `{meaning.kind.code}` | {codes} | {words} | {meaning.sources} |")
    return "\n".join(lines)


def reasons() -> str:
    """The words for a reply's end, from providers/wires/finish_reasons.py."""
    rows = (
        ("`stop`", finish_reasons.STOP),
        ("`length`", finish_reasons.LENGTH),
        ("`content_filter`", finish_reasons.CONTENT_FILTER),
        ("`tool_calls`", finish_reasons.TOOL_CALLS),
        ("a failure", finish_reasons.FAILED),
    )
    lines = ["| ends as | the service's word |", "|---|---|"]
    lines += [f"| {ours} | {', '.join(f'`{word}`' for word in sorted(words))} |" for ours, words in rows]
    return "\n".join([*lines, "| `stop` with `finish_reason_raw`; an open SQL block is not run | any other |"])


def services() -> str:
    """The services whose rows are shipped."""
    lines = ["| service | name | refuses | source |", "|---|---|---|---|"]
    lines += [f"| {one.title} | `{one.name}` | {one.refuses} | {one.source} |" for one in SERVICES.values()]
    return "\n".join(lines)


PARTS = {
    "meanings": meanings,
    "finish_reasons": reasons,
    "services": services,
    "parameters": parameters,
    "sdk": sdk_differences,
    "counts": counts,
    "faults": faults,
}


def written(page: str, language: str = "en") -> str:
    """A page's text with its written parts as the code says now."""

    def fill(match: re.Match[str]) -> str:
        part = counts(language) if match[1] == "counts" else PARTS[match[1]]()
        return f"<!-- written: {match[1]} -->\n\n{part if language == 'en' else chinese_table(part)}\n\n<!-- end -->"

    return re.sub(r"<!-- written: (\w+) -->.*?<!-- end -->", fill, page, flags=re.DOTALL)


if __name__ == "__main__":
    for file in PAGES:
        language = "zh" if file.parent.name == "zh" else "en"
        file.write_text(written(file.read_text("utf-8"), language), "utf-8")
