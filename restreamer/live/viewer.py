"""One viewer of a feed: a socket and a position in the shared log.

A viewer is I{live} while all it was given went into the kernel: a flush then costs it one C{send}. When
the kernel takes less than an entry, the rest of that one entry goes to the transport's own buffer and the
viewer is I{parked}: it registers as a pull producer, and the transport's call says that the rest is gone.
So private memory is at most one entry, packets are never torn, and only public Twisted interfaces are used.

The order rule: the socket is written directly only while the transport's buffer is empty. A new viewer is
therefore parked first, behind whatever its protocol wrote before (a response head, RTMP status messages).

A viewer over TLS sends records instead (L{SealedViewer}), or has no socket to write to (L{BufferedViewer}:
our own connections to others).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from typing_extensions import override

from restreamer.seams import ViewerTransport


def _never_ready(data: bytes) -> int:
    """The C{send} of a transport with no plain socket: everything goes through the transport's buffer."""
    raise BlockingIOError


def direct_send(transport: ViewerTransport) -> Callable[[bytes], int]:
    """The C{send} of the transport's own non-blocking socket.

    An in-memory transport has none: bytes for it go through C{transport.write}, one entry at a time, paced by
    the pull producer signal.
    """
    get_handle = getattr(transport, "getHandle", None)
    if get_handle is None:
        return _never_ready
    handle = get_handle()
    return handle.send if type(handle) is socket.socket else _never_ready


class ViewerHost(Protocol):
    """The feed, as its viewers know it."""

    def is_live(self, viewer: Viewer) -> bool:
        """Whether the viewer has all it was given in the kernel."""
        ...

    def hold(self, viewer: Viewer, rest: bytes) -> None:
        """The kernel did not take C{rest}: park the viewer behind it."""
        ...

    def drained(self, viewer: Viewer) -> None:
        """All that a parked viewer was given is in the kernel."""
        ...

    def left(self, viewer: Viewer) -> None:
        """A viewer is gone."""
        ...


class Viewer:
    """A viewer of a L{Feed}.

    @ivar position: where in the log the next entry to send begins. @ivar live: all that it was given is in
        the kernel; the feed says so. @ivar parked_at: when it was parked, seconds. @ivar skips: times of its
        jumps to a newer keyframe.
    """

    __slots__ = (
        "_ended",
        "_feed",
        "_first_call",
        "_line",
        "_origin",
        "gone",
        "live",
        "parked",
        "parked_at",
        "position",
        "send",
        "skips",
        "transport",
    )

    def __init__(self, feed: ViewerHost, transport: ViewerTransport, ended: Callable[[str], None]) -> None:
        self._feed = feed
        self.transport = transport
        self._ended = ended
        #: Whose buffer the viewer waits for.
        self._line = transport
        self.send = direct_send(transport)
        self.position = 0
        self._origin = 0
        self.live = False
        self.parked = False
        self.parked_at = 0.0
        self.gone = False
        self.skips: tuple[float, ...] = ()
        self._first_call = False

    @property
    def bytes_sent(self) -> int:
        """Bytes handed over so far."""
        # Not counted: that would be done for everybody at each flush.
        return self.position - self._origin

    def place(self, position: int, size: int) -> None:
        """Go on at C{position}, after being handed C{size} bytes more."""
        self._origin = position - self.bytes_sent - size
        self.position = position

    def park(self, rest: bytes, now: float) -> None:
        """Leave C{rest} to the transport and wait until it is gone."""
        self.parked = True
        self.parked_at = now
        if rest:
            self.transport.write(rest)
        self._first_call = True
        self._line.registerProducer(self, False)
        self._first_call = False

    def resumeProducing(self) -> None:
        """The transport's buffer is empty (Twisted also calls this once while registering)."""
        if self._first_call or self.gone or not self.parked:
            return
        self.parked = False
        self._line.unregisterProducer()
        self._feed.drained(self)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.leave()

    def leave(self) -> None:
        """Stop sending to this viewer. Idempotent."""
        if not self.gone:
            self._release()
            self._feed.left(self)

    def write_aside(self, data: bytes) -> None:
        """Send control bytes in order with the media."""
        if self.gone:
            return
        if not self._feed.is_live(self):
            self.transport.write(data)
            return
        try:
            sent = self.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(data):
            self._feed.hold(self, data[sent:])

    def end(self, reason: str, abort: bool) -> None:
        """The feed is over for this viewer; its protocol is told."""
        if self.gone:
            return
        self._release()
        if abort:
            self.transport.abortConnection()
        self._ended(reason)

    def _release(self) -> None:
        self.gone = True
        if self.parked:
            self.parked = False
            self._line.unregisterProducer()


class SealedViewer(Viewer):
    """A viewer over TLS: what it is sent is made records of by itself, and these go into the socket.

    @param transport: one that seals (L{restreamer.sealed.SealedProtocol}).
    """

    __slots__ = ("_seal", "_send_records")

    def __init__(self, feed: ViewerHost, transport: Any, ended: Callable[[str], None]) -> None:
        super().__init__(feed, transport, ended)
        self._seal: Callable[[bytes], bytes] = transport.seal
        self._line = transport.wire.transport
        self._send_records = direct_send(self._line)
        self.send = self._send
        transport.wire.told = self._written_aside

    def _send(self, data: bytes) -> int:
        """Records cannot be taken back: all of C{data} is taken, whatever the kernel takes of them."""
        records = self._seal(data)
        try:
            sent = self._send_records(records)
        except BlockingIOError:
            sent = 0
        if sent != len(records):
            self._line.write(records[sent:])
            self._feed.hold(self, b"")
        return len(data)

    def _written_aside(self) -> None:
        """TLS has sent something by itself, which waits in the transport below."""
        if not self.gone and self._feed.is_live(self):
            self._feed.hold(self, b"")

    @override
    def _release(self) -> None:
        super()._release()
        wire: Any = self.transport
        wire.wire.told = None


class BufferedViewer(Viewer):
    """A viewer whose bytes all go through its transport, because somebody stands before the socket: TLS.

    It is live while the transport takes more, and parked while the transport says that it holds enough
    (Twisted's does at 64 KiB). So its private memory is that and one entry. It must be a push producer, and
    be one before it writes: a TLS transport asks a pull producer for more whatever was written before.
    """

    __slots__ = ("full",)

    def __init__(self, feed: ViewerHost, transport: ViewerTransport, ended: Callable[[str], None]) -> None:
        super().__init__(feed, transport, ended)
        self.full = False
        self.send = self._send
        transport.registerProducer(self, True)

    def _send(self, data: bytes) -> int:
        self.transport.write(data)
        if self.full and not self.gone:
            self._feed.hold(self, b"")
        return len(data)

    @override
    def park(self, rest: bytes, now: float) -> None:
        """Write C{rest}; what was written before makes the wait, if anything does."""
        self.parked = True
        self.parked_at = now
        if rest:
            self.transport.write(rest)
        if not self.full and not self.gone:
            self._drain()

    def pauseProducing(self) -> None:
        """The transport holds enough."""
        self.full = True

    @override
    def resumeProducing(self) -> None:
        """The transport holds nothing."""
        self.full = False
        if self.parked and not self.gone:
            self._drain()

    def _drain(self) -> None:
        self.parked = False
        self._feed.drained(self)

    @override
    def _release(self) -> None:
        self.gone = True
        self.parked = False
        self.transport.unregisterProducer()


def is_buffered(transport: ViewerTransport) -> bool:
    """Whether somebody stands before the socket of C{transport}: TLS."""
    handle = getattr(transport, "getHandle", None)
    return handle is not None and type(handle()) is not socket.socket


def viewer_of(feed: ViewerHost, transport: ViewerTransport, ended: Callable[[str], None]) -> Viewer:
    """The kind of viewer that C{transport} needs."""
    if hasattr(transport, "seal"):
        return SealedViewer(feed, transport, ended)
    return (BufferedViewer if is_buffered(transport) else Viewer)(feed, transport, ended)
