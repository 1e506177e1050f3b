"""What a node cuts itself has a number of its own; several switches; damage while mapped; many at once."""

from __future__ import annotations

import random

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.puller import Puller
from restreamer.live.continuation import continuation_of
from restreamer.live.turns import MOST, Turns
from restreamer.m4f.records import (
    Frames,
    Record,
    RecordReader,
    SegmentAsk,
    SegmentLacking,
    encode_record,
)
from restreamer.media.frame import Frame
from test.cluster.splicing import Edge, EdgeLink, IngestNode
from test.cluster.test_splice import CONTENT, OTHER, SwitchCase
from test.live.rig import av


class NumberTests(SynchronousTestCase):
    """L{continuation_of}."""

    def test_it_depends_on_everything(self) -> None:
        made = {
            continuation_of(b"a" * 16, 1, 2),
            continuation_of(b"b" * 16, 1, 2),
            continuation_of(b"a" * 16, 2, 2),
            continuation_of(b"a" * 16, 1, -2),
            continuation_of(b"a" * 16, 12),
        }
        self.assertEqual(len(made), 5)
        self.assertTrue(all(0 < each < 1 << 64 for each in made))
        self.assertEqual(continuation_of(b"a" * 16, 1, 2), continuation_of(b"a" * 16, 1, 2))


class CarriedTests(SwitchCase):
    """Of one run, continuation and number there is one segment, whoever has it."""

    def cuts(self, edge: Edge) -> dict[int, int]:
        """Continuations by number."""
        return {entry.number: entry.run.continuation for entry in edge.entries}

    def test_native(self) -> None:
        self.build()
        edge, far = Edge("e"), Edge("f")
        self.play(150)
        edge.pull(self.a)
        far.pull(edge)
        self.play(len(CONTENT))
        for each in (edge, far):
            self.assertEqual(set(self.cuts(each).values()), {0})

    def test_mapped(self) -> None:
        """Two nodes go on with C{b}, each for itself: two continuations; who is behind one has its."""
        self.build(5_000)
        m, n, f, g = Edge("m"), Edge("n"), Edge("f"), Edge("g")
        self.play(150)
        links = [m.pull(self.a), n.pull(self.a)]
        f.pull(m)
        self.play(620)
        for link in links:
            link.cut()
        m.pull(self.b)
        n.pull(self.b)
        self.play(900)
        # Who comes late gets copies.
        g.pull(m)
        self.play(len(CONTENT))
        self.assertEqual(self.cuts(f), self.cuts(m))
        late = self.cuts(g)
        self.assertEqual(late, {number: self.cuts(m)[number] for number in late})
        numbers = sorted(self.cuts(m))
        first = next(number for number in numbers if self.cuts(m)[number])
        for edge in (m, n):
            before = {cut for number, cut in self.cuts(edge).items() if number < first}
            after = {cut for number, cut in self.cuts(edge).items() if number >= first}
            self.assertEqual((before, len(after), 0 in after), ({0}, 1, False))
        self.assertNotEqual(self.cuts(m)[numbers[-1]], self.cuts(n)[numbers[-1]])
        self.assertEqual(m.closed, n.closed)

    def test_back_again(self) -> None:
        """Who goes on with the ingest node's own segments says so, and so does who is behind him."""
        self.build(5_000)
        m, f = Edge("m"), Edge("f")
        self.play(150)
        link = m.pull(self.a)
        f.pull(m)
        self.play(620)
        link.cut()
        link = m.pull(self.b)
        self.play(800)
        link.cut()
        m.pull(self.a)
        self.play(len(CONTENT))
        cuts = self.cuts(m)
        self.assertEqual(self.cuts(f), cuts)
        self.assertEqual((cuts[min(cuts)], cuts[max(cuts)]), (0, 0))
        self.assertEqual(len(set(cuts.values())), 2)
        self.whole(m)

    def test_cut_elsewhere(self) -> None:
        """C{a} is closed short, C{m} does not hear of it: what differs has another continuation."""
        self.build(5_000)
        m, n = Edge("m"), Edge("n")
        self.play(150)
        link = m.pull(self.a)
        other = n.pull(self.a)
        self.play(640)
        link.cut()
        self.a.ingest.end("left")
        self.a.push = lambda frame, late=0: None  # type: ignore[method-assign]
        m.pull(self.b)
        other.cut()
        link = n.pull(self.b)
        self.play(700)
        link.cut()
        n.pull(m)
        self.play(len(CONTENT))
        seen: dict[tuple[int, int], bytes] = {(0, number): each for number, each in self.a.closed.items()}
        differ = 0
        for edge in (m, n):
            for entry in edge.entries:
                key = (entry.run.continuation, entry.number)
                self.assertTrue(seen.setdefault(key, entry.segment.encoded) == entry.segment.encoded, key)
                differ += entry.number in m.closed and m.closed[entry.number] != entry.segment.encoded
        self.assertGreater(differ, 0)


class SameRunTests(SwitchCase):
    """What feeds the stream comes to the very run that another source is awaited with."""

    def test_it_is_passed_on_and_not_mapped(self) -> None:
        self.build(9_000, (CONTENT, OTHER))
        m, edge = Edge("m"), Edge("e")
        self.play(150)
        link = m.pull(self.a)
        edge.pull(m)
        self.play(601)
        edge.pull(self.b)
        link.cut()
        m.pull(self.b)
        self.play(len(CONTENT))
        self.assertEqual(edge.stream.run is not None and edge.stream.run.run_id, 200)
        self.assertEqual({entry.run.continuation for entry in edge.entries}, {0})
        for number, encoded in edge.closed.items():
            self.assertIn(encoded, (self.a.closed.get(number), self.b.closed.get(number)))


class TwoSwitchesTests(SwitchCase):
    """Between different encodes, one soon after the other."""

    def test_numbers_are_consecutive(self) -> None:
        for seed in [123, 281, *range(60)]:
            draw = random.Random(seed)
            self.build(draw.randrange(-180_000, 180_000), (CONTENT, _OTHERS[draw.choice((25, 33, 50))]))
            lag = draw.choice((0, 0, 5, 20))
            end = min(len(CONTENT), len(self.contents[1]))
            edge = Edge("e")
            self.play(150)
            link = edge.pull(self.a)
            self.play(draw.randrange(300, 500))
            link.cut()
            self.play(self.at + draw.choice((0, 0, 5, 100)))
            worse = edge.pull(self.b)
            self.play(self.at + draw.randrange(50, 300))
            link = edge.pull(self.a, lag=lag)
            begun = self.at
            while edge.events[-1] != ("delivered", "a") and self.at < begun + 400:
                self.play(self.at + 1)
            worse.puller.stop("")
            worse.cut()
            self.play(self.at + draw.randrange(0, 150))
            link.cut()
            self.play(self.at + draw.choice((0, 0, 3, 100)))
            edge.pull(self.b)
            self.play(end)
            numbers = [entry.number for entry in edge.entries]
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))), seed)


_OTHERS = {gop: [evolve(f, data=f.data[::-1]) for f in av(24, gop=gop)] for gop in (25, 33, 50)}


class _BadLink(EdgeLink):
    """Changes a byte of one frame, and of so many copies."""

    spoil = 0
    lacking = False

    @override
    def ask(self, record: Record) -> None:
        if isinstance(record, SegmentAsk):
            if self.lacking:
                self.send(SegmentLacking(record.number))
                return
            self.asked = [*getattr(self, "asked", []), record.number]
        super().ask(record)

    @override
    def send_encoded(self, data: bytes) -> None:
        if self.spoil:
            (record,) = RecordReader().receive(data)
            if isinstance(record, Frames) and record.frames[0].track_id == 1:
                self.spoil -= 1
                first = record.frames[0]
                bad = Frame(first.track_id, first.dts, first.cts, first.key, first.data[:-1] + b"?")
                data = encode_record(Frames([bad, *record.frames[1:]], record.start))
        super().send_encoded(data)


class DamagedWhileMappedTests(SwitchCase):
    """A segment of the source fails its checksum while its frames are mapped."""

    def mapped(self) -> tuple[Edge, _BadLink]:
        self.build(5_000)
        edge = Edge("e")
        self.play(150)
        link = edge.pull(self.a)
        self.play(620)
        link.cut()
        puller = edge.pull(self.b).puller
        bad = _links_of(self.b)[-1]
        bad.__class__ = _BadLink
        assert isinstance(bad, _BadLink)
        self.play(700)
        self.assertIs(bad.puller, puller)
        return edge, bad

    def test_put_right(self) -> None:
        edge, link = self.mapped()
        link.spoil = 1
        self.play(len(CONTENT))
        self.assertEqual((link.puller.repairs, len(link.asked), link.up), (1, 1, True))
        self.assertEqual(len(edge.tap.frames), len({(f.track_id, f.dts) for f in edge.tap.frames}))
        # What is shown cannot be taken back; what is kept is right.
        for number, encoded in edge.closed.items():
            self.assertTrue(encoded == self.a.closed[number], number)

    def test_no_copy(self) -> None:
        """It goes to the next source when there is none."""
        edge, link = self.mapped()
        link.spoil = 1
        link.lacking = True
        self.play(len(CONTENT) - 200)
        self.assertEqual((link.puller.repairs, link.up, edge.events[-1]), (1, False, ("link", "b")))
        edge.pull(self.a)
        self.play(len(CONTENT))
        self.assertEqual(
            [(f.track_id, f.dts) for f in edge.tap.frames],
            [(f.track_id, f.dts) for f in self.a.tap.frames[-len(edge.tap.frames) :]],
        )


def _links_of(node: IngestNode) -> list[EdgeLink]:
    return [each for each in node.relays.of(node.stream)._pulled if isinstance(each, EdgeLink)]


class ManyAtOnceTests(SwitchCase):
    """A source with many streams dies, and another one has them all."""

    def test_a_few_per_turn(self) -> None:
        self.build(5_000)
        clock = Clock()
        turns = Turns(clock)
        edges = [Edge(f"e{index}") for index in range(3 * MOST)]
        self.play(150)
        links = [edge.pull(self.a) for edge in edges]
        self.play(620)
        for link in links:
            link.cut()
        again = [EdgeLink(self.b, edge, self.puller(edge, turns)) for edge in edges]
        self.assertEqual(len(turns), len(edges))
        self.assertEqual({edge.stream.fed for edge in edges}, {False})
        # One is lost meanwhile, and one is not wanted any more.
        again[3].cut()
        again[MOST + 3].puller.stop("not wanted")
        self.assertEqual(len(turns), len(edges) - 2)
        while clock.getDelayedCalls():
            before = len(turns)
            clock.pump([0.0])
            self.assertLess(len(turns), before)
        self.play(len(CONTENT))
        for index, edge in enumerate(edges):
            if index not in (3, MOST + 3):
                self.whole(edge)
        self.assertFalse(edges[3].stream.fed)
        self.assertFalse(edges[MOST + 3].stream.fed)

    def puller(self, edge: Edge, turns: Turns) -> Puller:
        return Puller(
            "x",
            lambda: edge.stream,
            edge.node_id,
            lambda: 0,
            lambda code, text: None,
            held=lambda: edge.stream,
            turns=turns,
        )
