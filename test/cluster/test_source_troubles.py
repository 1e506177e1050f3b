"""Sources that are slow, flap, lie, come back with another timeline, or are there again for all at once."""

from __future__ import annotations

import itertools
import random
import time

from restreamer.live.ledger import Ledger
from restreamer.m4f.records import (
    MAX_LISTED,
    CatalogueComplete,
    StreamListed,
    StreamState,
    StreamUnlisted,
)
from restreamer.sources.input_slot import LONGEST_SETTLE
from restreamer.testing.cluster_rig import Publisher, RigNode
from test.cluster.splicing import times
from test.cluster.test_failover import FailoverCase
from test.cluster.test_rig import RigCase


class _Two(FailoverCase):
    """Two sources."""

    @property
    def switches(self) -> int:
        return self.edge.remote.switches_of("x")


class SlowTests(_Two):
    """A source that gives less than real time, while another does not (F03)."""

    def crawl(self, speed: float, seconds: float) -> None:
        """What the origin sends to C{one} arrives at C{speed} times real time: later and later."""
        delays, way = self.rig.network.delays, ("origin", "one")
        delays.setdefault(way, self.rig.network.delay)
        for _ in range(round(seconds / self.rig.step)):
            delays[way] += self.rig.step * (1 / speed - 1)
            self.rig.run(self.rig.step)
            self.shown()

    def test_relay(self) -> None:
        for speed, longest in ((0.5, 8.0), (0.9, 30.0)):
            self.setUp()
            self.relays()
            self.rig.run(9)
            self.assertEqual(self.feeding(), "one")
            self.crawl(speed, longest)
            self.assertEqual(self.feeding(), "two", speed)
            self.crawl(speed, 20)
            self.assertEqual(self.feeding(), "two", "it is tried, and left again before it is shown")
            self.assertLessEqual(self.switches, 1)
            del self.rig.network.delays["origin", "one"]
            self.keep_looking(150)
            self.assertEqual(self.feeding(), "one", "it is as fast as the other again")
            self.assertLessEqual(self.switches, 2)
            self.without_a_trace()
            self.end()

    def test_ingest(self) -> None:
        """One of two encoders sends slower than real time: it is left when it is two segments behind."""
        for speed, longest in ((0.5, 14.0), (0.9, 60.0)):
            self.setUp()
            self.ingests(0.0)
            self.rig.run(9)
            self.assertEqual(self.feeding(), "one")
            self.brake(self.publisher, speed, longest)
            self.assertEqual(self.feeding(), "two", speed)
            self.brake(self.publisher, speed, 20)
            self.assertEqual(self.feeding(), "two", speed)
            self.assertLessEqual(self.switches, 1)
            for witness in (self.seen, self.behind):
                self.rising(witness)
                self.assertEqual(witness.ends, 0)
            self.agree()
            self.end()

    def brake(self, publisher: Publisher, speed: float, seconds: float) -> None:
        for _ in range(round(seconds / self.rig.step)):
            publisher._began += self.rig.step * (1 - speed)
            self.rig.run(self.rig.step)
            self.shown()


class SilentTests(_Two):
    """A source whose links live while the stream stands still (M09, M13)."""

    def test_publisher_stands_still(self) -> None:
        """Its encoder hangs: keepalives and heartbeats go on, frames do not; the other one feeds soon."""
        for pictures in (25, 20):
            self.setUp()
            self.ingests(0.3, pictures=pictures)
            self.rig.run(9)
            self.assertEqual(self.feeding(), "one")
            self.publisher.over = True
            took = self.rig.run_until(lambda: self.feeding() == "two", 4.0)
            self.assertLess(took, 2.5)
            self.assertIn("x", self.one.listed(), "it is listed all the time")
            self.keep_looking(30)
            self.assertEqual(self.feeding(), "two", "it is tried, and nothing comes")
            self.assertEqual(self.switches, 1)
            self.assertTrue(self.stream(self.edge).running)
            if pictures == 25:
                self.rising(self.seen)
            self.assertEqual(self.seen.ends, 0)
            self.agree()
            self.end()


class FlapTests(_Two):
    """A source that goes and comes every 1 to 30 seconds, for ten minutes (F04)."""

    def flap(self, freeze: bool) -> None:
        rig, rng = self.rig, random.Random(4)
        rig.step = 0.04
        self.relays()
        rig.run(9)
        fed: list[tuple[float, str | None]] = []
        end = rig.clock.seconds() + 600
        down = False
        while rig.clock.seconds() < end:
            if freeze:
                (rig.network.heal if down else rig.network.silence)("one", "edge")
            elif down:
                self.one = rig.nodes["one"] = RigNode(rig, "one", self.one.registry.ledger)
                self.begin_one()
            else:
                self.one.crash()
            down = not down
            until = rig.clock.seconds() + rng.uniform(1, 30)
            while rig.clock.seconds() < until:
                rig.run(0.4)
                self.shown()
                if not fed or fed[-1][1] != self.feeding():
                    fed.append((rig.clock.seconds(), self.feeding()))
        if down and not freeze:
            self.one = rig.nodes["one"] = RigNode(rig, "one", self.one.registry.ledger)
            self.begin_one()
        rig.network._silent.clear()
        backs = [at for at, source in fed if source == "one"][1:]
        # The way back is taken at most once in each hold time, which doubles to a minute.
        self.assertLess(len(backs), 9, fed)
        self.assertLess(self.switches, 18)
        for one, other in itertools.pairwise(backs[3:]):
            self.assertGreaterEqual(other - one, LONGEST_SETTLE / 2)
        self.keep_looking(10)
        self.without_a_trace()
        self.end()

    def test_dies(self) -> None:
        self.flap(freeze=False)

    def test_hangs(self) -> None:
        self.flap(freeze=True)


class AnewTests(RigCase):
    """A source that begins anew and remembers nothing (F07)."""

    def test_nothing_is_remembered(self) -> None:
        """Its disk is gone and its clock is wrong: one break, numbers and times rise for the viewers."""
        for error in (0.0, 45.0, -45.0):
            self.setUp()
            origin, _, edge = self.rig.chain("origin", "middle", "edge")
            seen = edge.witness("x")
            self.rig.run(0.5)
            publisher = origin.publish("x")
            self.rig.run(9)
            publisher.over = True
            origin.crash()
            self.rig.run(3)
            origin = self.rig.nodes["origin"] = RigNode(self.rig, "origin", Ledger(), wall_error=error)
            origin.publish("x")
            # While the new numbers are below those that were shown, no segment comes into the window.
            self.rig.run(8 + max(0.0, -error))
            self.rig.settle()
            stream = edge.stream("x")
            assert stream is not None
            entries = list(stream.window.retained)
            self.assertTrue(entries[-1].run.run_id == seen.runs[-1])
            self.assertEqual(sum(e.discontinuity for e in entries), 1, error)
            numbers = [e.number for e in entries]
            self.assertEqual(numbers, sorted(set(numbers)))
            self.assertEqual((len(set(seen.runs)), seen.ends), (2, 0), error)
            self.assertEqual(list(seen.segments), sorted(seen.segments))
            if error >= 0:
                for track in times(seen.frames).values():
                    self.assertEqual(track, sorted(set(track)))
            self.tearDown()
        self.setUp()


class PartitionTests(RigCase):
    """Three nodes that restream each other, and an edge that sees two of them (F09)."""

    def test_any_split(self) -> None:
        for seed in range(3):
            self.seed = seed
            self.setUp()
            rng = random.Random(seed)
            names = ("one", "two", "three")
            nodes = [self.rig.node(name) for name in names]
            for node in nodes:
                for name in names:
                    if name != node.name:
                        node.source(name)
            edge = self.rig.node("edge")
            for name in ("two", "three"):
                edge.source(name)
            reference, seen = nodes[0].witness("x"), edge.witness("x")
            self.rig.run(1)
            nodes[0].publish("x")
            self.rig.run(8)
            pairs = [("one", "two"), ("two", "three"), ("one", "three"), ("edge", "two"), ("edge", "three")]
            for _ in range(8):
                cut = rng.sample(pairs, rng.randint(1, 2))
                for pair in cut:
                    rng.choice((self.rig.network.silence, self.rig.network.sever))(*pair)
                self.rig.run(rng.uniform(1, 8))
                for pair in cut:
                    self.rig.network.mend(*pair)
                    self.rig.network.heal(*pair)
                self.rig.run(rng.uniform(0, 3))
            self.rig.run(20)
            self.same_segments(reference, *nodes, edge)
            for node in (*nodes, edge):
                self.assertEqual(node.listed(), ["x"])
                stream = node.stream("x")
                assert stream is not None and stream.run is not None
                self.assertEqual(len(set(stream.run.path)), len(stream.run.path), "no circle")
            for track in times(seen.frames).values():
                self.assertEqual(track, sorted(set(track)))
            self.assertEqual((len(set(seen.runs)), seen.ends), (1, 0))
            # Every number that the publisher's node made is there, too, when both ways were cut for less.
            held = set(edge.window("x"))
            self.assertEqual(held, set(range(min(held), max(held) + 1)))
            self.tearDown()
        self.setUp()


class ListTests(RigCase):
    """A source that is let in, and lists what nobody can mean (M07, M10)."""

    def test_a_million_names(self) -> None:
        """Only as many as a list may have are taken, also where it is counted what the list holds."""
        _, edge = self.rig.chain("origin", "edge")
        source = edge.sources["origin"]
        source.resettle((), (), self.rig.settings, 10.0, 0)
        self.rig.run(1)
        source.link_up(source._link)  # type: ignore[arg-type]
        began = time.process_time()
        for index in range(1_000_000):
            source.record(StreamListed(f"n{index}", StreamState.ONDEMAND, "", (b"o" * 16,)))
            if index % 100_000 == 0:
                source.record(StreamListed("../etc/passwd", StreamState.ONDEMAND, "", (b"o" * 16,)))
                source.record(StreamListed("n0", StreamState.ONDEMAND, "again", (b"o" * 16,)))
        self.assertLess(time.process_time() - began, 20)
        assert source._fresh is not None
        self.assertLessEqual(len(source._fresh), MAX_LISTED)
        self.assertEqual((len(source.offer.listed), len(edge.listed())), (MAX_LISTED, MAX_LISTED))
        source.record(CatalogueComplete())
        self.assertEqual(len(source.offer.listed), MAX_LISTED)
        for index in range(1_000_000):
            source.record(StreamUnlisted(f"n{index}"))
        self.assertEqual((source.offer.listed, edge.listed()), ({}, []))

    def test_a_list_that_toggles(self) -> None:
        """Streams that come and go ten times a second: a link for each at most once in its hold time."""
        origin, edge = self.rig.chain("origin", "edge")
        self.rig.run(1)
        publishers = [origin.publish(f"x{index}") for index in range(10)]
        steady, reference = edge.witness("x0"), origin.witness("x0")
        self.rig.run(3)
        before = self.rig.network.attempts
        source = edge.sources["origin"]
        for turn in range(100):
            for index in range(1, 10):
                path = (origin.node_id,)
                record: StreamListed | StreamUnlisted = StreamUnlisted(f"x{index}")
                if turn % 2:
                    record = StreamListed(f"x{index}", StreamState.RUNNING, "", path)
                source.record(record)
            self.rig.run(0.1)
        self.assertLess(self.rig.network.attempts - before, 9 * 10)
        self.rig.run(4)
        self.assertEqual(len(edge.listed()), 10)
        self.same_frames(reference, steady)
        self.assertEqual(len(publishers), 10)

    def test_nobody_reads_the_list(self) -> None:
        """A follower that does not read is let go; what waits for it is bounded by the time it gets."""
        origin, edge = self.rig.chain("origin", "edge")
        self.rig.run(1)
        (control,) = self.rig.network.between("origin", "edge")
        control.stop_reading()
        entry = StreamListed("y" * 200, StreamState.RUNNING, "", (b"o" * 16,))
        for _ in range(200):
            for follower in list(origin.catalogue._followers):
                for _ in range(100):
                    follower.catalogue_changed(entry)
            self.rig.run(0.1)
        self.assertTrue(control.gone)
        self.assertLess(control.peer.most_held, 20_000 * 300)
        edge_source = edge.sources["origin"]
        self.assertTrue(edge_source.connected, "and it is back")


class HerdTests(RigCase):
    """Everybody comes back at once (M18)."""

    def test_a_hundred_edges(self) -> None:
        """The source is gone and returns: all streams flow soon, one pull for each, not in one beat."""
        origin = self.rig.node("origin")
        edges = [self.rig.node(f"e{index}") for index in range(100)]
        for edge in edges:
            edge.source("origin")
        self.rig.run(0.5)
        publisher = origin.publish("x", pictures=5, gop=5)
        self.rig.run(4)
        publisher.over = True
        origin.crash()
        self.rig.run(20)
        origin = self.rig.node("origin", origin.registry.ledger)
        origin.publish("x", pictures=5, gop=5)
        attempts: list[int] = []

        def flowing() -> bool:
            attempts.append(self.rig.network.attempts)
            streams = [edge.stream("x") for edge in edges]
            return all(stream is not None and stream.running for stream in streams)

        took = self.rig.run_until(flowing, 10.0)
        self.assertGreater(took, 0.5, "spread over the pause")
        steps = [other - one for one, other in itertools.pairwise(attempts)]
        self.assertLess(max(steps), 25, "no beat in which most of them come")
        self.rig.run(3)
        stream = origin.stream("x")
        assert stream is not None
        self.assertEqual(origin.relays.links(stream), 100)
        self.assertEqual(len(self.rig.network.connections), 200)
