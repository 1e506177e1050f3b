"""A file as one body: segment after segment, a few seconds ahead of real time.

Segments as they are made for HLS are one transport stream when they follow each other, so nothing is muxed
for a viewer alone; what it holds is a reference to the segment it is in, and one slice in its transport.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from restreamer.errors import RestreamerError
from restreamer.live.viewer import is_buffered
from restreamer.logs import Logger
from restreamer.m4f.file_index import FileIndex
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock, Timer, ViewerTransport
from restreamer.vod.packaged import Packaged, PackagedFiles

_log = Logger()

#: Seconds of media a viewer is ahead of real time.
AHEAD_SECONDS = 10.0
#: Bytes given to a transport at once.
SLICE = 64 * 1024
#: Seconds a viewer may take nothing.
STALL_SECONDS = 10.0
#: Shortest sleep, seconds.
SHORTEST = 0.02


class PacedFile:
    """One viewer of one file, and a pull producer for its transport; over TLS a push producer, because a TLS
    transport asks a pull producer for more whatever was written before (L{restreamer.live.viewer}).

    @ivar bytes_sent: handed to the transport so far.
    """

    def __init__(
        self,
        files: PackagedFiles,
        name: str,
        index: FileIndex,
        clock: Clock,
        transport: ViewerTransport,
        ended: Callable[[str], None],
    ) -> None:
        """@param ended: called once when the file is over or cannot go on, not after L{leave}."""
        self.bytes_sent = 0
        self._files = files
        self._name = name
        self._index = index
        self._clock = clock
        self._transport = transport
        self._ended = ended
        self._number = -1
        self._body = b""
        self._at = 0
        self._position = 0.0
        self._lasts = 0.0
        self._origin = clock.seconds()
        self._timer: Timer | None = None
        self._fetching: Deferred[Packaged] | None = None
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
        piece = self._body[self._at : self._at + SLICE]
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
        return position - elapsed - AHEAD_SECONDS

    def _fetch(self) -> None:
        self._position += self._lasts
        self._number += 1
        if self._number >= len(self._index):
            self._finish("end of file")
            return
        self._lasts = self._index.durations[self._number] / TICKS_PER_SECOND
        fetching = self._fetching = Deferred.fromCoroutine(
            self._files.ts(self._name, self._index.version, self._number)
        )
        _ = fetching.addCallbacks(self._fetched, self._failed)
        _ = fetching.addErrback(self._broken)

    def _fetched(self, packaged: Packaged) -> None:
        self._fetching = None
        if not self._over:
            self._body = packaged.body
            self._at = 0
            self._next()

    def _failed(self, failure: Failure) -> None:
        self._fetching = None
        if self._over:
            return
        if not isinstance(failure.value, RestreamerError):
            _log.failure("a file stopped in the middle", failure)
        self._abort(f"the file cannot go on: {failure.getErrorMessage()}")

    def _broken(self, failure: Failure) -> None:
        _log.failure("a viewer of a file failed", failure)
        self._abort("internal error")

    def _stalled(self) -> None:
        self._timer = None
        self._abort(f"did not take what it was sent for {STALL_SECONDS:.0f} s")

    def _abort(self, reason: str) -> None:
        """End without pretending that the file is over."""
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
