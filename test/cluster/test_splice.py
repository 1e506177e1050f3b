"""From one source to another: the same run, the same content of two ingest nodes, other content."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from test.cluster.splicing import Edge, EdgeLink, IngestNode, times
from test.live.rig import AV, av

CONTENT = av(24, gop=25)
#: Another encode of the same event: the same times, other bytes.
OTHER = [evolve(frame, data=frame.data[::-1]) for frame in CONTENT]


class SwitchCase(SynchronousTestCase):
    """Two ingest nodes, C{a} and C{b}; an edge that pulls from one of them."""

    def build(self, error: int = 0, contents: Sequence[Sequence[Frame]] = (CONTENT, CONTENT)) -> None:
        self.a = IngestNode("a", 100)
        self.b = IngestNode("b", 200, error)
        self.contents = contents
        self.at = 0

    def play(self, until: int, late: int = 0) -> None:
        """Both publishers send up to frame C{until}."""
        for index in range(self.at, until):
            self.a.push(self.contents[0][index], index * 613 % 2000)
            self.b.push(self.contents[1][index], late + index * 7919 % 4000)
        self.at = max(self.at, until)

    def whole(self, edge: Edge, least: int = 8) -> None:
        """The edge showed what C{a} publishes: every frame once, every byte, nothing of a switch."""
        frames = edge.tap.frames
        # Compared as a truth: the difference of two lists of frames is megabytes of text.
        self.assertTrue(frames == self.a.tap.frames[-len(frames) :], times(frames))
        self.assertGreaterEqual(len(edge.closed), least)
        published = self.a.closed
        for number, encoded in edge.closed.items():
            self.assertTrue(encoded == published[number], number)
        self.unbroken(edge)

    def unbroken(self, edge: Edge) -> None:
        """Numbers are consecutive, DTS rise, nothing is shown as a break, one run."""
        numbers = [entry.number for entry in edge.entries]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
        for track in times(edge.tap.frames).values():
            self.assertTrue(all(one < other for one, other in itertools.pairwise(track)))
        self.assertEqual([e.discontinuity for e in edge.entries], [False] * len(numbers))
        self.assertEqual({e.discontinuity_sequence for e in edge.entries}, {0})
        self.assertEqual([e for e in edge.tap.events if e.startswith("run")], ["run 100"])


class SameContentTests(SwitchCase):
    """One encoder, two ingest nodes."""

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(
        st.integers(320, len(CONTENT) - 20),
        st.integers(0, 60),
        st.sampled_from([0, 1, 17_123, -40_001, 600 * TICKS_PER_SECOND, -3 * TICKS_PER_SECOND]),
        st.integers(0, 12),
        st.integers(0, 12),
    )
    def test_a_switch_at_any_frame(self, switch: int, pause: int, error: int, lag: int, other: int) -> None:
        self.build(error)
        edge = Edge("e")
        self.play(200)
        link = edge.pull(self.a, lag)
        self.play(switch)
        link.cut()
        self.play(min(switch + pause, len(CONTENT)))
        link = edge.pull(self.b, other)
        self.play(len(CONTENT))
        link.flush()
        self.whole(edge, 5)
        self.assertEqual(edge.events, [("delivered", "a"), ("link", "a"), ("delivered", "b")])

    def test_edges_that_switched_at_different_moments(self) -> None:
        self.build(50_000)
        edges = [Edge(f"e{index}") for index in range(4)]
        self.play(100)
        links = [edge.pull(self.a) for edge in edges]
        for index, moment in enumerate((430, 431, 700)):
            self.play(moment)
            links[index].cut()
            links[index] = edges[index].pull(self.b)
        self.play(len(CONTENT))
        for edge in edges:
            self.whole(edge)
            self.assertEqual(edge.closed, edges[3].closed)
        self.assertEqual(edges[0].tap.frames, edges[3].tap.frames)

    def test_back_again_while_the_other_feeds(self) -> None:
        """Make before break, both ways, again and again; nodes further down see nothing of it."""
        self.build(-20_000)
        edge = Edge("e")
        below = Edge("f")
        self.play(150)
        feeding = edge.pull(self.a)
        below.pull(edge)
        for turn, moment in enumerate(range(400, 1600, 150)):
            self.play(moment)
            better = edge.pull(self.b if turn % 2 == 0 else self.a, lag=turn % 3)
            self.play(moment + 20)
            self.assertEqual(edge.events[-1], ("delivered", "b" if turn % 2 == 0 else "a"))
            feeding.puller.stop("another one feeds")
            feeding.cut()
            feeding = better
        self.play(len(CONTENT))
        feeding.flush()
        self.whole(edge)
        self.whole(below)
        self.assertNotIn("link", {event for event, _ in edge.events})

    def test_a_source_that_is_behind(self) -> None:
        """It is 1.5 s behind: it takes the stream when it gets to where the other one left it."""
        self.build()
        edge = Edge("e")
        self.play(150)
        link = edge.pull(self.a)
        self.play(500)
        slow = edge.pull(self.b, lag=110)
        self.play(700)
        self.assertEqual(edge.events, [("delivered", "a")])
        link.cut()
        shown = len(edge.tap.frames)
        self.play(750)
        self.assertEqual(len(edge.tap.frames), shown)
        self.play(900)
        self.assertEqual(edge.events[-1], ("delivered", "b"))
        self.assertGreater(len(edge.tap.frames), shown)
        self.play(len(CONTENT))
        slow.flush()
        self.whole(edge)

    def test_the_link_to_the_other_breaks_and_returns(self) -> None:
        """What was learned is kept: the source sends what was missed, mapped as before."""
        self.build(7_000)
        edge = Edge("e")
        self.play(150)
        edge.pull(self.a).cut()
        link = edge.pull(self.b)
        for moment in (400, 555, 556, 700, 900, 1300):
            self.play(moment)
            link.cut()
            self.play(moment + 37)
            link = EdgeLink(self.b, edge, link.puller)
            self.assertEqual(link.pulls[0].run_id, 200)
        self.play(len(CONTENT))
        self.whole(edge)

    def test_a_break_at_the_other(self) -> None:
        """Its publisher returns, with the same content: that run is passed on as it is, behind one break."""
        self.build(9_000)
        edge = Edge("e")
        self.play(150)
        link = edge.pull(self.a)
        self.play(600)
        link.cut()
        edge.pull(self.b)
        self.play(900)
        self.b.ingest.end("left")
        self.b.publish()
        self.play(len(CONTENT))
        runs = [e for e in edge.tap.events if e.startswith("run")]
        self.assertEqual(runs, ["run 100", "run 201"])
        theirs = [e for e in edge.entries if e.run.run_id == 201]
        self.assertEqual([e.discontinuity for e in theirs], [True] + [False] * (len(theirs) - 1))
        self.assertEqual({e.discontinuity_sequence for e in theirs}, {1})
        published = self.b.closed
        self.assertEqual([e.segment.encoded for e in theirs], [published[e.number] for e in theirs])
        numbers = [e.number for e in edge.entries]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))

    def test_tracks_by_another_id(self) -> None:
        """Their track ids differ."""
        self.a = IngestNode("a", 100)
        self.b = IngestNode("b", 200, 1234, (evolve(AV[0], track_id=7), evolve(AV[1], track_id=3)))
        self.contents = (CONTENT, [evolve(f, track_id=7 if f.track_id == 1 else 3) for f in CONTENT])
        self.at = 0
        edge = Edge("e")
        self.play(150)
        link = edge.pull(self.a)
        self.play(600)
        link.cut()
        edge.pull(self.b)
        self.play(len(CONTENT))
        self.whole(edge)

    def test_milliseconds_that_round_otherwise(self) -> None:
        """The times of single units differ by a millisecond: still no frame is lost or shown twice."""
        self.build(
            5_000,
            (CONTENT, [evolve(f, dts=f.dts + (index % 3 == 0) * 80) for index, f in enumerate(CONTENT)]),
        )
        edge = Edge("e")
        self.play(150)
        link = edge.pull(self.a)
        self.play(611)
        link.cut()
        edge.pull(self.b)
        self.play(len(CONTENT))
        self.unbroken(edge)
        self.assertEqual(
            [f.data for f in edge.tap.frames], [f.data for f in self.a.tap.frames[-len(edge.tap.frames) :]]
        )


class OtherContentTests(SwitchCase):
    """What is not the same is not mapped: one break, numbers rise, time stays true."""

    def switched(self, edge: Edge, make_before_break: bool) -> None:
        self.play(150)
        link = edge.pull(self.a)
        self.play(700)
        if make_before_break:
            other = edge.pull(self.b)
            self.play(760)
            self.assertEqual(edge.events[-1], ("delivered", "b"))
            link.puller.stop("another one feeds")
            link.cut()
            self.assertTrue(other.up)
        else:
            link.cut()
            edge.pull(self.b)
        self.play(len(CONTENT))
        self.assertEqual([e for e in edge.tap.events if e.startswith("run")], ["run 100", "run 200"])
        entries = edge.entries
        numbers = [e.number for e in entries]
        self.assertEqual(numbers, sorted(set(numbers)))
        theirs = [e for e in entries if e.run.run_id == 200]
        ours = [e for e in entries if e.run.run_id == 100]
        self.assertEqual([e.discontinuity for e in theirs], [True] + [False] * (len(theirs) - 1))
        self.assertEqual({e.discontinuity_sequence for e in theirs}, {1})
        self.assertEqual({(e.discontinuity, e.discontinuity_sequence) for e in ours}, {(False, 0)})
        published = self.b.closed
        self.assertEqual([e.segment.encoded for e in theirs], [published[e.number] for e in theirs])
        self.assertEqual({e.run.discontinuities for e in theirs}, {1})

    def test_another_encode(self) -> None:
        for make_before_break in (False, True):
            self.build(3_000, (CONTENT, OTHER))
            edge = Edge("e")
            self.switched(edge, make_before_break)

    def test_nodes_further_down_agree(self) -> None:
        self.build(0, (CONTENT, OTHER))
        edge = Edge("e", 40)
        below = Edge("f", 40)
        self.play(100)
        early = edge.pull(self.a)
        below.pull(edge)
        early.cut()
        self.switched(edge, False)
        late = Edge("g", 40)
        late.pull(edge)
        for other in (below, late):
            held = {e.number: e for e in other.stream.window.retained}
            for entry in edge.stream.window.retained[1:]:
                copy = held[entry.number]
                self.assertEqual(
                    (copy.discontinuity, copy.discontinuity_sequence, copy.segment.encoded),
                    (entry.discontinuity, entry.discontinuity_sequence, entry.segment.encoded),
                )

    def test_content_that_repeats(self) -> None:
        """Black pictures and silence: the same few units again and again."""
        still = [
            evolve(
                f,
                data=b"\0\0\0\1e" if f.key and f.track_id == 1 else b"\0\0\0\1A" if f.track_id == 1 else b"!",
            )
            for f in CONTENT
        ]
        kinds = {track: [f for f in CONTENT if f.track_id == track] for track in (1, 2)}
        turns = {1: itertools.cycle(kinds[1][:25]), 2: itertools.cycle(kinds[2][:47])}
        loop = [evolve(f, data=next(turns[f.track_id]).data) for f in CONTENT]
        for content in (still, loop):
            self.build(2_500, (content, content))
            self.switched(Edge("e"), False)

    def test_no_overlap(self) -> None:
        """The other node began behind what was shown."""
        self.a = IngestNode("a", 100)
        edge = Edge("e")
        for frame in CONTENT[:600]:
            self.a.push(frame)
        link = edge.pull(self.a)
        for frame in CONTENT[600:900]:
            self.a.push(frame)
        link.cut()
        self.b = IngestNode("b", 200, CONTENT[1000].dts)
        for frame in CONTENT[1000:1100]:
            self.b.push(evolve(frame, dts=frame.dts - CONTENT[1000].dts))
        edge.pull(self.b)
        for frame in CONTENT[1100:]:
            self.b.push(evolve(frame, dts=frame.dts - CONTENT[1000].dts))
        self.assertEqual([e for e in edge.tap.events if e.startswith("run")], ["run 100", "run 200"])

    def test_other_configuration(self) -> None:
        """The bytes of the units alone do not make it the same."""
        self.a = IngestNode("a", 100)
        self.b = IngestNode("b", 200, 0, (evolve(AV[0], config=AV[0].config + b"\0"), AV[1]))
        self.contents = (CONTENT, CONTENT)
        self.at = 0
        self.switched(Edge("e"), False)


class SameRunTests(SwitchCase):
    """Two relays of one origin."""

    @override
    def setUp(self) -> None:
        self.build()
        self.play(1)
        self.one, self.two = Edge("one"), Edge("two")
        self.one.pull(self.a)
        self.two.pull(self.a)

    def test_a_switch_at_any_frame(self) -> None:
        for switch in range(300, 420, 7):
            self.setUp()
            edge = Edge("e")
            self.play(200)
            link = edge.pull(self.one)
            self.play(switch)
            link.cut()
            self.play(switch + switch % 60)
            link = edge.pull(self.two, lag=switch % 5)
            self.play(900)
            link.flush()
            self.whole(edge, 2)

    def test_back_again_while_the_other_feeds(self) -> None:
        for lags in ((0, 0), (30, 0), (0, 30)):
            self.setUp()
            edge = Edge("e")
            self.play(200)
            feeding = edge.pull(self.one, lags[0])
            for turn, moment in enumerate(range(300, 1500, 111)):
                self.play(moment)
                after = (turn + 1) % 2
                better = edge.pull((self.one, self.two)[after], lags[after])
                self.play(moment + 50)
                self.assertEqual(edge.events[-1], ("delivered", ("one", "two")[after]))
                feeding.puller.stop("another one feeds")
                feeding.cut()
                feeding = better
            self.play(len(CONTENT))
            feeding.flush()
            self.whole(edge, 6)

    def test_standby(self) -> None:
        """Nothing is asked until it is wanted; then at once."""
        edge = Edge("e")
        self.play(200)
        link = edge.pull(self.one)
        standby = edge.pull(self.two, standby=True)
        self.play(400)
        self.assertEqual((standby.pulls, standby.puller.active, standby.puller.linked), ([], False, True))
        link.cut()
        standby.puller.activate()
        standby.puller.activate()
        self.assertEqual(len(standby.pulls), 1)
        self.play(len(CONTENT))
        self.whole(edge)
        self.assertEqual(edge.events, [("delivered", "one"), ("link", "one"), ("delivered", "two")])

    def test_a_standby_whose_link_is_lost_says_nothing(self) -> None:
        edge = Edge("e")
        self.play(200)
        standby = edge.pull(self.two, standby=True)
        standby.cut()
        self.assertEqual(edge.events, [])
        standby.puller.activate()
        self.play(300)
        link = EdgeLink(self.two, edge, standby.puller)
        self.assertEqual(len(link.pulls), 1)
        self.play(len(CONTENT))
        self.whole(edge)

    def test_the_source_loses_its_input_and_gets_it_back(self) -> None:
        """The link stays; it feeds again when frames come, unless another one does by then."""
        for taken in (False, True):
            self.setUp()
            edge = Edge("e")
            self.play(200)
            edge.pull(self.one)
            self.play(400)
            (inner,) = [
                each for each in self.a.relays.of(self.a.stream)._pulled if each.peer_id[:3] == b"one"
            ]
            assert isinstance(inner, EdgeLink)
            inner.cut()
            self.assertEqual(edge.events, [("delivered", "one"), ("input", "one")])
            if taken:
                edge.pull(self.two)
            self.play(450)
            EdgeLink(self.a, self.one, inner.puller)
            self.play(len(CONTENT))
            self.whole(edge)
            self.assertEqual(edge.events[-1], ("delivered", "two" if taken else "one"))
            self.assertEqual(len(edge.events), 3)

    def test_displaced_is_silent(self) -> None:
        """Whoever lost the stream to another says nothing and writes nothing."""
        edge = Edge("e")
        self.play(200)
        first = edge.pull(self.one)
        self.play(300)
        edge.pull(self.two)
        self.play(330)
        self.play(600)
        first.cut()
        self.assertEqual(edge.events, [("delivered", "one"), ("delivered", "two")])
        self.play(len(CONTENT))
        self.whole(edge)
