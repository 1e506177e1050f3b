"""Progressive files: what was put in comes out of a reader."""

from __future__ import annotations

import io
from collections.abc import Sequence

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, TrackKind
from restreamer.mp4.progressive import MAX_ENTRIES, MAX_GAP, ProgressiveTables
from restreamer.mp4.reader import Mp4Reader
from restreamer.testing.media import aac_track, audio_frames, h264_track, video_frames

#: UTC ticks where files begin.
T = 1_700_000_000 * TICKS_PER_SECOND
S = TICKS_PER_SECOND
VIDEO = h264_track(1)
AUDIO = aac_track(2)
SECOND = evolve(aac_track(3), language="deu")

Part = tuple[tuple[TrackKind, int], Track, Sequence[Frame]]


def video(start: int, track: Track = VIDEO) -> Part:
    """A second."""
    return (TrackKind.VIDEO, 1), track, video_frames(1, start=start, track_id=track.track_id)


def audio(start: int, track: Track = AUDIO, place: int = 1) -> Part:
    """About a second."""
    return (TrackKind.AUDIO, place), track, audio_frames(1, start=start, track_id=track.track_id)


def put(segments: Sequence[tuple[int, Sequence[Part]]]) -> bytes:
    """A file of segments of a second: (start, parts)."""
    tables = ProgressiveTables(io.BytesIO, T // S)
    bodies = []
    for start, parts in segments:
        tables.add(
            start,
            start + S,
            [
                (key, track, [(each.dts, each.cts, each.key, len(each.data)) for each in frames])
                for key, track, frames in parts
            ],
        )
        bodies += [each.data for _, _, frames in parts for each in frames]
    head = io.BytesIO()
    size = tables.write_head(head)
    assert size == len(head.getvalue())
    assert sum(map(len, bodies)) == tables.size
    return head.getvalue() + b"".join(bodies)


def read(data: bytes) -> tuple[Mp4Reader, dict[int, list[tuple[int, int, bool, bytes]]]]:
    """Its tracks, and of each the frames: DTS, PTS, key, bytes."""
    reader = Mp4Reader(lambda at, size: data[at : at + size], len(data))
    found: dict[int, list[tuple[int, int, bool, bytes]]] = {track.track_id: [] for track in reader.tracks}
    for frame in reader.frames():
        found[frame.track_id].append((frame.dts, frame.pts, frame.key, frame.data))
    return reader, found


def told(parts: Sequence[Part]) -> list[tuple[int, int, bool, bytes]]:
    """The frames of one track as they were put in."""
    return [(each.dts, each.pts, each.key, each.data) for _, _, frames in parts for each in frames]


class ProgressiveTests(SynchronousTestCase):
    """C{ProgressiveTables}, read back."""

    def check(self, seen: Sequence[tuple[int, int, bool, bytes]], parts: Sequence[Part]) -> int:
        """Equal but for one shift, which is returned."""
        wanted = told(parts)
        self.assertEqual([each[2:] for each in seen], [each[2:] for each in wanted])
        shift = wanted[0][1] - seen[0][1]
        self.assertEqual([each[1] + shift for each in seen], [each[1] for each in wanted])
        return shift

    def test_plain(self) -> None:
        """Video and audio come out in step."""
        starts = [T + index * S for index in range(3)]
        data = put([(start, [video(start), audio(start)]) for start in starts])
        _, seen = read(data)
        shifts = {
            self.check(seen[1], [video(start) for start in starts]),
            self.check(seen[2], [audio(start) for start in starts]),
        }
        self.assertLessEqual(max(shifts) - min(shifts), 1)
        self.assertLess(data.index(b"moov"), data.index(b"mdat"))
        self.assertIn(b"stco", data)

    def test_negative_composition(self) -> None:
        """Pictures shown before they are decoded."""
        key, track, frames = video(T)
        early = [evolve_frame(each, each.cts - 7200) for each in frames]
        data = put([(T, [(key, track, early)])])
        self.assertEqual(data[data.index(b"ctts") + 4], 1)
        _, seen = read(data)
        self.check(seen[1], [(key, track, early)])

    def test_two_configurations(self) -> None:
        """Each has its sample entry; chunks say which."""
        small = evolve(VIDEO, width=320, height=180)
        data = put([(T, [video(T)]), (T + S, [video(T + S, small)]), (T + 2 * S, [video(T + 2 * S)])])
        at = data.index(b"stsc")
        rows = [int.from_bytes(data[at + 12 + 4 * index : at + 16 + 4 * index], "big") for index in range(9)]
        self.assertEqual(rows, [1, 25, 1, 2, 25, 2, 3, 25, 1])
        at = data.index(b"stsd")
        self.assertEqual(int.from_bytes(data[at + 8 : at + 12], "big"), 2)
        _, seen = read(data)
        self.assertEqual(len(seen[1]), 75)

    def test_too_many_configurations(self) -> None:
        """An end to it."""
        tables = ProgressiveTables(io.BytesIO)
        with self.assertRaises(MediaError):
            for index in range(MAX_ENTRIES + 1):
                start = T + index * S
                track = evolve(VIDEO, width=16 + index)
                tables.add(start, start + S, [((TrackKind.VIDEO, 1), track, [(start, 0, True, 1)])])

    def test_gap(self) -> None:
        """Time goes on as it was; all tracks stay in step."""
        starts = [T, T + 600 * S]
        _, seen = read(put([(start, [video(start), audio(start)]) for start in starts]))
        first = self.check(seen[1], [video(start) for start in starts])
        second = self.check(seen[2], [audio(start) for start in starts])
        self.assertLessEqual(abs(first - second), 1)

    def test_long_gap(self) -> None:
        """A gap of days is an hour, of all tracks."""
        later = T + S + 5 * 24 * 3600 * S
        _, seen = read(put([(start, [video(start), audio(start)]) for start in (T, later)]))
        for track, part in ((1, video(later)), (2, audio(later))):
            count = len(seen[track]) // 2
            jump = seen[track][count][1] - seen[track][0][1]
            self.assertEqual(jump, S + MAX_GAP)
            self.assertEqual([each[3] for each in seen[track][count:]], [each[3] for each in told([part])])

    def test_two_audio_tracks(self) -> None:
        """Both, with their languages."""
        reader, seen = read(put([(T, [video(T), audio(T), audio(T, SECOND, 2)])]))
        self.assertEqual(len(reader.tracks), 3)
        self.assertEqual(reader.tracks[2].language, "deu")
        self.check(seen[3], [audio(T)])

    def test_audio_only(self) -> None:
        """No video, no sync table."""
        data = put([(T, [audio(T)])])
        self.assertNotIn(b"stss", data)
        _, seen = read(data)
        self.check(seen[1], [audio(T)])

    def test_nothing(self) -> None:
        """There is no such file."""
        tables = ProgressiveTables(io.BytesIO)
        tables.add(T, T + S, [])
        self.assertRaises(MediaError, tables.write_head, io.BytesIO())

    def test_large(self) -> None:
        """Beyond 4 GiB offsets have 64 bits, and so has mdat."""
        tables = ProgressiveTables(io.BytesIO)
        for index in range(3):
            start = T + index * S
            tables.add(start, start + S, [((TrackKind.VIDEO, 1), VIDEO, [(start, 0, True, 2_000_000_000)])])
        head = io.BytesIO()
        size = tables.write_head(head)
        data = head.getvalue()
        at = data.index(b"co64")
        offsets = [int.from_bytes(data[at + 12 + 8 * index :][:8], "big") for index in range(3)]
        self.assertEqual(offsets, [size, size + 2_000_000_000, size + 4_000_000_000])
        self.assertEqual(int.from_bytes(data[-8:], "big"), 16 + 6_000_000_000)


def evolve_frame(frame: Frame, cts: int) -> Frame:
    """It with another composition offset."""
    return Frame(frame.track_id, frame.dts, cts, frame.key, frame.data)
