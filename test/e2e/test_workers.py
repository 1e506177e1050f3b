"""A node of several processes: one to whoever uses it, whichever process serves."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from base64 import b64encode
from typing import Any, ClassVar

from typing_extensions import override

from test.e2e.auth_backend import AuthBackend, allow
from test.e2e.nodes import Node, free_ports, get, wait_until
from test.e2e.players import HttpStream, decode
from test.e2e.publishers import Publisher
from test.e2e.samples import FFMPEG
from test.e2e.shared import Stage, StageCase

STREAM = "live/crowd"
PASSWORD = "change-it-now"
CODED = "-c:v libx264 -preset ultrafast"
EDITOR = {"Authorization": "Basic " + b64encode(f"admin:{PASSWORD}".encode()).decode()}


class WorkersCase(StageCase):
    """A node of two workers, and an edge that pulls from it."""

    node: ClassVar[Node]
    edge: ClassVar[Node]
    backend: ClassVar[AuthBackend]
    publisher: ClassVar[Publisher]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        backend = cls.backend = AuthBackend()
        stage.stack.callback(backend.close)
        cls.node = stage.node(
            "crew",
            f"workers 2; edit_auth admin {PASSWORD};\n"
            "template live { prefix live; input publish://; segment_duration 1; }\n"
            "template asked { prefix asked; input publish://; segment_duration 1; "
            f"on_play {backend.url}; }}",
        )
        cls.edge = stage.edge("edge", cls.node)
        cls.publisher = stage.publish(cls.node, STREAM)
        cls.edge.wait_alive(STREAM, 20.0)
        wait_until(
            lambda: get(cls.node.http, f"/{STREAM}/index.m3u8").body.count(b"#EXTINF") >= 2, 20.0, "segments"
        )

    @classmethod
    def workers(cls) -> dict[int, int]:
        """Processes that are up by the number of the worker."""
        found = re.findall(r"worker (\d+) is up, process (\d+)", cls.node.log_text())
        return {int(place): int(pid) for place, pid in found}

    def sessions(self, query: str = "") -> list[dict[str, Any]]:
        """The sessions of the node."""
        answer = self.node.get(f"/streamer/api/v3/sessions{query}", headers=EDITOR)
        self.assertEqual(answer.status, 200, answer.body)
        return list(answer.json()["sessions"])


class Serving(WorkersCase):
    """Both workers serve the same, and are one node."""

    def test_spread(self) -> None:
        """Connections go to both workers, and get the same bytes."""
        path = f"/{STREAM}/index.m3u8"
        playlist = self.node.get(path).body.decode()
        (segment, *_) = [line for line in playlist.splitlines() if line and not line.startswith("#")]
        bodies = {self.node.get(f"/{STREAM}/{segment}").body for _ in range(12)}
        self.assertEqual(len(bodies), 1)
        self.assertEqual(bodies, {self.edge.get(f"/{STREAM}/{segment}").body})
        text = self.node.log_text()
        for place in (1, 2):
            self.assertRegex(text, f"worker {place}: stream {STREAM} runs")

    def test_protocols_and_sessions(self) -> None:
        """Viewers of each protocol play; each is one session of the node, in one list."""
        self.assertGreater(decode(self.node.url(STREAM, "rtmp"), 0.4).frames, 0)
        self.assertGreater(decode(self.node.url(STREAM, "hls"), 0.4).frames, 0)
        streams = [HttpStream(self.node.http, f"/{STREAM}/mpegts?token=t{each}") for each in range(6)]
        try:
            for stream in streams:
                self.assertEqual(stream.status, 200)
            ids = wait_until(lambda: self.of_proto("tshttp", 6), 5.0, "six sessions")
            self.assertEqual(self.node.connected(STREAM) >= 0, True)
            (first, *_) = ids
            answer = self.node.get(f"/streamer/api/v3/sessions/{first}", headers=EDITOR, method="DELETE")
            self.assertEqual(answer.status, 204, answer.body)
            wait_until(lambda: self.of_proto("tshttp", 5), 5.0, "one was sent away")
        finally:
            for stream in streams:
                stream.close()
        wait_until(lambda: not self.of_proto("tshttp", 1), 5.0, "they left")

    def of_proto(self, proto: str, count: int) -> list[str]:
        """Ids of the sessions of a protocol, if there are C{count}."""
        found = [each["id"] for each in self.sessions() if each["proto"] == proto and each["name"] == STREAM]
        return found if len(found) == count else []

    def test_one_publisher(self) -> None:
        """A second publisher of a name is refused, whichever worker it lands on."""
        for _ in range(4):
            command = f"-v error -nostdin -re -f lavfi -i testsrc2=r=5 {CODED} -t 3 -f flv".split()
            url = self.node.url(STREAM, "rtmp")
            refused = subprocess.run([FFMPEG or "ffmpeg", *command, url], capture_output=True, timeout=20)
            self.assertNotEqual(refused.returncode, 0)
        self.assertTrue(self.node.alive(STREAM))

    def test_limits_hold_for_both(self) -> None:
        """The backend is asked once a viewer; who may watch twice may not watch three times."""
        name = "asked/show"
        publisher = self.stage.publish(self.node, name)
        self.addCleanup(publisher.stop)
        self.node.wait_alive(name)
        self.backend.script("user", allow(X_UserId="u", X_Max_Sessions="2"))
        with (
            HttpStream(self.node.http, f"/{name}/mpegts?token=user") as one,
            HttpStream(self.node.http, f"/{name}/live.flv?token=user") as two,
        ):
            self.assertEqual((one.status, two.status), (200, 200))
            for _ in range(4):
                self.assertEqual(self.node.get(f"/{name}/index.m3u8?token=user").status, 403)
        self.backend.script("viewer", allow())
        wait_until(
            lambda: self.node.get(f"/{name}/index.m3u8?token=viewer").body.count(b"#EXTINF") >= 1,
            20.0,
            "segments",
        )
        text = self.node.get(f"/{name}/index.m3u8?token=viewer").body.decode()
        (segment, *_) = [line for line in text.splitlines() if line and not line.startswith("#")]
        self.assertIn("?token=viewer", segment)
        for _ in range(8):
            self.assertEqual(self.node.get(f"/{name}/{segment}").status, 200)
            self.assertEqual(self.node.get(f"/{name}/{segment.partition('?')[0]}").status, 403)
        self.assertEqual(len(self.backend.of("viewer")), 1)

    def test_kept_connection_goes_on_to_the_api(self) -> None:
        """A connection that played before is passed on with what was read of it."""
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", self.node.http), 5.0) as wire:
                wire.sendall(
                    f"GET /{STREAM}/index.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n"
                    "GET /streamer/api/v3/monitoring/liveness HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                )
                wire.settimeout(5.0)
                told = b""
                while chunk := wire.recv(65536):
                    told += chunk
            self.assertEqual(told.count(b"HTTP/1.1 200 OK"), 2, told[-500:])


class Deaths(WorkersCase):
    """A worker dies, hangs, or the whole node is reloaded."""

    expected_alarms = (r"worker \d died",)

    def test_killed(self) -> None:
        """Another takes its place; the stream goes on, and no connection is refused meanwhile."""
        published = re.findall(rf"worker (\d): RTMP .* publish of {STREAM} granted", self.node.log_text())
        victim = 3 - int(published[-1])
        before = self.workers()
        os.kill(before[victim], signal.SIGKILL)
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            self.assertEqual(self.node.get(f"/{STREAM}/index.m3u8", timeout=10.0).status, 200)
        wait_until(lambda: self.workers()[victim] != before[victim], 10.0, "another worker")

    def test_publisher_comes_back(self) -> None:
        """The worker of the publisher dies: it publishes again, and the stream goes on."""
        published = re.findall(rf"worker (\d): RTMP .* publish of {STREAM} granted", self.node.log_text())
        os.kill(self.workers()[int(published[-1])], signal.SIGKILL)
        self.publisher.stop()
        type(self).publisher = self.stage.publish(self.node, STREAM)
        with HttpStream(self.edge.http, f"/{STREAM}/mpegts") as stream:
            self.assertEqual(stream.status, 200)

    def test_reload(self) -> None:
        """A listener that is new is listened on by all; a publisher who is no longer wanted is sent away."""
        since = len(self.node.log_text())
        body = self.node.body
        self.addCleanup(self.node.write_config, body)
        (port,) = free_ports(1)
        self.node.write_config(f"http 127.0.0.1:{port};\n" + body)
        self.node.reload()
        self.node.wait_log("reloaded", 10.0, since)
        for _ in range(6):
            status = wait_until(lambda: get(port, f"/{STREAM}/index.m3u8", timeout=5.0).status, 5.0, "answer")
            self.assertEqual(status, 200)


class Ends(StageCase):
    """The main process dies."""

    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("main", "workers 2;")

    def test_nobody_is_left(self) -> None:
        """Its workers end with it, and the ports are free for the next."""
        told = self.node.get("/streamer/api/v3/config/stats").json()["workers"]
        self.assertEqual(
            [(each["place"], each["ready"], each["starts"]) for each in told], [(1, True, 1), (2, True, 1)]
        )
        pids = [each["pid"] for each in told]
        self.node.kill()
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 10.0, "the workers end")
        self.node.start()
        self.node.wait_ready()


class Absent(StageCase):
    """What a worker has not got, and the node has."""

    node: ClassVar[Node]
    peer: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        template = "template %s { prefix %s; input publish://; segment_duration 1; source_timeout 30; }\n"
        cls.peer = stage.node("peer", template % ("there", "there"))
        here = f"127.0.0.1:{cls.peer.http}"
        cls.node = stage.node(
            "crew", f"workers 2; {template % ('here', 'here')} peer {here}; balancer lb {{ peer {here}; }}"
        )

    def test_away(self) -> None:
        """A publisher is away for a moment: whichever worker is asked, the playlist is there. A stream of a
        peer is redirected to, and so are requests of a balancer.
        """
        name = "here/one"
        away, there = self.stage.publish(self.node, name), self.stage.publish(self.peer, "there/other")
        self.addCleanup(there.stop)
        # Asked for by nobody: one of the workers has it not.
        made = re.compile(rf'segments_total{{name="{name}"}} [2-9]')
        wait_until(lambda: made.search(self.node.get("/metrics").body.decode()), 20.0, "segments")
        away.kill()
        self.node.wait_log(f"stream {name} has lost its input", 10.0)
        self.peer.wait_alive("there/other")
        path = "/there/other/index.m3u8"
        wait_until(lambda: self.node.get(path).status == 302, 10.0, "the peer is known")
        for _ in range(6):
            self.assertEqual(self.node.get(f"/{name}/index.m3u8").status, 200)
            for asked in (path, f"/lb{path}"):
                answer = self.node.get(asked)
                self.assertEqual(answer.status, 302)
                # Nobody stays with the main process.
                self.assertEqual(answer.headers["connection"], "close")
                self.assertIn(f":{self.peer.http}{path}", answer.headers["location"])
            self.assertEqual(self.node.get("/here/nobody/index.m3u8").status, 404)
