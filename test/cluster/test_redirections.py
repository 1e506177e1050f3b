"""A node that redirects links to another one: followed a few times, never in a circle, never out of TLS."""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.connector import MAX_REDIRECTIONS, Remote
from restreamer.m4f.upgrade import Place
from restreamer.testing.cluster_rig import KEY, ClusterRig, RigNode

NAME = "live/one"


class Elsewhere(Protocol):
    """Answers every request with a redirection."""

    def __init__(self, location: str, status: int) -> None:
        self._answer = (
            f"HTTP/1.1 {status} There\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    @override
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self._answer)


class Follower(RigNode):
    """A node whose links follow redirections over the rig's network; asks by name alone.

    @ivar asked: places it was sent to.
    """

    first_tls = False

    def __init__(self, rig: ClusterRig, name: str) -> None:
        super().__init__(rig, name)
        rig.nodes[name] = self
        self.asked: list[str] = []

    @override
    def remote_node(self, to: str) -> Remote:
        def elsewhere(place: Place) -> IStreamClientEndpoint:
            self.asked.append(str(place))
            return self._rig.network.endpoint(self.name, place.host)

        return Remote(
            address=to,
            endpoint=self._rig.network.endpoint(self.name, to),
            key=KEY,
            place=Place(to, 443 if self.first_tls else 80, self.first_tls),
            elsewhere=elsewhere,
        )


class RedirectionTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.rig = ClusterRig()
        self.origin = self.rig.node("origin")
        self.edge = Follower(self.rig, "edge")
        self.addCleanup(self.rig.check)
        self.addCleanup(self.rig.stop)
        self.said: list[str] = []
        hear = cast(ILogObserver, self.hear)
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)

    def hear(self, event: LogEvent) -> None:
        if "why" in event:
            self.said.append(str(event["why"]))

    def redirect(self, host: str, location: str, status: int = 302) -> None:
        self.rig.network.listen(host, lambda: Elsewhere(location, status))

    def connected(self, to: str, seconds: float = 3) -> bool:
        source = self.edge.source(to)
        self.rig.run(seconds)
        return source.connected

    def test_followed(self) -> None:
        """Each of the four statuses; control and media links alike."""
        for status in (301, 302, 307, 308):
            self.redirect("old", "http://origin/m4f", status)
            self.assertTrue(self.connected("old"), status)
            self.origin.publish(f"{NAME}{status}")
            self.rig.run(2)
            self.assertIsNotNone(self.edge.stream(f"{NAME}{status}"))
            _ = self.edge.sources.pop("old").stopService()

    def test_several(self) -> None:
        """As many hops as are allowed, and one more."""
        hosts = [f"h{number}" for number in range(MAX_REDIRECTIONS + 1)]
        for host, following in zip(hosts, [*hosts[1:], "origin"], strict=True):
            self.redirect(host, f"http://{following}:80/m4f")
        self.assertTrue(self.connected("h1"))
        self.assertFalse(self.connected("h0"))
        self.assertIn(
            f"redirected more than {MAX_REDIRECTIONS} times, at last to http://origin:80", self.said[-1]
        )

    def test_circles(self) -> None:
        self.redirect("one", "http://other/m4f")
        self.redirect("other", "http://ONE:80/m4f")
        self.redirect("self", "http://self/m4f")
        self.assertFalse(self.connected("one"))
        self.assertIn("redirected in a circle, back to http://one:80", self.said[-1])
        self.assertFalse(self.connected("self"))
        self.assertIn("in a circle", self.said[-1])

    def test_not_out_of_tls(self) -> None:
        self.edge.first_tls = True
        self.redirect("secure", "http://origin/m4f")
        self.assertFalse(self.connected("secure"))
        self.assertIn("redirected from HTTPS to http://origin:80: not followed", self.said[-1])
        self.redirect("secure2", "https://origin:8443/m4f")
        self.assertTrue(self.connected("secure2"))
        self.assertEqual(self.edge.asked[-1], "https://origin:8443")

    def test_elsewhere_than_a_node(self) -> None:
        self.redirect("old", "http://origin/login?next=m4f")
        self.assertFalse(self.connected("old"))
        self.assertIn("which is no node's /m4f", self.said[-1])

    def test_asked_anew_each_time(self) -> None:
        """When the link breaks it is the first node that says where to go."""
        self.redirect("old", "http://origin/m4f")
        self.assertTrue(self.connected("old"))
        second = self.rig.node("second")
        self.redirect("old", "http://second/m4f")
        self.origin.crash()
        second.publish(NAME)
        self.rig.run(5)
        self.assertIsNotNone(self.edge.stream(NAME))

    def test_the_key_is_asked_there_too(self) -> None:
        """Who redirects cannot make a node believe one that has not the key."""
        self.rig.node("thief", key=b"x" * 32)
        self.redirect("old", "http://thief/m4f")
        self.assertFalse(self.connected("old"))
        self.assertIn("not authorised", self.said[-1])
