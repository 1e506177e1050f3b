"""Who may watch: a backend's answers on every protocol, limits over a cluster, a backend that is away."""

from __future__ import annotations

import subprocess
import time
from base64 import b64encode
from typing import Any, ClassVar

from typing_extensions import override

from test.e2e.auth_backend import AuthBackend, allow
from test.e2e.nodes import KEY, Node, free_ports, get, wait_until
from test.e2e.players import HttpStream, decode
from test.e2e.samples import FFMPEG
from test.e2e.shared import Stage, StageCase

STREAM = "live/show"
PASSWORD = "change-it-now"
EDITOR = {"Authorization": "Basic " + b64encode(f"admin:{PASSWORD}".encode()).decode()}
#: What no log may have.
SECRET = "kept-to-ourselves"


class AuthCase(StageCase):
    """An origin that takes a publisher, and two edges; all of them ask the same backend about viewers."""

    origin: ClassVar[Node]
    edges: ClassVar[list[Node]]
    rtsp: ClassVar[dict[str, int]]
    backend: ClassVar[AuthBackend]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        backend = cls.backend = AuthBackend()
        stage.stack.callback(backend.close)
        cls.rtsp = {}
        rules = f"on_play {backend.url};"

        def common(name: str) -> str:
            (cls.rtsp[name],) = free_ports(1)
            return f"rtsp 127.0.0.1:{cls.rtsp[name]};\nedit_auth admin {PASSWORD};\n"

        body = (
            "template live { prefix live; input publish://; segment_duration 2; chunk_duration 200; "
            f"on_publish {backend.url}; {rules} }}"
        )
        cls.origin = stage.node("origin", common("origin") + body)
        cls.edges = []
        for name in ("one", "two"):
            source = f"source 127.0.0.1:{cls.origin.http} {{ cluster_key {KEY}; {rules} }}"
            cls.edges.append(stage.node(name, common(name) + source))
        backend.script("publisher", allow())
        stage.publish(cls.origin, f"{STREAM}?token=publisher")
        for edge in cls.edges:
            edge.wait_alive(STREAM, 20.0)
        wait_until(lambda: cls.page(cls.edges[0], "index.m3u8", cls.fresh("200")) == 200, 20.0, "segments")

    count: ClassVar[int] = 0

    @classmethod
    def fresh(cls, answer: str) -> str:
        """A token that nobody had before, of which the backend says C{answer}."""
        cls.count += 1
        return f"{answer}-{SECRET}{cls.count}"

    @staticmethod
    def page(node: Node, file: str, token: str = "") -> int:
        """Status of a file of the stream."""
        query = f"?token={token}" if token else ""
        return get(node.http, f"/{STREAM}/{file}{query}", timeout=15.0).status

    def sessions(self, node: Node, query: str = "") -> list[dict[str, Any]]:
        """The sessions that C{node} lists."""
        answer = get(node.http, f"/streamer/api/v3/sessions{query}", headers=EDITOR)
        self.assertEqual(answer.status, 200, answer.body)
        return list(answer.json()["sessions"])

    def recovered(self, node: Node) -> None:
        """Wait until C{node} asks the backend again: after so many that got no answer it is left alone for a
        moment.
        """
        wait_until(
            lambda: self.page(node, "index.m3u8", self.fresh("200")) == 200, 15.0, "the backend is asked"
        )

    def plays(self, url: str, *extra: str) -> bool:
        """Whether ffmpeg gets pictures of C{url}."""
        return decode(url, 0.4, extra=extra).frames > 0


class Backends(AuthCase):
    """What comes of a backend's answers."""

    def test_every_protocol(self) -> None:
        """Granted by 200, refused in its own words by everything else; the backend is asked once."""
        edge = self.edges[0]
        files = ("index.m3u8", "index.ll.m3u8", "index.mpd")
        for answer in ("200", "403", "404", "500", "garbage", "close"):
            wanted = 200 if answer == "200" else 403
            for file in files:
                with self.subTest((answer, file)):
                    token = self.fresh(answer)
                    self.assertEqual(self.page(edge, file, token), wanted)
                    self.assertEqual(self.page(edge, file, token), wanted)
                    self.assertEqual(len(self.backend.of(token)), 1)
            for file in ("mpegts", "live.flv"):
                with (
                    self.subTest((answer, file)),
                    HttpStream(edge.http, f"/{STREAM}/{file}?token={self.fresh(answer)}") as stream,
                ):
                    self.assertEqual(stream.status, wanted)
        self.recovered(edge)
        for answer in ("200", "403"):
            granted = answer == "200"
            rtmp = f"rtmp://127.0.0.1:{edge.rtmp}/{STREAM}?token={self.fresh(answer)}"
            rtsp = f"rtsp://127.0.0.1:{self.rtsp['one']}/{STREAM}?token={self.fresh(answer)}"
            self.assertEqual(self.plays(rtmp), granted, answer)
            self.assertEqual(self.plays(rtsp, "-rtsp_transport", "tcp"), granted, answer)
        self.assertEqual(self.page(edge, "index.m3u8"), 403)

    def test_sent_elsewhere(self) -> None:
        answer = get(self.edges[0].http, f"/{STREAM}/index.m3u8?token={self.fresh('302')}")
        self.assertEqual((answer.status, answer.headers["location"][:17]), (302, "http://127.0.0.1:"))

    def test_nobody_else_gets_segments(self) -> None:
        """The token stands in the playlist; without it, or with another, its segments are not given."""
        token = self.fresh("200")
        text = get(self.edges[0].http, f"/{STREAM}/index.m3u8?token={token}").body.decode()
        (*_, segment) = [line for line in text.splitlines() if line and not line.startswith("#")]
        self.assertIn(f"?token={token}", segment)
        path = f"/{STREAM}/{segment}"
        self.assertEqual(get(self.edges[0].http, path).status, 200)
        self.assertEqual(get(self.edges[0].http, path.partition("?")[0]).status, 403)
        self.assertEqual(get(self.edges[0].http, path.replace(token, "other")).status, 403)
        self.assertEqual(get(self.edges[1].http, path).status, 403)

    def test_the_backend_is_away(self) -> None:
        """Who watches goes on watching, who is new is refused; when it is back they are let in."""
        token = self.fresh("short")
        self.backend.script(token, allow(X_AuthDuration=1))
        with HttpStream(self.edges[1].http, f"/{STREAM}/mpegts?token={token}") as stream:
            self.assertEqual(stream.status, 200)
            self.backend.refuse()
            self.addCleanup(self.backend.start)
            self.assertGreater(len(stream.read_for(1.8)), 50_000)
            self.assertEqual(self.page(self.edges[1], "index.m3u8", self.fresh("200")), 403)
            self.backend.start()
            self.doCleanups()
            self.assertGreater(len(stream.read_for(1.0)), 20_000)
        self.recovered(self.edges[1])

    def test_revoked(self) -> None:
        """A permission that is not renewed ends a connection that goes on."""
        token = self.fresh("200")
        self.backend.script(token, allow(X_AuthDuration=1))
        with HttpStream(self.edges[0].http, f"/{STREAM}/mpegts?token={token}") as stream:
            self.backend.script(token, self.backend.default)
            until = time.monotonic() + 6.0
            while stream.read():
                self.assertLess(time.monotonic(), until, "it goes on")

    def test_publishers(self) -> None:
        """The backend decides about them, too."""
        for answer, granted in (("200", True), ("403", False), ("500", False)):
            url = self.origin.url(f"live/other{answer}?token={self.fresh(answer)}", "rtmp")
            command = [FFMPEG or "ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "sine=r=48000"]
            done = subprocess.run([*command, "-c:a", "aac", "-t", "1", "-f", "flv", url], capture_output=True)
            self.assertEqual(done.returncode == 0, granted, (answer, done.stderr))


class Cluster(AuthCase):
    """One user on three nodes."""

    def test_two_of_a_user(self) -> None:
        """With X-Max-Sessions: 2 the third is refused wherever it comes, and let in when one has left."""
        tokens = [self.fresh("user") for _ in range(6)]
        for token in tokens:
            self.backend.script(token, allow(X_UserId="bob", X_Max_Sessions=2))
        self.assertEqual(self.page(self.edges[0], "index.m3u8", tokens[0]), 200)
        url = self.edges[1].url(f"{STREAM}?token={tokens[1]}", "rtmp")
        player = subprocess.Popen(
            [FFMPEG or "ffmpeg", "-v", "error", "-i", url, "-f", "null", "-"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(player.wait)
        self.addCleanup(player.kill)

        def of_bob() -> int:
            found = self.sessions(self.origin, "?scope=cluster&user_id=bob")
            return sum(each["kind"] == "play" for each in found)

        wait_until(lambda: of_bob() == 2, 10.0, "the origin knows both")
        rtsp = f"rtsp://127.0.0.1:{self.rtsp['origin']}/{STREAM}?token={tokens[2]}"
        self.assertFalse(self.plays(rtsp, "-rtsp_transport", "tcp"))
        self.assertEqual(self.page(self.edges[0], "index.m3u8", tokens[3]), 403)
        self.assertEqual(self.page(self.edges[1], "index.mpd", tokens[4]), 403)
        player.kill()
        player.wait()
        wait_until(lambda: of_bob() == 1, 10.0, "the origin knows that it left")
        self.assertEqual(self.page(self.origin, "index.m3u8", tokens[5]), 200)

    def test_kicked_from_above(self) -> None:
        """The origin sends a viewer of an edge away."""
        token = self.fresh("200")
        with HttpStream(self.edges[0].http, f"/{STREAM}/mpegts?token={token}") as stream:
            found: list[dict[str, Any]] = []

            def known() -> bool:
                found[:] = self.sessions(self.origin, "?scope=cluster&proto=tshttp")
                return len(found) == 1

            wait_until(known, 10.0, "the origin knows it")
            path = f"/streamer/api/v3/sessions/{found[0]['id']}"
            self.assertEqual(get(self.origin.http, path, method="DELETE").status, 401)
            self.assertEqual(get(self.origin.http, path, method="DELETE", headers=EDITOR).status, 204)
            until = time.monotonic() + 5.0
            while stream.read():
                self.assertLess(time.monotonic(), until, "it goes on")
        self.assertEqual(self.page(self.edges[0], "mpegts", token), 403)

    def test_no_secret_is_told(self) -> None:
        """Neither a log nor the API has a token (A06)."""
        self.page(self.edges[0], "index.m3u8", self.fresh("200"))
        self.page(self.edges[0], "index.m3u8", self.fresh("403"))
        told = str(self.sessions(self.edges[0]))
        self.assertNotIn(SECRET, told)
        for node in self.stage.nodes:
            text = node.log_text()
            for secret in (SECRET, PASSWORD, "token=publisher"):
                self.assertNotIn(secret, text, node.name)
