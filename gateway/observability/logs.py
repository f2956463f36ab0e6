"""Logging: set up from logging.yaml, one JSON line for each answer, and no secret in any line."""

from __future__ import annotations

import logging
import logging.config
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import yaml

from gateway.installed import path_of
from gateway.printable import printable
from providers.redaction import redacted

ANSWERS = logging.getLogger("sluice.answers")

_SECRETS: set[str] = set()


def configure(folder: Path) -> None:
    """Set logging up from $SLUICE_LOGGING, or logging.yaml in `folder`, or Sluice's own; else one plain handler."""
    chosen = os.environ.get("SLUICE_LOGGING")
    for file in [Path(chosen)] if chosen else [folder / "logging.yaml", path_of("logging.yaml")]:
        if file is not None and file.exists():
            logging.config.dictConfig(yaml.safe_load(file.read_text("utf-8")))
            return
    logging.basicConfig(level=logging.INFO)
    logging.getLogger().handlers[0].setFormatter(TextLines())
    logging.getLogger().handlers[0].addFilter(WithoutSecrets())


def hide(*secrets: str) -> None:
    """Replace these values in every log line; not those under 8 characters, which could be ordinary words."""
    _SECRETS.update(secret for secret in secrets if len(secret) >= 8)


def without_secrets(text: str) -> str:
    """`text` with every known secret, and everything that looks like one beside its usual name, replaced by ***."""
    for secret in _SECRETS:
        if secret in text:
            text = text.replace(secret, "***")
    return redacted(text)


class WithoutSecrets(logging.Filter):
    """Rewrites a record's message and traceback without secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_secrets(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = without_secrets(logging.Formatter().formatException(record.exc_info))
        return True


def _stamp(record: logging.LogRecord) -> str:
    """When the record was made: UTC, to the millisecond, the same in text and in JSON."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


class TextLines(logging.Formatter):
    """A record as text: time, level, logger, message; nothing in it steers the terminal that shows the log."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return _stamp(record)

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, event, and the members given as `extra={"fields": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields |= getattr(record, "fields", {})
        return msgspec.json.encode(fields).decode()


def answered(fields: dict[str, Any]) -> None:
    """One line for an answer that ended: id, provider, model, cause, usage and timings; never its text."""
    if ANSWERS.isEnabledFor(logging.INFO):
        ANSWERS.handle(_record(time.time(), fields))


# Of one record for all answers: ANSWERS.info() would look for the line of code that calls it, and for the thread, whose
# object each greenlet would be given. Both together cost more than the rest of the line.
_ALIKE = vars(logging.makeLogRecord({"name": ANSWERS.name, "levelno": logging.INFO, "levelname": "INFO"})) | {
    "msg": "answer"
}


def _record(now: float, fields: dict[str, Any]) -> logging.LogRecord:
    record = logging.LogRecord.__new__(logging.LogRecord)
    vars(record).update(_ALIKE, created=now, msecs=int(now % 1 * 1000) + 0.0, process=os.getpid(), fields=fields)
    record.relativeCreated += (now - _ALIKE["created"]) * 1000
    return record
