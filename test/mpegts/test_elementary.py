"""Tests of L{restreamer.mpegts.elementary}: every codec through the muxer, a reader and the assemblers."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.ac3 import ac3_track
from restreamer.media.assemble import (
    Ac3Frames,
    AdtsFrames,
    H264Units,
    HevcUnits,
    Mpeg2Units,
    MpegAudioFrames,
    OpusFrames,
)
from restreamer.media.av1 import av1_track, av1c_from_sequence_header
from restreamer.media.frame import Frame
from restreamer.media.h264 import split_annexb
from restreamer.media.hevc import hevc_track
from restreamer.media.mp3 import mpeg_audio_track
from restreamer.media.mpeg2 import mpeg2_track
from restreamer.media.opus import dops_for_channels, opus_track
from restreamer.media.track import Track, TrackKind
from restreamer.mpegts.elementary import elementary_form
from restreamer.mpegts.live_muxer import MpegTsFeedMuxer
from restreamer.mpegts.program import program_of
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.testing.media import START, aac_track, h264_track, pattern
from restreamer.testing.ts_reader import TsReader, read_ts
from test.media import test_ac3, test_av1, test_hevc, test_plain_codecs

FRAMES = 40
Audio = Callable[[], AdtsFrames | MpegAudioFrames | Ac3Frames | OpusFrames]


def filler(size: int) -> bytes:
    return pattern(7 * size, size)


def _h264(number: int) -> bytes:
    body = (b"\x65" if number % 10 == 0 else b"\x41") + filler(300 + 17 * number)
    return len(body).to_bytes(4, "big") + body


def _hevc(number: int) -> bytes:
    body = (b"\x26\x01" if number % 10 == 0 else b"\x02\x01") + filler(200 + 13 * number)
    return len(body).to_bytes(4, "big") + body


def _mpeg2(number: int) -> bytes:
    if number % 10:
        return test_plain_codecs.P_PICTURE + filler(100 + number)
    return test_plain_codecs.SEQUENCE + test_plain_codecs.I_PICTURE + filler(300)


def _mp2(number: int) -> bytes:
    return bytes.fromhex("fffde404") + filler(1148)


def _ac3(number: int) -> bytes:
    return test_ac3.STEREO[:100] + filler(668)


def _eac3(number: int) -> bytes:
    return test_ac3.enhanced(0, 0, 400 + 2 * number) + test_ac3.enhanced(
        1, 0, 200, acmod=2, more=test_ac3.SIDE_PAIR
    )


def _opus(number: int) -> bytes:
    return b"\xfc" + filler(29 + 25 * number)


def _aac(number: int) -> bytes:
    return filler(100 + number)


#: Track, frames, ticks between them, stream_type, stream_id, descriptors in the PMT.
VIDEO: list[tuple[Track, Callable[[int], bytes], int, int, str]] = [
    (h264_track(), _h264, 3600, 0x1B, ""),
    (hevc_track(1, test_hevc.RECORD), _hevc, 3600, 0x24, "050448455643"),
    (mpeg2_track(1, test_plain_codecs.SEQUENCE), _mpeg2, 3600, 0x02, ""),
]
AUDIO: list[tuple[Track, Callable[[int], bytes], int, int, int, str, Audio]] = [
    (aac_track(), _aac, 1920, 0x0F, 0xC0, "", lambda: AdtsFrames(2)),
    (mpeg_audio_track(2, _mp2(0)), _mp2, 2160, 0x03, 0xC0, "", lambda: MpegAudioFrames(2)),
    (ac3_track(2, _ac3(0)), _ac3, 2880, 0x81, 0xBD, "050441432d33", lambda: Ac3Frames(2)),
    (ac3_track(2, _eac3(0)), _eac3, 2880, 0x87, 0xBD, "050445414333", lambda: Ac3Frames(2)),
    (
        opus_track(2, dops_for_channels(2)),
        _opus,
        1800,
        0x06,
        0xBD,
        "05044f7075737f028002",
        lambda: OpusFrames(2),
    ),
]


def frames_of(track: Track, make: Callable[[int], bytes], step: int) -> list[Frame]:
    video = track.kind is TrackKind.VIDEO
    return [
        Frame(
            track.track_id,
            START + step * number,
            step * (number % 3) if video else 0,
            not video or number % 10 == 0,
            make(number),
        )
        for number in range(FRAMES)
    ]


def segments(frames: list[Frame]) -> list[list[Frame]]:
    return [frames[at : at + 10] for at in range(0, FRAMES, 10)]


class SegmentTests(SynchronousTestCase):
    """Every codec in segments and live: what is read is what was muxed."""

    def check(self, track: Track, data: bytes, frames: list[Frame], stream_type: int) -> TsReader:
        pid = (0x100 if track.kind is TrackKind.VIDEO else 0x200) + track.track_id
        reader = read_ts(data)
        self.assertEqual(reader.streams, {pid: stream_type})
        units = reader.of(pid)
        mask = (1 << 33) - 1
        self.assertEqual(
            [(pes.dts & mask, pes.pts & mask) for pes in units],
            [(frame.dts & mask, frame.pts & mask) for frame in frames],
        )
        return reader

    def test_video(self) -> None:
        for track, make, step, stream_type, _ in VIDEO:
            frames = frames_of(track, make, step)
            data = b"".join(mux_segment((track,), part) for part in segments(frames))
            muxer = MpegTsFeedMuxer("t")
            muxer.configure((track,), START, False)
            live = b"".join(map(muxer.mux, frames))
            for muxed in (data, live):
                reader = self.check(track, muxed, frames, stream_type)
                units: H264Units | HevcUnits | Mpeg2Units
                if track.codec == "mp2v":
                    units = Mpeg2Units(1)
                    found = [units.unit(pes.payload) for pes in reader.of(0x101)]
                else:
                    units = H264Units(1) if track.codec == "avc1" else HevcUnits(1)
                    found = [units.unit(split_annexb(pes.payload)) for pes in reader.of(0x101)]
                self.assertEqual(
                    [(unit.data, unit.key) for unit in found if unit is not None],
                    [(frame.data, frame.key) for frame in frames],
                )
                self.assertEqual(units.track and units.track.config, track.config)
                self.assertEqual([pes.key for pes in reader.of(0x101)], [frame.key for frame in frames])

    def test_audio(self) -> None:
        for track, make, step, stream_type, _, _, assembler in AUDIO:
            frames = frames_of(track, make, step)
            data = b"".join(mux_segment((evolve(track, track_id=2),), part) for part in segments(frames))
            reader = self.check(track, data, frames, stream_type)
            for count in reader.payload_packets.values():
                self.assertEqual(count % 16, 0)
            found = assembler()
            got = [each for pes in reader.of(0x202) for each in found.frames(pes.payload)]
            self.assertEqual(got, [(frame.data, 0) for frame in frames])
            self.assertEqual(found.lost, 0)

    def test_stream_ids(self) -> None:
        for track, make, step, _, stream_id, _, _ in AUDIO:
            form = elementary_form(track)
            assert form is not None
            program = program_of((track,), "")
            self.assertEqual(program.streams[2].stream_id, stream_id)
            head, _, _ = form.unit(frames_of(track, make, step)[0], stream_id)
            self.assertEqual(head[:4], b"\x00\x00\x01" + bytes((stream_id,)))

    def test_descriptors(self) -> None:
        """The codec's descriptors, then the language (sections 2.6.8, 2.6.18)."""
        rows = [(track, kind, text) for track, _, _, kind, text in VIDEO]
        rows += [(track, kind, text) for track, _, _, kind, _, text, _ in AUDIO]
        for track, kind, text in rows:
            for language, more in (("und", ""), ("deu", "0a0464657500")):
                body = program_of((evolve(track, language=language),), "").pmt_body
                expected = bytes.fromhex(text + more)
                self.assertEqual(body[4], kind)
                self.assertEqual(body[7:9], (0xF000 | len(expected)).to_bytes(2, "big"))
                self.assertEqual(body[9:], expected)

    def test_several_audio_tracks(self) -> None:
        tracks = (
            hevc_track(1, test_hevc.RECORD),
            *(
                evolve(row[0], track_id=2 + number, language=("eng", "fra", "deu", "spa", "ita")[number])
                for number, row in enumerate(AUDIO)
            ),
        )
        frames = frames_of(tracks[0], _hevc, 3600)
        for number, (_, make, step, *_) in enumerate(AUDIO):
            frames += frames_of(tracks[1 + number], make, step)
        frames.sort(key=lambda frame: (frame.dts, frame.track_id))
        reader = read_ts(mux_segment(tracks, frames))
        self.assertEqual(
            reader.streams, {0x101: 0x24, 0x202: 0x0F, 0x203: 0x03, 0x204: 0x81, 0x205: 0x87, 0x206: 0x06}
        )
        for pid in reader.streams:
            self.assertEqual(len(reader.of(pid)), FRAMES)


class FormTests(SynchronousTestCase):
    """One access unit."""

    def unit(self, track: Track, data: bytes, key: bool = True) -> bytes:
        form = elementary_form(track)
        assert form is not None
        head, body, at = form.unit(Frame(track.track_id, START, 0, key, data), 0xE0)
        return (head + body[at:])[14:]

    def test_hevc(self) -> None:
        track = hevc_track(1, test_hevc.RECORD)
        start = b"\x00\x00\x00\x01"
        delimiter = start + b"\x46\x01\x50"
        sets = b"".join(start + each for each in (test_hevc.VPS, test_hevc.SPS, test_hevc.PPS))
        idr = b"\x26\x01\xaf"
        self.assertEqual(self.unit(track, b"\x00\x00\x00\x03" + idr), delimiter + sets + start + idr)
        self.assertEqual(self.unit(track, b"\x00\x00\x00\x03" + idr, False), delimiter + start + idr)
        own = b"\x00\x00\x00\x03\x46\x01\x50\x00\x00\x00\x03" + idr
        self.assertEqual(self.unit(track, own), delimiter + sets + start + idr, "one delimiter")
        units = b"".join(
            len(n).to_bytes(4, "big") + n for n in (test_hevc.VPS, test_hevc.SPS, test_hevc.PPS, idr)
        )
        self.assertEqual(self.unit(track, units), delimiter + sets + start + idr, "sets of its own")

    def test_mpeg2_gets_its_header(self) -> None:
        track = mpeg2_track(1, test_plain_codecs.SEQUENCE)
        bare = test_plain_codecs.I_PICTURE
        self.assertEqual(self.unit(track, bare), test_plain_codecs.SEQUENCE + bare)
        whole = test_plain_codecs.SEQUENCE + bare
        self.assertEqual(self.unit(track, whole), whole)
        self.assertEqual(self.unit(track, bare, False), bare)
        self.assertEqual(program_of((evolve(track, config=track.config[:12]),), "").pmt_body[4], 0x01)

    def test_opus_sizes(self) -> None:
        """ETSI TS 103 491 section 5.2: the size in steps of 255."""
        track = opus_track(1, dops_for_channels(2))
        for size, control in ((3, "7fe003"), (254, "7fe0fe"), (255, "7fe0ff00"), (600, "7fe0ffff5a")):
            self.assertEqual(self.unit(track, b"\xfc" * size), bytes.fromhex(control) + b"\xfc" * size)

    def test_refused_frames(self) -> None:
        for track in (*(row[0] for row in VIDEO), *(row[0] for row in AUDIO)):
            form = elementary_form(track)
            assert form is not None
            self.assertRaises(MediaError, form.unit, Frame(1, START, 0, True, b""), 0xE0)
            if track.kind is TrackKind.AUDIO:
                self.assertRaises(MediaError, form.unit, Frame(1, START, 0, True, bytes(70_000)), 0xE0)

    def test_not_carried(self) -> None:
        for track in (
            av1_track(1, av1c_from_sequence_header(test_av1.HEADER)),
            evolve(h264_track(), codec="zzzz"),
            evolve(opus_track(1, dops_for_channels(2)), config=b""),
        ):
            self.assertIsNone(elementary_form(track))
            self.assertEqual(program_of((track,), "").streams, {})
