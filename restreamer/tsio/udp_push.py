"""C{push udp://[INTERFACE@]ADDRESS:PORT}: a stream sent as MPEG-TS in datagrams, for as long as it runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.errors import Refused
from restreamer.live.push_target import PushFacts, PushTarget
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.logs import Logger
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks, same_tracks
from restreamer.seams import Playable
from restreamer.tsio.pacer import Pacer
from restreamer.tsio.push_options import PushOptions, push_options
from restreamer.tsio.udp_sender import UdpSender

_log = Logger()

#: Seconds between two turns of sending.
TURN: Final = 0.01
#: Ticks since the newest keyframe within which a push begins with it; else it waits for the next.
JOIN_WITHIN: Final = TICKS_PER_SECOND // 4
#: Pauses after a failure, in seconds.
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0

#: Makes the socket: host, port, TTL, loop, interface.
MakeSender = Callable[[str, int, int, bool, str], UdpSender]


@define(eq=False)
class _Following(IdleTap):
    """Follows the stream for its push. Calls must not raise."""

    push: UdpPush

    @override
    def run_began(self, run: RunInfo) -> None:
        self.push.began()

    @override
    def segment_opened(self, builder: SegmentBuilder) -> None:
        self.push.opened(builder.opening.tracks, builder.opening.discontinuity)

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        self.push.frames(frames)

    @override
    def stream_ended(self, reason: str) -> None:
        self.push.left()


@define(eq=False)
class UdpPush:
    """Sends one stream to one place (a L{restreamer.live.push_target.Pushing}).

    @ivar target: where to. @ivar name: of the stream. @ivar key: what its maker knows it by.
    """

    target: PushTarget
    name: str
    find: Callable[[str], Playable | None]
    reactor: Any = field(repr=False)
    key: Hashable = field(default=None, kw_only=True)
    make_sender: MakeSender = field(default=UdpSender, kw_only=True, repr=False)
    _options: PushOptions | None = field(default=None, init=False)
    _stream: Stream | None = field(default=None, init=False, repr=False)
    _tap: _Following | None = field(default=None, init=False)
    _pacer: Pacer | None = field(default=None, init=False)
    _sender: UdpSender | None = field(default=None, init=False)
    _tracks: Tracks = field(default=(), init=False)
    _chosen: frozenset[int] = field(default=frozenset(), init=False)
    _turn: IDelayedCall | None = field(default=None, init=False)
    _retry: IDelayedCall | None = field(default=None, init=False)
    _resolving: Deferred[Any] | None = field(default=None, init=False)
    _pause: float = field(default=FIRST_PAUSE, init=False)
    _new_run: bool = field(default=False, init=False)
    _state: str = field(default="idle", init=False)
    _since: float = field(default=0.0, init=False)
    _bytes: int = field(default=0, init=False)
    _lost: int = field(default=0, init=False)
    _error: str = field(default="", init=False)
    _retries: int = field(default=0, init=False)
    _overflows: int = field(default=0, init=False)
    _stopped: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._since = self.reactor.seconds()
        try:
            self._options = push_options(self.target.options, self.target.query)
        except Refused as refused:
            self._error = refused.text
            _log.error("push {url}: {why}", url=self.target.shown, why=refused.text)

    def follow(self, stream: Stream) -> None:
        """The stream began or ceased to run."""
        if self._stopped or self._options is None:
            return
        if stream.running and (self._stream is not stream or self._tap is None):
            self._leave()
            self._stream = stream
            self._tap = tap = _Following(self)
            self._pacer = Pacer(
                self._options.layout,
                self._options.service or stream.title or stream.name,
                self._options.bitrate,
            )
            self._tracks = ()
            tracks, frames = stream.recent()
            stream.attach(tap)
            if tracks:
                self.opened(tracks, False)
            self._connect()
            if frames and frames[-1].dts - frames[0].dts <= JOIN_WITHIN:
                # More than that would all be late, for ever.
                self.frames(frames)
        elif not stream.running and stream is self._stream:
            self._leave()

    def stop(self) -> None:
        """End it. Idempotent."""
        self._stopped = True
        self._leave()

    def facts(self) -> PushFacts:
        """How it is doing."""
        sender = self._sender
        sent = self._bytes + (sender.bytes if sender is not None else 0)
        return PushFacts(
            url=self.target.shown,
            state=self._state,
            since=self._since,
            bytes=sent,
            last_error=self._error,
            retries=self._retries,
            lost=self._lost + (sender.lost if sender is not None else 0),
        )

    # What the stream does.

    def began(self) -> None:
        """Another run feeds the stream."""
        self._new_run = True

    def opened(self, tracks: Tracks, discontinuity: bool) -> None:
        """A segment of C{tracks} begins."""
        pacer, options = self._pacer, self._options
        if pacer is None or options is None:
            return
        broken = (discontinuity or self._new_run) and bool(self._tracks)
        self._new_run = False
        if broken or not same_tracks(tracks, self._tracks):
            self._tracks = tracks
            chosen = tracks if options.selection is None else options.selection.of(tracks)
            self._chosen = frozenset(track.track_id for track in chosen)
            pacer.configure(chosen, broken)

    def frames(self, frames: Sequence[Frame]) -> None:
        """Frames came."""
        pacer = self._pacer
        if pacer is None or self._sender is None:
            return
        now = self.reactor.seconds()
        for frame in frames:
            if frame.track_id in self._chosen:
                pacer.add(frame, now)
        if self._turn is None and pacer.running:
            self._turn = self.reactor.callLater(0, self._send)

    def left(self) -> None:
        """The stream is gone for good."""
        self._tap = None
        self._leave()

    # Sending.

    def _send(self) -> None:
        self._turn = None
        pacer, sender = self._pacer, self._sender
        if pacer is None or sender is None:
            return
        seconds = self.reactor.seconds
        now = seconds()
        try:
            room = pacer.due(now)
            while datagram := pacer.datagram(seconds(), room):
                sender.send(pacer.stamped(datagram, seconds()))
                room -= len(datagram) // 188
        except OSError as error:
            self._fail(f"cannot send ({error.strerror or error})")
            return
        except Exception:
            _log.failure("push {url} failed", url=self.target.shown)
            self._fail("internal error")
            return
        self._turn = self.reactor.callLater(TURN, self._send)
        if self._state != "pushing":
            self._enter("pushing")
            self._pause = FIRST_PAUSE
        if pacer.overflows != self._overflows:
            self._overflows = pacer.overflows
            self._error = "the bit rate is too low, or frames come in bursts: frames were left out"
            _log.warn("push {url}: {why}", url=self.target.shown, why=self._error)

    def _connect(self) -> None:
        """Find the address, then open the socket."""
        self._retry = None
        self._enter("connecting")
        resolving = self._resolving = self.reactor.resolve(self.target.host)
        _ = resolving.addCallbacks(self._resolved, self._unresolved)
        _ = resolving.addErrback(lambda failure: _log.failure("push failed", failure))

    def _resolved(self, address: str) -> None:
        self._resolving = None
        options = self._options
        if self._stream is None or options is None:
            return
        try:
            self._sender = self.make_sender(
                address, self.target.port, options.ttl, options.loop, options.interface
            )
        except OSError as error:
            self._fail(f"cannot send ({error.strerror or error})")

    def _unresolved(self, failure: Failure) -> None:
        if self._resolving is not None:
            self._resolving = None
            self._fail(f"no address for the host ({failure.getErrorMessage()})")

    def _fail(self, why: str) -> None:
        """Try again in a while; the stream goes on."""
        self._drop_sender()
        if self._stream is None:
            return
        if why != self._error:
            _log.warn("push {url}: {why}", url=self.target.shown, why=why)
        self._error = why
        self._retries += 1
        self._enter("waiting")
        self._retry = self.reactor.callLater(self._pause, self._begin_again)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def _begin_again(self) -> None:
        options, stream = self._options, self._stream
        assert options is not None and stream is not None
        self._pacer = Pacer(options.layout, options.service or stream.title or stream.name, options.bitrate)
        tracks, self._tracks = self._tracks, ()
        if tracks:
            self.opened(tracks, False)
        self._connect()

    def _drop_sender(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        sender, self._sender = self._sender, None
        if sender is not None:
            self._bytes += sender.bytes
            self._lost += sender.lost
            sender.close()

    def _leave(self) -> None:
        tap, self._tap = self._tap, None
        stream, self._stream = self._stream, None
        if stream is not None and tap is not None:
            stream.detach(tap)
        self._drop_sender()
        self._pacer = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        resolving, self._resolving = self._resolving, None
        if resolving is not None:
            resolving.cancel()
        self._pause = FIRST_PAUSE
        if self._state != "idle":
            self._enter("idle")

    def _enter(self, state: str) -> None:
        self._state = state
        self._since = self.reactor.seconds()
