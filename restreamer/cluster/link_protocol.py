"""The Twisted shell of a link: bytes to L{restreamer.m4f.link.Link} and back, deadlines, heartbeats.

A link that says nothing for C{idle} seconds is dead, whatever TCP thinks of it; each end beats every half
second. A peer that does not read is aborted after L{STALL_SECONDS}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from typing import Protocol as Interface

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from restreamer.cluster.seams import LinkHandler
from restreamer.cluster.traffic import LinkTraffic, round_trip
from restreamer.errors import RemoteProtocolError
from restreamer.logs import Logger
from restreamer.m4f.link import Authorised, Link
from restreamer.m4f.records import Goodbye, Record, encode_record
from restreamer.m4f.upgrade import UpgradeResponse, upgrade_request
from restreamer.seams import Clock, Timer, ViewerTransport

_log = Logger()

#: Seconds from the connection to the authorised link.
AUTHORISE_SECONDS = 5.0
#: Seconds between two signs of life.
BEAT_SECONDS = 0.5
#: A source from which nothing came for so long is lost; counted from the last byte.
SOURCE_IDLE_SECONDS = 1.8
#: A puller from which nothing came for so long is gone.
PULLER_IDLE_SECONDS = 6.0
#: A peer that drains nothing for so long is aborted.
STALL_SECONDS = 10.0
#: On a push link the media comes from the client: who waits for it is impatient, as on other links.
_PUSH_IDLE = {"server": SOURCE_IDLE_SECONDS, "client": PULLER_IDLE_SECONDS}


class Handshake(Interface):
    """The handshake of one link, as whoever lets links in follows it."""

    def failed(self) -> float:
        """The peer did not prove the key: seconds to wait before it is told."""
        ...

    def news(self, why: str) -> bool:
        """Whether it is worth a line in the log that it failed."""
        ...

    def over(self) -> None:
        """The peer is authorised, was told that it is not, or is gone. Idempotent."""
        ...


@implementer(IPushProducer)
class LinkProtocol(Protocol):
    """One end of a link; a L{restreamer.cluster.seams.LinkWriter} once authorised.

    @param link: the sans-IO link. @param handler: makes who speaks on the link, given what the peer is and
        wants. @param idle: seconds of silence after which the peer is dead.
    @param handshake: told what becomes of the authorisation.
    @param watched: somebody waits for L{up} (a client's connector).
    @param traffic: counts what passes here, with other links; None: nobody asks.
    @ivar up: fires when the link is authorised, fails when it is lost before.
    """

    noisy = False

    def __init__(
        self,
        link: Link,
        handler: Callable[[Authorised], LinkHandler],
        clock: Clock,
        idle: float,
        peer_name: str = "",
        watched: bool = False,
        handshake: Handshake | None = None,
        traffic: LinkTraffic | None = None,
    ) -> None:
        self._traffic = traffic if traffic is not None else LinkTraffic()
        self._handshake = handshake
        self._watched = watched
        self._link = link
        self._make_handler = handler
        self._handler: LinkHandler | None = None
        self._clock = clock
        self._idle = idle
        self._peer_name = peer_name
        self._peer_id = b""
        self._deadline: Timer | None = None
        self._beat: Timer | None = None
        self._heard = 0.0
        self._watch: Timer | None = None
        self._closing = False
        self._paused_at: float | None = None
        self._reason = ""
        self._lost = False
        self._done = False
        self.up: Deferred[LinkProtocol] = Deferred()

    # LinkWriter.

    @property
    def peer_id(self) -> bytes:
        """Node id of the other end."""
        return self._peer_id

    @property
    def peer_name(self) -> str:
        """C{host:port} of a node we linked to, the address of one that came."""
        return self._peer_name

    @property
    def paused(self) -> bool:
        """Whether the transport holds more than it should."""
        return self._paused_at is not None

    @property
    def round_trip(self) -> float | None:
        """Seconds to the other end and back, as the kernel measured them; None when they cannot be had."""
        return round_trip(self.transport)

    def send(self, record: Record) -> None:
        """Send a record."""
        self.send_encoded(encode_record(record))

    def send_encoded(self, data: bytes) -> None:
        """Send encoded records."""
        if self.transport is not None and not self._lost and not self._closing:
            self._traffic.bytes_out += len(data)
            self.transport.write(data)

    def close(self, reason: str) -> None:
        """Say goodbye and close; an unread peer is aborted."""
        if self._lost or self._closing or self.transport is None:
            return
        self._reason = self._reason or reason
        self.send(Goodbye(code=0, text=reason[:200]))
        self._closing = True
        self._consumer().unregisterProducer()
        self._arm(STALL_SECONDS, "did not read our goodbye")
        self.transport.loseConnection()

    def abort(self, reason: str) -> None:
        """Close now."""
        self._reason = self._reason or reason
        self._closing = True
        if self.transport is not None and not self._lost:
            abort_connection(self.transport)

    # Twisted.

    @override
    def connectionMade(self) -> None:
        """Speak first or listen, as the role has it."""
        assert self.transport is not None
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        if not self._peer_name:
            self._peer_name = str(getattr(self.transport.getPeer(), "host", "peer"))
        self._consumer().registerProducer(self, True)
        self._heard = self._clock.seconds()
        self._arm(AUTHORISE_SECONDS, "did not authorise in time")
        self._flush()

    @override
    def dataReceived(self, data: bytes) -> None:
        """Feed the link; anything wrong closes it and nothing else."""
        self._heard = self._clock.seconds()
        self._traffic.bytes_in += len(data)
        if self._done or self._closing:
            return
        try:
            for event in self._link.receive(data):
                if self._closing or self._lost:
                    return
                if isinstance(event, Authorised):
                    self._authorised(event)
                elif self._handler is not None:
                    if isinstance(event, Goodbye):
                        self._reason = self._reason or event.text
                    self._handler.record(event)
            self._flush()
        except RemoteProtocolError as error:
            self._done = True
            cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
            # Of a link that never was up, its connector tells, or once in a while its listener.
            handshake = self._handshake if not self.up.called else None
            known = not handshake.news(str(error)) if handshake else self._watched and not self.up.called
            say = _log.debug if known else _log.warn
            say("link with {peer} closed: {error}{cause}", peer=self._peer_name, error=error, cause=cause)
            self._reason = self._reason or str(error)
            wait = handshake.failed() if handshake is not None else 0.0
            if wait:
                self._stop_deadline()
                self._deadline = self._clock.callLater(wait, self._refuse)
            else:
                self._refuse()
        except Exception:
            self._done = True
            _log.failure("link with {peer} closed by a fault of ours", peer=self._peer_name)
            self._reason = "internal error"
            self._fail()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the handler, once."""
        self._lost = True
        self._end_handshake()
        for timer in (self._deadline, self._beat, self._watch):
            if timer is not None and timer.active():
                timer.cancel()
        text = self._reason or why_lost(reason)
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.link_down(text)
        if not self.up.called and self._watched:
            self.up.errback(RemoteProtocolError("link", text))

    # Producer: the transport says when it holds too much.

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        if self._paused_at is None:
            self._paused_at = self._clock.seconds()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again."""
        if self._paused_at is not None:
            self._paused_at = None
            if self._handler is not None:
                self._handler.resumed()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    # Inside.

    def _consumer(self) -> ViewerTransport:
        return cast(ViewerTransport, self.transport)

    def _authorised(self, event: Authorised) -> None:
        self._peer_id = event.peer_node_id
        if event.purpose == "push":
            self._idle = _PUSH_IDLE[self._link.role]
        self._stop_deadline()
        self._end_handshake()
        self._handler = self._make_handler(event)
        self._flush()
        self._handler.link_up(self)
        if self._lost:
            return
        self._schedule_beat()
        self._watch_silence()
        if not self.up.called:
            self.up.callback(self)

    def _watch_silence(self) -> None:
        """Abort at the moment the peer has said nothing for C{idle} seconds."""
        left = self._heard + self._idle - self._clock.seconds()
        if left > 0:
            self._watch = self._clock.callLater(left, self._watch_silence)
        else:
            # When the loop itself was held up, what came meanwhile is still in the socket: it is read in the
            # turn that begins now, and what is called in the next one knows of it.
            self._watch = self._clock.callLater(0.0, self._silent)

    def _silent(self) -> None:
        if self._heard + self._idle > self._clock.seconds():
            self._watch_silence()
        else:
            self._watch = None
            self.abort(f"silent for {self._idle:.1f} s")

    def _schedule_beat(self) -> None:
        self._beat = self._clock.callLater(BEAT_SECONDS, self._on_beat)

    def _on_beat(self) -> None:
        self._schedule_beat()
        now = self._clock.seconds()
        if self._paused_at is not None and now - self._paused_at > STALL_SECONDS:
            self.abort(f"did not read for {STALL_SECONDS:.0f} s")
        elif self._handler is not None and not self._closing:
            self._handler.beat()

    def _arm(self, seconds: float, reason: str) -> None:
        self._stop_deadline()
        self._deadline = self._clock.callLater(seconds, self._expired, reason)

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _end_handshake(self) -> None:
        if self._handshake is not None:
            self._handshake.over()

    def _refuse(self) -> None:
        """Say what is left to be said, and close."""
        self._end_handshake()
        self._flush()
        self._fail()

    def _expired(self, reason: str) -> None:
        _log.warn("link with {peer} closed: {reason}", peer=self._peer_name, reason=reason)
        self.abort(reason)

    def _flush(self) -> None:
        data = self._link.data_to_send()
        if data and self.transport is not None and not self._lost and not self._closing:
            self._traffic.bytes_out += len(data)
            self.transport.write(data)

    def _fail(self) -> None:
        """Close after a polite word if there is one to send, at the latest at the deadline."""
        if self.transport is not None:
            self._closing = True
            self._consumer().unregisterProducer()
            self._arm(1.0, "did not close")
            self.transport.loseConnection()


def abort_connection(transport: object) -> None:
    """Close a connection that is not lost now, whatever is queued on it."""
    cast(ViewerTransport, transport).abortConnection()


def why_lost(reason: Failure) -> str:
    """What ended a connection, in words that say what to do where TLS is the cause."""
    error = reason.value
    if isinstance(error, VerificationError):
        return "the TLS certificate is not for this host name"
    if not isinstance(error, SSL.Error):
        return reason.getErrorMessage()
    details = error.args[0] if error.args and isinstance(error.args[0], list) else []
    why = ", ".join(str(each[-1]) for each in details if each) or "unknown"
    if "certificate verify failed" in why:
        return "the TLS certificate is not signed by a CA that is trusted here, or has expired (see ssl_ca)"
    return f"TLS failed: {why}"


class UpgradingProtocol(Protocol):
    """The client's first step: ask the node's HTTP port to speak M4F, then pass everything to the link.

    It stays in front of the link: the transport knows this protocol.

    @param link: the protocol that speaks after the upgrade. @param host: for the Host header.
    @ivar up: C{link}'s; it fails with L{Moved} when the node says to ask elsewhere.
    """

    noisy = False

    def __init__(self, link: LinkProtocol, host: str, clock: Clock) -> None:
        self._link = link
        self._host = host
        self._clock = clock
        self._response = UpgradeResponse()
        self._timer: Timer | None = None
        self._error: RemoteProtocolError | None = None
        self._switched = False
        self._lost = False
        self._told: Callable[[Failure], None] | None = None
        self.up: Deferred[Any] = link.up

    @override
    def connectionMade(self) -> None:
        """Send the request."""
        assert self.transport is not None
        self.transport.write(upgrade_request(self._host))
        self._timer = self._clock.callLater(AUTHORISE_SECONDS, self._expired)

    @override
    def dataReceived(self, data: bytes) -> None:
        """Read the response head; the rest belongs to the link."""
        if self._switched:
            self._link.dataReceived(data)
            return
        if self._error is not None or self.transport is None:
            return
        try:
            if not self._response.receive(data):
                return
        except RemoteProtocolError as error:
            self._error = error
            self.abort()
            return
        self._stop_timer()
        self._switched = True
        self._link.makeConnection(self.transport)
        if self._response.leftover:
            self._link.dataReceived(self._response.leftover)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Lost: the link's business once it began."""
        self._lost = True
        self._stop_timer()
        if self._switched:
            self._link.connectionLost(reason)
        elif not self.up.called:
            self.up.errback(self._error or RemoteProtocolError("upgrade", self._why(reason)))
        if self._told is not None:
            self._told(reason)

    def when_lost(self, told: Callable[[Failure], None]) -> None:
        """Call C{told} when the connection is lost, at once when it is lost already."""
        if self._lost:
            told(Failure(ConnectionLost()))
        else:
            self._told = told

    def abort(self) -> None:
        """Close the connection now, if it is not lost."""
        if self.transport is not None and not self._lost:
            abort_connection(self.transport)

    def loseConnection(self) -> None:  # noqa: N802 - of a transport
        """Close the link: for whoever keeps it and takes this for its transport. (A TLS transport does not
        close while it has a producer.)
        """
        self._link.close("not wanted any more")

    def _why(self, reason: Failure) -> str:
        """Why there was no answer; who closes without a word may wait for TLS."""
        text = why_lost(reason)
        if reason.check(ConnectionDone) and not ISSLTransport.providedBy(self.transport):
            text = (
                f"{text.rstrip('.')} without an answer (does that port speak TLS? then m4fs:// or https://)"
            )
        return text

    def _expired(self) -> None:
        self._error = RemoteProtocolError("upgrade", "no answer to the upgrade request")
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
