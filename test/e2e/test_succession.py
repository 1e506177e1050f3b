"""A node is replaced by a new process of itself: nobody is refused, streams go on."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from typing import ClassVar

from typing_extensions import override

from test.e2e.nodes import Node, get, wait_until
from test.e2e.players import HttpStream
from test.e2e.publishers import Publisher
from test.e2e.shared import Stage, StageCase

STREAM = "live/heir"


class SuccessionCase(StageCase):
    """A node with a publisher, and an edge that pulls from it."""

    workers: ClassVar[str] = ""
    node: ClassVar[Node]
    edge: ClassVar[Node]
    publisher: ClassVar[Publisher]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        root = stage.folder / "archive"
        cls.node = stage.node(
            "node",
            f"{cls.workers} drain_time 3;\n"
            f"template live {{ prefix live; input publish://; segment_duration 1; dvr {root} 1d; }}",
        )
        cls.edge = stage.edge("edge", cls.node)
        cls.publisher = stage.publish(cls.node, STREAM)
        cls.edge.wait_alive(STREAM, 20.0)
        wait_until(
            lambda: get(cls.node.http, f"/{STREAM}/index.m3u8").body.count(b"#EXTINF") >= 2, 20.0, "segments"
        )

    def replace(self) -> int:
        """Have the node replaced; the pid of the new process."""
        since = len(self.node.log_text())
        os.kill(self.node.pid, signal.SIGUSR2)
        line = self.node.wait_log("is to serve in the place", 10.0, since)
        (pid,) = re.findall(r"process (\d+) is to serve", line)
        self.addCleanup(self.end, int(pid))
        self.node.wait_log("this process serves in the place", 15.0, since)
        return int(pid)

    @staticmethod
    def end(pid: int) -> None:
        """End a process that is not our child."""
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 15.0, "the new process ends")


class Succession(SuccessionCase):
    """One process."""

    def test_replaced(self) -> None:
        """No request is refused or fails; the playlist goes on; viewers of the old process see on; the
        publisher is taken over when it comes again; the old process ends.
        """
        outcomes: Counter[str] = Counter()
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                try:
                    outcomes[str(get(self.node.http, f"/{STREAM}/index.m3u8", timeout=10.0).status)] += 1
                except OSError as error:
                    outcomes[repr(error)] += 1
                time.sleep(0.005)

        asker = threading.Thread(target=ask)
        old = self.node.process
        assert old is not None
        with HttpStream(self.node.http, f"/{STREAM}/mpegts") as stream:
            stream.read(100_000)
            asker.start()
            try:
                pid = self.replace()
                first = self.numbers()
                stream.read(300_000)
                wait_until(lambda: self.numbers()[-1] >= first[-1] + 2, 20.0, "segments of the new process")
            finally:
                over.set()
                asker.join()
        self.assertEqual(set(outcomes), {"200"}, outcomes)
        self.assertNotEqual(pid, old.pid)
        old.wait(30)
        self.publisher.stop()
        type(self).publisher = self.stage.publish(self.node, STREAM)
        wait_until(lambda: self.numbers()[-1] >= first[-1] + 6, 25.0, "the publisher is there again")
        wait_until(lambda: self.edge.alive(STREAM), 10.0, "the edge has it")
        status = get(self.node.http, f"/{STREAM}/recording_status.json")
        self.assertEqual(status.status, 200)

    def numbers(self) -> list[int]:
        """Numbers of the segments that are listed."""
        text = get(self.node.http, f"/{STREAM}/index.m3u8", timeout=10.0).body.decode()
        (first,) = re.findall(r"MEDIA-SEQUENCE:(\d+)", text)
        return [int(first) + at for at in range(text.count("#EXTINF"))]


class OfWorkers(Succession):
    """Several processes."""

    workers = "workers 2;"
