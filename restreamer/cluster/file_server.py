"""The serving side of file links: asks come in, indexes and segments go out, a few at a time.

Answers carry the number of their ask and may come in another order. While the peer does not read, nothing new
is begun, so a link holds a few segments at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from restreamer.cluster.origin import REFUSAL_CODES
from restreamer.cluster.seams import LinkWriter
from restreamer.errors import LocalProtocolError, Refused, RemoteProtocolError
from restreamer.logs import Logger
from restreamer.m4f.records import (
    FileAsk,
    FileIndexed,
    FileRefused,
    FileSegment,
    FileSegmentAsk,
    Goodbye,
    Heartbeat,
    Ping,
    Record,
)
from restreamer.vod.seams import MediaFiles

_log = Logger()

#: Asks of one link that wait, and that are worked on at once.
MAX_ASKS = 256
MAX_AT_WORK = 3


class FileServer:
    """A L{restreamer.cluster.seams.LinkHandler}.

    @param files: what can be had here, of this node and of its sources. @param utc: UTC ticks now.
    """

    def __init__(self, files: MediaFiles, utc: Callable[[], int]) -> None:
        self._files = files
        self._utc = utc
        self._link: LinkWriter | None = None
        self._asks: deque[FileAsk | FileSegmentAsk] = deque()
        self._work: dict[Deferred[Record], None] = {}
        self._beginning = False

    def link_up(self, link: LinkWriter) -> None:
        """Wait for asks."""
        self._link = link

    def record(self, record: Record) -> None:
        """Take an ask."""
        if isinstance(record, (FileAsk, FileSegmentAsk)):
            if len(self._asks) >= MAX_ASKS:
                raise RemoteProtocolError("file link", f"more than {MAX_ASKS} asks wait")
            self._asks.append(record)
            self._begin()
        elif not isinstance(record, (Ping, Heartbeat, Goodbye)):
            raise RemoteProtocolError("file link", f"unexpected {type(record).__name__}")

    def resumed(self) -> None:
        """The link drained: go on."""
        self._begin()

    def beat(self) -> None:
        """Say that we live."""
        if self._link is not None and not self._link.paused:
            self._link.send(Ping(sent_at=self._utc()))

    def link_down(self, reason: str) -> None:
        """Nobody waits any more."""
        self._link = None
        self._asks.clear()
        for work in list(self._work):
            work.cancel()

    def _begin(self) -> None:
        """Begin what may be begun. Answers that are there at once come back here: the loop goes on."""
        if self._beginning:
            return
        self._beginning = True
        try:
            while self._asks and len(self._work) < MAX_AT_WORK and self._ready():
                ask = self._asks.popleft()
                work: Deferred[Record] = Deferred.fromCoroutine(self._answer(ask))
                self._work[work] = None
                _ = work.addErrback(self._failed, ask)
                _ = work.addCallback(self._done, work)
        finally:
            self._beginning = False

    def _ready(self) -> bool:
        return self._link is not None and not self._link.paused

    async def _answer(self, ask: FileAsk | FileSegmentAsk) -> Record:
        try:
            if isinstance(ask, FileAsk):
                return FileIndexed(ask.request, await self._files.index(ask.name))
            segment = await self._files.segment(ask.name, ask.version, ask.number)
            return FileSegment(ask.request, segment.encoded)
        except Refused as refused:
            return FileRefused(ask.request, REFUSAL_CODES[refused.reason], refused.text)

    def _failed(self, failure: Failure, ask: FileAsk | FileSegmentAsk) -> Record:
        if failure.check(CancelledError) is None:
            _log.failure("an ask for file {name!r} failed", failure, name=ask.name)
        return FileRefused(ask.request, 503, "internal error")

    def _done(self, answer: Record, work: Deferred[Record]) -> None:
        self._work.pop(work, None)
        if self._link is not None:
            try:
                self._link.send(answer)
            except LocalProtocolError as error:
                _log.error("an answer about a file does not fit: {error}", error=error)
                self._link.abort("internal error")
        self._begin()
