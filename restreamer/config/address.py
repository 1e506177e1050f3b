"""Hosts, ports and addresses as they stand in the file, checked strictly and spelt one way.

An IPv4 address inside IPv6 (C{::ffff:192.0.2.1}) is the IPv4 address; IPv6 is written in brackets wherever a
port may follow (RFC 3986 section 3.2.2); zone ids are refused.
"""

from __future__ import annotations

import ipaddress
import re

MAX_HOST = 253
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NUMERIC = re.compile(r"[0-9.]+")


def parse_port(text: str) -> int | None:
    """A TCP port, 1-65535; None when C{text} is not one."""
    if _PORT.fullmatch(text) is None:
        return None
    port = int(text)
    return port if 1 <= port <= 65535 else None


def parse_ip(text: str) -> str | None:
    """An IP address without brackets, in its shortest spelling; None when C{text} is not one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
    return str(address)


def parse_host(text: str) -> str | None:
    """A host name in lower case, an IPv4 address, or an IPv6 address in brackets (returned without).

    @return: None when C{text} is none of them; dotted numbers that are not an IPv4 address are no host name.
    """
    if text.startswith("[") and text.endswith("]"):
        return parse_ip(text[1:-1]) if ":" in text else None
    if _NUMERIC.fullmatch(text):
        return parse_ip(text)
    if len(text) > MAX_HOST or _HOST.fullmatch(text) is None:
        return None
    return text.lower().removesuffix(".")


def split_port(text: str) -> tuple[str, str | None]:
    """C{HOST[:PORT]} as host (brackets kept) and the text of the port; None without a colon."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if not bracket or not rest:
            return text, None
        return (host + bracket, rest[1:]) if rest.startswith(":") else (text, None)
    host, colon, port = text.rpartition(":")
    return (host, port) if colon else (text, None)


def parse_host_port(text: str, default: int) -> tuple[str, int] | None:
    """C{HOST[:PORT]} as checked host and port; None when it is not one."""
    host_text, port_text = split_port(text)
    host = parse_host(host_text)
    port = default if port_text is None else parse_port(port_text)
    if host is None or port is None:
        return None
    return host, port


def parse_listen(text: str) -> tuple[str, int] | None:
    """C{PORT}, C{ADDR:PORT} or C{[ADDR]:PORT} as address (empty = every IPv4 address) and port; or None."""
    address_text, port_text = split_port(text)
    if port_text is None:
        port = parse_port(text)
        return None if port is None else ("", port)
    port = parse_port(port_text)
    bracketed = address_text.startswith("[")
    if bracketed:
        address_text = address_text[1:-1] if address_text.endswith("]") else ""
    address = parse_ip(address_text)
    if address is None or port is None or bracketed != (":" in address_text):
        return None
    return address, port


def same_socket(first: tuple[str, int], second: tuple[str, int]) -> bool:
    """Whether two listeners (address, port) cannot both be open.

    An address overlaps itself and the wildcard of its family; C{::} takes both families.
    """
    if first[1] != second[1]:
        return False
    addresses = {first[0] or "0.0.0.0", second[0] or "0.0.0.0"}
    if len(addresses) == 1 or "::" in addresses:
        return True
    return "0.0.0.0" in addresses and not any(":" in each for each in addresses)
