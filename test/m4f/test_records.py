"""Records: each value and its bytes, any fragmentation, and hostile input."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f import record_layout as wire
from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.record_layout import (
    MAX_CATALOGUE,
    MAX_CONTROL,
    MAX_LISTED,
    MAX_MEDIA,
    MAX_TEXT,
    RecordType,
)
from restreamer.m4f.records import (
    ArchiveAsk,
    ArchiveHoldings,
    ArchiveHour,
    ArchiveHourAsk,
    ArchiveSegmentAsk,
    CatalogueComplete,
    FileAsk,
    FileIndexed,
    FileRefused,
    FileSegment,
    FileSegmentAsk,
    Frames,
    Goodbye,
    Heartbeat,
    NodeLoad,
    Order,
    PartClose,
    Ping,
    Position,
    Progress,
    Pull,
    PullAccepted,
    PullRefused,
    PushOffer,
    Record,
    RecordReader,
    RunEnd,
    RunInfo,
    SegmentAsk,
    SegmentClose,
    SegmentCopy,
    SegmentLacking,
    SegmentOpen,
    SessionClaim,
    SessionClaimed,
    SessionOrder,
    SessionProgress,
    SessionReport,
    SessionsTaken,
    StreamListed,
    StreamState,
    StreamUnlisted,
    Stretch,
    VodListed,
    VodUnlisted,
    encode_record,
    heartbeats,
)
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from restreamer.viewer_facts import SessionFacts
from test.m4f import samples
from test.m4f.samples import NODE, OTHER_NODE, RUN, START

_SETTINGS = settings(deadline=None, max_examples=150, derandomize=True)

_RUN_HEX = (
    "004d1122334455667788"
    + START.to_bytes(8, "big").hex()
    + NODE.hex()
    + "02"
    + (NODE + OTHER_NODE).hex()
    + "fffffffe"
    + "00000000000000c0"
)
_START_HEX = START.to_bytes(8, "big").hex()

#: Each record and every byte of it.
VECTORS: tuple[tuple[Record, str], ...] = (
    (
        StreamListed("live/one", StreamState.RUNNING, "Één", (NODE,), True),
        "1000 00000023 08 6c6976652f6f6e65 01 01 0005 c389c3a96e 01" + NODE.hex(),
    ),
    (StreamListed("a", StreamState.ONDEMAND), "1000 00000007 01 61 02 00 0000 00"),
    (StreamUnlisted("a"), "1100 00000002 01 61"),
    (CatalogueComplete(), "1200 00000000"),
    (Heartbeat(1), "1300 0000000a 0000000000000001 0000"),
    (
        Heartbeat(-1, (Position("a", 2, 3, 4, True, 5),)),
        "1300 0000002b ffffffffffffffff 0001 001f 01 61 0000000000000002 0000000000000003 00000004 01"
        "0000000000000005",
    ),
    (Goodbye(3, "bye"), "1400 00000007 0003 0003 627965"),
    (
        NodeLoad(1, 2, 3, 4, 5, 6),
        "1500 0000001c 00000001 00000002 0000000000000003 0000000000000004 0005 0006",
    ),
    (Pull("a", 2, 3, 4), "2000 00000016 01 61 0000000000000002 0000000000000003 00000004"),
    (PullAccepted("a", RUN, "T", 450_000), "2100 00000058 01 61" + _RUN_HEX + "0001 54 0006ddd0"),
    (
        PullAccepted("a", RunInfo(1, 2, NODE, (), part_duration=18_000), "T", 450_000),
        "2100 0000003c 01 61 0031 0000000000000001 0000000000000002"
        + NODE.hex()
        + "00 00000000 0000000000000000 00004650 0001 54 0006ddd0",
    ),
    (PullRefused(404, "no"), "2200 00000006 0194 0002 6e6f"),
    (SegmentCopy(RUN, b"M4FS"), "2300 00000057" + _RUN_HEX + "00000004 4d344653"),
    (
        SegmentOpen(RUN, SegmentOpening(7, START, True, False, 9, ())),
        "2400 00000065" + _RUN_HEX + "0000000000000007" + _START_HEX + "01 00000009 00",
    ),
    (
        Frames([Frame(1, START + 5, -1, True, b"xy"), Frame(2, START - 1, 0, False, b"z")], START),
        "2500 0000002b"
        + _START_HEX
        + "00000002 01 01 00000005 ffffffff 00000002 02 00 ffffffff 00000000 00000001 7879 7a",
    ),
    (PartClose(1, 2, 3, True), "2600 0000000d 00000001 00000002 00000003 01"),
    (
        SegmentClose(7, 450_000, 0xDEADBEEF, 5),
        "2700 00000018 0000000000000007 0006ddd0 deadbeef 0000000000000005",
    ),
    (RunEnd(8, ""), "2800 0000000a 0000000000000008 0000"),
    (SegmentAsk(7), "2a00 00000008 0000000000000007"),
    (SegmentLacking(7), "2b00 00000008 0000000000000007"),
    (Ping(9), "2900 00000008 0000000000000009"),
    (PushOffer("a/b", "c"), "3000 00000006 03 612f62 01 63"),
    (VodListed("films", (NODE,)), "1800 00000017 05 66696c6d73 01" + NODE.hex()),
    (VodUnlisted("films"), "1900 00000006 05 66696c6d73"),
    (FileAsk(1, "a/é.mp4"), "4000 0000000e 00000001 0008 612fc3a92e6d7034"),
    (
        FileIndexed(1, FileIndex(2, 900_000, (), array("I", (450_000, 90)), array("I", (7, 0)))),
        "4100 00000029 00000001 0000000000000002 00000000000dbba0 00"
        "00000002 0006ddd0 00000007 0000005a 00000000",
    ),
    (FileSegmentAsk(1, "a/b", 2, 3), "4200 00000015 00000001 0003 612f62 0000000000000002 00000003"),
    (FileSegment(1, b"M4FS"), "4300 0000000c 00000001 00000004 4d344653"),
    (FileRefused(1, 404, "no"), "4400 0000000a 00000001 0194 0002 6e6f"),
    (ArchiveAsk(1, "a/b", (NODE,)), "4800 00000019 00000001 03 612f62 01" + NODE.hex()),
    (
        ArchiveHoldings(1, (472_222, 472_223), ((90_000, 180_000),), 7, False),
        "4900 0000002d 00000001 01 0000000000000007 00000002 00000001"
        "0007349e 0007349f 0000000000015f90 000000000002bf20",
    ),
    (ArchiveHourAsk(1, "c", 472_222), "4a00 0000000b 00000001 01 63 00 0007349e"),
    (ArchiveHour(1, b"M4FI"), "4b00 0000000c 00000001 00000004 4d344649"),
    (
        ArchiveSegmentAsk(1, "c", 472_222, 340_000_000, 0x6499_44A6),
        "4c00 00000018 00000001 01 63 00 0007349e 000000001443fd00 649944a6 00",
    ),
    (
        ArchiveSegmentAsk(1, "c", 472_222, 340_000_000, 0x6499_44A6, header=True),
        "4c00 00000018 00000001 01 63 00 0007349e 000000001443fd00 649944a6 01",
    ),
    (
        SessionReport(
            1,
            (
                SessionFacts(
                    session_id="0a" * 16,
                    node_id=NODE.hex(),
                    name="a",
                    proto="hls",
                    ip="::1",
                    opened_at=1,
                    updated_at=2,
                    started_at=3,
                    bytes=4,
                    token_hash="ff",
                    user_id="u",
                    country="RU",
                    ts_delay=5,
                    current_time=6,
                    past=True,
                ),
            ),
            True,
            True,
        ),
        "5800 00000076 "
        "00000001030001006d0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" + NODE.hex() + "01610200000000000000010000"
        "0000000000020000000000000003ffffffffffffffff000000000000000400000000000000060000"
        "000503686c73033a3a310252550266660000017500000000",
    ),
    (
        SessionProgress(1, (Progress("0a" * 16, 2, None, 4, None, 5),)),
        "5900 0000003a "
        "0000000100010a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0000000000000002ffffffffffffffff0000"
        "000000000004ffffffffffffffff00000005",
    ),
    (SessionsTaken(7), "5a00 00000004 00000007"),
    (
        SessionClaim(1, "a", "0a" * 16, "u", 2, None, True),
        "5b00 00000022 0000000101610a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0100000002ffffffff000175",
    ),
    (SessionClaimed(1, True), "5c00 00000005 0000000101"),
    (
        SessionOrder("0a" * 16, Order.END, "kicked"),
        "5d00 00000018 0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a01066b69636b6564",
    ),
)


_OPEN = SegmentOpen(RUN, SegmentOpening(7, START, True, False, 9, ()))


#: Bytes that older nodes do not send at the end of a payload.
OLDER: dict[type, int] = {SegmentClose: 8, NodeLoad: 2, ArchiveSegmentAsk: 1}


def _read(data: bytes) -> list[Record]:
    return RecordReader().receive(data)


def _record(record_type: int, payload: bytes, flags: int = 0) -> bytes:
    return wire.RECORD_HEAD_STRUCT.pack(record_type, flags, len(payload)) + payload


class VectorTests(SynchronousTestCase):
    """The table, in both directions."""

    def test_every_record(self) -> None:
        for record, text in VECTORS:
            data = bytes.fromhex(text)
            self.assertEqual(encode_record(record).hex(), data.hex(), record)
            self.assertEqual(_read(data), [record])

    def test_every_type_has_a_vector(self) -> None:
        seen = {bytes.fromhex(text)[0] for _, text in VECTORS}
        self.assertEqual(seen, {int(number) for number in RecordType if number >= 16})

    def test_descriptions_read_what_the_hot_encoders_wrote(self) -> None:
        heartbeat = Heartbeat(5, (Position("a", 1, 2, 3, True), Position("b/c", 4, 5, 6)))
        described = wire.HEARTBEAT.parse(encode_record(heartbeat)[6:])
        self.assertEqual([p.name for p in described.positions], [b"a", b"b/c"])
        self.assertEqual([p.tail.frame_index for p in described.positions], [3, 6])
        self.assertEqual(wire.HEARTBEAT.build(described), encode_record(heartbeat)[6:])
        frames = Frames([Frame(1, START + 5, -1, True, b"xy")], START)
        frames_read = wire.FRAMES.parse(encode_record(frames)[6:])
        self.assertEqual(list(frames_read.rows), [(1, 1, 5, -1, 2)])
        copied = wire.SEGMENT_COPY.parse(encode_record(SegmentCopy(RUN, b"abc"))[6:])
        self.assertEqual((copied.segment, list(copied.run.path)), (b"abc", list(RUN.path)))
        part = wire.PART_CLOSE.parse(encode_record(PartClose(1, 2, 3, True))[6:])
        self.assertEqual((part.first_frame, part.frame_count, part.duration, part.flags), (1, 2, 3, 1))


class StreamTests(SynchronousTestCase):
    """Many records on one link."""

    @_SETTINGS
    @given(st.data())
    def test_any_records_in_any_fragments(self, data: st.DataObject) -> None:
        sent = data.draw(st.lists(samples.records, max_size=8))
        encoded = b"".join(encode_record(record) for record in sent)
        reader = RecordReader()
        received: list[Record] = []
        for fragment in data.draw(samples.fragments(encoded)):
            received += reader.receive(fragment)
        self.assertEqual(received, sent)
        self.assertEqual(b"".join(encode_record(record) for record in received), encoded)

    def test_byte_by_byte(self) -> None:
        encoded = b"".join(bytes.fromhex(text) for _, text in VECTORS)
        reader = RecordReader()
        received = [record for byte in encoded for record in reader.receive(bytes([byte]))]
        self.assertEqual(received, [record for record, _ in VECTORS])

    def test_bodies_do_not_share_the_readers_buffer(self) -> None:
        reader = RecordReader()
        frames = Frames([Frame(1, START, 0, True, b"abc")], START)
        (first,) = reader.receive(encode_record(frames))
        reader.receive(encode_record(Frames([Frame(1, START, 0, True, b"xyz")], START)))
        self.assertEqual(first, frames)
        assert isinstance(first, Frames)
        self.assertIs(type(first.frames[0].data), bytes)

    @_SETTINGS
    @given(samples.records, st.binary(min_size=1, max_size=20))
    def test_what_follows_the_known_fields_is_ignored(self, record: Record, tail: bytes) -> None:
        encoded = encode_record(record)
        self.assertEqual(_read(_record(encoded[0], encoded[6:] + tail)), [record])

    def test_older_nodes_know_of_no_continuation(self) -> None:
        close = encode_record(SegmentClose(7, 8, 9, 10))[6:]
        self.assertEqual(_read(_record(RecordType.SEGMENT_CLOSE, close[:-8])), [SegmentClose(7, 8, 9, 0)])
        beat = encode_record(Heartbeat(0, (Position("a", 1, 2, 3, True, 4), Position("b", 4, 5, 6))))[6:]
        size = int.from_bytes(beat[10:12], "big")
        older = beat[:10] + (size - 8).to_bytes(2, "big") + beat[12 : 4 + size] + beat[12 + size :]
        self.assertEqual(
            _read(_record(RecordType.HEARTBEAT, older)),
            [Heartbeat(0, (Position("a", 1, 2, 3, True), Position("b", 4, 5, 6)))],
        )
        for fields, told in ((5, (-3, 0)), (6, (-3, 4))):
            run = encode_record(SegmentCopy(RunInfo(1, 2, NODE, (NODE,), -3, 4), b"x"))[6:-5]
            run = run[2:-8] if fields == 5 else run[2:]
            data = len(run).to_bytes(2, "big") + run + b"\0\0\0\1x"
            self.assertEqual(
                _read(_record(RecordType.SEGMENT_COPY, data)),
                [SegmentCopy(RunInfo(1, 2, NODE, (NODE,), *told), b"x")],
            )

    def test_older_nodes_know_of_no_stretch(self) -> None:
        """They tell none, and pass over that of others."""
        told = RunInfo(1, 2, NODE, (NODE,), -3, 4, 0, Stretch(-5, 6, 0xFFFFFFFF))
        data = encode_record(SegmentCopy(told, b"x"))[6:]
        self.assertEqual(_read(_record(RecordType.SEGMENT_COPY, data)), [SegmentCopy(told, b"x")])
        run = data[2:-5]
        older = (len(run) - 20).to_bytes(2, "big") + run[:-20] + b"\0\0\0\1x"
        self.assertEqual(
            _read(_record(RecordType.SEGMENT_COPY, older)),
            [SegmentCopy(RunInfo(1, 2, NODE, (NODE,), -3, 4), b"x")],
        )
        for start, number in ((1 << 62, 6), (-5, 1 << 63)):
            bad = run[:-20] + start.to_bytes(8, "big", signed=True) + number.to_bytes(8, "big") + bytes(4)
            wrong = len(bad).to_bytes(2, "big") + bad + b"\0\0\0\1x"
            self.assertRaises(RemoteProtocolError, _read, _record(RecordType.SEGMENT_COPY, wrong))

    def test_older_nodes_tell_no_rtsp_port(self) -> None:
        load = encode_record(NodeLoad(1, 2, 3, 4, 5, 6))[6:]
        self.assertEqual(_read(_record(RecordType.NODE_LOAD, load[:-2])), [NodeLoad(1, 2, 3, 4, 5, 0)])
        self.assertRaises(RemoteProtocolError, _read, _record(RecordType.NODE_LOAD, load[:-3]))

    def test_run_and_position_may_grow(self) -> None:
        run = wire.RUN_INFO.build({"run_id": 1, "run_start": 2, "ingest_node": NODE, "path": [NODE]})
        grown = (len(run) - 2 + 3).to_bytes(2, "big") + run[2:] + b"new"
        self.assertEqual(
            _read(_record(RecordType.SEGMENT_COPY, grown + b"\0\0\0\1x")),
            [SegmentCopy(RunInfo(1, 2, NODE, (NODE,)), b"x")],
        )
        beat = encode_record(Heartbeat(0, (Position("a", 1, 2, 3), Position("b", 4, 5, 6))))[6:]
        size = int.from_bytes(beat[10:12], "big")
        grown = beat[:10] + (size + 2).to_bytes(2, "big") + beat[12 : 12 + size] + b"??" + beat[12 + size :]
        self.assertEqual(
            _read(_record(RecordType.HEARTBEAT, grown)),
            [Heartbeat(0, (Position("a", 1, 2, 3), Position("b", 4, 5, 6)))],
        )


class UnknownTests(SynchronousTestCase):
    """Types of later versions are skipped by their length."""

    def test_skipped_and_counted_in_any_fragments(self) -> None:
        data = (
            encode_record(Ping(1))
            + _record(200, b"")
            + _record(99, b"\x29" * 300, flags=0xFF)
            + encode_record(Ping(2))
            + _record(31, b"x")
        )
        for step in (1, 2, 5, 7, 100, len(data)):
            reader = RecordReader()
            records: list[Record] = []
            for at in range(0, len(data), step):
                records += reader.receive(data[at : at + step])
            self.assertEqual(records, [Ping(1), Ping(2)])
            self.assertEqual(reader.skipped, 3)

    def test_nothing_of_them_is_kept(self) -> None:
        reader = RecordReader()
        reader.receive(wire.RECORD_HEAD_STRUCT.pack(99, 0, MAX_MEDIA))
        for _ in range(33):
            reader.receive(bytes(1 << 20))
            self.assertEqual(len(reader._buffer), 0)
        self.assertEqual(reader.receive(encode_record(Ping(3))), [Ping(3)])

    def test_unknown_flags_are_ignored(self) -> None:
        self.assertEqual(_read(_record(RecordType.PING, bytes(8), flags=0x80)), [Ping(0)])


class HostileTests(SynchronousTestCase):
    """Whatever comes, L{RemoteProtocolError} or records."""

    def test_a_length_over_the_cap_is_refused_from_the_head_alone(self) -> None:
        for record_type in range(256):
            head = wire.RECORD_HEAD_STRUCT.pack(record_type, 0, 0xFFFFFFFF)
            self.assertRaises(RemoteProtocolError, _read, head)
        for record_type, cap in (
            (RecordType.HEARTBEAT, MAX_CONTROL),
            (RecordType.PULL, MAX_CONTROL),
            (RecordType.SEGMENT_COPY, MAX_MEDIA),
        ):
            reader = RecordReader()
            self.assertEqual(reader.receive(wire.RECORD_HEAD_STRUCT.pack(record_type, 0, cap)), [])
            self.assertRaises(
                RemoteProtocolError, _read, wire.RECORD_HEAD_STRUCT.pack(record_type, 0, cap + 1)
            )

    def test_every_truncation_of_every_payload(self) -> None:
        for record, text in VECTORS:
            payload = bytes.fromhex(text)[6:]
            for size in range(len(payload)):
                if size == len(payload) - OLDER.get(type(record), 0):
                    # That of an older node (StreamTests).
                    continue
                self.assertRaises(RemoteProtocolError, _read, _record(bytes.fromhex(text)[0], payload[:size]))
            self.assertEqual(_read(_record(bytes.fromhex(text)[0], payload)), [record])

    def test_handshake_records_afterwards(self) -> None:
        for record_type in range(16):
            self.assertRaises(RemoteProtocolError, _read, _record(record_type, b""))

    def test_counts_that_lie(self) -> None:
        count = b"\xff\xff\xff\xff"
        for record_type, payload in (
            (RecordType.FRAMES, bytes(8) + count),
            (RecordType.FRAMES, bytes(12)),
            (RecordType.FRAMES, bytes(8) + b"\0\0\0\1" + b"\1\0" + bytes(8) + count),
            (RecordType.FRAMES, bytes(8) + (100_001).to_bytes(4, "big") + bytes(14 * 100_001)),
            (RecordType.HEARTBEAT, bytes(8) + b"\xff\xff"),
            (RecordType.HEARTBEAT, bytes(8) + b"\0\1\0\0"),
            (RecordType.HEARTBEAT, bytes(8) + b"\0\1\0\x17\xff" + b"a" * 300),
            (RecordType.SEGMENT_COPY, encode_record(SegmentCopy(RUN, b""))[6:-4] + count),
            (RecordType.SEGMENT_OPEN, encode_record(_OPEN)[6:-1] + b"\x21" + bytes(400)),
            (RecordType.SEGMENT_OPEN, encode_record(_OPEN)[6:-1] + b"\x01" + count),
            (RecordType.STREAM_LISTED, b"\1a\1\0\0\0\x11" + bytes(16 * 17)),
        ):
            self.assertRaises(RemoteProtocolError, _read, _record(record_type, payload))

    def test_values_out_of_range(self) -> None:
        far = ((1 << 52) + 1).to_bytes(8, "big")
        for record_type, payload in (
            (RecordType.STREAM_LISTED, b"\1a\3\0\0\0\0"),
            (RecordType.STREAM_LISTED, b"\1a\1\0\0\2\xff\xff\0"),
            (
                RecordType.STREAM_LISTED,
                b"\1a\1\0" + (MAX_TEXT + 1).to_bytes(2, "big") + b"t" * (MAX_TEXT + 1) + b"\0",
            ),
            (RecordType.PING, far),
            (RecordType.HEARTBEAT, far + b"\0\0"),
            (RecordType.FRAMES, far + bytes(4)),
            (RecordType.SEGMENT_CLOSE, b"\x80" + bytes(15)),
            (RecordType.PULL, b"\1a" + bytes(8) + b"\x80" + bytes(11)),
        ):
            self.assertRaises(RemoteProtocolError, _read, _record(record_type, payload))

    def test_names_that_are_none(self) -> None:
        for name in (
            b"",
            b"../etc",
            b"a/../b",
            b"a//b",
            b"-a",
            b".a",
            b"a\0",
            b"a\n",
            b"\xc3\xa9",
            b"a/b" * 100,
        ):
            payload = len(name[:255]).to_bytes(1, "big") + name[:255]
            for record_type, rest in (
                (RecordType.STREAM_UNLISTED, b""),
                (RecordType.STREAM_LISTED, b"\1\0\0\0\0"),
                (RecordType.PULL, bytes(20)),
            ):
                self.assertRaises(RemoteProtocolError, _read, _record(record_type, payload + rest))

    def test_a_track_of_unknown_kind_does_not_come_live(self) -> None:
        opening = SegmentOpening(7, START, True, False, 9, (samples.AUDIO,))
        data = bytearray(encode_record(SegmentOpen(RUN, opening)))
        at = data.index(b"mp4a")
        data[at - 1] = 9
        self.assertRaises(RemoteProtocolError, _read, bytes(data))

    def test_a_catalogue_without_end(self) -> None:
        entry = encode_record(StreamListed("a", StreamState.RUNNING))
        reader = RecordReader()
        # More names than a list has are no reason to end the link: whoever keeps the list passes them over.
        self.assertEqual(len(reader.receive(entry * (MAX_LISTED + 1))), MAX_LISTED + 1)
        large = encode_record(StreamListed("a" * 255, StreamState.RUNNING, "t" * 1024, tuple([NODE] * 16)))
        reader = RecordReader()
        fitting = MAX_CATALOGUE // len(large)
        self.assertGreaterEqual(fitting, MAX_LISTED)
        for _ in range(fitting):
            reader.receive(large)
        self.assertRaises(RemoteProtocolError, reader.receive, large)

    def test_changes_after_the_catalogue_are_not_counted(self) -> None:
        reader = RecordReader()
        reader.receive(encode_record(CatalogueComplete()))
        entry = encode_record(StreamListed("a", StreamState.RUNNING))
        self.assertEqual(len(reader.receive(entry * 10_001)), 10_001)

    @_SETTINGS
    @given(st.sampled_from(list(RecordType)), st.binary(max_size=120), st.integers(0, 255))
    def test_garbage_payloads(self, record_type: int, payload: bytes, flags: int) -> None:
        try:
            _read(_record(record_type, payload, flags))
        except RemoteProtocolError:
            pass

    @_SETTINGS
    @given(st.data())
    def test_garbage_gives_the_same_records_and_end_in_any_fragments(self, data: st.DataObject) -> None:
        good = data.draw(st.lists(samples.records, max_size=3))
        encoded = b"".join(encode_record(record) for record in good) + data.draw(st.binary(max_size=60))
        outcomes = []
        for pieces in ([bytes([byte]) for byte in encoded], data.draw(samples.fragments(encoded))):
            reader = RecordReader()
            records: list[Record] = []
            failed = False
            for piece in pieces:
                try:
                    records += reader.receive(piece)
                except RemoteProtocolError:
                    failed = True
                    break
            outcomes.append((records, failed))
        (bytewise, failed), (cut, also) = outcomes
        self.assertEqual(failed, also)
        self.assertEqual(cut, bytewise[: len(cut)])
        if not failed:
            self.assertEqual(cut, bytewise)

    @_SETTINGS
    @given(st.data())
    def test_damaged_records(self, data: st.DataObject) -> None:
        damaged = bytearray(encode_record(data.draw(samples.records)))
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        try:
            _read(bytes(damaged))
        except RemoteProtocolError:
            pass


class LocalTests(SynchronousTestCase):
    """What we cannot say."""

    def test_values_that_do_not_fit(self) -> None:
        node17 = tuple([NODE] * 17)
        for record in (
            StreamListed("../a", StreamState.RUNNING),
            StreamListed("a", StreamState.RUNNING, "", node17),
            StreamListed("a", StreamState.RUNNING, "", (b"short",)),
            StreamUnlisted(""),
            Goodbye(1 << 16),
            Goodbye(-1),
            PullRefused(1 << 16),
            Pull("a", -1),
            Pull("a", 0, 0, 1 << 32),
            SegmentCopy(RunInfo(1 << 64, 0, NODE, ()), b""),
            SegmentCopy(RunInfo(0, 0, b"", ()), b""),
            SegmentCopy(RUN, bytes(32 * 1024 * 1024 + 1)),
            SegmentOpen(RUN, SegmentOpening(-1, 0, True, True, 0, ())),
            Frames([Frame(1, START + (1 << 31), 0, True, b"")], START),
            Frames([], START),
            Frames([Frame(256, START, 0, True, b"")], START),
            Frames([Frame(1, START, 0, True, bytes(MAX_MEDIA))], START),
            PartClose(-1, 0, 0, True),
            SegmentClose(0, 1 << 32, 0),
            RunEnd(-1),
            Ping(1 << 63),
            Heartbeat(0, (Position("a" * 255, 0, 0, 0),) * 300),
        ):
            self.assertRaises(LocalProtocolError, encode_record, record)

    def test_long_texts_are_cut_between_characters(self) -> None:
        (record,) = _read(encode_record(Goodbye(1, "x" + "é" * 1000)))
        self.assertEqual(record, Goodbye(1, "x" + "é" * 511))
        (record,) = _read(encode_record(Goodbye(1, "\ud800")))
        self.assertEqual(record, Goodbye(1, "?"))


class HeartbeatTests(SynchronousTestCase):
    """Positions of more streams than one record takes."""

    def test_split_without_loss(self) -> None:
        positions = [Position(f"stream-{index:0100}", index, index, index) for index in range(2_000)]
        beats = heartbeats(5, positions)
        self.assertGreater(len(beats), 3)
        self.assertEqual([p for beat in beats for p in beat.positions], positions)
        for beat in beats:
            self.assertEqual(_read(encode_record(beat)), [beat])

    def test_none(self) -> None:
        self.assertEqual(heartbeats(5, []), [Heartbeat(5, ())])
