"""A stream pushed into another node: taken like a publish, carried like a pull."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.origin import MediaServer
from restreamer.cluster.push import PushClient, PushServer
from restreamer.errors import Refused, RemoteProtocolError
from restreamer.m4f.records import (
    Goodbye,
    Ping,
    Pull,
    PullAccepted,
    PullRefused,
    PushOffer,
    Record,
    RunInfo,
    SegmentClose,
)
from restreamer.seams import OpenRequest
from restreamer.testing.cluster_rig import ClusterRig
from restreamer.viewers.points import Taken
from test.cluster.neighbours import Neighbour

FROM, TO = "studio/one", "live/one"


class PushTests(SynchronousTestCase):
    """Node a pushes into node b."""

    @override
    def setUp(self) -> None:
        self.rig = ClusterRig()
        self.a, self.b = Neighbour(self.rig, "a"), Neighbour(self.rig, "b")
        self.addCleanup(self.rig.check)
        self.addCleanup(self.rig.stop)

    def test_the_same_stream(self) -> None:
        """Frames and segments on the target are the pusher's, and its publisher's name is taken there."""
        self.a.push(FROM, "b", TO)
        mine, theirs = self.a.witness(FROM), self.b.witness(TO)
        self.a.publish(FROM)
        self.rig.run(10)
        self.rig.settle()
        self.assertGreater(len(theirs.frames), 200)
        self.assertEqual(mine.frames, theirs.frames)
        self.assertTrue(theirs.segments)
        self.assertEqual(mine.segments, theirs.segments)
        self.assertEqual(self.b.publishing.publishers(), (TO,))
        stream = self.b.stream(TO)
        assert stream is not None and stream.run is not None
        self.assertEqual(stream.run.path, (self.a.node_id, self.b.node_id))

    def test_what_is_told(self) -> None:
        """Both ends say whether the push stands, since when, with whom, and why not."""
        self.a.push(FROM, "b", TO)
        self.assertEqual(self.a.pushes.facts(), [], "nothing is pushed before the stream runs")
        publisher = self.a.publish(FROM)
        self.rig.run(3)
        (told,) = self.a.pushes.facts()
        self.assertEqual((told.stream, told.url, told.node_id), (FROM, f"m4f://b/{TO}", self.b.node_id))
        self.assertEqual((told.connected, told.wanted, told.takings, told.last_error), (True, True, 1, ""))
        self.assertGreater(told.bytes_out, 1000)
        pusher = self.b.takings[TO].facts()
        assert told.since is not None and pusher is not None
        self.assertLess(abs(told.since - pusher.since), 90_000)
        self.assertEqual((pusher.node_id, pusher.stream), (self.a.node_id, FROM))
        self.assertTrue(pusher.address)
        self.assertGreater(pusher.frames, 50)
        self.assertGreater(pusher.bytes, 1000)
        self.rig.network.silence("a", "b")
        self.rig.run(8)
        (told,) = self.a.pushes.facts(FROM)
        self.assertFalse(told.connected)
        self.assertIn("silent", told.last_error)
        self.assertEqual(self.b.takings, {})
        self.rig.network.heal("a", "b")
        self.rig.run_until(lambda: self.a.pushes.facts()[0].connected, 30)
        (told,) = self.a.pushes.facts()
        self.assertEqual((told.takings, told.last_error), (2, ""))
        publisher.leave()
        self.rig.run(8)
        (told,) = self.a.pushes.facts()
        self.assertEqual((told.connected, told.wanted), (False, False))
        self.assertEqual((self.b.takings, self.a.pushes.facts("another")), ({}, []))

    def test_what_is_told_of_a_refusal(self) -> None:
        self.a.push(FROM, "b", "elsewhere/one")
        self.a.publish(FROM)
        self.rig.run(3)
        (told,) = self.a.pushes.facts()
        self.assertEqual((told.connected, told.wanted, told.since), (False, True, None))
        self.assertIn("refused: publishing to elsewhere/one is not configured here", told.last_error)
        self.assertEqual(self.b.takings, {})

    def test_the_name_is_given_back(self) -> None:
        """The publisher leaves: the push ends a moment later, and the name is free."""
        self.a.push(FROM, "b", TO)
        publisher = self.a.publish(FROM)
        self.rig.run(3)
        publisher.leave()
        self.rig.run(1)
        self.assertTrue(self.b.registry.claimed(TO), "the publisher may come back")
        self.rig.run(6)
        self.assertFalse(self.b.registry.claimed(TO))
        self.assertEqual(self.b.publishing.publishers(), ())
        self.assertEqual(self.rig.network.between("a", "b"), [])

    def test_a_publisher_that_returns_keeps_the_link(self) -> None:
        self.a.push(FROM, "b", TO)
        theirs = self.b.witness(TO)
        publisher = self.a.publish(FROM)
        self.rig.run(3)
        publisher.leave()
        self.rig.run(2)
        made = self.rig.network.attempts
        self.a.publish(FROM)
        self.rig.run(4)
        self.assertEqual(self.rig.network.attempts, made)
        self.assertEqual(len(set(theirs.runs)), 2)

    def test_a_link_that_breaks_returns(self) -> None:
        """No frame is lost and none comes twice, for the new link asks from where the old one stood."""
        self.a.push(FROM, "b", TO)
        mine, theirs = self.a.witness(FROM), self.b.witness(TO)
        self.a.publish(FROM)
        self.rig.run(5)
        for end in self.rig.network.between("a", "b"):
            end.cut()
        self.rig.run(5)
        self.rig.settle()
        common = [number for number in mine.segments if number in theirs.segments]
        self.assertGreaterEqual(len(common), 3)
        self.assertEqual([mine.segments[n] for n in common], [theirs.segments[n] for n in common])

    def test_a_silent_pusher_is_lost_like_a_source(self) -> None:
        self.a.push(FROM, "b", TO)
        self.a.publish(FROM)
        self.rig.run(3)
        self.rig.network.silence("a", "b")
        took = self.rig.run_until(lambda: not self.b.registry.claimed(TO), 10)
        self.assertLess(took, 2.1)
        self.rig.network.heal("a", "b")
        self.rig.run_until(lambda: self.b.registry.claimed(TO), 30)

    def test_busy(self) -> None:
        """Somebody publishes there already: refused, said once, tried again with growing pauses."""
        own = self.b.publish(TO)
        self.a.push(FROM, "b", TO)
        self.a.publish(FROM)
        self.rig.run(60)
        attempts = self.rig.network.attempts
        self.assertLess(attempts, 30)
        self.assertGreater(attempts, 3)
        stream = self.b.stream(TO)
        assert stream is not None and stream.run is not None
        self.assertEqual(stream.run.ingest_node, self.b.node_id)
        own.leave()
        self.rig.run_until(lambda: self.b.publishing.publishers() == (TO,), 40)

    def test_not_configured_there(self) -> None:
        self.a.push(FROM, "b", "other/one")
        self.a.publish(FROM)
        self.rig.run(10)
        self.assertIsNone(self.b.stream("other/one"))
        self.assertEqual(self.b.publishing.publishers(), ())

    def test_in_a_circle(self) -> None:
        """Each pushes into the other: what came from there is not taken again, and nothing is lost by it."""
        self.a.push(TO, "b", TO)
        self.b.push(TO, "a", TO)
        publisher = self.a.publish(TO)
        self.rig.run(20)
        stream = self.a.stream(TO)
        assert stream is not None and stream.run is not None
        self.assertEqual(stream.run.path, (self.a.node_id,))
        self.assertEqual(self.b.window(TO).keys(), self.a.window(TO).keys())
        publisher.leave()
        self.rig.run(20)
        self.assertFalse(self.a.registry.claimed(TO) or self.b.registry.claimed(TO))

    def test_an_encoder_that_returns_into_a_circle(self) -> None:
        """Its own echo does not keep it out, whenever it comes back."""
        self.a.push(TO, "b", TO)
        self.b.push(TO, "a", TO)
        for away in (0.3, 1, 2, 4, 6):
            publisher = self.a.publish(TO)
            self.rig.run(4)
            publisher.leave()
            for _ in range(round(away / 0.1)):
                self.rig.run(0.1)
                self.assertFalse(self.a.registry.claimed(TO), away)

    def test_to_oneself(self) -> None:
        """Nothing is offered; it is said once."""
        said = hear(self)
        self.a.push(TO, "a", TO)
        publisher = self.a.publish(TO)
        self.rig.run(90)
        publisher.leave()
        self.rig.run(0.5)
        self.assertFalse(self.a.registry.claimed(TO))
        self.assertEqual(len([line for line in said if "leads to this node itself" in line]), 1)
        self.assertEqual(len([line for line in said if "push of" in line]), 1)

    def test_it_comes_another_way_now(self) -> None:
        """What came from there is offered at once when it is not from there any more."""
        self.a.push(TO, "b", TO)
        self.b.push(TO, "a", TO)
        publisher = self.a.publish(TO)
        self.rig.run(60)
        publisher.leave()
        self.rig.run(2.5)
        self.b.publishing.kick(TO, "the configuration changed")
        self.rig.run(0.1)
        self.b.publish(TO)
        self.rig.run(0.5)
        self.assertTrue(self.a.registry.claimed(TO))
        self.rig.run(2)
        stream = self.a.stream(TO)
        assert stream is not None and stream.run is not None
        self.assertEqual(stream.run.path, (self.b.node_id, self.a.node_id))
        self.assertTrue(stream.running)

    def test_taken_and_ended_again_and_again(self) -> None:
        """Offered with growing pauses, and said once at either end."""
        said = hear(self)
        self.a.push(FROM, "b", TO)
        self.a.publish(FROM)
        for _ in range(1200):
            self.rig.run(0.1)
            self.b.publishing.kick(TO, "not today")
        attempts = self.rig.network.attempts
        self.assertLess(attempts, 30)
        self.assertGreater(attempts, 5)
        lines = [line for line in said if "push" in line]
        self.assertEqual(
            sorted(lines),
            [
                f"push of {TO} from node {self.a.node_id.hex()[:8]} taken",
                f"push of {FROM} to b/{TO} ended: not today",
                f"{FROM} is pushed to b/{TO}",
            ],
        )
        self.rig.run(45)
        self.assertEqual(said[-1], f"{FROM} is pushed to b/{TO}")

    def test_refused_and_refused(self) -> None:
        """Both ends say it once."""
        said = hear(self)
        self.b.publish(TO)
        self.a.push(FROM, "b", TO)
        self.a.publish(FROM)
        self.rig.run(120)
        self.assertEqual(len([line for line in said if "refused: stream" in line]), 2)

    def test_renewed(self) -> None:
        """Another target beside one that stays: that one notices nothing; what left is let go."""
        c, d = Neighbour(self.rig, "c"), Neighbour(self.rig, "d")
        self.a.push(FROM, "b", TO)
        self.a.push(FROM, "c", TO)
        self.a.publish(FROM)
        self.rig.run(3)
        made = self.rig.network.attempts
        self.a.targets[FROM] = [("c", TO), ("d", TO)]
        self.a.pushes.renew(FROM)
        self.rig.run(3)
        self.assertFalse(self.b.registry.claimed(TO))
        self.assertTrue(c.registry.claimed(TO) and d.registry.claimed(TO))
        self.assertEqual(self.rig.network.attempts, made + 1)
        self.a.targets[FROM] = []
        self.a.pushes.renew(FROM)
        self.rig.run(3)
        self.assertFalse(c.registry.claimed(TO) or d.registry.claimed(TO))
        self.assertEqual(self.a.pushes.names(), ())

    def test_kicked(self) -> None:
        """The target sends it away (its configuration changed): the link ends, and the next is taken."""
        self.a.push(FROM, "b", TO)
        self.a.publish(FROM)
        self.rig.run(3)
        self.b.publishing.kick(TO, "the configuration changed")
        self.rig.run(0.05)
        self.assertFalse(self.b.registry.claimed(TO))
        self.rig.run(5)
        self.assertTrue(self.b.registry.claimed(TO))

    def test_the_stream_is_removed(self) -> None:
        self.a.push(FROM, "b", TO)
        self.a.publish(FROM)
        self.rig.run(3)
        self.a.registry.remove(FROM, "it left the configuration")
        self.rig.run(1)
        self.assertFalse(self.b.registry.claimed(TO))
        self.assertEqual(self.a.pushes.names(), ())


def hear(case: SynchronousTestCase) -> list[str]:
    """What is logged from now on."""
    said: list[str] = []

    def observer(event: LogEvent) -> None:
        said.append(formatEvent(event))

    observing = cast(ILogObserver, observer)
    globalLogPublisher.addObserver(observing)
    case.addCleanup(globalLogPublisher.removeObserver, observing)
    return said


class SaidWrong:
    """A link that keeps what is sent."""

    peer_id = b"p" * 16
    peer_name = "peer:80"
    paused = False
    round_trip = None

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.closed: list[str] = []

    def send(self, record: Record) -> None:
        self.sent.append(record)

    def send_encoded(self, data: bytes) -> None:
        """Not looked at."""

    def close(self, reason: str) -> None:
        self.closed.append(reason)

    def abort(self, reason: str) -> None:
        self.closed.append(reason)


class WordsTests(SynchronousTestCase):
    """What either end makes of words that are out of place."""

    @override
    def setUp(self) -> None:
        self.rig = ClusterRig()
        self.node = Neighbour(self.rig, "n")
        self.addCleanup(self.rig.check)
        self.addCleanup(self.rig.stop)
        self.link = SaidWrong()

    def server(self) -> PushServer:
        node = self.node
        server = PushServer(node.publishing, node.registry, node.node_id, node.utc.ticks, node.clock)
        server.link_up(self.link)
        self.addCleanup(server.link_down, "over")
        return server

    def test_the_server(self) -> None:
        for words in (
            [Pull("a")],
            [SegmentClose(1, 1, 1)],
            [PushOffer("live/a", "-")],
            [PushOffer("../a", "a")],
            [PushOffer("live/a", "a"), PushOffer("live/b", "b")],
        ):
            server = self.server()
            *first, last = words
            for record in first:
                server.record(record)
            self.assertRaises(RemoteProtocolError, server.record, last)
            server.link_down("over")
            self.assertFalse(self.node.registry.claimed("live/a"), words)

    def test_nothing_is_offered(self) -> None:
        self.server()
        self.rig.run(6)
        self.assertEqual(self.link.closed, ["offered nothing in time"])

    def test_a_loop(self) -> None:
        """An echo lets go of the name before its link is gone; so does what is offered and not given."""
        run = RunInfo(1, 0, self.node.node_id, (self.node.node_id, b"p" * 16))
        for answer in (PullAccepted("a", run, "", 180_000), PullRefused(508, "a loop")):
            server = self.server()
            server.record(PushOffer("live/a", "a"))
            self.assertTrue(self.node.registry.claimed("live/a"))
            try:
                server.record(answer)
            except RemoteProtocolError as error:
                self.assertIn("a loop", str(error))
            self.assertFalse(self.node.registry.claimed("live/a"))
            server.link_down("over")

    def test_from_oneself(self) -> None:
        self.link.peer_id = self.node.node_id
        self.server().record(PushOffer("live/a", "a"))
        self.assertFalse(self.node.registry.claimed("live/a"))
        self.assertEqual(self.link.closed, ["that is this node itself"])

    def test_a_publisher_goes_before_what_brings_nothing(self) -> None:
        """A push without a frame gives way to a publisher, not to another push."""
        server = self.server()
        server.record(PushOffer("live/a", "a"))
        other = OpenRequest(name="live/a", action="publish", proto="m4f", peer="p")
        self.assertIsInstance(self.take(other), Refused)
        request = OpenRequest(name="live/a", action="publish", proto="rtmp", peer="p", password="secret")
        kicked: list[str] = []
        publishing = Deferred.fromCoroutine(self.node.publishing.publish(request, kicked.append))
        ingest = self.successResultOf(publishing)
        self.assertEqual(self.link.closed, ["a publisher takes over"])
        server.link_down("a publisher takes over")
        self.assertTrue(self.node.registry.published("live/a"))
        self.node.publishing.kick("live/a", "still his")
        self.assertEqual(kicked, ["still his"])
        self.assertIsInstance(self.take(request), Refused)
        ingest.end("left")
        self.assertFalse(self.node.registry.claimed("live/a"))

    def test_gone_before_it_was_granted(self) -> None:
        """The link ends while the gate decides: the name is not kept."""
        decided: Deferred[None] = Deferred()
        inner = self.node.publishing._gate.open

        async def slow(request: object) -> object:
            await decided
            return await inner(request)  # type: ignore[arg-type]

        self.node.publishing._gate.open = slow  # type: ignore[assignment,method-assign]
        server = self.server()
        server.record(PushOffer("live/a", "a"))
        server.link_down("cut")
        self.assertFalse(self.node.registry.claimed("live/a"))

    def test_the_client(self) -> None:
        node = self.node
        client = PushClient(
            "a",
            "live/a",
            "there:80",
            lambda: MediaServer(node.waiting, node.relays, b"", node.utc.ticks),
            node.clock,
        )
        client.link_up(self.link)
        self.assertEqual(self.link.sent, [PushOffer("live/a", "a")])
        for record in (PullRefused(409, "busy"), Ping(1), Goodbye(0, "")):
            client.record(record)
        self.assertFalse(client.fruitful)
        self.assertRaises(RemoteProtocolError, client.record, Pull("another"))
        self.assertRaises(RemoteProtocolError, client.record, SegmentClose(1, 1, 1))
        client.link_down("over")

    def test_passwords(self) -> None:
        """A publisher needs the password of the stream, a node that proved the cluster key does not."""
        for proto, granted in (("rtmp", False), ("m4f", True)):
            request = OpenRequest(name="live/a", action="publish", proto=proto, peer="p")
            got = self.take(request)
            self.assertIs(isinstance(got, Refused), not granted)

    def take(self, request: OpenRequest) -> object:
        """What comes of asking for a name; it is given back."""
        got: list[object] = []
        taking = Deferred.fromCoroutine(self.node.publishing.take(request, lambda reason: None))
        _ = taking.addBoth(got.append)
        if isinstance(got[0], Taken):
            got[0].release()
        return got[0].value if isinstance(got[0], Failure) else got[0]
