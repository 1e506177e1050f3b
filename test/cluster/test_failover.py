"""A cluster whose edge has two sources: one dies, hangs, or loses its input, and comes back."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.stream import Stream
from restreamer.live.window import WindowSegment
from restreamer.testing.cluster_rig import ClusterRig, RigNode, Witness
from test.cluster.splicing import times

#: What may happen to a source: how, and back.
Trouble = tuple[str, Callable[["FailoverCase"], None], Callable[["FailoverCase"], None]]


def _kill(case: FailoverCase) -> None:
    case.one.crash()


def _return(case: FailoverCase) -> None:
    """The relay's process is back; an origin's publisher with it."""
    rig = case.rig
    name = case.one.name
    case.one = rig.nodes[name] = RigNode(rig, name, case.one.registry.ledger)
    case.begin_one()


def _freeze(case: FailoverCase) -> None:
    case.rig.network.silence(case.one.name, "edge")


def _thaw(case: FailoverCase) -> None:
    case.rig.network.heal(case.one.name, "edge")


class FailoverCase(SynchronousTestCase):
    """C{one} and C{two} are the edge's sources; C{below} is behind the edge."""

    one: RigNode
    begin_one: Callable[[], None]

    @override
    def setUp(self) -> None:
        self.rig = ClusterRig(5)

    def watch(self) -> None:
        """The edge and the node behind it come."""
        rig = self.rig
        self.edge = rig.node("edge")
        self.below = rig.node("below")
        self.seen = self.edge.witness("x")
        self.behind = self.below.witness("x")
        self.entries: dict[int, WindowSegment] = {}
        for name in (self.one.name, self.two.name):
            self.edge.source(name)
        self.below.source("edge")

    two: RigNode

    def relays(self) -> None:
        """Two relays of one origin."""
        rig = self.rig
        self.origin = rig.node("origin")
        self.one, self.two = rig.node("one"), rig.node("two")
        self.begin_one = lambda: (self.one.source("origin"), None)[1]
        self.begin_one()
        self.two.source("origin")
        self.reference = self.origin.witness("x")
        self.watch()
        rig.run(0.5)
        self.origin.publish("x")

    def ingests(self, error: float = 0.7, pictures: int = 25) -> None:
        """Two origins, of one encoder or (with another rate of pictures) of two."""
        rig = self.rig
        self.one = rig.node("one")
        self.two = rig.nodes["two"] = RigNode(rig, "two", wall_error=error)
        self.begin_one = lambda: (self.one.publish("x"), None)[1]
        self.reference = self.one.witness("x")
        self.watch()
        rig.run(0.5)
        self.publisher = self.one.publish("x")
        self.two.publish("x", pictures=pictures)

    def stream(self, node: RigNode) -> Stream:
        stream = node.stream("x")
        assert stream is not None
        return stream

    def shown(self) -> list[WindowSegment]:
        """What the edge shows now; adds to what it showed so far."""
        for entry in self.stream(self.edge).window.retained:
            self.entries.setdefault(entry.number, entry)
        return list(self.entries.values())

    def keep_looking(self, seconds: float) -> None:
        for _ in range(round(seconds / 2)):
            self.rig.run(2)
            self.shown()

    def rising(self, witness: Witness) -> None:
        for track in times(witness.frames).values():
            self.assertTrue(all(one < other for one, other in itertools.pairwise(track)))

    def without_a_trace(self) -> None:
        """Nothing of it can be seen: every frame once, no break, every number, the origin's bytes."""
        self.rig.settle()
        for witness in (self.seen, self.behind):
            self.rising(witness)
            self.assertEqual(len(witness.runs), 1, witness.runs)
            self.assertEqual(witness.ends, 0)
            numbers = sorted(witness.segments)
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
            for number, encoded in self.reference.segments.items():
                if number in witness.segments:
                    self.assertTrue(witness.segments[number] == encoded, number)
            for step in _steps(witness):
                self.assertLess(step, 9000)
        self.assertEqual([e.discontinuity for e in self.shown()], [False] * len(self.entries))
        self.agree()

    def agree(self) -> None:
        """The node behind the edge shows what the edge shows."""
        self.rig.settle()
        theirs = {e.number: e for e in self.stream(self.below).window.retained}
        for entry in self.stream(self.edge).window.retained:
            copy = theirs.get(entry.number)
            if copy is not None:
                self.assertEqual(
                    (copy.segment, copy.discontinuity, copy.discontinuity_sequence),
                    (entry.segment, entry.discontinuity, entry.discontinuity_sequence),
                )

    def end(self) -> None:
        for node in self.rig.nodes.values():
            self.assertEqual(node.faults, [])
        self.rig.network._silent.clear()
        self.rig.stop()
        self.rig.check()

    def feeding(self) -> str | None:
        return self.edge.remote.source_of("x")


class FailoverTests(FailoverCase):
    """A source goes, and comes back."""

    # Two relays of one origin.

    def test_a_relay(self) -> None:
        def lose_input(case: FailoverCase) -> None:
            case.rig.network.silence("one", "origin")

        def input_back(case: FailoverCase) -> None:
            case.rig.network.heal("one", "origin")

        for name, trouble, back in (
            ("kill", _kill, _return),
            ("freeze", _freeze, _thaw),
            ("input", lose_input, input_back),
        ):
            self.setUp()
            self.relays()
            self.rig.run(9)
            self.assertEqual(self.feeding(), "one", name)
            for _ in range(2):
                trouble(self)
                self.keep_looking(8)
                self.assertEqual(self.feeding(), "two", name)
                self.assertTrue(self.stream(self.edge).running)
                back(self)
                self.keep_looking(40)
                self.assertEqual(self.feeding(), "one", name)
            self.without_a_trace()
            self.assertEqual(self.seen.frames[-200:], self.reference.frames[-200:])
            self.end()

    # Two ingest nodes of one encoder.

    def test_an_ingest_node_hangs(self) -> None:
        for error in (0.0, 0.7, -3.1):
            self.setUp()
            self.ingests(error)
            self.rig.run(9)
            self.assertEqual(self.feeding(), "one")
            for _ in range(2):
                _freeze(self)
                self.keep_looking(8)
                self.assertEqual(self.feeding(), "two")
                _thaw(self)
                self.keep_looking(40)
                self.assertEqual(self.feeding(), "one")
            self.without_a_trace()
            self.end()

    def test_an_ingest_node_dies(self) -> None:
        self.ingests()
        self.rig.run(9)
        self.publisher.over = True
        _kill(self)
        self.keep_looking(14)
        self.assertEqual(self.feeding(), "two")
        self.without_a_trace()
        self.end()

    def test_an_ingest_node_loses_its_publisher(self) -> None:
        self.ingests(1.3)
        self.rig.run(9.1)
        self.publisher.leave()
        self.keep_looking(14)
        self.assertEqual(self.feeding(), "two")
        for witness in (self.seen, self.behind):
            self.rising(witness)
            for step in _steps(witness):
                self.assertLess(step, 9000)
        self.agree()
        self.end()

    # Two encoders.

    def test_other_content(self) -> None:
        for name, trouble in (("kill", _kill), ("freeze", _freeze)):
            self.setUp()
            self.ingests(0.4, pictures=20)
            self.rig.run(9)
            if trouble is _kill:
                self.publisher.over = True
            trouble(self)
            self.keep_looking(14)
            self.assertEqual(self.feeding(), "two", name)
            self.assertEqual((len(self.seen.runs), len(self.behind.runs)), (2, 2))
            entries = self.shown()
            self.assertEqual(sum(e.discontinuity for e in entries), 1)
            self.assertEqual({e.discontinuity_sequence for e in entries}, {0, 1})
            numbers = [e.number for e in entries]
            self.assertEqual(numbers, sorted(numbers))
            self.agree()
            self.end()


def _steps(witness: Witness) -> list[int]:
    """Distances of the pictures."""
    pictures = times(witness.frames)[1]
    return [other - one for one, other in itertools.pairwise(pictures)]
