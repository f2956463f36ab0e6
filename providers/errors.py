"""Everything that can go wrong while a provider answers.

    ProviderError                 code                    can asking again help?
    ├── Rejected                  bad_request             no    the upstream refused the request; its words are kept
    │   ├── ContextTooLong        context_length          no
    │   ├── Moderated             moderation              no
    │   └── NoSuchModel           model_not_found         no
    ├── BadKey                    upstream_auth           no
    ├── RateLimited               upstream_rate_limited   yes   after `retry_after` seconds, where it named them
    ├── QuotaExceeded             upstream_quota          no
    ├── Unreachable               upstream_connect        yes   not one byte of a response came
    ├── TimedOut                  upstream_timeout        yes   `deadline`: connect, first_token, idle or total
    ├── UpstreamFailed            upstream_error          yes   its own fault: a 5xx, an error mid-stream, overloaded
    ├── BrokenProtocol            upstream_protocol       no    HTML, garbage, half JSON, a redirect
    │   └── TooLarge              upstream_too_large      no    a line, an event or the answer over its cap
    ├── CutOff                    truncated               yes   it stopped without saying so
    ├── Overloaded                overloaded              yes   the local engine's queue is full, or a breaker is open
    ├── EngineDied                engine_died             yes
    ├── EngineFailed              upstream_error          yes   the engine failed on this request alone
    └── EngineTimeout             engine_timeout          yes

`code` is a word of the closed list in the documentation: the same in the event, the log line and the metric. A message
is for a person: what was expected, what came, from which upstream; never a key, a prompt or an upstream's HTML.
"""

from __future__ import annotations

from typing import ClassVar, Self


class ProviderError(Exception):
    """The upstream, or the way to it, failed; subclasses say how."""

    code = "upstream_error"
    retryable_by_client = False

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        upstream_id: str | None = None,
        request_sent: bool = True,
        upstream_said_retry: bool = False,
    ) -> None:
        """
        message       for a person, at most a sentence or two
        retry_after   seconds to wait, where the upstream named them
        upstream_id   the upstream's own id of the request, for its support
        request_sent  False where the upstream provably did not get the question: asking again then costs nothing
        upstream_said_retry  True where the upstream itself said "try again" (429, 503, its busy codes)
        """
        super().__init__(message)
        self.retry_after = retry_after
        self.upstream_id = upstream_id
        self.request_sent = request_sent
        self.upstream_said_retry = upstream_said_retry
        self.parameter = ""  # the request's member that the upstream says is at fault, where it names one

    @property
    def retryable(self) -> bool:
        """`retryable_by_client` under the name that every failure of the gateway has."""
        return self.retryable_by_client

    @property
    def message(self) -> str:
        """The only words of this failure: what cleans them cleans what a log's traceback shows too."""
        return str(self)

    @message.setter
    def message(self, text: str) -> None:
        self.args = (text,)


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
    retryable_by_client = True


class QuotaExceeded(ProviderError):
    code = "upstream_quota"


class Unreachable(ProviderError):
    code = "upstream_connect"
    retryable_by_client = True


class TimedOut(ProviderError):
    code = "upstream_timeout"
    retryable_by_client = True

    _DID: ClassVar[dict[str, str]] = {
        "connect": "could not be reached within",
        "first_token": "did not begin to answer within",
        "idle": "fell silent for",
        "total": "did not finish within",
    }

    def __init__(self, message: str, *, deadline: str, request_sent: bool = True) -> None:
        super().__init__(message, request_sent=request_sent)
        self.deadline = deadline

    @classmethod
    def after(cls, limit_s: float, deadline: str, host: str, *, request_sent: bool = True) -> Self:
        """One of our own deadlines has passed; the message names it as the configuration does."""
        message = f"{host} {cls._DID[deadline]} {limit_s:g} s (timeouts.{deadline})"
        return cls(message, deadline=deadline, request_sent=request_sent)


class UpstreamFailed(ProviderError):
    code = "upstream_error"
    retryable_by_client = True


class BrokenProtocol(ProviderError):
    code = "upstream_protocol"


class TooLarge(BrokenProtocol):
    code = "upstream_too_large"


class CutOff(ProviderError):
    code = "truncated"
    retryable_by_client = True


class Overloaded(ProviderError):
    code = "overloaded"
    retryable_by_client = True


class EngineDied(ProviderError):
    code = "engine_died"
    retryable_by_client = True


class EngineFailed(ProviderError):
    """The engine failed on this request alone."""

    code = "upstream_error"
    retryable_by_client = True


class EngineTimeout(ProviderError):
    code = "engine_timeout"
    retryable_by_client = True
