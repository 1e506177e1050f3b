"""Segments: what goes in comes out, byte for byte, and nothing else is accepted."""

from __future__ import annotations

import google_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f import layout
from restreamer.m4f.header import segment_sizes
from restreamer.m4f.layout import HEAD, HEAD_SIZE, HEADER, TRACK
from restreamer.m4f.segment import Part, Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.track import Track, TrackKind
from restreamer.testing.media import aac_track, h264_track, make_frames
from test.m4f import samples
from test.m4f.samples import AUDIO, START, VIDEO

_SETTINGS = settings(deadline=None, max_examples=120, derandomize=True)


def _open(tracks: tuple[Track, ...] = (VIDEO, AUDIO), number: int = 1, start: int = START) -> SegmentBuilder:
    return SegmentBuilder(SegmentOpening(number, start, False, True, 0, tracks))


def _sealed(header: bytes, bodies: bytes) -> bytes:
    """A header whose checksums are put right, then the bodies."""
    header = header[:-8] + google_crc32c.value(bodies).to_bytes(4, "big")
    checksum: int = google_crc32c.value(header)
    return header + checksum.to_bytes(4, "big") + bodies


def _forged(segment: Segment, **head: int) -> bytes:
    """C{segment} with fields of its head replaced and the checksums put right."""
    fields = HEAD.parse(segment.encoded)
    size = fields.header_size
    fields.update(head)
    return _sealed(HEAD.build(fields) + segment.encoded[HEAD_SIZE:size], segment.encoded[size:])


class RoundTripTests(SynchronousTestCase):
    """Encode, decode, encode."""

    @_SETTINGS
    @given(samples.segments())
    def test_decoding_gives_everything_back_and_encoding_again_the_same_bytes(
        self, made: tuple[SegmentBuilder, Segment]
    ) -> None:
        builder, closed = made
        read = Segment.parse(closed.encoded)
        self.assertEqual(read, closed)
        for name in (
            "number",
            "start",
            "duration",
            "discontinuity",
            "independent",
            "discontinuity_sequence",
            "tracks",
            "checksum",
            "frame_count",
            "parts",
            "end",
        ):
            self.assertEqual(getattr(read, name), getattr(closed, name), name)
        self.assertEqual(read.frames(), builder.frames)
        self.assertEqual(closed.frames(), builder.frames)
        self.assertEqual(read.program_date_time(), closed.program_date_time())
        opening = SegmentOpening(
            read.number,
            read.start,
            read.discontinuity,
            read.independent,
            read.discontinuity_sequence,
            read.tracks,
        )
        again = SegmentBuilder(opening)
        for frame in read.frames():
            again.add(frame)
        for part in read.parts:
            again.close_part(part)
        self.assertEqual(again.size, builder.size)
        self.assertEqual(again.close(read.duration).encoded, closed.encoded)

    def test_five_seconds_of_video_and_audio(self) -> None:
        frames = make_frames(5, video_bitrate=4_000_000)
        builder = _open((h264_track(), aac_track()), start=frames[0].dts)
        builder.extend(frames)
        segment = Segment.parse(builder.close(5 * 90_000).encoded)
        self.assertEqual(segment.frames(), frames)
        self.assertEqual(segment.program_date_time(), min(f.pts for f in frames if f.track_id == 1))

    def test_header_alone_and_one_frame_by_offset(self) -> None:
        segment = samples.tiny_segment()
        header_size, body_size = segment_sizes(segment.encoded[:HEAD_SIZE])
        self.assertEqual(header_size + body_size, len(segment.encoded))
        header = Segment.parse_header(segment.encoded[:header_size])
        self.assertEqual((header.number, header.checksum), (segment.number, segment.checksum))
        self.assertEqual(header.tracks, segment.tracks)
        for index, frame in enumerate(segment.frames()):
            offset, size = header.frame_span(index)
            self.assertEqual(segment.encoded[offset : offset + size], frame.data)
        self.assertRaises(IndexError, header.frame_span, 3)
        self.assertRaises(IndexError, header.frame_span, -1)

    def test_track_tables_are_shared_between_segments(self) -> None:
        encoded = samples.tiny_segment().encoded
        self.assertIs(Segment.parse(encoded).tracks, Segment.parse(encoded).tracks)

    def test_a_track_table_too_large_to_remember(self) -> None:
        big = Track(track_id=9, kind=TrackKind.VIDEO, codec="hvc1", config=b"x" * layout.MAX_CONFIG)
        self.assertEqual(Segment.parse(_open((big,)).close(0).encoded).tracks, (big,))


class ProgramDateTimeTests(SynchronousTestCase):
    """The moment a playlist names."""

    def _of(self, frames: list[Frame], tracks: tuple[Track, ...] = (VIDEO, AUDIO)) -> int:
        builder = _open(tracks)
        builder.extend(frames)
        return builder.close(1).program_date_time() - START

    def test_lowest_pts_of_the_video(self) -> None:
        frames = [
            Frame(2, START - 900, 0, True, b"a"),
            Frame(1, START, 7200, True, b"I"),
            Frame(1, START + 1800, 1800, False, b"b"),
        ]
        self.assertEqual(self._of(frames), 3600)

    def test_without_video_frames_of_all_frames(self) -> None:
        self.assertEqual(
            self._of([Frame(2, START + 20, 0, True, b"a"), Frame(2, START + 9, 0, True, b"b")]), 9
        )
        self.assertEqual(self._of([Frame(2, START - 5, 0, True, b"a")], (AUDIO,)), -5)

    def test_without_frames_the_start(self) -> None:
        self.assertEqual(self._of([]), 0)


class LimitTests(SynchronousTestCase):
    """What a builder does not encode."""

    def test_too_large(self) -> None:
        builder = _open()
        builder.extend([Frame(1, START, 0, True, bytes(1 << 20))] * 32)
        self.assertEqual(builder.size, layout.MAX_SEGMENT)
        self.assertRaises(LocalProtocolError, builder.close, 1)

    def test_too_many_frames(self) -> None:
        builder = _open()
        builder.extend([Frame(1, START, 0, True, b"")] * (layout.MAX_FRAMES + 1))
        self.assertRaises(LocalProtocolError, builder.close, 1)

    def test_values_that_do_not_fit(self) -> None:
        for frame in (
            Frame(1, START + (1 << 31), 0, True, b""),
            Frame(1, START, 1 << 31, True, b""),
            Frame(3, START, 0, True, b""),
        ):
            builder = _open()
            builder.add(frame)
            self.assertRaises(LocalProtocolError, builder.close, 1)
        for duration in (-1, 1 << 32):
            self.assertRaises(LocalProtocolError, _open().close, duration)
        for number, start in ((-1, 0), (1 << 63, 0), (0, (1 << 52) + 1)):
            self.assertRaises(LocalProtocolError, _open(number=number, start=start).close, 1)

    def test_parts_that_do_not_cover_the_frames(self) -> None:
        for parts in (
            [Part(0, 2, 1, True)],
            [Part(1, 2, 1, True)],
            [Part(0, 2, 1, True), Part(1, 2, 1, True)],
        ):
            builder = _open()
            builder.extend([Frame(1, START, 0, True, b"x")] * 3)
            for part in parts:
                builder.close_part(part)
            self.assertRaises(LocalProtocolError, builder.close, 1)

    def test_tracks_that_do_not_fit(self) -> None:
        def track(track_id: int = 1, codec: str = "avc1", config: bytes = b"", width: int = 0) -> Track:
            return Track(track_id=track_id, kind=TrackKind.VIDEO, codec=codec, config=config, width=width)

        for tracks in (
            (track(0),),
            (track(256),),
            (track(), track()),
            (track(codec="av1"),),
            (track(codec="av1é"),),
            (track(config=bytes(layout.MAX_CONFIG + 1)),),
            (track(width=-1),),
            tuple(track(number) for number in range(1, 34)),
        ):
            self.assertRaises(LocalProtocolError, _open(tracks).close, 1)


class ForwardTests(SynchronousTestCase):
    """What a later version may add, this one skips."""

    def _grown(self, tail: bytes = b"", extension: bytes = b"", **track: int) -> bytes:
        segment = samples.tiny_segment()
        described = HEADER.parse(segment.encoded)
        size = described.head.header_size
        bodies = segment.encoded[size:]
        described.tracks[1].update(track)
        entries = []
        for entry in described.tracks:
            body = TRACK.build(entry)[4:] + tail
            entries.append(len(body).to_bytes(4, "big") + body)
        table = b"".join(entries)
        rest = HEADER.build(described)[HEAD_SIZE + sum(len(TRACK.build(t)) for t in described.tracks) :][:-8]
        described.head.header_size = HEAD_SIZE + len(table) + len(rest) + len(extension) + 8
        return _sealed(HEAD.build(described.head) + table + rest + extension + bytes(8), bodies)

    def test_longer_track_entries_and_a_section_behind_the_parts(self) -> None:
        plain = samples.tiny_segment()
        read = Segment.parse(self._grown(tail=b"later", extension=b"a table of the future"))
        self.assertEqual(read.tracks, plain.tracks)
        self.assertEqual(read.frames(), plain.frames())
        self.assertEqual(read.parts, plain.parts)
        self.assertEqual(len(HEADER.parse(read.encoded).extension), 21)

    def test_unknown_flags(self) -> None:
        segment = samples.tiny_segment()
        read = Segment.parse(_forged(segment, flags=0xFF))
        self.assertEqual((read.discontinuity, read.independent), (True, True))

    def test_a_track_of_unknown_kind_is_not_shown_but_kept(self) -> None:
        encoded = self._grown(kind=9)
        read = Segment.parse(encoded)
        self.assertEqual(read.tracks, (VIDEO,))
        self.assertEqual([frame.track_id for frame in read.frames()], [1, 1])
        self.assertEqual(read.frames(), [f for f in samples.tiny_segment().frames() if f.track_id == 1])
        self.assertEqual(read.encoded, encoded)

    def test_an_unknown_codec_is_carried(self) -> None:
        track = Track(track_id=4, kind=TrackKind.VIDEO, codec="zzz9", config=b"?")
        self.assertEqual(Segment.parse(_open((track,)).close(1).encoded).tracks, (track,))

    def test_another_version_is_refused_by_name(self) -> None:
        error = self.assertRaises(
            RemoteProtocolError, Segment.parse, _forged(samples.tiny_segment(), version=2)
        )
        self.assertIn("version 2", str(error))
        self.assertIn("reads 1", str(error))


class HostileTests(SynchronousTestCase):
    """Segments whose checksums are right and whose content is not."""

    def test_heads_that_lie(self) -> None:
        segment = samples.tiny_segment()
        for change in (
            {"frame_count": 0xFFFFFFFF},
            {"frame_count": layout.MAX_FRAMES},
            {"frame_count": layout.MAX_FRAMES + 1},
            {"frame_count": 4},
            {"frame_count": 2},
            {"track_count": 33},
            {"track_count": 255},
            {"track_count": 1},
            {"track_count": 3},
            {"part_count": 0xFFFF},
            {"part_count": 1},
            {"part_count": 3},
            {"header_size": 0},
            {"header_size": 0xFFFFFFFF},
            {"body_size": 0xFFFFFFFF},
            {"body_size": 14},
            {"number": 1 << 63},
            {"start": (1 << 52) + 1},
            {"start": -(1 << 63)},
        ):
            self.assertRaises(RemoteProtocolError, Segment.parse, _forged(segment, **change))

    def test_frames_of_no_track_or_past_the_body(self) -> None:
        segment = samples.tiny_segment()
        size = HEAD.parse(segment.encoded).header_size
        described = HEADER.parse(segment.encoded)
        for row in (
            (3, 0, 0, 0, 7),
            (0, 0, 0, 0, 7),
            (1, 0, 0, 0, 8),
            (1, 0, 0, 0, 0xFFFFFFFF),
            (1, 0, 0, 0, 0),
        ):
            described.frames[0] = row
            forged = _sealed(HEADER.build(described), segment.encoded[size:])
            self.assertRaises(RemoteProtocolError, Segment.parse, forged)

    def test_track_tables_that_lie(self) -> None:
        segment = samples.tiny_segment()
        size = HEAD.parse(segment.encoded).header_size
        entry = HEAD_SIZE
        for offset, value in (
            (entry, b"\xff\xff\xff\xff"),
            (entry, b"\0\0\0\0"),
            (entry, b"\0\0\0\x20"),
            (entry + 4, b"\0"),  # id 0
            (entry + 4, b"\2"),  # id of the other track
            (entry + 6, b"\xff"),  # codec
            (entry + 36, b"\xff"),  # length of the language
            (entry + 37, b"\xff"),  # language
            (entry + 40, b"\0\1\0\1"),  # length of the configuration
        ):
            forged = bytearray(segment.encoded)
            forged[offset : offset + len(value)] = value
            self.assertRaises(
                RemoteProtocolError, Segment.parse, _sealed(bytes(forged[:size]), bytes(forged[size:]))
            )

    def test_a_configuration_over_the_limit(self) -> None:
        track = Track(track_id=9, kind=TrackKind.VIDEO, codec="hvc1", config=b"x" * layout.MAX_CONFIG)
        segment = _open((track,)).close(0)
        described = HEADER.parse(segment.encoded)
        described.tracks[0].config += b"x"
        described.head.header_size += 1
        forged = _sealed(HEADER.build(described), b"")
        error = self.assertRaises(RemoteProtocolError, Segment.parse, forged)
        self.assertIn("configuration", str(error))

    @_SETTINGS
    @given(st.binary(max_size=200), st.binary(max_size=60))
    def test_garbage_behind_a_good_head(self, garbage: bytes, bodies: bytes) -> None:
        head = HEAD.build(
            {
                "magic": b"M4FS",
                "version": 1,
                "flags": 0,
                "track_count": 2,
                "part_count": 1,
                "header_size": HEAD_SIZE + len(garbage) + 8,
                "number": 5,
                "start": 0,
                "duration": 1,
                "discontinuity_sequence": 0,
                "frame_count": 2,
                "body_size": len(bodies),
            }
        )
        self.assertRaises(RemoteProtocolError, Segment.parse, _sealed(head + garbage + bytes(8), bodies))

    @_SETTINGS
    @given(st.binary(max_size=300))
    def test_garbage(self, garbage: bytes) -> None:
        self.assertRaises(RemoteProtocolError, Segment.parse, garbage)
        self.assertRaises(RemoteProtocolError, Segment.parse_header, garbage)
        self.assertRaises(RemoteProtocolError, Segment.parse, b"M4FS\1" + garbage)

    def test_bytes_behind_the_segment(self) -> None:
        self.assertRaises(RemoteProtocolError, Segment.parse, samples.tiny_segment().encoded + b"\0")
