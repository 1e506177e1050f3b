"""Two sources that do not have the same: one has it damaged (M03), its numbers leap (M14), its segments end
elsewhere (M15)."""

from __future__ import annotations

import itertools

from attrs import define, evolve
from typing_extensions import override

from restreamer.cluster.link_protocol import LinkProtocol
from restreamer.cluster.puller import Puller
from restreamer.cluster.seams import LinkHandler
from restreamer.live.feed import FeedLimits
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.window import WindowSegment
from restreamer.m4f.records import Frames, Record, SegmentCopy, SegmentOpen
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.cluster_rig import RigNode
from test.cluster.splicing import times
from test.cluster.test_failover import FailoverCase
from test.cluster.test_rig import RigCase
from test.live.viewing import KernelTransport, PacketMuxer


@define
class _Damaging:
    """Stands before the handler of a media link: the first segment that is opened comes damaged, and so do
    its copies.

    @ivar copies: how many of them are damaged; the others pass as they are.
    """

    handler: LinkHandler
    copies: int
    number: int = -1
    spoilt: bool = False
    asked: int = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.handler, name)

    def record(self, record: Record) -> None:
        """Pass C{record} on."""
        if isinstance(record, SegmentOpen) and self.number < 0:
            self.number = record.opening.number
        elif isinstance(record, Frames) and self.number >= 0 and not self.spoilt:
            self.spoilt = True
            first = record.frames[0]
            bad = evolve(first, data=bytes((first.data[0] ^ 1,)) + first.data[1:])
            record = Frames([bad, *record.frames[1:]], record.start)
        elif isinstance(record, SegmentCopy) and int.from_bytes(record.encoded[13:21], "big") == self.number:
            self.asked += 1
            if self.asked <= self.copies:
                damaged = bytearray(record.encoded)
                damaged[-1] ^= 1
                record = SegmentCopy(record.run, bytes(damaged))
        self.handler.record(record)


class DamagedTests(FailoverCase):
    """What one of two relays sends of a segment is not what the origin made."""

    def damage(self, copies: int) -> tuple[_Damaging, LinkProtocol]:
        """The next segment that the edge gets from C{one} is damaged, and so many of its copies."""
        self.relays()
        self.rig.run(9)
        self.assertEqual(self.feeding(), "one")
        pull = next(iter(self.edge.sources["one"]._pulls))
        link = pull.puller._link
        assert isinstance(link, LinkProtocol) and link._handler is pull.puller
        damaging = link._handler = _Damaging(link._handler, copies)  # type: ignore[assignment]
        return damaging, link

    def whole(self, number: int) -> None:
        """The edge and the node behind it hold the origin's segments, all of them."""
        self.rig.settle()
        for node in (self.edge, self.below):
            held = node.window("x")
            self.assertIn(number, held)
            self.assertEqual(list(held), list(range(min(held), max(held) + 1)))
            for each, encoded in held.items():
                self.assertTrue(encoded == self.reference.segments[each], each)
        for witness in (self.seen, self.behind):
            self.rising(witness)
            self.assertEqual((len(witness.runs), witness.ends), (1, 0))

    def test_once(self) -> None:
        """It is asked for again, the link stays."""
        damaging, link = self.damage(0)
        self.keep_looking(6)
        self.assertEqual((damaging.asked, link._lost, self.feeding()), (1, False, "one"))
        self.whole(damaging.number)
        self.end()

    def test_twice(self) -> None:
        """The link is given up, and the other source feeds the stream: the segment is had from there."""
        damaging, link = self.damage(1)
        self.keep_looking(6)
        self.assertEqual((damaging.asked, link._lost, self.feeding()), (1, True, "two"))
        self.assertEqual(self.edge.remote.switches_of("x"), 1)
        self.whole(damaging.number)
        self.end()


class LeapTests(RigCase):
    """A source that begins anew with a clock that is out by decades, and once more with the right one."""

    def test_forward_and_back(self) -> None:
        far = 1_000_000_000
        seconds = far * self.rig.settings.segment_duration // TICKS_PER_SECOND
        origin, _, edge = self.rig.chain("origin", "middle", "edge")
        seen = edge.witness("x")
        self.rig.run(0.5)
        origin.publish("x")
        self.rig.run(7)
        for error in (float(seconds), 0.0):
            before = max(edge.window("x"))
            self.rig.publishers[-1].over = True
            origin.crash()
            self.rig.run(2)
            origin = self.rig.nodes["origin"] = RigNode(self.rig, "origin", Ledger(), wall_error=error)
            origin.publish("x")
            self.rig.run(9)
            stream = edge.stream("x")
            assert stream is not None
            entries = [e for e in stream.window.entries if isinstance(e, WindowSegment)]
            new = [e for e in entries if e.run.run_id == seen.runs[-1]]
            self.assertGreaterEqual(len(new), 3)
            self.assertEqual(entries[-len(new) :], new)
            self.assertGreater(abs(new[0].number - before), far // 2)
            self.assertEqual([e.number for e in new], list(range(new[0].number, new[0].number + len(new))))
            if error:
                self.assertEqual([e.discontinuity for e in new], [True] + [False] * (len(new) - 1))
            else:
                self.assertEqual(entries, new, "another grid: the window begins anew")
            # No hole of a thousand million numbers is listed, nor held.
            self.assertLess(len(stream.window.entries), 12)
        self.assertEqual((len(set(seen.runs)), seen.ends), (3, 0))

    def test_behind(self) -> None:
        """By less than that its segments are passed over until it gets there: they are not taken for lost."""
        damaged: list[int] = []
        self.patch(Puller, "damaged", lambda puller, number, shown=True: damaged.append(number))
        origin, _, edge = self.rig.chain("origin", "middle", "edge")
        self.rig.run(0.5)
        publisher = origin.publish("x")
        self.rig.run(7)
        before = max(edge.window("x"))
        publisher.over = True
        origin.crash()
        self.rig.run(2)
        origin = self.rig.nodes["origin"] = RigNode(self.rig, "origin", Ledger(), wall_error=-30.0)
        origin.publish("x")
        self.rig.run(40)
        self.assertGreater(max(edge.window("x")), before + 2)
        self.assertEqual(damaged, [])


class UnequalTests(FailoverCase):
    """Two encoders: the same numbers, other lengths, other times."""

    @override
    def ingests(self, error: float = 0.7, pictures: int = 25, gop: int = 25) -> None:
        """As there, and the second one's keyframes are C{gop} of its pictures apart."""
        rig = self.rig
        self.pictures, self.gop = pictures, gop
        self.one = rig.node("one")
        self.two = rig.nodes["two"] = RigNode(rig, "two", wall_error=error)
        self.begin_one = lambda: (self.one.publish("x"), None)[1]
        self.watch()
        rig.run(0.5)
        self.publisher = self.one.publish("x")
        self.two.publish("x", gop=gop, pictures=pictures)
        self.origins = {"one": self.one.witness("x"), "two": self.two.witness("x")}

    def test_lost_and_back(self) -> None:
        """Each way: at a keyframe, one break, numbers and times rise, and each segment is one source's."""
        damaged: list[int] = []
        for error, pictures, gop in ((0.0, 20, 25), (0.3, 25, 31), (-0.9, 30, 45), (0.0, 25, 80)):
            with self.subTest(error=error, pictures=pictures, gop=gop):
                self.setUp()
                self.patch(Puller, "damaged", lambda puller, number, shown=True: damaged.append(number))
                self.ingests(error, pictures, gop)
                self.rig.run(2)
                self.given = self.follow()
                self.rig.run(7)
                lengths = [set(map(len, each.segments.values())) for each in self.origins.values()]
                self.assertNotEqual(*lengths)
                self.rig.network.silence("one", "edge")
                self.keep_looking(12)
                self.assertEqual(self.feeding(), "two")
                self.judge(1)
                self.rig.network.heal("one", "edge")
                self.keep_looking(30)
                self.assertEqual(self.feeding(), "one")
                self.judge(2)
                self.agree()
                self.end()
                self.assertEqual(damaged, [], "nothing is taken for damaged, nor fetched twice")

    def judge(self, switches: int) -> None:
        """What the edge showed of both, at so many switches."""
        self.rig.settle()
        shown = self.shown()
        numbers = [entry.number for entry in shown]
        self.assertEqual(numbers, sorted(set(numbers)))
        breaks = [new for old, new in itertools.pairwise(shown) if old.run.run_id != new.run.run_id]
        self.assertEqual(len(breaks), switches)
        self.assertEqual([entry for entry in shown if entry.discontinuity], breaks)
        self.assertEqual(breaks[-1].discontinuity_sequence, switches)
        if self.gop * TICKS_PER_SECOND <= self.pictures * self.rig.settings.segment_duration:
            self.assertTrue(all(entry.segment.independent for entry in breaks), "they begin with keyframes")
        made = [encoded for each in self.origins.values() for encoded in each.segments.values()]
        for entry in shown:
            self.assertIn(entry.segment.encoded, made, entry.number)
        self.assertEqual((self.seen.ends, self.behind.ends), (0, 0))
        self.keyed()

    def follow(self) -> list[Frame]:
        """Begin to watch at the edge, without an end: gives what the viewer is given, as it comes."""
        given: list[Frame] = []
        muxer = PacketMuxer()
        plain = muxer.mux

        def mux(frame: Frame) -> bytes:
            given.append(frame)
            return plain(frame)

        muxer.mux = mux  # type: ignore[method-assign]
        playout = Playout(self.stream(self.edge), self.edge.clock, {"p": lambda title: muxer}, FeedLimits())
        playout.join("p", KernelTransport(), lambda reason: None)
        return given

    def keyed(self) -> None:
        """The viewer's times rise, and behind a step that is no picture's length comes a keyframe."""
        for track in times(self.given).values():
            self.assertEqual(track, sorted(set(track)))
        pictures = [frame for frame in self.given if frame.track_id == 1]
        self.assertGreater(len(pictures), 100)
        for old, new in itertools.pairwise(pictures):
            self.assertTrue(new.dts - old.dts <= TICKS_PER_SECOND // 18 or new.key)
