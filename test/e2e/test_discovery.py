"""What a source has is on its edges at once, and what it lost is gone at once, with nobody asking."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from typing_extensions import override

from bench import publish
from bench.catalogue import Fresh
from bench.hop_latency import on_both, watch
from test.e2e.machine import Delays
from test.e2e.nodes import Node, wait_until
from test.e2e.players import decode, first_media
from test.e2e.rtmp_wire import PacedPublisher, WireClient
from test.e2e.samples import BFRAMES
from test.e2e.shared import Stage, StageCase

#: Seconds from the first keyframe on the origin to the first media an edge can send.
PLAYABLE_SECONDS = 0.3
#: Seconds from the publisher's end to the stream's absence from an edge's list.
GONE_SECONDS = 0.5
#: What a hop may add to a frame's way: median, and all but one in twenty, milliseconds. (C{bench.hop_latency}
#: prints more, on a machine that does nothing else.)
HOP_MEDIAN, HOP_MOST = 3.0, 20.0


@contextmanager
def running(paced: PacedPublisher) -> Iterator[None]:
    """C{paced} publishes in a thread of its own meanwhile."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            paced.run_for(0.1)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


class Discovery(StageCase):
    """An origin and an edge; streams come and go."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin")
        cls.edge = stage.edge("edge", cls.origin)
        # The link between the nodes is older than any stream of these tests.
        with stage.publish(cls.origin, "live/first"):
            cls.edge.wait_alive("live/first")

    def publishing(self, stream: str) -> Fresh:
        """Start to publish C{stream} on the origin."""
        publishing = Fresh(self.origin, stream)
        self.addCleanup(publishing.end)
        publishing.start()
        return publishing

    def test_playable_over_http_at_once(self) -> None:
        """HTTP-TS on the edge gives media within 300 ms of the first keyframe; nobody asked for the stream
        before it."""
        publishing = self.publishing("live/soon-http")
        with Delays() as delays:
            began = publishing.first_key()
            took = first_media(self.edge.http, "live/soon-http", 5.0) - began
        self.assertLess(took, PLAYABLE_SECONDS + delays.allowance)

    def test_playable_over_rtmp_at_once(self) -> None:
        """RTMP on the edge gives media within 300 ms of the first keyframe; nobody asked for the stream
        before it."""
        publishing = self.publishing("live/soon-rtmp")
        began = publishing.first_key()

        def attempt() -> float | None:
            client = WireClient.connect(self.edge.rtmp, "live")
            try:
                client.play("soon-rtmp")
                got = bytearray()
                while len(got) < 4000:
                    piece = client.sock.recv(65_536)
                    got += piece
                    if (
                        not piece
                        or b"NetStream.Play.StreamNotFound" in got
                        or b"NetStream.Play.Failed" in got
                    ):
                        return None
                return time.monotonic()
            finally:
                client.close()

        with Delays() as delays:
            took = wait_until(attempt, 5.0, "the stream plays over RTMP") - began
        self.assertLess(took, PLAYABLE_SECONDS + delays.allowance)

    def test_hop_adds_little(self) -> None:
        """A frame is at the edge's viewers hardly later than at the origin's, over HTTP-TS and RTMP."""
        paced = publish.publisher(self.origin.rtmp, "live", "cam", BFRAMES)
        self.addCleanup(paced.client.close)
        with running(paced):
            self.edge.wait_alive("live/cam")
            for proto in ("tshttp", "rtmp"):
                with Delays() as delays:
                    at_origin, at_edge = watch([self.origin, self.edge], proto, 4.0)
                added = sorted((at_edge[at] - at_origin[at]) / 1e6 for at in on_both(at_origin, at_edge))
                self.assertGreater(len(added), 60, proto)
                self.assertLess(statistics.median(added), HOP_MEDIAN, proto)
                most = HOP_MOST + delays.allowance * 1000
                self.assertLess(added[len(added) * 19 // 20], most, proto)

    def test_listed_without_a_request(self) -> None:
        """The edge's API lists a stream as alive although nobody ever asked for it."""
        self.publishing("live/listed")
        self.edge.wait_alive("live/listed", 2.0)

    def test_ended_stream_leaves_the_list(self) -> None:
        """500 ms after the publisher hung up, the edge lists the stream no more."""
        publishing = self.publishing("live/ends")
        self.edge.wait_alive("live/ends")
        ended = publishing.end()
        with Delays() as delays:
            wait_until(lambda: "live/ends" not in self.edge.streams(), 5.0, "it is gone from the edge")
            gone = time.monotonic()
        self.assertLess(gone - ended, GONE_SECONDS + delays.allowance)

    def test_comes_back(self) -> None:
        """A stream that ended and is published again plays again on the edge."""
        publishing = self.publishing("live/again")
        self.edge.wait_alive("live/again")
        publishing.end()
        wait_until(lambda: not self.edge.alive("live/again"), 5.0, "the ended stream is gone from the edge")
        self.publishing("live/again")
        self.edge.wait_alive("live/again", 5.0)
        result = decode(self.edge.url("live/again", "tshttp"), 2.0)
        self.assertEqual(result.complaints, "")
        self.assertGreater(result.frames, 40)
