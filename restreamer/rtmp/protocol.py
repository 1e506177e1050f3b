"""One RTMP connection on a Twisted transport: L{ServerConnection} in the middle, the core behind, deadlines.

Everything that can go wrong here ends this connection and nothing else. Replies to what one read brought
leave in one write, and its frames reach the core in one call. While a player is on a feed, the transport's
producer slot is the feed's and control bytes go through the feed's viewer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar, cast
from typing import Protocol as Interface

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.buckets import AddressBuckets, AddressLines, Pace
from restreamer.errors import Reason, Redirected, Refused, RemoteProtocolError
from restreamer.failures import FailureWindow
from restreamer.live.kernel_backlog import bound_backlog
from restreamer.logs import Logger
from restreamer.media.frame import Frame
from restreamer.rtmp import status
from restreamer.rtmp.capabilities import RECONNECT, Capabilities
from restreamer.rtmp.connection import Phase, ServerConnection
from restreamer.rtmp.counters import RtmpCounters
from restreamer.rtmp.events import (
    Connected,
    Event,
    PlayEnded,
    PlayPaused,
    PlayRequested,
    PlayResumed,
    PublishEnded,
    PublishRequested,
    RequestRefused,
)
from restreamer.rtmp.handshake import NONCE
from restreamer.rtmp.limits import ServiceLimits, WireLimits
from restreamer.rtmp.message import Audio, Data, Video
from restreamer.rtmp.play_choice import Choice, choose
from restreamer.rtmp.to_media import FlvToMedia, NewTracks, UnsupportedCodec
from restreamer.seams import (
    Account,
    FeedViewer,
    FrameSink,
    OpenRequest,
    Playable,
    PlayPoint,
    PublishPoint,
    ViewerTransport,
    tell_counts,
)
from restreamer.viewers.attendance import Attendance

_log = Logger()

#: A publisher is never left unread for longer than this at a time.
_MAX_PAUSE = 10.0
#: Time a publisher that is sent away gets to read why, while what it still sends is thrown away.
_LINGER = 0.5
_PROTO = "rtmp"

_T = TypeVar("_T")


class ServerTransport(ViewerTransport, Interface):
    """What the server protocol needs of its transport."""

    def pauseProducing(self) -> None:
        """Stop reading."""
        ...

    def resumeProducing(self) -> None:
        """Read again."""
        ...


@frozen(kw_only=True)
class ServerParts:
    """What all connections of a service share.

    @ivar random: gives that many random bytes. @ivar failed: addresses that brought wrong passwords lately.
    @ivar publishes: what each address published lately. @ivar lines: what of an address the log is told.
    """

    publish_point: PublishPoint
    play_point: PlayPoint
    clock: IReactorTime
    random: Callable[[int], bytes]
    failed: FailureWindow
    publishes: AddressBuckets
    lines: AddressLines
    wire: WireLimits = field(factory=WireLimits)
    limits: ServiceLimits = field(factory=ServiceLimits)
    counters: RtmpCounters = field(factory=RtmpCounters)


class RtmpServerProtocol(Protocol):
    """The shell around one L{ServerConnection}."""

    __slots__ = (
        "_attendance", "_capabilities", "_choice", "_client", "_clock", "_closed", "_connection",
        "_deadline", "_frames", "_gone", "_granted", "_last_byte", "_limits", "_lost", "_media", "_opening",
        "_parts", "_playable", "_rate", "_resume_call", "_sink", "_started", "_tick_call", "_viewer",
        "_what", "_wire", "peer",
    )  # fmt: skip

    def __init__(self, parts: ServerParts, lost: Callable[[RtmpServerProtocol], None]) -> None:
        """Serve one connection; C{lost} is called when it is gone."""
        self._parts = parts
        self._clock = parts.clock
        self._limits = parts.limits
        self._lost = lost
        self._wire: ServerTransport | None = None
        self._connection = ServerConnection(parts.random(NONCE), parts.wire)
        self._connection.allowed_commands = parts.limits.commands
        self._what = "connection"
        self._client = ""
        self._capabilities = Capabilities()
        self._choice = Choice()
        self._started = self._last_byte = self._clock.seconds()
        self._granted = self._closed = False
        self._gone = False
        self._deadline: IDelayedCall | None = None
        self._tick_call: IDelayedCall | None = None
        self._resume_call: IDelayedCall | None = None
        self._opening: Deferred[None] | None = None
        self._media: FlvToMedia | None = None
        self._sink: FrameSink | None = None
        limits = parts.limits
        self._rate = Pace(limits.message_bytes, limits.publisher_rate, limits.publisher_burst)
        self._frames: list[Frame] = []
        self._playable: Playable | None = None
        self._viewer: FeedViewer | None = None
        self._attendance = Attendance(None, self._expelled)
        self.peer = "?"

    # Twisted's calls.

    @override
    def connectionMade(self) -> None:
        """Start the deadlines."""
        transport = self.transport
        assert transport is not None
        self._wire = cast(ServerTransport, transport)
        self.peer = getattr(transport.getPeer(), "host", "local")
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        limits = self._limits
        self._arm(limits.handshake_seconds, "handshake")
        self._tick_call = self._clock.callLater(limits.ping_seconds, self._tick)

    @override
    def dataReceived(self, data: bytes) -> None:
        """Feed the machine; contain whatever goes wrong."""
        if self._closed:
            return
        self._last_byte = self._clock.seconds()
        connection = self._connection
        before = connection.phase
        try:
            events = connection.receive(data)
            if events:
                self._happened(events)
            if before is Phase.HANDSHAKE and connection.phase is not before and self._idle():
                self._arm(self._limits.request_seconds, "request")
            self._flush()
            if self._sink is not None:
                self._pace(len(data), len(events))
        except RemoteProtocolError as error:
            self._parts.counters.protocol_errors += 1
            self._close(f"protocol error: {error}")
        except Exception:
            self._crashed()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Clean up."""
        self._gone = True
        if not self._closed:
            self._close(f"the peer left ({reason.getErrorMessage()})")
        self._cancel_deadline()
        self._lost(self)

    # What the service asks.

    def request_reconnect(self, tc_url: str) -> None:
        """Ask the peer to connect again, if it said in C{connect} that it understands that."""
        if not self._closed and self._capabilities.flags & RECONNECT:
            self._connection.request_reconnect(tc_url)
            self._flush()

    def stop(self, reason: str) -> None:
        """Close politely."""
        if not self._closed:
            self._connection.end_publish(status.STREAM_FAILED, reason)
            self._connection.end_play(reason)
            self._close(reason)

    # Events.

    def _happened(self, events: Iterable[Event]) -> None:
        for event in events:
            if self._closed:
                return
            kind = type(event)
            if kind is Video or kind is Audio or kind is Data:
                self._take_media(event)  # type: ignore[arg-type]
            else:
                self._react(event)
        if self._frames:
            self._push()

    def _react(self, event: Event) -> None:
        """Anything but media."""
        match event:
            case Connected():
                self._client = event.client
                self._capabilities = event.capabilities
            case PublishRequested():
                self._publish_requested(event)
            case PlayRequested():
                self._cancel_deadline()
                self._open(self._play(event))
            case RequestRefused():
                self._refused(event.action, "", event.why)
            case PublishEnded():
                self._push()
                self._end_sink("the publisher unpublished")
                self._await_request()
            case PlayEnded():
                self._stop_playing()
                self._await_request()
            case PlayPaused():
                self._leave()
            case PlayResumed():
                self._flush()
                self._join()

    def _refused(self, action: str, name: str, why: str) -> None:
        """Count and log a refusal, then close."""
        self._parts.counters.refused += 1
        self._what = f"{action} {name}".rstrip()
        self._close(f"refused: {why}")

    def _open_request(self, event: PublishRequested | PlayRequested, action: str) -> OpenRequest:
        address = event.address
        self._what = f"{action} {address.name}"
        return OpenRequest(
            name=address.name,
            action=action,
            proto=_PROTO,
            peer=self.peer,
            token=address.token,
            password=address.password,
            query=address.query,
            user_agent=self._client,
            account=Account(),
        )

    # Publishing.

    def _publish_requested(self, event: PublishRequested) -> None:
        self._cancel_deadline()
        # Only who brings a password can guess one: others at that address, a proxy's say, go on.
        guess = bool(event.address.password)
        if guess and self._parts.failed.blocked(self.peer, self._clock.seconds()):
            text = "too many refused publishes from this address, try again in a minute"
            self._connection.refuse(event.request, Reason.OVERLOADED, text)
            self._refused("publish", event.address.name, text)
            return
        if not self._parts.publishes.admit(self.peer, self._clock.seconds()):
            text = "too many publishes from this address, try again in a minute"
            self._connection.refuse(event.request, Reason.OVERLOADED, text)
            self._refused("publish", event.address.name, text)
            return
        self._open(self._publish(event))

    async def _publish(self, event: PublishRequested) -> None:
        request = self._open_request(event, "publish")
        try:
            sink = await self._admitted(self._parts.publish_point.publish(request, self._kicked))
        except Refused as error:
            if request.password and error.reason is Reason.DENIED:
                self._parts.failed.failed(self.peer, self._clock.seconds())
            self._answer_refusal(event.request, "publish", request.name, error)
            return
        if self._closed or not self._connection.pending(event.request):
            sink.end("the publisher left while it was being admitted")
            return
        self._sink, self._granted = sink, True
        self._media = media = FlvToMedia()
        tell_counts(sink, lambda: media.counted)
        self._parts.counters.publishes += 1
        _log.info(
            "RTMP {peer}: publish of {name} granted to {client!r}",
            peer=self.peer,
            name=request.name,
            client=self._client,
        )
        held = self._connection.accept_publish(event.request)
        self._last_byte = self._clock.seconds()
        self._arm(self._limits.idle_seconds, "publisher")
        self._happened(held)
        self._flush()

    def _take_media(self, message: Audio | Video | Data) -> None:
        media = self._media
        if media is None:
            return
        for output in media.take(message):
            kind = type(output)
            if kind is Frame:
                self._frames.append(output)  # type: ignore[arg-type]
            elif kind is NewTracks:
                self._push()
                if self._sink is not None:
                    self._sink.configure(output.tracks)  # type: ignore[union-attr]
            elif kind is UnsupportedCodec:
                self._unsupported(output)  # type: ignore[arg-type]

    def _unsupported(self, output: UnsupportedCodec) -> None:
        text = f"{output.kind.name.lower()} codec {output.codec} is not supported"
        self._connection.end_publish(status.PUBLISH_REJECTED, text)
        self._refused("publish", self._what.partition(" ")[2], text)

    def _push(self) -> None:
        frames, self._frames = self._frames, []
        sink = self._sink
        if not frames or sink is None:
            return
        wait = sink.push(frames)
        if wait > 0 and not self._closed:
            self._pause_reading(min(wait, _MAX_PAUSE))

    def _pace(self, size: int, messages: int) -> None:
        """Let nobody publish faster than the fastest stream there is."""
        wait = self._rate.take(size, messages, self._last_byte)
        if wait > 0 and not self._closed:
            self._pause_reading(wait)

    def _pause_reading(self, seconds: float) -> None:
        if self._resume_call is None and self._wire is not None:
            self._wire.pauseProducing()
            self._resume_call = self._clock.callLater(seconds, self._resume_reading)

    def _resume_reading(self) -> None:
        self._resume_call = None
        self._last_byte = self._clock.seconds()
        if self._wire is not None and not self._gone:
            self._wire.resumeProducing()

    def _end_sink(self, reason: str) -> None:
        sink, self._sink = self._sink, None
        media, self._media = self._media, None
        self._frames = []
        if media is not None:
            self._parts.counters.dropped_frames += media.dropped
        if sink is not None:
            sink.end(reason)

    def _kicked(self, reason: str) -> None:
        """The core wants the publisher gone."""
        if not self._closed:
            self._connection.end_publish(status.STREAM_FAILED, reason)
            self._close(f"told to leave: {reason}")

    # Playing.

    async def _play(self, event: PlayRequested) -> None:
        request = self._open_request(event, "play")
        try:
            playable = await self._admitted(self._parts.play_point.play(request))
            self._choice = choose(playable, self._capabilities, request.query)
        except Refused as error:
            self._answer_refusal(event.request, "play", request.name, error, request.query)
            return
        if self._closed or not self._connection.pending(event.request):
            return
        self._connection.accept_play(event.request)
        self._parts.counters.plays += 1
        self._playable, self._granted = playable, True
        self._attendance = Attendance(request.account, self._expelled)
        _log.info(
            "RTMP {peer}: play of {name} granted to {client!r}",
            peer=self.peer,
            name=request.name,
            client=self._client,
        )
        self._flush()
        bound_backlog(self._wire)
        self._join()

    def _join(self) -> None:
        if self._playable is not None and self._viewer is None and self._wire is not None:
            try:
                viewer = self._choice.join(self._playable, self._wire, self._play_over)
            except Refused as refused:
                self._play_over(refused.text)
                return
            if self._closed or self._playable is None:
                viewer.leave()
            else:
                self._viewer = viewer
                self._attendance.begin(viewer)

    def _leave(self) -> None:
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            self._attendance.pause()
            viewer.leave()

    def _stop_playing(self) -> None:
        self._leave()
        self._playable = None
        self._attendance.end()

    def _play_over(self, reason: str, failed: bool = False) -> None:
        """The feed has no more for us."""
        self._stop_playing()
        if not self._closed:
            self._connection.end_play(reason, failed)
            self._close(reason)

    def _expelled(self, reason: str) -> None:
        """The player's session may not go on."""
        self._play_over(reason, failed=True)

    # Opening, for both.

    def _open(self, work: Coroutine[Any, Any, None]) -> None:
        """Run one admission; a second request can only come after the first was closed."""
        self._abandon_opening()
        opening: Deferred[None] = Deferred.fromCoroutine(work)
        if not opening.called:
            self._opening = opening
        _ = opening.addErrback(self._opening_failed)

    async def _admitted(self, awaitable: Awaitable[_T]) -> _T:
        """Wait for the gate; from its answer on there is nothing to abandon."""
        try:
            return await awaitable
        finally:
            self._opening = None

    def _opening_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return
        if failure.check(RemoteProtocolError) is not None:
            self._parts.counters.protocol_errors += 1
            self._close(f"protocol error: {failure.getErrorMessage()}")
            return
        self._crashed(failure)

    def _abandon_opening(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()

    def _answer_refusal(self, number: int, action: str, name: str, error: Refused, query: str = "") -> None:
        if not self._closed and self._connection.pending(number):
            redirect = None
            if isinstance(error, Redirected) and (error.rtmp or error.url):
                redirect = status.redirect(error, name, query)
            self._connection.refuse(number, error.reason, error.text, redirect)
            where = f" ({error.rtmp})" if isinstance(error, Redirected) and error.rtmp else ""
            self._refused(action, name, f"{error.reason.value}: {error.text}{where}")

    # Deadlines.

    def _arm(self, seconds: float, what: str) -> None:
        self._cancel_deadline()
        self._deadline = self._clock.callLater(seconds, self._expired, what)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _idle(self) -> bool:
        return not (self._closed or self._opening or self._sink or self._playable)

    def _await_request(self) -> None:
        """What was asked for is over: the next publish or play has to come in time."""
        self._abandon_opening()
        if self._idle():
            self._arm(self._limits.request_seconds, "request")

    def _expired(self, what: str) -> None:
        self._deadline = None
        if what == "publisher":
            left = self._last_byte + self._limits.idle_seconds - self._clock.seconds()
            if self._resume_call is not None:
                left = self._limits.idle_seconds
            if left > 0:
                self._arm(left, what)
                return
        self._parts.counters.timeouts += 1
        self._close(_EXPIRED[what])

    def _tick(self) -> None:
        """Ping, and let the peer send its commands anew."""
        self._tick_call = self._clock.callLater(self._limits.ping_seconds, self._tick)
        self._connection.allowed_commands = self._connection.commands + self._limits.commands
        if self._connection.phase is Phase.READY:
            self._connection.ping(int((self._clock.seconds() - self._started) * 1000))
            self._flush()

    # The end.

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if not data or self._gone:
            return
        if self._viewer is not None:
            self._viewer.write_aside(data)
        elif self._wire is not None:
            self._wire.write(data)

    def _crashed(self, failure: Failure | None = None) -> None:
        """An error of ours: log it whole, end this connection."""
        self._parts.counters.failures += 1
        _log.failure("RTMP {peer}: {what} failed", failure or Failure(), peer=self.peer, what=self._what)
        self._close("internal error")

    def _close(self, why: str) -> None:
        """End the connection: last replies, then close, then abort what does not drain. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._cancel_deadline()
        if self._tick_call is not None:
            self._tick_call.cancel()
        if self._resume_call is not None:
            self._resume_call.cancel()
            self._resume_reading()
        try:
            self._abandon_opening()
            self._stop_playing()
            self._flush()
        except Exception:
            self._parts.counters.failures += 1
            _log.failure("RTMP {peer}: closing {what} failed", peer=self.peer, what=self._what)
        if self._wire is not None and not self._gone:
            if self._media is None:
                self._hang_up()
            else:
                self._deadline = self._clock.callLater(_LINGER, self._hang_up)
        # Port scans and health checks say nothing; neither they nor floods shall fill the log.
        heard, now = self._connection.received, self._clock.seconds()
        ending = "" if self._granted or not heard else self._parts.lines.ending(self.peer, now)
        say = _log.info if heard and ending is not None else _log.debug
        say(
            "RTMP {peer}: {what} closed after {seconds:.1f} s, {received} bytes received: {why}{ending}",
            peer=self.peer,
            what=self._what,
            seconds=now - self._started,
            received=heard,
            why=why,
            ending=ending or "",
        )
        try:
            self._end_sink(why)
        except Exception:
            self._parts.counters.failures += 1
            _log.failure("RTMP {peer}: ending {what} failed", peer=self.peer, what=self._what)

    def _hang_up(self) -> None:
        """Close what has drained; the rest is aborted a little later."""
        if self._wire is not None and not self._gone:
            self._deadline = self._clock.callLater(self._limits.close_seconds, self._abort)
            self._wire.loseConnection()

    def _abort(self) -> None:
        self._deadline = None
        if self._wire is not None and not self._gone:
            self._wire.abortConnection()


_EXPIRED = {
    "handshake": "no handshake in time",
    "request": "neither publish nor play in time",
    "publisher": "the publisher sent nothing for too long",
}
