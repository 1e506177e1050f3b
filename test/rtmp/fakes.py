"""A core in miniature for the RTMP tests: grants everything, keeps what it got, feeds what it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from restreamer.errors import Reason, Refused
from restreamer.media.frame import Frame
from restreamer.media.selection import TrackSelection
from restreamer.media.track import Tracks
from restreamer.rtmp.play_muxer import RtmpFeedMuxer, RtmpMuxers
from restreamer.seams import OpenRequest, ViewerTransport


@define(eq=False)
class FakeSink:
    """Records what a publisher brings and hands it to the players of its name."""

    core: FakeCore
    name: str
    kick: Callable[[str], None]
    tables: list[Tracks] = field(factory=list)
    frames: list[Frame] = field(factory=list)
    pushes: int = 0
    wait: float = 0.0
    ended: str | None = None
    gop: list[Frame] = field(factory=list)
    viewers: list[FakeViewer] = field(factory=list)

    def configure(self, tracks: Tracks) -> None:
        self.tables.append(tracks)

    def dated(self, offset: int | None) -> None:
        """Nobody asks."""

    def push(self, frames: Sequence[Frame]) -> float:
        assert self.ended is None
        self.pushes += 1
        for frame in frames:
            self.frames.append(frame)
            if frame.key and self.tables[-1][0].track_id == frame.track_id:
                self.gop = []
            if frame.key or self.gop:
                self.gop.append(frame)
            for viewer in list(self.viewers):
                viewer.send(viewer.muxer.mux(frame))
        return self.wait

    def end(self, reason: str) -> None:
        if self.ended is None:
            self.ended = reason
            if self.core.live.get(self.name) is self:
                del self.core.live[self.name]
            for viewer in list(self.viewers):
                viewer.finish(reason)


@define(eq=False)
class FakeViewer:
    """One player: writes straight to its transport."""

    sink: FakeSink
    transport: ViewerTransport
    ended: Callable[[str], None]
    muxer: RtmpFeedMuxer
    bytes_sent: int = 0

    def send(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self.transport.write(data)

    def finish(self, reason: str) -> None:
        self.leave()
        self.ended(reason)

    def leave(self) -> None:
        if self in self.sink.viewers:
            self.sink.viewers.remove(self)

    def write_aside(self, data: bytes) -> None:
        self.transport.write(data)


@define(eq=False)
class FakePlayable:
    """What the play point grants."""

    sink: FakeSink

    def tracks(self, container: str, selection: TrackSelection | None = None) -> Tracks:
        muxer = RtmpMuxers()[container]("")
        found = tuple(track for track in self.sink.tables[-1] if muxer.carries(track))
        if not found:
            raise Refused(Reason.UNSUPPORTED, "no track that can be carried")
        return found

    def join(
        self,
        container: str,
        transport: ViewerTransport,
        ended: Callable[[str], None],
        selection: TrackSelection | None = None,
    ) -> FakeViewer:
        muxer = RtmpMuxers()[container](self.sink.name)
        muxer.configure(self.sink.tables[-1], self.sink.frames[0].dts, False)
        viewer = FakeViewer(self.sink, transport, ended, muxer)
        viewer.send(muxer.join_prefix())
        for frame in self.sink.gop:
            viewer.send(muxer.mux(frame))
        self.sink.viewers.append(viewer)
        return viewer


@define(eq=False)
class FakeCore:
    """Publish point and play point.

    C{hold} makes the gate slow: its answers wait in C{waiting} until called. C{refusal} refuses everything.
    """

    live: dict[str, FakeSink] = field(factory=dict)
    sinks: list[FakeSink] = field(factory=list)
    requests: list[OpenRequest] = field(factory=list)
    hold: bool = False
    waiting: list[Deferred[None]] = field(factory=list)
    refusal: Refused | None = None
    crash: Exception | None = None

    async def _gate(self, request: OpenRequest) -> None:
        self.requests.append(request)
        if self.hold:
            deferred: Deferred[None] = Deferred()
            self.waiting.append(deferred)
            await deferred
        else:
            await succeed(None)
        if self.crash is not None:
            raise self.crash
        if self.refusal is not None:
            raise self.refusal

    def publish(self, request: OpenRequest, kick: Callable[[str], None]) -> Awaitable[FakeSink]:
        return self._publish(request, kick)

    async def _publish(self, request: OpenRequest, kick: Callable[[str], None]) -> FakeSink:
        await self._gate(request)
        if request.name in self.live:
            raise Refused(Reason.BUSY, "the stream has a publisher")
        sink = FakeSink(self, request.name, kick)
        self.live[request.name] = sink
        self.sinks.append(sink)
        return sink

    def play(self, request: OpenRequest) -> Awaitable[FakePlayable]:
        return self._play(request)

    async def _play(self, request: OpenRequest) -> FakePlayable:
        await self._gate(request)
        sink = self.live.get(request.name)
        if sink is None or not sink.gop:
            raise Refused(Reason.NOT_FOUND, "no such stream")
        return FakePlayable(sink)
