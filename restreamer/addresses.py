"""Facts about peer addresses."""

from __future__ import annotations

from ipaddress import IPv6Address


def is_loopback(host: str) -> bool:
    """Whether a peer address is this machine's own.

    Limits per address leave such peers out: behind a proxy on the same machine every viewer has that address.
    """
    return host.startswith(("127.", "::ffff:127.")) or host in ("::1", "local", "")


def subscriber(host: str) -> str:
    """What C{host} counts as where a client must not be many: the network of an IPv6 address.

    Who has one IPv6 address has all of its /64 (RFC 6177). Other words are what they are.
    """
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64))
