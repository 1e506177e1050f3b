"""Pairs of UDP ports on the real reactor."""

from __future__ import annotations

from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime, IReactorUDP
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, formatEventAsClassicLogText, globalLogPublisher
from twisted.trial.unittest import TestCase

from restreamer.rtsp.udp_ports import UdpPair, open_pair


class PairTests(TestCase):
    timeout = 10

    def opened(self, rtp: Deferred[bytes], rtcp: Deferred[bytes]) -> UdpPair:
        pair = open_pair(
            cast(IReactorUDP, reactor), "127.0.0.1", "127.0.0.1", rtp.callback, rtcp.callback, lambda: None
        )
        assert pair is not None
        self.addCleanup(pair.close)
        return pair

    async def test_neighbours(self) -> None:
        """An even port and the next one; what is sent arrives."""
        rtp: Deferred[bytes] = Deferred()
        rtcp: Deferred[bytes] = Deferred()
        first, second = self.opened(Deferred(), Deferred()), self.opened(rtp, rtcp)
        for pair in (first, second):
            self.assertEqual((pair.ports[0] % 2, pair.ports[1]), (0, pair.ports[0] + 1))
        first.remote = second.ports
        first.send_rtp(b"media")
        first.send_rtcp(b"report")
        self.assertEqual(await gatherResults([rtp, rtcp]), [b"media", b"report"])

    async def test_quiet(self) -> None:
        """Opening and closing says nothing in the log of a node that has thousands of players."""
        said: list[str] = []

        def hear(event: LogEvent) -> None:
            text = formatEventAsClassicLogText(event)
            if text:
                said.append(text)

        observer = cast(ILogObserver, hear)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.opened(Deferred(), Deferred()).close()
        # A port closes in the turn after it was told to.
        for _ in range(2):
            await deferLater(cast(IReactorTime, reactor), 0, lambda: None)
        self.assertEqual(said, [])
