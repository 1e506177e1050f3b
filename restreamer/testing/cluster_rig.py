"""A whole cluster in one process: nodes on one clock, linked in memory. The seed of the cluster simulator.

Nothing of it is a double but sockets, the clock and the publishers: each node has its own registry, gate,
catalogue, relays and sources, wired as the program wires them, and its links are asked for by HTTP Upgrade,
authorised and kept by the same services. The same seed gives the same run.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.internet.protocol import Protocol
from typing_extensions import override

from restreamer.cluster.catalogue import Catalogue
from restreamer.cluster.connector import Node, Remote
from restreamer.cluster.link_protocol import abort_connection
from restreamer.cluster.link_route import link_route
from restreamer.cluster.origin import ControlServer, MediaServer
from restreamer.cluster.relay import Relays
from restreamer.cluster.remote_files import RemoteFiles
from restreamer.cluster.remote_streams import RemoteStreams
from restreamer.cluster.seams import LinkHandler
from restreamer.cluster.source_service import ClusterSource
from restreamer.http1.parse import HeadError, HeadParser
from restreamer.http1.reply import UpgradeReply
from restreamer.live.feed import FeedLimits
from restreamer.live.ingest import Ingest
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.registry import Claim, StreamRegistry, StreamSettings
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.live.utc_clock import UtcClock
from restreamer.live.window import WindowSegment
from restreamer.m4f.link import Authorised
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.testing.media import aac_track, h264_track, make_frames
from restreamer.testing.memory_network import MemoryNetwork
from restreamer.testing.sim_clock import NodeClock, SimTime
from restreamer.viewers.gate import PasswordGate
from restreamer.viewers.points import IngestMaker, Playing, Publishing
from restreamer.viewers.waiting import WaitingRoom

#: Unix time at which a cluster begins.
EPOCH = 1_700_000_000.0
KEY = b"k" * 32
TRACKS: Tracks = (h264_track(), aac_track())
_LOOP_SECONDS = 20


class Doorway(Protocol):
    """A node's HTTP port, as far as links need it: reads one head, then hands the connection over."""

    def __init__(self, route: Callable[..., Any], book: dict[Doorway, None] | None = None) -> None:
        self._book = {} if book is None else book
        self._book[self] = None
        self._route = route
        self._parser = HeadParser()
        self._link: Protocol | None = None

    @override
    def dataReceived(self, data: bytes) -> None:
        """Read the request, or pass bytes on."""
        if self._link is not None:
            self._link.dataReceived(data)
            return
        assert self.transport is not None
        self._parser.receive(data)
        try:
            head = self._parser.next_head()
        except HeadError:
            self.transport.loseConnection()
            return
        if head is None:
            return
        reply = self._route(head.request)
        if not isinstance(reply, UpgradeReply):
            self.transport.write(
                b"HTTP/1.1 %d no\r\nConnection: close\r\n\r\n" % getattr(reply, "status", 404)
            )
            self.transport.loseConnection()
            return
        self.transport.write(b"HTTP/1.1 101 yes\r\n" + reply.headers + b"\r\n")
        self._link = link = reply.protocol()
        link.makeConnection(self.transport)
        rest = self._parser.take_rest()
        if rest:
            link.dataReceived(rest)

    @override
    def connectionLost(self, reason: Any = None) -> None:
        """Tell the link."""
        self._book.pop(self, None)
        if self._link is not None:
            self._link.connectionLost(reason)


class Publisher:
    """A publisher of pictures and sound in real time.

    @ivar sent: the frames pushed so far, as the publisher's clock has them.
    """

    def __init__(self, ingest: Ingest, clock: IReactorTime, frames: Sequence[Frame], loop: int) -> None:
        self.sent: list[Frame] = []
        self.ingest = ingest
        self._clock = clock
        self._frames = frames
        self._loop = loop
        self._began = clock.seconds()
        self._index = 0
        self.over = False

    def push_due(self) -> None:
        """Push what is due by now, frame by frame."""
        if self.over:
            return
        due = round((self._clock.seconds() - self._began) * TICKS_PER_SECOND)
        while True:
            turn, place = divmod(self._index, len(self._frames))
            frame = self._frames[place]
            dts = frame.dts + turn * self._loop
            if dts > due:
                return
            self._index += 1
            pushed = Frame(frame.track_id, dts, frame.cts, frame.key, frame.data)
            self.sent.append(pushed)
            self.ingest.push([pushed])

    def leave(self, reason: str = "left") -> None:
        """Stop and disconnect."""
        self.over = True
        self.ingest.end(reason)


class Witness(IdleTap):
    """Follows one name on one node like a viewer of everything, and keeps what it saw.

    @ivar frames: in the order they were told. @ivar segments: canonical bytes of closed segments by number.
    @ivar runs: run ids in order. @ivar ends: how often the stream ended for good.
    """

    def __init__(self, registry: StreamRegistry, name: str) -> None:
        self.frames: list[Frame] = []
        self.segments: dict[int, bytes] = {}
        self.runs: list[int] = []
        self.ends = 0
        self._name = name
        self._stream: Stream | None = None
        registry.listen(self)

    # The registry's events.

    def stream_changed(self, stream: Stream) -> None:
        """Begin to follow."""
        if stream.name == self._name and stream.running and stream is not self._stream:
            self._stream = stream
            stream.attach(self)
            if stream.open is not None:
                self.frames.extend(stream.open.frames)
            if stream.run is not None:
                self.runs.append(stream.run.run_id)

    def stream_removed(self, stream: Stream) -> None:
        """Its end was told."""

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Not looked at."""

    def supply_changed(self, name: str) -> None:
        """Not looked at."""

    # The stream's events.

    @override
    def run_began(self, run: RunInfo) -> None:
        """Keep the run."""
        self.runs.append(run.run_id)

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Keep the frames."""
        self.frames.extend(frames)

    @override
    def segment_closed(self, entry: WindowSegment) -> None:
        """Keep the segment."""
        assert entry.number not in self.segments, f"segment {entry.number} was closed twice"
        self.segments[entry.number] = entry.segment.encoded

    @override
    def segment_filled(self, entry: WindowSegment) -> None:
        """Keep the segment that came out of its turn."""
        self.segment_closed(entry)

    @override
    def stream_ended(self, reason: str) -> None:
        """Count it."""
        self.ends += 1
        self._stream = None


class RigNode:
    """One node.

    @ivar name: also its host name. @ivar faults: whatever a follower or listener raised; stays empty.
    @ivar clock: its own; @ivar wall_error: seconds by which its system's UTC is wrong.
    @ivar files: what its sources have of files; None: it does not ask.
    """

    files: RemoteFiles | None = None

    def __init__(
        self,
        rig: ClusterRig,
        name: str,
        ledger: Ledger | None = None,
        key: bytes = KEY,
        node_id: bytes | None = None,
        wall_error: float = 0.0,
    ) -> None:
        self.name = name
        self.faults: list[str] = []
        self.node_id = node_id or hashlib.sha256(name.encode()).digest()[:16]
        self.settings = rig.settings
        self.key = key
        self.wall_error = wall_error
        self.clock = clock = NodeClock(rig.clock)
        rig.network.clocks[name] = clock
        self.utc = UtcClock(clock.seconds, lambda: EPOCH + rig.clock.seconds() + self.wall_error)
        self.registry = StreamRegistry(clock, ledger or Ledger(), self._playout, self._faulted)
        self.catalogue = Catalogue(self.registry, self.node_id)
        self.waiting = WaitingRoom(self.registry, clock)
        self.relays = Relays()
        self.remote = RemoteStreams(self.registry, self.node_id, clock, self.utc.ticks, rig.rng.uniform)
        gate = PasswordGate(lambda _: "")
        self.playing = Playing(gate, self.waiting)
        makers = IngestMaker(self.registry, self.node_id, self.utc.ticks, lambda: rig.rng.getrandbits(64))
        self._makers = makers
        self.publishing = Publishing(gate, self.registry, makers, lambda _: self.settings, clock)
        self.sources: dict[str, ClusterSource] = {}
        self._doorways: dict[Doorway, None] = {}
        self._rig = rig
        self._nonces = 0
        rig.network.listen(name, self._accept)

    def _faulted(self, what: str, error: BaseException) -> None:
        self.faults.append(f"{what}: {error!r}")

    def _playout(self, stream: Stream) -> Playout:
        return Playout(stream, self.clock, {}, FeedLimits())

    def _nonce(self) -> bytes:
        return self._rig.rng.randbytes(16)

    def _accept(self) -> IProtocol:
        route = link_route(self.node_id, lambda: [self.key], self._nonce, self._handler, self.clock)
        return Doorway(route, self._doorways)

    def _handler(self, event: Authorised) -> LinkHandler:
        if event.purpose == "control":
            return ControlServer(self.catalogue, self.utc.ticks)
        return MediaServer(self.waiting, self.relays, self.node_id, self.utc.ticks)

    def link_node(self) -> Node:
        """This node, as its links present it."""
        return Node(
            node_id=self.node_id,
            nonce=self._nonce,
            uniform=self._rig.rng.uniform,
            clock=self.clock,
            utc=self.utc.ticks,
        )

    def remote_node(self, to: str) -> Remote:
        """Another node, ready to be linked to."""
        return Remote(address=to, endpoint=self._rig.network.endpoint(self.name, to), key=self.key)

    def source(
        self,
        to: str,
        only: tuple[str, ...] | None = None,
        hidden: tuple[str, ...] = (),
        clients_timeout: float = 10.0,
        prefix: str = "",
        priority: int = 0,
    ) -> ClusterSource:
        """Restream what C{to} has, its files too if this node has a place for them."""
        source = self.sources[to] = ClusterSource(
            self.link_node(),
            self.remote_node(to),
            self.registry,
            self.remote,
            only,
            hidden,
            self.settings,
            clients_timeout,
            prefix=prefix,
            priority=priority,
            files=self.files,
        )
        source.startService()
        return source

    def publish(self, name: str, gop: int = 25, pictures: int = 25) -> Publisher:
        """A publisher of C{name} comes; it is part of L{ClusterRig.run} until it leaves."""
        claims: list[Claim] = []
        claiming = Deferred.fromCoroutine(self.registry.claim(name, "publish"))
        _ = claiming.addCallback(claims.append)
        (claim,) = claims
        ingest = self._makers.ingest(name, self.settings, lambda _: self.registry.release(claim))
        ingest.configure(TRACKS)
        frames = make_frames(_LOOP_SECONDS, fps=pictures, gop=gop, start=0, video_bitrate=40_000)
        publisher = Publisher(ingest, self.clock, frames, _LOOP_SECONDS * TICKS_PER_SECOND)
        self._rig.publishers.append(publisher)
        return publisher

    def witness(self, name: str) -> Witness:
        """Follow C{name} here from its beginning."""
        return Witness(self.registry, name)

    def stream(self, name: str) -> Stream | None:
        """The stream of that name, if there is one."""
        entry = self.registry.find(name)
        return entry.stream if entry is not None else None

    def window(self, name: str) -> dict[int, bytes]:
        """Canonical bytes of the closed segments held, by number."""
        stream = self.stream(name)
        return {} if stream is None else {e.number: e.segment.encoded for e in stream.window.retained}

    def listed(self) -> list[str]:
        """Names in this node's catalogue."""
        return [entry.name for entry in self.catalogue.entries()]

    def stop(self) -> None:
        """The program ends in order."""
        self._rig.network.unlisten(self.name)
        for source in self.sources.values():
            _ = source.stopService()
        self.remote.close()
        self.registry.close()
        for doorway in list(self._doorways):
            if doorway.transport is not None:
                abort_connection(doorway.transport)

    def freeze(self) -> None:
        """The process stands still (SIGSTOP): its timers do not run, its kernel goes on."""
        self.clock.freeze()
        self._rig.network.freeze(self.name)

    def thaw(self, wire_first: bool = True) -> None:
        """It goes on.

        @param wire_first: what arrived meanwhile is taken before the timers that became due.
        """
        if not wire_first:
            self.clock.thaw()
            self._rig.clock.callLater(0, self._rig.network.thaw, self.name)
        else:
            self._rig.network.thaw(self.name)
            self.clock.thaw()

    def kill(self, power: bool = False) -> None:
        """The process is gone (SIGKILL), and with C{power} its machine: nothing of it runs any more."""
        self.clock.die()
        self._rig.network.kill(self.name, power)

    def crash(self) -> None:
        """The program is gone at once: every connection breaks."""
        self._rig.network.unlisten(self.name)
        self._rig.network.cut_all(self.name)
        self.stop()


@define(eq=False)
class ClusterRig:
    """The cluster.

    @ivar settings: of every stream. @ivar step: seconds the clock moves at a time: what a hop takes at least.
    """

    seed: int = 0
    step: float = 0.02
    settings: StreamSettings = field(
        factory=lambda: StreamSettings(
            segment_duration=2 * TICKS_PER_SECOND, part_duration=TICKS_PER_SECOND // 5, source_timeout=30.0
        )
    )
    clock: SimTime = field(factory=SimTime)
    rng: random.Random = field(init=False)
    network: MemoryNetwork = field(init=False)
    nodes: dict[str, RigNode] = field(factory=dict, init=False)
    publishers: list[Publisher] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.network = MemoryNetwork(self.clock, random.Random(self.seed))

    def node(self, name: str, ledger: Ledger | None = None, key: bytes = KEY) -> RigNode:
        """A node of that name comes (again)."""
        made = self.nodes[name] = RigNode(self, name, ledger, key)
        return made

    def chain(self, *names: str) -> list[RigNode]:
        """Nodes that each restream the one before."""
        nodes = [self.node(name) for name in names]
        for before, after in zip(names, nodes[1:], strict=False):
            after.source(before)
        return nodes

    def run(self, seconds: float) -> None:
        """Let time pass: publishers push, bytes travel, timers fire."""
        for _ in range(round(seconds / self.step)):
            for publisher in self.publishers:
                publisher.push_due()
            self.clock.advance(self.step)
        self.publishers = [publisher for publisher in self.publishers if not publisher.over]

    def settle(self) -> None:
        """Let what is on the wire arrive; nothing new is published meanwhile."""
        self.clock.pump([self.network.delay] * 20)

    def run_until(self, condition: Callable[[], object], seconds: float = 30.0) -> float:
        """Let time pass until C{condition} holds; gives the seconds it took.

        @raise AssertionError: it does not within C{seconds}.
        """
        begin = self.clock.seconds()
        while not condition():
            assert self.clock.seconds() - begin < seconds, "it did not happen in time"
            self.run(self.step)
        return self.clock.seconds() - begin

    def stop(self) -> None:
        """Everything ends; what is left on the clock afterwards was leaked."""
        for publisher in self.publishers:
            if not publisher.over:
                publisher.leave()
        for node in self.nodes.values():
            node.stop()
        self.run(15)

    def check(self) -> None:
        """Nothing failed anywhere, and nothing is left behind after L{stop}."""
        for node in self.nodes.values():
            assert node.faults == [], (node.name, node.faults)
            assert len(node.waiting) == 0, node.name
        assert self.network.connections == [], self.network.connections
        assert self.clock.getDelayedCalls() == [], [str(call) for call in self.clock.getDelayedCalls()]


def with_path(run: RunInfo, *nodes: RigNode) -> RunInfo:
    """C{run} as the last of C{nodes} knows it."""
    return evolve(run, path=tuple(node.node_id for node in nodes))
