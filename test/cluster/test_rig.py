"""Whole clusters on one clock: what is decided at the ingest arrives everywhere, whatever links do."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.testing.cluster_rig import ClusterRig, RigNode, Witness


class RigCase(SynchronousTestCase):
    """A cluster that must leave nothing behind."""

    seed = 0

    @override
    def setUp(self) -> None:
        self.rig = ClusterRig(self.seed)

    @override
    def tearDown(self) -> None:
        self.rig.stop()
        self.rig.check()

    def same_frames(self, reference: Witness, *others: Witness) -> None:
        """Each of C{others} saw a part of what C{reference} saw, without a hole and to the same end."""
        self.rig.settle()
        for other in others:
            self.assertGreater(len(other.frames), 10)
            self.assertEqual(other.frames, reference.frames[-len(other.frames) :])

    def same_segments(self, reference: Witness, *nodes: RigNode, name: str = "x", least: int = 3) -> None:
        self.rig.settle()
        for node in nodes:
            window = node.window(name)
            self.assertGreaterEqual(len(window), least, node.name)
            self.assertEqual(window, {number: reference.segments[number] for number in window}, node.name)


class ChainTests(RigCase):
    """Origin, middle, edge."""

    def test_segments_are_byte_equal_and_frames_equal(self) -> None:
        nodes = self.rig.chain("origin", "middle", "edge")
        witnesses = [node.witness("x") for node in nodes]
        self.rig.run(1)
        nodes[0].publish("x")
        self.rig.run(30)
        self.same_frames(*witnesses)
        for witness in witnesses[1:]:
            self.assertEqual(witness.segments, witnesses[0].segments)
            self.assertEqual(len(witness.frames), len(witnesses[0].frames))
        self.assertIn(len(witnesses[0].segments), (14, 15))
        streams = [node.stream("x") for node in nodes]
        runs = [stream.run for stream in streams if stream is not None]
        ids = [node.node_id for node in nodes]
        self.assertEqual([run.path for run in runs if run], [tuple(ids[:1]), tuple(ids[:2]), tuple(ids)])
        self.assertEqual(len({(run.run_id, run.run_start, run.ingest_node) for run in runs if run}), 1)
        self.assertEqual([stream.segment_duration for stream in streams if stream], [180_000] * 3)

    def test_latency_is_that_of_the_network(self) -> None:
        nodes = self.rig.chain("origin", "middle", "edge")
        self.rig.run(1)
        nodes[0].publish("x")
        self.rig.run(5)
        lags = [stream.last_dts for node in nodes if (stream := node.stream("x")) is not None]
        self.assertLess(lags[0] - lags[2] if lags[0] and lags[2] else 1 << 60, 9000)

    def test_who_comes_late_gets_the_window_and_the_open_segment(self) -> None:
        (origin,) = self.rig.chain("origin")
        witness = origin.witness("x")
        origin.publish("x")
        self.rig.run(21)
        late = self.rig.node("late")
        seen = late.witness("x")
        late.source("origin")
        self.rig.run(1)
        self.assertEqual(late.window("x"), origin.window("x"))
        self.rig.run(10)
        self.same_frames(witness, seen)
        self.same_segments(witness, late, least=6)
        # History is for the window; who watches begins with the segment that was open.
        self.assertLess(len(seen.frames), 14 * 75)

    def test_in_pieces_of_any_size(self) -> None:
        self.rig.network.largest_piece = 7
        nodes = self.rig.chain("origin", "middle", "edge")
        witnesses = [node.witness("x") for node in nodes]
        self.rig.run(0.5)
        nodes[0].publish("x", pictures=5, gop=5)
        self.rig.run(5)
        self.same_frames(*witnesses)
        self.same_segments(witnesses[0], *nodes, least=2)

    def test_once_per_link(self) -> None:
        """Many who ask for a stream at the edge are one pull at the origin."""
        origin, edge = self.rig.chain("origin", "edge")
        origin.publish("x")
        self.rig.run(3)
        self.assertEqual(len(self.rig.network.between("origin", "edge")), 2)
        stream = origin.stream("x")
        assert stream is not None
        self.assertEqual(origin.relays.links(stream), 1)
        for _ in range(20):
            edge.witness("x")
        self.assertEqual(len(self.rig.network.between("origin", "edge")), 2)


class CutTests(RigCase):
    """Links that break: nothing lost, nothing doubled."""

    def build(self) -> tuple[list[RigNode], list[Witness]]:
        nodes = self.rig.chain("origin", "middle", "edge")
        witnesses = [node.witness("x") for node in nodes]
        self.rig.run(0.5)
        nodes[0].publish("x", pictures=10, gop=10)
        return nodes, witnesses

    def media(self, one: str, other: str) -> Sequence[object]:
        return self.rig.network.between(one, other)

    def test_cut_everywhere_and_again(self) -> None:
        """Every link of the chain is cut again and again, at the receiving and the sending side."""
        for piece in (1 << 20, 50):
            self.setUp()
            self.rig.network.largest_piece = piece
            nodes, witnesses = self.build()
            self.rig.run(3)
            for turn in range(12):
                pair = [("origin", "middle"), ("middle", "edge")][turn % 2]
                for end in self.rig.network.between(*pair):
                    end.peer.cut_after = end.peer.sent + 37 * turn
                self.rig.run(1.5)
            self.rig.run(4)
            self.same_frames(*witnesses)
            self.same_segments(witnesses[0], *nodes)
            for witness in witnesses[1:]:
                self.assertEqual(witness.segments, witnesses[0].segments)
            self.assertEqual({len(set(witness.runs)) for witness in witnesses}, {1})
            self.tearDown()

    def test_the_media_link_alone(self) -> None:
        """Cut after any number of bytes: the stream of the edge never notices but by the pause."""
        for position in range(1, 4000, 83):
            self.setUp()
            nodes = self.rig.chain("origin", "edge")
            witnesses = [node.witness("x") for node in nodes]
            self.rig.run(0.5)
            nodes[0].publish("x", pictures=5, gop=5)
            self.rig.run(0.1)
            media = self.rig.network.between("origin", "edge")[-1]
            media.peer.cut_after = media.peer.sent + position
            self.rig.run(6.5)
            self.assertTrue(media.gone or media.peer.sent < media.peer.cut_after)
            self.same_frames(*witnesses)
            self.assertEqual(witnesses[1].segments, witnesses[0].segments, position)
            self.tearDown()

    def test_a_silent_network(self) -> None:
        """The link is dead after 1.8 s without a byte; when the network is back, nothing was lost."""
        nodes, witnesses = self.build()
        self.rig.run(4)
        self.rig.network.silence("origin", "middle")
        middle = nodes[1].stream("x")
        assert middle is not None
        took = self.rig.run_until(lambda: not middle.running)
        self.assertTrue(1.75 <= took <= 1.9, took)
        self.rig.run(1)
        self.rig.network.heal("origin", "middle")
        self.rig.run(16)
        self.same_frames(*witnesses)
        self.same_segments(witnesses[0], *nodes)

    def test_an_outage_longer_than_the_window(self) -> None:
        nodes, witnesses = self.build()
        self.rig.run(4)
        self.rig.network.silence("origin", "middle")
        self.rig.run(22)
        self.rig.network.heal("origin", "middle")
        self.rig.run(25)
        self.same_segments(witnesses[0], *nodes)
        missing = set(witnesses[0].segments) - set(witnesses[2].segments)
        self.assertTrue(0 < len(missing) < 14, missing)
        frames = [(frame.track_id, frame.dts) for frame in witnesses[2].frames]
        self.assertEqual(len(frames), len(set(frames)))
        dts = [d for track, d in frames if track == 1]
        self.assertEqual(dts, sorted(dts))
        self.assertEqual(witnesses[2].ends, 0)


class RunTests(RigCase):
    """Publishers and nodes that go and come back."""

    def test_publisher_returns(self) -> None:
        nodes = self.rig.chain("origin", "middle", "edge")
        witnesses = [node.witness("x") for node in nodes]
        self.rig.run(0.5)
        for pause in (0.0, 0.5, 5.0, 12.0):
            publisher = nodes[0].publish("x")
            self.rig.run(7)
            publisher.leave()
            self.rig.run(0.5)
            self.assertEqual([n.stream("x").running for n in nodes if n.stream("x")], [False] * 3)  # type: ignore[union-attr]
            self.rig.run(pause)
        nodes[0].publish("x")
        self.rig.run(5)
        self.same_frames(*witnesses)
        for witness in witnesses:
            self.assertEqual(witness.segments, witnesses[0].segments)
            self.assertEqual((len(witness.runs), witness.ends), (5, 0))
        last = nodes[2].stream("x")
        assert last is not None and last.window.last is not None
        self.assertEqual(last.window.last.discontinuity_sequence, 4)

    def test_the_source_begins_anew(self) -> None:
        """The origin's process is gone and comes back: its ledger makes the numbers rise."""
        origin, middle, edge = self.rig.chain("origin", "middle", "edge")
        witness = edge.witness("x")
        self.rig.run(0.5)
        publisher = origin.publish("x")
        self.rig.run(7)
        publisher.over = True
        origin.crash()
        self.rig.run(3)
        again = self.rig.node("origin", origin.registry.ledger)
        reference = again.witness("x")
        again.publish("x")
        self.rig.run(12)
        self.rig.settle()
        stream = edge.stream("x")
        assert stream is not None and stream.run is not None
        numbers = list(witness.segments)
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual(len(witness.runs), 2)
        self.assertEqual(witness.frames[-len(reference.frames) :], reference.frames)
        for number, encoded in reference.segments.items():
            self.assertEqual(witness.segments[number], encoded)
        first = next(e for e in stream.window.retained if e.run.run_id == stream.run.run_id)
        self.assertTrue(first.segment.discontinuity)
        self.assertEqual(middle.window("x"), edge.window("x"))

    def test_edge_begins_anew(self) -> None:
        origin, edge = self.rig.chain("origin", "edge")
        reference = origin.witness("x")
        origin.publish("x")
        self.rig.run(9)
        edge.crash()
        edge = self.rig.node("edge")
        witness = edge.witness("x")
        edge.source("origin")
        self.rig.run(9)
        self.same_frames(reference, witness)
        self.same_segments(reference, edge)

    def test_another_segment_duration_is_another_run(self) -> None:
        nodes = self.rig.chain("origin", "middle", "edge")
        self.rig.run(0.5)
        publisher = nodes[0].publish("x")
        self.rig.run(7)
        publisher.leave()
        nodes[0].settings = type(nodes[0].settings)(segment_duration=4 * 90_000)
        nodes[0].publish("x")
        self.rig.run(14)
        for node in nodes:
            stream = node.stream("x")
            assert stream is not None
            self.assertEqual(
                (stream.segment_duration, stream.window.target_duration), (360_000, 6), node.name
            )

    def test_stream_that_expires_is_gone_everywhere(self) -> None:
        nodes = self.rig.chain("origin", "middle", "edge")
        publisher = nodes[0].publish("x")
        self.rig.run(5)
        publisher.leave()
        self.rig.run(40)
        self.assertEqual([node.stream("x") for node in nodes], [None] * 3)
        self.assertEqual([node.listed() for node in nodes], [[]] * 3)
        # Only the control links are left.
        self.assertEqual(len(self.rig.network.connections), 2)
