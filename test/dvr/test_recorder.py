"""Which segments of which streams are recorded, and where."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.recorded import Recorded
from restreamer.dvr.recorder import Keeping, Recorder
from restreamer.live.feed import FeedLimits
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.registry import StreamRegistry, StreamSettings
from restreamer.live.stream import Stream, StreamWriter
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from test.dvr.memory_archive import FIRST, D, segment


@define(eq=False)
class FakeWriter:
    """Forgets."""

    forgotten: list[str] = field(factory=list)

    def forget(self, name: str) -> None:
        self.forgotten.append(name)


@define(eq=False)
class FakeDisk:
    """Takes all."""

    taken: list[tuple[str, int]] = field(factory=list)
    writer: FakeWriter = field(factory=FakeWriter)

    def record(self, name: str, item: Recorded) -> bool:
        self.taken.append((name, item.segment.number - FIRST))
        return True


@define(eq=False)
class FakeDisks:
    """Two volumes."""

    volumes: dict[str, FakeDisk] = field(factory=lambda: {"/a": FakeDisk(), "/b": FakeDisk()})

    def find(self, root: str) -> FakeDisk | None:
        return self.volumes.get(root)


class Recording(SynchronousTestCase):
    """A registry, streams that are fed by hand."""

    @override
    def setUp(self) -> None:
        self.faults: list[BaseException] = []
        clock = Clock()
        self.registry = StreamRegistry(
            clock,
            Ledger(),
            lambda stream: Playout(stream, clock, {}, FeedLimits()),
            lambda what, error: self.faults.append(error),
        )
        self.disks = FakeDisks()
        self.keeping: dict[str, Keeping] = {"x": Keeping("/a")}
        self.recorder = Recorder(self.registry, self.disks, self.keeping.get)  # type: ignore[arg-type]

    @override
    def tearDown(self) -> None:
        self.assertEqual(self.faults, [])

    def begin(self, name: str = "x", run: int = 1, backup: bool = False) -> tuple[Stream, StreamWriter]:
        """A run begins."""
        stream = self.registry.obtain(name, StreamSettings(segment_duration=D))
        writer = stream.begin_run(RunInfo(run, FIRST * D, bytes(16), ()), D, True, backup)
        return stream, writer

    def feed(self, stream: Stream, writer: StreamWriter, *numbers: int) -> None:
        """Whole segments."""
        for number in numbers:
            whole = segment(FIRST + number)
            writer.open(
                SegmentOpening(
                    number=whole.number,
                    start=whole.start,
                    discontinuity=whole.discontinuity,
                    independent=whole.independent,
                    discontinuity_sequence=whole.discontinuity_sequence,
                    tracks=whole.tracks,
                )
            )
            writer.frames(whole.frames())
            writer.close(whole.duration)

    def taken(self, root: str = "/a") -> list[int]:
        return [number for _, number in self.disks.volumes[root].taken]

    def test_recorded(self) -> None:
        """Every closed segment of a stream that is to be recorded, and of no other."""
        stream, writer = self.begin()
        self.feed(stream, writer, 0, 1, 2)
        self.assertEqual(self.taken(), [0, 1, 2])
        self.assertTrue(self.recorder.recording("x"))
        other, feeding = self.begin("y", 2)
        self.feed(other, feeding, 0, 1)
        self.assertEqual(self.taken(), [0, 1, 2])
        self.assertFalse(self.recorder.recording("y"))
        writer.lose("gone")
        self.assertFalse(self.recorder.recording("x"))
        stream, writer = self.begin(run=3)
        self.feed(stream, writer, 7, 8)
        self.assertEqual(self.taken(), [0, 1, 2, 7, 8])

    def test_backup(self) -> None:
        """What a backup shows is recorded only when that is asked for."""
        stream, writer = self.begin()
        self.feed(stream, writer, 0)
        stream, writer = self.begin(run=2, backup=True)
        self.feed(stream, writer, 1, 2)
        self.assertEqual(self.taken(), [0])
        self.assertFalse(self.recorder.recording("x"))
        self.keeping["x"] = Keeping("/a", backup=True)
        self.recorder.apply()
        self.feed(stream, writer, 3)
        self.assertEqual(self.taken(), [0, 3])

    def test_reload(self) -> None:
        """Recording begins with what the window holds, moves, and ends; the stream goes on all the while."""
        del self.keeping["x"]
        stream, writer = self.begin()
        self.feed(stream, writer, 0, 1)
        taps = stream.taps
        self.keeping["x"] = Keeping("/a")
        self.recorder.apply()
        self.recorder.apply()
        self.assertEqual((self.taken(), stream.taps), ([0, 1], taps + 1))
        self.feed(stream, writer, 2)
        self.keeping["x"] = Keeping("/b")
        self.recorder.apply()
        self.feed(stream, writer, 3)
        self.assertEqual((self.taken(), self.taken("/b")), ([0, 1, 2], [0, 1, 2, 3]))
        del self.keeping["x"]
        self.recorder.apply()
        self.feed(stream, writer, 4)
        self.assertEqual((self.taken("/b"), stream.taps), ([0, 1, 2, 3], taps))
        self.assertEqual(self.disks.volumes["/b"].writer.forgotten, ["x"])

    def test_no_volume(self) -> None:
        """A volume that is not there takes nothing from anybody."""
        self.keeping["x"] = Keeping("/c")
        stream, writer = self.begin()
        self.feed(stream, writer, 0, 1)
        self.recorder.close()
        self.assertEqual(self.recorder.names(), ())

    def test_removed(self) -> None:
        """A stream that is gone is let go; one of the same name is another."""
        stream, writer = self.begin()
        self.feed(stream, writer, 0)
        self.registry.remove("x", "gone")
        self.assertEqual(self.recorder.names(), ())
        stream, writer = self.begin(run=2)
        self.feed(stream, writer, 5)
        self.assertEqual(self.taken(), [0, 5])
