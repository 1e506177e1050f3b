"""The past as players of endless feeds get it: paced, from 0, over gaps, to its end."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.past_playable import AHEAD, PastPlaying
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.media.frame import Frame
from restreamer.media.track import Track, Tracks
from restreamer.seams import FeedMuxer, Grant, OpenRequest, Playable
from test.dvr.memory_archive import FIRST, D, MemoryArchive


class Archives(MemoryArchive):
    """An archive that says what it may have."""

    def takes(self, name: str) -> bool:
        return name == self.name


class Gate:
    """Lets everybody in, or nobody."""

    refusal: Refused | None = None

    async def open(self, request: OpenRequest) -> Grant:
        if self.refusal is not None:
            raise self.refusal
        return Grant(request=request)


class Live:
    """Has nothing."""

    async def play(self, request: OpenRequest) -> Playable:
        raise Refused(Reason.NOT_READY, "live")


class Muxer(FeedMuxer):
    """Writes times, in seconds."""

    def __init__(self, title: str) -> None:
        self.zero = 0

    @override
    def carries(self, track: Track) -> bool:
        return True

    @override
    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        self.zero = run_start

    @override
    def mux(self, frame: Frame) -> bytes:
        return f"{(frame.dts - self.zero) // 90_000} ".encode()

    @override
    def join_prefix(self) -> bytes:
        return b"head "


class Wire:
    """A transport that takes everything at once, unless it is stuck."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.said = b""
        self.stuck = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.said += data

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: N802
        if not self.stuck:
            self.clock.callLater(0, producer.resumeProducing)  # type: ignore[attr-defined]

    def unregisterProducer(self) -> None:  # noqa: N802
        pass

    def loseConnection(self) -> None:  # noqa: N802
        pass

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True


class PastCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.archives = Archives()
        self.gate = Gate()
        self.ended: list[str] = []
        self.wire = Wire(self.clock)
        now = lambda: (FIRST + 1000) * D  # noqa: E731
        hours = ArchiveHours(self.archives, now, self.clock.seconds)  # type: ignore[arg-type]
        muxers = {"rtmp": Muxer}
        self.point = PastPlaying(Live(), hours, self.gate, muxers, self.clock, now)

    def play(self, query: str) -> Deferred[Playable]:
        request = OpenRequest(name="cam", action="play", proto="rtmp", peer="::1", query=query)
        return Deferred.fromCoroutine(self.point.play(request))

    def refused(self, query: str) -> Reason:
        reason: Reason = self.failureResultOf(self.play(query), Refused).value.reason
        return reason

    def run_for(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))

    def test_paced(self) -> None:
        """From 0, a second ahead, on over a gap, and an end."""
        self.archives.keep([FIRST, FIRST + 1, FIRST + 5])
        playable = self.successResultOf(self.play(f"from={FIRST * 2}&to={FIRST * 2 + 20}"))
        playable.join("rtmp", self.wire, self.ended.append)
        self.run_for(0.1)
        self.assertEqual(self.wire.said, b"head 0 1 ")
        self.run_for(3.0 - AHEAD)
        self.assertEqual(self.wire.said, b"head 0 1 2 3 ")
        self.run_for(3)
        self.assertEqual(self.wire.said, b"head 0 1 2 3 4 5 ")
        self.assertEqual(len(self.ended), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leave(self) -> None:
        """Nothing more, at once."""
        self.archives.keep([FIRST, FIRST + 1])
        playable = self.successResultOf(self.play(f"from={FIRST * 2}&to={FIRST * 2 + 4}"))
        viewer = playable.join("rtmp", self.wire, self.ended.append)
        self.run_for(0.1)
        viewer.leave()
        self.assertEqual((self.clock.getDelayedCalls(), self.ended), ([], []))

    def test_stuck(self) -> None:
        """Who takes nothing is dropped, with one frame in memory."""
        self.archives.keep([FIRST, FIRST + 1])
        self.wire.stuck = True
        playable = self.successResultOf(self.play(f"from={FIRST * 2}&to={FIRST * 2 + 4}"))
        playable.join("rtmp", self.wire, self.ended.append)
        self.run_for(11)
        self.assertEqual((self.wire.said, self.wire.aborted), (b"head 0 ", True))

    def test_refusals(self) -> None:
        """Each for its reason; without a time it is the stream itself."""
        self.assertEqual(self.refused(""), Reason.NOT_READY)
        self.assertEqual(self.refused("from=5&to=9"), Reason.NOT_FOUND)
        self.archives.keep([FIRST])
        self.assertEqual(self.refused("from=5&to=9"), Reason.NOT_FOUND)
        for absurd in ("from=x", "from=-5", "from=99999999999", "from=9&to=5"):
            self.assertEqual(self.refused(absurd), Reason.BAD_NAME, absurd)
        self.gate.refusal = Refused(Reason.DENIED, "no")
        self.assertEqual(self.refused(f"from={FIRST * 2}&to={FIRST * 2 + 4}"), Reason.DENIED)
