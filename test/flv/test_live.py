"""L{restreamer.flv.live_muxer} and L{restreamer.flv.http_play}."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import Reason, Refused
from restreamer.flv import amf0
from restreamer.flv.http_play import flv_route
from restreamer.flv.live_muxer import FlvFeedMuxer, several_tracks
from restreamer.http1.reply import EndlessReply, FullReply, HttpRequest
from restreamer.media.frame import Frame
from restreamer.media.selection import TrackSelection
from restreamer.media.track import AAC, HEVC, OPUS, Tracks
from restreamer.rtmp.message import Audio, Data, Video
from restreamer.rtmp.to_media import FlvToMedia, NewTracks
from restreamer.seams import OpenRequest
from restreamer.testing.media import AVCC, START, aac_track, h264_track, make_frames
from test.flv.samples import AUDIO, VIDEO, frames_of, with_id

AV: Tracks = (h264_track(), aac_track())


def read(data: bytes) -> list[tuple[int, int, bytes]]:
    """Kind, time and body of each tag; every size must fit."""
    tags = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        time = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        assert data[at + 8 : at + 11] == bytes(3)
        tags.append((data[at], time, data[at + 11 : at + 11 + size]))
        assert int.from_bytes(data[at + 11 + size : at + 15 + size], "big") == 11 + size
        at += 15 + size
    return tags


def media_of(tags: list[tuple[int, int, bytes]]) -> list[Any]:
    """What a publisher's reader makes of them."""
    media = FlvToMedia()
    out: list[Any] = []
    for kind, time, body in tags:
        if kind == 18:
            out += media.take(Data(1, tuple(amf0.decode(body))))
        else:
            out += media.take((Video if kind == 9 else Audio)(1, time, body))
    return out


class MuxerTests(SynchronousTestCase):
    """Bytes."""

    def test_file(self) -> None:
        """Header, metadata, sequence headers, frames: a file that any reader knows."""
        muxer = FlvFeedMuxer("live/cam")
        muxer.configure(AV, START, False)
        frames = make_frames(1.0)
        head = muxer.join_prefix()
        self.assertEqual(head[:13], b"FLV\x01\x05\0\0\0\x09\0\0\0\0")
        data = head[13:] + b"".join(muxer.mux(frame) for frame in frames)
        tags = read(data)
        self.assertEqual([kind for kind, _, _ in tags[:3]], [18, 9, 8])
        self.assertEqual(tags[1], (9, 0, b"\x17\0\0\0\0" + AVCC))
        table, *found = media_of(tags)
        assert isinstance(table, NewTracks)
        self.assertEqual([frame.data for frame in found], [frame.data for frame in frames])
        self.assertEqual([frame.dts for frame in found], [(f.dts - START) // 90 * 90 for f in frames])

    def test_flags(self) -> None:
        """The header says which kinds there are."""
        for tracks, flags in (((aac_track(),), 4), ((h264_track(),), 1)):
            muxer = FlvFeedMuxer("x")
            muxer.configure(tracks, START, False)
            self.assertEqual(muxer.join_prefix()[4], flags)

    def test_long_times(self) -> None:
        """Beyond 24 bits the extension byte is used."""
        muxer = FlvFeedMuxer("x")
        muxer.configure(AV, START, False)
        for ms in (0xFFFFFF, 0x1000000, 0x7FFFFFFF):
            ((_, time, _),) = read(muxer.mux(Frame(2, START + ms * 90, 0, True, b"raw")))
            self.assertEqual(time, ms)

    def test_change(self) -> None:
        """New headers come once, in band, without a file header."""
        muxer = FlvFeedMuxer("x")
        muxer.configure(AV, START, False)
        frame = Frame(1, START, 0, True, b"\0\0\0\1\x65")
        self.assertEqual(len(read(muxer.mux(frame))), 1)
        muxer.configure((evolve(AV[0], config=AVCC + b"\0"), AV[1]), START, True)
        self.assertEqual([kind for kind, _, _ in read(muxer.mux(frame))], [18, 9, 8, 9])
        self.assertEqual(len(read(muxer.mux(frame))), 1)
        self.assertEqual([kind for kind, _, _ in read(muxer.skip_prefix())], [18, 9, 8])

    def test_several_tracks(self) -> None:
        """One track of a kind, unless the reader named more."""
        tracks = (VIDEO[HEVC], AUDIO[AAC], with_id(AUDIO[OPUS], 65))
        frames = sorted((f for t in tracks for f in frames_of(t, 12)), key=lambda f: (f.dts, f.track_id))
        for make, ids in ((FlvFeedMuxer, {1, 2}), (several_tracks, {1, 2, 65})):
            muxer = make("x")
            muxer.configure(tracks, START, False)
            self.assertTrue(all(muxer.carries(track) for track in tracks))
            data = muxer.join_prefix()[13:] + b"".join(muxer.mux(frame) for frame in frames)
            found = [each for each in media_of(read(data)) if isinstance(each, Frame)]
            self.assertEqual({frame.track_id for frame in found}, ids)
            self.assertEqual(len(found), 12 * len(ids))

    def test_before_tracks(self) -> None:
        """Nothing to say."""
        muxer = FlvFeedMuxer("x")
        self.assertEqual((muxer.join_prefix(), muxer.skip_prefix()), (b"", b""))
        self.assertEqual(muxer.mux(Frame(1, 0, 0, True, b"x")), b"")


@define
class Stage:
    """Play point, playable and viewer in one."""

    refusal: Refused | None = None
    requests: tuple[OpenRequest, ...] = ()
    joined: tuple[str, TrackSelection | None] | None = None
    late: Refused | None = None

    async def play(self, request: OpenRequest) -> Any:
        self.requests = (*self.requests, request)
        if self.refusal is not None:
            raise self.refusal
        return self

    def tracks(self, container: str, selection: TrackSelection | None = None) -> Tracks:
        return AV

    def join(
        self, container: str, transport: Any, ended: Callable[[str], None], selection: TrackSelection | None
    ) -> Any:
        if self.late is not None:
            raise self.late
        self.joined = container, selection
        return self

    def leave(self) -> None:
        self.joined = None


class RouteTests(SynchronousTestCase):
    """C{/NAME/live.flv} and C{/NAME.flv}."""

    def ask(self, stage: Stage, path: str, query: str = "", method: str = "GET") -> Any:
        """The answer of the route."""
        reply = flv_route(stage)(HttpRequest(method=method, path=path, query=query, peer="p"))
        if isinstance(reply, Awaitable):
            return self.successResultOf(Deferred.fromCoroutine(reply))  # type: ignore[arg-type]
        return reply

    def test_addresses(self) -> None:
        """Both forms; others are not its own."""
        for path, name in (
            ("/live/cam/live.flv", "live/cam"),
            ("/live/cam.flv", "live/cam"),
            ("/c.flv", "c"),
        ):
            stage = Stage()
            reply = self.ask(stage, path, "token=t")
            assert isinstance(reply, EndlessReply)
            self.assertIn(b"video/x-flv", reply.headers)
            (request,) = stage.requests
            self.assertEqual((request.name, request.proto, request.token), (name, "flv", "t"))
            leave = reply.start(None, lambda reason: None)  # type: ignore[arg-type]
            self.assertEqual(stage.joined, ("flv", None))
            leave()
            self.assertIsNone(stage.joined)
        for path in ("/.flv", "/live.flvx", "/cam/mpegts", "/cam/flv"):
            self.assertIsNone(self.ask(Stage(), path), path)

    def test_selection(self) -> None:
        """filter.tracks; several of a kind are another container; nonsense is 400."""
        for text, container in (("v1a2", "flv"), ("v1a1a2", "flvtracks")):
            stage = Stage()
            reply = self.ask(stage, "/cam.flv", f"filter.tracks={text}")
            reply.start(None, lambda reason: None)
            self.assertEqual(stage.joined, (container, TrackSelection.parse(text)))
        self.assertEqual(self.ask(Stage(), "/cam.flv", "filter.tracks=x").status, 400)

    def test_refusals(self) -> None:
        """Each its status; too late to say so: the body ends."""
        for reason, status in ((Reason.NOT_FOUND, 404), (Reason.UNSUPPORTED, 415), (Reason.NOT_READY, 503)):
            reply = self.ask(Stage(refusal=Refused(reason, "no")), "/cam.flv")
            assert isinstance(reply, FullReply)
            self.assertEqual(reply.status, status)
        self.assertEqual(self.ask(Stage(), "/-bad.flv").status, 400)
        self.assertEqual(self.ask(Stage(), "/cam.flv", method="POST").status, 405)
        ends: list[str] = []
        self.ask(Stage(late=Refused(Reason.NOT_FOUND, "gone")), "/cam.flv").start(None, ends.append)()
        self.assertEqual(ends, ["gone"])
