"""Requests made to fit a service: what its row of the configuration says, and what its refusals have shown.

A service that refuses a parameter is asked once more without it, for a refused request generated nothing. What was
learned is remembered for the provider, and each answer says so in `start.adjusted`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import ProviderError, Rejected
from providers.sampling import NAMES

MAX_LESSONS = 4  # refused parameters of one question that are left out one after the other
# Members that a request of a caller never sets, whatever it passes on.
OURS = frozenset({"model", "messages", "stream", "stream_options", "n", "input", "parameters"})
# What may be left out: it only shapes how the reply is chosen or counted. A caller would miss the others.
_MAY_GO = frozenset({*NAMES, "max_completion_tokens", "stream_options", "parallel_tool_calls", "user", "metadata",
                     "service_tier", "store", "reasoning_effort"}) - {"stop"}  # fmt: skip
# Members of a request that shape what the answer is: on a wire that cannot say them, a caller would get another answer
# than the one that was asked for.
MISSED = frozenset({"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar",
                    "json_schema", "regex", "ebnf", "format", "functions", "function_call", "modalities", "audio",
                    "web_search_options", "stop_token_ids", "continue_final_message", "documents"})  # fmt: skip
_REFUSES = re.compile(
    r"not (be )?(support|allow|permit|accept|recogni[sz]e)\w*|unsupported|unrecognized|unknown|unexpected|deprecated"
    r"|does(n't| not) support|only .{0,40}(is|are) (allowed|supported|accepted)|only the default|extra (inputs|fields)"
    r"|extra_forbidden|不支持|未知|不允许|仅支持|只支持",
    re.IGNORECASE,
)


class Fitting:
    """How requests to one configured provider are written; learns from what it refuses."""

    def __init__(self, configuration: ProviderConfiguration) -> None:
        self._configuration = configuration
        self._refused: dict[str, str] = {}  # member → the name it goes out under instead, or "" for none
        self._roles = dict(configuration.roles)
        self._learned_roles: set[str] = set()

    def url(self, base_url: str, path: str) -> str:
        """`base_url` with the wire's path, or the configuration's, and its query."""
        return self.with_query(base_url + (self._configuration.path or path))

    def with_query(self, url: str) -> str:
        """`url` with the configuration's query."""
        query = urlencode(self._configuration.query)
        return url + (f"?{query}" if query else "")

    def headers(self) -> dict[str, str]:
        """The key where the configuration wants it, and the configuration's own headers."""
        auth, key = self._configuration.auth, self._configuration.api_key
        headers: dict[str, str] = {}
        if key and auth == "bearer":
            headers["Authorization"] = f"Bearer {key}"
        elif key and auth != "none":
            headers[auth] = key
        return headers | self._configuration.headers

    def body(self, payload: dict[str, Any], request: ChatRequest, passes_unknown: bool) -> dict[str, Any]:
        """What is sent. passes_unknown: members of the request that we do not know may go out on this wire."""
        configuration = self._configuration
        unknown = {name: value for name, value in request.extra.items() if name not in OURS} if passes_unknown else {}
        body = unknown | payload | configuration.extra
        for name in (*configuration.drop, *(name for name, value in configuration.extra.items() if value is None)):
            body.pop(name, None)
        if not configuration.stream_options:
            body.pop("stream_options", None)
        for names in (configuration.rename, self._refused):
            for name, instead in names.items():
                if name in body:
                    value = body.pop(name)
                    if instead:
                        body.setdefault(instead, value)
        if self._roles and isinstance(body.get("messages"), list):
            body["messages"] = [self._in_its_role(message) for message in body["messages"]]
        return body

    @property
    def changes_some(self) -> bool:
        """Whether `changes` could find anything in some payload."""
        return bool(self._configuration.drop or self._refused or self._learned_roles)

    def changes(self, payload: dict[str, Any]) -> list[str]:
        """What goes out otherwise than the request says, a sentence each."""
        dropped = [name for name in self._configuration.drop if name in payload]
        changes = [f"{name} dropped: this provider's configuration says so" for name in dropped]
        for name, instead in self._refused.items():
            if name in payload and name != "stream_options":
                changes.append(f"{name} sent as {instead}" if instead else f"{name} dropped: the service refused it")
        roles = {message.get("role") for message in payload.get("messages", ()) if isinstance(message, dict)}
        changes += [f"role {role} sent as {self._roles[role]}" for role in sorted(self._learned_roles & roles)]
        return changes

    def learn(self, error: ProviderError, body: dict[str, Any]) -> bool:
        """Whether the refused request can be sent once more, without or with another name for what was refused."""
        if type(error) is not Rejected:
            return False
        words = error.message
        messages = body.get("messages")
        roles = {message.get("role") for message in messages} if isinstance(messages, list) else set()
        if "developer" in roles and "developer" in words:
            self._roles["developer"] = "system"
            self._learned_roles.add("developer")
            return True
        if not _REFUSES.search(words):
            return False
        for name in sorted(_MAY_GO & body.keys(), key=lambda name: (name != error.parameter, -len(name))):
            if name == error.parameter or re.search(rf"(?<![\w.]){name}(?!\w)", words.replace("body.", "")):
                other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}.get(name, "")
                self._refused[name] = other if other and other in words and other not in self._refused else ""
                return True
        return False

    def _in_its_role(self, message: Any) -> Any:
        role = message.get("role") if isinstance(message, dict) else None
        return {**message, "role": self._roles[role]} if role in self._roles else message


def refuse_missed(request: ChatRequest, upstream: str, known: frozenset[str] = frozenset()) -> None:
    """Raise Rejected for a member that `upstream` lacks and the caller would miss. known: those that it has."""
    for name in sorted(MISSED & request.extra.keys() - known):
        if request.extra[name] not in (None, False, [], {}, ""):
            raise Rejected(f"{name}: {upstream} has no such parameter; leave it out, or ask another provider")


def lacking(*sent: str) -> tuple[str, ...]:
    """The sampling parameters beside these: what a wire neither sends nor maps it reports as dropped."""
    return tuple(name for name in NAMES if name not in sent)


def dropped(request: ChatRequest, upstream: str, *names: str) -> list[str]:
    """A sentence for each of these parameters that the request sets and `upstream` lacks."""
    chosen = {**request.sampling.chosen(), "parallel_tool_calls": request.parallel_tool_calls}
    return [f"{name} dropped: {upstream} has no such parameter" for name in names if chosen.get(name) is not None]
