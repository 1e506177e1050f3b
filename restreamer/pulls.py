"""How streams are pulled from servers of other protocols, by the kind of their input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint

from restreamer.hls.pull import HlsPull
from restreamer.rtmp.pull import RtmpPull
from restreamer.rtsp.pull import RtspPull
from restreamer.seams import FrameSink
from restreamer.sources.pull import Pull, PullTarget
from restreamer.tsio.http_pull import TsHttpPull
from restreamer.tsio.udp_pull import TsUdpPull

#: C{connect(host, port, tls)}: an endpoint.
Connect = Callable[[str, int, bool], IStreamClientEndpoint]


def pulls(reactor: Any, connect: Connect) -> Mapping[str, Pull]:
    """The pulls of this program by L{restreamer.config.model.InputConfig.scheme}."""

    def rtmp(target: PullTarget, sink: FrameSink, lost: Callable[[str], None]) -> RtmpPull:
        return RtmpPull(target, sink, lost, reactor, connect)

    def rtsp(target: PullTarget, sink: FrameSink, lost: Callable[[str], None]) -> RtspPull:
        return RtspPull(target, sink, lost, reactor, connect)

    def tshttp(target: PullTarget, sink: FrameSink, lost: Callable[[str], None]) -> TsHttpPull:
        return TsHttpPull(target, sink, lost, reactor, connect)

    def hls(target: PullTarget, sink: FrameSink, lost: Callable[[str], None]) -> HlsPull:
        return HlsPull(target, sink, lost, reactor, connect)

    def udp(target: PullTarget, sink: FrameSink, lost: Callable[[str], None]) -> TsUdpPull:
        return TsUdpPull(target, sink, lost, reactor)

    return {"rtmp": rtmp, "rtsp": rtsp, "tshttp": tshttp, "hls": hls, "udp": udp}
