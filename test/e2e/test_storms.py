"""Many connections that are up to no good at once: memory, descriptors and the canary stay as they were."""

from __future__ import annotations

import contextlib
import itertools
import resource
import socket
import statistics
import struct
import time
from collections.abc import Callable
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from bench.viewers import server_cpu
from test.e2e.canary import Canary
from test.e2e.nodes import Answer, Node, wait_until
from test.e2e.players import HttpStream
from test.e2e.playlists import check_reload, parse
from test.e2e.pollers import Poller, Pollers, conditional, fixed
from test.e2e.rtmp_wire import WireClient
from test.e2e.shared import LIVE, Stage, StageCase

STREAM = "live/target"
#: A configured stream that nobody publishes.
ASLEEP = "asleep"
BODY = f"{LIVE}\nstream {ASLEEP} {{ input publish://; segment_duration 2; }}"
#: What a storm may cost while it lasts, bytes.
GROWTH = 96 << 20
#: C0, C1 and C2 of a publisher, then the begin of messages of 16 MiB on forty chunk streams.
HANDSHAKE = b"\x03" + bytes(1536) + bytes(1536)
PARTIAL = b"".join(
    bytes((csid,)) + b"\0\0\0" + b"\x7f\xff\xff" + b"\x09" + struct.pack("<I", 1) + bytes(128)
    for csid in range(4, 44)
)


class Storms(StageCase):
    """One node with a stream that must go on."""

    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("node", BODY)
        stage.publish(cls.node, STREAM)
        cls.node.wait_alive(STREAM)

    @override
    def setUp(self) -> None:
        super().setUp()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit[1] < 3000:
            raise SkipTest(f"only {limit[1]} files can be open here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], 3000), limit[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limit)

    def test_a_thousand_unfinished_messages(self) -> None:
        """A thousand RTMP connections that announce huge messages and send a little of each (R03)."""
        before = self.node.rss()
        descriptors = self.node.descriptors()
        with Canary(self.node, STREAM, self.stage.folder), contextlib.ExitStack() as stack:
            for _ in range(1000):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", self.node.rtmp), 10))
                with contextlib.suppress(OSError):
                    client.sendall(HANDSHAKE + PARTIAL)
            self.assertLess(self.node.rss() - before, GROWTH)
            wait_until(lambda: self.node.descriptors() < descriptors + 20, 40, "they are sent away")
        self.assertLess(self.node.rss() - before, GROWTH)

    def test_viewers_that_leave_midway(self) -> None:
        """Thousands of viewers that ask for streams and segments and go, some with a reset, before the answer
        is whole (H17)."""
        before = self.node.rss()
        descriptors = self.node.descriptors()
        paths = [f"/{STREAM}/mpegts", *(f"/{STREAM}/{uri}" for uri in self.newest_segments())]
        requests = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths]
        with Canary(self.node, STREAM, self.stage.folder):
            for turn in range(4000):
                with socket.socket() as client:
                    # Less than a segment fits into what the systems on both sides keep.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    client.settimeout(10)
                    client.connect(("127.0.0.1", self.node.http))
                    client.sendall(requests[turn % len(requests)])
                    self.assertIn(b" 200 ", client.recv(100))
                    if turn % 3:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_until(lambda: self.node.descriptors() < descriptors + 20, 30, "their connections are gone")
        self.assertLess(self.node.rss() - before, GROWTH)
        wait_until(lambda: self.node.connected(STREAM) == 0, 10, "nobody is counted")

    def newest_segments(self) -> list[str]:
        """The newest segment of both kinds of lists: they stay while the test runs."""
        found = []
        for path in ("index.m3u8", "tracks-v1/mono.ll.m3u8"):

            def lines(path: str = path) -> list[str]:
                answer = self.node.get(f"/{STREAM}/{path}")
                each = answer.body.decode().splitlines() if answer.status == 200 else []
                return [line for line in each if line and not line.startswith("#")]

            uri = wait_until(lines, 15.0, f"{path} has a segment")[-1]
            found.append(f"{path.rpartition('/')[0]}/{uri}".lstrip("/"))
        return found

    def test_pipelined_requests(self) -> None:
        """Clients that send thousands of requests without reading an answer (H05)."""
        request = f"GET /{STREAM}/index.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        descriptors = self.node.descriptors()
        before = self.node.rss()
        with Canary(self.node, STREAM, self.stage.folder), contextlib.ExitStack() as stack:
            for _ in range(4):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", self.node.http), 10))
                client.settimeout(2)
                with contextlib.suppress(OSError):
                    client.sendall(request * 20_000)
            wait_until(lambda: self.node.descriptors() < descriptors + 20, 40, "they are sent away")
        self.assertLess(self.node.rss() - before, GROWTH)

    def test_playlist_polls(self) -> None:
        """Hundreds of clients that ask for playlists five times a second, in every way there is (H15).

        Everybody is told the same, at once, at a price that leaves no room for work per request (that a
        playlist is rendered once per version is a unit test of HLS); who asks for what does not come waits
        a bounded time; nobody else notices.
        """
        path = f"/{STREAM}/index.m3u8"
        wait_until(lambda: self.node.get(path).status == 200, 10, "there is a playlist")
        before, descriptors, names = self.node.rss(), self.node.descriptors(), set(self.node.streams())
        plain = [fixed(path)] * 100 + [fixed(path, method="HEAD")] * 20
        plain += [fixed(f"{path}?visitor={number}&_={number * 7919}") for number in range(60)]
        plain += [fixed(f"{path}?_HLS_msn=99999999999&_HLS_part=9&_HLS_skip=YES")] * 60
        fresh: list[Maker] = [conditional(path) for _ in range(60)]
        nobody: list[Maker] = [unknown(number) for number in range(40)]
        asleep = [fixed(f"/{ASLEEP}/index.m3u8")] * 60
        spent = server_cpu(self.node.pid)
        with (
            Canary(self.node, STREAM, self.stage.folder),
            Pollers(self.node.http, [*plain, *fresh, *nobody, *asleep], 0.2) as storm,
        ):
            at = [0, *itertools.accumulate(map(len, (plain, fresh, nobody, asleep)))]
            groups = [storm.clients[one:other] for one, other in itertools.pairwise(at)]
            wait_until(lambda: all(client.answers for client in groups[3]), 14, "those who wait are answered")
        spent = server_cpu(self.node.pid) - spent
        self.assertEqual([client.closed for client in storm.clients if client.closed], [])
        told = [{answer.status for client in group for _, answer in client.answers} for group in groups]
        self.assertEqual(told, [{200}, {200, 304}, {404}, {503}])
        took = [seconds for group in groups[:3] for client in group for seconds, _ in client.answers]
        self.assertGreater(len(took), 5_000)
        self.assertLess(statistics.median(took), 0.1)
        self.assertLess(max(took), 2.0)
        self.assertLess(spent / len(took), 0.0006, "seconds of processor time per request")
        self.same_for_all(groups[0] + groups[1])
        self.assertEqual(set(self.node.streams()), names)
        wait_until(lambda: self.node.descriptors() < descriptors + 20, 10, "their connections are gone")
        self.assertLess(self.node.rss() - before, GROWTH // 4)

    def test_a_thousand_dribblers(self) -> None:
        """A thousand clients that send a byte a second of a request or a handshake: all are gone when their
        time is over (H03, R15)."""
        before = self.node.rss()
        descriptors = self.node.descriptors()
        kinds = ((self.node.http, b"GET /" + b"a" * 100), (self.node.rtmp, HANDSHAKE[:100]))
        with Canary(self.node, STREAM, self.stage.folder), contextlib.ExitStack() as stack:
            clients = []
            began = time.monotonic()
            for port, words in kinds * 500:
                clients.append(
                    (stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)), words)
                )
            for second in range(11):
                for client, words in clients:
                    with contextlib.suppress(OSError):
                        client.sendall(words[second : second + 1])
                time.sleep(max(0.0, began + second + 1 - time.monotonic()))
            wait_until(lambda: self.node.descriptors() < descriptors + 20, 4, "they are sent away")
        self.assertLess(self.node.rss() - before, GROWTH)

    def test_more_connections_than_files(self) -> None:
        """Twice as many connections as the process may have files: idle ones make room for viewers, viewers
        never take what publishers, other nodes and an archive need, nobody who watches notices (H20)."""
        body = LIVE.replace("}", f" dvr {self.stage.folder / 'archive'} 1d; }}")
        node = self.stage.prepare("narrow", body, prefix=("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh"))
        node.up()
        self.addCleanup(node.stop)
        self.stage.publish(node, STREAM)
        node.wait_alive(STREAM)
        request = f"GET /{STREAM}/mpegts HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with contextlib.ExitStack() as stack, Canary(node, STREAM, self.stage.folder):
            for _ in range(400):
                stack.enter_context(socket.create_connection(("127.0.0.1", node.http), 10))
            served = 0
            for _ in range(250):
                viewer = stack.enter_context(socket.create_connection(("127.0.0.1", node.http), 10))
                # Who finds no room is told 503, or only sees that it is hung up on.
                with contextlib.suppress(ConnectionError):
                    viewer.sendall(request)
                    answer = viewer.recv(12)
                    self.assertIn(answer, (b"HTTP/1.1 200", b"HTTP/1.1 503"))
                    served += answer.endswith(b"200")
            self.assertGreater(served, 150)
            self.assertLess(served, 200)
            publisher = WireClient.connect(node.rtmp, "live")
            stack.callback(publisher.close)
            publisher.publish("another")
            edge = self.stage.edge("beside", node)
            edge.wait_alive(STREAM)
            with HttpStream(edge.http, f"/{STREAM}/mpegts") as beside:
                self.assertEqual(beside.status, 200)
                self.assertTrue(beside.read())
            self.stage.publish(node, "live/recorded")
            archive = self.stage.folder / "archive" / "live" / "recorded"
            wait_until(lambda: [*archive.rglob("*.m4f")], 15.0, "a new stream is recorded")
            edge.stop()
        wait_until(lambda: node.descriptors() < 60, 10, "their files are free again")
        node.assert_quiet()

    def same_for_all(self, clients: list[Poller]) -> None:
        """There is one body per version of the playlist, and every client sees the versions in order."""
        bodies: dict[str, set[bytes]] = {}
        for client in clients:
            tags = [answer.headers["etag"] for _, answer in client.answers]
            for (_, answer), tag in zip(client.answers, tags, strict=True):
                if answer.body:
                    bodies.setdefault(tag, set()).add(answer.body)
        self.assertLess(len(bodies), 12, "versions in a storm of some seconds")
        self.assertTrue(all(len(each) == 1 for each in bodies.values()))
        playlists = {tag: parse(min(each).decode()) for tag, each in bodies.items()}
        steps = {
            step
            for client in clients
            for step in itertools.pairwise([answer.headers["etag"] for _, answer in client.answers])
        }
        for old, new in steps:
            check_reload(playlists[old], playlists[new])


Maker = Callable[[Answer | None], str]


def unknown(client: int) -> Maker:
    """Asks for another name that nobody has each time."""
    numbers = itertools.count()
    return lambda _: f"GET /live/nobody-{client}-{next(numbers)}/index.m3u8 HTTP/1.1\r\nHost: x"
