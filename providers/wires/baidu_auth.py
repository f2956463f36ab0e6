"""Baidu's two ways to prove who asks: an OAuth token in the query, or a signature of the request.

token      POST {base}/oauth/2.0/token?grant_type=client_credentials&client_id=…&client_secret=…
           {"access_token": "24.…", "expires_in": 2592000} or {"error": "invalid_client", "error_description": "…"}
signature  Authorization: bce-auth-v1/{access key}/{date}/{seconds}/{signed headers}/{hex}
source     Baidu Cloud's authentication reference; judged by Baidu's signer in tests/providers/wires/test_baidu_auth.py
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec
from gevent.lock import RLock

from providers.errors import BadKey, BrokenProtocol, CutOff, ProviderError, Rejected
from providers.transport.client import Client
from providers.wires.adapter import failed_status

SIGNATURE_S = 300
EARLY_S = 600.0  # a token is credentials_refreshed so long before it lapses
# An access key of Baidu Cloud (IAM): ALTAK and more in the newer form, 32 hex digits in the older one. The API key of
# an application, which gets a token, is 24 letters and digits.
_ACCESS_KEY = re.compile(r"ALTAK[\w-]*|[0-9a-f]{32}")


def is_access_key(api_key: str) -> bool:
    """Whether requests are signed with this key; otherwise it is exchanged for a token."""
    return _ACCESS_KEY.fullmatch(api_key) is not None


def signed(
    access_key: str, secret_key: str, method: str, url: str, now: Callable[[], float] = time.time
) -> dict[str, str]:
    """The headers that sign a request without a query: `Host` is signed as the client sends it."""
    parts = urlsplit(url)
    date = datetime.fromtimestamp(now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    prefix = f"bce-auth-v1/{access_key}/{date}/{SIGNATURE_S}"
    headers = {"host": parts.netloc, "x-bce-date": date}
    canonical = "\n".join(f"{name}:{quote(value, safe='')}" for name, value in sorted(headers.items()))
    request = f"{method}\n{quote(unquote(parts.path))}\n\n{canonical}"
    signature = _hmac(_hmac(secret_key, prefix), request)
    return {"x-bce-date": date, "Authorization": f"{prefix}/{';'.join(sorted(headers))}/{signature}"}


def _hmac(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


class Token:
    """One application's token, asked for once however many streams need it, and again before it lapses."""

    def __init__(
        self, base_url: str, api_key: str, secret_key: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = f"{base_url}/oauth/2.0/token"
        self._query = {"grant_type": "client_credentials", "client_id": api_key, "client_secret": secret_key}
        self._clock = clock
        self._lock = RLock()
        self._value = ""
        self._until = 0.0

    def value(self, client: Client) -> str:
        """The token. Raises BadKey if Baidu refuses the keys, and any transport error of the request for it."""
        if self._value and self._clock() < self._until:
            return self._value
        with self._lock:
            if not self._value or self._clock() >= self._until:
                try:
                    self._value, lasts_s = self._fetch(client)
                except ProviderError as error:
                    error.request_sent = False  # the question itself did not go out
                    raise
                self._until = self._clock() + max(lasts_s - EARLY_S, lasts_s / 2)
            return self._value

    def refused(self, value: str) -> None:
        """The upstream refused this token; another stream may have brought a new one already."""
        if self._value == value:
            self._value = ""

    def hidden(self, message: str) -> str:
        """`message` without the token."""
        return message.replace(self._value, "…") if self._value else message

    def _fetch(self, client: Client) -> tuple[str, float]:
        headers = {"Accept": "application/json"}
        with client.ask("POST", f"{self._url}?{urlencode(self._query)}", headers, b"") as response:
            body = response.body()
            if response.cut:
                raise CutOff("the token's response was cut off")
            response.done()
        try:
            answer: Any = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if isinstance(answer, dict) and isinstance(token := answer.get("access_token"), str) and token:
            lasts_s = answer.get("expires_in")
            return token, float(lasts_s) if isinstance(lasts_s, (int, float)) and lasts_s > 0 else 3600.0
        if isinstance(answer, dict) and answer.get("error"):
            raise BadKey(f"Baidu gives no token for these keys: {answer.get('error_description') or answer['error']}")
        if response.status != 200:
            failure = failed_status(response.status, response.headers, "")
            raise BadKey("Baidu gives no token for these keys") if isinstance(failure, Rejected) else failure
        raise BrokenProtocol("Baidu's answer holds no token")


_tokens: dict[tuple[str, str, str], Token] = {}


def token_for(base_url: str, api_key: str, secret_key: str) -> Token:
    """The token of these keys, shared by all providers of this process that have them."""
    return _tokens.setdefault((base_url, api_key, secret_key), Token(base_url, api_key, secret_key))
