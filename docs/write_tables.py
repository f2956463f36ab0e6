"""Write docs/configuration.md from the settings' own declarations: `python -m docs.write_tables`."""

from __future__ import annotations

import re
import types
import typing
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.settings import Auth, DatabaseSettings, Key, KeyLimits, Limits, Server, TextToSql
from providers.catalogue import WIRES
from providers.configuration import Breaker, ProviderConfiguration, SamplingDefaults, Timeouts

FILE = Path(__file__).with_name("configuration.md")

HEAD = """# Configuration

One YAML file: `sluice.yaml` in the folder where the server is started, or the file that `SLUICE_CONFIG` or `--config`
names. `${VAR}` and `${VAR:-default}` come from the environment. The file is checked as a whole at start: an unknown
key, a missing secret or a bad value stops the start with the key's path. `sluice check` does only that. `SIGHUP`
reads it again; a bad file then keeps the old configuration, and a log line says so. Relative paths start at the
file's folder.

This page is written from the code by `python -m docs.write_tables`.

## The top level

| key | is |
|---|---|
| `default` | the provider that answers when the request names none; switching providers is this line |
| `fallbacks` | tried in order when that one fails before its first text; never in place of one that the request named |
| `providers`, `databases`, `server`, `auth`, `limits`, `text2sql` | below |
"""


def kind(field: FieldInfo) -> str:
    """A field's type as a person says it."""
    return spell(field.annotation)


def spell(kind: object) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return spell(parts[0])
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if part is type(None) else spell(part) for part in parts)
    if origin is list:
        return f"list of {spell(parts[0])}"
    if origin is dict:
        return "mapping"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", datetime: "date or time"}
    return names.get(kind, "keys below")  # type: ignore[call-overload, no-any-return]


def default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if isinstance(value, BaseModel):
        return ""
    words = {None: "null", True: "true", False: "false", "": '""'}
    return f"`{words[value] if isinstance(value, (str, bool, type(None))) and value in words else value}`"


def table(section: type[BaseModel]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        meaning = re.sub(r"\s+", " ", field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | {kind(field)} | {default(field)} | {meaning} |")
    return "\n".join(lines)


def wires() -> str:
    lines = ["| type | served at, if `base_url` does not say | needs |", "|---|---|---|"]
    for wire in WIRES.values():
        needs = ", ".join(f"`{secret}`" for secret in wire.secrets) or "no key"
        lines.append(f"| `{wire.name}` | {wire.base_url or '(its own process)' * (wire.name == 'local')} | {needs} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## `providers.<name>`\n", wires(), "", table(ProviderConfiguration), ""]
    for title, section in (
        ("providers.<name>.timeouts", Timeouts),
        ("providers.<name>.breaker", Breaker),
        ("providers.<name>.defaults", SamplingDefaults),
        ("databases.<name>", DatabaseSettings),
        ("server", Server),
        ("auth", Auth),
        ("auth.keys[]", Key),
        ("auth.keys[].limits", KeyLimits),
        ("limits", Limits),
        ("text2sql", TextToSql),
    ):
        parts += [f"## `{title}`\n", table(section), ""]
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(page(), "utf-8")
