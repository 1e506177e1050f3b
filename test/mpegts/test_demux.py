"""MPEG-TS in: whatever the cutting and the damage, the frames of what is whole, and no other exception."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import RemoteProtocolError
from restreamer.media.announce import NewTracks
from restreamer.media.frame import Frame
from restreamer.media.h264 import avcc_from_sets, split_nals
from restreamer.media.track import Tracks
from restreamer.media.video_units import H264Units
from restreamer.mpegts.demux import TsDemux
from restreamer.mpegts.live_muxer import MpegTsFeedMuxer
from restreamer.mpegts.packet import PacketWriter
from restreamer.mpegts.packet_finder import MAX_WITHOUT
from restreamer.mpegts.pes import pes_header
from restreamer.mpegts.pes_reader import MAX_PES
from restreamer.mpegts.psi import ProgramStream, crc32_mpeg, pat_section, pmt_body, pmt_section
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.testing.media import START, aac_track, h264_track, make_frames, mp3_track, video_frames
from test.media.test_h264 import baseline_sps, timing
from test.media.test_latm import FIRST, NEXT, RAW_FIRST, RAW_NEXT
from test.media.test_paired_units import PPS, picture, sps

BOTH: Tracks = (h264_track(), aac_track())
MASK = (1 << 33) - 1
FRAMES = make_frames(3.0)
STREAM = mux_segment(BOTH, FRAMES)

Fact = tuple[int, int, int, bool, int]


def facts(frames: Sequence[Frame]) -> list[Fact]:
    """What must be equal of C{frames}, times modulo 2**33, track by track."""
    found = [(f.track_id, f.dts & MASK, f.cts, f.key, crc32(f.data)) for f in frames]
    return sorted(found, key=lambda fact: fact[0])


def read(*pieces: bytes, demux: TsDemux | None = None) -> tuple[list[Tracks], list[Frame]]:
    """Tables and frames of C{pieces}."""
    demux = demux or TsDemux()
    out = [output for piece in pieces for output in demux.receive(piece)] + demux.flush()
    tables = [output.tracks for output in out if isinstance(output, NewTracks)]
    return tables, [output for output in out if isinstance(output, Frame)]


def live(tracks: Tracks, frames: Sequence[Frame], muxer: MpegTsFeedMuxer | None = None) -> bytes:
    """The live form."""
    muxer = muxer or MpegTsFeedMuxer()
    muxer.configure(tracks, frames[0].dts, False)
    return b"".join(muxer.mux(frame) for frame in frames)


def packets(data: bytes) -> list[bytes]:
    return [data[at : at + 188] for at in range(0, len(data), 188)]


def pid_of(packet: bytes | bytearray) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


class Reading(SynchronousTestCase):
    def test_segment_and_live_form(self) -> None:
        for data in (STREAM, live(BOTH, FRAMES)):
            tables, frames = read(data)
            self.assertEqual(len(tables), 1)
            self.assertEqual([t.codec for t in tables[0]], ["avc1", "mp4a"])
            self.assertEqual(tables[0][0].config, BOTH[0].config)
            self.assertEqual(tables[0][1].config, BOTH[1].config)
            self.assertEqual(facts(frames), facts(FRAMES))

    @settings(deadline=None, max_examples=40, derandomize=True)
    @given(st.lists(st.integers(0, len(STREAM)), max_size=12))
    def test_however_it_is_cut(self, cuts: list[int]) -> None:
        pieces = [STREAM[a:b] for a, b in pairwise([0, *sorted(cuts), len(STREAM)])]
        self.assertEqual(read(*pieces), read(STREAM))

    def test_byte_by_byte(self) -> None:
        data = STREAM[: 188 * 60]
        self.assertEqual(read(*(data[at : at + 1] for at in range(len(data)))), read(data))

    def test_packets_of_204_and_192_bytes(self) -> None:
        longer = b"".join(packet + b"\x47" * 16 for packet in packets(STREAM))
        clocked = b"".join(b"\x00\x01\x02\x03" + packet for packet in packets(STREAM))
        for data in (longer, clocked):
            for size in (1000, 188, 204):
                pieces = [data[at : at + size] for at in range(0, len(data), size)]
                self.assertEqual(facts(read(*pieces)[1]), facts(FRAMES))

    def test_the_clock_wraps(self) -> None:
        start = (START >> 33 << 33) + (1 << 33) - 90_000
        frames = make_frames(3.0, start=start)
        _, got = read(live(BOTH, frames))
        self.assertEqual(facts(got), facts(frames))
        for track_id in (1, 2):
            steps = [b.dts - a.dts for a, b in pairwise(f for f in got if f.track_id == track_id)]
            self.assertTrue(all(0 < step < 4000 for step in steps))

    def test_a_jump_of_the_clock_stays_a_jump(self) -> None:
        muxer = MpegTsFeedMuxer()
        first, second = make_frames(1.0), make_frames(1.0, start=START + 50_000_000)
        _, got = read(live(BOTH, first, muxer) + live(BOTH, second, muxer))
        self.assertEqual(len(got), len(first) + len(second))
        self.assertEqual(got[-1].dts - got[0].dts, second[-1].dts - first[0].dts)
        _, got = read(live(BOTH, second) + live(BOTH, first))
        self.assertLess(got[-1].dts, got[0].dts)

    def test_pictures_are_waited_for(self) -> None:
        """Joined in the middle of a GOP: one table, with both."""
        muxer = MpegTsFeedMuxer()
        frames = make_frames(8.0, gop=100)
        data = live(BOTH, frames, muxer)
        at = len(live(BOTH, frames[:20]))
        tables, got = read(data[at:])
        self.assertEqual([[t.codec for t in table] for table in tables], [["avc1", "mp4a"]])
        video = [frame for frame in got if frame.track_id == 1]
        self.assertTrue(video[0].key)
        rest = [frame for frame in frames[20:] if frame.track_id == 1]
        while not rest[0].key:
            del rest[0]
        self.assertEqual(facts(video), facts(rest))

    def test_pictures_that_never_come_are_not_waited_for_for_ever(self) -> None:
        frames = [
            frame for frame in make_frames(14.0, video_bitrate=50_000) if not frame.key or frame.track_id == 2
        ]
        tables, got = read(live(BOTH, frames))
        self.assertEqual([[t.codec for t in table] for table in tables], [["mp4a"]])
        self.assertGreater(len(got), 100)


class Tables(SynchronousTestCase):
    def test_a_track_comes_and_goes(self) -> None:
        muxer = MpegTsFeedMuxer()
        data = b""
        begin = START
        for tracks in (BOTH, BOTH[:1], BOTH, (h264_track(), mp3_track())):
            ids = {track.track_id for track in tracks}
            frames = [f for f in make_frames(1.0, start=begin) if f.track_id in ids]
            if tracks[-1].codec == ".mp3":
                frame = b"\xff\xfb\x94\x64" + bytes(380)
                frames = [f if f.track_id == 1 else Frame(2, f.dts, 0, True, frame) for f in frames]
            data += live(tracks, frames, muxer)
            begin += 90_000
        tables, got = read(data)
        self.assertEqual(
            [[(t.track_id, t.codec) for t in table] for table in tables],
            [
                [(1, "avc1"), (2, "mp4a")],
                [(1, "avc1")],
                [(1, "avc1"), (2, "mp4a")],
                [(1, "avc1"), (2, ".mp3")],
            ],
        )
        self.assertEqual(len([f for f in got if f.track_id == 1]), 100)

    def test_languages_and_order(self) -> None:
        lines = [
            ProgramStream(stream_type=0x0F, pid=0x300, language="deu"),
            ProgramStream(stream_type=0x1B, pid=0x301),
        ]
        demux = TsDemux()
        demux.receive(PacketWriter(0).section(pat_section()) * 2)
        demux.receive(PacketWriter(0x1000).section(pmt_section(pmt_body(0x301, lines), 0)) * 4)
        assert demux.program is not None
        self.assertEqual(
            [(s.pid, s.language, s.video) for s in demux.program.streams],
            [(0x300, "deu", False), (0x301, "und", True)],
        )

    def test_many_programs(self) -> None:
        """The first that can be read, of 64; programs without streams we know are passed over."""
        body = b"".join(n.to_bytes(2, "big") + (0xE000 | 0x100 + n).to_bytes(2, "big") for n in range(1, 65))
        size = 5 + len(body) + 4
        head = bytes((0,)) + (0xB000 | size).to_bytes(2, "big") + b"\x00\x01\xc1\x00\x00" + body
        pat = head + crc32_mpeg(head).to_bytes(4, "big")
        data = PacketWriter(0).section(pat)
        data += PacketWriter(0x101).section(
            _numbered(1, pmt_body(0x500, [ProgramStream(stream_type=0x86, pid=0x500)]))
        )
        data += PacketWriter(0x102).section(
            _numbered(2, pmt_body(0x601, [ProgramStream(stream_type=0x1B, pid=0x601)]))
        )
        data += PacketWriter(0x103).section(
            _numbered(3, pmt_body(0x701, [ProgramStream(stream_type=0x1B, pid=0x701)]))
        )
        demux = TsDemux()
        demux.receive(data + b"\x47\x1f\xff\x10" + bytes(184))
        assert demux.program is not None
        self.assertEqual(demux.program.number, 2)

    def test_a_bad_checksum_and_a_table_of_later(self) -> None:
        body = pmt_body(0x101, [ProgramStream(stream_type=0x1B, pid=0x101)])
        good = bytearray(pmt_section(body, 0))
        later = bytearray(good)
        later[5] &= 0xFE
        later[-4:] = crc32_mpeg(bytes(later[:-4])).to_bytes(4, "big")
        bad = bytearray(good)
        bad[-1] ^= 1
        for section in (later, bad):
            demux = TsDemux()
            demux.receive(PacketWriter(0).section(pat_section()))
            demux.receive(PacketWriter(0x1000).section(bytes(section)) * 4)
            self.assertIsNone(demux.program)

    def test_a_map_on_the_pid_of_the_pat(self) -> None:
        """Tables that name each other do not loop."""
        body = (1).to_bytes(2, "big") + (0xE000).to_bytes(2, "big")
        head = bytes((0,)) + (0xB000 | 5 + len(body) + 4).to_bytes(2, "big") + b"\x00\x01\xc1\x00\x00" + body
        pat = head + crc32_mpeg(head).to_bytes(4, "big")
        demux = TsDemux()
        self.assertEqual(demux.receive(PacketWriter(0).section(pat) * 20), [])
        self.assertIsNone(demux.program)


def _numbered(number: int, body: bytes) -> bytes:
    section = bytearray(pmt_section(body, 0))
    section[3:5] = number.to_bytes(2, "big")
    section[-4:] = crc32_mpeg(bytes(section[:-4])).to_bytes(4, "big")
    return bytes(section)


class Damage(SynchronousTestCase):
    def test_lost_packets_are_counted_and_cost_their_units_only(self) -> None:
        rows = packets(STREAM)
        video = [
            at for at, row in enumerate(rows) if pid_of(row) == 0x101 and row[3] & 0x10 and not row[1] & 0x40
        ]
        lost = video[len(video) // 2]
        demux = TsDemux()
        _, got = read(b"".join(rows[:lost] + rows[lost + 1 :]), demux=demux)
        self.assertEqual(demux.counters.continuity, 1)
        self.assertEqual(len(got), len(FRAMES) - 1)
        self.assertEqual(demux.bad_units, 1)

    def test_what_is_counted(self) -> None:
        """Other tables, and what went with PIDs that are not read any more, is counted too."""
        rows = packets(STREAM)
        demux = TsDemux()
        demux.receive(STREAM)
        self.assertEqual(set(demux.counted().named().values()), {0})
        table = bytearray(next(row for row in rows if pid_of(row) not in (0, 17, 0x101, 0x202)))

        for number in range(2):
            other = live(BOTH if number else BOTH[1:], FRAMES[:60])
            demux.receive(other)
        table[-1] ^= 0xFF
        table[20] ^= 0xFF
        demux.receive(bytes(table) + b"?" * 400 + STREAM)
        told = demux.counted().named()
        self.assertGreaterEqual(told["ts_pmt_changes"], 2)
        self.assertEqual((told["errors_ts_psi"], told["errors_desync"]), (1, 1))
        before = demux.counted()
        demux.boundary()
        self.assertEqual(demux.counted().desync, before.desync)

    def test_a_repeated_packet_counts_once(self) -> None:
        rows = packets(STREAM)
        at = next(
            at for at, row in enumerate(rows) if at > 50 and pid_of(row) == 0x101 and row[3] & 0x30 == 0x10
        )
        demux = TsDemux()
        _, got = read(b"".join([*rows[: at + 1], rows[at], *rows[at + 1 :]]), demux=demux)
        self.assertEqual((facts(got), demux.counters.continuity), (facts(FRAMES), 0))

    def test_other_bytes_between_packets(self) -> None:
        rows = packets(STREAM)
        junk = random.Random(1).randbytes(500)
        data = b"".join(rows[:100]) + junk + b"".join(rows[100:])
        demux = TsDemux()
        _, got = read(junk + data, demux=demux)
        self.assertGreater(len(got), len(FRAMES) - 4)
        self.assertGreaterEqual(demux.losses, 1)

    def test_damaged_and_scrambled_packets(self) -> None:
        rows = [bytearray(row) for row in packets(STREAM)]
        audio = [row for row in rows if pid_of(row) == 0x202]
        for row in audio[::2]:
            row[1] |= 0x80
        for row in audio[1::2]:
            row[3] |= 0x80
        demux = TsDemux()
        tables, got = read(b"".join(rows), demux=demux)
        self.assertEqual({frame.track_id for frame in got}, {1})
        self.assertEqual(len(tables), 1)
        self.assertEqual(demux.counters.damaged + demux.counters.scrambled, len(audio))

    def test_an_adaptation_field_that_is_too_long(self) -> None:
        row = bytes((0x47, 0x41, 0x01, 0x30, 200)) + bytes(183)
        demux = TsDemux()
        _, got = read(STREAM[: 188 * 40] + row + STREAM[188 * 40 :], demux=demux)
        self.assertEqual((facts(got), demux.counters.damaged), (facts(FRAMES), 1))

    def test_parameter_sets_nobody_can_read(self) -> None:
        """Row C01: of what cannot be read the size is unknown, and the pictures pass, in and out again."""
        bad = {
            "exp-golomb of zeros": b"\x67\x42\xc0\x1e" + bytes(32) + b"\x80",
            "too wide": baseline_sps(across=4096),
            "too high": baseline_sps(down=65_536),
            "references": baseline_sps(refs=2**32 - 2),
            "crop": baseline_sps(crop=(100, 100, 0, 0)),
            "time 0": baseline_sps(timing=timing(0, 0)),
        }
        for name, sps_nal in bad.items():
            with self.subTest(name):
                config = avcc_from_sets([sps_nal], [PPS])
                track = evolve(h264_track(), config=config)
                tables, got = read(mux_segment((track,), [f for f in FRAMES if f.track_id == 1]))
                (told,) = tables[0]
                self.assertEqual(told.frame_rate, 0)
                self.assertEqual(bool(told.width), name == "time 0")
                self.assertEqual(len(got), len([f for f in FRAMES if f.track_id == 1]))
                self.assertEqual(got[0].data, FRAMES[0].data)
                again, _ = read(mux_segment((told,), got))
                self.assertEqual(again, tables)
        self.assertEqual(H264Units(1).unit([b"\x67", PPS, FRAMES[0].data[4:]]), None, "no set at all")

    def test_a_unit_without_end(self) -> None:
        """PES packets are held up to a bound."""
        demux = TsDemux()
        demux.receive(STREAM[: 188 * 40])
        writer = PacketWriter(0x101)
        frame = video_frames(0.04, start=START)[0]
        head = pes_header(0xE0, frame.dts, 0, 1 << 20)
        data = writer.write(head, bytes(MAX_PES + 100_000))
        before = demux.bad_units
        for at in range(0, len(data), 188 * 1000):
            demux.receive(data[at : at + 188 * 1000])
        self.assertGreater(demux.bad_units, before)

    def test_no_transport_stream(self) -> None:
        demux = TsDemux()
        with self.assertRaises(RemoteProtocolError):
            for _ in range(MAX_WITHOUT // 1000 + 2):
                demux.receive(b"<html></html>" * 100)

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(st.integers(0, 1 << 30))
    def test_flipped_bits_never_raise(self, seed: int) -> None:
        chance = random.Random(seed)
        data = bytearray(STREAM[: 188 * 200])
        for _ in range(chance.randrange(1, 60)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(data))
            del data[at : at + chance.randrange(400)]
        tables, frames = read(bytes(data))
        known = {track.track_id for table in tables for track in table}
        self.assertTrue(all(frame.track_id in known and frame.data for frame in frames))

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(st.binary(max_size=184), st.integers(0, 3), st.booleans())
    def test_any_payload_never_raises(self, payload: bytes, where: int, begins: bool) -> None:
        pid = (0x000, 0x1000, 0x101, 0x202)[where]
        row = bytes((0x47, pid >> 8 | (0x40 if begins else 0), pid & 0xFF, 0x10)) + payload.ljust(
            184, b"\xff"
        )
        read(STREAM[: 188 * 40] + row * 3 + STREAM[188 * 40 : 188 * 80])


def video_stream(units: list[tuple[int, int, list[bytes]]]) -> bytes:
    """Of PES packets: PTS (-1: none), DTS and NAL units."""
    table = PacketWriter(0), PacketWriter(0x1000), PacketWriter(0x101)
    streams = (ProgramStream(stream_type=0x1B, pid=0x101),)
    data = table[0].write(b"\x00", pat_section())
    data += table[1].write(b"\x00", pmt_section(pmt_body(0x101, streams), 0))
    for pts, dts, nals in units:
        body = b"".join(b"\x00\x00\x00\x01" + each for each in nals)
        head = bytes.fromhex("000001e00000800000")
        if pts >= 0:
            head = pes_header(0xE0, dts, pts - dts, len(body))
        data += table[2].write(head, body)
    return data


def latm_stream() -> bytes:
    """AAC in LATM; an element lies in two PES packets."""
    table = PacketWriter(0), PacketWriter(0x1000), PacketWriter(0x101)
    streams = (ProgramStream(stream_type=0x11, pid=0x101, language="deu"),)
    data = table[0].write(b"\x00", pat_section())
    data += table[1].write(b"\x00", pmt_section(pmt_body(0x101, streams), 0))
    for number, body in enumerate((FIRST + NEXT[:5], NEXT[5:] + NEXT * 2, NEXT * 3)):
        data += table[2].write(pes_header(0xC0, 900_000 + number * 6000, 0, len(body)), body)
    return data


class Fields(SynchronousTestCase):
    """Fields of H.264 as access units of their own: each pair is one frame."""

    KEY = (b"\x09\x10", sps(), PPS, picture(0, "t", idr=True))

    def check(self, packets: list[tuple[int, int, list[bytes]]]) -> None:
        _, frames = read(video_stream(packets))
        self.assertEqual([(f.dts, f.cts, f.key) for f in frames[:2]], [(0, 7200, True), (3600, 7200, False)])
        self.assertEqual([f.dts for f in frames], [3600 * at for at in range(len(frames))])
        self.assertEqual([len(split_nals(f.data)) for f in frames], [2] * len(frames))

    def fields(self, number: int) -> tuple[list[bytes], list[bytes]]:
        first = [*self.KEY] if not number else [b"\x09\x30", picture(number, "t")]
        return first, [b"\x09\x30", picture(number, "b")]

    def test_times_of_their_own(self) -> None:
        packets = []
        for number in range(6):
            first, second = self.fields(number)
            dts = 3600 * number
            packets += [(dts + 7200, dts, first), (dts + 9000, dts + 1800, second)]
        self.check(packets)

    def test_one_packet_for_both(self) -> None:
        self.check(
            [(3600 * at + 7200, 3600 * at, [*first, *second]) for at, (first, second) in self.numbered()]
        )

    def test_one_delimiter_for_both(self) -> None:
        self.check(
            [(3600 * at + 7200, 3600 * at, [*first, *second[1:]]) for at, (first, second) in self.numbered()]
        )

    def test_no_time_for_the_second(self) -> None:
        packets = []
        for at, (first, second) in self.numbered():
            packets += [(3600 * at + 7200, 3600 * at, first), (-1, -1, second)]
        self.check(packets)

    def test_hardly_any_time(self) -> None:
        """Only some first fields have one."""
        packets = []
        for at, (first, second) in self.numbered():
            times = (3600 * at + 7200, 3600 * at) if at < 3 else (-1, -1)
            packets += [(*times, first), (-1, -1, second)]
        _, frames = read(video_stream(packets))
        self.assertEqual([f.dts for f in frames], [3600 * at for at in range(6)])

    def test_a_lost_field(self) -> None:
        packets = []
        for at, (first, second) in self.numbered():
            packets += [(3600 * at + 7200, 3600 * at, first), (3600 * at + 9000, 3600 * at + 1800, second)]
        for lost, count in ((5, 6), (6, 6)):
            _, frames = read(video_stream(packets[:lost] + packets[lost + 1 :]))
            self.assertEqual(len(frames), count)
            self.assertEqual(sorted(len(split_nals(f.data)) for f in frames), [1, 2, 2, 2, 2, 2])

    def numbered(self) -> list[tuple[int, tuple[list[bytes], list[bytes]]]]:
        return [(number, self.fields(number)) for number in range(6)]


class Latm(SynchronousTestCase):
    def test_a_stream_of_latm(self) -> None:
        """stream_type 0x11: the frames that ADTS would have, and elements in two packets are whole."""
        tables, frames = read(latm_stream())
        self.assertEqual([(t.codec, t.language, t.sample_rate) for t in tables[0]], [("mp4a", "deu", 44_100)])
        self.assertEqual([frame.data for frame in frames], [RAW_FIRST, *[RAW_NEXT] * 6])
        self.assertEqual(frames[0].dts, 900_000)
