"""A node that is stopped asks the encoders that know it to connect again (Enhanced RTMP v2, "Reconnect
Request")."""

from __future__ import annotations

from test.rtmp.test_protocol import CONFIGS, frame
from test.rtmp.wire import publish_opening
from test.test_node import NodeCase, dial

ASKED = b"NetConnection.Connect.ReconnectRequest"
GRANTED = b"NetStream.Publish.Start"
OVER = b"NetStream.Failed"


class ReconnectTests(NodeCase):
    """Publishers on real sockets."""

    async def test_on_stop(self) -> None:
        """Who announced it hears of it first, then that its publish is over; others hear of the end only."""
        node = self.node("template live { prefix live; input publish://; }")
        opening = publish_opening(key="new", capsEx=15.0) + CONFIGS + frame(0, True)
        new = await dial(self.rtmp, opening)
        old = await dial(self.rtmp, publish_opening(key="old") + CONFIGS + frame(0, True))
        for publisher in (new, old):
            await publisher.until(GRANTED)
        await self._stop(node)
        for publisher in (new, old):
            await publisher.gone
        told = bytes(new.received)
        self.assertIn(ASKED, told)
        self.assertLess(told.index(ASKED), told.index(OVER))
        self.assertNotIn(ASKED, old.received)
        self.assertIn(OVER, old.received)
