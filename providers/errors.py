"""Everything that can go wrong while a provider answers.

    ProviderError                 code                    can asking again help?
    ├── Rejected                  bad_request             no    the upstream refused the request; its words are kept
    │   ├── ContextTooLong        context_length          no
    │   ├── Moderated             moderation              no
    │   └── NoSuchModel           model_not_found         no
    ├── BadKey                    upstream_auth           no
    ├── RateLimited               upstream_rate_limited   yes   after `retry_after` seconds, where it was told
    ├── QuotaExceeded             upstream_quota          no
    ├── Unreachable               upstream_connect        yes   not one byte of a response came
    ├── TimedOut                  upstream_timeout        yes   `deadline`: connect, first_token, idle or total
    ├── UpstreamFailed            upstream_error          yes   its own fault: a 5xx, an error mid-stream, overloaded
    ├── BrokenProtocol            upstream_protocol       no    HTML, garbage, half JSON, a redirect
    │   └── TooLarge              upstream_too_large      no    a line, an event or the answer over its cap
    ├── CutOff                    truncated               yes   it stopped without saying so
    ├── Overloaded                overloaded              yes   the local engine's queue is full, or a breaker is open
    ├── EngineDied                engine_died             yes
    └── EngineTimeout             engine_timeout          yes

`code` is a word of the closed list in the documentation: the same in the event, the log line and the metric. A message
is for a person: what was expected, what came, from which upstream; never a key, a prompt or an upstream's HTML.
"""

from __future__ import annotations

from typing import ClassVar, Self


class ProviderError(Exception):
    """The upstream, or the way to it, failed; subclasses say how."""

    code = "upstream_error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        upstream_id: str | None = None,
        asked: bool = True,
        try_again: bool = False,
    ) -> None:
        """
        message       for a person, at most a sentence or two
        retry_after   seconds, where the upstream told
        upstream_id   the upstream's own id of the request, for its support
        asked         False where the upstream provably did not take the question: asking once more is then free
        try_again     True where the upstream itself said "try again" (429, 503, its busy codes)
        """
        super().__init__(message)
        self.retry_after = retry_after
        self.upstream_id = upstream_id
        self.asked = asked
        self.try_again = try_again

    @property
    def message(self) -> str:
        """The only words of this failure: what cleans them cleans what a log's traceback shows too."""
        return str(self)

    @message.setter
    def message(self, told: str) -> None:
        self.args = (told,)


class Rejected(ProviderError):
    code = "bad_request"


class ContextTooLong(Rejected):
    code = "context_length"


class Moderated(Rejected):
    code = "moderation"


class NoSuchModel(Rejected):
    code = "model_not_found"


class BadKey(ProviderError):
    code = "upstream_auth"


class RateLimited(ProviderError):
    code = "upstream_rate_limited"
    retryable = True


class QuotaExceeded(ProviderError):
    code = "upstream_quota"


class Unreachable(ProviderError):
    code = "upstream_connect"
    retryable = True


class TimedOut(ProviderError):
    code = "upstream_timeout"
    retryable = True

    _DID: ClassVar[dict[str, str]] = {
        "connect": "could not be reached within",
        "first_token": "did not begin to answer within",
        "idle": "fell silent for",
        "total": "did not finish within",
    }

    def __init__(self, message: str, *, deadline: str, asked: bool = True) -> None:
        super().__init__(message, asked=asked)
        self.deadline = deadline

    @classmethod
    def after(cls, limit_s: float, deadline: str, host: str, *, asked: bool = True) -> Self:
        """One of our own deadlines has passed; the message names it as the configuration does."""
        told = f"{host} {cls._DID[deadline]} {limit_s:g} s (timeouts.{deadline})"
        return cls(told, deadline=deadline, asked=asked)


class UpstreamFailed(ProviderError):
    code = "upstream_error"
    retryable = True


class BrokenProtocol(ProviderError):
    code = "upstream_protocol"


class TooLarge(BrokenProtocol):
    code = "upstream_too_large"


class CutOff(ProviderError):
    code = "truncated"
    retryable = True


class Overloaded(ProviderError):
    code = "overloaded"
    retryable = True


class EngineDied(ProviderError):
    code = "engine_died"
    retryable = True


class EngineFailed(ProviderError):
    """The engine failed on this request alone."""

    code = "upstream_error"
    retryable = True


class EngineTimeout(ProviderError):
    code = "engine_timeout"
    retryable = True
