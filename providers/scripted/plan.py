"""What one request to the scripted upstream meets, written as `name` or `name=value`, joined by commas.

    qwen-plus@cut=120            as a model's name: everything behind the @
    crlf,fail=rate,after=2       as a plan set beforehand

`WORDS` is the whole vocabulary, and what `sluice upstream --faults` prints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

HANGS = ("accept", "head", "first", "between", "end")
MEANINGS = (
    "bad", "context", "moderation", "model", "auth", "forbidden", "rate", "allocation", "quota", "arrears", "busy",
    "server", "timeout",
)  # fmt: skip
FLOODS = ("head", "comments", "events", "bytes")
EVENTS_BEFORE = 2


class UnknownWord(ValueError):
    """A plan has a word that the vocabulary lacks, or a value that it cannot read."""


@dataclass(slots=True)
class Plan:
    """One answer's misfortunes. Positions are bytes of the body before chunking; 0 or less means after two events."""

    # where it stops
    cut: int | None = None
    reset: int | None = None
    end: int | None = None
    halfclose: int | None = None
    drop: str | None = None
    hang: str | None = None
    trickle: float | None = None
    pace: float | None = None
    wait: float = 0.0
    lull: float = 0.0
    # what it says instead
    fail: str | None = None
    form: str = ""
    after: int = 0
    status: int | None = None
    html: int | None = None
    retry: float | None = None
    retry_date: int | None = None
    redirect: bool = False
    endless: bool = False
    garbage: bool = False
    halfjson: bool = False
    pings: int | None = None
    comments: bool = False
    silence: bool = False
    flood: str | None = None
    # how it is written
    cr: bool = False
    crlf: bool = False
    single: bool = False
    bom: bool = False
    bytewise: bool = False
    onewrite: bool = False
    unfinished: bool = False
    nodone: bool = False
    nofinish: bool = False
    gzip: bool = False
    corrupt: bool = False
    type: str = ""
    whole: bool = False
    identity: bool = False
    # what the reply is
    think: bool = False
    tools: bool = False
    search: bool = False
    finish: str = ""
    nousage: bool = False
    snapshots: bool = False
    count: int | None = None
    # ERNIE's token
    token: str | None = None
    # how often
    times: int | None = None


def _position(text: str) -> int:
    return int(text) if text else 0


def _flag(text: str) -> bool:
    if text:
        raise ValueError("it takes no value")
    return True


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"it is one of {', '.join(known)}")
        return text

    return read


@dataclass(frozen=True, slots=True)
class Word:
    read: Callable[[str], object]
    takes: str
    does: str


WORDS = {
    "cut": Word(
        _position, "[bytes]", "the connection is closed after so many bytes of the body (none: after two events)"
    ),
    "reset": Word(_position, "[bytes]", "the same with a TCP reset"),
    "end": Word(_position, "[bytes]", "the body ends there, cleanly"),
    "halfclose": Word(_position, "[bytes]", "the sending side is shut there, the connection stays"),
    "drop": Word(
        _one_of("accept", "head", "status"),
        "accept|head|status",
        "closed before reading, before answering, in the head",
    ),
    "hang": Word(_one_of(*HANGS), "|".join(HANGS), "nothing more comes from there on"),
    "trickle": Word(float, "seconds", "one byte of the body at a time, so many seconds apart"),
    "pace": Word(float, "seconds", "so many seconds between events"),
    "wait": Word(float, "seconds", "so many seconds between the head and the first event"),
    "lull": Word(float, "seconds", "so many seconds of silence after two events"),
    "fail": Word(_one_of(*MEANINGS), "|".join(MEANINGS), "the service's own error, in its own form"),
    "form": Word(str, "name", "another form of that error: http, sse, json, bare, string, event, beside, legacy, lost"),
    "after": Word(int, "events", "the error comes after so many events, instead of before the stream"),
    "status": Word(int, "code", "that HTTP status with an empty body"),
    "html": Word(int, "code", "a page of HTML with that HTTP status"),
    "retry": Word(float, "seconds", "Retry-After in seconds, beside an error status"),
    "retry_date": Word(int, "seconds", "Retry-After as a date so many seconds ahead"),
    "redirect": Word(_flag, "", "302 to another place on this server"),
    "endless": Word(_flag, "", "after two events, a line that never ends"),
    "garbage": Word(_flag, "", "after two events, bytes that mean nothing"),
    "halfjson": Word(_flag, "", "after two events, an event whose JSON stops in the middle"),
    "pings": Word(int, "count", "so many events whose data is not JSON, after two good ones"),
    "comments": Word(_flag, "", "a comment before every event"),
    "silence": Word(_flag, "", "after two events, comments for ever and no event"),
    "flood": Word(
        _one_of(*FLOODS),
        "|".join(FLOODS),
        "without end and without a pause: lines of the head, or, after two events, comments, events without content, "
        "chunks of one byte",
    ),
    "cr": Word(_flag, "", "lines end with CR"),
    "crlf": Word(_flag, "", "lines end with CR LF"),
    "single": Word(_flag, "", "one line end between events instead of two"),
    "bom": Word(_flag, "", "a byte order mark first"),
    "bytewise": Word(_flag, "", "every byte in a write of its own"),
    "onewrite": Word(_flag, "", "the whole body in one write"),
    "unfinished": Word(_flag, "", "the last event lacks its blank line"),
    "nodone": Word(_flag, "", "no [DONE]"),
    "nofinish": Word(_flag, "", "no finish reason, and is_end never true"),
    "gzip": Word(_flag, "", "the body compressed"),
    "corrupt": Word(_flag, "", "the body said to be compressed, with broken bytes after two events"),
    "type": Word(str, "media type", "another Content-Type"),
    "whole": Word(_flag, "", "the whole reply as JSON although a stream was asked for"),
    "identity": Word(_flag, "", "no chunks: the body ends where the connection ends"),
    "think": Word(_flag, "", "a reply with reasoning"),
    "tools": Word(_flag, "", "a reply of two tool calls"),
    "search": Word(_flag, "", "a reply with search results"),
    "finish": Word(
        _one_of("stop", "length", "content_filter"),
        "stop|length|content_filter",
        "how the reply ends, in the wire's words",
    ),
    "nousage": Word(_flag, "", "no usage"),
    "snapshots": Word(_flag, "", "every chunk repeats all the text so far"),
    "count": Word(int, "chunks", "a reply of so many chunks, each with the question and its own number: <question:1>"),
    "token": Word(
        _one_of("expired", "invalid", "always", "refused"),
        "expired|invalid|always|refused",
        "ERNIE: the token in hand is refused once (111, 110) or always, or none is given out",
    ),
    "times": Word(int, "count", "only the first so many requests meet it"),
}
assert set(WORDS) == {field.name for field in fields(Plan)}


def parse(text: str) -> Plan:
    """The plan that `text` writes down; raises UnknownWord with a sentence."""
    plan = Plan()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        word = WORDS.get(name)
        if word is None:
            raise UnknownWord(f"{name!r} is not a word of a plan")
        try:
            setattr(plan, name, word.read(value))
        except ValueError as error:
            raise UnknownWord(f"{name}={value}: {error}") from None
    return plan


def split_model(model: str) -> tuple[str, str]:
    """A model's name and the plan behind its @."""
    name, _, plan = model.partition("@")
    return name, plan
