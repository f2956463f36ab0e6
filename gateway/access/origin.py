"""Which pages and which host names may reach the gateway.

A browser sends requests for any page that is open in it, also to addresses that only this machine reaches. Two things
tell such a request: its `Host` is a name of the attacker's that was made to point here (DNS rebinding), or its
`Origin` and `Sec-Fetch-Site` name another site.
"""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import urlsplit

from gateway.access.auth import Headers
from gateway.errors import Failure
from gateway.settings import Settings
from gateway.settings.problems import shown

DEFAULT_PORTS = {"http": 80, "https": 443}


class Origins:
    """The rules of one configuration. Header names are looked up as they are written here."""

    def __init__(self, settings: Settings) -> None:
        self._cors = {origin.lower() for origin in settings.server.cors}
        self._any_host = bool(settings.auth.keys) or "*" in settings.server.hosts
        own = "" if settings.server.bind.startswith("unix:") else settings.server.bind.rpartition(":")[0].strip("[]")
        # Most questions name one of a few hosts.
        self._served = functools.lru_cache(maxsize=256)(lambda sent: self._is_ours(host_of(sent)))
        self._hosts = {host.strip("[]") for host in settings.server.hosts} | {own.lower()} - {""}

    def check_host(self, headers: Headers) -> None:
        """Without keys: only loopback names, the bind's own and `server.hosts`. Raises Failure (403)."""
        sent = headers.get("Host", "")
        if self._any_host or not sent or self._served(sent):
            return
        raise Failure(
            "forbidden",
            f"Host: {shown(sent)} is not served without keys; expected a loopback name, or one that server.hosts lists",
        )

    def check_page(self, headers: Headers) -> None:
        """Only pages of this host, and of origins in `server.cors`, may ask. Raises Failure (403)."""
        origin, site = headers.get("Origin", "").lower(), headers.get("Sec-Fetch-Site", "").lower()
        if "*" in self._cors or (origin and origin in self._cors):
            return
        if site in ("same-origin", "none"):
            return
        foreign = bool(origin) and not same_place(origin, headers.get("Host", ""))
        if foreign or site in ("cross-site", "same-site"):
            who = f"a page of {shown(origin)}" if origin else "a page of another site"
            raise Failure("forbidden", f"Origin: {who} may not ask; expected one that server.cors lists")

    def _is_ours(self, host: str) -> bool:
        if host in self._hosts or host == "localhost" or host.endswith(".localhost"):
            return True
        if any(known.startswith("*.") and host.endswith(known[1:]) for known in self._hosts):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def host_of(authority: str) -> str:
    """The host in `host:port`, in small letters, without brackets and the final dot."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def same_place(origin: str, authority: str) -> bool:
    """Whether an Origin (scheme://host:port) is what a Host header (host:port) names."""
    try:
        of, to = urlsplit(origin), urlsplit(f"//{authority}")
        default = DEFAULT_PORTS.get(of.scheme)
        ports = of.port or default, to.port or default
    except ValueError:
        return False
    return bool(of.hostname) and of.hostname == to.hostname and ports[0] == ports[1]
