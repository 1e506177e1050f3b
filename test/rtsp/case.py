"""What the tests of the server share: a rig, a peer, the ways into each state."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.rtsp.message import Reply
from restreamer.testing.media import make_frames
from test.rtsp.fakes import Peer, Rig

#: A player over UDP.
UDP = "RTP/AVP;unicast;client_port=5000-5001"
#: What a publisher announces.
ANNOUNCED = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z2QAHqzZQKAv+XARAAADAAEAAAMADyAPFi2W,aOvjyyLA\r\n"
    "a=control:streamid=0\r\n"
    "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n"
    "a=fmtp:97 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190\r\n"
    "a=control:streamid=1\r\n"
)


class ServerTestCase(SynchronousTestCase):
    """A rig and a peer."""

    @override
    def setUp(self) -> None:
        self.rig = Rig()
        self.peer = self.rig.peer()
        self.stream = self.rig.core.streams["cam"]

    def playing(self, peer: Peer | None = None) -> Peer:
        """A player that receives."""
        peer = peer or self.peer
        peer.ask("DESCRIBE")
        peer.set_up(1)
        peer.set_up(2)
        self.assertEqual(peer.send(peer.text("PLAY")), [])
        self.stream.send(make_frames(0.2)[0])
        return peer

    def announced(self, path: str = "/pub", **headers: str) -> Reply:
        return self.peer.ask("ANNOUNCE", path, ANNOUNCED, Content_Type="application/sdp", **headers)

    def recording(self) -> Peer:
        self.announced()
        for index in (0, 1):
            channels = f"interleaved={2 * index}-{2 * index + 1}"
            transport = f"RTP/AVP/TCP;unicast;{channels};mode=record"
            self.assertEqual(
                self.peer.ask("SETUP", f"/pub/streamid={index}", Transport=transport).status, 200
            )
        self.assertEqual(self.peer.ask("RECORD", "/pub").status, 200)
        return self.peer

    def tidy(self) -> None:
        """Nothing is left when everybody has gone."""
        self.assertEqual(self.rig.datagrams.open, [])
        self.assertEqual(self.stream.viewers, [])
        self.assertEqual(self.rig.clock.getDelayedCalls(), [])
        self.assertEqual(self.rig.factory.connections, 0)
