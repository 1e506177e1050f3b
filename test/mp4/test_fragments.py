"""Tests of L{restreamer.mp4.fragments}: files made of movie fragments."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.frame import Frame
from restreamer.mp4.fragment import fragment, init_segment
from restreamer.mp4.reader import Mp4Reader
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from test.mp4.build import avc_entry, box, full, nal_sample, rows

MOOF_BASE = 0x20000
SCALE = 12_800


def opened(data: bytes) -> Mp4Reader:
    return Mp4Reader(lambda offset, size: data[offset : offset + size], len(data))


def moov(*, trex: tuple[int, ...] = (1, 1, 512, 0, 0x10000), more: bytes = b"") -> bytes:
    tables = (
        full(b"stsd", 0, struct.pack(">I", 1), avc_entry()),
        rows(b"stts", ">II", []),
        rows(b"stsc", ">III", []),
        full(b"stsz", 0, bytes(8)),
        rows(b"stco", ">I", []),
    )
    mdhd = full(b"mdhd", 0, struct.pack(">IIIIHH", 0, 0, SCALE, 0, 0x55C4, 0))
    tkhd = full(b"tkhd", 0, struct.pack(">III", 0, 0, 1), bytes(68))
    trak = box(b"trak", tkhd, box(b"mdia", mdhd, box(b"minf", box(b"stbl", *tables))))
    mvhd = full(b"mvhd", 0, struct.pack(">IIII", 0, 0, 1000, 0), bytes(80))
    mvex = box(b"mvex", full(b"trex", 0, struct.pack(">5I", *trex)), more)
    return box(b"moov", mvhd, trak, mvex)


def flagged(kind: bytes, flags: int, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def moof(
    samples: Sequence[bytes],
    *,
    time: int | None = None,
    flags: int = MOOF_BASE,
    head: bytes = b"",
    track: int = 1,
    composition: Sequence[int] = (),
    version: int = 0,
    count: int | None = None,
    offset: int | None = None,
) -> bytes:
    """A fragment whose first sample is a key; sizes, and composition offsets if there are any, per sample."""
    trun_flags = 0x201 | 4 | (0x800 if composition else 0)
    sizes = [len(sample) for sample in samples]
    table = b"".join(
        struct.pack(">I", size) + (struct.pack(">i", composition[at]) if composition else b"")
        for at, size in enumerate(sizes)
    )

    def build(place: int) -> bytes:
        number = len(sizes) if count is None else count
        trun = flagged(b"trun", trun_flags, struct.pack(">IiI", number, place, 0), table, version=version)
        tfhd = flagged(b"tfhd", flags, struct.pack(">I", track), head)
        tfdt = b"" if time is None else full(b"tfdt", 1, struct.pack(">Q", time))
        return box(b"moof", full(b"mfhd", 0, bytes(4)), box(b"traf", tfhd, tfdt, trun))

    place = len(build(0)) + 8 if offset is None else offset
    return build(place) + box(b"mdat", *samples)


PICTURES = [nal_sample(number, 20 + number, key=number % 5 == 0) for number in range(15)]


class FragmentTests(SynchronousTestCase):
    """Fragments as other writers make them."""

    def check(self, data: bytes, times: Sequence[int], pictures: Sequence[bytes] = PICTURES) -> None:
        frames = list(opened(data).frames())
        self.assertEqual([frame.data for frame in frames], list(pictures))
        self.assertEqual([frame.dts for frame in frames], list(times))
        self.assertEqual([frame.key for frame in frames], [at % 5 == 0 for at in range(len(frames))])

    def test_plain(self) -> None:
        data = moov() + b"".join(moof(PICTURES[at : at + 5], time=at * 512) for at in (0, 5, 10))
        self.check(data, [3600 * at for at in range(15)])
        self.assertEqual(opened(data).duration, 15 * 3600)

    def test_no_times(self) -> None:
        data = moov() + b"".join(moof(PICTURES[at : at + 5]) for at in (0, 5, 10))
        self.check(data, [3600 * at for at in range(15)])

    def test_far_from_zero(self) -> None:
        """A live recording begins anywhere."""
        begin = START // 7
        data = moov() + b"".join(moof(PICTURES[at : at + 5], time=begin + at * 512) for at in (0, 5, 10))
        self.check(data, [3600 * at for at in range(15)])

    def test_hole_and_overlap(self) -> None:
        data = moov() + moof(PICTURES[:5], time=0) + moof(PICTURES[5:10], time=10 * 512)
        data += moof(PICTURES[10:], time=14 * 512)
        times = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
        got = [frame.dts for frame in opened(data).frames()]
        self.assertEqual(got[:9], [3600 * at for at in times[:9]])
        self.assertEqual(got[10], 3600 * 14 + 1)

    def test_base_offset(self) -> None:
        """Places counted from the beginning of the file, and from the fragment with no flag at all."""
        first = moov()
        for flags in (1, 0):
            data = first
            for at in (0, 5, 10):
                base = struct.pack(">Q", len(data)) if flags else b""
                data += moof(PICTURES[at : at + 5], time=at * 512, flags=flags, head=base)
            self.check(data, [3600 * at for at in range(15)])

    def test_defaults_of_the_fragment(self) -> None:
        """Duration told by tfhd."""
        head = struct.pack(">I", 1024)
        data = moov() + b"".join(
            moof(PICTURES[at : at + 5], flags=MOOF_BASE | 8, head=head) for at in (0, 5, 10)
        )
        self.check(data, [7200 * at for at in range(15)])

    def test_composition(self) -> None:
        for version, offsets in ((0, (1024, 2048, 512, 1024, 512)), (1, (0, 1024, -512, 0, -512))):
            data = moov() + moof(PICTURES[:5], time=0, composition=offsets, version=version)
            frames = list(opened(data).frames())
            shown = [frame.pts - frames[0].pts for frame in frames]
            self.assertEqual(shown, [7200 * 0, 10_800, 3600, 10_800, 10_800][:1] + shown[1:])
            self.assertEqual([(pts - shown[0]) // 3600 for pts in shown], [0, 3, 1, 3, 3])
            self.assertTrue(all(frame.cts >= 0 for frame in frames))

    def test_cut_off(self) -> None:
        """What a crash left is read as far as fragments are whole."""
        whole = moov() + b"".join(moof(PICTURES[at : at + 5], time=at * 512) for at in (0, 5, 10))
        for cut in (1, 40, 100):
            self.check(whole[:-cut], [3600 * at for at in range(10)], PICTURES[:10])

    def test_what_our_own_writer_makes(self) -> None:
        tracks = (h264_track(1), aac_track(2))
        for track in tracks:
            frames = [frame for frame in make_frames(4) if frame.track_id == track.track_id]
            data = init_segment(track)
            for number, at in enumerate(range(0, len(frames), 30)):
                end = frames[min(at + 30, len(frames) - 1)].dts
                data += fragment(
                    track,
                    frames[at : at + 30],
                    number,
                    max(end, frames[min(at + 29, len(frames) - 1)].dts + 1),
                )
            reader = opened(data)
            got = list(reader.frames())
            self.assertEqual(reader.tracks[0].config, track.config)
            base = frames[0].dts
            seen = [(frame.dts, frame.cts, frame.key, frame.data) for frame in got]
            self.assertEqual(seen, [(f.dts - base, f.cts, f.key, f.data) for f in frames])

    def test_the_digest_tells_files_apart(self) -> None:
        one = opened(moov() + moof(PICTURES[:5], time=0)).digest
        other = opened(moov() + moof(PICTURES[:5], time=0) + moof(PICTURES[5:10], time=2560)).digest
        self.assertNotEqual(one, other)


class HostileTests(SynchronousTestCase):
    """Fragments that are not what they say."""

    def refused(self, data: bytes, text: str) -> None:
        error = self.assertRaises(MediaError, opened, data)
        self.assertIn(text, str(error))

    def test_refused(self) -> None:
        good = moof(PICTURES[:5], time=0)
        self.refused(moov(), "none with samples")
        self.refused(moov() + moof(PICTURES[:5], track=2), "moov does not have")
        self.refused(moov() + moof(PICTURES[:5], count=1 << 31), "only 5 are taken")
        self.refused(moov() + moof(PICTURES[:5], offset=-(1 << 20)), "begins before")
        self.refused(moov() + good.replace(b"tfhd", b"free"), "tfhd")
        self.refused(moov(trex=(1, 1, 0, 0, 0)) + good, "samples in")
        self.refused(
            moov() + good.replace(struct.pack(">I", len(PICTURES[0])), b"\x7f\xff\xff\xff", 1), "a sample has"
        )

    def test_samples_of_no_fields(self) -> None:
        """A count with nothing behind it: limited as the samples of a track are."""
        trun = flagged(b"trun", 0, struct.pack(">I", 0xFFFF_FFFF))
        tfhd = flagged(b"tfhd", MOOF_BASE, struct.pack(">I", 1))
        data = moov() + box(b"moof", box(b"traf", tfhd, trun))
        self.refused(data, "only")

    @given(st.data())
    @settings(deadline=None, max_examples=200, derandomize=True)
    def test_any_change(self, data: st.DataObject) -> None:
        whole = bytearray(moov() + moof(PICTURES[:5], time=0) + moof(PICTURES[5:10], time=2560))
        for _ in range(data.draw(st.integers(1, 5))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(whole)))
        try:
            frames: list[Frame] = list(opened(bytes(whole[:cut])).frames())
        except MediaError:
            return
        self.assertLess(sum(len(frame.data) for frame in frames), 2 * len(whole))
