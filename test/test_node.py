"""A node as a service: real sockets on the loopback interface, the real reactor, nothing left behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import threading
import time
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from typing_extensions import override

from restreamer import tap
from restreamer.config.load import load
from restreamer.errors import Reason, Refused
from restreamer.listeners import ListenError
from restreamer.live.ingest import Ingest
from restreamer.node import Node
from restreamer.seams import OpenRequest

reactor: Any = global_reactor
HOST = "127.0.0.1"
KEY = "abcdefghijklmnop"
MEDIA = os.path.join(os.path.dirname(tap.__file__), "demo")
READY = b"GET /streamer/api/v3/monitoring/readiness HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class _Client(Protocol):
    """Collects what comes; tells when enough has come and when the connection is gone."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.gone: Deferred[None] = Deferred()
        self._wanted: tuple[bytes, Deferred[None]] | None = None

    @override
    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self._wanted is not None and self._wanted[0] in self.received:
            wanted, self._wanted = self._wanted, None
            wanted[1].callback(None)

    @override
    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.gone.callback(None)

    def until(self, text: bytes) -> Deferred[None]:
        """Fires when C{text} has come."""
        done: Deferred[None] = Deferred()
        if text in self.received:
            done.callback(None)
        else:
            self._wanted = text, done
        return done


async def dial(port: int, request: bytes = b"") -> _Client:
    """A connection that has sent C{request}."""
    client: _Client = await ClientCreator(reactor, _Client).connectTCP(HOST, port, timeout=5)
    assert client.transport is not None
    client.transport.write(request)
    return client


async def pause(seconds: float) -> None:
    """Let the reactor run."""
    await deferLater(reactor, seconds, lambda: None)


async def until(condition: Any, seconds: float = 8.0) -> None:
    """Wait for C{condition()}."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        await pause(0.02)


def _no_room(*_: Any) -> Any:
    raise Refused(Reason.OVERLOADED, "too many streams on this node")


class NodeCase(TestCase):
    """Makes nodes from configurations, and stops them."""

    timeout = 40

    @override
    def setUp(self) -> None:
        self.http, self.rtmp = free_port(), free_port()
        self.folder = self.mktemp()
        os.makedirs(self.folder)
        self.written = 0

    def config(
        self, body: str, http: str | None = None, rtmp: str | None = None, state: str = "state"
    ) -> Any:
        """The configuration of two listeners and C{body}."""
        self.written += 1
        path = os.path.join(self.folder, f"{self.written}.conf")
        with open(path, "w") as file:
            file.write(
                f"{f'http {HOST}:{self.http};' if http is None else http}\n"
                f"{f'rtmp {HOST}:{self.rtmp};' if rtmp is None else rtmp}\n"
                f"state_dir {os.path.abspath(self.folder)}/{state};\nvod media {{ storage {MEDIA}; }}\n"
                f"{body}\n"
            )
        os.chmod(path, 0o600)
        return load(path)

    def node(self, body: str = "") -> Node:
        """A started node, stopped at the end."""
        node = Node(reactor, self.config(body).configuration)
        node.startService()
        self.addCleanup(self.stopped, node)
        return node

    async def _stop(self, node: Node) -> None:
        if node.running:
            begin = time.monotonic()
            await node.stopService()
            self.assertLess(time.monotonic() - begin, 5.0)
        await pause(0)

    def stopped(self, node: Node) -> Deferred[None]:
        """Stops C{node}, within 5 s."""
        return Deferred.fromCoroutine(self._stop(node))

    def assert_free(self, *ports: int) -> None:
        """Nobody listens on C{ports}."""
        for port in ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((HOST, port))

    async def publish(self, node: Node, name: str) -> tuple[Ingest, list[str]]:
        """A publisher of C{name}, that leaves when told to; and what it was told."""
        told: list[str] = []
        held: list[Ingest] = []

        def kick(reason: str) -> None:
            told.append(reason)
            held[0].end(reason)

        request = OpenRequest(name=name, action="publish", proto="rtmp", peer=HOST)
        held.append(await node.core.publishing.publish(request, kick))
        self.addCleanup(held[0].end, "the test is over")
        return held[0], told


class LifeTests(NodeCase):
    """Start and stop."""

    async def test_up_and_down(self) -> None:
        """It answers while it runs; afterwards its ports are free."""
        node = self.node()
        client = await dial(self.http, READY)
        await client.gone
        self.assertIn(b"200 OK", client.received)
        await self._stop(node)
        self.assert_free(self.http, self.rtmp)

    async def test_port_in_use(self) -> None:
        """A port that cannot be had: the ones before it are let go."""
        with socket.socket() as other:
            other.bind((HOST, 0))
            other.listen()
            taken = other.getsockname()[1]
            loaded = self.config("", rtmp=f"rtmp {HOST}:{taken};")
            error = self.assertRaises(ListenError, Node, reactor, loaded.configuration)
        self.assertIn(f"rtmp {HOST}:{taken}", str(error))
        self.assert_free(self.http)

    async def test_stop_with_everybody_attached(self) -> None:
        """Viewers of every kind, idle connections and a linked node: gone within 5 s."""
        body = f"cluster_key {KEY};\nstream film {{ input file://media/demo.mp4; segment_duration 1; }}"
        node = self.node(body)
        edge = Node(
            reactor,
            self.config(
                f"source {HOST}:{self.http} {{ cluster_key {KEY}; }}",
                http=f"http {HOST}:{free_port()};",
                rtmp=f"rtmp {HOST}:{free_port()};",
                state="edge",
            ).configuration,
        )
        edge.startService()
        self.addCleanup(self.stopped, edge)
        await until(lambda: any(entry.stream.running for entry in edge.core.registry))
        viewers = [
            await dial(self.http, b"GET /film/mpegts HTTP/1.1\r\nHost: x\r\n\r\n"),
            await dial(self.http, b"GET /film/index.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n"),
            await dial(self.http),
            await dial(self.rtmp),
        ]
        await viewers[0].until(b"G@")
        await self._stop(node)
        for viewer in viewers:
            await viewer.gone
        self.assert_free(self.http, self.rtmp)

    async def test_state_is_kept_at_the_end(self) -> None:
        """What was written in a thread meanwhile does not replace what the stopping node wrote."""
        node = self.node()
        state = node.core.state
        entered, go_on = threading.Event(), threading.Event()
        write = state.write

        def slow(text: str) -> None:
            if threading.current_thread() is not threading.main_thread():
                entered.set()
                go_on.wait(5)
            write(text)

        self.patch(state, "write", slow)
        state.ledger.note("one", 1, 0)
        await until(entered.is_set)
        state.ledger.note("one", 2, 0)
        reactor.callLater(0.2, go_on.set)
        await self._stop(node)
        await pause(0.3)
        with open(os.path.join(self.folder, "state", "node.json")) as file:
            self.assertEqual(json.load(file)["streams"], {"one": [2, 0]})
        kept = {"node.json", "journal.db", "journal-spool"}
        self.assertLessEqual(set(os.listdir(os.path.join(self.folder, "state"))), kept)

    async def test_saving_goes_on_after_a_fault(self) -> None:
        """The periodic save survives an exception."""
        node = self.node()
        changes = node.core.state.changes
        calls: list[int] = []

        def broken() -> str | None:
            calls.append(1)
            if len(calls) == 1:
                raise ValueError("broken once")
            return changes()

        self.patch(node.core.state, "changes", broken)
        await until(lambda: len(calls) >= 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class ApplyTests(NodeCase):
    """Going over to another configuration."""

    def apply(self, node: Node, body: str = "", **listeners: str) -> None:
        """Let C{node} go over."""
        node.apply(self.config(body, **listeners).configuration)

    async def test_listeners(self) -> None:
        """A new port answers, the one that is gone does not; the other kind is untouched."""
        node = self.node()
        idle = await dial(self.rtmp)
        port = free_port()
        self.apply(node, http=f"http {HOST}:{port};")
        client = await dial(port, READY)
        await client.gone
        self.assertIn(b"200 OK", client.received)
        self.assert_free(self.http)
        self.assertFalse(idle.gone.called)

    async def test_all_or_nothing(self) -> None:
        """One port of two cannot be had: nothing changes, and the one that could be had is let go."""
        node = self.node()
        before = node.core.configuration
        port = free_port()
        with socket.socket() as other:
            other.bind((HOST, 0))
            other.listen()
            rtmp = f"rtmp {HOST}:{other.getsockname()[1]};"
            error = self.assertRaises(
                ListenError,
                self.apply,
                node,
                "stream a { input publish://; }",
                http=f"http {HOST}:{port};",
                rtmp=rtmp,
            )
        self.assertIn("in use by another program", str(error))
        self.assertIs(node.core.configuration, before)
        self.assert_free(port)
        client = await dial(self.http, READY)
        await client.gone
        self.assertIn(b"200 OK", client.received)

    async def test_port_of_our_own(self) -> None:
        """A port the node itself still listens on in another way is not said to be another program's."""
        node = self.node()
        error = self.assertRaises(ListenError, self.apply, node, http=f"http {self.http};")
        self.assertIn(f"this node listens there as http {HOST}:{self.http}", str(error))
        self.assertIn("restart", str(error))

    async def test_published_name_becomes_a_configured_one(self) -> None:
        """The publisher has to go, and the configured input has the name."""
        node = self.node("template live { prefix live; input publish://; }")
        _, told = await self.publish(node, "live/a")
        self.apply(
            node,
            "template live { prefix live; input publish://; }\n"
            "stream live/a { input file://media/demo.mp4; segment_duration 1; }",
        )
        self.assertEqual(told, ["publishing here is no longer configured"])
        await until(lambda: self.running(node, "live/a"))

    async def test_configured_name_becomes_a_published_one(self) -> None:
        """The configured input goes, a publisher is let in."""
        node = self.node("stream a { input file://media/demo.mp4; segment_duration 1; }")
        await until(lambda: self.running(node, "a"))
        self.apply(node, "stream a { input publish://; }")
        await self.publish(node, "a")

    async def test_removed_stream_that_waits(self) -> None:
        """A stream that waits for ever for its publisher is gone when it leaves the configuration."""
        node = self.node("stream a { input publish://; source_timeout 0; }")
        ingest, _ = await self.publish(node, "a")
        ingest.end("left")
        self.assertIsNotNone(node.core.registry.find("a"))
        self.apply(node)
        await pause(0)
        self.assertIsNone(node.core.registry.find("a"))

    async def test_untouched_publisher(self) -> None:
        """Who publishes what did not change notices nothing."""
        node = self.node("stream a { input publish://; }\nstream b { input publish://; }")
        _, told = await self.publish(node, "a")
        self.apply(node, "stream a { input publish://; }\nstream c { input publish://; }")
        self.assertEqual(told, [])
        with self.assertRaises(Refused) as caught:
            await self.publish(node, "b")
        self.assertIs(caught.exception.reason, Reason.NOT_FOUND)
        await self.publish(node, "c")

    async def test_no_room_for_a_configured_stream(self) -> None:
        """A stream that cannot be made now is tried again, and nothing is logged as unforeseen."""
        node = self.node()
        registry = node.core.registry
        for name in ("_max_streams", "obtain"):
            real = getattr(registry, name)
            setattr(registry, name, 0 if name == "_max_streams" else _no_room)
            self.apply(node, self.BOTH)
            await pause(0.1)
            self.assertFalse(self.running(node, "film"))
            setattr(registry, name, real)
            await until(lambda: self.running(node, "film"))
            self.apply(node)

    BOTH = (
        "template live { prefix live; input publish://; }\n"
        "stream film { input file://media/demo.mp4; segment_duration 1; }"
    )

    def running(self, node: Node, name: str) -> bool:
        """Whether C{name} runs."""
        entry = node.core.registry.find(name)
        return entry is not None and entry.stream.running


class ReloadTests(NodeCase):
    """SIGHUP."""

    def running_node(self) -> tap.RunningNode:
        """A node with its reload, started."""
        loaded = self.config("")
        self.path = os.path.join(self.folder, f"{self.written}.conf")
        node = tap.RunningNode(reactor, self.path, loaded, Node(reactor, loaded.configuration))
        self.patch(gc, "freeze", lambda: None)
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        node.startService()
        self.addCleanup(node.stopService)
        return node

    def write(self, path: str, title: str) -> None:
        """Change the file."""
        self.config(f"stream a {{ input publish://; title {title}; }}")
        os.replace(os.path.join(self.folder, f"{self.written}.conf"), path)

    async def test_signal(self) -> None:
        """A signal reads the file again; several in a row are one reload."""
        node = self.running_node()
        self.write(self.path, "new")
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "a" in node.node.core.configuration.streams)

    async def test_bad_file(self) -> None:
        """A wrong file changes nothing."""
        node = self.running_node()
        before = node.node.core.configuration
        with open(self.path, "a") as file:
            file.write("nonsense here;\n")
        self.assertFalse(await node.reload())
        self.assertIs(node.node.core.configuration, before)

    async def test_the_newest_file_wins(self) -> None:
        """A signal that comes while a long file is read is a reload of its own, after the first."""
        node = self.running_node()
        first = threading.Event()
        self.addCleanup(first.set)
        calls: list[int] = []

        def slow(path: str) -> Any:
            calls.append(1)
            late = len(calls) == 1
            loaded = load(path)
            if late:
                first.wait(3)
            return loaded

        self.patch(tap, "load", slow)
        self.write(self.path, "old")
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: calls)
        await pause(0.1)
        self.write(self.path, "new")
        os.kill(os.getpid(), signal.SIGHUP)
        await pause(0.5)
        first.set()
        await until(lambda: len(calls) == 2)
        await pause(0.3)
        self.assertEqual(node.node.core.configuration.streams["a"].title, "new")

    async def test_stopped_while_the_file_is_read(self) -> None:
        """A node that stops meanwhile stays as it is: nothing is bound or started any more."""
        node = self.running_node()
        go_on = threading.Event()
        self.addCleanup(go_on.set)

        def slow(path: str) -> Any:
            go_on.wait(3)
            return load(path)

        self.patch(tap, "load", slow)
        port = free_port()
        self.config("", http=f"http {HOST}:{port};")
        os.replace(os.path.join(self.folder, f"{self.written}.conf"), self.path)
        reloading = Deferred.fromCoroutine(node.reload())
        await pause(0.05)
        await node.stopService()
        go_on.set()
        self.assertFalse(await reloading)
        self.assert_free(port)
