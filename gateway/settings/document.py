"""A YAML file as plain values, with the line of every key.

The file comes from a person, and at SIGHUP it is read by a running server. So whatever is in it ends in one sentence
with its line: a date that does not exist, an anchor that contains itself, aliases that multiply, a key twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from gateway.settings.problems import Problem

# Caps on a file: a real one has a few kilobytes and some hundred values.
MAX_BYTES = 1 << 20
MAX_VALUES = 20_000
MAX_DEPTH = 40

Path = tuple[str, ...]

# PyYAML's words for what it met → our kinds of problem.
_SYNTAX = (
    ("found character '\\t'", "yaml_tab"),
    ("mapping values are not allowed", "yaml_second_colon"),
    ("could not find expected ':'", "yaml_no_colon"),
    ("found undefined alias", "yaml_alias"),
    ("found unknown escape", "yaml_escape"),
    ("found unexpected end of stream", "yaml_quote"),
    ("expected ',' or '", "yaml_bracket"),
    ("expected the node content", "yaml_bracket"),
    ("expected <block end>", "yaml_indent"),
    ("did not find expected", "yaml_indent"),
    ("special characters are not allowed", "yaml_character"),
    ("found another document", "yaml_documents"),
    ("found character", "yaml_quote_it"),
)
_FULL_WIDTH = re.compile(r"[：，｛｝［］“”‘’＃－]")
# Spaces that are none to YAML, and characters without a width; they come with text copied from a page or a chat.
_INVISIBLE = re.compile(r"[\u00a0\u2000-\u200f\u202f\u205f\u2060\u3000\ufeff]")


class Loader(yaml.SafeLoader):
    """YAML 1.2's core values: `on`, `off`, `yes`, `no` and dates are text, 12:30 is no number in base 60."""


Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^(?:<<)$", "<"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


class Document:
    """
    data      what the file says, `None` for an empty one
    lines     path of a key or an item → its line, from 1
    problems  what is wrong; then `data` is not to be used
    """

    def __init__(self, text: str) -> None:
        self.data: Any = None
        self.lines: dict[Path, int] = {}
        self._value_lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._text = text
        self._values = 0
        if len(text.encode("utf-8", "surrogateescape")) > MAX_BYTES:
            self.problems.append(Problem("", "file_too_large", {"limit": MAX_BYTES}))
            return
        try:
            root = yaml.compose(text, Loader)
            self.data = None if root is None else self._value(root, (), ())
        except yaml.YAMLError as error:
            self.problems.append(self._syntax(error))
        except RecursionError:
            self.problems.append(Problem("", "yaml_depth", {"limit": MAX_DEPTH}))
        except Unusable as error:
            self.problems.append(error.problem)

    def line(self, path: Path) -> int | None:
        """The line of the key at `path`, or of the nearest key above it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None

    def value_line(self, path: Path) -> int | None:
        """The line where the value at `path` begins."""
        return self._value_lines.get(path)

    def full_width(self, line: int | None) -> str:
        """A full-width punctuation mark that stands in this line outside quotes and comments, or ""."""
        mark = _FULL_WIDTH.search(self._bare(line))
        return mark[0] if mark else ""

    def invisible(self, line: int | None) -> str:
        """A character that cannot be seen and that YAML takes for text, in this line outside quotes, or ""."""
        mark = _INVISIBLE.search(self._bare(line))
        return mark[0] if mark else ""

    @staticmethod
    def visible(text: str) -> str:
        """`text` without the characters that cannot be seen."""
        return _INVISIBLE.sub("", text)

    def row(self, line: int | None) -> str:
        """The text of a line, from 1; "" where there is none."""
        rows = self._text.splitlines()
        return rows[line - 1] if line is not None and 0 < line <= len(rows) else ""

    def _bare(self, line: int | None) -> str:
        """The line without what stands in quotes, and without its comment."""
        return re.sub(r"\"[^\"]*\"|'[^']*'|\s#.*", "", self.row(line))

    def _syntax(self, error: yaml.YAMLError) -> Problem:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = mark.line + 1 if mark else None
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or ""
        # PyYAML often notices one line late.
        for near in (line, line - 1) if line else ():
            if character := self.full_width(near):
                return Problem("", "yaml_full_width", {"character": character}, near)
            if character := self.invisible(near):
                return Problem("", "invisible", {"code": f"U+{ord(character):04X}"}, near)
            if self.row(near).lstrip().startswith("//"):
                return Problem("", "yaml_comment", {}, near)
        if line is None and (position := getattr(error, "position", None)) is not None:
            line = self._text.count("\n", 0, position) + 1
        for words, kind in _SYNTAX:
            if words in said:
                return Problem("", kind, {}, line)
        return Problem("", "yaml", {"said": said or "not YAML"}, line)

    def _value(self, node: yaml.Node, path: Path, inside: tuple[int, ...]) -> Any:
        self._values += 1
        line = node.start_mark.line + 1
        if self._values > MAX_VALUES:
            raise Unusable(Problem("", "yaml_values", {"limit": MAX_VALUES}, line))
        if id(node) in inside:
            raise Unusable(Problem(".".join(path), "yaml_recursive", {}, line))
        if len(inside) > MAX_DEPTH:
            raise Unusable(Problem(".".join(path[:3]), "yaml_depth", {"limit": MAX_DEPTH}, line))
        self.lines.setdefault(path, line)
        self._value_lines[path] = line
        inside = (*inside, id(node))
        if isinstance(node, yaml.MappingNode):
            return dict(self._members(node, path, inside))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, str(n)), inside) for n, item in enumerate(node.value)]
        return _scalar(node, path)

    def _members(self, node: yaml.MappingNode, path: Path, inside: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
        merged: dict[str, Any] = {}
        own: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag.endswith(":merge"):
                for part in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    value = self._value(part, path, inside)
                    if not isinstance(value, dict):
                        raise Unusable(Problem(".".join(path), "yaml_merge", {}, line))
                    merged = value | merged
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                kind = "yaml_template" if isinstance(key_node, yaml.MappingNode) else "yaml_key"
                raise Unusable(Problem(".".join(path), kind, {}, line))
            # As it is written: a provider may be called 7 or null.
            key = str(key_node.value)
            if key in own:
                raise Unusable(Problem(".".join((*path, key)), "yaml_twice", {"first": own[key]}, line))
            own[key] = line
            self.lines[*path, key] = line
            yield key, self._value(value_node, (*path, key), inside)
        yield from ((key, value) for key, value in merged.items() if key not in own)


class Unusable(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind)
        self.problem = problem


def _scalar(node: yaml.Node, path: Path) -> Any:
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    problem = Problem(".".join(path), "yaml_number", {}, node.start_mark.line + 1)
    try:
        if kind == "bool":
            return text.lower() == "true"
        if kind == "null":
            return None
        if kind == "int":
            digits = text.replace("_", "")
            return int(digits, 0) if "x" in digits or "o" in digits else int(digits)
        if kind == "float":
            return float(text.replace("_", ""))
    except ValueError:
        raise Unusable(problem) from None
    if kind == "str" or (kind == "timestamp" and node.tag.startswith("tag:yaml.org")):
        return text
    raise Unusable(Problem(".".join(path), "yaml_tag", {"tag": node.tag[:60]}, node.start_mark.line + 1))
