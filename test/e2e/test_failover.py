"""Two ways to one origin: when the one that is used goes away, viewers of the edge notice nothing."""

from __future__ import annotations

import os
import signal
from typing import ClassVar

from typing_extensions import override

from test.e2e.canary import Canary
from test.e2e.crowd import Crowd
from test.e2e.nodes import Node, wait_until
from test.e2e.playlists import check_reload, fetch, wait_segments
from test.e2e.shared import Stage, StageCase

STREAMS = [f"live/twice{index}" for index in range(10)]
#: Recorded by RTMP as well.
RTMP = STREAMS[:2]
#: Longest silence a viewer may have when the used source's connections end, and when they only fall silent.
KILL_SECONDS = 0.3
FREEZE_SECONDS = 2.5


class Diamond(StageCase):
    """Origin O; L and R restream it; edge E sources L first, then R: the same runs on two ways."""

    origin: ClassVar[Node]
    left: ClassVar[Node]
    right: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin")
        cls.left = stage.edge("left", cls.origin)
        cls.right = stage.edge("right", cls.origin)
        cls.edge = stage.edge("edge", cls.left, cls.right)
        for stream in STREAMS:
            stage.publish(cls.origin, stream)
        for stream in STREAMS:
            for node in (cls.left, cls.right, cls.edge):
                node.wait_alive(stream, 20.0)
            wait_segments(cls.edge, stream, 2)

    def same_as_origin(self) -> None:
        """The edge lists what the origin lists, every number, with no break in it."""
        for stream in STREAMS:
            origin = {segment.number: segment.lines for segment in fetch(self.origin, stream).segments}
            playlist = wait_segments(self.edge, stream, 3)
            numbers = [segment.number for segment in playlist.segments]
            self.assertEqual(numbers, list(range(numbers[0], numbers[-1] + 1)))
            for segment in playlist.segments:
                self.assertFalse(segment.gap or segment.discontinuity, playlist.text)
                self.assertEqual(segment.lines, origin.get(segment.number, segment.lines))

    def uses(self, node: Node, seconds: float = 30.0) -> None:
        """Wait until the edge takes all streams from C{node}."""
        address = f"127.0.0.1:{node.http}"

        def all_of_them() -> bool:
            streams = self.edge.streams()
            found = [streams.get(stream, {}).get("stats", {}).get("source_id") for stream in STREAMS]
            return found == [address] * len(STREAMS)

        wait_until(all_of_them, seconds, f"the edge takes all streams from {node.name}")

    def revive(self, node: Node) -> None:
        """Start C{node} if a test that failed left it dead."""
        if node.process is not None and node.process.poll() is not None:
            node.up()

    def test_killed_and_back(self) -> None:
        """The used source is killed and comes back: no frame lost, none twice, no discontinuity."""
        self.uses(self.left)
        before = [fetch(self.edge, stream) for stream in STREAMS]
        with Crowd([self.edge, self.origin], STREAMS, self.stage.folder, RTMP) as crowd:
            self.left.kill()
            self.addCleanup(self.revive, self.left)
            self.uses(self.right)
            crowd.assert_silence(self.edge, KILL_SECONDS)
            crowd.mark()
            self.left.up()
            self.uses(self.left, 40.0)
            crowd.assert_silence(self.edge, KILL_SECONDS, "the way back")
        crowd.compare(self.edge, self.origin)
        for old, stream in zip(before, STREAMS, strict=True):
            check_reload(old, fetch(self.edge, stream))
        self.same_as_origin()

    def test_unused_source_goes(self) -> None:
        """The source that is not used goes and comes back: nobody notices."""
        self.uses(self.left, 30.0)
        with Canary(self.edge, STREAMS[0], self.stage.folder, least=3.0):
            self.right.kill()
            self.right.up()
            self.right.wait_alive(STREAMS[0])
        self.uses(self.left)
        self.same_as_origin()

    def test_frozen(self) -> None:
        """The used source freezes, its connections stay open: noticed within two seconds, no frame lost."""
        self.uses(self.left, 30.0)
        before = [fetch(self.edge, stream) for stream in STREAMS]
        pid = self.left.pid
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        with Crowd([self.edge, self.origin], STREAMS, self.stage.folder, RTMP) as crowd:
            os.kill(pid, signal.SIGSTOP)
            self.uses(self.right)
            crowd.assert_silence(self.edge, FREEZE_SECONDS)
        crowd.compare(self.edge, self.origin)
        for old, stream in zip(before, STREAMS, strict=True):
            check_reload(old, fetch(self.edge, stream))
        self.same_as_origin()
