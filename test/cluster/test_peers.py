"""Peers: who is redirected, where to, and that nobody is sent round in circles."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import REDIRECTED, Reason, Redirected, Refused
from restreamer.live.stream import Stream
from restreamer.m4f.records import NodeLoad
from restreamer.testing.cluster_rig import ClusterRig
from test.cluster.neighbours import Neighbour

NAME = "live/one"


class PeerTests(SynchronousTestCase):
    """Two nodes, each the other's peer."""

    @override
    def setUp(self) -> None:
        self.rig = ClusterRig()
        self.a, self.b = Neighbour(self.rig, "a"), Neighbour(self.rig, "b")
        self.a_of_b = self.b.peer("a")
        self.b_of_a = self.a.peer("b")
        self.rig.run(1)
        self.addCleanup(self.rig.check)
        self.addCleanup(self.rig.stop)

    def redirected(self, answer: object) -> Redirected:
        assert isinstance(answer, Redirected), answer
        return answer

    def test_redirected_while_only_the_peer_has_it(self) -> None:
        self.assertIs(self.b.ask(NAME).reason, Reason.NOT_FOUND)
        publisher = self.a.publish(NAME)
        self.rig.run(5)
        self.assertIsInstance(self.a.ask(NAME), Stream)
        there = self.redirected(self.b.ask(NAME))
        self.assertEqual((there.http, there.rtmp), ("http://a.example:8080", "rtmp://a.example:1935"))
        self.assertEqual(there.rtsp, "rtsp://a.example:554")
        self.assertEqual(self.b.listed(), [], "nothing is pulled")
        publisher.leave()
        self.rig.run(0.5)
        self.assertNotIsInstance(self.b.ask(NAME), Redirected)

    def test_what_is_told(self) -> None:
        """Whether the peer is there, since when, what it has, and who was sent there."""
        self.a.publish(NAME)
        self.a.load = NodeLoad(clients=7, bitrate_out=2_000_000)
        self.rig.run(3)
        self.redirected(self.b.ask(NAME))
        told = self.a_of_b.facts()
        self.assertEqual(
            (told.address, told.public, told.node_id), ("a", "http://a.example:8080", self.a.node_id)
        )
        self.assertEqual((told.connected, told.listed, told.running), (True, 1, 1))
        self.assertEqual((told.clients, told.bitrate_out, told.sent), (7, 2_000_000, 1))
        self.assertEqual((told.losses, told.last_error), (0, ""))
        self.assertGreater(told.bytes_in, 0)
        began = told.since
        assert began is not None
        self.rig.network.silence("a", "b")
        self.rig.run(3)
        told = self.a_of_b.facts()
        assert told.since is not None
        self.assertGreater(told.since, began)
        self.assertEqual((told.connected, told.listed, told.running, told.losses), (False, 0, 0, 1))
        self.assertIn("silent", told.last_error)
        self.rig.network.heal("a", "b")
        self.rig.run(8)
        self.assertTrue(self.a_of_b.facts().connected)
        self.assertEqual(self.a_of_b.facts().losses, 1)

    def test_marked_requests_go_no_further(self) -> None:
        self.a.publish(NAME)
        self.rig.run(1)
        refused = self.b.ask(NAME, query=f"token=x&{REDIRECTED}")
        self.assertEqual((type(refused), refused.reason), (Refused, Reason.NOT_FOUND))

    def test_each_thinks_the_other_has_it(self) -> None:
        """What each knows of the other is outdated: a viewer is redirected once, then told that it is not."""
        first = self.a.publish(NAME)
        self.rig.run(1)
        self.rig.network.silence("a", "b")
        first.leave()
        self.a.registry.remove(NAME, "gone")
        self.assertIsInstance(self.b.ask(NAME), Redirected)
        self.a.peers._peers["b", 80]._names.update(self.b.peers._peers["a", 80]._names)
        entry = self.a.peers._peers["b", 80]._names[NAME]
        # As if b had listed it by itself.
        self.a.peers._peers["b", 80]._names[NAME] = type(entry)(NAME, entry.state, "", (self.b.node_id,))
        self.assertIsInstance(self.a.ask(NAME), Redirected)
        self.assertNotIsInstance(self.a.ask(NAME, query=REDIRECTED), Redirected)
        self.assertNotIsInstance(self.b.ask(NAME, query=REDIRECTED), Redirected)
        self.rig.run(3)
        self.assertIs(self.b.ask(NAME).reason, Reason.NOT_FOUND)
        self.rig.network.heal("a", "b")
        self.rig.run(1)

    def test_what_came_from_here_is_no_reason(self) -> None:
        """A peer that has the stream from this node is not asked for it when it ends here."""
        self.b.source("a")
        self.a.publish(NAME)
        self.rig.run(3)
        self.assertEqual(self.b.listed(), [NAME])
        self.assertIsNone(self.b_of_a.lists(NAME))

    def test_own_streams_win(self) -> None:
        self.a.publish(NAME)
        self.b.publish(NAME)
        self.rig.run(5)
        self.assertIsInstance(self.b.ask(NAME), Stream)

    def test_a_reserved_name_is_not_fed(self) -> None:
        """Both nodes would take a publisher; it went to a: viewers of b follow it."""
        self.b.registry.reserve(frozenset([NAME]))
        self.a.publish(NAME)
        self.rig.run(1)
        self.assertIsInstance(self.b.ask(NAME), Redirected)

    def test_what_was_begun_here_is_played_to_its_end(self) -> None:
        """The publisher moves: segments listed here are given, the next playlist comes from the peer."""
        publisher = self.b.publish(NAME)
        self.rig.run(6)
        publisher.leave()
        self.a.publish(NAME)
        self.rig.run(1)
        self.assertIsInstance(self.b.ask(NAME, part=True), Stream)
        self.assertIsInstance(self.b.ask(NAME), Redirected)

    def test_away(self) -> None:
        """A peer that is silent is left out within two seconds, and back when it speaks."""
        self.a.publish(NAME)
        self.rig.run(1)
        self.rig.network.silence("a", "b")
        self.rig.run(2.5)
        self.assertFalse(self.a_of_b.connected)
        self.assertIs(self.b.ask(NAME).reason, Reason.NOT_FOUND)
        self.rig.network.heal("a", "b")
        self.rig.run_until(lambda: self.a_of_b.connected, 20)
        self.assertIsInstance(self.b.ask(NAME), Redirected)

    def test_left_on_purpose(self) -> None:
        """A link that this node ends is no trouble."""
        _ = self.b.peers.remove(("a", 80))
        self.rig.run(1)
        told = self.a_of_b.facts()
        self.assertEqual((told.connected, told.last_error), (False, ""))

    def test_the_least_busy_of_several(self) -> None:
        c = Neighbour(self.rig, "c")
        self.b.peer("c")
        self.a.load, c.load = NodeLoad(clients=10, rtmp_port=1), NodeLoad(clients=9)
        for node in (self.a, c):
            node.publish(NAME)
        self.rig.run(2)
        there = self.redirected(self.b.ask(NAME))
        self.assertEqual((there.http, there.rtmp, there.rtsp), ("http://c.example:8080", "", ""))
        self.a.load = NodeLoad(clients=8, rtmp_port=1)
        self.rig.run(1.2)
        self.assertEqual(self.redirected(self.b.ask(NAME)).rtmp, "rtmp://a.example:1")
