"""C{make run}: two real nodes on free ports, and what is said when they cannot run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

import restreamer
from restreamer.run_demo import DemoError, Node, check_ports, plays, read_node

ROOT = Path(__file__).resolve().parent.parent
DEMO = Path(restreamer.__file__).parent / "demo"


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class PlaysTests(SynchronousTestCase):
    """Whether a playlist plays."""

    def test_playlists(self) -> None:
        media = b"#EXTM3U\n#EXTINF:2,\nseg/1.ts\n"
        master = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmedia.m3u8\n"
        for pages, expected in (
            ({}, False),
            ({"/demo/index.m3u8": b"<html>"}, False),
            ({"/demo/index.m3u8": b"#EXTM3U\n"}, False),
            ({"/demo/index.m3u8": media}, False),
            ({"/demo/index.m3u8": media, "/demo/seg/1.ts": b"G"}, True),
            ({"/demo/index.m3u8": master, "/demo/media.m3u8": media, "/demo/seg/1.ts": b"G"}, True),
            ({"/demo/index.m3u8": master, "/demo/media.m3u8": master}, False),
        ):
            found = plays("http://h/demo/index.m3u8", lambda url, pages=pages: pages.get(url[8:], b""))  # type: ignore[misc]
            self.assertEqual(expected, found)


class DemoTests(SynchronousTestCase):
    """The command."""

    @override
    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir(parents=True)
        ports = free_ports(6)
        key = "cluster_key 0123456789abcdef0123;"
        (self.base / "origin.conf").write_text(
            f"http 127.0.0.1:{ports[0]};\nrtmp 127.0.0.1:{ports[1]};\nrtsp 127.0.0.1:{ports[4]};\n{key}\n"
            f'vod demo {{ storage "{DEMO}"; }}\nstream demo file://demo/demo.mp4;\n'
        )
        (self.base / "edge.conf").write_text(
            f"http 127.0.0.1:{ports[2]};\nrtmp 127.0.0.1:{ports[3]};\nrtsp 127.0.0.1:{ports[5]};\n{key}\n"
            f"source 127.0.0.1:{ports[0]} {{ }}\n"
        )
        for name in ("origin.conf", "edge.conf"):
            (self.base / name).chmod(0o600)
        self.ports = ports
        self.command = [
            sys.executable,
            "-m",
            "restreamer.run_demo",
            *("--origin", str(self.base / "origin.conf")),
            *("--edge", str(self.base / "edge.conf")),
            *("--logs", str(self.base / "logs")),
        ]

    def node(self) -> Node:
        return read_node("origin", self.base / "origin.conf", self.base)

    def test_runs_until_it_is_told_to_stop(self) -> None:
        demo = subprocess.Popen(
            self.command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.addCleanup(demo.wait)
        self.addCleanup(demo.terminate)
        assert demo.stdout is not None
        self.addCleanup(demo.stdout.close)
        said = ""
        for line in demo.stdout:
            said += line
            if line.startswith("Ctrl-C"):
                break
        self.assertIn(f"http://127.0.0.1:{self.ports[2]}/demo/embed.html", said)
        self.assertIn(f"rtmp://127.0.0.1:{self.ports[1]}/live", said)
        self.assertIn(str(self.base / "logs" / "demo-edge.log"), said)
        os.kill(demo.pid, signal.SIGINT)
        self.assertEqual("\nstopping ...\n", demo.stdout.read())
        self.assertEqual(0, demo.wait(30))
        check_ports([self.node(), read_node("edge", self.base / "edge.conf", self.base)])

    def test_port_in_use(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", self.ports[1]))
            other.listen()
            error = self.assertRaises(DemoError, check_ports, [self.node()])
            self.assertIn(f"port {self.ports[1]} (rtmp of the origin)", str(error))
            done = subprocess.run(self.command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertIn(f"port {self.ports[1]}", done.stderr)

    def test_bad_configuration(self) -> None:
        (self.base / "edge.conf").write_text("htp 8080;\n")
        self.assertRaises(DemoError, read_node, "edge", self.base / "edge.conf", self.base)
        (self.base / "edge.conf").write_text("http 8080;\n")
        self.assertRaises(DemoError, read_node, "edge", self.base / "edge.conf", self.base)

    def test_node_that_ends(self) -> None:
        node = self.node()
        node.config = self.base / "nowhere.conf"
        node.start()
        assert node.process is not None
        node.process.wait(30)
        error = self.assertRaises(DemoError, node.check)
        self.assertIn("nowhere.conf", str(error))
        node.stop()
