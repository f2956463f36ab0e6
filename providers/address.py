"""The address of a service as people write it: put right where it is clear what was meant, refused where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit


def checked(url: str) -> str:
    """The address without a slash at its end. Raises ValueError with the sentence that says what to write."""
    if any(character.isspace() for character in url.strip()):
        raise ValueError("must be an address without spaces; write %20 for each")
    url = url.strip()
    if not url.isascii():
        raise ValueError("must be ASCII; write the name in punycode (xn--…) and the path with % escapes")
    if not url.lower().startswith(("http://", "https://")):
        scheme = url.partition("://")[0] if "://" in url else ""
        cure = "https:// or http://" if scheme else f"https://{url} or http://{url}"
        raise ValueError(f"must begin with http:// or https://; write {cure}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be an address such as http://gpu1:8000/v1; its port is no number") from None
    if not parts.hostname or port == 0:
        raise ValueError("must name a host, such as http://gpu1:8000/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            'must not hold a name and a password; write headers: {Authorization: "Basic …"} and auth: none'
        )
    if parts.fragment:
        raise ValueError("must not hold a fragment; leave out what follows the #")
    return url.rstrip("/")


def fitted(urls: list[str], query: Mapping[str, str], path: str) -> tuple[list[str], dict[str, str]]:
    """(addresses, query): a path that repeats the wire's own is taken off, and a query is moved to `query`."""
    addresses: list[str] = []
    moved: dict[str, str] = {}
    for url in urls:
        address, _, text = url.partition("?")
        moved |= dict(parse_qsl(text, keep_blank_values=True))
        address = address.rstrip("/")
        addresses.append(address.removesuffix(path) if path else address)
    return addresses, {**moved, **query}
