"""L{restreamer.rtmp.to_media}."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.frame import Frame
from restreamer.media.track import AAC, MP3, TrackKind
from restreamer.rtmp.message import Audio, Data, Video
from restreamer.rtmp.to_media import (
    FlvToMedia,
    MillisecondClock,
    NewTracks,
    Output,
    UnsupportedCodec,
)
from restreamer.testing.media import ASC, AVCC

NAL = b"\0\0\0\x02\x65\x88"
MP3_FRAME = b"\xff\xfb\x90\x64" + bytes(413)


def video_config(record: bytes = AVCC, at: int = 0) -> Video:
    """An AVC sequence header."""
    return Video(1, at, b"\x17\0\0\0\0" + record)


def audio_config(asc: bytes = ASC, at: int = 0) -> Audio:
    """An AAC sequence header."""
    return Audio(1, at, b"\xaf\0" + asc)


def video(at: int, key: bool = False, offset: int = 0, data: bytes = NAL) -> Video:
    """An AVC frame."""
    head = b"\x17\1" if key else b"\x27\1"
    return Video(1, at, head + offset.to_bytes(3, "big", signed=True) + data)


def audio(at: int) -> Audio:
    """An AAC frame."""
    return Audio(1, at, b"\xaf\1raw")


def meta(**members: Any) -> Data:
    """onMetaData as encoders send it."""
    return Data(1, ("@setDataFrame", "onMetaData", members))


def run(*messages: Audio | Video | Data) -> tuple[FlvToMedia, list[Output]]:
    """What C{messages} bring."""
    media = FlvToMedia()
    return media, [output for message in messages for output in media.take(message)]


def shape(outputs: list[Output]) -> str:
    """One letter for each output: T(track ids) or V, v, A."""
    letters = ""
    for output in outputs:
        if isinstance(output, NewTracks):
            letters += "T" + "".join(str(track.track_id) for track in output.tracks)
        elif isinstance(output, Frame):
            letters += ("V" if output.key else "v") if output.track_id == 1 else "A"
        else:
            letters += "U"
    return letters


class AnnounceTests(SynchronousTestCase):
    """When the track table comes."""

    def test_both_known(self) -> None:
        """With the first frame after both configurations."""
        _, out = run(video_config(), audio_config(), audio(0), video(0, True), video(40))
        self.assertEqual(shape(out), "T12AVv")

    def test_metadata_names_both(self) -> None:
        """A keyframe waits for the audio configuration that is promised; nothing is lost or reordered."""
        _, out = run(
            meta(videocodecid=7.0, audiocodecid=10.0),
            video_config(),
            video(0, True),
            audio_config(),
            audio(5),
        )
        self.assertEqual(shape(out), "T12VA")

    def test_metadata_names_one(self) -> None:
        """Nothing else is waited for."""
        _, out = run(meta(audiocodecid="mp4a"), audio_config(), audio(0))
        self.assertEqual(shape(out), "T2A")
        _, out = run(meta(videocodecid=7.0), video_config(), video(0))
        self.assertEqual(shape(out), "T1v")

    def test_promise_not_kept(self) -> None:
        """After a second of media what is there is announced; the late track makes a new table."""
        messages: list[Data | Video] = [meta(videocodecid=7.0, audiocodecid=10.0), video_config()]
        messages += [video(40 * n, n == 0) for n in range(26)]
        _, out = run(*messages, audio_config(at=1040), audio(1040))
        self.assertEqual(shape(out[:2]), "T1V")
        self.assertEqual(len(out), 1 + 26 + 2)
        self.assertEqual(shape(out[-2:]), "T12A")

    def test_no_metadata_video(self) -> None:
        """The first keyframe decides."""
        _, out = run(video_config(), video(0), video(40, True), video(80))
        self.assertEqual(shape(out), "T1vVv")

    def test_no_metadata_audio(self) -> None:
        """Audio alone is announced after a second."""
        media, out = run(audio_config(), *[audio(20 * n) for n in range(50)])
        self.assertEqual(out, [])
        self.assertFalse(media.announced)
        out = media.take(audio(1000))
        self.assertEqual(shape(out), "T2" + "A" * 51)

    def test_bounded_hold(self) -> None:
        """Frames that all have one time are not held without end."""
        media, out = run(audio_config(), *[audio(0) for n in range(500)])
        self.assertEqual(len(out), 501)
        self.assertTrue(media.announced)

    def test_bandwidth(self) -> None:
        """The data rates are carried in bit/s; absurd ones are not (R24)."""
        rates = meta(videodatarate=2500.0, audiodatarate=128.0, videocodecid=7.0)
        media, _ = run(rates, video_config(), audio_config(), video(0))
        self.assertEqual([track.bandwidth for track in media.tracks], [2_500_000, 128_000])
        value: Any
        for value in (math.nan, math.inf, -1.0, 1e300, "2500", None, {}, 0):
            media, _ = run(meta(videodatarate=value), video_config(), video(0, True))
            self.assertEqual(media.tracks[0].bandwidth, 0)


class SeveralTracksTests(SynchronousTestCase):
    """Multitrack publishers."""

    def test_promised(self) -> None:
        """onMetaData names further tracks: the table waits for them, and knows their languages."""
        more = {"1": {"audiodatarate": 96.0, "language": "deu"}, "x": {}, "0": {}, "999": {}}
        second = Audio(1, 30, b"\x95\1.mp3\1" + MP3_FRAME)
        media, out = run(
            meta(videocodecid=7.0, audiocodecid=10.0, audioTrackIdInfoMap=more),
            video_config(),
            audio_config(),
            video(0, True),
            audio(0),
            second,
        )
        assert isinstance(out[0], NewTracks)
        self.assertEqual([track.track_id for track in out[0].tracks], [1, 2, 65])
        self.assertEqual([track.language for track in out[0].tracks], ["und", "und", "deu"])
        self.assertEqual(media.tracks[2].codec, MP3)
        self.assertEqual(len(out), 4)

    def test_stragglers(self) -> None:
        """A publisher of several tracks that named none gets a little time for the others."""
        config = Audio(1, 0, b"\x95\0mp4a\1" + ASC)
        late = Audio(1, 120, b"\x95\1.mp3\2" + MP3_FRAME)
        pictures = [video(40 * n, n == 0) for n in range(4)]
        media, out = run(video_config(), audio_config(), config, *pictures, late)
        self.assertEqual(out, [])
        out = [each for n in range(4, 9) for each in media.take(video(40 * n))]
        assert isinstance(out[0], NewTracks)
        self.assertEqual([track.track_id for track in out[0].tracks], [1, 2, 65, 66])
        self.assertEqual(sum(isinstance(each, NewTracks) for each in out), 1)


class ConfigurationTests(SynchronousTestCase):
    """Sequence headers."""

    def test_before_configuration(self) -> None:
        """Frames without configuration are dropped and counted (R21)."""
        media, out = run(video(0, True), audio(0), video_config(), audio_config(), video(40, True))
        self.assertEqual(shape(out), "T12V")
        self.assertEqual(media.dropped, 2)

    def test_repeated(self) -> None:
        """The same header again changes nothing (R21)."""
        _, out = run(video_config(), video(0, True), video_config(), video(40, True))
        self.assertEqual(shape(out), "T1VV")

    def test_changed(self) -> None:
        """Another header makes a new table, once, before the next frame (R21)."""
        other = AVCC.replace(b"\x64\x00\x1e", b"\x64\x00\x1f", 1)
        _, out = run(
            video_config(),
            audio_config(),
            video(0, True),
            video_config(other),
            audio_config(b"\x12\x10"),
            audio(20),
            video(40, True),
        )
        self.assertEqual(shape(out), "T12VT12AV")
        self.assertEqual(out[2].tracks[1].sample_rate, 44100)  # type: ignore[union-attr]

    def test_unreadable(self) -> None:
        """A bad header is counted and the old one stays."""
        media, out = run(
            video_config(), video(0, True), video_config(b""), video_config(b"\x01" * 20), video(40, True)
        )
        self.assertEqual(shape(out), "T1VV")
        self.assertEqual(media.bad_configs, 2)

    def test_length_sizes(self) -> None:
        """Other NAL length sizes come out as 4, in the frames and in the configuration."""
        two = AVCC[:4] + b"\xfd" + AVCC[5:]
        _, out = run(video_config(two), video(0, True, data=b"\x00\x02\x65\x88"))
        self.assertEqual(out[1].data, NAL)  # type: ignore[union-attr]
        self.assertEqual(out[0].tracks[0].config[4] & 3, 3)  # type: ignore[union-attr]

    def test_bad_lengths(self) -> None:
        """Frames whose NAL lengths do not fit are dropped and counted, as are empty ones."""
        media, out = run(
            video_config(),
            video(0, True),
            video(40, data=b"\0\0\0\x09\x41"),
            video(80, data=b"\0\0\0\0"),
            video(120, data=b""),
            Video(1, 130, b"\x27\1"),
            Audio(1, 140, b"\xaf"),
            video(160),
        )
        self.assertEqual(shape(out), "T1Vv")
        self.assertEqual(media.dropped, 5)

    def test_mp3(self) -> None:
        """The first frame is the configuration."""
        _, out = run(
            meta(audiocodecid=2.0), Audio(1, 0, b"\x2f" + MP3_FRAME), Audio(1, 26, b"\x2f" + MP3_FRAME)
        )
        self.assertEqual(shape(out), "T2AA")
        self.assertEqual(out[0].tracks[0].codec, MP3)  # type: ignore[union-attr]
        self.assertEqual(out[1].data, MP3_FRAME)  # type: ignore[union-attr]

    def test_audio_codec_changes(self) -> None:
        """AAC to MP3 and back are new tables; frames of the codec not in use are dropped."""
        mp3 = Audio(1, 0, b"\x2f" + MP3_FRAME)
        media, out = run(
            meta(audiocodecid=10.0), audio_config(), audio(0), mp3, audio(0), audio_config(), audio(0)
        )
        self.assertEqual(shape(out), "T2AT2AT2A")
        self.assertEqual([o.tracks[0].codec for o in out if isinstance(o, NewTracks)], [AAC, MP3, AAC])
        self.assertEqual(media.dropped, 1)

    def test_unsupported(self) -> None:
        """A codec we do not carry is said once; other tracks than the default one are passed over."""
        media, out = run(
            Video(1, 0, b"\x90vvc1cfg"),
            Video(1, 0, b"\x91vvc1\0\0\0x"),
            Audio(1, 0, b"\xb2x"),
            Video(1, 0, b"\x96\x01vvc1\x02\0\0\0x"),
        )
        self.assertEqual(
            out, [UnsupportedCodec(TrackKind.VIDEO, "vvc1"), UnsupportedCodec(TrackKind.AUDIO, "flv:11")]
        )
        self.assertEqual(media.other_tracks, 1)

    def test_enhanced_headers(self) -> None:
        """H.264 and AAC behind FourCC headers are the same tracks."""
        _, out = run(
            Video(1, 0, b"\x90avc1" + AVCC),
            Audio(1, 0, b"\x90mp4a" + ASC),
            Video(1, 0, b"\x91avc1\0\0\x50" + NAL),
            Video(1, 40, b"\xa3avc1" + NAL),
            Audio(1, 41, b"\x91mp4araw"),
        )
        self.assertEqual(shape(out), "T12VvA")
        self.assertEqual([o.cts for o in out if isinstance(o, Frame)], [7200, 0, 0])

    def test_what_is_passed_over(self) -> None:
        """HDR metadata, ends, channel maps and what is reserved change nothing and cost no frame (Enhanced
        RTMP v2, "Metadata Frame"); nor does the comment header of Opus, which may follow the other one."""
        head = b"OpusHead\1\2\0\0\x80\xbb\0\0\0\0\0"
        color = b"\x02\0\x09colorInfo\x03\0\x0bcolorConfig\x03\0\0\x09\0\0\x09"
        media, out = run(
            Video(1, 0, b"\x94avc1" + color),
            Video(1, 0, b"\x90avc1" + AVCC),
            Audio(1, 0, b"\x90Opus" + head),
            Audio(1, 0, b"\x90OpusOpusTags" + bytes(8)),
            Audio(1, 0, b"\x94Opus\1\2\0\0\0\3"),
            Video(1, 0, b"\x93avc1" + NAL),
            Video(1, 0, b"\xd4avc1" + color),
            Video(1, 0, b"\x94vvc1" + color),
            Video(1, 20, b"\x96\x31avc1\0\0\0\1x"),
            Video(1, 20, b"\x9aavc1x"),
            Audio(1, 20, b"\x91Opusraw"),
            Video(1, 40, b"\xa3avc1" + NAL),
            Video(1, 40, b"\x92avc1"),
            Audio(1, 40, b"\x92Opus"),
        )
        self.assertEqual(shape(out), "T12VAv")
        self.assertEqual((media.dropped, media.other_tracks), (0, 0))

    def test_every_form_of_multitrack(self) -> None:
        """One track, many tracks, many tracks of many codecs: the same tracks and frames, offset and all."""
        pair = (
            [b"\x96\0avc1\0" + AVCC, b"\x96\0avc1\1" + AVCC],
            [b"\x96\x10avc1" + b"".join(bytes((n, 0, 0, len(AVCC))) + AVCC for n in (0, 1))],
            [b"\x96\x20" + b"".join(b"avc1" + bytes((n, 0, 0, len(AVCC))) + AVCC for n in (0, 1))],
        )
        offset = b"\0\0\x28"
        size = len(NAL) + 3
        frames = (
            [b"\x96\1avc1" + bytes((n,)) + offset + NAL for n in (0, 1)],
            [b"\x96\x11avc1" + b"".join(bytes((n, 0, 0, size)) + offset + NAL for n in (0, 1))],
            [b"\x96\x21" + b"".join(b"avc1" + bytes((n, 0, 0, size)) + offset + NAL for n in (0, 1))],
        )
        found = []
        for configs, pictures in zip(pair, frames, strict=True):
            promise = meta(videocodecid=1.0, videoTrackIdInfoMap={"1": {}})
            _, out = run(promise, *(Video(1, 0, body) for body in (*configs, *pictures)))
            found.append(out)
        first, *frames_out = found[0]
        assert isinstance(first, NewTracks)
        self.assertEqual([track.track_id for track in first.tracks], [1, 17])
        self.assertEqual(frames_out, [Frame(track, 0, 3600, True, NAL) for track in (1, 17)])
        self.assertEqual(found[1:], found[:1] * 2)

    def test_nanoseconds(self) -> None:
        """An offset is kept to the tick of 90 kHz, whichever track it comes with."""
        for nano, ticks in ((0, 0), (5_555, 0), (5_556, 1), (11_111, 1), (500_000, 45), (999_999, 90)):
            head = b"\x97\x02" + nano.to_bytes(3, "big")
            _, out = run(video_config(), video(0, True), Video(1, 40, head + b"\x03avc1" + NAL))
            self.assertEqual(out[-1], Frame(1, 3600 + ticks, 0, True, NAL), nano)


class TimeTests(SynchronousTestCase):
    """Publisher clock."""

    def test_ticks(self) -> None:
        """Milliseconds and offsets times 90, negative offsets too."""
        _, out = run(video_config(), video(40, True, 80), video(80, offset=-40))
        self.assertEqual([(o.dts, o.cts) for o in out if isinstance(o, Frame)], [(3600, 7200), (7200, -3600)])

    def test_unwrap(self) -> None:
        """Over 2**32 and 2**31, back and forth, and jumps (R11)."""
        for given_, want in (
            ([0xFFFFFFF0, 0x10, 0x20], [0xFFFFFFF0, 0x100000010, 0x100000020]),
            ([0x7FFFFFF0, 0x10, 0x20], [0x7FFFFFF0, 0x80000010, 0x80000020]),
            ([0x7FFFFFF0, 0x80000010], [0x7FFFFFF0, 0x80000010]),
            ([100, 99, 0], [100, 99, 0]),
            ([5, 0xFFFFFFFF, 6], [5, -1, 6]),
            ([0, 86_400_000, 0], [0, 86_400_000, 0]),
        ):
            clock = MillisecondClock()
            with self.subTest(given=given_):
                self.assertEqual([clock.unwrap(value) for value in given_], want)

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.integers(0, 2**40), st.lists(st.integers(-10_000, 100_000), max_size=20))
    def test_unwrap_follows_any_clock(self, start: int, steps: list[int]) -> None:
        """Whatever is written modulo 2**32 is read back, up to the unknown start."""
        clock = MillisecondClock()
        value = start
        origin = clock.unwrap(value & 0xFFFFFFFF) - value
        for step in steps:
            value += step
            self.assertEqual(clock.unwrap(value & 0xFFFFFFFF) - value, origin)


class HostileTests(SynchronousTestCase):
    """Any body."""

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**32 - 1), st.binary(max_size=40)), max_size=10))
    def test_never_raises(self, bodies: list[tuple[bool, int, bytes]]) -> None:
        """Whatever comes, nothing leaves but outputs."""
        run(
            video_config(),
            *[Video(1, at, body) if is_video else Audio(1, at, body) for is_video, at, body in bodies],
        )

    @settings(deadline=None, max_examples=300, derandomize=True)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["hvc1", "av01", "vp09", "avc1", "Opus", "ac-3", "ec-3", "mp4a", ".mp3", "vvc1"]
                ),
                st.sampled_from([0x90, 0x91, 0xA1, 0xA3, 0x95]),
                st.one_of(st.none(), st.integers(0, 255)),
                st.binary(max_size=60),
            ),
            max_size=12,
        )
    )
    def test_enhanced_never_raises(self, bodies: list[tuple[str, int, int | None, bytes]]) -> None:
        """Whatever stands behind a FourCC, of a default track or another one."""
        messages: list[Video | Audio] = []
        for codec, first, track, rest in bodies:
            kind = Video if codec in ("hvc1", "av01", "vp09", "avc1", "vvc1") else Audio
            name = codec.encode()
            if track is None:
                messages.append(kind(1, 0, bytes((first,)) + name + rest))
            else:
                multitrack = 6 if kind is Video else 5
                head = bytes((first & 0xF0 | multitrack, first & 15)) + name + bytes((track,))
                messages.append(kind(1, 0, head + rest))
        media, _ = run(*messages)
        self.assertLessEqual(len(media.tracks), 64)

    def test_many_tracks(self) -> None:
        """Tracks of one kind are bounded, whatever their numbers."""
        media, _ = run(*[Audio(1, 0, b"\x95\0mp4a" + bytes((n,)) + ASC) for n in range(256)])
        self.assertEqual(len(media.tracks), 32)
        self.assertEqual(media.other_tracks, 224)

    def test_odd_metadata(self) -> None:
        """Anything may stand where onMetaData should (R24)."""
        values: tuple[Any, ...]
        for values in (
            (),
            ("onMetaData",),
            ("@setDataFrame",),
            ("onMetaData", 5.0),
            (1.0, {}),
            ("@setDataFrame", {}),
        ):
            self.assertEqual(run(Data(1, values))[1], [])
