"""Who feeds which name: lists, local owners, loops, limits, streams on demand."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster import offers
from restreamer.cluster.catalogue import BEAT_HOLDS, MAX_PATH, Catalogue
from restreamer.cluster.offers import SourceOffer
from restreamer.cluster.remote_streams import HOLD_SECONDS, RemoteStreams
from restreamer.cluster.selection import Choice, choose, matches
from restreamer.live.registry import StreamSettings
from restreamer.m4f.record_stream import RecordReader
from restreamer.m4f.records import Heartbeat, Position, RunInfo, StreamListed, StreamState, StreamUnlisted
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from restreamer.seams import OpenRequest
from restreamer.sources.input_slot import InputReports
from test.cluster.test_rig import RigCase
from test.live.rig import AV, D
from test.live.test_registry import RegistryCase, Supplied

US = b"u" * 16
THEM = b"t" * 16


class SelectionTests(SynchronousTestCase):
    """White, gray and black lists."""

    def test_patterns(self) -> None:
        for pattern, name, takes in (
            ("a", "a", True),
            ("a", "ab", False),
            ("a/*", "a/b", True),
            ("a/*", "a/b/c", True),
            ("a/*", "a/", False),
            ("a/*", "a", False),
            ("*", "anything", True),
            ("a.b", "aXb", False),
            ("a*", "abc", True),
        ):
            self.assertEqual(matches(pattern, name), takes, (pattern, name))

    def test_choices(self) -> None:
        for runs, only, hidden, choice in (
            (True, None, (), Choice.STATIC),
            (False, None, (), Choice.ON_DEMAND),
            (True, ("x",), (), Choice.STATIC),
            (False, ("x",), (), Choice.STATIC),
            (True, ("y",), (), Choice.ON_DEMAND),
            (True, (), (), Choice.ON_DEMAND),
            (True, ("x",), ("x",), Choice.HIDDEN),
            (True, None, ("*",), Choice.HIDDEN),
        ):
            self.assertIs(choose("x", runs, only, hidden), choice)


@define(eq=False)
class FakePull:
    name: str
    reports: InputReports
    active: bool = True
    stopped: bool = False
    retries: int = 0

    def __attrs_post_init__(self) -> None:
        if self.active:
            self.reports.delivered()

    def activate(self) -> None:
        self.active = True
        self.reports.delivered()

    def stop(self) -> None:
        self.stopped = True

    def retry(self) -> None:
        self.retries += 1


class Reports:
    """Reports that nobody reads."""

    def delivered(self) -> None:
        """Nothing to do."""

    def lost(self, reason: str, link: bool = True, refused: bool = False) -> None:
        """Nothing to do."""


@define(eq=False)
class FakeSource:
    pulls: list[FakePull] = field(factory=list)

    def pull(
        self, remote: str, name: str, settings: StreamSettings, reports: InputReports, standby: bool
    ) -> FakePull:
        pull = FakePull(name, reports, not standby)
        self.pulls.append(pull)
        return pull

    @property
    def running(self) -> list[str]:
        return sorted(pull.name for pull in self.pulls if pull.active and not pull.stopped)


def listed(
    name: str, running: bool = True, path: tuple[bytes, ...] = (THEM,), title: str = ""
) -> StreamListed:
    return StreamListed(name, StreamState.RUNNING if running else StreamState.ONDEMAND, title, path)


class RemoteCase(RegistryCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        self.streams = RemoteStreams(self.registry, US, self.clock, lambda: 0, lambda low, high: high)
        self.addCleanup(self.nothing_left)

    def nothing_left(self) -> None:
        self.streams.close()
        self.registry.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.faults, [])

    def source(
        self, only: tuple[str, ...] | None = None, hidden: tuple[str, ...] = (), linger: float = 10.0
    ) -> tuple[FakeSource, SourceOffer]:
        fake = FakeSource()
        offer = SourceOffer("there", only, hidden, self.settings, linger, fake.pull)
        self.streams.add_source(offer)
        return fake, offer


class RemoteTests(RemoteCase):
    """What is pulled from whom."""

    def test_a_list(self) -> None:
        fake, offer = self.source(hidden=("secret",))
        for name in ("a", "b", "secret"):
            self.streams.listed(offer, listed(name))
        self.streams.listed(offer, listed("c", running=False))
        self.assertEqual((fake.running, self.registry.supplies()), (["a", "b"], ("c",)))
        self.streams.unlisted(offer, "a")
        self.streams.unlisted(offer, "nobody")
        self.assertEqual(fake.running, ["b"])
        self.streams.keep_only(offer, {"c"})
        self.assertEqual((fake.running, self.registry.supplies()), ([], ("c",)))
        self.assertIsNone(self.streams.source_of("a"))

    def test_names_that_cannot_be(self) -> None:
        fake, offer = self.source()
        for name in ("", "../etc", "a/../b", "/a", "a b", "x" * 300, "-a", "a\n", "ä"):
            self.streams.listed(offer, listed(name))
        self.assertEqual((fake.pulls, offer.listed), ([], {}))

    def test_limit(self) -> None:
        self.patch(offers, "MAX_LISTED", 3)
        fake, offer = self.source()
        for index in range(10):
            self.streams.listed(offer, listed(f"n{index}"))
        self.assertEqual(len(fake.running), 3)
        self.streams.listed(offer, listed("n0", title="new"))
        self.assertEqual(offer.listed["n0"].title, "new")

    def test_loops_are_passed_over(self) -> None:
        fake, offer = self.source()
        self.streams.listed(offer, listed("a", path=(THEM, US, THEM)))
        self.assertEqual(fake.pulls, [])
        self.streams.listed(offer, listed("a"))
        self.streams.listed(offer, listed("a", path=(US, THEM)))
        self.assertEqual((len(fake.pulls), fake.running), (1, []))

    def test_local_wins_and_gives_back(self) -> None:
        fake, offer = self.source()
        self.streams.listed(offer, listed("a"))
        self.clock.advance(HOLD_SECONDS + 1)
        claim = self.claim("a")
        self.assertEqual(fake.running, [])
        self.streams.listed(offer, listed("a", title="other"))
        self.assertEqual(fake.running, [])
        self.registry.release(claim)
        self.assertEqual(fake.running, ["a"])
        self.registry.reserve(frozenset(["a"]))
        self.assertEqual(fake.running, [])

    def test_local_hides_what_is_on_demand(self) -> None:
        _, offer = self.source()
        self.streams.listed(offer, listed("a", running=False))
        claim = self.claim("a")
        self.assertEqual(self.registry.supplies(), ())
        self.registry.release(claim)
        self.assertEqual(self.registry.supplies(), ("a",))

    def test_first_source_in_order(self) -> None:
        one, first = self.source()
        two, second = self.source()
        self.streams.listed(second, listed("a"))
        self.assertEqual(two.running, ["a"])
        self.streams.listed(first, listed("a"))
        self.assertEqual((one.running, two.running), ([], ["a"]), "it has only just come")
        self.clock.pump([0.5] * 11)
        self.assertEqual((one.running, two.running), (["a"], []))
        self.streams.reorder([second, first])
        self.clock.pump([0.5] * 11)
        self.assertEqual((one.running, two.running), ([], ["a"]))
        self.streams.unlisted(second, "a")
        self.assertEqual((one.running, two.running), (["a"], []))
        self.streams.remove_source(first)
        self.streams.remove_source(first)
        self.assertEqual((one.running, two.running), ([], []))

    def test_a_list_that_flaps_is_held(self) -> None:
        fake, offer = self.source()
        for _ in range(50):
            self.streams.listed(offer, listed("a"))
            self.clock.advance(0.1)
            self.streams.unlisted(offer, "a")
            self.clock.advance(0.1)
        self.assertLessEqual(len(fake.pulls), 6)
        self.streams.listed(offer, listed("a"))
        self.clock.advance(HOLD_SECONDS)
        self.assertEqual(fake.running, ["a"])

    def test_waiting_pulls_try_again_when_the_list_is_back(self) -> None:
        fake, offer = self.source()
        self.streams.listed(offer, listed("a"))
        fake.pulls[0].reports.lost("cut")
        self.streams.keep_only(offer, {"a"})
        self.assertEqual(fake.pulls[0].retries, 1)

    def test_what_is_missed_can_still_be_asked_about(self) -> None:
        """All sources of a stream are lost: it is missing, with its inputs as they were, until it is back,
        somebody local has it, or it has expired. While another source has it, the lost one stays an input."""
        _, first = self.source()
        _, second = self.source()
        for offer in (first, second):
            self.streams.listed(offer, listed("a"))
        self.feed_remote("a")
        for offer in (first, second):
            self.streams.set_away(offer, True)
        self.streams.set_gone(first)
        self.assertEqual((len(self.streams.inputs_of("a")), self.streams.missing()), (2, ()))
        self.streams.set_gone(second)
        self.assertEqual((len(self.streams.inputs_of("a")), self.streams.missing()), (2, ("a",)))
        self.assertEqual([facts.priority for facts in self.streams.inputs_of("a")], [1, 2])
        self.assertIsNone(self.streams.source_of("a"))
        self.streams.set_away(second, False)
        self.assertEqual(self.streams.missing(), ())
        self.assertIsNotNone(self.streams.source_of("a"))
        self.streams.set_away(second, True)
        self.streams.set_gone(second)
        self.registry.remove("a", "expired")
        self.assertEqual(self.streams.missing(), ())
        self.streams.remove_source(first)
        self.streams.remove_source(second)

    def test_title_and_path_of_a_supply_are_carried_on(self) -> None:
        _, offer = self.source()
        self.streams.listed(offer, listed("a", running=False))
        supply = self.registry.supply("a")
        self.streams.listed(offer, listed("a", running=False, path=(THEM, b"v" * 16), title="new"))
        self.assertIs(self.registry.supply("a"), supply)
        assert supply is not None
        self.assertEqual((supply.title, len(supply.path)), ("new", 2))

    def feed_remote(self, name: str) -> None:
        stream = self.registry.obtain(name, self.settings)
        writer = stream.begin_run(RunInfo(1, 0, THEM, (THEM, US)), D, local=False)
        writer.open(SegmentOpening(1, D, False, True, 0, AV))
        writer.frames([Frame(1, D, 0, True, b"x")])

    def test_on_demand(self) -> None:
        fake, offer = self.source(linger=5.0)
        self.streams.listed(offer, listed("a", running=False))
        self.assertEqual(fake.pulls, [])
        self.assertTrue(self.registry.want("a"))
        self.assertEqual(fake.running, ["a"])
        self.clock.pump([1] * 6)
        self.assertEqual(fake.running, [])
        self.registry.want("a")
        self.assertEqual(len(fake.pulls), 2)

    def test_somebody_waits_when_it_is_listed(self) -> None:
        """Who waits for the name asks for it the moment it is offered: the pull that begins then goes on."""
        fake, offer = self.source(linger=5.0)

        registry = self.registry

        class Waits:
            def supply_changed(self, name: str) -> None:
                registry.want(name)

            def __getattr__(self, name: str) -> Callable[..., None]:
                return lambda *_: None

        self.registry.listen(Waits())
        self.streams.listed(offer, listed("a", running=False))
        self.assertEqual(fake.running, ["a"])

    def test_viewers_keep_their_stream_when_another_source_takes_over(self) -> None:
        one, first = self.source()
        two, second = self.source()
        for offer in (first, second):
            self.streams.listed(offer, listed("a", running=False))
        self.registry.want("a")
        self.feed_remote("a")
        entry = self.registry.find("a")
        assert entry is not None
        from test.live.rig import RecordingTap

        entry.stream.attach(RecordingTap())
        self.streams.unlisted(first, "a")
        self.assertEqual((one.running, two.running), ([], ["a"]))


class CatalogueTests(RegistryCase):
    """What a node tells others it has."""

    def test_heartbeats_are_made_once_for_all(self) -> None:
        """Followers that beat at about the same time share them; later ones get what is true then."""
        writer = self.feed("a")
        looks: list[list[Position]] = []
        positions = self.catalogue.positions

        def looked(catalogue: Catalogue) -> list[Position]:
            looks.append(positions())
            return looks[-1]

        self.patch(Catalogue, "positions", looked)
        first = self.catalogue.beat(1000)
        writer.frames([Frame(1, D + 3600, 0, False, b"y")])
        for later in range(50):
            self.assertIs(self.catalogue.beat(1000 + later), first)
        self.assertEqual(len(looks), 1)
        for utc in (1000 + BEAT_HOLDS, 500):
            (beat,) = RecordReader().receive(self.catalogue.beat(utc))
            assert isinstance(beat, Heartbeat)
            self.assertEqual((beat.sent_at, beat.positions[0].frame_index), (utc, 2))

    @override
    def setUp(self) -> None:
        super().setUp()
        self.catalogue = Catalogue(self.registry, US)
        self.changes: list[StreamListed | StreamUnlisted] = []
        self.catalogue.follow(self)

    def catalogue_changed(self, change: StreamListed | StreamUnlisted) -> None:
        self.changes.append(change)

    def test_running(self) -> None:
        writer = self.feed("a")
        self.assertEqual(
            [(e.name, e.state, e.path) for e in self.catalogue.entries()], [("a", 1, (b"n" * 16,))]
        )
        (position,) = self.catalogue.positions()
        self.assertEqual(
            (position.name, position.run_id, position.number, position.frame_index), ("a", 1, 1, 1)
        )
        writer.lose("cut")
        self.assertEqual(self.changes[-1], StreamUnlisted("a"))
        self.assertEqual((self.catalogue.entries(), self.catalogue.positions()), ((), []))

    def test_on_demand_stays_on_demand_while_it_runs(self) -> None:
        supply = Supplied(title="T", path=(THEM,))
        self.registry.offer("a", supply)
        self.feed("a")
        (entry,) = self.catalogue.entries()
        self.assertEqual((entry.state, entry.title, entry.path), (StreamState.ONDEMAND, "T", (THEM, US)))
        self.assertEqual(len(self.changes), 1)
        self.registry.withdraw("a", supply)
        self.assertEqual(self.catalogue.entries()[0].state, StreamState.RUNNING)

    def test_configured_on_demand(self) -> None:
        self.claim("a", "config")
        self.registry.offer("a", Supplied())
        self.assertEqual(
            [(e.state, e.path) for e in self.catalogue.entries()], [(StreamState.ONDEMAND, (US,))]
        )

    def test_paths_are_bounded(self) -> None:
        self.registry.offer("a", Supplied(path=tuple([THEM] * MAX_PATH)))
        self.assertEqual(self.catalogue.entries(), ())

    def test_nobody_is_told_after_leaving(self) -> None:
        self.catalogue.unfollow(self)
        self.catalogue.unfollow(self)
        self.feed("a")
        self.assertEqual(self.changes, [])


class ClusterListTests(RigCase):
    """The same in whole clusters."""

    def test_loop_of_two(self) -> None:
        one, two = self.rig.node("one"), self.rig.node("two")
        one.source("two")
        two.source("one")
        self.rig.run(1)
        one.publish("x")
        two.publish("y")
        self.rig.run(6)
        for node in (one, two):
            self.assertEqual(sorted(node.listed()), ["x", "y"])
        self.assertEqual(len(self.rig.network.connections), 4)
        stream = two.stream("x")
        assert stream is not None and stream.run is not None
        self.assertEqual(len(stream.run.path), 2)

    def test_ring_of_three(self) -> None:
        names = ("one", "two", "three")
        nodes = [self.rig.node(name) for name in names]
        for index, node in enumerate(nodes):
            node.source(names[index - 1])
        self.rig.run(1)
        publisher = nodes[0].publish("x")
        witness = nodes[2].witness("x")
        reference = nodes[0].witness("x")
        self.rig.run(10)
        self.same_segments(reference, *nodes)
        self.assertEqual(len(self.rig.network.connections), 3 + 2)
        publisher.leave()
        self.rig.run(40)
        self.assertEqual([node.listed() for node in nodes], [[], [], []])
        self.assertEqual(witness.ends, 1)

    def test_self(self) -> None:
        one = self.rig.node("one")
        one.source("one")
        one.publish("x")
        self.rig.run(5)
        self.assertEqual(len(self.rig.network.connections), 1)

    def test_a_change_is_known_within_100_ms(self) -> None:
        origin, _middle, edge = self.rig.chain("origin", "middle", "edge")
        self.rig.run(1)
        self.rig.step = 0.001
        publisher = origin.publish("x")
        self.assertLess(self.rig.run_until(lambda: edge.listed() == ["x"]), 0.1)
        publisher.leave()
        self.assertLess(self.rig.run_until(lambda: edge.listed() == []), 0.1)

    def test_local_publisher_hides_and_gives_back(self) -> None:
        origin, edge = self.rig.chain("origin", "edge")
        origin.publish("x")
        witness = edge.witness("x")
        self.rig.run(5)
        local = edge.publish("x")
        self.rig.run(6)
        stream = edge.stream("x")
        assert stream is not None and stream.run is not None
        self.assertTrue(stream.local)
        self.assertEqual(stream.run.path, (edge.node_id,))
        self.assertEqual(len(self.rig.network.connections), 1)
        numbers = list(witness.segments)
        self.assertEqual(numbers, sorted(set(numbers)))
        local.leave()
        self.rig.run(8)
        self.assertFalse(stream.local)
        self.assertEqual(stream.run.path, (origin.node_id, edge.node_id))
        last = origin.stream("x")
        assert last is not None and last.window.last is not None
        self.assertIn(last.window.last.number, edge.window("x"))
        self.assertEqual(witness.ends, 0)

    def test_on_demand(self) -> None:
        """A gray stream crosses the link while somebody wants it, and a linger longer."""
        origin, edge = self.rig.node("origin"), self.rig.node("edge")
        edge.source("origin", only=(), clients_timeout=5.0)
        origin.publish("x")
        self.rig.run(12)
        self.assertEqual((edge.stream("x"), edge.listed()), (None, ["x"]))
        self.assertEqual(len(self.rig.network.connections), 1)
        request = OpenRequest(name="x", action="play", proto="test", peer="p")
        waits = [Deferred.fromCoroutine(edge.playing.play(request)) for _ in range(100)]
        began = self.rig.clock.seconds()
        self.rig.run_until(lambda: all(wait.called for wait in waits))
        self.assertLess(self.rig.clock.seconds() - began, 0.2)
        (stream,) = {self.successResultOf(wait).stream for wait in waits}
        self.assertEqual(len(self.rig.network.connections), 2)
        # Playing begins with what is live, not with the window's history.
        source = origin.stream("x")
        assert source is not None and source.last_dts is not None
        first = stream.recent()[1][0]
        self.assertLess(source.last_dts - first.dts, 2 * 90_000)
        self.assertEqual(edge.window("x"), origin.window("x"))
        self.rig.run(6.5)
        self.assertEqual(len(self.rig.network.connections), 1)
        self.assertEqual(edge.listed(), ["x"])
        # Back within the life of the stream: nothing old is played again.
        again = Deferred.fromCoroutine(edge.playing.play(request))
        self.assertNoResult(again)
        self.rig.run(1)
        first = self.successResultOf(again).stream.recent()[1][0]
        self.assertLess(source.last_dts - first.dts, 2 * 90_000)
        self.rig.run(10)

    def test_on_demand_through_a_node_in_the_middle(self) -> None:
        origin, middle, edge = (self.rig.node(name) for name in ("origin", "middle", "edge"))
        middle.source("origin", only=(), clients_timeout=5.0)
        edge.source("middle", clients_timeout=5.0)
        origin.publish("x")
        self.rig.run(3)
        self.assertEqual((middle.stream("x"), edge.stream("x"), edge.listed()), (None, None, ["x"]))
        request = OpenRequest(name="x", action="play", proto="test", peer="p")
        wait = Deferred.fromCoroutine(edge.playing.play(request))
        self.rig.run(1)
        playout = self.successResultOf(wait)
        self.assertEqual(
            playout.stream.run.path if playout.stream.run else (),
            (origin.node_id, middle.node_id, edge.node_id),
        )
        self.rig.run(15)
        # Nobody stayed: both pulls have ended.
        self.assertEqual(len(self.rig.network.connections), 2)

    def test_on_demand_that_cannot_start(self) -> None:
        origin, edge = self.rig.node("origin"), self.rig.node("edge")
        edge.source("origin", only=(), clients_timeout=5.0)
        publisher = origin.publish("x")
        self.rig.run(2)
        publisher.over = True
        publisher.ingest.stream.detach(publisher)  # type: ignore[arg-type]
        request = OpenRequest(name="x", action="play", proto="test", peer="p")
        self.rig.network.silence("origin", "edge")
        wait = Deferred.fromCoroutine(edge.playing.play(request))
        self.rig.run(11)
        self.failureResultOf(wait)
        publisher.leave()

    def test_a_control_link_that_is_back_in_time_changes_nothing(self) -> None:
        origin, edge = self.rig.chain("origin", "edge")
        reference, witness = origin.witness("x"), edge.witness("x")
        self.rig.run(0.5)
        origin.publish("x")
        self.rig.run(4)
        control, media = self.rig.network.between("origin", "edge")
        control.cut()
        self.rig.run(5)
        self.assertFalse(media.gone)
        self.assertEqual(len(self.rig.network.connections), 2)
        self.same_frames(reference, witness)
        self.assertEqual(len(reference.frames), len(witness.frames))

    def test_a_source_that_stays_away(self) -> None:
        origin, edge = self.rig.chain("origin", "edge")
        origin.publish("x")
        self.rig.run(4)
        self.rig.network.silence("origin", "edge")
        self.rig.run(1.5)
        self.assertEqual(edge.listed(), ["x"])
        self.rig.run(4)
        self.assertEqual(edge.listed(), [])
        stream = edge.stream("x")
        assert stream is not None and not stream.running
        self.rig.run(35)
        self.assertIsNone(edge.stream("x"))
        self.rig.network.heal("origin", "edge")
        self.rig.run(20)
        self.assertEqual(edge.listed(), ["x"])
        self.assertEqual(edge.window("x"), origin.window("x"))

    def test_a_refused_pull_is_not_tried_all_the_time(self) -> None:
        from restreamer.cluster.source_service import MediaPull

        origin, edge = self.rig.chain("origin", "edge")
        self.rig.run(1)
        before = self.rig.network.attempts
        pull = MediaPull(
            edge.link_node(),
            edge.remote_node("origin"),
            edge.registry,
            "nobody",
            "nobody",
            edge.settings,
            Reports(),
        )
        self.rig.run(60)
        self.assertTrue(3 <= self.rig.network.attempts - before <= 25, self.rig.network.attempts - before)
        publisher = origin.publish("nobody")
        self.rig.run(16)
        self.assertIsNotNone(edge.stream("nobody"))
        pull.stop()
        publisher.leave()

    def test_many_streams(self) -> None:
        origin, middle, edge = self.rig.chain("origin", "middle", "edge")
        for index in range(25):
            origin.publish(f"s{index}", pictures=5, gop=5)
        self.rig.run(7)
        for index in range(25):
            window = edge.window(f"s{index}")
            self.assertGreaterEqual(len(window), 2)
            self.assertEqual(window, origin.window(f"s{index}"))
        self.assertEqual(len(self.rig.network.between("middle", "edge")), 26)
        self.assertEqual(len(middle.listed()), 25)


class ClockUse(SynchronousTestCase):
    """The rig itself."""

    def test_same_seed_same_run(self) -> None:
        from restreamer.testing.cluster_rig import ClusterRig

        found = []
        for _ in range(2):
            rig = ClusterRig(7)
            rig.network.largest_piece = 300
            nodes = rig.chain("origin", "edge")
            nodes[0].publish("x")
            rig.run(5)
            found.append((nodes[1].window("x"), [end.sent for end in rig.network.connections]))
            rig.stop()
            rig.check()
        self.assertEqual(found[0], found[1])
