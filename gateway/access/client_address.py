"""The address of the client that asks, also behind proxies that are trusted."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """`server.trusted_proxies`: whose X-Forwarded-For is believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(one, strict=False) for one in trusted]
        # Most questions come from a few addresses, and reading one costs more than this look-up.
        self._known = functools.lru_cache(maxsize=1024)(self._client)

    def client(self, peer: str, forwarded: str) -> str:
        """
        peer        the address of the connection; "" for a unix socket, whose peer is a proxy of the operator's
        forwarded   X-Forwarded-For: each proxy adds the address that it saw at the end
        """
        return self._known(peer, forwarded)

    def _client(self, peer: str, forwarded: str) -> str:
        seen = _address(peer)
        if peer and (seen is None or not self._trusts(seen)):
            return peer
        client = peer
        for entry in reversed(forwarded.split(",")):
            address = _address(entry.strip())
            if address is None:
                break
            client = str(address)
            # What stands before it was added by this address: believed only from a further proxy. A client on this
            # machine is a client.
            if address.is_loopback or not self._trusts(address):
                break
        return client

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    # An IPv4 address as a socket for both kinds reports it.
    return getattr(address, "ipv4_mapped", None) or address
