"""The messages between a worker and the engine, and how they are framed.

frame     4 bytes, big-endian length of the body · body, one message in MessagePack, tagged with its `type`
engine →  hello once, then step (all that one step produced for this worker), failed, report;
          down instead of hello, from the supervisor, while no engine runs
worker →  ask, cancel, inquire

An ask carries the epoch of the hello it follows. Each engine process has its own epoch, so a new engine never runs a
request that was sent to a dead one. A frame over the cap, or one that is not a message, ends its connection only.
"""

from __future__ import annotations

from typing import Any

import msgspec

from providers.sampling import OFF, Sampling

PROTOCOL = 2
MAX_ASK_BYTES = 8 << 20
MAX_STEP_BYTES = 32 << 20
TAGS = ("<think>", "</think>")
PARAMETERS = frozenset(OFF) | {"max_tokens", "seed", "stop"}
"""What the engine takes of `Sampling`."""
EXTENSIONS = frozenset(
    """
    logit_bias min_tokens stop_token_ids ignore_eos bad_words skip_special_tokens include_stop_str_in_output
    continue_final_message add_generation_prompt chat_template_kwargs structured_outputs guided_json guided_regex
    guided_choice guided_grammar prompt_logprobs allowed_token_ids
    """.split()  # noqa: SIM905
)
"""vLLM's parameters beside OpenAI's that an ask may carry; engine/serving/extensions.py has their types."""


class Hello(msgspec.Struct, tag="hello", tag_field="type"):
    """The engine serves. max_context is in tokens, prompt and reply together."""

    epoch: int
    model: str
    max_context: int
    protocol: int = PROTOCOL


class Down(msgspec.Struct, tag="down", tag_field="type"):
    """No engine runs, for `reason`; a retry makes sense after `retry_after` seconds."""

    reason: str
    retry_after: float


class Ask(msgspec.Struct, tag="ask", tag_field="type", omit_defaults=True):
    """A request to continue one conversation. None means: as in the model's generation_config.json."""

    epoch: int
    id: int
    messages: list[dict[str, Any]]
    sampling: Sampling = msgspec.field(default_factory=Sampling)
    # None: no logprobs; n: those of the drawn token and of the n most likely ones
    logprobs: int | None = None
    cache_salt: str = ""
    # Further variables of the chat template, such as enable_thinking.
    template: dict[str, Any] = {}
    constrain: str | None = None
    constrain_schema: dict[str, list[str]] = {}
    constrain_dialect: str = ""
    tools: list[dict[str, Any]] = []
    tool_choice: Any = None
    parallel_tool_calls: bool = True
    response_format: dict[str, Any] = {}
    # How thoughts are split off the text: auto, never, always (anywhere), opened (the reply begins in one).
    think: str = "auto"
    think_tags: tuple[str, str] = TAGS
    # vLLM's further parameters, by their names there; see serving/extensions.py.
    options: dict[str, Any] = {}


class Cancel(msgspec.Struct, tag="cancel", tag_field="type"):
    """The client of this reply has gone."""

    id: int


class Inquire(msgspec.Struct, tag="inquire", tag_field="type"):
    """Asks for a Report."""


class Piece(msgspec.Struct, array_like=True):
    """One sequence's output of one step. The last piece has finish_reason and the usage counts."""

    id: int
    text: str
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    # OpenAI's `logprobs.content` entries for the tokens in `text`
    logprobs: list[dict[str, Any]] | None = None
    reasoning: str = ""
    # Pieces of tool calls: index, id, name, arguments to append.
    tool_calls: list[tuple[int, str, str, str]] | None = None
    reasoning_tokens: int = 0


class Step(msgspec.Struct, tag="step", tag_field="type"):
    """All output of one step for one worker. free is the share of KV blocks that are available."""

    pieces: list[Piece]
    free: float = 1.0


class Failed(msgspec.Struct, tag="failed", tag_field="type"):
    """One sequence's failure; `code` is a word of the closed list of failure codes."""

    id: int
    code: str
    message: str
    retry_after: float | None = None


class Report(msgspec.Struct, tag="report", tag_field="type"):
    """The engine's state and counters; times in seconds, memory in bytes, counters since start."""

    model: str
    device: str
    dtype: str
    max_context: int
    max_batch: int
    running: int
    waiting: int
    blocks: int
    blocks_free: int
    block_tokens: int
    kv_bytes: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    preemptions: int
    steps: int
    step_seconds: float
    batch_sum: int
    tokens_per_second: float
    uptime_s: float
    failed_steps: int = 0
    graphs: bool = False


FromEngine = Hello | Down | Step | Failed | Report
FromWorker = Ask | Cancel | Inquire

_encoder = msgspec.msgpack.Encoder()


class BrokenFrame(Exception):
    """The peer sent bytes that are not a message; the connection must be closed."""


def frame(message: FromEngine | FromWorker) -> bytes:
    """`message` as it goes over the socket."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Cuts a socket's bytes into messages: linear time, and at most one frame in memory."""

    def __init__(self, kind: Any, max_bytes: int) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._max_bytes = max_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages completed by `data`. Raises BrokenFrame."""
        held = self._held
        held += data
        messages: list[Any] = []
        start = 0
        while len(held) - start >= 4:
            length = int.from_bytes(held[start : start + 4], "big")
            if length > self._max_bytes:
                raise BrokenFrame(f"a frame of {length:,} bytes; at most {self._max_bytes:,} are allowed")
            if len(held) - start - 4 < length:
                break
            start += 4 + length
            try:
                messages.append(self._decoder.decode(bytes(held[start - length : start])))
            except Exception as error:  # noqa: BLE001 - msgpack raises many kinds
                # Not only DecodeError: invalid UTF-8 and deep nesting raise Python's own exceptions.
                raise BrokenFrame(f"not a message: {error}") from None
        del held[:start]
        return messages


def to_engine() -> Frames:
    """Reads what workers send."""
    return Frames(FromWorker, MAX_ASK_BYTES)


def from_engine() -> Frames:
    """Reads what the engine sends."""
    return Frames(FromEngine, MAX_STEP_BYTES)
