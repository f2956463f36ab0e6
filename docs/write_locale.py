"""Write the gettext file of the commands from gateway/sentences.json: `python -m docs.write_locale`."""

from __future__ import annotations

import json
import struct

from gateway.sentences import FILE as CATALOGUE
from gateway.tools.spoken import DOMAIN, FOLDER

FILE = FOLDER / "zh" / "LC_MESSAGES" / f"{DOMAIN}.mo"
HEAD = "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n != 1;\n"


def content() -> bytes:
    """The catalogue's section `commands` in GNU gettext's binary form (version 0, no hash table)."""
    sentences = {"": HEAD} | json.loads(CATALOGUE.read_text("utf-8"))["commands"]
    rows = sorted((english.encode(), chinese.encode()) for english, chinese in sentences.items())
    count, head = len(rows), 28
    at = head + 16 * count
    tables: list[list[tuple[int, int]]] = [[], []]
    texts = b""
    for place in (0, 1):
        for row in rows:
            tables[place].append((len(row[place]), at + len(texts)))
            texts += row[place] + b"\0"
    numbers = [0x950412DE, 0, count, head, head + 8 * count, 0, at]
    numbers += [number for table in tables for pair in table for number in pair]
    return struct.pack(f"<{len(numbers)}I", *numbers) + texts


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_bytes(content())
