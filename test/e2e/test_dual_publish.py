"""One encoder publishes to two origins: when the used one goes away, viewers of the edge notice nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import ClassVar

from attrs import define
from typing_extensions import override

from test.e2e.crowd import Crowd
from test.e2e.network_namespace import Namespace
from test.e2e.nodes import KEY, Node, free_ports, wait_until
from test.e2e.playlists import check_reload, fetch, wait_segments
from test.e2e.publishers import Publisher
from test.e2e.samples import FFMPEG, make
from test.e2e.shared import LIVE, Stage, StageCase, source_of
from test.e2e.test_failover import FREEZE_SECONDS, KILL_SECONDS

STREAMS = [f"live/tee{index}" for index in range(3)]


@define(eq=False)
class Tee(Publisher):
    """An ffmpeg that sends the same packets to several URLs; one that stalls or breaks holds up no other."""

    others: tuple[str, ...] = ()

    @override
    def command(self) -> list[str]:
        """The ffmpeg command."""
        command = [FFMPEG or "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-re"]
        command += ["-stream_loop", "-1", "-i", str(make(self.sample)), "-c", "copy", "-map", "0"]
        fifo = "attempt_recovery=1:drop_pkts_on_overflow=1:recover_any_error=1:recovery_wait_time=1"
        command += ["-f", "tee", "-use_fifo", "1", "-fifo_options", fifo]
        return [*command, "|".join(f"[f=flv:onfail=ignore]{url}" for url in (self.url, *self.others))]

    @override
    def start(self) -> Tee:
        """Start sending."""
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self


class DualCase(StageCase):
    """Origins one and two take the same streams; edge E sources one first, then two."""

    one: ClassVar[Node]
    two: ClassVar[Node]
    edge: ClassVar[Node]
    first: ClassVar[str]

    @classmethod
    def tee(cls, stage: Stage, url: str) -> None:
        """Publish every stream to C{url} (an RTMP address without the name) and to origin two."""
        for stream in STREAMS:
            publisher = Tee(f"{url}/{stream}", others=(cls.two.url(stream, "rtmp"),))
            stage.stack.callback(publisher.stop)
            publisher.start()
        for stream in STREAMS:
            cls.two.wait_alive(stream, 20.0)
            cls.edge.wait_alive(stream, 20.0)
            wait_segments(cls.edge, stream, 2)

    def uses(self, address: str, seconds: float = 30.0) -> None:
        """Wait until the edge takes all streams from C{address}."""

        def all_of_them() -> bool:
            streams = self.edge.streams()
            return all(streams.get(each, {}).get("stats", {}).get("source_id") == address for each in STREAMS)

        wait_until(all_of_them, seconds, f"the edge takes all streams from {address}")

    def unbroken(self) -> None:
        """The edge's playlists have every number and no discontinuity."""
        for stream in STREAMS:
            now = wait_segments(self.edge, stream, 3)
            numbers = [segment.number for segment in now.segments]
            self.assertEqual(numbers, list(range(numbers[0], numbers[-1] + 1)))
            for segment in now.segments:
                self.assertFalse(segment.gap or segment.discontinuity, now.text)


class DualPublish(DualCase):
    """Kill and freeze."""

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.one = stage.node("one")
        cls.two = stage.node("two")
        cls.edge = stage.edge("edge", cls.one, cls.two)
        cls.first = f"127.0.0.1:{cls.one.http}"
        cls.tee(stage, f"rtmp://127.0.0.1:{cls.one.rtmp}")

    def revive(self) -> None:
        """Start origin one if a test left it dead."""
        if self.one.process is not None and self.one.process.poll() is not None:
            self.one.up()

    def test_killed_and_back(self) -> None:
        """Origin one is killed, and comes back with the same publisher: the same frames, once each."""
        self.uses(self.first, 30.0)
        before = [fetch(self.edge, stream) for stream in STREAMS]
        with Crowd([self.edge, self.two], STREAMS, self.stage.folder, STREAMS[:1]) as crowd:
            self.one.kill()
            self.addCleanup(self.revive)
            self.uses(f"127.0.0.1:{self.two.http}")
            crowd.assert_silence(self.edge, KILL_SECONDS)
            for old, stream in zip(before, STREAMS, strict=True):
                check_reload(old, fetch(self.edge, stream))
            crowd.mark()
            self.one.up()
            self.uses(self.first, 40.0)
            crowd.assert_silence(self.edge, KILL_SECONDS, "the way back")
        crowd.compare(self.edge, self.two, shifted=True)
        self.unbroken()

    def test_frozen(self) -> None:
        """Origin one freezes, and goes on."""
        self.uses(self.first, 40.0)
        pid = self.one.pid
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        with Crowd([self.edge, self.two], STREAMS, self.stage.folder, STREAMS[:1]) as crowd:
            os.kill(pid, signal.SIGSTOP)
            self.uses(f"127.0.0.1:{self.two.http}")
            crowd.assert_silence(self.edge, FREEZE_SECONDS)
            crowd.mark()
            os.kill(pid, signal.SIGCONT)
            self.uses(self.first, 60.0)
            crowd.assert_silence(self.edge, KILL_SECONDS, "the way back")
        crowd.compare(self.edge, self.two, shifted=True)
        self.unbroken()


class DualBlackHole(DualCase):
    """Origin one is behind a cable of its own, which swallows every packet."""

    namespace: ClassVar[Namespace]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.namespace = namespace = Namespace()
        stage.stack.callback(namespace.close)
        http, rtmp = free_ports(2)
        cls.first = f"{namespace.inside}:{http}"
        cls.one = stage.prepare(
            "one", f"http {cls.first};\nrtmp {namespace.inside}:{rtmp};\n{LIVE}", prefix=namespace.prefix
        )
        cls.one.start()
        cls.one.wait_log("is up", 15.0)
        cls.two = stage.node("two")
        cls.edge = stage.node(
            "edge", f"source {cls.first} {{ cluster_key {KEY}; segment_count 6; }}\n{source_of(cls.two)}"
        )
        cls.tee(stage, f"rtmp://{namespace.inside}:{rtmp}")

    def test_black_hole(self) -> None:
        """Noticed within two seconds; the same frames, once each, no discontinuity."""
        self.uses(self.first, 30.0)
        with Crowd([self.edge, self.two], STREAMS, self.stage.folder, STREAMS[:1]) as crowd:
            self.namespace.black_hole()
            self.uses(f"127.0.0.1:{self.two.http}")
            crowd.assert_silence(self.edge, FREEZE_SECONDS)
        crowd.compare(self.edge, self.two, shifted=True)
        self.unbroken()
