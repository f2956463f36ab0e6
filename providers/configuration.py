"""One provider's configuration: every key that a provider takes, declared once."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from providers import address, sampling
from providers.catalogue import WIRES


class Section(BaseModel):
    """A part of the configuration; a key that it does not know stops the start."""

    model_config = ConfigDict(
        extra="forbid", validate_default=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


Seconds = Annotated[float, Field(gt=0)]


class Timeouts(Section):
    """Deadlines of one try, in seconds."""

    connect: Seconds = 5
    """Name, TCP and TLS."""
    first_token: Seconds = 60
    """From asking to the first text; of a local model, its start and its queue too."""
    idle: Seconds = 30
    """Between events with data: comments and lone bytes do not reset it."""
    total: Seconds = 600
    """The whole answer."""


class Tls(Section):
    """How the upstream's certificate is judged, and ours shown."""

    ca: str = ""
    """A file with the certificates to trust, in place of the system's."""
    verify: bool = True
    """False: trust any certificate. For tests only: anybody on the way can then read the key."""
    cert: str = ""
    """A file with our own certificate, where the upstream wants one; its key too, unless `key` has it."""
    key: str = ""
    """The file with the key of `cert`."""


class Breaker(Section):
    """A provider that fails too often is not asked for a while."""

    rate: float = Field(0.5, gt=0, le=1)
    """This share of the questions of the window fails: it opens."""
    window_s: Seconds = 30
    """Seconds that are looked back on."""
    at_least: int = Field(5, ge=1)
    """Fewer questions in the window never open it; one caller's tries of one question are one."""
    open_s: Seconds = 30
    """The longest rest. One question is let through after 2 s, then after ever longer, up to this."""


def _in_pydantic(name: str) -> tuple[Any, Any]:
    """The declaration of one sampling parameter as pydantic reads it, from the one in providers/sampling.py."""
    meta = sampling.constraints(name)
    limits = {limit: getattr(meta, limit) for limit in ("gt", "ge", "le", "max_length")}
    limits = {limit: value for limit, value in limits.items() if value is not None}
    if name == "stop":
        stops = list[Annotated[str, Field(min_length=1)]]
        return stops, Field([], description=meta.description, **limits)
    kind = get_type_hints(sampling.Sampling)[name]
    return kind, Field(None, description=meta.description, **limits)


_declared: dict[str, Any] = {name: _in_pydantic(name) for name in sampling.NAMES}
SamplingDefaults = create_model("SamplingDefaults", __base__=Section, **_declared)
"""Sampling when the request leaves it open; the parameters, their types and ranges are those of a request."""


def _at(key: str, message: str) -> PydanticCustomError:
    """What a validator of the whole section raises: `message` is about `key`."""
    return PydanticCustomError("section", "{message}", {"key": key, "message": message})


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class ProviderConfiguration(Section):
    """One row of `providers:`."""

    type: str
    """The wire it speaks: a name of the catalogue."""
    model: str = ""
    """The upstream's name of the model; of `local`, a folder or the hub's name."""
    embedding_model: str = ""
    """The upstream's name of the model for /v1/embeddings; `model` if left out."""
    text_completions: bool = False
    """It has POST /completions (vLLM, llama.cpp): /v1/completions is passed on as it is, not asked as a chat."""
    base_url: Annotated[list[str], BeforeValidator(_list)] = []
    """Where it is served; several are balanced by streams in flight. Replaces scheme, host and any fixed prefix."""
    api_key: str = ""
    """Its key; a `${VAR}` that is not set makes the provider unavailable."""
    secret_key: str = ""
    """The second half of the key, where the wire has one."""
    timeouts: Timeouts = Timeouts()
    retries: int = Field(1, ge=0, le=10)
    """Further tries before the first text, only where nothing was asked or the upstream said "try again"."""
    breaker: Breaker = Breaker()
    defaults: SamplingDefaults = SamplingDefaults()
    """Sampling when the request leaves it open."""
    snapshots: Literal["auto", "never", "always"] | None = None
    """Whether chunks hold all the text so far; if left out, what the wire and `incremental_output` say."""
    incremental_output: bool | None = None
    """DashScope's parameter of that name: ask for deltas instead of snapshots."""
    think_tags: bool | Literal["auto", "opened"] | Annotated[list[str], Field(min_length=2, max_length=2)] = "auto"
    """Split `<think>…</think>` in the text off as reasoning."""
    transport: Literal["http", "sdk"] = "http"
    """`sdk`: through the vendor's own client, where there is one (extra `sdk`)."""
    proxy: str = ""
    """Empty: none. `env`: HTTPS_PROXY and its kin. Else a proxy's URL."""
    max_event_bytes: int = Field(4 << 20, ge=1024)
    """Cap on one event of the upstream."""
    max_answer_bytes: int = Field(16 << 20, ge=1024)
    """Cap on the whole answer."""
    extra: dict[str, Any] = {}
    """Sent as it is, beside the parameters; a member that is null is left out, whatever the request says."""
    headers: dict[str, str] = {}
    """Further headers of each request."""
    query: dict[str, str] = {}
    """Further parameters of the address, such as Azure's `api-version`."""
    auth: str = Field("bearer", pattern=r"^[A-Za-z][A-Za-z0-9-]*$")
    """Where the key goes: `bearer`, `none`, or the name of a header, such as Azure's `api-key`."""
    path: str = Field("", pattern=r"^(/[!-~]*)?$")
    """The path behind `base_url`, where it is not the wire's own."""
    drop: list[str] = []
    """Parameters that the service refuses: they are left out, and `start.adjusted` says so."""
    rename: dict[str, str] = {}
    """Parameters that the service knows under another name, such as `max_tokens: max_completion_tokens`."""
    roles: dict[str, str] = {}
    """Roles that the service knows under another name, such as `developer: system`."""
    stream_options: bool = True
    """Ask for usage with `stream_options`; false where the service refuses it."""
    tls: Tls = Tls()
    """Certificates, where the system's do not do."""
    multimodal: bool | None = None
    """`dashscope` only. Ask at the multimodal endpoint; if left out, the model's name decides."""
    constrain: Literal["sql"] | None = None
    """`local` only. `sql`: only statements over the schema's tables and columns can be generated."""
    device: Annotated[list[str], BeforeValidator(_list)] = ["auto"]
    """`local` only. `auto`, `cpu`, `cuda:0`, …; a list starts one engine each."""
    dtype: str = "auto"
    """`local` only. `auto`, `float32`, `bfloat16` or `float16`."""
    threads: int | Literal["auto"] = "auto"
    """`local` only. Threads on a CPU; `auto` is cores - 1."""
    max_batch: int = Field(64, ge=1)
    """`local` only. Sequences that run at once."""
    max_queue: int = Field(256, ge=0)
    """`local` only. Questions that wait; one more is `overloaded`."""
    max_context: int | Literal["auto"] = "auto"
    """`local` only. Tokens of prompt and reply together, at most the model's own, which is `auto`."""
    kv_cache_mb: int | Literal["auto"] = "auto"
    """`local` only. Memory for the KV cache; `auto` is a share of what is free."""
    weights: Literal["auto", "int8", "fp8"] = "auto"
    """`local` only. `int8` and `fp8` turn matrices into 8 bits per number when they are loaded; `auto` leaves them."""
    graphs: bool = True
    """`local` only. Capture a GPU's decode steps as CUDA graphs; false is the way back where that goes wrong."""

    _unset: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("type")
    @classmethod
    def _known_wire(cls, value: str) -> str:
        if value not in WIRES:
            raise ValueError(f"must be one of {', '.join(sorted(WIRES))}")
        return value

    @field_validator("threads", "max_context", "kv_cache_mb")
    @classmethod
    def _enough(cls, value: int | str, info: ValidationInfo) -> int | str:
        least = 2 if info.field_name == "max_context" else 1
        if isinstance(value, int) and value < least:
            raise ValueError(f"must be auto, or at least {least}")
        return value

    @field_validator("dtype")
    @classmethod
    def _one_spelling(cls, value: str) -> str:
        value = DTYPES.get(value, value)
        if value not in ("auto", *DTYPES.values()):
            raise ValueError("must be auto, float32, bfloat16 or float16")
        return value

    @field_validator("base_url")
    @classmethod
    def _urls(cls, value: list[str]) -> list[str]:
        return [address.checked(url) for url in value]

    @field_validator("proxy")
    @classmethod
    def _spoken_proxy(cls, value: str) -> str:
        if value.lower().startswith("socks"):
            raise ValueError("must be an http:// address; SOCKS is not spoken")
        return value

    @model_validator(mode="after")
    def _fits_its_wire(self) -> ProviderConfiguration:
        wire = WIRES[self.type]
        if not self.base_url and wire.base_url:
            self.base_url = [wire.base_url]
        http_only = ("headers", "query", "path", "tls", "auth", "drop", "rename")
        if self.transport == "sdk" and (used := [name for name in http_only if name in self.model_fields_set]):
            raise _at("transport", f"must be http where {' and '.join(used)} is set: the vendor's client has none")
        self.base_url, self.query = address.fitted(self.base_url, self.query, self.path or wire.path)
        self.roles = {**wire.roles, **self.roles}
        if not self.base_url and self.type != "local":
            raise _at("base_url", "is required, but missing; write where the server is, such as http://gpu1:8000/v1")
        if not self.model:
            raise _at("model", "is required, but missing")
        if self.text_completions and wire.module != "providers.wires.openai":
            raise _at("text_completions", f"must be false for type {self.type}, which has chats only")
        if self.transport == "sdk" and not wire.sdk:
            raise _at("transport", f"must be http for type {self.type}, which has no vendor's client")
        if self.transport == "sdk" and find_spec(wire.name) is None:  # a vendor's package has its wire's name
            raise _at("transport", 'sdk needs the vendor\'s own client; install it: pip install "sluice[sdk]"')
        return self

    @functools.cached_property
    def default_sampling(self) -> sampling.Sampling:
        """`defaults` as a request carries it."""
        return sampling.Sampling.of(self.defaults)

    @property
    def shown_model(self) -> str:
        """The model as callers see it: of one that is a folder on this machine, the folder's name, never its path."""
        if self.type != "local":
            return self.model
        path = PurePath(self.model)
        return path.name if path.is_absolute() else self.model

    @property
    def has_its_folder(self) -> bool:
        """False for a local model that is not there and can only be a folder: a hub's name is `owner/name`."""
        hub = not self.model.startswith((".", "/", "~")) and self.model.count("/") == 1
        return self.type != "local" or hub or Path(self.model).is_dir()

    @property
    def missing_secrets(self) -> list[str]:
        """Names of the keys that this wire cannot do without, or that name an unset variable, and are not set."""
        needed = [name for name in WIRES[self.type].secrets if not getattr(self, name)]
        return [*needed, *(name for name in self._unset if name not in needed)]

    @property
    def missing(self) -> str:
        """Why the provider cannot be asked: its missing keys and their variables; "" if it can."""
        names = [f"{name} (${{{self._unset[name]}}})" if name in self._unset else name for name in self.missing_secrets]
        return f"{' and '.join(names)} not set" if names else ""

    def unset_variable(self, key: str) -> str:
        """The environment variable that `key` names and that is not set, or ""."""
        return self._unset.get(key, "")

    def note_unset(self, key: str, variable: str) -> None:
        """`key` of this row names an environment variable that is not set: the provider is unavailable."""
        self._unset[key] = variable
