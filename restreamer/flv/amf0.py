"""AMF0 values (Action Message Format, AMF 0, Adobe 2007).

Decoded: number -> float, boolean -> bool, string and long string -> str (bad UTF-8 replaced), object, typed
object and ECMA array -> dict, strict array -> list, date -> L{Date}, XML document -> str, null -> None,
undefined and unsupported -> L{UNDEFINED}. A typed object's class name is dropped, never looked up.
References are refused. Depth, number of values and string length are capped; a count from the wire is
compared with the bytes left and never allocated for.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.flv import amf3
from restreamer.flv.amf3 import MAX_DEPTH, MAX_STRING, UNDEFINED, AmfLimitError, Budget, Date, Undefined

__all__ = [
    "MAX_DEPTH",
    "MAX_STRING",
    "UNDEFINED",
    "AmfLimitError",
    "Date",
    "EcmaArray",
    "Undefined",
    "decode",
    "encode",
]

_WHERE = "AMF0"
_DOUBLE = Struct(">d")
_U16 = Struct(">H")
_U32 = Struct(">I")


class _Marker(enum.IntEnum):
    NUMBER = 0
    BOOLEAN = 1
    STRING = 2
    OBJECT = 3
    MOVIE_CLIP = 4
    NULL = 5
    UNDEFINED = 6
    REFERENCE = 7
    ECMA_ARRAY = 8
    OBJECT_END = 9
    STRICT_ARRAY = 10
    DATE = 11
    LONG_STRING = 12
    UNSUPPORTED = 13
    RECORD_SET = 14
    XML = 15
    TYPED_OBJECT = 16
    AMF3 = 17


_OBJECT_END: Final = b"\0\0\x09"


class EcmaArray(dict[str, Any]):
    """A dict that is written as an ECMA array (section 2.10), as onMetaData wants it."""


class _Decoder:
    """A cursor over one message."""

    def __init__(self, data: bytes, pos: int) -> None:
        self.data = data
        self.pos = pos
        self.budget = Budget()

    def take(self, size: int) -> int:
        """Advance by C{size} bytes; the place they begin."""
        pos = self.pos
        if len(self.data) - pos < size:
            raise RemoteProtocolError(_WHERE, f"{size} bytes announced, {len(self.data) - pos} there")
        self.pos = pos + size
        return pos

    def string(self, size: int) -> str:
        if size > MAX_STRING:
            raise RemoteProtocolError(_WHERE, f"string of {size} bytes, limit {MAX_STRING}")
        pos = self.take(size)
        return self.data[pos : pos + size].decode("utf-8", "replace")

    def short_string(self) -> str:
        return self.string(_U16.unpack_from(self.data, self.take(2))[0])

    def count(self) -> int:
        number: int = _U32.unpack_from(self.data, self.take(4))[0]
        return number

    def members(self, depth: int) -> dict[str, Any]:
        """Name-value pairs up to the object end marker (section 2.5)."""
        result: dict[str, Any] = {}
        while True:
            name = self.short_string()
            if not name and self.data[self.pos : self.pos + 1] == b"\x09":
                self.pos += 1
                return result
            result[name] = self.value(depth)

    def value(self, depth: int) -> Any:
        """One value at nesting C{depth}."""
        self.budget.spend(_WHERE)
        if depth > MAX_DEPTH:
            raise RemoteProtocolError(_WHERE, f"nested deeper than {MAX_DEPTH}")
        marker = self.data[self.take(1)]
        if marker == _Marker.NUMBER:
            return _DOUBLE.unpack_from(self.data, self.take(8))[0]
        if marker == _Marker.STRING:
            return self.short_string()
        if marker == _Marker.BOOLEAN:
            return self.data[self.take(1)] != 0
        if marker == _Marker.NULL:
            return None
        if marker == _Marker.OBJECT:
            return self.members(depth + 1)
        if marker == _Marker.ECMA_ARRAY:
            self.take(4)  # the count is a hint that encoders get wrong: the end marker rules
            return EcmaArray(self.members(depth + 1))
        return self._rare(marker, depth)

    def _rare(self, marker: int, depth: int) -> Any:
        if marker in (_Marker.UNDEFINED, _Marker.UNSUPPORTED):
            return UNDEFINED
        if marker == _Marker.STRICT_ARRAY:
            count = self.count()
            if count > len(self.data) - self.pos:
                raise RemoteProtocolError(
                    _WHERE, f"array of {count} values in {len(self.data) - self.pos} bytes"
                )
            return [self.value(depth + 1) for _ in range(count)]
        if marker == _Marker.DATE:
            milliseconds = _DOUBLE.unpack_from(self.data, self.take(10))[0]
            return Date(milliseconds)
        if marker in (_Marker.LONG_STRING, _Marker.XML):
            return self.string(self.count())
        if marker == _Marker.TYPED_OBJECT:
            self.short_string()
            return self.members(depth + 1)
        if marker == _Marker.AMF3:
            value, self.pos = amf3.decode_one(self.data, self.pos, self.budget, depth)
            return value
        raise RemoteProtocolError(_WHERE, f"marker {marker} is not accepted")


def decode(data: bytes, pos: int = 0) -> list[Any]:
    """All values of C{data} from C{pos} on.

    @raise RemoteProtocolError: for anything that is not AMF0 within the limits.
    @raise AmfLimitError: (a RemoteProtocolError) when only the number of values is too large.
    """
    decoder = _Decoder(data, pos)
    values = []
    while decoder.pos < len(data):
        values.append(decoder.value(0))
    return values


def encode(*values: Any) -> bytes:
    """C{values} one after the other.

    str, bool, int, float, None, L{UNDEFINED}, Mapping (object; L{EcmaArray} as such), Sequence (strict
    array) and L{Date} can be written.
    """
    pieces: list[bytes] = []
    for value in values:
        _write(value, pieces)
    return b"".join(pieces)


def _name(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")[:0xFFFF]
    return _U16.pack(len(raw)) + raw


def _write(value: Any, pieces: list[bytes]) -> None:
    if value is None:
        pieces.append(b"\x05")
    elif value is UNDEFINED:
        pieces.append(b"\x06")
    elif isinstance(value, bool):
        pieces.append(b"\x01\x01" if value else b"\x01\x00")
    elif isinstance(value, int | float):
        pieces.append(b"\x00" + _DOUBLE.pack(value))
    elif isinstance(value, str):
        raw = value.encode("utf-8", "replace")
        if len(raw) > 0xFFFF:
            pieces.append(b"\x0c" + _U32.pack(len(raw)) + raw)
        else:
            pieces.append(b"\x02" + _U16.pack(len(raw)) + raw)
    elif isinstance(value, Date):
        pieces.append(b"\x0b" + _DOUBLE.pack(value.milliseconds) + b"\0\0")
    elif isinstance(value, Mapping):
        pieces.append(b"\x08" + _U32.pack(len(value)) if isinstance(value, EcmaArray) else b"\x03")
        for key, member in value.items():
            pieces.append(_name(key))
            _write(member, pieces)
        pieces.append(_OBJECT_END)
    elif isinstance(value, Sequence):
        pieces.append(b"\x0a" + _U32.pack(len(value)))
        for member in value:
            _write(member, pieces)
    else:
        raise LocalProtocolError(f"AMF0 cannot carry {type(value).__name__}")
