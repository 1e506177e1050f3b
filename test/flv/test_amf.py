"""L{restreamer.flv.amf0} and L{restreamer.flv.amf3}."""

from __future__ import annotations

import math
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.flv import amf0, amf3
from restreamer.flv.amf0 import MAX_DEPTH, UNDEFINED, AmfLimitError, Date, EcmaArray

END = b"\0\0\x09"

#: (name, value, bytes): both directions.
BOTH: list[tuple[str, Any, bytes]] = [
    ("number", 1.0, b"\x00\x3f\xf0\0\0\0\0\0\0"),
    ("true", True, b"\x01\x01"),
    ("false", False, b"\x01\x00"),
    ("string", "live", b"\x02\0\x04live"),
    ("umlaut", "ü", b"\x02\0\x02\xc3\xbc"),
    ("object", {"a": 1.0}, b"\x03\0\x01a\x00\x3f\xf0\0\0\0\0\0\0" + END),
    ("null", None, b"\x05"),
    ("undefined", UNDEFINED, b"\x06"),
    ("ECMA array", EcmaArray(a=None), b"\x08\0\0\0\x01\0\x01a\x05" + END),
    ("strict array", [None, True], b"\x0a\0\0\0\x02\x05\x01\x01"),
    ("date", Date(0.0), b"\x0b" + bytes(10)),
    ("long string", "x" * 65536, b"\x0c\0\x01\0\0" + b"x" * 65536),
]

#: Readable, but not what we write.
READ: list[tuple[str, Any, bytes]] = [
    ("unsupported", UNDEFINED, b"\x0d"),
    ("XML", "<a/>", b"\x0f\0\0\0\x04<a/>"),
    ("typed object", {"a": None}, b"\x10\0\x03Foo\0\x01a\x05" + END),
    ("ECMA array with an absurd count", {"a": None}, b"\x08\xff\xff\xff\xff\0\x01a\x05" + END),
    ("ECMA array with count 0", {"a": None}, b"\x08\0\0\0\0\0\x01a\x05" + END),
    ("empty member name", {"": None}, b"\x03\0\0\x05" + END),
    ("bad UTF-8", "\ufffd", b"\x02\0\x01\xff"),
    ("infinity", math.inf, b"\x00\x7f\xf0\0\0\0\0\0\0"),
    ("AMF3 integer", 5, b"\x11\x04\x05"),
]

BAD: list[tuple[str, bytes]] = [
    ("short number", b"\x00\x3f"),
    ("string past the end", b"\x02\0\x05abc"),
    ("no string length", b"\x02\0"),
    ("long string past the end", b"\x0c\xff\xff\xff\xffabc"),
    ("long string over the limit", b"\x0c\0\x01\0\x01" + b"x" * 65537),
    ("strict array count", b"\x0a\xff\xff\xff\xff"),
    ("object without end", b"\x03\0\x01a\x05"),
    ("reference", b"\x07\0\0"),
    ("movie clip", b"\x04"),
    ("object end alone", b"\x09"),
    ("marker 18", b"\x12"),
    ("nested arrays", b"\x0a\0\0\0\x01" * 10_000),
    ("nested objects", b"\x03\0\x01a" * 10_000),
    ("nested AMF3 arrays", b"\x11" + b"\x09\x03\x01" * 10_000),
]

#: AMF 3, section 3.
AMF3: list[tuple[str, Any, bytes]] = [
    ("undefined", UNDEFINED, b"\x00"),
    ("null", None, b"\x01"),
    ("false", False, b"\x02"),
    ("true", True, b"\x03"),
    ("one byte", 0x7F, b"\x04\x7f"),
    ("two bytes", 0x80, b"\x04\x81\x00"),
    ("three bytes", 0x4000, b"\x04\x81\x80\x00"),
    ("four bytes", 0x200000, b"\x04\x80\xc0\x80\x00"),
    ("minus one", -1, b"\x04\xff\xff\xff\xff"),
    ("double", 1.5, b"\x05" + struct.pack(">d", 1.5)),
    ("string", "abc", b"\x06\x07abc"),
    ("XML document", "<a/>", b"\x07\x09<a/>"),
    ("date", Date(2.0), b"\x08\x01" + struct.pack(">d", 2.0)),
    ("dense array", ["ab", "ab"], b"\x09\x05\x01\x06\x05ab\x06\x00"),
    ("mixed array", {"k": True, "0": None}, b"\x09\x03\x03k\x03\x01\x01"),
    ("object", {"a": 1}, b"\x0a\x13\x01\x03a\x04\x01"),
    ("dynamic object", {"a": 1, "b": None}, b"\x0a\x1b\x01\x03a\x04\x01\x03b\x01\x01"),
    ("XML", "x", b"\x0b\x03x"),
    ("byte array", b"\0\1", b"\x0c\x05\0\1"),
    (
        "traits and object references",
        [{"a": 1}, {"a": 2}, {"a": 1}],
        b"\x09\x07\x01\x0a\x13\x01\x03a\x04\x01\x0a\x01\x04\x02\x0a\x02",
    ),
]

AMF3_BAD: list[tuple[str, bytes]] = [
    ("string reference", b"\x06\x02"),
    ("object reference", b"\x0a\x02"),
    ("traits reference", b"\x0a\x05"),
    ("externalizable", b"\x0a\x07\x01"),
    ("array that holds itself", b"\x09\x03\x01\x09\x00"),
    ("absurd array", b"\x09\xff\xff\xff\xff\x01"),
    ("absurd traits", b"\x0a\xff\xff\xff\xf3\x01"),
    ("vector", b"\x0d\x01\x00"),
    ("dictionary", b"\x11\x01\x00"),
    ("cut", b"\x05\0\0"),
]


class Amf0Tests(SynchronousTestCase):
    """AMF0 in both directions."""

    def test_table(self) -> None:
        """Every value and its bytes (R13, R14)."""
        for name, value, data in BOTH:
            with self.subTest(name):
                self.assertEqual(amf0.encode(value), data)
                self.assertEqual(amf0.decode(data), [value])
                self.assertIs(type(amf0.decode(data)[0]), type(value))
        for name, value, data in READ:
            with self.subTest(name):
                self.assertEqual(amf0.decode(data), [value])

    def test_nan(self) -> None:
        """NaN is a number."""
        self.assertTrue(math.isnan(amf0.decode(b"\x00\x7f\xf8\0\0\0\0\0\0")[0]))

    def test_bad(self) -> None:
        """Each is refused with the one error (R12, R13, R14)."""
        for name, data in BAD:
            with self.subTest(name):
                self.assertRaises(RemoteProtocolError, amf0.decode, data)

    def test_depth(self) -> None:
        """Sixteen values in one another and no more, in both encodings (R12)."""
        for begin, end in (
            (b"\x03\0\1a", END),
            (b"\x08\0\0\0\1\0\1a", END),
            (b"\x0a\0\0\0\1", b""),
            (b"\x10\0\1x\0\1a", END),
        ):
            amf0.decode(begin * MAX_DEPTH + b"\x05" + end * MAX_DEPTH)
            deeper = begin * (MAX_DEPTH + 1) + b"\x05" + end * (MAX_DEPTH + 1)
            self.assertRaises(RemoteProtocolError, amf0.decode, deeper)
        self.assertEqual(MAX_DEPTH, 16)
        amf0.decode(b"\x11" + b"\x09\x03\x01" * (MAX_DEPTH - 1) + b"\x01")
        self.assertRaises(
            RemoteProtocolError, amf0.decode, b"\x11" + b"\x09\x03\x01" * (MAX_DEPTH + 1) + b"\x01"
        )

    def test_truncated(self) -> None:
        """Every beginning of every value is refused or shorter."""
        for name, value, data in BOTH[:-1] + READ:
            for cut in range(1, len(data)):
                with self.subTest(name, cut=cut):
                    try:
                        self.assertNotEqual(amf0.decode(data[:cut]), [value])
                    except RemoteProtocolError:
                        pass

    def test_too_many_values(self) -> None:
        """The number of values is capped over the whole message, with an error of its own."""
        self.assertEqual(len(amf0.decode(b"\x05" * 1024)), 1024)
        self.assertRaises(AmfLimitError, amf0.decode, b"\x05" * 1025)
        self.assertRaises(AmfLimitError, amf0.decode, b"\x0a\0\0\x08\0" + b"\x05" * 2048)

    def test_unwritable(self) -> None:
        """A value AMF0 has no form for is our own mistake."""
        self.assertRaises(LocalProtocolError, amf0.encode, object())

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """Values or the one error."""
        for prefix in (b"", b"\x11", b"\x03\0\x01a", b"\x11\x0a", b"\x11\x09"):
            try:
                amf0.decode(prefix + data)
            except RemoteProtocolError:
                pass

    VALUES = st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), inner),
        max_leaves=20,
    )

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(VALUES)
    def test_round_trip(self, value: Any) -> None:
        """What is written is read back."""
        self.assertEqual(amf0.decode(amf0.encode(value)), [value])


class Amf3Tests(SynchronousTestCase):
    """AMF3, reading."""

    def test_table(self) -> None:
        """Every value, alone and behind the AMF0 switch."""
        for name, value, data in AMF3:
            with self.subTest(name):
                self.assertEqual(amf3.decode(data), [value])
                self.assertIs(type(amf3.decode(data)[0]), type(value))
                self.assertEqual(amf0.decode(b"\x11" + data + b"\x05"), [value, None])

    def test_bad(self) -> None:
        """Each is refused with the one error."""
        for name, data in AMF3_BAD:
            with self.subTest(name):
                self.assertRaises(RemoteProtocolError, amf3.decode, data)

    def test_repeated_references_are_counted(self) -> None:
        """A tree that doubles with each reference soon exceeds the number of values (R12)."""
        data = b"\x09\x05\x01\x01\x01"
        for level in range(12):
            data = b"\x09\x05\x01" + data + b"\x09" + bytes(((12 - 1 - level + 1) << 1,))
        self.assertRaises(AmfLimitError, amf3.decode, data)
