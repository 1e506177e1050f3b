"""Makes small databases of countries, by the MaxMind DB file format 2.0: enough to be read by its readers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

_MARK: Final = b"\xab\xcd\xefMaxMind.com"
_STRING, _MAP, _UINT16, _UINT32, _UINT64, _ARRAY = 2, 7, 5, 6, 9, 11


def _control(kind: int, size: int) -> bytes:
    assert size < 29
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])


def _encoded(value: Any, kind: int = _UINT32) -> bytes:
    """A value of the data section; numbers are of C{kind}."""
    if isinstance(value, str):
        data = value.encode()
        return _control(_STRING, len(data)) + data
    if isinstance(value, Mapping):
        parts = [_control(_MAP, len(value))]
        for key, each in value.items():
            kinds = {"build_epoch": _UINT64, "node_count": _UINT32}
            parts += [_encoded(key), _encoded(each, kinds.get(key, _UINT16))]
        return b"".join(parts)
    if isinstance(value, list):
        return _control(_ARRAY, len(value)) + b"".join(map(_encoded, value))
    data = int(value).to_bytes((value.bit_length() + 7) // 8, "big")
    return _control(kind, len(data)) + data


def database(countries: Mapping[str, str]) -> bytes:
    """A database of IPv4 networks: C{{"192.0.2.0/24": "DE"}}."""
    tree: list[list[Any]] = [[None, None]]
    for network, code in countries.items():
        parsed = ipaddress.IPv4Network(network)
        bits = f"{int(parsed.network_address):032b}"[: parsed.prefixlen]
        at = 0
        for place, bit in enumerate(bits):
            side = int(bit)
            if place == len(bits) - 1:
                tree[at][side] = code
            else:
                if not isinstance(tree[at][side], int):
                    tree.append([None, None])
                    tree[at][side] = len(tree) - 1
                at = tree[at][side]
    data = b""
    offsets: dict[str, int] = {}
    for code in dict.fromkeys(countries.values()):
        offsets[code] = len(data)
        data += _encoded({"country": {"iso_code": code}})
    count = len(tree)

    def record(side: Any) -> bytes:
        value = count if side is None else side if isinstance(side, int) else count + 16 + offsets[side]
        return int(value).to_bytes(3, "big")

    nodes = b"".join(record(left) + record(right) for left, right in tree)
    metadata = {
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "database_type": "Test-Country",
        "description": {"en": "for tests"},
        "ip_version": 4,
        "languages": ["en"],
        "node_count": count,
        "record_size": 24,
    }
    return nodes + bytes(16) + data + _MARK + _encoded(metadata)
