"""Lists longer than a list may be: first come, first listed, one warning, and no link ends over it."""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster import offers, origin
from restreamer.cluster.listing import BoundedList
from restreamer.m4f.records import CatalogueComplete, StreamListed, StreamState
from test.cluster.test_rig import RigCase


def entry(name: str, title: str = "") -> StreamListed:
    return StreamListed(name, StreamState.ONDEMAND, title, (b"o" * 16,))


class BoundedListTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.sent: list[StreamListed] = []
        self.list: BoundedList[StreamListed] = BoundedList(2, "streams", self.sent.append)
        for name in "abcd":
            self.list.put(entry(name))

    def names(self) -> str:
        return "".join(each.name for each in self.sent)

    def test_first_come(self) -> None:
        self.assertEqual(self.names(), "ab")

    def test_changes(self) -> None:
        """Of a listed one they are told; of another the newest entry is kept."""
        self.list.put(entry("a", "new"))
        self.list.put(entry("c", "new"))
        self.assertEqual(self.names(), "aba")
        self.assertTrue(self.list.drop("b"))
        self.list.refill()
        self.assertEqual(self.sent[-1], entry("c", "new"))

    def test_room(self) -> None:
        """One that was left out and went is not told, and does not come."""
        self.assertFalse(self.list.drop("c"))
        self.assertFalse(self.list.drop("nobody"))
        self.assertTrue(self.list.drop("a"))
        self.list.refill()
        self.assertEqual(self.names(), "abd")
        self.assertTrue(self.list.drop("b"))
        self.assertTrue(self.list.drop("d"))
        self.list.refill()
        self.list.put(entry("e"))
        self.assertEqual(self.names(), "abde")


class LongListTests(RigCase):
    """A source with more streams than a list may have (the limit is 3 here)."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.told: list[str] = []

        def observer(event: LogEvent) -> None:
            if event.get("log_namespace", "").startswith("restreamer.cluster"):
                self.told.append(formatEvent(event))

        seen = cast(ILogObserver, observer)
        globalLogPublisher.addObserver(seen)
        self.addCleanup(globalLogPublisher.removeObserver, seen)

    def warnings(self, words: str) -> list[str]:
        return [line for line in self.told if words in line]

    def test_the_server_leaves_out(self) -> None:
        """Those listed run on over a reconnect, and one that goes makes room."""
        self.patch(origin, "MAX_LISTED", 3)
        first, edge = self.rig.chain("origin", "edge")
        publishers = [first.publish(f"x{index}") for index in range(5)]
        self.rig.run(3)
        source = edge.sources["origin"]
        self.assertEqual(sorted(source.offer.listed), ["x0", "x1", "x2"])
        self.assertEqual(
            self.warnings("this node has"),
            ["this node has 5 streams; a follower is told of the first 3 only"],
        )
        publishers[1].leave()
        first.registry.remove("x1", "gone")
        self.rig.run(1)
        self.assertEqual(sorted(source.offer.listed), ["x0", "x2", "x3"])

    def test_the_client_passes_over(self) -> None:
        """A peer that lists more is not left; a new list replaces a full one whole."""
        self.patch(offers, "MAX_LISTED", 3)
        _, edge = self.rig.chain("origin", "edge")
        source = edge.sources["origin"]
        self.rig.run(1)
        for turn in range(2):
            source.link_up(source._link)  # type: ignore[arg-type]
            for index in range(10):
                source.record(entry(f"n{turn}{index}"))
            source.record(CatalogueComplete())
            self.assertEqual(sorted(source.offer.listed), [f"n{turn}{index}" for index in range(3)])
            source.record(entry("late"))
            self.assertNotIn("late", source.offer.listed)
        for turn in range(5):
            source.link_up(source._link)  # type: ignore[arg-type]
            for index in range(10):
                source.record(entry(f"cut{turn}{index}"))
        self.assertEqual(len(source.offer.listed), 6)
        self.assertEqual(len(self.warnings("lists more than 3 streams")), 1)
