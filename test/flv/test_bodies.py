"""L{restreamer.flv.bodies} against L{restreamer.flv.incoming}: what is written is read back."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.flv import amf0
from restreamer.flv.bodies import forms, with_nanoseconds
from restreamer.flv.dialect import ENHANCED_CODECS, FLV, FULL, Dialect, parse_container
from restreamer.flv.metadata import metadata
from restreamer.flv.tag import VIDEO_TAG, parse_audio, parse_video
from restreamer.media.announce import NewTracks
from restreamer.media.frame import Frame
from restreamer.media.timebase import rtmp_time
from restreamer.media.track import AAC, AV1, H264, HEVC, OPUS, VP9, Tracks
from restreamer.rtmp.message import Audio, Data, Video
from restreamer.rtmp.to_media import FlvToMedia
from restreamer.testing.media import START, aac_track, h264_track
from test.flv.samples import AUDIO, VIDEO, frames_of, with_id

NANO = Dialect(ENHANCED_CODECS, multitrack=True, nano=True)


def round_trip(tracks: Tracks, frames: list[Frame], dialect: Dialect) -> tuple[FlvToMedia, list[object]]:
    """What a reader makes of C{frames} written in C{dialect}."""
    written = forms(tracks, dialect)
    media = FlvToMedia()
    out: list[object] = []
    out += media.take(Data(1, ("onMetaData", amf0.decode(amf0.encode(metadata(written.values(), "t")))[0])))
    for form in written.values():
        if form.header:
            out += media.take((Video if form.kind == VIDEO_TAG else Audio)(1, 0, form.header))
    for frame in frames:
        if frame.track_id not in written:
            continue
        form = written[frame.track_id]
        message = Video if form.kind == VIDEO_TAG else Audio
        out += media.take(message(1, rtmp_time(frame.dts, START), form.body(frame, START)))
    return media, out


class BodyTests(SynchronousTestCase):
    """Every codec."""

    def test_every_codec(self) -> None:
        """Configuration, frames, keys and times come back, with every dialect that can carry the codec."""
        for dialect in (FLV, FULL, NANO):
            for track in (*VIDEO.values(), *AUDIO.values()):
                with self.subTest(codec=track.codec, dialect=dialect.container()):
                    frames = frames_of(track, 25)
                    media, out = round_trip((track,), frames, dialect)
                    self.assertEqual((media.dropped, media.bad_configs), (0, 0))
                    table, *found = out
                    assert isinstance(table, NewTracks)
                    self.assertEqual(
                        [(t.codec, t.config, t.channels) for t in table.tracks],
                        [(track.codec, track.config, track.channels)],
                    )
                    want = [evolve(frame, dts=frame.dts - START) for frame in frames]
                    self.assertEqual(found, want)

    def test_legacy_only(self) -> None:
        """Who announced nothing gets no extended header."""
        legacy = Dialect()
        for track in (*VIDEO.values(), *AUDIO.values()):
            carried = track.codec not in ENHANCED_CODECS
            self.assertEqual(bool(forms((track,), legacy)), carried, track.codec)
        tracks = (VIDEO[HEVC], AUDIO[AAC])
        self.assertEqual(list(forms(tracks, legacy)), [2])

    def test_bytes(self) -> None:
        """Extended bodies, byte by byte."""
        frame = Frame(1, START + 3600, 3600, True, b"data")
        hevc, aac = forms((VIDEO[HEVC], AUDIO[AAC]), FULL).values()
        self.assertEqual(hevc.header[:5], b"\x90hvc1")
        self.assertEqual(hevc.body(frame, START), b"\x91hvc1\0\0\x28data")
        self.assertEqual(hevc.body(evolve(frame, cts=0, key=False), START), b"\xa3hvc1data")
        self.assertEqual(aac.header[:2], b"\xaf\0")
        (av1,) = forms((VIDEO[AV1],), FULL).values()
        self.assertEqual(av1.body(evolve(frame, cts=0), START), b"\x91av01data")
        (opus,) = forms((AUDIO[OPUS],), FULL).values()
        self.assertEqual(opus.header[:13], b"\x90OpusOpusHead")
        self.assertEqual(opus.body(frame, START), b"\x91Opusdata")

    def test_multitrack(self) -> None:
        """Further tracks of a kind are multitrack messages; who reads none gets the first ones."""
        tracks = (
            VIDEO[H264],
            with_id(VIDEO[VP9], 17),
            AUDIO[AAC],
            evolve(with_id(AUDIO[OPUS], 65), language="deu"),
            evolve(with_id(AUDIO[AAC], 66), language="fra"),
        )
        second = forms(tracks, FULL)[66]
        self.assertEqual(second.header[:7], b"\x95\x00mp4a\x02")
        self.assertEqual(second.body(Frame(66, START, 0, True, b"raw"), START), b"\x95\x01mp4a\x02raw")
        frames = [frame for track in tracks for frame in frames_of(track, 5)]
        frames.sort(key=lambda frame: (frame.dts, frame.track_id))
        media, out = round_trip(tracks, frames, FULL)
        table, *found = out
        assert isinstance(table, NewTracks)
        self.assertEqual([t.track_id for t in table.tracks], [1, 17, 2, 65, 66])
        self.assertEqual([t.codec for t in table.tracks], [t.codec for t in tracks])
        self.assertEqual([t.language for t in table.tracks], ["und", "und", "und", "deu", "fra"])
        self.assertEqual(found, [evolve(frame, dts=frame.dts - START) for frame in frames])
        self.assertEqual(media.dropped, 0)
        self.assertEqual(list(forms(tracks, FLV)), [1, 2])

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(st.integers(0, 10**9), st.integers(0, 10**5))
    def test_nanoseconds(self, dts: int, cts: int) -> None:
        """Any tick comes back: of what is shown later than decoded, in the presentation time."""
        for track, offset in ((h264_track(1), cts), (aac_track(2), 0)):
            frame = Frame(track.track_id, START + dts, offset, True, b"\0\0\0\1\x65")
            _, out = round_trip((track,), [frame], NANO)
            found = out[-1]
            assert isinstance(found, Frame)
            self.assertEqual(found.pts, dts + offset)
            if not offset:
                self.assertEqual(found.dts, dts)
            self.assertLess(abs(found.dts - dts), 90)

    def test_modex_bytes(self) -> None:
        """1 tick is 11111 ns."""
        body = with_nanoseconds(b"\x93avc1nal", 91)
        self.assertEqual(body, b"\x97\x02\x00\x2b\x67\x03avc1nal")
        (part,) = parse_video(body)
        self.assertEqual((part.nano, part.data), (11111, b"nal"))
        self.assertEqual(with_nanoseconds(b"\x93avc1nal", 90), b"\x93avc1nal")
        self.assertEqual(parse_audio(with_nanoseconds(b"\x95\x01mp4a\x02raw", 1))[0].track, 2)


class DialectTests(SynchronousTestCase):
    """Names of containers."""

    def test_names(self) -> None:
        """Every dialect has a name of its own that is read back; other names are not ours."""
        for dialect in (Dialect(), FLV, FULL, NANO, Dialect(frozenset({HEVC, OPUS}), nano=True)):
            for base, stream_id in (("rtmp", 1), ("rtmppush", 1), ("rtmppush", 7)):
                name = dialect.container(base, stream_id)
                self.assertEqual(parse_container(name), (base, stream_id, dialect))
        self.assertEqual(Dialect(frozenset({OPUS, HEVC}), True).container(), "rtmp+Opus+hvc1+tracks")
        for name in ("", "rtmp+", "rtmp+xxxx", "rtmp hvc1", "RTMP", "rtmp@", "rtmp+hvc1+bad!"):
            self.assertIsNone(parse_container(name), name)
