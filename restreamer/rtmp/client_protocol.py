"""L{ClientConnection} on a Twisted transport."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol as Interface
from typing import cast

from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from restreamer.errors import RemoteProtocolError
from restreamer.live.kernel_backlog import bound_backlog
from restreamer.logs import Logger
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.rtmp.capabilities import Capabilities
from restreamer.rtmp.client import Action, ClientConnection, ClientEvent, Ended, Ready
from restreamer.rtmp.handshake import NONCE
from restreamer.rtmp.limits import WireLimits
from restreamer.rtmp.url import RtmpUrl, without_secrets
from restreamer.seams import FeedViewer, ViewerTransport

_log = Logger()

#: Default time from the connection to the grant, in seconds.
READY_SECONDS = 10.0
#: Time a connection that is being closed gets to drain, in seconds.
CLOSE_SECONDS = 5.0


class ClientOwner(Interface):
    """Who a client works for."""

    def ready(self, client: RtmpClientProtocol) -> None:
        """The server granted the publish or play."""
        ...

    def received(self, events: list[ClientEvent]) -> None:
        """What one read brought: media of a play, a request to reconnect."""
        ...

    def ended(self, reason: str) -> None:
        """The connection is over: called once, whatever happened before."""
        ...


@implementer(IPushProducer)
class RtmpClientProtocol(Protocol):
    """Publishes or plays one stream.

    @ivar blocked: the transport's buffer is full: a publisher had better drop frames up to a keyframe.
    @ivar redirect: the URL where the server says that the stream is, or empty (may hold secrets).
    """

    def __init__(
        self,
        url: RtmpUrl,
        action: Action,
        owner: ClientOwner,
        clock: IReactorTime,
        random: Callable[[int], bytes],
        ready_seconds: float = READY_SECONDS,
        limits: WireLimits | None = None,
    ) -> None:
        """Ask for C{url} as soon as there is a connection; give up after C{ready_seconds} without a grant."""
        self._connection = ClientConnection(url, action, random(NONCE), limits)
        self._url = url
        self._owner = owner
        self._clock = clock
        self._ready_seconds = ready_seconds
        self._wire: ViewerTransport | None = None
        self._deadline: IDelayedCall | None = None
        self._why = ""
        self._over = False
        self._viewer: FeedViewer | None = None
        self._resume_call: IDelayedCall | None = None
        self._published = 0
        self.blocked = False
        self.redirect = ""

    @override
    def connectionMade(self) -> None:
        """Begin the handshake."""
        transport = self.transport
        assert transport is not None
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self._wire = cast(ViewerTransport, transport)
        self._wire.registerProducer(self, True)
        self._deadline = self._clock.callLater(self._ready_seconds, self._too_late)
        self._flush()

    @override
    def dataReceived(self, data: bytes) -> None:
        """Feed the machine."""
        if self._why:
            return
        try:
            events = self._connection.receive(data)
            self._flush()
            rest: list[ClientEvent] = []
            for event in events:
                if type(event) is Ready:
                    self._cancel_deadline()
                    self._owner.ready(self)
                elif type(event) is Ended:
                    self.redirect = event.redirect
                    self._close(f"{event.code}: {event.text}")
                else:
                    rest.append(event)
            if rest:
                self._owner.received(rest)
        except RemoteProtocolError as error:
            self._close(f"protocol error: {error}")
        except Exception:
            _log.failure("RTMP client failed")
            self._close("internal error")

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the owner."""
        self._wire = None
        self._cancel_deadline()
        self._leave_feed()
        if self._resume_call is not None and self._resume_call.active():
            self._resume_call.cancel()
        if not self._over:
            self._over = True
            self._owner.ended(self._why or f"connection lost ({reason.getErrorMessage()})")

    def configure(self, tracks: Tracks, title: str = "") -> None:
        """Announce C{tracks} (see L{ClientConnection.configure})."""
        self._connection.configure(tracks, title)
        self._flush()

    def send_frames(self, frames: Iterable[Frame]) -> None:
        """Publish frames in one write."""
        for frame in frames:
            self._connection.send(frame)
        self._flush()

    @property
    def server(self) -> Capabilities:
        """What the server said that it reads of Enhanced RTMP."""
        return self._connection.server

    @property
    def stream_id(self) -> int:
        """The message stream that the server gave."""
        return self._connection.stream_id

    @property
    def bytes_published(self) -> int:
        """Bytes sent from the feed so far."""
        return self._published + (self._viewer.bytes_sent if self._viewer is not None else 0)

    def follow_feed(self, join: Callable[[ViewerTransport], FeedViewer]) -> None:
        """Publish what a feed gives: from here on the transport's producer slot is the feed's.

        @param join: puts the transport on the feed, which must be muxed for L{stream_id}.
        @raise restreamer.errors.Refused: as C{join}.
        """
        wire = self._wire
        if wire is None or self._why:
            return
        wire.unregisterProducer()
        bound_backlog(wire)
        viewer = join(wire)
        if self._why or self._wire is None:
            viewer.leave()
        else:
            self._viewer = viewer

    def _leave_feed(self) -> None:
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            self._published += viewer.bytes_sent
            viewer.leave()

    def pause_reading(self, seconds: float) -> None:
        """Do not read for C{seconds}: the server sends faster than real time."""
        reader = self.transport
        if self._resume_call is None and self._wire is not None and IPushProducer.providedBy(reader):
            reader.pauseProducing()
            self._resume_call = self._clock.callLater(seconds, self._resume_reading)

    def _resume_reading(self) -> None:
        self._resume_call = None
        reader = self.transport
        if self._wire is not None and IPushProducer.providedBy(reader):
            reader.resumeProducing()

    def close(self, reason: str = "closed by us") -> None:
        """Say goodbye and close."""
        if not self._why:
            self._leave_feed()
            self._connection.close()
            self._close(reason)

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self.blocked = True

    def resumeProducing(self) -> None:
        """The transport's buffer has drained."""
        self.blocked = False

    def stopProducing(self) -> None:
        """The connection is gone; L{connectionLost} tells the owner."""
        self.blocked = True

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if not data or self._wire is None:
            return
        if self._viewer is not None:
            self._viewer.write_aside(data)
        else:
            self._wire.write(data)

    def _too_late(self) -> None:
        self._deadline = None
        self._close("the server did not answer in time")

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _close(self, why: str) -> None:
        if self._why:
            return
        self._why = without_secrets(why, self._url)
        self._cancel_deadline()
        on_feed = self._viewer is not None
        self._leave_feed()
        if self._wire is not None:
            self._flush()
            if not on_feed:
                self._wire.unregisterProducer()
            self._deadline = self._clock.callLater(CLOSE_SECONDS, self._abort)
            self._wire.loseConnection()

    def _abort(self) -> None:
        self._deadline = None
        if self._wire is not None:
            self._wire.abortConnection()


class ClientFactory(Factory):
    """Makes the one protocol of an endpoint's connection."""

    noisy = False

    def __init__(self, made: Callable[[], RtmpClientProtocol]) -> None:
        """@param made: makes it, when there is a connection."""
        self._made = made

    @override
    def buildProtocol(self, addr: IAddress | None) -> RtmpClientProtocol:
        """The client."""
        return self._made()
