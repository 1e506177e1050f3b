"""A row of segments as one body: one after another, a few seconds ahead of real time or as fast as they go.

Segments as they are made for HLS are one transport stream when they follow each other, so nothing is muxed
for a viewer alone; what it holds is a reference to the segment it is in, and one slice in its transport.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from restreamer.errors import Reason, Refused, RestreamerError
from restreamer.live.viewer import is_buffered
from restreamer.logs import Logger
from restreamer.m4f.file_index import FileIndex
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock, Timer, ViewerTransport
from restreamer.vod.packaged import PackagedFiles

_log = Logger()

#: Seconds of media a viewer is ahead of real time.
AHEAD_SECONDS = 10.0
#: Bytes given to a transport at once.
SLICE = 64 * 1024
#: Seconds a viewer may take nothing.
STALL_SECONDS = 10.0
#: The reason of a body that came to its end.
END = "end of file"
#: Shortest sleep, seconds.
SHORTEST = 0.02


@frozen(eq=False)
class Piece:
    """The next bytes of a body. @ivar lasts: seconds of media in it."""

    body: bytes = field(repr=False)
    lasts: float


class Pieces(Protocol):
    """What a body is made of."""

    def next(self) -> Awaitable[Piece | None]:
        """The next piece; None at the end.

        @raise restreamer.errors.RestreamerError: it cannot go on.
        """
        ...


class Begun:
    """Pieces whose first one is there: who asks can still be told that there is none.

    Made with L{begun}.
    """

    def __init__(self, first: Piece, rest: Pieces) -> None:
        self._first: Piece | None = first
        self._rest = rest

    async def next(self) -> Piece | None:
        """See L{Pieces.next}."""
        first, self._first = self._first, None
        return first if first is not None else await self._rest.next()


async def begun(pieces: Pieces) -> Begun:
    """C{pieces}, as soon as the first one is there.

    @raise Refused: NOT_FOUND: there is none; what else keeps it from coming.
    """
    first = await pieces.next()
    if first is None:
        raise Refused(Reason.NOT_FOUND, "nothing of it can be read")
    return Begun(first, pieces)


class PacedBody:
    """One viewer of a row of pieces, and a pull producer for its transport; over TLS a push producer, because
    a TLS transport asks a pull producer for more whatever was written before (L{restreamer.live.viewer}).

    @ivar bytes_sent: handed to the transport so far. @ivar slice: bytes given to a transport at once.
    """

    slice = SLICE

    def __init__(
        self,
        pieces: Pieces,
        clock: Clock,
        transport: ViewerTransport,
        ended: Callable[[str], None],
        ahead: float = AHEAD_SECONDS,
    ) -> None:
        """@param ended: called once when the body is over or cannot go on, not after L{leave}.
        @param ahead: seconds it may be ahead of real time; infinite: as fast as it is taken.
        """
        self.bytes_sent = 0
        self._what = "it"
        self._pieces = pieces
        self._ahead = ahead
        self._clock = clock
        self._transport = transport
        self._ended = ended
        self._body = b""
        self._at = 0
        self._position = 0.0
        self._lasts = 0.0
        self._origin = clock.seconds()
        self._timer: Timer | None = None
        self._fetching: Deferred[Piece | None] | None = None
        self._registered = False
        self._registering = False
        self._buffered = is_buffered(transport)
        self._full = False
        self._stuck = False
        self._over = False

    def start(self) -> None:
        """Begin to send."""
        if self._buffered:
            self._registered = True
            self._transport.registerProducer(self, True)
        self._next()

    def leave(self) -> None:
        """Send nothing more. Idempotent."""
        if self._over:
            return
        self._over = True
        self._body = b""
        self._cancel()
        if self._fetching is not None:
            self._fetching.cancel()
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()

    # The producer.

    def resumeProducing(self) -> None:
        """The slice is gone (Twisted also calls this while registering)."""
        if self._buffered:
            self._full = False
            if self._stuck and not self._over:
                self._stuck = False
                self._cancel()
                self._next()
            return
        if self._registering or self._over or not self._registered:
            return
        self._registered = False
        self._transport.unregisterProducer()
        self._cancel()
        self._next()

    def pauseProducing(self) -> None:
        """A TLS transport holds enough."""
        self._full = True

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._registered = False
        self.leave()

    # Inside.

    def _next(self) -> None:
        """Send the next slice, now or when its time has come."""
        self._timer = None
        if self._over:
            return
        if self._full:
            self._stuck = True
            self._timer = self._clock.callLater(STALL_SECONDS, self._stalled)
            return
        if self._at >= len(self._body):
            self._fetch()
            return
        wait = self._wait()
        if wait > SHORTEST:
            self._timer = self._clock.callLater(wait, self._next)
            return
        piece = self._body[self._at : self._at + self.slice]
        self._at += len(piece)
        self.bytes_sent += len(piece)
        if self._buffered:
            self._transport.write(piece)
            if not self._over:
                self._timer = self._clock.callLater(0.0, self._next)
            return
        self._timer = self._clock.callLater(STALL_SECONDS, self._stalled)
        self._registered = True
        self._transport.write(piece)
        self._registering = True
        self._transport.registerProducer(self, False)
        self._registering = False

    def _wait(self) -> float:
        """Seconds until the next slice is due; a viewer that fell behind goes on from where it is."""
        elapsed = self._clock.seconds() - self._origin
        position = self._position + self._lasts * self._at / len(self._body)
        if position < elapsed:
            self._origin += elapsed - position
            return 0.0
        return position - elapsed - self._ahead

    def _fetch(self) -> None:
        self._position += self._lasts
        self._lasts = 0.0
        self._body = b""
        fetching = self._fetching = Deferred.fromCoroutine(_awaited(self._pieces.next()))
        _ = fetching.addCallbacks(self._fetched, self._failed)
        _ = fetching.addErrback(self._broken)

    def _fetched(self, piece: Piece | None) -> None:
        self._fetching = None
        if self._over:
            return
        if piece is None:
            self._finish(END)
            return
        self._body = piece.body
        self._lasts = piece.lasts
        self._at = 0
        self._next()

    def _failed(self, failure: Failure) -> None:
        self._fetching = None
        if self._over:
            return
        if not isinstance(failure.value, RestreamerError):
            _log.failure("a body stopped in the middle", failure)
        self._abort(f"{self._what} cannot go on: {failure.getErrorMessage()}")

    def _broken(self, failure: Failure) -> None:
        _log.failure("the viewer of a body failed", failure)
        self._abort("internal error")

    def _stalled(self) -> None:
        self._timer = None
        self._abort(f"did not take what it was sent for {STALL_SECONDS:.0f} s")

    def _abort(self, reason: str) -> None:
        """End without pretending that this is the end."""
        if not self._over:
            self._transport.abortConnection()
            self._finish(reason)

    def _finish(self, reason: str) -> None:
        if not self._over:
            self.leave()
            self._ended(reason)

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


class PacedFile(PacedBody):
    """One viewer of one file."""

    def __init__(
        self,
        files: PackagedFiles,
        name: str,
        index: FileIndex,
        clock: Clock,
        transport: ViewerTransport,
        ended: Callable[[str], None],
    ) -> None:
        super().__init__(_FilePieces(files, name, index), clock, transport, ended)
        self._what = "the file"


class _FilePieces:
    """The segments of a file as MPEG-TS."""

    def __init__(self, files: PackagedFiles, name: str, index: FileIndex) -> None:
        self._files = files
        self._name = name
        self._index = index
        self._number = 0

    async def next(self) -> Piece | None:
        """See L{Pieces}."""
        number = self._number
        if number >= len(self._index):
            return None
        self._number += 1
        packaged = await self._files.ts(self._name, self._index.version, number)
        return Piece(packaged.body, self._index.durations[number] / TICKS_PER_SECOND)


async def _awaited(piece: Awaitable[Piece | None]) -> Piece | None:
    return await piece
