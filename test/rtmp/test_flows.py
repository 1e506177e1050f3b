"""Recorded client flows (test/vectors/rtmp) against the server's machine."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.frame import Frame
from restreamer.media.track import AAC, H264
from restreamer.rtmp.connection import ServerConnection
from restreamer.rtmp.events import Event, PlayRequested, PublishRequested
from restreamer.rtmp.message import Audio, Data, Video
from restreamer.rtmp.to_media import FlvToMedia, NewTracks, Output
from test.rtmp.wire import VECTORS, cuts, server

#: File, client, video frames, keyframes, audio frames, audio rate, bandwidths, ends properly.
PUBLISHERS = [
    ("ffmpeg", "FMLE/3.0 (compatible; Lavf59.27.100)", 75, 3, 142, 48000, (58593, 23437)),
    ("gstreamer", "LNX 10,0,32,18", 75, 3, 131, 44100, (60000, 23000)),
    ("librtmp", "", 75, 3, 131, 44100, (60000, 23000)),
    ("obs", "FMLE/3.0 (compatible; FMSc/1.0)", 122, 5, 225, 48000, (60000, 64000)),
]
PLAYERS = [("ffmpeg", True), ("rtmpdump", True), ("gstreamer", False)]


def replay(pieces: Iterable[bytes]) -> tuple[ServerConnection, list[Event]]:
    """Grant everything at once, as the server did when the flow was recorded."""
    connection = server()
    found: list[Event] = []
    for piece in pieces:
        for event in connection.receive(piece):
            found.append(event)
            if isinstance(event, PublishRequested):
                found += connection.accept_publish(event.request)
            elif isinstance(event, PlayRequested):
                connection.accept_play(event.request)
        connection.data_to_send()
    return connection, found


def names(events: list[Event]) -> list[str]:
    """What happened, without the media."""
    return [type(event).__name__ for event in events if not isinstance(event, Audio | Video | Data)]


class FlowTests(SynchronousTestCase):
    """Real clients."""

    def test_publishers(self) -> None:
        """Each publishes its tracks and every frame, in any fragmentation."""
        for client, software, video, keys, audio, rate, bandwidths in PUBLISHERS:
            data = (VECTORS / f"{client}_publish.bin").read_bytes()
            for seed in (1, 2):
                with self.subTest(client, seed=seed):
                    _, events = replay(cuts(data, seed))
                    self.assertEqual(names(events), ["Connected", "PublishRequested", "PublishEnded"])
                    self.assertEqual(events[0].client, software)  # type: ignore[union-attr]
                    name = "live/gst" if client == "gstreamer" else f"live/{client}"
                    self.assertEqual(events[1].address.name, name)  # type: ignore[union-attr]
                    media = FlvToMedia()
                    out: list[Output] = []
                    for event in events:
                        if isinstance(event, Audio | Video | Data):
                            out += media.take(event)
                    self.assertEqual(sum(isinstance(o, NewTracks) for o in out), 1)
                    picture, sound = media.tracks
                    self.assertEqual((picture.codec, picture.width, picture.height), (H264, 160, 90))
                    self.assertEqual((sound.codec, sound.sample_rate), (AAC, rate))
                    self.assertEqual((picture.bandwidth, sound.bandwidth), bandwidths)
                    self.assertEqual((media.dropped, media.bad_configs), (0, 0))
                    frames = [o for o in out if isinstance(o, Frame)]
                    shown = [frame for frame in frames if frame.track_id == 1]
                    self.assertEqual(sum(frame.key for frame in shown), keys)
                    self.assertEqual((len(shown), len(frames) - len(shown)), (video, audio))
                    for track in (1, 2):
                        times = [frame.dts for frame in frames if frame.track_id == track]
                        self.assertEqual(times, sorted(times))
                    self.assertTrue(any(frame.cts > 3600 for frame in shown), "B-frames")

    def test_obs_token(self) -> None:
        """The key's parameter is the token."""
        _, events = replay([(VECTORS / "obs_publish.bin").read_bytes()[:5000]])
        self.assertEqual(events[1].address.token, "abc")  # type: ignore[union-attr]

    def test_players(self) -> None:
        """Each gets as far as its play, and ends it if it says so."""
        for client, ends in PLAYERS:
            data = (VECTORS / f"{client}_play.bin").read_bytes()
            for seed in (1, 2):
                with self.subTest(client, seed=seed):
                    _, events = replay(cuts(data, seed, 40))
                    expected = ["Connected", "PlayRequested", *(["PlayEnded"] if ends else [])]
                    self.assertEqual(names(events), expected)
                    self.assertEqual(events[1].address.name, "live/p")  # type: ignore[union-attr]
