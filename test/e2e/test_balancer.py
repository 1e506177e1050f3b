"""Two edges behind nginx, with the configuration that is shipped: each edge is killed and started again, and
players notice nothing."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.browser import Browser
from test.e2e.nodes import ROOT, Node, free_ports, get, wait_for_port, wait_until
from test.e2e.players import assert_unbroken, frame_digests, probe_packets
from test.e2e.playlists import wait_segments
from test.e2e.samples import BFRAMES, FFMPEG, byte_rate
from test.e2e.shared import Stage, StageCase

STREAM = "live/balanced"
#: How many seconds of the stream ffmpeg reads at least; set it to 60 for the longer run by hand.
SECONDS = float(os.environ.get("BALANCER_SECONDS", "24"))
#: How long an edge is away, seconds: this is the fault.
AWAY = 2.0
#: Seconds in which nginx, which leaves an edge alone that refused it, must have found out that it is back.
FOUND_AGAIN = 20.0
SHIPPED = ROOT / "conf" / "cluster" / "load-balancer.nginx"


def configuration(folder: Path, port: int, edges: list[Node]) -> str:
    """A private nginx around the shipped file, with our hosts, ports and folders in it."""
    text = SHIPPED.read_text()
    for index, edge in enumerate(edges, 1):
        host = f"edge{index}.example.net:8080"
        assert host in text, host
        text = text.replace(host, f"127.0.0.1:{edge.http}")
    for shipped, ours in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("/var/cache/nginx/restreamer", f"{folder}/cache"),
    ):
        assert shipped in text, shipped
        text = text.replace(shipped, ours)
    return private_nginx(folder, text, "$upstream_addr $upstream_status")


def private_nginx(folder: Path, text: str, line: str) -> str:
    """The configuration of an nginx that lives in C{folder}.

    @param text: of its http block. @param line: what it logs of each request.
    """
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log error;\n"
        "events { worker_connections 500; }\n"
        f"http {{\nlog_format who '{line}';\n"
        f"access_log {folder}/access.log who;\n{paths}\n{text}\n}}\n"
    )


class Balanced(StageCase):
    """A publisher, its origin, two edges of that, nginx in front of them."""

    origin: ClassVar[Node]
    edges: ClassVar[list[Node]]
    copy: ClassVar[Path]
    port: ClassVar[int]
    nginx: ClassVar[subprocess.Popen[bytes]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        if shutil.which("nginx") is None:
            raise SkipTest("nginx is not installed")
        cls.origin = stage.node("origin")
        cls.edges = [stage.edge("edge1", cls.origin), stage.edge("edge2", cls.origin)]
        cls.copy = stage.folder / "published.flv"
        stage.publish(cls.origin, STREAM, copy=cls.copy)
        (cls.port,) = free_ports(1)
        config = stage.folder / "nginx.conf"
        config.write_text(configuration(stage.folder, cls.port, cls.edges))
        cls.nginx = subprocess.Popen(["nginx", "-p", str(stage.folder), "-c", str(config)])
        stage.stack.callback(cls.nginx.wait, 10)
        stage.stack.callback(cls.nginx.terminate)
        wait_for_port(cls.port, 10.0)
        for edge in cls.edges:
            wait_segments(edge, STREAM, 4)

    @property
    def url(self) -> str:
        """The playlist, through the balancer."""
        return f"http://127.0.0.1:{self.port}/{STREAM}/index.m3u8"

    def kill_and_restart(self, edge: Node) -> None:
        """An edge dies and is back after a while."""
        edge.kill()
        time.sleep(AWAY)
        edge.start()
        edge.wait_ready()

    def wait_served_by(self, edge: Node) -> None:
        """Wait until nginx asks C{edge} again: it goes round those it believes in."""
        log = self.stage.folder / "access.log"
        begin = log.stat().st_size
        numbers = itertools.count()

        def asked() -> bool:
            get(self.port, f"/{STREAM}/index.m3u8?{next(numbers)}")
            with log.open() as lines:
                lines.seek(begin)
                return f"127.0.0.1:{edge.http} 200\n" in lines.readlines()

        wait_until(asked, FOUND_AGAIN, f"nginx asks {edge.name} again")

    def test_both_answer(self) -> None:
        """Requests go round; the answers are the same whoever gives them."""
        playlist = get(self.port, f"/{STREAM}/index.m3u8")
        self.assertEqual(playlist.status, 200)
        self.assertEqual(get(self.port, "/m4f").status, 404)
        with open(self.stage.folder / "error.log") as log:
            self.assertEqual(log.read(), "")

    def test_ffmpeg_loses_no_packet(self) -> None:
        """ffmpeg reads HLS while each edge in turn is killed and started: what it got is what was published,
        each packet once."""
        path = self.stage.folder / "through.ts"
        command = [
            FFMPEG or "ffmpeg",
            "-v",
            os.environ.get("LV", "error"),
            "-y",
            "-rw_timeout",
            "15000000",
        ]
        command += ["-i", self.url, "-map", "0", "-c", "copy", "-f", "mpegts", str(path)]
        reader = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(reader.kill)
        complaints: list[bytes] = []
        assert reader.stderr is not None
        watching = threading.Thread(target=lambda: complaints.append(reader.stderr.read()), daemon=True)  # type: ignore[union-attr]
        watching.start()
        rate = byte_rate(BFRAMES)

        def has_read(seconds: float) -> bool:
            """Whether ffmpeg has got so much of the stream, with what MPEG-TS adds to it."""
            assert reader.poll() is None, f"ffmpeg ended: {complaints}"
            return path.exists() and path.stat().st_size > 1.1 * rate * seconds

        wait_until(lambda: has_read(4.0), 20.0, "ffmpeg reads")
        self.kill_and_restart(self.edges[0])
        wait_segments(self.edges[0], STREAM, 4)
        # nginx, too, must have seen that the first is back before the second goes.
        self.wait_served_by(self.edges[0])
        self.kill_and_restart(self.edges[1])
        wait_segments(self.edges[1], STREAM, 4)
        written = path.stat().st_size / rate / 1.1
        wait_until(lambda: has_read(max(SECONDS, written + 4.0)), SECONDS + 30.0, "it goes on reading")
        assert reader.stdin is not None
        reader.stdin.write(b"q")
        reader.stdin.close()
        self.assertEqual(reader.wait(20.0), 0)
        watching.join(5)
        self.assertEqual(b"".join(complaints), b"")
        packets = probe_packets(str(path))
        assert_unbroken(packets)
        self.assertGreaterEqual(len([p for p in packets if p.kind == "video"]), int(SECONDS * 25) - 50)
        for kind in "va":
            published, got = frame_digests(self.copy, kind), frame_digests(path, kind)
            self.assertTrue(contains(published, got), f"{kind}: {len(got)} of {len(published)}")

    def test_browser_plays_on(self) -> None:
        """hls.js in Chromium, on the page that the balancer gives it, plays over the loss of an edge."""
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{self.port}/{STREAM}/embed.html")
            browser.wait_advance(2.0, 25.0)
            for edge in self.edges:
                restarting = threading.Thread(target=self.kill_and_restart, args=(edge,), daemon=True)
                restarting.start()
                browser.wait_beyond(3.0, 20.0)
                restarting.join(20)
                wait_until(lambda: edge.alive(STREAM), 20.0, f"{edge.name} is back")  # noqa: B023
                self.wait_served_by(edge)
            self.assertFalse(browser.look()["error"])


def contains(whole: list[str], part: list[str]) -> bool:
    """Whether C{part} stands in C{whole} in one piece."""
    return any(
        whole[start : start + len(part)] == part for start, first in enumerate(whole) if first == part[0]
    )
