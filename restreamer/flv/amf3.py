"""AMF3 values (Action Message Format, AMF 3, Adobe 2013), as they occur inside RTMP commands: decoding only.

Decoded as in L{restreamer.flv.amf0}, with byte arrays as bytes and integers as int. Externalizable objects,
vectors and dictionaries are refused. References work for strings, traits and finished objects (so no value
contains itself); what a reference repeats is counted again, so a small message cannot stand for a huge tree.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Any, Final, NamedTuple

from attrs import frozen
from typing_extensions import override

from restreamer.errors import RemoteProtocolError

#: Limits of one message, AMF0 and AMF3 alike.
MAX_DEPTH = 16
MAX_VALUES = 1024
MAX_STRING = 64 * 1024

_WHERE = "AMF3"
_DOUBLE = Struct(">d")


class AmfLimitError(RemoteProtocolError):
    """More values than the limit in an otherwise readable message."""


class Undefined:
    """The type of L{UNDEFINED}."""

    @override
    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined()


@frozen
class Date:
    """A point in time: milliseconds since the Unix epoch, UTC (may be any float)."""

    milliseconds: float


class Budget:
    """Values one message may still hold."""

    __slots__ = ("left",)

    def __init__(self, left: int = MAX_VALUES) -> None:
        self.left = left

    def spend(self, where: str, count: int = 1) -> None:
        """Count values.

        @raise AmfLimitError: when there are too many.
        """
        self.left -= count
        if self.left < 0:
            raise AmfLimitError(where, f"more than {MAX_VALUES} values")


class _Marker(enum.IntEnum):
    UNDEFINED = 0
    NULL = 1
    FALSE = 2
    TRUE = 3
    INTEGER = 4
    DOUBLE = 5
    STRING = 6
    XML_DOCUMENT = 7
    DATE = 8
    ARRAY = 9
    OBJECT = 10
    XML = 11
    BYTE_ARRAY = 12


class _Traits(NamedTuple):
    dynamic: bool
    names: tuple[str, ...]


#: In the object table: an object that is still being read.
_UNFINISHED = object()


class _Decoder:
    """A cursor over one message with the three reference tables (section 2.2)."""

    def __init__(self, data: bytes, pos: int, budget: Budget) -> None:
        self.data = data
        self.pos = pos
        self.budget = budget
        self.strings: list[str] = []
        self.traits: list[_Traits] = []
        self.objects: list[tuple[Any, int]] = []

    def take(self, size: int) -> int:
        pos = self.pos
        if len(self.data) - pos < size:
            raise RemoteProtocolError(_WHERE, f"{size} bytes announced, {len(self.data) - pos} there")
        self.pos = pos + size
        return pos

    def u29(self) -> int:
        """Variable length unsigned integer (section 1.3.1)."""
        value = 0
        for _ in range(3):
            byte = self.data[self.take(1)]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        return value << 8 | self.data[self.take(1)]

    def raw(self, size: int) -> bytes:
        if size > MAX_STRING:
            raise RemoteProtocolError(_WHERE, f"string of {size} bytes, limit {MAX_STRING}")
        pos = self.take(size)
        return self.data[pos : pos + size]

    def string(self) -> str:
        head = self.u29()
        if not head & 1:
            text: str = self._referred(self.strings, head >> 1)
            return text
        text = self.raw(head >> 1).decode("utf-8", "replace")
        if text:
            self.strings.append(text)
        return text

    def _referred(self, table: list[Any], index: int) -> Any:
        if index >= len(table):
            raise RemoteProtocolError(_WHERE, f"reference {index} of {len(table)}")
        return table[index]

    def _referred_object(self, index: int) -> Any:
        value, size = self._referred(self.objects, index)
        if value is _UNFINISHED:
            raise RemoteProtocolError(_WHERE, "an object that contains itself")
        self.budget.spend(_WHERE, size)
        return value

    def value(self, depth: int) -> Any:
        self.budget.spend(_WHERE)
        if depth > MAX_DEPTH:
            raise RemoteProtocolError(_WHERE, f"nested deeper than {MAX_DEPTH}")
        marker = self.data[self.take(1)]
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == _Marker.INTEGER:
            number = self.u29()
            return number - (1 << 29) if number & 1 << 28 else number
        if marker == _Marker.DOUBLE:
            return _DOUBLE.unpack_from(self.data, self.take(8))[0]
        if marker == _Marker.STRING:
            return self.string()
        if not _Marker.XML_DOCUMENT <= marker <= _Marker.BYTE_ARRAY:
            raise RemoteProtocolError(_WHERE, f"marker {marker} is not accepted")
        head = self.u29()
        if not head & 1:
            return self._referred_object(head >> 1)
        place = len(self.objects)
        before = self.budget.left
        self.objects.append((_UNFINISHED, 0))
        value = self._complex(marker, head >> 1, depth)
        self.objects[place] = (value, before - self.budget.left)
        return value

    def _complex(self, marker: int, head: int, depth: int) -> Any:
        """A value that takes a place in the object table; C{head} is its U29 without the lowest bit."""
        if marker == _Marker.DATE:
            return Date(_DOUBLE.unpack_from(self.data, self.take(8))[0])
        if marker == _Marker.BYTE_ARRAY:
            return self.raw(head)
        if marker == _Marker.ARRAY:
            return self._array(head, depth)
        if marker == _Marker.OBJECT:
            return self._object(head, depth)
        return self.raw(head).decode("utf-8", "replace")

    def _array(self, count: int, depth: int) -> Any:
        """Section 3.11: a list, or a dict when it has named members (dense ones under their index)."""
        named = self._dynamic(depth)
        if count > len(self.data) - self.pos:
            raise RemoteProtocolError(_WHERE, f"array of {count} values in {len(self.data) - self.pos} bytes")
        dense = [self.value(depth + 1) for _ in range(count)]
        if not named:
            return dense
        for index, value in enumerate(dense):
            named[str(index)] = value
        return named

    def _dynamic(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while name := self.string():
            result[name] = self.value(depth + 1)
        return result

    def _object(self, head: int, depth: int) -> dict[str, Any]:
        """Section 3.12."""
        if not head & 1:
            traits: _Traits = self._referred(self.traits, head >> 1)
        elif head & 2:
            raise RemoteProtocolError(_WHERE, "externalizable object")
        else:
            count = head >> 3
            self.string()
            if count > len(self.data) - self.pos:
                raise RemoteProtocolError(_WHERE, f"{count} members in {len(self.data) - self.pos} bytes")
            self.budget.spend(_WHERE, count)
            traits = _Traits(bool(head & 4), tuple(self.string() for _ in range(count)))
            self.traits.append(traits)
        result = {name: self.value(depth + 1) for name in traits.names}
        if traits.dynamic:
            result.update(self._dynamic(depth))
        return result


_CONSTANTS: Final[dict[int, Any]] = {
    _Marker.UNDEFINED: UNDEFINED,
    _Marker.NULL: None,
    _Marker.FALSE: False,
    _Marker.TRUE: True,
}


def decode_one(data: bytes, pos: int, budget: Budget, depth: int = 0) -> tuple[Any, int]:
    """One value at C{pos} and the place after it.

    Each value that AMF0 switches to AMF3 has its own reference tables (AMF 3 section 4.1).
    @raise RemoteProtocolError: for anything that is not AMF3 within the limits.
    """
    decoder = _Decoder(data, pos, budget)
    value = decoder.value(depth)
    return value, decoder.pos


def decode(data: bytes, pos: int = 0) -> list[Any]:
    """All values of C{data} from C{pos} on, with one budget and fresh reference tables for each.

    @raise RemoteProtocolError: as L{decode_one}.
    """
    budget = Budget()
    values = []
    while pos < len(data):
        value, pos = decode_one(data, pos, budget)
        values.append(value)
    return values
