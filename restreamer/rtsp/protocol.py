"""One RTSP connection on a Twisted transport: requests one after the other, a session, interleaved media.

A connection has one session at most, and the session belongs to it: no other connection can speak of it. What
goes wrong here ends this connection and nothing else. While a player is on a feed over TCP, the transport's
producer slot is the feed's and answers go through the feed's viewer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from restreamer.errors import MediaError, Refused, RemoteProtocolError
from restreamer.logs import Logger
from restreamer.rtsp.message import HttpSpokenError, Interleaved, MessageReader, Reply, Request, RtspError
from restreamer.rtsp.refusal import refused, stream_words
from restreamer.rtsp.server_parts import Answer, ServerParts, written
from restreamer.rtsp.server_session import ServerSession
from restreamer.rtsp.states import State
from restreamer.rtsp.tunnel import ANSWER, MAX_WAITING, NOT_HERE, REFUSAL, Base64Stream, may_open, read_head

_log = Logger()

_MAX_AGENT: Final = 256
_MAX_PAUSE: Final = 10.0


@implementer(IPushProducer)
class RtspServerProtocol(Protocol):
    """One connection; the L{restreamer.rtsp.server_parts.SessionLink} of its session."""

    def __init__(
        self, parts: ServerParts, clock: IReactorTime, lost: Callable[[RtspServerProtocol], None]
    ) -> None:
        """Serve one connection; C{lost} is called when it is gone."""
        self._parts = parts
        self._clock = clock
        self._limits = parts.limits
        self._lost = lost
        self._reader = MessageReader()
        self.wire: Any = None
        self._started = self._heard = self._clock.seconds()
        self._unfinished: float | None = None
        self._requests = 0
        self._asked = False
        self._working: Deferred[None] | None = None
        self._busy = False
        self._looping = False
        self._reading = True
        self._full_since: float | None = None
        self._producing = False
        self._tick_call: IDelayedCall | None = None
        self._hang_up_call: IDelayedCall | None = None
        self._resume_call: IDelayedCall | None = None
        self._unasked_call: IDelayedCall | None = None
        self.closed = False
        self._gone = False
        self.what = "connection"
        self.agent = ""
        self.peer = "?"
        self.host = ""
        self.tls = False
        self._session = ServerSession(parts, self)
        #: The first bytes, until it is clear what the connection is.
        self._opening: bytearray | None = bytearray()
        self._other: RtspServerProtocol | None = None
        self._decoder: Base64Stream | None = None
        self._cookie: bytes | None = None

    # Twisted's calls.

    @override
    def connectionMade(self) -> None:
        """Start the deadlines."""
        transport = self.transport
        assert transport is not None
        self.wire = transport
        self.peer = getattr(transport.getPeer(), "host", "local")
        self.host = getattr(transport.getHost(), "host", "")
        self.tls = ISSLTransport.providedBy(transport)
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self.produce()
        self._tick_call = self._clock.callLater(self._limits.tick_seconds, self._tick)

    @override
    def dataReceived(self, data: bytes) -> None:
        """Take messages and interleaved frames."""
        if self.closed:
            return
        try:
            if self._opening is not None:
                data = self._open(data)
            if data and self._other is not None and self._decoder is not None:
                self._heard = self._clock.seconds()
                self._other.tunnelled(self._decoder.decode(data))
                return
        except RtspError as error:
            self._broken(error)
            return
        if data:
            self._reader.feed(data)
            self._go_on()

    def tunnelled(self, data: bytes) -> None:
        """Requests that came by the other half of a tunnel."""
        if self._reader.pending + len(data) > 4 * self._limits.pending:
            self._broken(RtspError(400, "too much behind a request"))
        elif not self.closed:
            self._reader.feed(data)
            self._go_on()

    def unasked(self) -> None:
        """The half of the tunnel that brings requests is gone: nothing can be asked any more."""
        self._other = None
        if not self.closed and self._unasked_call is None:
            self._unasked_call = self._clock.callLater(
                self._limits.tunnel_seconds, self.close, "the tunnel's half that asks is gone"
            )

    def _open(self, data: bytes) -> bytes:
        """The first bytes: they may open a half of a tunnel; what is none of its head is given back."""
        opening = self._opening
        assert opening is not None
        opening += data
        if not may_open(opening):
            self._opening = None
            return bytes(opening)
        found = read_head(opening)
        if found is None:
            return b""
        head, end = found
        self._opening = None
        if head is None:
            return bytes(opening)
        self.what = "tunnel"
        tunnels = self._parts.tunnels
        if not head.posts:
            if head.cookie in tunnels or len(tunnels) >= MAX_WAITING:
                self.write(REFUSAL)
                self.close("a tunnel of that name waits already")
            else:
                tunnels[head.cookie] = self
                self._cookie = head.cookie
                self.write(ANSWER)
            return b""
        other = tunnels.pop(head.cookie, None)
        if not isinstance(other, RtspServerProtocol) or other.peer != self.peer:
            self.write(REFUSAL)
            self.close("no tunnel waits for it")
            return b""
        self._asked = True
        self._other, other._other = other, self
        self._decoder = Base64Stream()
        return bytes(opening[end:])

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Clean up."""
        self._gone = True
        if not self.closed:
            self.close(f"the peer left ({reason.getErrorMessage()})")
        if self._hang_up_call is not None and self._hang_up_call.active():
            self._hang_up_call.cancel()
        self._lost(self)

    def pauseProducing(self) -> None:
        """The transport holds enough: answer nothing more until it has drained."""
        self._full_since = self._clock.seconds()
        self._read(False)

    def resumeProducing(self) -> None:
        """The transport has drained."""
        self._full_since = None
        if not self.closed:
            self._read(True)
            self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone; L{connectionLost} follows."""

    # What the service asks.

    def stop(self, reason: str) -> None:
        """Close politely."""
        if not self.closed:
            self._session.say_goodbye()
            self.close(reason)

    # Messages.

    def _go_on(self) -> None:
        """Take what is there, up to a request that has to wait for its answer."""
        if self._looping:
            return
        self._looping = True
        try:
            while not (self.closed or self._busy or self._full_since is not None):
                message = self._reader.next()
                if message is None:
                    break
                self._heard = self._clock.seconds()
                self._unfinished = None
                if type(message) is Interleaved:
                    self._session.frame(message.channel, message.data, self._heard)
                elif type(message) is Request:
                    self._requested(message)
            if not self._reader.pending:
                self._unfinished = None
            elif self._unfinished is None:
                self._unfinished = self._clock.seconds()
            self._read(self._full_since is None and self._reader.pending <= self._limits.pending)
            self._pace()
        except RtspError as error:
            self._broken(error)
        except Exception:
            self.crashed()
        finally:
            self._looping = False

    def _broken(self, error: RtspError) -> None:
        """The peer broke the protocol: it is told so, and the connection ends."""
        self._parts.counters.protocol_errors += 1
        if not self.closed:
            if isinstance(error, HttpSpokenError):
                self.write(NOT_HERE)
            elif self._decoder is None:
                self._send(Reply(status=error.status), "")
            self.close(f"protocol error: {error}")

    def _read(self, on: bool) -> None:
        """Read from the peer, or not: while a request is answered no more than one more is taken in."""
        on = on or (not self._busy and self._full_since is None)
        if self._resume_call is None and on != self._reading and self.wire is not None and not self._gone:
            self._reading = on
            if on:
                self._source_wire.resumeProducing()
            else:
                self._source_wire.pauseProducing()

    @property
    def _source_wire(self) -> Any:
        """What requests and media come by: of a tunnel, the other half."""
        other = self._other
        return other.wire if other is not None and other._decoder is not None else self.wire

    def _requested(self, request: Request) -> None:
        self._requests += 1
        self._asked = True
        sequence = request.header("cseq")
        if not sequence.isascii() or not sequence.isdecimal() or len(sequence) > 10:
            raise RtspError(400, "CSeq is no number")
        if self._requests > self._limits.requests:
            raise RtspError(400, f"more than {self._limits.requests} requests at once")
        self.agent = request.header("user-agent")[:_MAX_AGENT] or self.agent
        self._busy = True
        working: Deferred[None] = Deferred.fromCoroutine(self._answered(request, sequence))
        if not working.called:
            self._working = working
        _ = working.addErrback(self._failed)

    async def _answered(self, request: Request, sequence: str) -> None:
        """Handle one request and answer it."""
        close = False
        reply: Reply | None
        try:
            reply = await self._session.handled(request, sequence)
        except Answer as answer:
            reply, close = answer.reply, answer.close
        except Refused as error:
            reply = refused(error, request.url)
            self._say_refused(request, error.text)
        except RtspError as error:
            reply, close = Reply(status=error.status), True
        except (RemoteProtocolError, MediaError) as error:
            reply = Reply(status=400, headers={"X-Reason": str(error)})
            self._say_refused(request, str(error))
        self._working = None
        self._busy = False
        if self.closed:
            return
        if reply is not None:
            self._send(reply, sequence)
        if close:
            self.close("refused")
        elif self._reader.pending:
            self._go_on()

    def _say_refused(self, request: Request, why: str) -> None:
        self._session.say_refused(f"{request.method}{stream_words(request.url)}", why)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self.crashed(failure)

    # What the session asks.

    def admitted(self) -> None:
        """The gate has answered: nothing is left to be abandoned."""
        self._working = None

    def _send(self, reply: Reply, sequence: str) -> None:
        self.write(written(reply, sequence))

    def write(self, data: bytes) -> None:
        """Send bytes, in order with the media."""
        if self._gone or self.wire is None:
            return
        session = self._session.play
        if session is not None and session.tcp and session.viewer is not None:
            session.viewer.write_aside(data)
        else:
            self.wire.write(data)

    def produce(self) -> None:
        """Be told when the peer does not take our answers."""
        if not self._producing and not self._gone and not self.closed:
            self._producing = True
            self.wire.registerProducer(self, True)

    def unproduce(self) -> None:
        """Leave the transport's producer slot to a feed."""
        if self._producing:
            self._producing = False
            self._full_since = None
            self.wire.unregisterProducer()

    def _pace(self) -> None:
        """Do not read from a publisher that runs ahead of time, or sends more than it may."""
        source = self._session.record.source if self._session.record is not None else None
        if source is None or source.wait <= 0 or self._resume_call is not None or self.closed:
            return
        wait, source.wait = min(source.wait, _MAX_PAUSE), 0.0
        if self._session.record is not None and self._session.record.tcp:
            self._source_wire.pauseProducing()
            self._reading = False
            self._resume_call = self._clock.callLater(wait, self._read_again)

    def _read_again(self) -> None:
        self._resume_call = None
        if not self._gone and not self.closed:
            self._heard = self._clock.seconds()
            if self._session.record is not None:
                self._session.record.heard = self._heard
            self._read(True)

    # Deadlines.

    def _tick(self) -> None:
        """Look after everything that takes too long, and what receivers owe."""
        limits, now = self._limits, self._clock.seconds()
        self._requests = 0
        fast = self._session.state is State.RECORDING
        self._tick_call = self._clock.callLater(0.1 if fast else limits.tick_seconds, self._tick)
        why = self._overdue(now)
        if why:
            self._parts.counters.timeouts += 1
            self.close(why)
            return
        if fast and self._session.record is not None:
            self._session.receive_tick(self._session.record, now)

    def _overdue(self, now: float) -> str:
        """What has taken too long; empty: nothing."""
        limits = self._limits
        if self._decoder is not None:
            # The half that brings requests lives as long as the one that answers.
            return ""
        if self._full_since is not None and now - self._full_since > limits.stall_seconds:
            return "answers are not taken"
        if not self._asked and now - self._started > limits.request_seconds:
            return "no request in time"
        since = self._unfinished
        if since is not None and not self._busy and now - since > limits.request_seconds:
            return "a request that does not end"
        record = self._session.record
        if record is not None:
            if self._session.state is State.RECORDING:
                late = now - record.heard > limits.publisher_seconds
                return "the publisher sent nothing for too long" if late else ""
            return "" if now - self._heard <= limits.record_seconds else "no RECORD in time"
        if self._session.state is State.PLAYING and self._session.play is not None:
            if self._session.play.tcp:
                return ""
            heard = max(self._session.play.heard, self._heard)
        else:
            heard = self._heard
        return "nothing asked for too long" if now - heard > limits.idle_seconds and not self._busy else ""

    # The end.

    def crashed(self, failure: Failure | None = None) -> None:
        """An error of ours: log it whole, end this connection."""
        self._parts.counters.failures += 1
        _log.failure("RTSP {peer}: {what} failed", failure or Failure(), peer=self.peer, what=self.what)
        self.close("internal error")

    def abort(self) -> None:
        """Close at once."""
        if not self._gone and self.wire is not None:
            self.wire.abortConnection()

    def close(self, why: str) -> None:
        """End the connection: what is written drains, then it closes; the rest is aborted. Idempotent."""
        if self.closed:
            return
        self.closed = True
        for call in (self._tick_call, self._resume_call, self._unasked_call):
            if call is not None and call.active():
                call.cancel()
        working, self._working = self._working, None
        if self._cookie is not None and self._parts.tunnels.get(self._cookie) is self:
            del self._parts.tunnels[self._cookie]
        other, self._other = self._other, None
        if other is not None and self._decoder is None:
            other.close(why)
        elif other is not None:
            other.unasked()
        try:
            if working is not None:
                working.cancel()
            self._session.end(why)
        except Exception:
            self._parts.counters.failures += 1
            _log.failure("RTSP {peer}: ending {what} failed", peer=self.peer, what=self.what)
        if not self._gone and self.wire is not None:
            self.unproduce()
            self._hang_up_call = self._clock.callLater(self._limits.close_seconds, self.abort)
            self.wire.loseConnection()
        asked, now = self._asked, self._clock.seconds()
        ending = "" if self._session.served or not asked else self._parts.lines.ending(self.peer, now)
        say = _log.info if asked and ending is not None else _log.debug
        say(
            "RTSP {peer}: {what} closed after {seconds:.1f} s: {why}{ending}",
            peer=self.peer,
            what=self.what,
            seconds=now - self._started,
            why=why,
            ending=ending or "",
        )
