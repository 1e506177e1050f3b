"""Archives as MPEG-TS: where they begin and end, what lies between, what is waited for."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.playback import PlaybackCounters
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.http1.reply import EndlessReply, FullReply, HttpRequest
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.testing.ts_reader import TsReader
from restreamer.tsio.archive_play import MAX_OF_PEER, archive_ts_route
from restreamer.viewers.gate import PasswordGate
from test.dvr.fake_archive import FakeArchive, made
from test.vod.fakes import Threads

#: Divisible by the five seconds of a segment.
T = 1_700_000_000


class Wire:
    """A transport that takes everything at once, or nothing."""

    def __init__(self, taking: bool = True) -> None:
        self.data = bytearray()
        self.taking = taking
        self.aborted = False
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        self.data += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True

    def loseConnection(self) -> None:  # noqa: N802
        """Not called."""

    def pump(self) -> None:
        while self.taking and self.producer is not None:
            self.producer.resumeProducing()


class ArchiveTsTests(SynchronousTestCase):
    """C{archive-FROM-DUR.ts} and what plays in real time."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.now = T + 3600
        self.archive = FakeArchive()
        self.counters = PlaybackCounters()
        self.wire = Wire()
        self.ends: list[str] = []
        self.stop: Any = None
        hours = ArchiveHours(self.archive, self.utc, self.clock.seconds)
        self.route = archive_ts_route(
            hours,
            PasswordGate(lambda name: ""),
            mux_segment,
            Threads(),
            self.clock,
            self.utc,
            counters=self.counters,
        )

    def utc(self) -> int:
        return (self.now * TICKS_PER_SECOND) + int(self.clock.seconds() * TICKS_PER_SECOND)

    def keep(self, *seconds: int) -> None:
        for second in seconds:
            self.archive.keep(made((T + second) * TICKS_PER_SECOND))

    def ask(self, path: str, query: str = "", method: str = "GET", peer: str = "192.0.2.1") -> Any:
        outcome = self.route(HttpRequest(method=method, path=path, query=query, peer=peer))
        if isinstance(outcome, Awaitable):
            return self.successResultOf(Deferred.fromCoroutine(outcome))  # type: ignore[arg-type]
        return outcome

    def play(self, path: str, query: str = "") -> None:
        reply = self.ask(path, query)
        assert isinstance(reply, EndlessReply), reply
        self.stop = reply.start(self.wire, self.ends.append)
        self.wire.pump()

    def expected(self, *parts: tuple[int, bool]) -> bytes:
        found = []
        for second, breaks in parts:
            segment = made((T + second) * TICKS_PER_SECOND)
            found.append(mux_segment(segment.tracks, segment.frames(), title="x", discontinuity=breaks))
        return b"".join(found)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            self.wire.pump()

    def test_download(self) -> None:
        """From the segment that holds FROM to that which reaches the end, at once, as one stream."""
        self.keep(*range(0, 60, 5))
        self.play(f"/x/archive-{T + 7}-10.ts")
        self.assertEqual(bytes(self.wire.data), self.expected((5, False), (10, False), (15, False)))
        self.assertEqual(self.ends, ["end of file"])
        self.assertFalse(self.wire.aborted)
        TsReader().feed(bytes(self.wire.data)).finish()

    def test_gap(self) -> None:
        """What follows a gap says so."""
        self.keep(0, 5, 30, 35)
        self.play(f"/x/archive-{T}-40.ts")
        self.assertEqual(
            bytes(self.wire.data), self.expected((0, False), (5, False), (30, True), (35, False))
        )
        self.assertEqual(self.counters.gaps, 1)

    def test_damaged(self) -> None:
        """What cannot be read is left out like a gap."""
        self.keep(0, 5, 10)
        self.archive.damaged.add((T + 5) // 5)
        self.play(f"/x/archive-{T}-15.ts")
        self.assertEqual(bytes(self.wire.data), self.expected((0, False), (10, True)))
        self.assertEqual(self.counters.damaged, 1)

    def test_nothing_can_be_read(self) -> None:
        """A range of which all is damaged is not there: no empty answer says that it was."""
        self.keep(0, 5, 10)
        self.archive.damaged.update((T + second) // 5 for second in (0, 5, 10))
        for path in (f"/x/archive-{T}-15.ts", f"/x/archive/{T}/15/mpegts"):
            self.assertEqual(self.ask(path).status, 404)
        self.assertEqual(self.counters.damaged, 6)

    def test_away(self) -> None:
        """A source that is away in the middle is waited for, then the body is cut, not ended."""
        self.keep(0, 5, 10)
        reply = self.ask(f"/x/archive-{T}-15.ts")
        self.archive.refusal = Refused(Reason.NOT_READY, "away")
        self.stop = reply.start(self.wire, self.ends.append)
        self.pass_time(9)
        self.assertFalse(self.wire.aborted)
        self.pass_time(3)
        self.assertTrue(self.wire.aborted)
        self.assertEqual(self.counters.lost, 1)
        self.assertFalse(self.clock.getDelayedCalls())

    def test_comes_back(self) -> None:
        """One that is back in time costs nothing but the time."""
        self.keep(0, 5, 10)
        reply = self.ask(f"/x/archive-{T}-15.ts")
        self.archive.refusal = Refused(Reason.NOT_READY, "away")
        self.stop = reply.start(self.wire, self.ends.append)
        self.pass_time(3)
        self.archive.refusal = None
        self.pass_time(2)
        self.assertEqual(bytes(self.wire.data), self.expected((0, False), (5, False), (10, False)))
        self.assertEqual(self.ends, ["end of file"])

    def test_paced(self) -> None:
        """The older form is ten seconds ahead of real time at most."""
        self.keep(*range(0, 60, 5))
        self.play(f"/x/archive/{T}/60/mpegts")
        size = len(self.wire.data)
        whole = len(self.expected(*[(second, False) for second in range(0, 60, 5)]))
        self.assertTrue(whole * 0.15 < size < whole * 0.35, size / whole)
        self.pass_time(70)
        self.assertEqual(len(self.wire.data), whole)
        self.assertEqual(self.ends, ["end of file"])

    def test_late(self) -> None:
        """C{timeshift_rel} keeps its delay over a gap."""
        self.keep(*range(0, 30, 5), *range(60, 100, 5))
        self.now = T + 3610
        self.play("/x/timeshift_rel/3600")
        self.pass_time(25)
        before = len(self.wire.data)
        self.pass_time(10)
        self.assertEqual(len(self.wire.data), before)
        self.pass_time(10)
        self.assertGreater(len(self.wire.data), before)
        self.stop()
        self.assertFalse(self.clock.getDelayedCalls())

    def test_live_edge(self) -> None:
        """C{timeshift_abs} goes on with what is recorded meanwhile, and ends when nothing is."""
        self.keep(0, 5)
        self.now = T + 10
        self.play(f"/x/timeshift_abs-{T + 3}.ts")
        self.pass_time(3)
        self.keep(10)
        self.pass_time(5)
        self.assertEqual(bytes(self.wire.data[:1]), b"\x47")
        self.pass_time(20)
        self.assertEqual(bytes(self.wire.data), self.expected((0, False), (5, False), (10, False)))
        self.assertEqual(self.ends, [])
        self.pass_time(60)
        self.assertEqual(self.ends, ["end of file"])
        self.assertFalse(self.clock.getDelayedCalls())

    def test_begins_at_the_live_edge(self) -> None:
        """C{timeshift_rel-0}: the newest segment is begun with when the next one is not there yet."""
        self.now = T + 12
        self.keep(0, 5)
        for path in ("timeshift_rel-0.ts", "timeshift_rel/1", f"timeshift_abs-{T + 12}.ts"):
            self.wire = Wire()
            self.play(f"/x/{path}")
            self.assertEqual(bytes(self.wire.data), self.expected((5, False)), path)
            self.stop()
        self.play("/x/timeshift_rel-0.ts")
        self.keep(10)
        self.pass_time(3.0)
        self.assertEqual(bytes(self.wire.data)[-188:], self.expected((10, False))[-188:])
        # A stream that stands still for long has no newest segment to go on from.
        self.now = T + 200
        self.assertEqual(self.ask("/x/timeshift_rel-0.ts").status, 404)
        self.assertEqual(self.ask(f"/x/archive-{T + 190}-5.ts").status, 404)

    def test_downloads_of_one_address(self) -> None:
        """So many at once, whoever asks; a place is free again when one ends or its client goes."""
        self.keep(*range(0, 60, 5))
        path = f"/x/archive-{T}-60.ts"
        self.wire.taking = False
        replies = [self.ask(path) for _ in range(MAX_OF_PEER)]
        stops = [each.start(Wire(taking=False), self.ends.append) for each in replies]
        self.assertEqual(self.ask(path).status, 503)
        self.assertEqual(self.ask(path, method="HEAD").status, 503)
        self.assertIsInstance(self.ask(f"/x/archive/{T}/60/mpegts"), EndlessReply, "that is a viewer")
        self.assertIsInstance(self.ask(path, peer="192.0.2.9"), EndlessReply)
        stops[0]()
        stops[0]()
        self.assertIsInstance(self.ask(path), EndlessReply, "not begun, and counted when it is")
        self.play(path)
        self.assertEqual(self.ask(path).status, 503)
        self.wire.taking = True
        self.wire.pump()
        self.assertEqual(self.ends, ["end of file"])
        self.assertIsInstance(self.ask(path), EndlessReply)
        for stop in stops:
            stop()

    def test_refusals(self) -> None:
        """What is not there, not meant, or not this route's."""
        self.keep(0)
        self.assertEqual(self.ask(f"/x/archive-{T + 500}-10.ts").status, 404)
        self.assertEqual(self.ask(f"/x/archive-{T}-0.ts").status, 400)
        self.assertEqual(self.ask(f"/x/archive-{T}-10.ts", "filter.tracks=v2").status, 404)
        self.assertEqual(self.ask(f"/x/archive-{T}-10.ts", method="POST").status, 405)
        self.assertIsNone(self.ask(f"/y/archive-{T}-10.ts"))
        self.assertIsNone(self.ask(f"/x/archive-{T}-10.mp4"))
        self.assertIsNone(self.ask("/x/mpegts"))
        self.archive.complete = False
        self.clock.advance(1)
        away = self.ask(f"/x/archive-{T + 500}-10.ts")
        self.assertIsInstance(away, FullReply)
        self.assertEqual(away.status, 503)
        self.assertIn(b"Retry-After", away.headers)
