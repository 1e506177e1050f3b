"""L{restreamer.rtmp.chunk_reader} and L{restreamer.rtmp.chunk_writer}."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import RemoteProtocolError
from restreamer.rtmp.chunk_reader import ChunkReader, RawMessage
from restreamer.rtmp.chunk_writer import chunked
from restreamer.rtmp.limits import WireLimits
from test.rtmp.wire import cuts, header0, message

BODY = random.Random(5).randbytes(1000)


def read(data: bytes, limits: WireLimits | None = None) -> list[RawMessage]:
    """What C{data} holds."""
    return ChunkReader(limits or WireLimits()).receive(data)


def set_chunk_size(size: int) -> bytes:
    """The control message."""
    return message(1, size.to_bytes(4, "big"), csid=2)


class HeaderTests(SynchronousTestCase):
    """Section 5.3.1."""

    def test_all_header_types(self) -> None:
        """Types 0 to 3 each inherit what they leave out; the delta is kept for type 3."""
        data = (
            header0(4, 1000, 3, 9, 1)
            + b"abc"
            + b"\x44\0\0\x28\0\0\x02\x08"
            + b"de"
            + b"\x84\0\0\x0a"
            + b"fg"
            + b"\xc4"
            + b"hi"
        )
        self.assertEqual(
            read(data),
            [
                RawMessage(9, 1, 1000, b"abc"),
                RawMessage(8, 1, 1040, b"de"),
                RawMessage(8, 1, 1050, b"fg"),
                RawMessage(8, 1, 1060, b"hi"),
            ],
        )

    def test_type_3_after_type_0_adds_its_timestamp(self) -> None:
        """Section 5.3.1.2.4."""
        found = read(header0(4, 100, 1, 9, 1) + b"a" + b"\xc4b")
        self.assertEqual([m.timestamp for m in found], [100, 200])

    def test_chunk_stream_forms(self) -> None:
        """Ids 2, 63, 64, 319 and 65599 in every form that can say them, on one and on several chunks
        (R08)."""
        rest = header0(0, 7, 200, 9, 1)[1:]
        forms = [
            b"\x02",
            b"\x3f",
            b"\x00\x00",
            b"\x01\x00\x00",
            b"\x00\xff",
            b"\x01\xff\x00",
            b"\x01\xff\xff",
        ]
        for form in forms:
            follow = bytes((form[0] | 0xC0,)) + form[1:]
            data = form + rest + BODY[:128] + follow + BODY[128:200]
            with self.subTest(form=form):
                self.assertEqual(read(data), [RawMessage(9, 1, 7, BODY[:200])])

    def test_two_forms_of_one_id(self) -> None:
        """Id 64 said in two and in three bytes is one chunk stream."""
        data = b"\x00\x00" + header0(0, 7, 200, 9, 1)[1:] + BODY[:128] + b"\xc1\x00\x00" + BODY[128:200]
        self.assertEqual(read(data), [RawMessage(9, 1, 7, BODY[:200])])

    def test_first_header_must_be_full(self) -> None:
        """Types 1 to 3 on a new chunk stream are refused, but for type 1 on 2 (librtmp's ping answers)
        (R06)."""
        for data in (b"\x44" + bytes(7), b"\x84" + bytes(3), b"\xc4\0"):
            self.assertRaises(RemoteProtocolError, read, data)
        self.assertEqual(read(b"\x42\0\0\0\0\0\x01\x04x"), [RawMessage(4, 0, 0, b"x")])

    def test_interleaved_messages(self) -> None:
        """Two messages chunk by chunk."""
        data = (
            header0(4, 0, 300, 8, 1)
            + BODY[:128]
            + header0(6, 0, 200, 9, 1)
            + BODY[:128]
            + b"\xc4"
            + BODY[128:256]
            + b"\xc6"
            + BODY[128:200]
            + b"\xc4"
            + BODY[256:300]
        )
        self.assertEqual(read(data), [RawMessage(9, 1, 0, BODY[:200]), RawMessage(8, 1, 0, BODY[:300])])

    def test_timestamps_wrap(self) -> None:
        """They are modulo 2**32."""
        data = header0(4, 0xFFFFFFF0, 1, 9, 1) + b"a" + b"\x84\0\0\x20" + b"b"
        self.assertEqual([m.timestamp for m in read(data)], [0xFFFFFFF0, 0x10])

    def test_empty_message(self) -> None:
        """A message of no bytes is one."""
        self.assertEqual(read(header0(4, 5, 0, 8, 1)), [RawMessage(8, 1, 5, b"")])


class ExtendedTimestampTests(SynchronousTestCase):
    """Section 5.3.1.3 and the two habits of encoders."""

    def test_both_habits(self) -> None:
        """With and without the field on type 3 chunks, around the border, in any cuts (R09)."""
        for timestamp in (0xFFFFFE, 0xFFFFFF, 0x1000000, 0xFFFFFFFF):
            for repeat in (True, False):
                data = message(9, BODY, csid=6, timestamp=timestamp, stream_id=1, repeat=repeat)
                data += message(8, b"x", csid=4, timestamp=1)
                want = [RawMessage(9, 1, timestamp, BODY), RawMessage(8, 0, 1, b"x")]
                with self.subTest(timestamp=timestamp, repeat=repeat):
                    self.assertEqual(read(data), want)
                    for seed in range(5):
                        reader = ChunkReader(WireLimits())
                        found = [m for piece in cuts(data, seed) for m in reader.receive(piece)]
                        self.assertEqual(found, want)

    def test_extended_delta(self) -> None:
        """On types 1 and 2 the field is a delta, repeated on the type 3 chunk that begins a message."""
        data = header0(4, 10, 1, 8, 1) + b"a" + b"\x84\xff\xff\xff\x01\0\0\0" + b"b" + b"\xc4\x01\0\0\0c"
        self.assertEqual([m.timestamp for m in read(data)], [10, 0x100000A, 0x200000A])

    def test_stream_over_the_border(self) -> None:
        """A stream from 0xFFFF00 on in chunks of 128, both habits, as the writer and as others write it
        (R09)."""
        frames = [(0xFFFF00 + 40 * n, BODY[: 300 + n]) for n in range(20)]
        want = [RawMessage(9, 1, timestamp, body) for timestamp, body in frames]
        ours = b"".join(chunked(6, 9, 1, timestamp, body, 128) for timestamp, body in frames)
        self.assertEqual(read(ours), want)
        for repeat in (True, False):
            data = b"".join(
                message(9, body, csid=6, timestamp=timestamp, stream_id=1, repeat=repeat)
                for timestamp, body in frames
            )
            self.assertEqual(read(data), want)


class ControlTests(SynchronousTestCase):
    """Set Chunk Size and Abort."""

    def test_chunk_size(self) -> None:
        """Any size from 1 to the limit holds from the next chunk on, even inside a message."""
        for size in (1, 2, 127, 129, 4096, 65536, 1024 * 1024):
            data = set_chunk_size(size) + message(9, BODY, csid=6, chunk=size)
            with self.subTest(size=size):
                self.assertEqual(read(data)[-1], RawMessage(9, 0, 0, BODY))
        middle = header0(6, 0, 1000, 9, 1) + BODY[:128] + set_chunk_size(500)
        middle += b"\xc6" + BODY[128:628] + b"\xc6" + BODY[628:]
        self.assertEqual(read(middle)[-1], RawMessage(9, 1, 0, BODY))

    def test_bad_chunk_sizes(self) -> None:
        """Zero, the top bit, more than the limit: closed, also with a message pending (R01, R02)."""
        pending = header0(6, 0, 1000, 9, 1) + BODY[:128]
        for size in (0, 0x7FFFFFFF, 0x80000000, 0x80000080, 1024 * 1024 + 1):
            with self.subTest(size=size):
                self.assertRaises(RemoteProtocolError, read, set_chunk_size(size))
                self.assertRaises(RemoteProtocolError, read, pending + set_chunk_size(size))
        self.assertRaises(RemoteProtocolError, read, message(1, b"\0\0", csid=2))

    def test_abort(self) -> None:
        """The current message is dropped and its chunk stream usable; idle and unknown ones are ignored
        (R07)."""
        pending = header0(6, 0, 1000, 9, 1) + BODY[:128]
        for csid, left in ((6, 0), (7, 128), (70000, 128)):
            reader = ChunkReader(WireLimits())
            reader.receive(pending + message(2, csid.to_bytes(4, "big"), csid=2))
            self.assertEqual(reader.partial_bytes, left)
        reader = ChunkReader(WireLimits())
        reader.receive(pending + message(2, (6).to_bytes(4, "big"), csid=2))
        self.assertEqual(reader.receive(message(9, b"new", csid=6)), [RawMessage(9, 0, 0, b"new")])


class LimitTests(SynchronousTestCase):
    """Reliability limits."""

    def test_new_header_inside_a_message(self) -> None:
        """Types 0 to 2 in the middle of a message end the connection (R05)."""
        pending = header0(6, 0, 1000, 9, 1) + BODY[:128]
        for head in (header0(6, 0, 2000, 9, 1), b"\x46" + bytes(7), b"\x86" + bytes(3)):
            self.assertRaises(RemoteProtocolError, read, pending + head)

    def test_message_length(self) -> None:
        """A longer message than the limit is refused at its header (R02)."""
        self.assertRaises(RemoteProtocolError, read, header0(6, 0, 0xFFFFFF, 9, 1))
        self.assertEqual(read(header0(6, 0, 8 * 1024 * 1024, 9, 1)), [])

    def test_chunk_streams(self) -> None:
        """The 65th chunk stream is refused (R03)."""
        data = b"".join(bytes((0, n)) + header0(0, 0, 1, 8, 1)[1:] + b"x" for n in range(64))
        self.assertEqual(len(read(data)), 64)
        self.assertRaises(RemoteProtocolError, read, data + header0(5, 0, 1, 8, 1))

    def test_partial_bytes(self) -> None:
        """Unfinished messages on many chunk streams are bounded in sum (R03)."""
        limits = WireLimits(partial_bytes=1000)
        data = b"".join(header0(3 + n, 0, 8_000_000, 9, 1) + BODY[:128] for n in range(7))
        self.assertEqual(read(data, limits), [])
        self.assertRaises(
            RemoteProtocolError, read, data + header0(20, 0, 8_000_000, 9, 1) + BODY[:128], limits
        )

    def test_empty_messages(self) -> None:
        """A read of one-byte empty messages, or of one-byte chunks, is not worked through."""
        empty = header0(5, 0, 0, 8, 1) + b"\xc5" * 65_000
        self.assertRaises(RemoteProtocolError, read, empty)
        tiny = header0(5, 0, 60_000, 9, 1) + b"a" + header0(6, 0, 60_000, 8, 1) + b"b"
        self.assertRaises(RemoteProtocolError, read, set_chunk_size(1) + tiny + b"\xc5a\xc6b" * 15_000)

    def test_silent_audio(self) -> None:
        """The leanest real media, a backlog of silence, passes in one read."""
        silence = b"\xaf\1\x21\x10\x04\x60\x8c\x1c"
        data = header0(4, 0, len(silence), 8, 1) + silence
        data += (b"\x44\0\0\x15" + len(silence).to_bytes(3, "big") + b"\x08" + silence) * 4000
        self.assertEqual(len(read(data)), 4001)

    def test_dribbled_bytes_cost_little(self) -> None:
        """A long message in tiny reads is kept in few objects."""
        reader = ChunkReader(WireLimits())
        reader.receive(set_chunk_size(1024 * 1024) + header0(6, 0, 500_000, 9, 1))
        for _ in range(100_000):
            reader.receive(b"ab")
        stream = reader._streams[6]
        self.assertEqual(len(stream.parts), 1)
        self.assertEqual(reader.partial_bytes, 200_000)

    def test_partial_count_returns_to_zero(self) -> None:
        """After whole messages nothing is held."""
        reader = ChunkReader(WireLimits())
        for piece in cuts(message(9, BODY * 30, csid=6), 3):
            reader.receive(piece)
        self.assertEqual(reader.partial_bytes, 0)


MESSAGES = st.lists(
    st.tuples(
        st.integers(2, 63),
        st.sampled_from([8, 9, 18, 20]),
        st.integers(0, 5),
        st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0xFFFFF0, 0x100000F)),
        st.integers(0, 3000),
    ),
    max_size=8,
)


class PropertyTests(SynchronousTestCase):
    """Round trips, any fragmentation, any bytes."""

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(MESSAGES, st.sampled_from([1, 2, 3, 127, 128, 129, 1000, 4096, 65536]), st.integers(0, 999))
    def test_round_trip_in_any_cuts(
        self, messages: list[tuple[int, int, int, int, int]], size: int, seed: int
    ) -> None:
        """What the writer wrote is read back, however it is cut."""
        body = BODY * 3
        want = [RawMessage(kind, sid, ts, body[:n]) for _, kind, sid, ts, n in messages]
        data = b"".join(chunked(cs, kind, sid, ts, body[:n], size) for cs, kind, sid, ts, n in messages)
        data = set_chunk_size(size) + data
        self.assertEqual(read(data)[1:], want)
        reader = ChunkReader(WireLimits())
        self.assertEqual([m for piece in cuts(data, seed) for m in reader.receive(piece)][1:], want)

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(st.binary(max_size=400), st.integers(0, 999))
    def test_any_bytes(self, data: bytes, seed: int) -> None:
        """Messages or L{RemoteProtocolError}; the same messages up to the error in any cuts."""
        reader, other = ChunkReader(WireLimits()), ChunkReader(WireLimits())
        whole: list[RawMessage] | None
        try:
            whole = reader.receive(data)
        except RemoteProtocolError:
            whole = None
        pieces: list[RawMessage] = []
        try:
            for piece in cuts(data, seed):
                pieces += other.receive(piece)
        except RemoteProtocolError:
            self.assertIsNone(whole)
        else:
            self.assertEqual(pieces, whole)
