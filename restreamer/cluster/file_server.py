"""The serving side of file links: asks come in, indexes and segments go out, a few at a time.

Answers carry the number of their ask and may come in another order. While the peer does not read, nothing new
is begun, so a link holds a few segments at most.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from restreamer.cluster.origin import REFUSAL_CODES
from restreamer.cluster.seams import LinkWriter
from restreamer.dvr.seams import AskedFor
from restreamer.errors import LocalProtocolError, Reason, Refused, RemoteProtocolError
from restreamer.logs import Logger
from restreamer.m4f.hour_index import encode_hour
from restreamer.m4f.records import (
    MAX_PATH,
    ArchiveAsk,
    ArchiveHoldings,
    ArchiveHour,
    ArchiveHourAsk,
    ArchiveSegmentAsk,
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

#: Asks of one link that wait, of both kinds; and of each kind, how many are worked on at once. One of an
#: archive may have to wait for a disk or another node, and does not hold up those for files.
MAX_ASKS = 256
MAX_AT_WORK = 3
MAX_ARCHIVES_AT_WORK = 5


#: What a peer may ask for.
_OfFiles = FileAsk | FileSegmentAsk
_OfArchives = ArchiveAsk | ArchiveHourAsk | ArchiveSegmentAsk
Ask = _OfFiles | _OfArchives


@define(eq=False)
class AskCounters:
    """What other nodes asked for.

    @ivar asked: by kind (file, file segment, holdings, hour, segment). @ivar refused: of these.
    @ivar segment_bytes: canonical bytes of archives that were given.
    """

    asked: Counter[str] = field(factory=Counter)
    refused: int = 0
    segment_bytes: int = 0


_KINDS: dict[type, str] = {
    FileAsk: "file",
    FileSegmentAsk: "file segment",
    ArchiveAsk: "holdings",
    ArchiveHourAsk: "hour",
    ArchiveSegmentAsk: "segment",
}


@define(eq=False)
class _Line:
    """Asks of one kind. @ivar waiting: in the order they came; @ivar at_work: those that were begun."""

    waiting: deque[Ask] = field(factory=deque)
    at_work: dict[Deferred[Record], None] = field(factory=dict)


class FileServer:
    """A L{restreamer.cluster.seams.LinkHandler}.

    @param files: what can be had here, of this node and of its sources. @param utc: UTC ticks now.
    @param archives: likewise the past of streams; None: there is none to be had.
    @param counters: of all links.
    """

    def __init__(
        self,
        files: MediaFiles,
        utc: Callable[[], int],
        node_id: bytes = b"",
        archives: AskedFor | None = None,
        counters: AskCounters | None = None,
    ) -> None:
        self._counters = counters or AskCounters()
        self._files = files
        self._node_id = node_id
        self._archives = archives
        self._utc = utc
        self._link: LinkWriter | None = None
        self._files_asked = _Line()
        self._archives_asked = _Line()
        self._beginning = False

    def link_up(self, link: LinkWriter) -> None:
        """Wait for asks."""
        self._link = link

    def record(self, record: Record) -> None:
        """Take an ask."""
        if isinstance(record, Ask):
            if len(self._files_asked.waiting) + len(self._archives_asked.waiting) >= MAX_ASKS:
                raise RemoteProtocolError("file link", f"more than {MAX_ASKS} asks wait")
            line = self._files_asked if isinstance(record, _OfFiles) else self._archives_asked
            line.waiting.append(record)
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
        for line in (self._files_asked, self._archives_asked):
            line.waiting.clear()
            for work in list(line.at_work):
                work.cancel()

    def _begin(self) -> None:
        """Begin what may be begun. Answers that are there at once come back here: the loop goes on."""
        if self._beginning:
            return
        self._beginning = True
        try:
            while self._ready() and (line := self._next()) is not None:
                ask = line.waiting.popleft()
                work: Deferred[Record] = Deferred.fromCoroutine(self._answer(ask))
                line.at_work[work] = None
                _ = work.addErrback(self._failed, ask)
                _ = work.addCallback(self._done, work, line)
        finally:
            self._beginning = False

    def _next(self) -> _Line | None:
        """Whose turn it is; None: nobody's."""
        for line, most in ((self._files_asked, MAX_AT_WORK), (self._archives_asked, MAX_ARCHIVES_AT_WORK)):
            if line.waiting and len(line.at_work) < most:
                return line
        return None

    def _ready(self) -> bool:
        return self._link is not None and not self._link.paused

    async def _answer(self, ask: Ask) -> Record:
        self._counters.asked[_KINDS[type(ask)]] += 1
        try:
            if isinstance(ask, FileAsk):
                return FileIndexed(ask.request, await self._files.index(ask.name))
            if isinstance(ask, FileSegmentAsk):
                segment = await self._files.segment(ask.name, ask.version, ask.number)
                return FileSegment(ask.request, segment.encoded)
            return await self._of_archive(ask)
        except Refused as refused:
            self._counters.refused += 1
            return FileRefused(ask.request, REFUSAL_CODES[refused.reason], refused.text)

    async def _of_archive(self, ask: _OfArchives) -> Record:
        if self._archives is None or self._node_id in ask.path or len(ask.path) >= MAX_PATH:
            raise Refused(Reason.NOT_FOUND, "nothing is recorded here")
        archive = self._archives(ask.path)
        if isinstance(ask, ArchiveAsk):
            held = await archive.holdings(ask.name)
            spans = tuple((span.start, span.end) for span in held.spans)
            return ArchiveHoldings(ask.request, held.hours, spans, held.size, held.complete)
        index = await archive.hour(ask.name, ask.hour)
        if isinstance(ask, ArchiveHourAsk):
            return ArchiveHour(ask.request, encode_hour(index))
        row = index.find(ask.number)
        if row is None or row.checksum != ask.checksum:
            raise Refused(Reason.NOT_FOUND, "the archive has no such segment")
        if ask.header and (header := (await archive.headers(ask.name, [row]))[0]) is not None:
            self._counters.segment_bytes += len(header)
            return FileSegment(ask.request, header)
        encoded = (await archive.segment(ask.name, row)).encoded
        self._counters.segment_bytes += len(encoded)
        return FileSegment(ask.request, encoded)

    def _failed(self, failure: Failure, ask: Ask) -> Record:
        if failure.check(CancelledError) is None:
            _log.failure("an ask for {name!r} failed", failure, name=ask.name)
        return FileRefused(ask.request, 503, "internal error")

    def _done(self, answer: Record, work: Deferred[Record], line: _Line) -> None:
        line.at_work.pop(work, None)
        if self._link is not None:
            try:
                self._link.send(answer)
            except LocalProtocolError as error:
                _log.error("an answer about a file does not fit: {error}", error=error)
                self._link.abort("internal error")
        self._begin()
