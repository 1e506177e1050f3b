"""L{restreamer.rtmp.message}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import RemoteProtocolError
from restreamer.rtmp.chunk_reader import ChunkReader, RawMessage
from restreamer.rtmp.limits import WireLimits
from restreamer.rtmp.message import (
    Abort,
    Acknowledgement,
    Audio,
    Command,
    Data,
    Ignored,
    Message,
    SetChunkSize,
    SetPeerBandwidth,
    UserControl,
    UserEvent,
    Video,
    WindowAckSize,
    decode,
    encode,
    encode_raw,
    split_aggregate,
)

CAP = 65536

#: (message, type id, body): both directions.
TABLE: list[tuple[Message, int, bytes]] = [
    (SetChunkSize(4096), 1, b"\0\0\x10\0"),
    (Abort(6), 2, b"\0\0\0\x06"),
    (Acknowledgement(0xFFFFFFFF), 3, b"\xff\xff\xff\xff"),
    (UserControl(UserEvent.STREAM_BEGIN, 1), 4, b"\0\0\0\0\0\x01"),
    (UserControl(UserEvent.STREAM_EOF, 1), 4, b"\0\x01\0\0\0\x01"),
    (UserControl(UserEvent.SET_BUFFER_LENGTH, 1, 3000), 4, b"\0\x03\0\0\0\x01\0\0\x0b\xb8"),
    (UserControl(UserEvent.PING_REQUEST, 7), 4, b"\0\x06\0\0\0\x07"),
    (UserControl(UserEvent.PING_RESPONSE, 7), 4, b"\0\x07\0\0\0\x07"),
    (WindowAckSize(2_500_000), 5, b"\0\x26\x25\xa0"),
    (SetPeerBandwidth(2_500_000, 2), 6, b"\0\x26\x25\xa0\x02"),
    (Audio(1, 40, b"\xaf\x01x"), 8, b"\xaf\x01x"),
    (Video(1, 40, b"\x17\x01x"), 9, b"\x17\x01x"),
    (Data(1, ("onMetaData", None)), 18, b"\x02\0\x0aonMetaData\x05"),
    (
        Command("pause", 0.0, None, (True, 0.0), 1),
        20,
        b"\x02\0\x05pause\x00\0\0\0\0\0\0\0\0\x05\x01\x01\x00\0\0\0\0\0\0\0\0",
    ),
]


class MessageTests(SynchronousTestCase):
    """Values and bodies."""

    def test_table(self) -> None:
        """Every message and its body, also through chunks."""
        for message, kind, body in TABLE:
            with self.subTest(type(message).__name__):
                raw = encode_raw(message)
                self.assertEqual((raw.kind, raw.payload), (kind, body))
                self.assertEqual(decode(raw, CAP), message)
                self.assertEqual(ChunkReader(WireLimits()).receive(encode(message, 128)), [raw])

    def test_control_messages_are_on_stream_0_at_time_0(self) -> None:
        """Some readers do not expect an extended timestamp there."""
        for message, kind, _ in TABLE:
            if kind < 8:
                raw = encode_raw(message)
                self.assertEqual((raw.stream_id, raw.timestamp), (0, 0))

    def test_amf3_commands_and_data(self) -> None:
        """Types 17 and 15: a zero byte, then AMF0 with switches; the zero byte may be missing."""
        body = b"\x02\0\x04play\x00" + bytes(8) + b"\x05\x11\x06\x07cam"
        want = Command("play", 0.0, None, ("cam",), 1)
        self.assertEqual(decode(RawMessage(17, 1, 0, b"\0" + body), CAP), want)
        self.assertEqual(decode(RawMessage(17, 1, 0, body), CAP), want)
        data = b"\0\x02\0\x01a\x11\x04\x05"
        self.assertEqual(decode(RawMessage(15, 1, 9, data), CAP), Data(1, ("a", 5), 9))

    def test_short_messages(self) -> None:
        """Control messages that are too short: refused, or ignored where nothing hangs on them."""
        for kind in (1, 2, 3, 5, 6):
            self.assertRaises(RemoteProtocolError, decode, RawMessage(kind, 0, 0, b"\0\0"), CAP)
        self.assertIsInstance(decode(RawMessage(4, 0, 0, b"\0\x06\0"), CAP), Ignored)

    def test_unknown_types(self) -> None:
        """Shared objects and unknown types are ignored."""
        for kind in (0, 7, 16, 19, 99):
            self.assertIsInstance(decode(RawMessage(kind, 0, 0, b"x"), CAP), Ignored)

    def test_caps(self) -> None:
        """A command over the cap is refused, a data message skipped, as is one with too many values."""
        self.assertRaises(RemoteProtocolError, decode, RawMessage(20, 0, 0, bytes(CAP + 1)), CAP)
        self.assertIsInstance(decode(RawMessage(18, 1, 0, bytes(1024 * 1024)), CAP), Ignored)
        self.assertIsInstance(decode(RawMessage(18, 1, 0, b"\x05" * 2000), CAP), Ignored)

    def test_bad_commands(self) -> None:
        """A command begins with a name and a number."""
        for body in (b"", b"\x02\0\x01a", b"\x05\x05", b"\x02\0\x01a\x05"):
            self.assertRaises(RemoteProtocolError, decode, RawMessage(20, 0, 0, body), CAP)

    def test_aggregate(self) -> None:
        """FLV tags inside one message; times count from the first."""
        body = b""
        for kind, time, data in ((9, 1000, b"v"), (8, 1040, b"aa")):
            body += bytes((kind,)) + len(data).to_bytes(3, "big") + time.to_bytes(3, "big") + bytes(4)
            body += data + (11 + len(data)).to_bytes(4, "big")
        self.assertEqual(
            split_aggregate(RawMessage(22, 1, 5000, body)),
            [RawMessage(9, 1, 5000, b"v"), RawMessage(8, 1, 5040, b"aa")],
        )
        self.assertRaises(
            RemoteProtocolError, split_aggregate, RawMessage(22, 1, 0, b"\x09\0\1\0" + bytes(9))
        )

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(st.integers(0, 25), st.binary(max_size=60))
    def test_any_body(self, kind: int, body: bytes) -> None:
        """A message or the one error."""
        try:
            decode(RawMessage(kind, 1, 0, body), CAP)
        except RemoteProtocolError:
            pass
        try:
            split_aggregate(RawMessage(22, 1, 0, body))
        except RemoteProtocolError:
            pass
