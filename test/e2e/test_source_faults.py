"""Faults of processes and of what is around them: ends and reloads at the wrong moment, a loop that hangs,
names that cannot be looked up, thousands of connections that come to nothing."""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import signal
import socket
import ssl
import struct
import time
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from restreamer.cli import main
from restreamer.dvr.store import Store
from test.certificates import Authority
from test.e2e import rtmp_wire
from test.e2e.canary import Canary
from test.e2e.machine import stretch
from test.e2e.nodes import KEY, Node, free_ports, wait_until
from test.e2e.players import HttpStream
from test.e2e.playlists import check_reload, fetch, wait_segments
from test.e2e.rtmp_wire import WireClient
from test.e2e.samples import Sample
from test.e2e.shared import LIVE, Stage, StageCase
from test.e2e.test_vod import remux

STREAM = "live/canary"
#: Connections of each kind that come to nothing.
CYCLES = 1000
#: Memory that may stay behind, bytes: allocators keep some.
KEPT = 24 << 20
_RESET = struct.pack("ii", 1, 0)


def poke(port: int, data: bytes, *, read: bool = False) -> None:
    """A connection that sends C{data}, perhaps reads a little, and ends with a reset."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock, contextlib.suppress(OSError):
        sock.sendall(data)
        if read:
            sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class Ends(StageCase):
    """An origin, its edge, viewers on both."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.archive = stage.folder / "archive"
        cls.origin = stage.node("origin", LIVE.replace("}", f" dvr {cls.archive} 1d; }}"))
        cls.edge = stage.edge("edge", cls.origin)

    archive: ClassVar[Path]

    def test_sigterm_with_everybody_there(self) -> None:
        """The origin is asked to end while it records, and viewers and a pull are there: it is gone in 5 s,
        what it has sent of the open segment is a whole segment at the edge and in the archive (F12)."""
        publisher = self.stage.publish(self.origin, STREAM)
        self.edge.wait_alive(STREAM)
        before = wait_segments(self.edge, STREAM, 2)
        newest = before.numbers[-1]
        wait_until(lambda: fetch(self.edge, STREAM).numbers[-1] > newest, 10.0, "a new segment")
        last = fetch(self.edge, STREAM).numbers[-1]
        viewers = [HttpStream(self.origin.http, f"/{STREAM}/mpegts") for _ in range(20)]
        stayed = HttpStream(self.edge.http, f"/{STREAM}/mpegts")
        stuck = socket.create_connection(("127.0.0.1", self.origin.http), 5)
        self.addCleanup(stuck.close)
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(f"GET /{STREAM}/mpegts HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with contextlib.ExitStack() as stack:
            for viewer in (*viewers, stayed):
                stack.callback(viewer.close)
            # Into the middle of a segment, so that there is something to finish.
            time.sleep(0.7)  # part of the fault: when it strikes
            began = time.monotonic()
            self.assertIn(self.origin.stop(6.0), (0, -signal.SIGTERM))
            self.assertLess(time.monotonic() - began, 5.0)
            for viewer in viewers:
                viewer.sock.settimeout(5)
                with contextlib.suppress(ConnectionError):
                    while viewer.read():
                        pass
            wait_until(
                lambda: fetch(self.edge, STREAM).numbers[-1] > last,
                5.0,
                "the segment that was open is closed",
            )
            self.check_archive(fetch(self.edge, STREAM).numbers[-1])
            publisher.stop()
            self.origin.up()
            self.stage.publish(self.origin, STREAM)
            wait_until(lambda: fetch(self.edge, STREAM).numbers[-1] > last + 1, 15.0, "the edge goes on")
            stayed.sock.settimeout(5)
            self.assertTrue(stayed.read(), "the edge's viewer stayed")
        check_reload(before, fetch(self.edge, STREAM))

    def check_archive(self, newest: int) -> None:
        """What the origin left behind is whole, indexed, and goes up to segment C{newest}."""
        out, err = io.StringIO(), io.StringIO()
        self.assertEqual(main(["dvr", "check", str(self.archive)], out, err), 0, out.getvalue())
        self.assertIn("right, 1 stream", out.getvalue())
        store = Store(str(self.archive))
        store.open()
        self.addCleanup(store.close)
        self.assertEqual(store.stream(STREAM).last_number, newest)
        store.close()

    def test_sigterm_while_starting(self) -> None:
        """Asked to end before it is up: it ends."""
        node = self.stage.prepare("early")
        for pause in (0.3, 0.6, 0.9):
            node.start()
            time.sleep(pause)  # the fault: when it strikes
            began = time.monotonic()
            node.stop(6.0)
            self.assertLess(time.monotonic() - began, 5.5)

    def test_asked_twice(self) -> None:
        """Who asks a node that is ending to end, ends it now, whatever goes on; nothing is said of faults."""
        node = self.stage.node("hurried", f"{LIVE}")
        self.stage.publish(node, STREAM)
        node.wait_alive(STREAM)
        stuck = socket.create_connection(("127.0.0.1", node.http), 5)
        self.addCleanup(stuck.close)
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(f"GET /{STREAM}/mpegts HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertTrue(stuck.recv(100))
        os.kill(node.pid, signal.SIGTERM)
        node.wait_log("stopping|shut", 3.0)
        os.kill(node.pid, signal.SIGINT)
        began = time.monotonic()
        node.wait_log("asked to end again", 3.0)
        node.stop(3.0)
        self.assertLess(time.monotonic() - began, 1.0 * stretch())


class Signals(StageCase):
    """Signals in numbers and at the wrong moment (F14), a loop that hangs (F15) or has too much to do (F19),
    a name that nobody knows (F20)."""

    expected_alarms = (
        *(r"\.conf:\d+:\d+", "reload failed", "more to do than can be done"),
        "of addresses .* in use: no new viewers",
    )
    node: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("node", f"{LIVE}\nsource no-such-host.invalid:8080 {{ cluster_key {KEY}; }}")
        cls.edge = stage.edge("edge", cls.node)
        stage.publish(cls.node, STREAM)
        cls.node.wait_alive(STREAM)

    def test_reload_storm(self) -> None:
        """Hundreds of SIGHUPs, with good and bad files in turn: few reloads, the last file is in force, and
        nobody notices."""
        since = len(self.node.log_text())
        body = self.node.body
        with Canary(self.node, STREAM, self.stage.folder):
            for turn in range(300):
                if turn % 50 == 0:
                    self.node.write_config(body + ("" if turn % 100 else "\nnonsense"))
                self.node.reload()
                time.sleep(0.005)  # the storm's pace
            self.node.write_config(f"{body}\ntemplate storm {{ prefix storm; input publish://; }}")
            self.node.reload()
            self.node.wait_log("templates added: 1", 30.0, since)
        text = self.node.log_text()[since:]
        self.assertLess(text.count("reloaded") + text.count("reload failed"), 60)

    def test_signals_while_starting(self) -> None:
        """SIGHUP at any moment from the beginning on: it comes up, and obeys once it is up."""
        node = self.stage.prepare("young")
        node.start()

        def minds() -> bool:
            """Whether the program does not die of it (any more)."""
            status = Path(f"/proc/{node.pid}/status").read_text()
            masks = re.findall(r"^Sig(?:Ign|Cgt):\t(\w+)$", status, re.MULTILINE)
            return any(int(mask, 16) & 1 << signal.SIGHUP - 1 for mask in masks)

        wait_until(minds, 15.0, "it minds SIGHUP")
        while "is up" not in node.log_text():
            node.reload()
            time.sleep(0.005)  # the storm's pace
        for _ in range(20):
            node.reload()
        node.wait_ready()
        node.wait_log("reloaded", 5.0)
        node.stop()

    def test_name_that_is_not_known(self) -> None:
        """A source whose name cannot be looked up is named in the log now and then; the rest works."""
        self.node.wait_log("no-such-host.invalid", 10.0)
        with Canary(self.node, STREAM, self.stage.folder):
            pass
        lines = [line for line in self.node.log_text().splitlines() if "no-such-host" in line]
        self.assertLess(len(lines), 40)

    def test_more_than_can_be_done(self) -> None:
        """The process hardly gets to run: who watches goes on, new viewers are told to come later, until it
        is over; publishers and other nodes are served meanwhile."""
        request = f"/{STREAM}/mpegts"
        since = len(self.node.log_text())
        with HttpStream(self.node.http, request) as viewer:
            try:
                for _ in range(5):
                    os.kill(self.node.pid, signal.SIGSTOP)
                    time.sleep(2.2)  # the fault: it does not run, three times or more for over a second
                    os.kill(self.node.pid, signal.SIGCONT)
                    time.sleep(0.2)  # the little that it gets to run
            finally:
                os.kill(self.node.pid, signal.SIGCONT)
            with HttpStream(self.node.http, request) as other:
                self.assertEqual(other.status, 503)
            self.others_are_served("live/late")
            with HttpStream(self.node.http, request) as other:
                self.assertEqual(other.status, 503, "it was over before the others had come")
            self.node.wait_log("more to do than can be done in time", 1.0, since)
            self.node.wait_log("there is room again", 10.0, since)
            with HttpStream(self.node.http, request) as other:
                self.assertEqual(other.status, 200)
            viewer.sock.settimeout(5)
            self.assertTrue(viewer.read())
        self.assertTrue(self.node.alive(STREAM))

    def others_are_served(self, name: str) -> None:
        """A new publisher may publish C{name}, and a viewer of the edge gets what it pulls for it now."""
        publisher = WireClient.connect(self.node.rtmp, "live")
        self.addCleanup(publisher.close)
        publisher.publish(name.rpartition("/")[2])
        with HttpStream(self.edge.http, f"/{STREAM}/mpegts") as viewer:
            self.assertEqual(viewer.status, 200)
            self.assertTrue(viewer.read())

    def test_addresses_run_out(self) -> None:
        """Near a limit of addresses new viewers are told to come later; who watches, publishers and other
        nodes go on; it is over when the limit is gone (F17)."""
        request = f"/{STREAM}/mpegts"
        since = len(self.node.log_text())
        found = re.search(r"^VmSize:\s+(\d+) kB", Path(f"/proc/{self.node.pid}/status").read_text(), re.M)
        assert found is not None
        before = resource.prlimit(self.node.pid, resource.RLIMIT_AS)
        with Canary(self.node, STREAM, self.stage.folder):
            resource.prlimit(self.node.pid, resource.RLIMIT_AS, (int(found[1]) * 1024 * 4 // 3, before[1]))
            try:
                self.node.wait_log("of addresses .* in use: no new viewers are taken", 5.0, since)
                with HttpStream(self.node.http, request) as other:
                    self.assertEqual(other.status, 503)
                self.others_are_served("live/narrow")
            finally:
                resource.prlimit(self.node.pid, resource.RLIMIT_AS, before)
            self.node.wait_log("there is room again", 5.0, since)
            with HttpStream(self.node.http, request) as other:
                self.assertEqual(other.status, 200)

    def test_service_manager(self) -> None:
        """It is told when connections are taken, that the loop lives, and nothing while that stands still."""
        path = self.stage.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(path))
            manager.settimeout(15)
            node = self.stage.prepare(
                "watched", environment={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "600000"}
            )
            began = time.monotonic()
            node.start()
            self.assertEqual(manager.recv(100), b"READY=1")
            self.assertEqual(node.get("/streamer/api/v3/monitoring/readiness").status, 200)
            self.assertLess(time.monotonic() - began, 10)
            manager.settimeout(1)
            for _ in range(5):
                self.assertEqual(manager.recv(100), b"WATCHDOG=1")
            os.kill(node.pid, signal.SIGSTOP)
            manager.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    manager.recv(100)
            manager.settimeout(1)
            with self.assertRaises(TimeoutError):
                manager.recv(100)
            os.kill(node.pid, signal.SIGCONT)
            self.assertEqual(manager.recv(100), b"WATCHDOG=1")
            node.stop()
            manager.settimeout(0)
            told = set()
            with contextlib.suppress(BlockingIOError):
                while True:
                    told.add(manager.recv(100))
            self.assertIn(b"STOPPING=1", told)


class BadFiles(StageCase):
    """Backups and file inputs that are no films, or not where they say (A13)."""

    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        remux(Sample(seconds=2, size="320x180", video_kbps=100), stage.folder / "secret.mp4")
        whole = (stage.folder / "secret.mp4").read_bytes()
        cls.names = ["none.mp4", "dir"]
        folder = stage.folder / "films"
        (folder / "dir").mkdir(parents=True)
        (folder / "link.mp4").symlink_to(stage.folder / "secret.mp4")
        (folder / "device.mp4").symlink_to("/dev/zero")
        os.mkfifo(folder / "fifo.mp4")
        moov = whole.index(b"moov") - 4
        (folder / "empty.mp4").write_bytes(b"")
        (folder / "huge.mp4").write_bytes(b"\0\0\0\1moov" + b"\xff" * 8 + whole)
        (folder / "zero.mp4").write_bytes(b"\0\0\0\x10moov\0\0\0\0trak")
        (folder / "torn.mp4").write_bytes(whole[: moov + 300])
        (folder / "text.mp4").write_bytes(b"hello, world" * 1000)
        (folder / "holes.mp4").write_bytes(whole[: moov + 200] + bytes(len(whole) - moov - 200))
        cls.names += sorted(path.name for path in folder.iterdir() if path.suffix == ".mp4")
        blocks = [f"vod films {{ storage {folder}; }}", LIVE]
        for number, name in enumerate(cls.names):
            blocks.append(f"stream backup{number} {{ input publish://; backup films/{name} timeout=1; }}")
            blocks.append(f"stream input{number} {{ input file://films/{name}; }}")
        cls.node = stage.node("node", "\n".join(blocks))
        stage.publish(cls.node, STREAM)
        cls.node.wait_alive(STREAM)

    names: ClassVar[list[str]]

    def test_others_play_on(self) -> None:
        """Each is refused with a reason; nothing else notices, nothing is left open."""
        with Canary(self.node, STREAM, self.stage.folder, least=4.0):
            for name in self.names:
                self.node.wait_log(f"films/{name}.*(?:cannot|no |not |:)", 6.0)
        streams = self.node.streams()
        playing = [name for name, stream in streams.items() if stream.get("stats", {}).get("alive")]
        self.assertEqual(playing, [STREAM])
        held = [os.readlink(f"/proc/{self.node.pid}/fd/{fd}") for fd in self.fds()]
        self.assertEqual([path for path in held if "films" in path or "secret" in path], [])

    def fds(self) -> list[str]:
        """Descriptors that are still there when they are looked at."""
        folder = Path(f"/proc/{self.node.pid}/fd")
        return [fd.name for fd in folder.iterdir() if fd.is_symlink()]


class Leaks(StageCase):
    """Connections of every kind, again and again: descriptors and memory stay as they were (F18)."""

    node: ClassVar[Node]
    https: ClassVar[int]
    authority: ClassVar[Authority]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.authority = Authority(stage.folder)
        files = cls.authority.issue("node", "localhost", "127.0.0.1")
        (cls.https,) = free_ports(1)
        cls.node = stage.node(
            "node",
            f"https 127.0.0.1:{cls.https};\nssl_certificate {files.certificate};\n"
            f"ssl_certificate_key {files.key};\n{LIVE}",
            loglevel="info",
        )
        stage.publish(cls.node, STREAM)
        cls.node.wait_alive(STREAM)
        wait_segments(cls.node, STREAM, 2)

    def all_kinds(self, cycles: int) -> None:
        """C{cycles} connections of each kind."""
        upgrade = b"GET /m4f HTTP/1.1\r\nHost: x\r\nUpgrade: m4f\r\nConnection: Upgrade\r\n\r\n"
        playlist = f"GET /{STREAM}/index.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        play = f"GET /{STREAM}/mpegts HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        context = ssl.create_default_context(cafile=self.authority.path)
        for _ in range(cycles):
            poke(self.node.http, b"")
            poke(self.node.http, play[:20])
            poke(self.node.http, playlist, read=True)
            poke(self.node.http, play, read=True)
            poke(self.node.http, upgrade, read=True)
            poke(self.node.http, upgrade + b"\x01\x00\x00\x00\x00\x25M4FL", read=True)
            poke(self.node.rtmp, rtmp_wire.hello()[:700])
            poke(self.node.rtmp, rtmp_wire.hello(), read=True)
            poke(self.https, b"")
            poke(self.https, b"\x16\x03\x01\x02\x00\x01\x00")
        for turn in range(cycles // 4):
            with (
                socket.create_connection(("127.0.0.1", self.https), 10) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secure,
            ):
                secure.sendall(play if turn % 2 else playlist)
                secure.recv(100)

    def test_connections(self) -> None:
        """Ten thousand of them, most of them given up midway."""
        self.all_kinds(CYCLES // 5)
        descriptors = self.settled()
        rss = self.node.rss()
        with Canary(self.node, STREAM, self.stage.folder, gap=1.5):
            self.all_kinds(CYCLES)
        wait_until(lambda: self.node.descriptors() <= descriptors + 3, 20.0, "the descriptors are free again")
        kept = self.node.rss() - rss
        self.assertLess(kept, KEPT, f"{kept / 1e6:.1f} MB stayed behind")
        wait_until(lambda: self.node.connected(STREAM) == 0, 10, "nobody is counted")

    def settled(self) -> int:
        """Descriptors when those of ended connections are gone."""
        seen: list[int] = []

        def steady() -> bool:
            seen.append(self.node.descriptors())
            return len(seen) > 30 and max(seen[-25:]) == min(seen[-25:])

        wait_until(steady, 25.0, "the number of descriptors is steady")
        return seen[-1]
