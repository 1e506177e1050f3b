"""Hostile and broken peers: each loses its own connection, nobody else loses a frame, and nothing stays
behind."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from test.e2e import rtmp_wire
from test.e2e.canary import Canary
from test.e2e.nodes import Node, get, wait_until
from test.e2e.playlists import wait_segments
from test.e2e.rtmp_wire import WireClient, amf0, message
from test.e2e.shared import LIVE, Stage, StageCase, source_of

STREAM = "live/canary"
WRONG_KEY = "0123456789wrongkey"
#: Memory that may stay behind after a fault, bytes: allocators keep some.
KEPT = 24 << 20

UPGRADE = b"GET /m4f HTTP/1.1\r\nHost: x\r\nUpgrade: m4f\r\nConnection: Upgrade\r\n\r\n"


def record(kind: int, payload: bytes, length: int | None = None) -> bytes:
    """An M4F record with its head: type, flags, length."""
    return struct.pack(">BBI", kind, 0, len(payload) if length is None else length) + payload


def hello(major: int = 1, minor: int = 0) -> bytes:
    """The first message of an M4F handshake."""
    return record(1, b"M4FL" + bytes((major, minor, 1)) + b"\x11" * 16 + b"\x22" * 16)


def dial(port: int, timeout: float = 5.0) -> socket.socket:
    """A plain connection."""
    return socket.create_connection(("127.0.0.1", port), timeout)


def feed(port: int, data: bytes) -> None:
    """Send C{data} as far as the peer takes it; a reset is a fine answer."""
    with dial(port) as sock:
        try:
            sock.sendall(data)
        except OSError:
            return


def closed_by_peer(sock: socket.socket, seconds: float) -> bytes:
    """Everything that comes until the peer closes.

    @raise AssertionError: it does not close in time.
    """
    sock.settimeout(seconds)
    got = bytearray()
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            piece = sock.recv(65_536)
            if not piece:
                return bytes(got)
            got += piece
    except ConnectionError:
        return bytes(got)
    except TimeoutError:
        pass
    raise AssertionError(f"still open after {seconds} s; received {bytes(got[:200])!r}")


class Faults(StageCase):
    """An origin and its edge carry a stream while somebody misbehaves towards the origin; the canary watches
    the edge."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin")
        cls.edge = stage.edge("edge", cls.origin)
        stage.publish(cls.origin, STREAM)
        cls.edge.wait_alive(STREAM)
        wait_segments(cls.edge, STREAM, 2)

    @contextmanager
    def unharmed(self, seconds: float = 20.0, least: float = 2.0) -> Iterator[int]:
        """Around a fault: the canary loses nothing; descriptors and memory of the origin return to what they
        were.

        Gives the length of the origin's log before.
        """
        descriptors, rss = self.origin.descriptors(), self.origin.rss()
        since = len(self.origin.log_text())
        with Canary(self.edge, STREAM, self.stage.folder, least=least):
            yield since
        wait_until(
            lambda: self.origin.descriptors() <= descriptors, seconds, f"back to {descriptors} descriptors"
        )
        kept = self.origin.rss() - rss
        self.assertLess(kept, KEPT, f"{kept / 1e6:.1f} MB stayed behind")

    # -- the cluster link

    def test_wrong_cluster_key(self) -> None:
        """A node with another key gets no list; both sides say so in one clear line, and neither logs a
        key."""
        with self.unharmed() as since:
            stranger = self.stage.prepare("stranger", source_of(self.origin, WRONG_KEY))
            stranger.up()
            stranger.wait_log(r"not authorised|refuse|cluster.key", 8.0)
            self.origin.wait_log(r"not authorised|wrong proof|refuse", 5.0, since)
            self.assertNotIn(STREAM, stranger.streams())
            stranger.stop()
        for node in (stranger, self.origin):
            self.assertNotIn(WRONG_KEY, node.log_text())
            self.assertNotIn(node.key, node.log_text())

    def test_missing_cluster_key(self) -> None:
        """A node without a key serves no links and says so; one that has a source but no key does not
        start."""
        keyless = self.stage.prepare("keyless", LIVE, key="")
        keyless.up()
        follower = self.stage.prepare("follower", source_of(keyless))
        follower.up()
        keyless.wait_log(r"link from 127\.0\.0\.1 refused: no cluster_key is configured here", 8.0)
        follower.wait_log(r"no control link to .*: .*403", 8.0)
        for node in (keyless, follower):
            node.stop()
        undecided = self.stage.prepare("undecided", f"source 127.0.0.1:{self.origin.http} {{ }}", key="")
        code, told = undecided.run_to_end()
        self.assertEqual(code, 1)
        self.assertRegex(told, r"undecided\.conf:\d+:\d+: error: (.|\n)*cluster_key")

    def test_no_proof(self) -> None:
        """Somebody who does not prove the key learns nothing but that, even if he asks on."""
        with self.unharmed(), dial(self.origin.http) as sock:
            sock.sendall(UPGRADE + hello() + record(3, b"\x00" * 32 + b"\x00") + record(32, b"\x00" * 40))
            got = closed_by_peer(sock, 15.0)
        self.assertTrue(got.startswith(b"HTTP/1.1 101"), got[:100])
        self.assertIn(b"not authorised", got)
        self.assertNotIn(STREAM.encode(), got)

    def test_silent_link(self) -> None:
        """An upgrade after which nothing comes is ended by a deadline."""
        with self.unharmed() as since, dial(self.origin.http) as sock:
            sock.sendall(UPGRADE)
            closed_by_peer(sock, 15.0)
            self.origin.wait_log("link with .* closed: did not authorise in time", 5.0, since)

    def test_wrong_version(self) -> None:
        """Another major version is refused with both versions named, to the peer and in the log."""
        with self.unharmed() as since:
            with dial(self.origin.http) as sock:
                sock.sendall(UPGRADE + hello(major=9))
                got = closed_by_peer(sock, 15.0)
            self.assertRegex(got, rb"9\.0")
            self.assertRegex(got, rb"1\.\d")
            self.origin.wait_log(r"M4F.*9\.0|9\.0.*M4F", 5.0, since)

    def test_record_larger_than_allowed(self) -> None:
        """A handshake record that claims 4 GB ends the link before anything is kept for it."""
        with self.unharmed() as since, dial(self.origin.http) as sock:
            sock.sendall(UPGRADE + record(1, b"M4FL", 0xFFFFFFFF))
            closed_by_peer(sock, 15.0)
            self.origin.wait_log("link with .* closed: M4F handshake: .* 4294967295 bytes", 5.0, since)

    # -- garbage

    def test_garbage_on_every_port(self) -> None:
        """Random bytes, TLS, HTTP and RTMP on the ports they are not for."""
        dice = random.Random(20)
        others = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(500),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            rtmp_wire.hello(),
            b"\x00" * 10_000,
            b"\xff" * 10_000,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\r\n" * 5_000,
        ]
        with self.unharmed() as since:
            for port in (self.origin.http, self.origin.rtmp):
                for data in [*others, *(dice.randbytes(dice.randrange(1, 20_000)) for _ in range(20))]:
                    feed(port, data)
            self.origin.wait_log("RTMP .*: protocol error: handshake: ", 5.0, since)
            self.origin.wait_log("HTTP .*: refused: 400 ", 5.0, since)

    def test_garbage_after_the_handshake(self) -> None:
        """Random bytes where RTMP chunks should be, and where M4F records should be."""
        dice = random.Random(21)
        with self.unharmed():
            for _ in range(10):
                with dial(self.origin.rtmp) as sock:
                    sock.sendall(rtmp_wire.hello() + b"\x00" * 1536 + dice.randbytes(5_000))
                feed(self.origin.http, UPGRADE + dice.randbytes(5_000))

    # -- sizes

    def test_oversized_chunks(self) -> None:
        """A chunk size of 0 and of 2 GB, and 70 messages of 16 MB begun at once, end the connection (R01,
        R02, R03)."""
        begun = b"".join(
            bytes((0x00, number - 64))
            + b"\x00\x00\x00"
            + b"\xff\xff\xff"
            + b"\x09"
            + b"\x01\x00\x00\x00"
            + b"\x00" * 128
            for number in range(64, 134)
        )
        with self.unharmed() as since:
            for body in (struct.pack(">I", 0), struct.pack(">I", 0x7FFFFFFF), b"\xff\xff\xff\xff"):
                client = WireClient.connect(self.origin.rtmp, "live")
                client.sock.sendall(
                    message(1, body, chunk_stream=2)
                    + message(9, b"\x17" * 300_000, stream_id=1, chunk_stream=6)
                )
                client.close()
            client = WireClient.connect(self.origin.rtmp, "live")
            client.sock.sendall(message(1, struct.pack(">I", 128), chunk_stream=2) + begun)
            closed_by_peer(client.sock, 15.0)
            client.close()
            self.origin.wait_log("protocol error: Set Chunk Size: 0, allowed", 5.0, since)

    def test_oversized_amf(self) -> None:
        """Objects nested 10,000 deep, a strict array of 4 billion, a string longer than its message (R12,
        R13, R14)."""
        deep = amf0("connect", 1) + b"\x03\x00\x01a" * 10_000
        wide = amf0("connect", 1) + b"\x0a\xff\xff\xff\xff"
        long = amf0("connect", 1) + b"\x0c\xff\xff\xff\xff" + b"a" * 100
        with self.unharmed() as since:
            for body in (deep, wide, long):
                with dial(self.origin.rtmp) as sock:
                    sock.sendall(rtmp_wire.hello() + b"\x00" * 1536)
                    sock.sendall(message(20, body, size=128))
                    closed_by_peer(sock, 15.0)
            self.origin.wait_log("protocol error: AMF0: nested deeper than", 5.0, since)

    def test_oversized_http_heads(self) -> None:
        """A line of 1 MiB, 10,000 headers and a long address are answered with a 4xx and closed."""
        heads = {
            b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        }
        with self.unharmed() as since:
            for head in sorted(heads):
                with dial(self.origin.http) as sock:
                    try:
                        sock.sendall(head)
                    except ConnectionError:
                        continue
                    got = closed_by_peer(sock, 15.0)
                    if got:
                        self.assertRegex(got, rb"^HTTP/1\.1 4\d\d ")
            for status in (414, 431):
                self.origin.wait_log(f"HTTP .*: refused: {status} ", 5.0, since)

    def test_endless_body(self) -> None:
        """A body of 10 GB, or of chunks without end, is not read, and no file is made of it (H04)."""
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        with self.unharmed():
            for path in (
                f"/{STREAM}/index.m3u8",
                f"/{STREAM}/1.ts",
                "/",
                "/streamer/api/v3/streams",
                "/none",
            ):
                for method, length in (
                    ("POST", "Content-Length: 10000000000"),
                    ("PUT", "Transfer-Encoding: chunked"),
                ):
                    with dial(self.origin.http) as sock:
                        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
                        sent = 0
                        try:
                            while sent < 16 << 20:
                                sent += sock.send(chunk)
                        except OSError:
                            pass
                    self.assertLess(sent, 16 << 20, (method, path))
            opened = [str(each.readlink()) for each in Path(f"/proc/{self.origin.pid}/fd").iterdir()]
            self.assertEqual([name for name in opened if "(deleted)" in name], [])

    def test_bad_paths(self) -> None:
        """Paths that leave the root, names that are none and odd requests get a 4xx (H09)."""
        paths = [
            "/..%2f..%2fetc/passwd",
            "/%252e%252e/",
            "/%c0%ae%c0%ae/",
            "/a%00b/index.m3u8",
            "//etc/passwd",
            "/-x/index.m3u8",
        ]
        paths += [
            "/" + "a/" * 20 + "index.m3u8",
            f"/{STREAM}/9999999999999.ts",
            f"/{STREAM}/-1.ts",
            "/live/none/mpegts",
        ]
        with self.unharmed():
            for path in paths:
                status = get(self.origin.http, path, timeout=15.0).status
                self.assertTrue(400 <= status < 500 or status == 503, f"{path} answered {status}")

    # -- peers that stop

    def test_half_open_connections(self) -> None:
        """Connections that say nothing, or half of something, are ended by a deadline (R15, H03)."""
        with self.unharmed(least=14.0) as since:
            silent = [dial(port) for port in (self.origin.http, self.origin.rtmp) for _ in range(20)]
            halves = [
                (self.origin.http, b"GET /live/can"),
                (self.origin.rtmp, rtmp_wire.hello()[:700]),
                (self.origin.rtmp, rtmp_wire.hello()),
            ]
            for port, data in halves:
                silent.append(dial(port))
                silent[-1].sendall(data)
            # An HTTP connection on which nothing was ever asked may stay for the idle time; RTMP may not.
            for sock in silent:
                if sock.getpeername()[1] == self.origin.rtmp or sock is silent[40]:
                    closed_by_peer(sock, 15.0)
            for sock in silent:
                sock.close()
            self.origin.wait_log("RTMP .*: no handshake in time", 5.0, since)
            self.origin.wait_log("HTTP .*: refused: 408 ", 5.0, since)

    def test_many_aborted_connections(self) -> None:
        """Three hundred viewers and publishers that end with RST leave nothing behind (H17)."""
        linger = struct.pack("ii", 1, 0)
        with self.unharmed():
            for number in range(300):
                if number % 3:
                    sock = dial(self.origin.http)
                    sock.sendall(f"GET /{STREAM}/mpegts HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                else:
                    sock = dial(self.origin.rtmp)
                    sock.sendall(rtmp_wire.hello())
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                sock.close()
