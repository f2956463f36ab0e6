"""Text of models, databases and upstreams, before a terminal, a log or a message shows it."""

from __future__ import annotations

import re

# Control characters but tab and line feed; C1 controls; marks that turn the direction of what follows.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def printable(text: str) -> str:
    """`text` with what would steer a terminal written out, such as \\x1b."""
    return _STEERING.sub(lambda found: _written(found[0]), text)


def _written(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
