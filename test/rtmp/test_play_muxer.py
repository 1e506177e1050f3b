"""L{restreamer.rtmp.play_muxer} and L{restreamer.flv.bodies}."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.frame import Frame
from restreamer.media.track import Track, TrackKind, Tracks
from restreamer.rtmp.chunk_reader import ChunkReader, RawMessage
from restreamer.rtmp.limits import WireLimits
from restreamer.rtmp.message import Audio, Data, Video, decode
from restreamer.rtmp.play_muxer import PLAY_CHUNK_SIZE, RtmpFeedMuxer
from restreamer.rtmp.to_media import FlvToMedia, NewTracks
from restreamer.testing.media import ASC, AVCC, START, aac_track, h264_track, mp3_track

TRACKS: Tracks = (h264_track(1, 2_500_000), aac_track(2))
NAL = b"\0\0\0\x02\x65\x88"


def muxer(tracks: Tracks = TRACKS, run_start: int = START) -> RtmpFeedMuxer:
    """A configured muxer."""
    made = RtmpFeedMuxer("live/cam")
    made.configure(tracks, run_start, False)
    return made


def parse(data: bytes) -> list[RawMessage]:
    """The messages of C{data}, as a player that has just joined reads them."""
    reader = ChunkReader(WireLimits())
    reader.chunk_size = PLAY_CHUNK_SIZE
    return reader.receive(data)


class MuxTests(SynchronousTestCase):
    """Bytes of frames."""

    def test_video_bytes(self) -> None:
        """A keyframe, byte by byte: type 0 header on chunk stream 6, stream 1, 0x17, offset."""
        data = muxer().mux(Frame(1, START + 90_000, 7200, True, NAL))
        self.assertEqual(data, b"\x06\x00\x03\xe8\x00\x00\x0b\x09\x01\0\0\0" + b"\x17\x01\x00\x00\x50" + NAL)

    def test_other_bytes(self) -> None:
        """Inter frame with a negative offset, AAC, MP3."""
        made = muxer()
        self.assertEqual(made.mux(Frame(1, START, -3600, False, NAL))[12:17], b"\x27\x01\xff\xff\xd8")
        self.assertEqual(
            made.mux(Frame(2, START, 0, True, b"raw")), b"\x04\0\0\0\0\0\x05\x08\x01\0\0\0\xaf\x01raw"
        )
        mp3 = muxer((mp3_track(2),))
        self.assertEqual(mp3.mux(Frame(2, START, 0, True, b"mp3"))[12:], b"\x2fmp3")

    def test_long_times(self) -> None:
        """At and over 0xFFFFFF ms, with a frame of several chunks; over 2**31 it begins again."""
        body = b"\x00\x02\x49\xf0" + bytes(150_000)
        for milliseconds in (0xFFFFFE, 0xFFFFFF, 0x1000000, 0x7FFFFFFF):
            data = muxer().mux(Frame(1, START + milliseconds * 90, 0, True, body))
            self.assertEqual(parse(data), [RawMessage(9, 1, milliseconds, b"\x17\x01\0\0\0" + body)])
        data = muxer().mux(Frame(1, START + 0x80000000 * 90, 0, True, NAL))
        self.assertEqual(parse(data)[0].timestamp, 0)

    def test_rounding(self) -> None:
        """Both times round down, so presentation times do not jitter."""
        dts = START + 45
        message = parse(muxer().mux(Frame(1, dts, 135, True, NAL)))[0]
        self.assertEqual((message.timestamp, message.payload[2:5]), (0, b"\0\0\x02"))

    def test_unknown_tracks(self) -> None:
        """Frames of tracks that RTMP does not carry, or a second one of a kind, give nothing."""
        other = Track(track_id=3, kind=TrackKind.VIDEO, codec="hvc1")
        second = evolve(aac_track(4), language="deu")
        made = muxer((*TRACKS, other, second))
        for track_id in (3, 4, 5):
            self.assertEqual(made.mux(Frame(track_id, START, 0, True, b"x")), b"")

    def test_two_nodes_agree(self) -> None:
        """The same frames give the same bytes, whenever a node began."""
        frames = [Frame(1, START + 3600 * n, 0, n % 5 == 0, NAL) for n in range(10)]
        one, other = muxer(), muxer()
        first = [one.mux(frame) for frame in frames]
        self.assertEqual(first[5:], [other.mux(frame) for frame in frames[5:]])
        self.assertEqual(one.join_prefix(), other.join_prefix())


class PrefixTests(SynchronousTestCase):
    """Metadata and sequence headers."""

    def test_join(self) -> None:
        """onMetaData, AVC and AAC headers, at the time of the last frame."""
        made = muxer()
        made.mux(Frame(1, START + 90_000, 0, True, NAL))
        data, video, audio = parse(made.join_prefix())
        self.assertEqual(video, RawMessage(9, 1, 1000, b"\x17\0\0\0\0" + AVCC))
        self.assertEqual(audio, RawMessage(8, 1, 1000, b"\xaf\0" + ASC))
        message = decode(data, 65536)
        assert isinstance(message, Data)
        name, members = message.values
        self.assertEqual(name, "onMetaData")
        self.assertEqual(data.payload[13], 8, "ECMA array")
        want = {
            "title": "live/cam",
            "videocodecid": 7,
            "audiocodecid": 10,
            "width": 640,
            "height": 360,
            "framerate": 25,
            "videodatarate": 2500,
            "audiosamplerate": 48000,
            "audiochannels": 2,
            "stereo": True,
        }
        self.assertEqual({key: members[key] for key in want}, want)
        self.assertNotIn("audiodatarate", members)
        self.assertEqual(made.skip_prefix(), made.join_prefix())

    def test_track_change(self) -> None:
        """Players already there get the new headers once, in band, before the next frame."""
        made = muxer()
        frame = Frame(1, START, 0, True, NAL)
        self.assertEqual(len(parse(made.mux(frame))), 1)
        changed = evolve(TRACKS[0], config=AVCC + b"\0")
        made.configure((changed, TRACKS[1]), START, True)
        messages = parse(made.mux(frame))
        self.assertEqual([m.kind for m in messages], [18, 9, 8, 9])
        self.assertEqual(messages[1].payload, b"\x17\0\0\0\0" + AVCC + b"\0")
        self.assertEqual(len(parse(made.mux(frame))), 1)

    def test_unconfigured(self) -> None:
        """Before the tracks are known there is nothing to say."""
        made = RtmpFeedMuxer("x")
        self.assertEqual(made.join_prefix(), b"")
        self.assertEqual(made.mux(Frame(1, 0, 0, True, NAL)), b"")

    def test_back_to_media(self) -> None:
        """A publisher's reader gets the same tracks and frames out of our bytes."""
        made = muxer()
        frames = [
            Frame(1, START, 7200, True, NAL),
            Frame(2, START + 900, 0, True, b"raw"),
            Frame(1, START + 3600, 0, False, NAL),
        ]
        media = FlvToMedia()
        found = []
        for raw in parse(made.join_prefix() + b"".join(made.mux(frame) for frame in frames)):
            message = decode(raw, 65536)
            assert isinstance(message, Audio | Video | Data)
            found += media.take(message)
        self.assertEqual(found[0], NewTracks(media.tracks))
        self.assertEqual([t.config for t in media.tracks], [t.config for t in TRACKS])
        self.assertEqual(found[1:], [evolve(frame, dts=frame.dts - START) for frame in frames])
