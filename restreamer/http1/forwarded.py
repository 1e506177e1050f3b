"""For whom a proxy asks (C{X-Forwarded-For}), believed of listed proxies only."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Network = IPv4Network | IPv6Network

#: Proxies in a row that are followed.
MAX_HOPS: Final = 32
#: Characters of one address.
_MAX_ADDRESS: Final = 64
#: Peers whose trust is remembered.
_MAX_PEERS: Final = 1000


class TrustedProxies:
    """The proxies of a node. @ivar networks: theirs; replaced as a whole, never changed."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self.networks: tuple[Network, ...] = tuple(networks)
        self._trusted: dict[str, bool] = {}

    def use(self, networks: Sequence[Network]) -> None:
        """Trust these from now on."""
        self.networks = tuple(networks)
        self._trusted.clear()

    def trusts(self, address: str) -> bool:
        """Whether C{address} is one of them."""
        if not self.networks:
            return False
        known = self._trusted.get(address)
        if known is None:
            if len(self._trusted) >= _MAX_PEERS:
                self._trusted.clear()
            found = _address(address)
            known = found is not None and any(found in each for each in self.networks)
            self._trusted[address] = known
        return known

    def client(self, peer: str, header: str) -> str:
        """Whose request it is: the last address of C{header} that no proxy of ours vouches for by being one.

        What stands before it was sent by whoever has that address, and is not believed. A chain that holds
        something else than addresses ends where it does.

        @param peer: address of the connection. @param header: C{X-Forwarded-For}; lines joined by commas.
        """
        hops = 0
        while header and hops < MAX_HOPS and self.trusts(peer):
            header, _, last = header.rpartition(",")
            found = _address(last.strip(" \t"))
            if found is None:
                break
            peer = str(found)
            hops += 1
        return peer


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: C{192.0.2.1[:PORT]}, C{2001:db8::1}, C{[2001:db8::1][:PORT]}."""
    if not text or len(text) > _MAX_ADDRESS or "%" in text:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
