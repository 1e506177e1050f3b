"""Nodes that have one run cut at other places, or under numbers that another run took, and young runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from attrs import evolve

from restreamer.live.short_close import closed_short
from restreamer.m4f.segment import SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from test.cluster.splicing import Edge, EdgeLink, IngestNode, times
from test.cluster.test_splice import CONTENT, OTHER, SwitchCase
from test.live.rig import AV


class LeftInTheMiddleTests(SwitchCase):
    """The publisher leaves C{a} in the middle of a segment; C{m} does not hear of it, C{n} does."""

    def rises(self, edge: Edge) -> None:
        """Every frame of the content, once."""
        for track in times(edge.tap.frames).values():
            self.assertTrue(all(one < other for one, other in itertools.pairwise(track)))
        expected = [(f.track_id, f.data) for f in CONTENT[: self.at]][-len(edge.tap.frames) :]
        self.assertTrue([(f.track_id, f.data) for f in edge.tap.frames] == expected)
        self.assertEqual([e for e in edge.tap.events if e.startswith("run")], ["run 100"])

    def left(
        self, moment: int, more: int, content: Sequence[Frame] = CONTENT, both: bool = True
    ) -> tuple[Edge, Edge, Edge, EdgeLink]:
        """Both go on with C{b}, C{m} in the segment that was open; C{f} is behind C{m}."""
        self.build(5_000, (content, content))
        m, n, f = Edge("m"), Edge("n"), Edge("f")
        self.play(150)
        link = m.pull(self.a)
        f.pull(m)
        other = n.pull(self.a)
        self.play(moment)
        link.cut()
        self.a.ingest.end("left")
        # Nobody hears of what comes to it now.
        self.a.push = lambda frame, late=0: None  # type: ignore[method-assign]
        link = m.pull(self.b)
        other.cut()
        if both:
            n.pull(self.b)
        self.play(moment + more)
        return m, n, f, link

    def test_the_source_has_it_shorter(self) -> None:
        """C{m} goes over to C{n}: what C{n} has in the next segment was shown in this one."""
        for moment, more in ((620, 30), (640, 60), (705, 12)):
            m, n, f, link = self.left(moment, more)
            link.cut()
            link = m.pull(n)
            self.play(len(CONTENT))
            for edge in (m, n, f):
                self.rises(edge)
                numbers = [entry.number for entry in edge.entries]
                self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
                for number, encoded in edge.closed.items():
                    self.assertTrue(encoded == n.closed.get(number, encoded), number)
            self.assertEqual((link.puller.repairs, link.up), (0, True))

    def test_the_source_has_it_longer(self) -> None:
        """C{n} goes over to C{m}: what C{m} has in the segment that ended here is shown here, too."""
        for moment, more in ((620, 30), (640, 60), (705, 12)):
            m, n, _, _ = self.left(moment, 0, both=False)
            below = Edge("g")
            below.pull(n)
            self.play(moment + more // 2)
            n.pull(m)
            self.play(len(CONTENT))
            for edge in (n, below):
                self.rises(edge)
                numbers = [entry.number for entry in edge.entries]
                self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))

    def test_what_follows_is_the_same(self) -> None:
        """Cut at other places once, they close the same bytes from the next but one on: bandwidths, too."""
        heavy = [evolve(f, data=f.data + f.data * 40 * (f.key and f.track_id == 1)) for f in CONTENT]
        for held in (75, 90, 110):
            self.build(5_000, (heavy, heavy))
            self.play(600)
            while self.a.stream.open is None or len(self.a.stream.open.frames) != held:
                self.play(self.at + 1)
            m, n, f, _ = self.left(self.at, 0, heavy)
            self.play(len(CONTENT))
            number = max(self.a.closed)
            # The short one is not the same; nor is what begins behind it.
            self.assertNotEqual(m.closed[number], n.closed[number])
            self.assertEqual(m.closed, f.closed)
            later = [each for each in m.closed if each > number + 1]
            self.assertGreater(len(later), 3)
            for each in later:
                self.assertTrue(m.closed[each] == n.closed[each], (held, each))

    def test_the_close_comes_when_more_is_held(self) -> None:
        """C{n} comes back to a relay of C{a} that stopped where C{a} did: the segment is what C{a} closed."""
        self.build(5_000)
        relay, n = Edge("r"), Edge("n")
        self.play(150)
        behind = relay.pull(self.a, lag=10)
        n.pull(self.a)
        self.play(640)
        first = next(each for each in self.a.relays.of(self.a.stream)._pulled if each.peer_id[:1] == b"n")
        assert isinstance(first, EdgeLink)
        first.cut()
        n.pull(self.b).puller.stop("")
        self.play(648)
        mapping = n.pull(self.b)
        self.play(680)
        mapping.cut()
        n.pull(relay)
        self.a.ingest.end("left")
        behind.flush()
        closed = self.a.closed
        last = max(closed)
        self.assertTrue(n.closed[last] == closed[last])
        self.a.push = lambda frame, late=0: None  # type: ignore[method-assign]
        EdgeLink(self.b, n, mapping.puller)
        self.play(len(CONTENT))
        self.rises(n)


class ShortCloseTests(SwitchCase):
    """The beginning of a segment that has the checksum asked for."""

    def builder(self, frames: list[Frame]) -> SegmentBuilder:
        builder = SegmentBuilder(SegmentOpening(7, CONTENT[0].dts, False, True, 0, AV))
        builder.extend(frames)
        return builder

    def test_any_beginning(self) -> None:
        frames = CONTENT[:60]
        for count in range(1, 60):
            kept = frames[:count]
            duration = max(frame.dts for frame in kept) + 1 - frames[0].dts
            segment = self.builder(kept).close(duration)
            found = closed_short(self.builder(frames), duration, segment.checksum)
            self.assertEqual(found, segment)

    def test_none(self) -> None:
        self.assertIsNone(closed_short(self.builder(CONTENT[:60]), 20_000, 1))
        self.assertIsNone(closed_short(self.builder([]), 20_000, 1))


class TakenNumberTests(SwitchCase):
    """Another run takes over within a segment whose number the run before has closed here."""

    def taken(self) -> tuple[Edge, EdgeLink, Edge, EdgeLink]:
        """C{b} is a second behind; C{f} is behind the edge."""
        self.build(-TICKS_PER_SECOND, (CONTENT, OTHER))
        edge, f = Edge("e"), Edge("f")
        self.play(150)
        link = edge.pull(self.a)
        behind = f.pull(edge)
        moment = 600
        while self.a.stream.open is None or len(self.a.stream.open.frames) != 20:
            moment += 1
            self.play(moment)
        link.cut()
        link = edge.pull(self.b)
        number = edge.stream.open.opening.number if edge.stream.open is not None else -1
        self.assertEqual(edge.stream.window.last_number, number)
        self.play(moment + 8)
        return edge, link, f, behind

    def goes_on(self, edge: Edge) -> None:
        """Nothing of C{b} is missing."""
        begin = edge.tap.frames.index(next(f for f in edge.tap.frames if f in self.b.tap.frames))
        shown = edge.tap.frames[begin:]
        self.assertTrue(shown == self.b.tap.frames[-len(shown) :], times(shown))

    def test_the_source_has_it(self) -> None:
        for away in (0, 30, 60, 150):
            edge, link, _, _ = self.taken()
            moment = self.at
            link.cut()
            self.play(moment + away)
            EdgeLink(self.b, edge, link.puller)
            self.play(len(CONTENT))
            self.goes_on(edge)

    def test_the_source_took_it_over_as_well(self) -> None:
        for away in (0, 30, 60, 150, 300):
            edge, _, f, behind = self.taken()
            moment = self.at
            behind.cut()
            self.play(moment + away)
            EdgeLink(edge, f, behind.puller)
            self.play(len(CONTENT))
            self.goes_on(f)
            self.assertEqual(behind.puller.repairs, 0)

    def test_a_link_that_was_there_gets_the_close(self) -> None:
        edge, _, f, behind = self.taken()
        self.play(len(CONTENT))
        self.goes_on(f)
        self.assertEqual(behind.puller.repairs, 0)
        self.assertEqual(
            [e.number for e in f.stream.window.retained], [e.number for e in edge.stream.window.retained]
        )


class YoungRunTests(SwitchCase):
    """The source's run has just begun."""

    def young(self, units: int) -> tuple[Edge, EdgeLink]:
        self.a, self.b = IngestNode("a", 100), IngestNode("b", 200, 9_000)
        self.contents, self.at = (CONTENT, CONTENT), 0
        edge = Edge("e")
        for frame in CONTENT[:600]:
            self.a.push(frame)
        link = edge.pull(self.a)
        self.at = 600
        self.play(600 + units)
        return edge, link

    def test_too_little_to_tell_while_another_feeds(self) -> None:
        for units in range(1, 14):
            edge, _ = self.young(units)
            edge.pull(self.b)
            self.play(len(CONTENT))
            self.whole(edge)
            self.assertEqual(edge.events, [("delivered", "a"), ("delivered", "b")])

    def test_the_run_changes_before_it_takes_over(self) -> None:
        """C{b} was found to be the same and is behind; the publisher of C{a} returns meanwhile."""
        edge, _ = self.young(300)
        slow = edge.pull(self.b, lag=110)
        self.play(950)
        self.a.ingest.end("left")
        self.a.publish()
        self.play(1060)
        slow.flush()
        self.play(len(CONTENT))
        self.assertEqual(edge.events[-1], ("delivered", "b"))
        self.assertEqual([e for e in edge.tap.events if e.startswith("run")], ["run 100", "run 101"])
        for track in times(edge.tap.frames[-400:]).values():
            self.assertTrue(all(one < other for one, other in itertools.pairwise(track)))
        self.assertTrue(edge.tap.frames[-1].data == CONTENT[-1].data)

    def test_a_burst_when_nobody_feeds(self) -> None:
        """The source is itself getting what it missed: its first frames are too few to tell by."""
        edge, link = self.young(2)
        relay = Edge("r")
        inner = relay.pull(self.b)
        inner.lag = 1 << 20
        self.play(700)
        link.cut()
        edge.pull(relay)
        self.assertEqual(edge.events, [("delivered", "a"), ("link", "a")])
        inner.flush()
        self.play(len(CONTENT))
        self.whole(edge)
        self.assertEqual(edge.events[-1], ("delivered", "r"))

    def test_other_content_is_not_awaited_for_long(self) -> None:
        edge, _ = self.young(0)
        self.contents = (CONTENT, OTHER)
        self.play(605)
        edge.pull(self.b)
        self.play(605 + 3 * 75)
        self.assertEqual(edge.events, [("delivered", "a"), ("delivered", "b")])
