"""Two ways to one origin: when the one that is used goes away, viewers of the edge notice nothing."""

from __future__ import annotations

import os
import signal
from typing import ClassVar

from typing_extensions import override

from test.e2e.canary import Canary
from test.e2e.nodes import Node, wait_until
from test.e2e.playlists import check_reload, fetch, wait_segments
from test.e2e.shared import Stage, StageCase

STREAM = "live/twice"
#: Longest silence a viewer may have when the used source's connections end, and when they only fall silent.
SWITCH_SECONDS = 0.7
FREEZE_SECONDS = 2.6


class Diamond(StageCase):
    """Origin O; L and R restream it; edge E sources L first, then R: the same run on two ways."""

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
        stage.publish(cls.origin, STREAM)
        for node in (cls.left, cls.right, cls.edge):
            node.wait_alive(STREAM)
        wait_segments(cls.edge, STREAM, 2)

    def same_as_origin(self) -> None:
        """The edge lists what the origin lists, with no break in it."""
        origin = {segment.number: segment.lines for segment in fetch(self.origin, STREAM).segments}
        playlist = wait_segments(self.edge, STREAM, 3)
        for segment in playlist.segments:
            self.assertFalse(segment.gap or segment.discontinuity, playlist.text)
            self.assertEqual(segment.lines, origin.get(segment.number, segment.lines))

    def uses(self, node: Node) -> None:
        """Wait until the edge takes the stream from C{node}."""
        address = f"127.0.0.1:{node.http}"
        wait_until(
            lambda: self.edge.streams().get(STREAM, {}).get("stats", {}).get("source_id") == address,
            10.0,
            f"the edge takes the stream from {node.name}",
        )

    def revive(self, node: Node) -> None:
        """Start C{node} if a test that failed left it dead."""
        if node.process is not None and node.process.poll() is not None:
            node.up()

    def test_killed_and_back(self) -> None:
        """The used source is killed and comes back: no frame lost, none twice, no discontinuity."""
        self.uses(self.left)
        before = fetch(self.edge, STREAM)
        with Canary(self.edge, STREAM, self.stage.folder, gap=SWITCH_SECONDS):
            self.left.kill()
            self.addCleanup(self.revive, self.left)
            self.uses(self.right)
        with Canary(self.edge, STREAM, self.stage.folder, gap=SWITCH_SECONDS):
            self.left.up()
            self.uses(self.left)
        check_reload(before, fetch(self.edge, STREAM))
        self.same_as_origin()

    def test_unused_source_goes(self) -> None:
        """The source that is not used goes and comes back: nobody notices."""
        self.uses(self.left)
        with Canary(self.edge, STREAM, self.stage.folder, least=3.0):
            self.right.kill()
            self.right.up()
            self.right.wait_alive(STREAM)
        self.uses(self.left)
        self.same_as_origin()

    def test_frozen(self) -> None:
        """The used source freezes, its connections stay open: noticed within two seconds, no frame lost."""
        self.uses(self.left)
        before = fetch(self.edge, STREAM)
        pid = self.left.pid
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        with Canary(self.edge, STREAM, self.stage.folder, gap=FREEZE_SECONDS):
            os.kill(pid, signal.SIGSTOP)
            self.uses(self.right)
        check_reload(before, fetch(self.edge, STREAM))
        self.same_as_origin()
