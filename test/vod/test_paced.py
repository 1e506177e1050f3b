"""A file as one body: paced, bounded, ended."""

from __future__ import annotations

from array import array
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.m4f.file_index import FileIndex
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import ViewerTransport
from restreamer.vod.paced import AHEAD_SECONDS, SLICE, STALL_SECONDS, PacedFile
from restreamer.vod.packaged import Packaged, PackagedFiles
from test.live.viewing import TlsTransport


class Transport:
    """Takes what is written; drained by L{drain}. As Twisted's, it asks a producer at once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.producer: Any = None
        self.aborted = False
        self.pending = 0

    def write(self, data: bytes) -> None:
        self.data += data
        self.pending += len(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        assert self.producer is None and not streaming
        self.producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None

    def loseConnection(self) -> None:  # noqa: N802
        raise AssertionError("the front closes")

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True

    def drain(self) -> None:
        self.pending = 0
        if self.producer is not None:
            self.producer.resumeProducing()


class Files:
    """Packaged segments that come when L{give} is called, or at once."""

    def __init__(self, bodies: list[bytes], at_once: bool = True) -> None:
        self.bodies = bodies
        self.at_once = at_once
        self.asked: list[int] = []
        self.waiting: list[Deferred[Packaged]] = []

    async def ts(self, name: str, version: int, number: int) -> Packaged:
        self.asked.append(number)
        if not self.at_once:
            self.waiting.append(Deferred())
            return await self.waiting[-1]
        return Packaged(self.bodies[number], 0)


class PacedTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.ends: list[str] = []

    def play(self, bodies: list[bytes], seconds: int = 5, at_once: bool = True) -> PacedFile:
        self.files = Files(bodies, at_once)
        ticks = array("I", [seconds * TICKS_PER_SECOND]) * len(bodies)
        index = FileIndex(1, 0, (), ticks, array("I", [1]) * len(bodies))
        files = cast("PackagedFiles", self.files)
        self.playing = PacedFile(files, "films/a", index, self.clock, self.transport, self.ends.append)
        self.playing.start()
        return self.playing

    def run_for(self, seconds: float, drain: bool = True) -> None:
        for _ in range(round(seconds * 20)):
            for _ in range(50):
                if drain and self.transport.pending:
                    self.transport.drain()
            self.clock.advance(0.05)

    def quiet(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.transport.producer)

    def test_the_whole_file_in_real_time(self) -> None:
        bodies = [bytes([number]) * (5 * SLICE) for number in range(6)]
        self.play(bodies)
        self.run_for(0.1)
        self.assertLessEqual(abs(len(self.transport.data) / SLICE - AHEAD_SECONDS), 2)
        for second in range(1, 15):
            self.run_for(1.0)
            self.assertLessEqual(abs(len(self.transport.data) / SLICE - AHEAD_SECONDS - second), 2)
        self.assertEqual(self.ends, [])
        self.run_for(7)
        self.assertEqual(bytes(self.transport.data), b"".join(bodies))
        self.assertEqual(self.ends, ["end of file"])
        self.assertEqual(self.playing.bytes_sent, len(self.transport.data))
        self.assertFalse(self.transport.aborted)
        self.quiet()

    def test_one_slice_at_a_time(self) -> None:
        """A viewer that reads nothing holds one slice, and is dropped."""
        self.play([bytes(40 * SLICE)] * 3)
        self.run_for(STALL_SECONDS - 0.2, drain=False)
        self.assertEqual(self.transport.pending, SLICE)
        self.assertFalse(self.transport.aborted)
        self.run_for(0.5, drain=False)
        self.assertTrue(self.transport.aborted)
        self.assertIn("did not take", self.ends[0])
        self.quiet()

    def test_after_a_pause_it_goes_on_at_its_pace(self) -> None:
        """What was missed is not sent in one burst of more than the usual head start."""
        self.play([bytes(5 * SLICE)] * 20)
        self.run_for(1)
        for _ in range(6):
            self.run_for(9, drain=False)
            self.transport.drain()
        before = len(self.transport.data)
        self.run_for(1)
        self.assertLess((len(self.transport.data) - before) / SLICE, AHEAD_SECONDS + 3)

    def test_small_and_empty_segments(self) -> None:
        self.play([b"a", b"", b"b"], seconds=1)
        self.run_for(4)
        self.assertEqual((bytes(self.transport.data), self.ends), (b"ab", ["end of file"]))

    def test_left(self) -> None:
        self.play([bytes(40 * SLICE)])
        self.playing.leave()
        self.playing.leave()
        self.quiet()
        self.assertEqual(self.ends, [])

    def test_left_while_waiting(self) -> None:
        self.play([bytes(SLICE)] * 2, at_once=False)
        self.playing.leave()
        self.assertEqual(self.files.asked, [0])
        self.quiet()
        self.assertEqual((self.ends, self.transport.aborted), ([], False))

    def test_the_connection_is_lost(self) -> None:
        self.play([bytes(40 * SLICE)])
        producer, self.transport.producer = self.transport.producer, None
        producer.stopProducing()
        self.quiet()

    def test_a_segment_cannot_be_had(self) -> None:
        """The body is cut off, not ended."""
        self.play([bytes(SLICE)] * 2, at_once=False)
        self.files.waiting[0].callback(Packaged(b"first", 0))
        self.run_for(1)
        self.files.waiting[1].errback(Refused(Reason.NOT_READY, "nobody has it"))
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.ends, ["the file cannot go on: nobody has it"])
        self.quiet()

    def test_a_fault(self) -> None:
        self.play([bytes(SLICE)], at_once=False)
        self.files.waiting[0].errback(ValueError("ours"))
        self.assertTrue(self.transport.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class TlsTests(SynchronousTestCase):
    """Over TLS: the transport has the bytes whatever is written, and says when that is enough."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = TlsTransport(self.clock)
        self.ends: list[str] = []

    def play(self, bodies: list[bytes]) -> PacedFile:
        ticks = array("I", [5 * TICKS_PER_SECOND]) * len(bodies)
        index = FileIndex(1, 0, (), ticks, array("I", [1]) * len(bodies))
        files = cast("PackagedFiles", Files(bodies))
        transport = cast("ViewerTransport", self.transport)
        playing = PacedFile(files, "films/a", index, self.clock, transport, self.ends.append)
        playing.start()
        return playing

    def test_the_whole_file(self) -> None:
        bodies = [bytes([number]) * (5 * SLICE) for number in range(4)]
        self.play(bodies)
        self.clock.pump([0.01] * 100)
        self.assertLessEqual(abs(len(self.transport.got) / SLICE - AHEAD_SECONDS), 2)
        self.clock.pump([0.05] * 400)
        self.assertEqual(bytes(self.transport.got), b"".join(bodies))
        self.assertEqual(self.ends, ["end of file"])
        self.assertIsNone(self.transport.producer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_viewer_that_reads_nothing(self) -> None:
        """It holds two slices at most, and is dropped."""
        self.transport.stuck = True
        self.play([bytes(40 * SLICE)] * 3)
        self.clock.pump([0.05] * round((STALL_SECONDS - 1) / 0.05))
        self.assertLessEqual(self.transport.most, 2 * SLICE)
        self.assertEqual(self.ends, [])
        self.clock.pump([0.05] * 40)
        self.assertEqual((self.transport.aborted, len(self.ends)), (1, 1))
        self.assertIn("did not take", self.ends[0])
        self.assertIsNone(self.transport.producer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_reads_on(self) -> None:
        self.transport.stuck = True
        playing = self.play([bytes(40 * SLICE)] * 3)
        self.clock.pump([0.05] * 100)
        self.transport.stuck = False
        self.transport._leave()
        self.clock.pump([0.05] * 20)
        self.assertGreater(len(self.transport.got), 8 * SLICE)
        playing.leave()
        self.assertIsNone(self.transport.producer)
