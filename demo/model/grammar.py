"""The language that the training questions are written in, and its reader.

A file in `intents/` holds blocks, one for each thing that can be asked:

    # a title
    weight: 2                                            how often, 1 if absent
    sql: SELECT DISTINCT district FROM dtzpt WHERE {S.is}
    zh: {S}所在的行政区                                    the question restated
    en: the district of {S}
    - {S}在[哪个|哪一个]区                                 a Chinese phrasing
    - =[所属|]行政区 {S}                                   '=' marks a noun phrase: it can follow "show me"
    * which district is {S} in                           an English phrasing

[a|b|] is a choice, <x> a macro from `macros.txt`, {S} a slot, {M.verb} another form of one, {~P} a slot unless it was
said already. A slot is filled once for an example: phrasings show it as somebody typed it, `zh:` and `en:` show its
plain name, and `sql:` asks for one of its fragments ({S.is}). In `sql:`, {where P W} gives " WHERE …" for the slots
that restrict anything, or nothing; {and W} gives " AND …".
A block without `sql:` is a question to decline; `zh:` and `en:` are then the reason.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from random import Random

HERE = Path(__file__).parent / "intents"
TOKEN = re.compile(r"[\[\]|]|<[^>]+>|\{[^}]+\}|[^\[\]|<{]+|<")

# What a phrasing expands to: pieces of text, and the names of slots in braces.
Node = str | list["Node"] | tuple["Node", ...]


@dataclass(frozen=True)
class Slot:
    """One filled slot: as typed, its plain name, its fragments of SQL."""

    text: str
    name: str
    sql: dict[str, str] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)  # other shapes of the text, as templates


@dataclass
class Intent:
    """One thing that can be asked; `sql` is None for a question to decline."""

    title: str
    weight: float = 1.0
    sql: str | None = None
    restated: dict[str, str] = field(default_factory=dict)
    phrasings: dict[str, list[str]] = field(default_factory=lambda: {"zh": [], "en": []})


def intents(path: Path) -> Iterator[Intent]:
    """The blocks of one file; raises ValueError at a line that is not understood."""
    intent = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark, _, rest = line.partition(" ")
        if not line.strip():
            continue
        if mark == "#":
            if intent:
                yield intent
            intent = Intent(rest)
        elif intent is None:
            raise ValueError(f"{path.name}:{number}: a line before the first block")
        elif mark == "weight:":
            intent.weight = float(rest)
        elif mark == "sql:":
            intent.sql = rest
        elif mark in ("zh:", "en:"):
            intent.restated[mark[:2]] = rest
        elif mark in ("-", "*"):
            intent.phrasings["zh" if mark == "-" else "en"].append(rest)
        else:
            raise ValueError(f"{path.name}:{number}: expected a mark, got {mark!r}")
    if intent:
        yield intent


@lru_cache(maxsize=1)
def macros() -> dict[str, str]:
    """The macros by name, each the text of a choice."""
    lines = (HERE / "macros.txt").read_text(encoding="utf-8").splitlines()
    return {name: f"[{text}]" for name, _, text in (line.partition(" = ") for line in lines if " = " in line)}


@cache
def parse(template: str) -> Node:
    """A tree of the template: a list is a sequence, a tuple a choice, a string text or a slot."""
    tokens = TOKEN.findall(template)
    position = 0

    def sequence() -> Node:
        nonlocal position
        parts: list[Node] = []
        while position < len(tokens) and tokens[position] not in ("|", "]"):
            token = tokens[position]
            position += 1
            if token == "[":
                parts.append(choice())
            elif token.startswith("<") and len(token) > 1:
                parts.append(parse(macros()[token[1:-1]]))
            else:
                parts.append(token)
        return parts

    def choice() -> Node:
        nonlocal position
        options = [sequence()]
        while tokens[position] == "|":
            position += 1
            options.append(sequence())
        position += 1  # the closing bracket
        return tuple(options)

    tree = sequence()
    if position != len(tokens):
        raise ValueError(f"unbalanced brackets in {template!r}")
    return tree


def flatten(node: Node, rng: Random) -> Iterator[str]:
    """The pieces of one reading of the tree."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, tuple):
        yield from flatten(rng.choice(node), rng)
    else:
        for part in node:
            yield from flatten(part, rng)


def expand(template: str, rng: Random, fill: Callable[[str], str] = str) -> str:
    """One reading of the template; `fill` gives the text of a slot by its name."""
    pieces = flatten(parse(template), rng)
    return "".join(fill(piece[1:-1]) if piece.startswith("{") else piece for piece in pieces)


def slot_names(template: str) -> list[str]:
    """The slots a template names, in order, without the part after the dot."""
    names = []
    for inside in re.findall(r"\{([^}]+)\}", template):
        words = inside.split()[1:] if inside.startswith(("where ", "and ")) else [inside.lstrip("~").split(".")[0]]
        names += [name for word in words for name in word.split("&")]
    return list(dict.fromkeys(names))


def render_sql(template: str, slots: dict[str, Slot]) -> str:
    """The statement with its slots' fragments in place."""

    def fragment(match: re.Match) -> str:
        inside = match[1]
        if inside.startswith(("where ", "and ")):
            head, *names = inside.split()
            conditions = [text for name in names if (text := slots[name].sql["is"])]
            return f" {head.upper()} " + " AND ".join(conditions) if conditions else ""
        name, _, part = inside.partition(".")
        return slots[name].sql[part or "v"]

    return re.sub(r"\{([^}]+)\}", fragment, template)
