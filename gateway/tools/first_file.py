"""`sluice init`: a first sluice.yaml, commented, that `sluice check` accepts."""

from __future__ import annotations

import json
from dataclasses import dataclass

from providers.catalogue import WIRES

# What `type` is asked for, in words: the wire → an example of its model, the usual variable of its key.
EXAMPLES = {
    "openai": ("Qwen2.5-7B-Instruct", ""),
    "dashscope": ("qwen-max", "DASHSCOPE_API_KEY"),
    "dashscope_compatible": ("qwen-max", "DASHSCOPE_API_KEY"),
    "qianfan": ("ernie-4.5-turbo-128k", "QIANFAN_API_KEY"),
    "ernie": ("completions_pro", "QIANFAN_AK"),
    "local": ("models/metro-sql", ""),
}


@dataclass(frozen=True, slots=True)
class Answers:
    """The five things that are asked. `api_key` is the name of an environment variable, never a key."""

    type: str
    model: str
    base_url: str = ""
    api_key: str = ""
    database: str = ""
    bind: str = "127.0.0.1:9001"


def text(answers: Answers) -> str:
    """The file."""
    wire = WIRES[answers.type]
    rows = [f"    type: {answers.type}", f"    model: {_text(answers.model)}"]
    if answers.base_url:
        rows.append(f"    base_url: {_text(answers.base_url)}")
    if answers.api_key or wire.secrets:
        rows.append("    # The key comes from the environment; it is never in this file.")
        names = answers.api_key or EXAMPLES[answers.type][1] or "API_KEY"
        # Empty where it is not set: the provider is then unavailable, and `check` says so.
        rows.append(f'    api_key: "${{{names}}}"')
        if "secret_key" in wire.secrets:
            rows.append('    secret_key: "${QIANFAN_SK}"')
    database = (
        f"databases:\n  main:\n    url: {_text(answers.database)}\n"
        "    # Only these tables are ever shown or read; all if left out.\n    # tables: [orders, customers]\n"
        if answers.database
        else '# databases:\n#   main: {url: "sqlite:///shop.db"}\n'
    )
    return f"""# Sluice's configuration; docs/configuration.md explains every key. `sluice check` judges it.

server:
  # Reached from this machine alone; an address that others reach needs a key (`sluice keys new NAME`).
  bind: {_text(answers.bind)}

# The provider that answers when a question names none: switching models is this line.
default: main
providers:
  main:
{chr(10).join(rows)}

# Questions of /getAnwser are asked of the first database; without one they are plain chats.
{database}"""


def _text(value: str) -> str:
    """A YAML scalar in double quotes: JSON's are YAML's. `${{VAR}}` stays as it is."""
    return json.dumps(value, ensure_ascii=False)
