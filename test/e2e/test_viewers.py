"""Many viewers and one that stops reading: the others notice nothing, the server keeps its size."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import time
from typing import ClassVar
from unittest import SkipTest

from attrs import evolve
from typing_extensions import override

from bench.servers import MODULES, nginx_rtmp, node, publisher
from bench.viewers import STALL_SECONDS, Audience, Target, server_cpu
from test.e2e.canary import Canary
from test.e2e.machine import Delays
from test.e2e.nodes import Node, wait_until
from test.e2e.players import HttpStream
from test.e2e.rtmp_wire import WireClient
from test.e2e.samples import BFRAMES, MEGABIT, byte_rate
from test.e2e.shared import Stage, StageCase

STREAM = "live/crowd"
VIEWERS = 50
#: Memory one hanging viewer may cost, bytes.
GROWTH = 12 << 20


def settled(audience: Audience, rate: float) -> bool:
    """Whether the viewers got a second of media in a second: no burst, no pause."""
    audience.mark()
    time.sleep(1.0)
    window = audience.report()
    return 0.7 * rate < sum(window.bytes) / len(window.bytes) / window.seconds < 1.3 * rate


class Viewers(StageCase):
    """One node, one stream."""

    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("node")
        stage.publish(cls.node, STREAM)
        cls.node.wait_alive(STREAM)

    def target(self, proto: str) -> Target:
        """Where to watch by C{proto}."""
        if proto == "tshttp":
            return Target(proto=proto, host="127.0.0.1", port=self.node.http, path=f"/{STREAM}/mpegts")
        return Target(proto=proto, host="127.0.0.1", port=self.node.rtmp, path=STREAM)

    def crowd(self, proto: str, seconds: float) -> None:
        """Fifty viewers watch for C{seconds}, all of them well."""
        with Audience(self.target(proto), VIEWERS, processes=2) as audience, Delays() as delays:
            wait_until(audience.filled, 20.0, "everybody has media")
            delays_of_start = delays.allowance
            # The time that is judged.
            audience.mark()
            delays.mark()
            time.sleep(seconds)
            window = audience.report()
        self.assertEqual(window.closed, 0, window.describe())
        self.assertEqual(window.ok(0.9 * byte_rate(BFRAMES)), VIEWERS, window.describe())
        self.assertLess(max(window.gaps), 0.7 + delays.allowance, window.describe())
        self.assertEqual(len(window.first), VIEWERS)
        self.assertLess(max(window.first), 1.0 + delays_of_start, window.describe())

    def test_fifty_http(self) -> None:
        """Fifty viewers over HTTP-TS."""
        self.crowd("tshttp", 5.0)

    def test_a_thousand_http(self) -> None:
        """A thousand viewers of 1 Mbit/s over HTTP-TS on one process: none stalls and none is closed.

        Where nginx has its RTMP module, a thousand watch it at the same time on the same core, and ours cost
        less (C{bench.fanout} says how much).
        """
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit[1] < 2000:
            raise SkipTest(f"only {limit[1]} files can be open here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], 2000), limit[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        sample = evolve(MEGABIT, seconds=10)
        compared = bool(shutil.which("nginx")) and any(map(os.path.exists, MODULES))
        core = min(os.sched_getaffinity(0))
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(start(core)) for start in (node, nginx_rtmp)[: 1 + compared]]
            for server in servers:
                stack.enter_context(publisher(f"rtmp://127.0.0.1:{server.rtmp}/live/cam", sample))
            crowds = []
            for server in servers:
                proto, port, path = (
                    ("tshttp", server.http, "/live/cam/mpegts")
                    if server.http
                    else ("rtmp", server.rtmp, "live/cam")
                )
                target = Target(proto=proto, host="127.0.0.1", port=port, path=path)
                crowds.append(stack.enter_context(Audience(target, 1000, processes=1)))
            for crowd in crowds:
                wait_until(crowd.filled, 30.0, "everybody has media")
            # Bursts of the beginning are sent off once everybody has got at the rate of the stream.
            wait_until(lambda: settled(crowds[0], byte_rate(sample)), 20.0, "the bursts are over")
            for crowd in crowds:
                crowd.mark()
            before = [server_cpu(server.pid) for server in servers]
            delays = stack.enter_context(Delays())
            # The time that is judged.
            time.sleep(6.0)
            spent = [server_cpu(server.pid) - was for server, was in zip(servers, before, strict=True)]
            window = crowds[0].report()
        self.assertEqual((window.closed, len(window.first)), (0, 1000), window.describe())
        self.assertLess(max(window.gaps), STALL_SECONDS + delays.allowance, window.describe())
        self.assertEqual(window.ok(0.9 * byte_rate(sample)), 1000, window.describe())
        if compared:
            self.assertLess(spent[0], spent[1], "seconds of processor time, ours and theirs")

    def test_fifty_rtmp(self) -> None:
        """Fifty viewers over RTMP."""
        self.crowd("rtmp", 5.0)

    def test_viewer_that_stops_reading(self) -> None:
        """HTTP-TS and RTMP viewers that stop reading: memory stays, the others lose nothing, the dead ones
        are let go."""
        before = self.node.rss()
        descriptors = self.node.descriptors()
        stopped = HttpStream(self.node.http, f"/{STREAM}/mpegts", rcvbuf=4096)
        self.addCleanup(stopped.close)
        player = WireClient.connect(self.node.rtmp, "live")
        self.addCleanup(player.close)
        player.sock.setsockopt(1, 8, 4096)
        player.play(STREAM.rpartition("/")[2])
        with Canary(self.node, STREAM, self.stage.folder):
            self.crowd("tshttp", 8.0)
        self.assertLess(self.node.rss() - before, GROWTH + 2 * (1 << 20), "after 10 s of hanging viewers")
        wait_until(lambda: self.node.descriptors() <= descriptors, 60.0, "the hanging viewers are dropped")
