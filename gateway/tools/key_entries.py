"""`sluice keys`: entries of `auth.keys` written into, listed from and taken out of the configuration's file.

The file stays as its author wrote it, comments included: only the lines of the entry change. What would come out is
checked as at start before it replaces the file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from gateway.access.auth import digest
from gateway.settings import SettingsError, load
from gateway.settings.document import Document, Loader

PREFIX = "sluice_"
KEY_BYTES = 32


class Refused(Exception):
    """The file was left as it is; the message says why."""


def new(file: Path, entry: Mapping[str, Any]) -> str:
    """Make a key, and write its entry (`name` and rights) into the file; returns the key. Raises Refused."""
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    before = entries(file)
    if any(_name(known) == entry["name"] for known in before):
        raise Refused(f'name: "{entry["name"]}" is another key\'s name; choose another, or revoke that key')
    entry = {**entry, "sha256": digest(key)}
    _replace(file, _with_entry(file.read_text("utf-8"), entry), [*before, entry])
    return key


def revoke(file: Path, name: str) -> None:
    """Take the entry called `name` (or whose digest begins so) out of the file. Raises Refused."""
    before = entries(file)
    matching = [n for n, known in enumerate(before) if name == _name(known) or _begins(known, name)]
    if len(matching) != 1:
        names = ", ".join(_name(known) for known in before)
        what = "several keys have this name" if matching else "no key has this name"
        raise Refused(f"name: {what}; {f'expected one of {names}' if names else 'none is configured'}")
    [n] = matching
    _replace(file, _without_entry(file.read_text("utf-8"), n), [*before[:n], *before[n + 1 :]])


def entries(file: Path) -> list[Any]:
    """The entries as they are written: digests, or mappings. Raises Refused."""
    try:
        document = Document(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{file}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    if document.problems:
        raise Refused(f"{file}: {document.problems[0]}")
    auth = document.data.get("auth") if isinstance(document.data, dict) else None
    keys = auth.get("keys") if isinstance(auth, dict) else None
    return list(keys) if isinstance(keys, list) else []


def _name(entry: Any) -> str:
    """What a person calls the entry: its name, or the beginning of its digest."""
    if isinstance(entry, dict):
        return str(entry.get("name") or str(entry.get("sha256", ""))[:8])
    return str(entry)[:8]


def _begins(entry: Any, name: str) -> bool:
    sha256 = str(entry.get("sha256", "") if isinstance(entry, dict) else entry)
    return len(name) >= 8 and sha256.startswith(name)


def _replace(file: Path, text: str, expected: list[Any]) -> None:
    """Put `text` in the file's place, whole or not at all, if its keys are `expected` and nothing else is worse."""
    target = file.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as new_file:
            new_file.write(text)
            new_file.flush()
            os.fsync(new_file.fileno())
        worse = _problems(Path(name)) - _problems(target)
        if worse:
            raise Refused("; ".join(sorted(worse)))
        before, after = Document(target.read_text("utf-8")).data, Document(text).data
        kept = {**before, "auth": {**(before.get("auth") or {}), "keys": expected}}
        if {**after, "auth": {"keys": [], **(after.get("auth") or {})}} != kept:
            raise Refused("auth.keys: cannot be changed in the form it has in the file; change it by hand")
        with contextlib.suppress(OSError):
            status = target.stat()
            os.chmod(name, status.st_mode & 0o7777)
            os.chown(name, status.st_uid, status.st_gid)
        os.replace(name, target)
    except OSError as error:
        raise Refused(f"{file}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)


def _problems(file: Path) -> set[str]:
    """What is wrong with the file, without its lines."""
    try:
        load(file)
    except SettingsError as error:
        return {str(replace(problem, line=None)) for problem in error.problems}
    return set()


def _line(entry: Mapping[str, Any]) -> str:
    """An entry on one line, as YAML in flow style."""
    text: str = yaml.safe_dump(dict(entry), default_flow_style=True, allow_unicode=True, sort_keys=False, width=1 << 20)
    return text.strip()


def _member(node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The key and the value of a mapping's member."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name:
                return key, value
    return None


def _with_entry(text: str, entry: Mapping[str, Any]) -> str:
    root = yaml.compose(text, Loader)
    auth = _member(root, "auth")
    if auth is None:
        return f"{text.rstrip()}\n\nauth:\n  keys:\n  - {_line(entry)}\n"
    keys = _member(auth[1], "keys")
    if keys is not None and isinstance(keys[1], yaml.SequenceNode) and keys[1].value and not keys[1].flow_style:
        # A block's last entry: the new one stands on the next line.
        last = keys[1].value[-1]
        at = _line_end(text, _last_mark(last).index)
        return f"{text[:at]}\n{' ' * _dash_column(text, keys[1])}- {_line(entry)}{text[at:]}"
    return _rewritten(text, auth, lambda entries: [*entries, dict(entry)])


def _without_entry(text: str, n: int) -> str:
    root = yaml.compose(text, Loader)
    auth = _member(root, "auth")
    keys = _member(auth[1], "keys") if auth else None
    if auth is None or keys is None or not isinstance(keys[1], yaml.SequenceNode):
        raise Refused("auth.keys: its form in the file is not known; take the entry out by hand")
    if keys[1].flow_style or len(keys[1].value) == 1:
        return _rewritten(text, auth, lambda entries: [*entries[:n], *entries[n + 1 :]])
    item = keys[1].value[n]
    begin = text.rindex("\n", 0, item.start_mark.index) + 1
    return text[:begin] + text[_line_end(text, _last_mark(item).index) + 1 :]


def _rewritten(text: str, auth: Any, change: Callable[[list[Any]], list[Any]]) -> str:
    """`text` with its whole `auth` section written anew, in block style."""
    start = auth[0].start_mark
    data = Document(text).data["auth"] or {}
    if start.column or not isinstance(data, dict):
        raise Refused("auth: its form in the file is not known; write the entry by hand")
    data = {**data, "keys": change(data.get("keys") or [])}
    lines = ["auth:"]
    for name, value in data.items():
        if name == "keys" and value:
            lines += ["  keys:", *(f"  - {_line(one) if isinstance(one, dict) else one}" for one in value)]
        else:
            lines.append(f"  {_line({name: value})[1:-1]}")
    end = _last_mark(auth[1]).index if auth[1].end_mark.index > auth[1].start_mark.index else auth[0].end_mark.index
    return text[: start.index] + "\n".join(lines) + text[_line_end(text, end) :]


def _last_mark(node: yaml.Node) -> Any:
    """Where a node's text ends: a block's own mark is at the beginning of the next line with text."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return _last_mark(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_mark(node.value[-1])
    return node.end_mark


def _dash_column(text: str, sequence: yaml.Node) -> int:
    first = sequence.value[0].start_mark
    line = text[text.rindex("\n", 0, first.index) + 1 : first.index]
    return line.index("-")


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
