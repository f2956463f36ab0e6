"""What looks like a secret in any text: for log lines, and for upstreams' messages before a person reads them."""

from __future__ import annotations

import re

# What vendors put keys into: a bearer header, ERNIE's token and its OAuth query; and how vendors' keys begin.
_BESIDE_ITS_NAME = re.compile(r"(?i)(bearer\s+|access_token=|client_secret=|client_id=|api[-_]key[=:]\s*)[^\s&\"',]+")
_BY_ITS_BEGINNING = re.compile(r"\b(sk-|sluice_(?=\w{20})|bce-v3/)[\w\-./*]{6,}")


def redacted(text: str, mark: str = "***") -> str:
    """`text` with everything that looks like a secret replaced by `mark`."""
    return _BY_ITS_BEGINNING.sub(rf"\1{mark}", _BESIDE_ITS_NAME.sub(rf"\1{mark}", text))
