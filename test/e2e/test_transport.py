"""Transport between real programs: TLS with a CA of our own, IPv6, peers, the balancer, pushing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.certificates import Authority
from test.e2e.browser import CELLS, Browser
from test.e2e.nodes import Node, free_ports, get, wait_until
from test.e2e.players import HttpStream, assert_unbroken, probe_packets
from test.e2e.playlists import fetch, wait_segments
from test.e2e.publishers import Publisher
from test.e2e.samples import FFMPEG
from test.e2e.shared import LIVE, Stage, StageCase

STREAM = "live/one"
CURL = shutil.which("curl")
RTMPDUMP = shutil.which("rtmpdump")


def curl(*arguments: str) -> str:
    """What curl prints."""
    if CURL is None:
        raise SkipTest("curl is not installed")
    done = subprocess.run(
        [CURL, "--silent", "--show-error", "--max-time", "10", *arguments], capture_output=True, timeout=20
    )
    return (done.stdout + done.stderr).decode(errors="replace")


class Tls(StageCase):
    """An origin on HTTPS and IPv6, an edge that takes from it over both, one that trusts somebody else."""

    a: ClassVar[Node]
    edge: ClassVar[Node]
    stranger: ClassVar[Node]
    https: ClassVar[int]
    authority: ClassVar[Authority]
    publisher: ClassVar[Publisher]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        if not socket.has_ipv6:
            raise SkipTest("no IPv6 here")
        cls.authority = authority = Authority(stage.folder)
        other = Authority(stage.folder, "other-ca")
        files = authority.issue("node", "localhost", "127.0.0.1", "::1")
        cls.https, six = free_ports(2)
        cls.a = stage.node(
            "a",
            f"https 127.0.0.1:{cls.https};\nhttps 127.0.0.2:{cls.https};\nhttps [::1]:{cls.https};\n"
            f"http [::1]:{six};\n"
            f"ssl_certificate {files.certificate};\nssl_certificate_key {files.key};\n{LIVE}",
        )
        cls.publisher = stage.publish(cls.a, STREAM)
        cls.edge = stage.node(
            "edge",
            f"ssl_ca {authority.path};\nsource m4fs://[::1]:{cls.https} {{ segment_count 6; }}\n"
            f"source m4fs://127.0.0.2:{cls.https} {{ }}\n"
            f"stream six {{ input m4f://[::1]:{six}/{STREAM}; segment_duration 2; }}",
        )
        cls.stranger = stage.node(
            "stranger", f"ssl_ca {other.path};\nsource m4fs://localhost:{cls.https} {{ }}"
        )
        cls.edge.wait_alive(STREAM)

    def test_same_segments(self) -> None:
        """What came over TLS and IPv6 is what the origin has, byte by byte."""
        wait_segments(self.edge, STREAM, 2)
        mine, theirs = fetch(self.edge, STREAM), fetch(self.a, STREAM)
        common = [entry.uri for entry in mine.segments if entry.uri in {e.uri for e in theirs.segments}]
        self.assertGreaterEqual(len(common), 2)
        for uri in common:
            here, there = (node.get(f"/{STREAM}/{uri}") for node in (self.edge, self.a))
            self.assertEqual((here.status, there.status), (200, 200))
            self.assertEqual(here.body, there.body)

    def test_over_ipv6_without_tls(self) -> None:
        self.edge.wait_alive("six")
        self.assertEqual(get_six(self.a, f"/{STREAM}/index.m3u8")[:12], b"HTTP/1.1 200")

    def test_who_is_not_believed(self) -> None:
        """The log says why there is no link: another host name, a CA that is not trusted."""
        line = self.edge.wait_log(r"no control link to 127\.0\.0\.2")
        self.assertIn("certificate is not for this host name", line)
        line = self.stranger.wait_log("no control link to localhost")
        self.assertIn("not signed by a CA that is trusted here", line)
        self.assertEqual(self.stranger.streams(), {})

    def test_viewers(self) -> None:
        """Playlist, segments and endless MPEG-TS over HTTPS, as curl and ffmpeg see them."""
        wait_segments(self.a, STREAM, 2)
        base = f"https://localhost:{self.https}/{STREAM}"
        self.assertIn("#EXTINF", curl("--cacert", self.authority.path, f"{base}/index.m3u8"))
        self.assertIn("certificate", curl(f"{base}/index.m3u8"))
        self.assertIn("TLSv1", curl("--cacert", self.authority.path, "-v", f"{base}/index.m3u8"))
        self.assertNotIn("#EXTINF", curl("--insecure", "--tls-max", "1.1", f"{base}/index.m3u8"))
        command = [FFMPEG or "ffmpeg", "-v", "error", "-nostdin", "-y", "-tls_verify", "1"]
        command += ["-ca_file", self.authority.path, "-i", f"{base}/mpegts", "-t", "3", "-c", "copy"]
        path = self.stage.folder / "tls.ts"
        done = subprocess.run([*command, str(path)], capture_output=True, timeout=30)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        assert_unbroken(probe_packets(str(path)))

    def test_a_viewer_that_does_not_read(self) -> None:
        """It costs no memory and is dropped; the node and its other viewers go on (H06)."""
        context = ssl.create_default_context(cafile=self.authority.path)
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.connect(("127.0.0.1", self.https))
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(f"GET /{STREAM}/mpegts HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                self.assertTrue(secure.recv(100).startswith(b"HTTP/1.1 200"))
                self.assertEqual(self.viewers(), 1)
                wait_until(lambda: not self.viewers(), 25.0, "the viewer is dropped")

    def viewers(self) -> int:
        """Viewers of endless answers on the origin."""
        return int(self.a.streams()[STREAM]["stats"]["online_clients"])

    def test_reload_of_the_certificate(self) -> None:
        """SIGHUP takes the new certificate, without a break; a bad one leaves the old in force (H18)."""
        before = ssl.get_server_certificate(("127.0.0.1", self.https))
        with HttpStream(self.a.http, f"/{STREAM}/mpegts") as viewer:
            self.authority.issue("node", "localhost", "127.0.0.1", "::1")
            since = len(self.a.log_text())
            self.a.reload()
            self.a.wait_log("reloaded", since=since)
            after = ssl.get_server_certificate(("127.0.0.1", self.https))
            self.assertNotEqual(before, after)
            (self.stage.folder / "node.key").write_text("no key")
            since = len(self.a.log_text())
            self.a.reload()
            line = self.a.wait_log("reload failed", since=since)
            self.assertIn("node.key", line)
            self.a.alarms()
            self.assertEqual(ssl.get_server_certificate(("127.0.0.1", self.https)), after)
            self.assertTrue(viewer.read_for(1.0))
            self.authority.issue("node", "localhost", "127.0.0.1", "::1")


def get_six(node: Node, path: str) -> bytes:
    """An answer over IPv6."""
    port = int(re.findall(r"http \[::1\]:(\d+)", node.body)[0])
    with socket.create_connection(("::1", port), 5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return connection.makefile("rb").read()


class PeersAndPushes(StageCase):
    """Two nodes that are each other's peers; one balances over both and pushes into the other."""

    a: ClassVar[Node]
    b: ClassVar[Node]
    rtsp: ClassVar[list[int]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.a = a = stage.prepare("a")
        cls.b = b = stage.prepare("b")
        cls.rtsp = free_ports(2)
        a.write_config(f"{LIVE}\nrtsp 127.0.0.1:{cls.rtsp[0]};\npeer 127.0.0.1:{b.http};")
        b.write_config(
            f"{LIVE}\nrtsp 127.0.0.1:{cls.rtsp[1]};\n"
            f"peer 127.0.0.1:{a.http} {{ public localhost:{a.http}; }}\n"
            f"balancer lb {{ mode streams; peer 127.0.0.1:{a.http}; }}\n"
            f"template up {{ prefix up; input publish://; segment_duration 2;\n"
            f"  push m4f://127.0.0.1:{a.http}/live/%s; }}\n"
        )
        a.up()
        b.up()
        stage.publish(a, STREAM)
        a.wait_alive(STREAM)
        wait_segments(a, STREAM, 1)
        wait_until(lambda: b.get(f"/{STREAM}/index.m3u8").status == 302, 20.0, "b knows what a has")

    def test_http(self) -> None:
        """HLS and MPEG-TS are redirected to the peer's public name with the query; players follow."""
        answer = self.b.get(f"/{STREAM}/index.m3u8?token=t")
        self.assertEqual(answer.status, 302)
        there = f"http://localhost:{self.a.http}/{STREAM}/index.m3u8?token=t&redirected=1"
        self.assertEqual(answer.headers["location"], there)
        self.assertIn("#EXTINF", curl("--location", self.b.url(STREAM, "hls")))
        for file in ("index.mpd", "live.flv", "index.ll.m3u8"):
            answer = self.b.get(f"/{STREAM}/{file}")
            self.assertEqual(answer.status, 302, file)
            there = f"http://localhost:{self.a.http}/{STREAM}/{file}?redirected=1"
            self.assertEqual(answer.headers["location"], there)
        urls = [self.b.url(STREAM, "hls"), self.b.url(STREAM, "tshttp")]
        urls.append(f"http://127.0.0.1:{self.b.http}/{STREAM}/live.flv")
        for url in urls:
            packets = probe_packets(url, 2.0)
            self.assertGreater(len(packets), 50, url)
        self.assertEqual(self.b.get("/live/nobody/index.m3u8").status, 404)

    def test_rtsp(self) -> None:
        """The answer to DESCRIBE is where to go, and ffmpeg goes there."""
        url = f"rtsp://127.0.0.1:{self.rtsp[1]}/{STREAM}"
        with socket.create_connection(("127.0.0.1", self.rtsp[1]), 5) as connection:
            connection.sendall(f"DESCRIBE {url}?token=t RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
            answer = connection.recv(4096).decode()
        self.assertTrue(answer.startswith("RTSP/1.0 302 "), answer)
        there = f"rtsp://localhost:{self.rtsp[0]}/{STREAM}?token=t&redirected=1"
        self.assertIn(f"\r\nLocation: {there}\r\n", answer)
        self.assertGreater(len(probe_packets(url, 2.0)), 50)

    def test_rtmp(self) -> None:
        """There is no standard for it: rtmpdump and ffmpeg say where, and end at once."""
        url = self.b.url(STREAM, "rtmp")
        there = f"rtmp://localhost:{self.a.rtmp}/{STREAM}"
        command = [FFMPEG or "ffmpeg", "-v", "error", "-nostdin", "-i", url, "-f", "null", "-"]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, timeout=20)
        self.assertIn(there, done.stderr.decode())
        self.b.wait_log(f"refused: .*another node has this stream .{re.escape(there)[: -len(STREAM) - 1]}")
        self.assertLess(time.monotonic() - began, 5)
        if RTMPDUMP is not None:
            command = [RTMPDUMP, "--live", "--debug", "-r", url, "-o", os.devnull]
            done = subprocess.run(command, capture_output=True, timeout=20)
            said = done.stderr.decode(errors="replace")
            self.assertIn("NetConnection.Connect.Rejected", said)
            self.assertIn(there.rpartition("/")[0], said)
        self.assertGreater(len(probe_packets(there, 1.0)), 20)

    def test_no_circle(self) -> None:
        """What was redirected once is not redirected again, whatever a node believes."""
        self.assertEqual(self.b.get(f"/{STREAM}/index.m3u8?redirected=1").status, 404)

    def test_balancer(self) -> None:
        peers = "/streamer/api/v3/cluster/peers"

        def sent() -> int:
            (peer,) = self.b.get(peers).json()["peers"]
            return int(peer["stats"]["redirected_clients"])

        before = sent()
        answer = self.b.get(f"/lb/{STREAM}/index.m3u8?token=t")
        self.assertEqual(sent(), before + 1)
        (told,) = self.b.get("/streamer/api/v3/cluster/balancers").json()["balancers"]
        address = f"127.0.0.1:{self.a.http}"
        self.assertEqual(
            told, {"name": "lb", "mode": "streams", "peers": [{"peer": address, "connected": True}]}
        )
        peer = self.b.get(f"{peers}/{address}").json()
        self.assertEqual(
            (peer["public"], peer["stats"]["connected"]), (f"http://localhost:{self.a.http}", True)
        )
        self.assertEqual(answer.status, 302)
        self.assertEqual(
            answer.headers["location"], f"http://localhost:{self.a.http}/{STREAM}/index.m3u8?token=t"
        )
        self.assertIn("#EXTINF", curl("--location", f"http://127.0.0.1:{self.b.http}/lb/{STREAM}/index.m3u8"))

    def test_push(self) -> None:
        """A stream of b is published on a, plays there, and is gone there when its publisher leaves."""
        publisher = self.stage.publish(self.b, "up/x")
        self.a.wait_alive("live/up/x")
        self.a.wait_log("push of live/up/x from node [0-9a-f]+ taken")
        told = self.b.streams()["up/x"]["stats"]["pushes"]
        self.assertEqual([each["url"] for each in told], [f"m4f://127.0.0.1:{self.a.http}/live/up/x"])
        self.assertEqual((told[0]["stats"]["status"], told[0]["stats"]["connected"]), ("running", True))
        self.assertGreater(told[0]["stats"]["bytes"], 0)
        pusher = self.a.streams()["live/up/x"]["stats"]["pushed_from"]
        self.assertEqual((pusher["address"], pusher["name"]), ("127.0.0.1", "up/x"))
        self.assertEqual(pusher["server_id"], self.b.get("/streamer/api/v3/config/stats").json()["id"])
        self.status_page()
        wait_segments(self.a, "live/up/x", 2)
        mine, theirs = fetch(self.a, "live/up/x"), fetch(self.b, "up/x")
        common = [entry.uri for entry in mine.segments if entry.uri in {e.uri for e in theirs.segments}]
        self.assertTrue(common)
        self.assertEqual(
            [entry for entry in mine.segments if entry.uri in common],
            [entry for entry in theirs.segments if entry.uri in common],
        )
        # The name is a publisher's on a: nobody else may publish it.
        second = Publisher(self.a.url("live/up/x", "rtmp"))
        with second:
            code, _ = second.ended(10.0)
        self.assertNotEqual(code, 0)
        publisher.stop()
        wait_until(lambda: not self.a.alive("live/up/x"), 10.0, "the pushed stream ends")
        with Publisher(self.a.url("live/up/x", "rtmp")) as own:
            # Its claim was given back (after a moment in which the publisher of b could have returned).
            wait_until(lambda: self.a.alive("live/up/x") or not own.running, 15.0, "the name is free again")

    def status_page(self) -> None:
        """The page of b has its peer, its balancer and its push; that of a says who pushes."""
        try:
            browser = Browser.open_or_skip()
        except SkipTest:
            return
        with browser:
            browser.go(f"http://127.0.0.1:{self.b.http}/")

            def shown() -> list[list[str]] | None:
                found: list[list[str]] = browser.run(CELLS)
                return found if len(found) == 4 else None

            _, peer, balancer, push = wait_until(shown, 20.0, "a row of each table")
            self.assertEqual(peer[:2], [f"m4f://127.0.0.1:{self.a.http}", "connected"])
            self.assertEqual(balancer, ["lb", "streams", f"127.0.0.1:{self.a.http}"])
            self.assertEqual(push[:3], ["up/x", f"m4f://127.0.0.1:{self.a.http}/live/up/x", "taken"])
            browser.go(f"http://127.0.0.1:{self.a.http}/")

            def of_pushed() -> list[list[str]] | None:
                found = [cells for cells in browser.run(CELLS) if cells[0] == "live/up/x"]
                return found or None

            (stream,) = wait_until(of_pushed, 20.0, "the pushed stream on the page")
            self.assertEqual(stream[2], "pushed by 127.0.0.1")

    def test_reload(self) -> None:
        """Without peer, balancer and push in the file there are none; with them again they are back."""
        body = self.b.body
        self.stage.publish(self.b, "up/y")
        self.a.wait_alive("live/up/y")
        self.b.write_config(f"{LIVE}\ntemplate up {{ prefix up; input publish://; segment_duration 2; }}")
        self.b.reload()
        wait_until(lambda: self.b.get(f"/{STREAM}/index.m3u8").status == 404, 15.0, "no redirect")
        self.assertEqual(self.b.get(f"/lb/{STREAM}/index.m3u8").status, 404)
        wait_until(lambda: not self.a.alive("live/up/y"), 15.0, "the push is over")
        self.assertTrue(self.b.alive("up/y"), "its stream is not")
        self.b.write_config(body)
        self.b.reload()
        wait_until(lambda: self.b.get(f"/{STREAM}/index.m3u8").status == 302, 15.0, "redirected")
        self.assertEqual(self.b.get(f"/lb/{STREAM}/index.m3u8").status, 302)
        self.a.wait_alive("live/up/y")

    def test_peer_gone(self) -> None:
        """A peer that is frozen is left out: no redirect, and 503 of the balancer."""
        os.kill(self.a.pid, signal.SIGSTOP)
        try:
            gone = f"/lb/{STREAM}/index.m3u8"
            wait_until(lambda: self.b.get(gone).status == 503, 10.0, "the balancer has nobody")
            self.assertEqual(self.b.get(f"/{STREAM}/index.m3u8").status, 404)
            (peer,) = self.b.get("/streamer/api/v3/cluster/peers").json()["peers"]
            self.assertFalse(peer["stats"]["connected"])
            self.assertIn("silent", peer["stats"]["last_error"])
        finally:
            os.kill(self.a.pid, signal.SIGCONT)
        wait_until(lambda: self.b.get(gone).status == 302, 25.0, "the peer is back")
        self.assertEqual(get(self.a.http, f"/{STREAM}/index.m3u8").status, 200)
