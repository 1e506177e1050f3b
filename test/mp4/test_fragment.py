"""Init segments and fragments, read back box by box."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.frame import Frame
from restreamer.media.track import Track, TrackKind
from restreamer.mp4.boxes import Box, children, walk_boxes
from restreamer.mp4.fragment import fragment, init_segment, split_fragments
from restreamer.mp4.sample_entry import read_sample_entry
from restreamer.testing.media import START, aac_track, h264_track, mp3_track


def only(data: bytes, *path: bytes) -> Box:
    """The box at the end of C{path}."""
    boxes = {box.kind: box for box in walk_boxes(data)}
    box = boxes[path[0]]
    for kind in path[1:]:
        box = children(data, box)[kind]
    return box


def samples(data: bytes) -> list[tuple[int, int, bool, bytes]]:
    """(DTS, composition offset, sync, body) of each sample of one fragment, and checks its boxes."""
    moof, mdat = list(walk_boxes(data))
    assert (moof.kind, mdat.kind) == (b"moof", b"mdat")
    traf = children(data, moof)[b"traf"]
    inside = children(data, traf)
    tfhd, tfdt, trun = (inside[kind] for kind in (b"tfhd", b"tfdt", b"trun"))
    head, _, defaults = struct.unpack(">III", data[tfhd.start : tfhd.end])
    assert head == 0x020020
    version, dts = struct.unpack(">IQ", data[tfdt.start : tfdt.end])
    assert version == 1 << 24
    flags, count, offset = struct.unpack_from(">III", data, trun.start)
    assert flags >> 24 == 1 and offset == mdat.start
    at = trun.start + 12
    body = offset
    found = []
    for _ in range(count):
        lasts, size = struct.unpack_from(">II", data, at)
        at += 8
        sample, cts = defaults, 0
        if flags & 0x400:
            sample, cts = struct.unpack_from(">Ii", data, at)
            at += 8
        found.append((dts, cts, not sample & 0x10000, data[body : body + size]))
        body += size
        dts += lasts
    assert at == trun.end and body == mdat.end
    found.append((dts, 0, True, b""))
    return found


class InitTests(SynchronousTestCase):
    def test_read_back(self) -> None:
        for track in (h264_track(3), aac_track(2), mp3_track(1)):
            init = init_segment(track)
            self.assertEqual([box.kind for box in walk_boxes(init)], [b"ftyp", b"moov"])
            moov = only(init, b"moov")
            stsd = only(init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
            _, entry = read_sample_entry(init, stsd)
            assert entry is not None
            self.assertEqual((entry.codec, entry.config), (track.codec, track.config))
            self.assertIn(b"mvex", children(init, moov))
            header = only(init, b"moov", b"trak", b"tkhd")
            self.assertEqual(struct.unpack_from(">I", init, header.start + 12)[0], track.track_id)
            size = struct.unpack_from(">II", init, header.end - 8)
            self.assertEqual(size, (track.width << 16, track.height << 16))
            media = only(init, b"moov", b"trak", b"mdia", b"mdhd")
            self.assertEqual(struct.unpack_from(">I", init, media.start + 12)[0], 90_000)

    def test_hints_play_no_part(self) -> None:
        self.assertEqual(init_segment(h264_track(1, 1000)), init_segment(h264_track(1, 2000)))
        self.assertNotEqual(init_segment(h264_track(1)), init_segment(h264_track(2)))

    def test_language(self) -> None:
        def code(language: str) -> int:
            track = Track(
                track_id=1, kind=TrackKind.AUDIO, codec=".mp3", sample_rate=44_100, language=language
            )
            init = init_segment(track)
            media = only(init, b"moov", b"trak", b"mdia", b"mdhd")
            found: int = struct.unpack_from(">H", init, media.start + 20)[0]
            return found

        self.assertEqual(code("eng"), 0x15C7)
        for odd in ("", "e", "ENG", "e1g", "ëng", "en\n"):
            self.assertEqual(code(odd), code("und"), odd)

    def test_nothing_to_put_in(self) -> None:
        for codec, config in (("ulaw", b""), ("avc1", b""), ("none", b"x")):
            track = Track(track_id=1, kind=TrackKind.VIDEO, codec=codec, config=config)
            self.assertRaises(MediaError, init_segment, track)


class FragmentTests(SynchronousTestCase):
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 900_000), st.integers(-90_000, 90_000), st.booleans(), st.binary(max_size=9)
            ),
            min_size=1,
            max_size=40,
        ),
        st.booleans(),
        st.integers(0, 1 << 70),
        st.sampled_from([START, 0, 1 << 33, (1 << 53) + 1, (1 << 62) + 1]),
    )
    @settings(deadline=None, max_examples=80, derandomize=True)
    def test_read_back(
        self, steps: list[tuple[int, int, bool, bytes]], video: bool, sequence: int, dts: int
    ) -> None:
        track = h264_track(1) if video else aac_track(1)
        frames = []
        for step, cts, key, body in steps:
            frames.append(Frame(1, dts, cts if video else 0, key or not video, body))
            dts += step
        data = fragment(track, frames, sequence, dts)
        wanted = [(frame.dts, frame.cts, frame.key, frame.data) for frame in frames]
        self.assertEqual(samples(data), [*wanted, (dts, 0, True, b"")])
        self.assertEqual(split_fragments(data * 3), [(i * len(data), (i + 1) * len(data)) for i in range(3)])
        moof = only(data, b"moof", b"mfhd")
        self.assertEqual(struct.unpack_from(">I", data, moof.start + 4)[0], sequence & 0xFFFFFFFF)
