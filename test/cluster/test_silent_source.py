"""A source that keeps the media link alive and yet sends no frame is left, and asked again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from restreamer.cluster.connector import Node, Remote
from restreamer.cluster.source_service import MediaPull
from restreamer.live.feed import FeedLimits
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.registry import StreamRegistry, StreamSettings


class _Endpoint:
    def connect(self, factory: object) -> Deferred[Any]:
        return Deferred()


class _Link:
    peer_id = b"\x02" * 16
    aborted = ""

    def send(self, record: object) -> bool:
        return True

    def abort(self, reason: str) -> None:
        self.aborted = self.aborted or reason


class SilentSourceTests(SynchronousTestCase):
    def test_no_frames(self) -> None:
        """The time counts per stream, whatever else comes on the link."""
        clock = Clock()
        registry = StreamRegistry(
            clock, Ledger(), lambda stream: Playout(stream, clock, {}, FeedLimits()), lambda what, error: None
        )
        node = Node(
            node_id=b"\x01" * 16,
            nonce=lambda: bytes(16),
            uniform=lambda low, high: high,
            clock=clock,
            utc=lambda: 0,
        )
        remote = Remote(address="192.0.2.1:80", endpoint=_Endpoint(), key=bytes(32))  # type: ignore[arg-type]
        pull = MediaPull(node, remote, registry, "a", "a", StreamSettings(source_timeout=3.0))
        self.addCleanup(pull.stop)
        link: Any = _Link()
        pull.puller.link_up(link)
        for _ in range(5):
            pull.puller.frames += 1
            clock.advance(1.0)
        self.assertEqual(link.aborted, "")
        for _ in range(4):
            pull.puller.beat()
            clock.advance(1.0)
        self.assertEqual(link.aborted, "no frame for 3 s")
