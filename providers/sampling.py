"""How the next token is chosen, and when the reply stops: each parameter's type, range and meaning, declared once.

`Sampling` is carried whole by a request's fields, the question, the chat request, a provider's `defaults`, the
engine's ask and the engine's sequence. A new parameter is its line here and, on each wire that gives it another name,
one entry in that wire's mapping; OpenAI's wire sends every member under the name that it has here. One that is
`_drawn` reaches the local engine's sampler as a line of its own, under the same name.
"""

from __future__ import annotations

from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1

StopString = Annotated[str, Meta(min_length=1)]
Stop = Annotated[
    tuple[StopString, ...], Meta(max_length=8, description="The reply ends before the first of these strings.")
]
StopAsSent = Stop | StopString | None
"""What a client may send: a list, one string, or null."""


def _drawn(off: float, description: str, **limits: Any) -> Meta:
    """A number that changes how the local engine draws; `off` changes nothing."""
    return Meta(description=description, extra={"off": off}, **limits)


class Sampling(msgspec.Struct, omit_defaults=True, kw_only=True):
    """None, and an empty `stop`, mean that the caller leaves the choice to the provider.

    A parameter whose name ends in `_penalty` makes a draw depend on the tokens so far.
    """

    temperature: (
        Annotated[float, _drawn(1, "Divides the logits; 0 takes the most likely token.", ge=0, le=2)] | None
    ) = None
    top_p: (
        Annotated[float, _drawn(1, "Draw from the most likely tokens that together have this probability.", gt=0, le=1)]
        | None
    ) = None
    top_k: (
        Annotated[int, _drawn(0, "Draw from so many of the most likely tokens; 0 and -1 are off.", ge=-1, le=MAX_INT32)]
        | None
    ) = None
    min_p: (
        Annotated[float, _drawn(0, "Leave out tokens less likely than this share of the likeliest one.", ge=0, le=1)]
        | None
    ) = None
    max_tokens: (
        Annotated[
            int, Meta(ge=1, le=MAX_INT32, description="The reply has at most so many tokens, its thinking included.")
        ]
        | None
    ) = None
    seed: (
        Annotated[
            int, Meta(ge=0, le=MAX_INT64, description="The same seed draws the same tokens, where the upstream can.")
        ]
        | None
    ) = None
    stop: Stop = ()
    repetition_penalty: (
        Annotated[float, _drawn(1, "Divides the logits of tokens that already occurred; 1 is off.", gt=0, le=2)] | None
    ) = None
    presence_penalty: (
        Annotated[float, _drawn(0, "Subtracted from the logits of tokens that the reply already has.", ge=-2, le=2)]
        | None
    ) = None
    frequency_penalty: (
        Annotated[float, _drawn(0, "The same, times how often the reply has the token.", ge=-2, le=2)] | None
    ) = None

    def over(self, defaults: Sampling) -> Sampling:
        """These parameters, with those of `defaults` where these leave the choice open."""
        return Sampling(**{**defaults.chosen(), **self.chosen()})

    def chosen(self) -> dict[str, Any]:
        """The parameters that are set, by name."""
        return {name: value for name in NAMES if (value := getattr(self, name)) is not None and value != ()}

    def members(self) -> dict[str, Any]:
        """The parameters that are set, as members of a JSON body: `stop` is a list."""
        members = self.chosen()
        if "stop" in members:
            members["stop"] = list(members["stop"])
        return members

    @classmethod
    def of(cls, fields: Any) -> Sampling:
        """The parameters among the attributes of `fields`, a request's for example; there `stop` is as it was sent."""
        sampling = Sampling(**{name: getattr(fields, name) for name in NAMES})
        stop: Any = sampling.stop
        sampling.stop = (stop,) if isinstance(stop, str) else tuple(stop or ())
        return sampling


NAMES: tuple[str, ...] = Sampling.__struct_fields__


def split(members: dict[str, Any]) -> tuple[Sampling, dict[str, Any]]:
    """Members by name, parted into the parameters of `Sampling` and the rest."""
    parameters = {name: value for name, value in members.items() if name in NAMES}
    return Sampling(**parameters), {name: value for name, value in members.items() if name not in NAMES}


def constraints(name: str) -> Meta:
    """The range and the meaning of the parameter `name`."""
    return _META[name]


_HINTS = get_type_hints(Sampling)


def _metas() -> dict[str, Meta]:
    metas = {}
    for name, hint in get_type_hints(Sampling, include_extras=True).items():
        parts = [hint, *getattr(hint, "__args__", ())]
        annotations = [meta for part in parts for meta in getattr(part, "__metadata__", ()) if isinstance(meta, Meta)]
        metas[name] = annotations[0]
    return metas


_META = _metas()


OFF: dict[str, float] = {name: meta.extra["off"] for name, meta in _META.items() if meta.extra and "off" in meta.extra}
"""The numbers that the local engine draws by, each with the value that changes nothing."""


def in_range(name: str, value: float) -> bool:
    """Whether a number is within the range that the parameter `name` declares; infinity and NaN never are."""
    meta = _META[name]
    return (
        value == value
        and abs(value) != float("inf")
        and (meta.ge is None or value >= meta.ge)
        and (meta.gt is None or value > meta.gt)
        and (meta.le is None or value <= meta.le)
    )


def whole(name: str) -> bool:
    """Whether the parameter `name` is a whole number."""
    return any(kind is int for kind in getattr(_HINTS[name], "__args__", ()))


def interval(name: str) -> str:
    """The range of a number as a person writes it, such as (0, 1]."""
    meta = _META[name]
    low = f"({meta.gt:g}" if meta.gt is not None else f"[{meta.ge:g}"
    return f"{low}, {meta.le:g}]"
