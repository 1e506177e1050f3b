"""The past by RTSP: where PLAY begins, goes on, what is answered (RFC 2326 sections 10.5, 10.6, 12.29)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.past_playable import PastPlaying
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import RemoteProtocolError
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.rtsp.message import Reply
from restreamer.rtsp.play_muxer import RtspFeedMuxer
from restreamer.rtsp.play_range import PlayRange, clock_range, parse_range
from restreamer.seams import OpenRequest
from restreamer.viewers.gate import PasswordGate
from test.dvr.fake_archive import FakeArchive, made
from test.rtsp.fakes import FakeCore, Peer, Rig

#: 2023-11-14T22:13:20Z.
T = 1_700_000_000
TIME = "20231114T2213{:02}Z"


@define(eq=False)
class PastCore(FakeCore):
    """A stream that runs, and a minute of its past."""

    past: PastPlaying = field(init=False)

    @override
    def play(self, request: OpenRequest) -> Awaitable[Any]:
        if "from=" in request.query:
            return self.past.play(request)
        return super().play(request)


class PastTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        core = PastCore()
        self.rig = Rig(core=core)
        archive = FakeArchive("cam")
        for second in range(0, 60, 5):
            archive.keep(made((T + second) * TICKS_PER_SECOND))

        def utc() -> int:
            return round((T + 3600 + self.rig.clock.seconds()) * TICKS_PER_SECOND)

        clock = self.rig.clock
        core.past = PastPlaying(
            core,
            ArchiveHours(archive, utc, clock.seconds),
            PasswordGate(lambda name: ""),
            {"rtsp": RtspFeedMuxer},
            clock,
            utc,
        )

    def player(self, path: str) -> Peer:
        peer = self.rig.peer()
        takes, later = peer.wire.registerProducer, self.rig.clock.callLater

        def register(producer: Any, streaming: bool) -> None:
            takes(producer, streaming)
            if not streaming:
                _ = later(0, producer.resumeProducing)

        peer.wire.registerProducer = register  # type: ignore[method-assign]
        told = peer.ask("DESCRIBE", path)
        self.assertEqual(told.status, 200)
        self.described = told.body.decode()
        peer.set_up(1, path=path)
        peer.set_up(2, "RTP/AVP/TCP;unicast;interleaved=2-3", path=path)
        return peer

    def play(self, peer: Peer, **headers: str) -> Reply:
        """PLAY, as players send it: of the content base, without the query."""
        replies = peer.send(peer.text("PLAY", "/cam/", **headers))
        self.rig.clock.pump([0.01] * 5)
        replies += peer.read()
        self.assertEqual(len(replies), 1)
        return replies[0]

    def watch(self, seconds: float) -> None:
        self.rig.clock.pump([0.02] * round(seconds * 50))

    def past(self) -> Peer:
        return self.player(f"/cam?from={T}&to={T + 60}")

    def test_from_the_beginning(self) -> None:
        """What there is, and where it begins."""
        peer = self.past()
        self.assertIn("a=range:npt=0.000-60.000\r\n", self.described)
        reply = self.play(peer, Range="npt=0.000-")
        self.assertEqual((reply.status, reply.header("range")), (200, "npt=0.040-60.000"))

    def test_seconds_from_the_beginning(self) -> None:
        """At the last keyframe before them."""
        reply = self.play(self.past(), Range="npt=32.5-40")
        self.assertEqual((reply.status, reply.header("range")), (200, "npt=32.040-40.000"))
        reply = self.play(self.past(), Range="npt=0:00:32.5-")
        self.assertEqual(reply.header("range"), "npt=32.040-60.000")

    def test_a_moment(self) -> None:
        """Of an archive, and of a stream that runs and is recorded; C{npt=now-} leads back to live."""
        reply = self.play(self.past(), Range=f"clock={TIME.format(41)}-")
        self.assertEqual((reply.status, reply.header("range")), (200, "npt=20.040-60.000"))
        peer = self.player("/cam?token=secret")
        self.assertIn("a=range:npt=now-\r\n", self.described)
        reply = self.play(peer, Range=f"clock={TIME.format(41)}-{TIME.format(50)}")
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.header("range"), "clock=20231114T221340.040Z-20231114T221350.000Z")
        self.assertEqual(self.rig.core.requests[0].token, "secret")
        self.watch(10)
        self.assertTrue(peer.protocol.closed, "it was over")
        self.assertFalse(peer.wire.aborted)

    def test_pause(self) -> None:
        """It goes on where it paused, and again from the beginning when that is asked for."""
        peer = self.past()
        self.play(peer)
        self.watch(10)
        self.assertEqual(peer.ask("PAUSE", "/cam/").status, 200)
        peer.frames.clear()
        self.watch(20)
        peer.read()
        self.assertEqual(peer.frames, [])
        begins = float(self.play(peer).header("range")[4:].partition("-")[0])
        self.assertTrue(9 <= begins <= 11.2, begins)
        self.watch(3)
        self.assertEqual(peer.ask("PAUSE", "/cam/").status, 200)
        begins = float(self.play(peer).header("range")[4:].partition("-")[0])
        self.assertTrue(12 <= begins <= 14.2, begins)
        self.assertEqual(self.play(peer, Range="npt=0-").header("range"), "npt=0.040-60.000")

    def test_paused_in_the_past_of_a_stream(self) -> None:
        """Likewise; then live."""
        peer = self.player("/cam")
        self.play(peer, Range=f"clock={TIME.format(30)}-")
        self.watch(4)
        peer.ask("PAUSE", "/cam/")
        begins = self.play(peer).header("range")
        self.assertTrue("clock=20231114T221333" <= begins < "clock=20231114T221336", begins)
        peer.ask("PAUSE", "/cam/")
        self.assertEqual(peer.send(peer.text("PLAY", "/cam/", Range="npt=now-")), [])
        self.assertEqual(len(self.rig.core.streams["cam"].viewers), 1)

    def test_not_there(self) -> None:
        """457, and what was set up stays."""
        peer = self.past()
        for text in (
            f"clock={TIME.format(10)}-",
            "clock=20991114T221310Z-",
            "clock=20231314T221310Z-",
            "npt=60-",
            "npt=9-5",
            "smpte=0:10:00-",
            "bytes=0-",
        ):
            self.assertEqual(self.play(peer, Range=text).status, 457, text)
        self.assertEqual(self.play(peer, Range="npt=5-").status, 200)
        unrecorded = self.player("/cam")
        self.rig.core.past._hours.archives.name = "other"  # type: ignore[attr-defined]
        self.assertEqual(self.play(unrecorded, Range=f"clock={TIME.format(41)}-").status, 457)

    def test_faster(self) -> None:
        """Is declined: one second a second, and said so."""
        reply = self.play(self.past(), Scale="4.0", Speed="2.0")
        self.assertEqual((reply.header("scale"), reply.header("speed")), ("1", "1"))


class RangeTests(SynchronousTestCase):
    def test_times(self) -> None:
        found = parse_range("clock=20231114T221320.25Z-;time=19970123T143720Z")
        assert found is not None
        self.assertEqual(
            (found.clock, found.start, found.end), (True, (4 * T + 1) * TICKS_PER_SECOND // 4, None)
        )
        self.assertIsNone(parse_range(" "))
        self.assertEqual(parse_range("npt=now-"), PlayRange(False, None, None))

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.integers(0, 1 << 48), st.none() | st.integers(1, 1 << 40))
    def test_back(self, start: int, lasts: int | None) -> None:
        """What is written is read, to the millisecond."""
        start -= start % 90
        end = start + lasts * 90 if lasts is not None and lasts < 1 << 30 else None
        found = parse_range(clock_range(start, end))
        assert found is not None
        self.assertEqual((found.start, found.end), (start, end))

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.text(max_size=40) | st.from_regex(r"\A(npt|clock)=[0-9TZ.:-]{0,30}\Z"))
    def test_anything(self, text: str) -> None:
        try:
            parse_range(text)
        except RemoteProtocolError:
            pass
