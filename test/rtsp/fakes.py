"""A core in miniature for the RTSP tests, and a client that speaks text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.media.frame import Frame
from restreamer.media.selection import TrackSelection
from restreamer.media.track import Tracks
from restreamer.rtsp.limits import ServiceLimits
from restreamer.rtsp.message import Interleaved, MessageReader, Reply, Request
from restreamer.rtsp.play_muxer import RtspFeedMuxer
from restreamer.rtsp.protocol import RtspServerProtocol
from restreamer.rtsp.service import RtspFactory
from restreamer.seams import OpenRequest, ViewerTransport
from restreamer.testing.media import START, aac_track, h264_track

TRACKS: Tracks = (h264_track(), aac_track())


@define(eq=False)
class FakeSink:
    """Keeps what a publisher brings."""

    kick: Callable[[str], None]
    tables: list[Tracks] = field(factory=list)
    frames: list[Frame] = field(factory=list)
    ended: str | None = None
    wait: float = 0.0
    dates: list[int | None] = field(factory=list)

    def configure(self, tracks: Tracks) -> None:
        self.tables.append(tracks)

    def dated(self, offset: int | None) -> None:
        self.dates.append(offset)

    def counted(self, told: Callable[[], Mapping[str, int]]) -> None:
        """Nobody asks."""

    def push(self, frames: Sequence[Frame]) -> float:
        self.frames += frames
        return self.wait

    def end(self, reason: str) -> None:
        if self.ended is None:
            self.ended = reason


@define(eq=False)
class FakeViewer:
    """One player."""

    stream: FakeStream
    transport: ViewerTransport
    ended: Callable[[str], None]
    selection: TrackSelection | None
    bytes_sent: int = 0
    gone: bool = False

    def leave(self) -> None:
        self.gone = True
        if self in self.stream.viewers:
            self.stream.viewers.remove(self)

    def write_aside(self, data: bytes) -> None:
        self.transport.write(data)


@define(eq=False)
class FakeStream:
    """A stream with tracks, whose frames a test sends by hand."""

    all_tracks: Tracks = TRACKS
    viewers: list[FakeViewer] = field(factory=list)
    muxer: RtspFeedMuxer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.muxer = RtspFeedMuxer("cam")
        self.muxer.configure(self.all_tracks, START, False)

    def tracks(self, container: str, selection: TrackSelection | None = None) -> Tracks:
        found = self.all_tracks if selection is None else selection.of(self.all_tracks)
        if not found:
            raise Refused(Reason.NOT_FOUND, "none of the chosen tracks")
        return found

    def join(
        self,
        container: str,
        transport: ViewerTransport,
        ended: Callable[[str], None],
        selection: TrackSelection | None = None,
    ) -> FakeViewer:
        viewer = FakeViewer(self, transport, ended, selection)
        self.viewers.append(viewer)
        return viewer

    def send(self, *frames: Frame) -> None:
        for frame in frames:
            data = self.muxer.mux(frame)
            for viewer in list(self.viewers):
                viewer.transport.write(data)


@define(eq=False)
class FakeCore:
    """Grants everything, but for what a test refuses or delays."""

    streams: dict[str, FakeStream] = field(factory=dict)
    sinks: dict[str, FakeSink] = field(factory=dict)
    refuse: Refused | None = None
    locked: dict[str, Refused] = field(factory=dict)
    delay: Deferred[None] | None = None
    requests: list[OpenRequest] = field(factory=list)
    passwords: dict[str, str] = field(factory=dict)

    def play(self, request: OpenRequest) -> Awaitable[FakeStream]:
        self.requests.append(request)

        async def granted() -> FakeStream:
            await (self.delay or succeed(None))
            if self.refuse is not None:
                raise self.refuse
            if request.name in self.locked:
                raise self.locked[request.name]
            if request.name not in self.streams:
                raise Refused(Reason.NOT_FOUND, "no such stream")
            return self.streams[request.name]

        return granted()

    def publish(self, request: OpenRequest, kick: Callable[[str], None]) -> Awaitable[FakeSink]:
        self.requests.append(request)

        async def granted() -> FakeSink:
            await (self.delay or succeed(None))
            if self.refuse is not None:
                raise self.refuse
            if request.password != self.passwords.get(request.name, ""):
                raise Refused(Reason.DENIED, "wrong password")
            sink = self.sinks[request.name] = FakeSink(kick)
            return sink

        return granted()


class Wire(StringTransport):
    """A transport with addresses; what is aborted is closed at once."""

    def __init__(self, peer: str = "192.0.2.7") -> None:
        super().__init__(
            hostAddress=IPv4Address("TCP", "192.0.2.1", 554), peerAddress=IPv4Address("TCP", peer, 40_000)
        )
        self.aborted = False

    @override
    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True


@define(eq=False)
class FakePort:
    """A UDP port that keeps what is sent."""

    protocol: Any
    number: int
    open: bool = True
    written: list[tuple[bytes, tuple[str, int]]] = field(factory=list)

    def getHost(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("UDP", "192.0.2.1", self.number)

    def stopListening(self) -> None:  # noqa: N802
        self.open = False

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        self.written.append((data, address))


@define(eq=False)
class FakeDatagrams:
    """An IReactorUDP: the numbers it gives rise from an odd one."""

    following: int = 30_001
    ports: list[FakePort] = field(factory=list)

    def listenUDP(self, port: int, protocol: Any, interface: str = "", size: int = 8192) -> FakePort:  # noqa: N802
        if not port:
            port, self.following = self.following, self.following + 1
        made = FakePort(protocol, port)
        protocol.transport = made
        self.ports.append(made)
        return made

    @property
    def open(self) -> list[FakePort]:
        return [port for port in self.ports if port.open]


class Peer:
    """A client of the server under test: sends text, reads answers and frames."""

    def __init__(self, rig: Rig, address: str = "192.0.2.7") -> None:
        self.rig = rig
        self.wire = Wire(address)
        protocol = rig.factory.buildProtocol(self.wire.getPeer())
        assert protocol is not None
        self.protocol: RtspServerProtocol = protocol
        self.protocol.makeConnection(self.wire)
        self.sequence = 0
        self.session = ""
        self._reader = MessageReader()
        self.frames: list[Interleaved] = []

    def send(self, text: str | bytes) -> list[Reply]:
        """Send raw bytes; what was answered."""
        self.protocol.dataReceived(text.encode() if isinstance(text, str) else text)
        return self.read()

    def read(self) -> list[Reply]:
        data = self.wire.value()
        self.wire.clear()
        replies = []
        for message in self._reader.receive(data):
            if isinstance(message, Interleaved):
                self.frames.append(message)
            else:
                assert not isinstance(message, Request)
                replies.append(message)
        return replies

    def ask(self, method: str, path: str = "/cam", body: str = "", **headers: str) -> Reply:
        """One request, its answer."""
        [reply] = self.send(self.text(method, path, body, **headers))
        if "session" in reply.headers:
            self.session = reply.header("session").partition(";")[0]
        return reply

    def text(self, method: str, path: str = "/cam", body: str = "", **headers: str) -> str:
        self.sequence += 1
        lines = [f"{method} rtsp://192.0.2.1{path} RTSP/1.0", f"CSeq: {self.sequence}"]
        if self.session and "Session" not in headers:
            lines.append(f"Session: {self.session}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines) + "\r\n\r\n" + body

    def set_up(
        self, number: int = 1, transport: str = "RTP/AVP/TCP;unicast;interleaved=0-1", path: str = "/cam"
    ) -> Reply:
        return self.ask("SETUP", f"{path}/trackID={number}", Transport=transport)

    def lose(self) -> None:
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.protocol.connectionLost(Failure(ConnectionDone()))


class Rig:
    """A server, its clock, its core, its UDP ports."""

    def __init__(self, udp: bool = True, core: FakeCore | None = None, **limits: Any) -> None:
        self.clock = Clock()
        self.core = core or FakeCore()
        self.core.streams["cam"] = FakeStream()
        self.datagrams = FakeDatagrams()
        self.count = 0
        self.factory = RtspFactory(
            self.core,
            self.core,
            self.clock,
            lambda name: self.core.passwords.get(name, ""),
            datagrams=self.datagrams if udp else None,  # type: ignore[arg-type]
            limits=ServiceLimits(**limits),
            random=self._random,
        )

    def _random(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")

    def peer(self, address: str = "192.0.2.7") -> Peer:
        return Peer(self, address)
