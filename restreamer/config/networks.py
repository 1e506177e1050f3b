"""Addresses and networks as they are written: C{192.0.2.1}, C{10.10/16}, C{2001:db8::/32}."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from restreamer.config import values
from restreamer.config.auth_model import Network
from restreamer.config.grammar import Argument, Statement

#: C{172.16/24} is C{172.16.0.0/24}: the parts that are left out are 0.
_SHORT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){0,2})/([0-9]{1,2})")
NETWORK_RULE: Final = "an address (192.0.2.1, 2001:db8::1) or a network (10.10/16, 2001:db8::/32)"


def parse_network(text: str) -> Network | None:
    """C{text} as a network, a lone address as one of its own; None when it is neither.

    An IPv4 address in IPv6 (RFC 4291 section 2.5.5.2) becomes the IPv4 one. Zone ids (RFC 4007
    section 11) and networks with bits behind their length are refused: they would not mean what they say.
    """
    if "%" in text:
        return None
    short = _SHORT.fullmatch(text)
    if short is not None:
        text = f"{short[1]}{'.0' * (3 - short[1].count('.'))}/{short[2]}"
    elif text.partition("/")[2].strip("0123456789"):
        return None  # a length is a number: no netmask
    try:
        found = ip_network(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Network) and found.prefixlen >= 96:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, found.prefixlen - 96))
    return found


def network(statement: Statement, argument: Argument) -> Network:
    """C{argument} as a network.

    @raise ConfigError: it is none.
    """
    found = parse_network(argument.text)
    if found is not None:
        return found
    expected = NETWORK_RULE
    try:
        wide = ip_network(argument.text.partition("%")[0], strict=False)
    except ValueError:
        pass
    else:
        if "/" in argument.text and "%" not in argument.text:
            expected = f"{NETWORK_RULE}: is {wide} meant?"
    raise values.wrong(statement, argument, expected)
