"""What the parts that record, keep and play archives know of each other."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from attrs import frozen

from restreamer.m4f.hour_index import HourIndex, Row
from restreamer.m4f.segment import Segment


@frozen
class Span:
    """A range without a gap; UTC ticks.

    @ivar start: of its first segment; @ivar end: where its last one ends.
    """

    start: int
    end: int


@frozen(kw_only=True)
class Holdings:
    """What there is of a stream.

    @ivar hours: the UTC hours (since the epoch) that hold something, rising.
    @ivar spans: what they hold, oldest first; pieces less than a second apart are one.
    @ivar size: canonical bytes. @ivar complete: False: somebody who may hold more could not be asked.
    """

    hours: tuple[int, ...]
    spans: tuple[Span, ...]
    size: int
    complete: bool = True


class ArchiveReader(Protocol):
    """Somebody who holds archives: this node's disks, a source, or all of them as one."""

    def holdings(self, name: str) -> Awaitable[Holdings]:
        """What there is of stream C{name}.

        @raise restreamer.errors.Refused: NOT_FOUND: nothing; NOT_READY: nobody who could tell is there now.
        """
        ...

    def hour(self, name: str, hour: int) -> Awaitable[HourIndex]:
        """The segments of one UTC hour; empty when there is none.

        @raise restreamer.errors.Refused: NOT_FOUND: nothing of the stream; NOT_READY.
        """
        ...

    def segment(self, name: str, row: Row) -> Awaitable[Segment]:
        """The segment of a row that L{hour} gave, verified: its number and checksum are those of the row.

        @raise restreamer.errors.Refused: NOT_FOUND: it is not there any more, or damaged; NOT_READY:
            whoever holds it is away; OVERLOADED.
        """
        ...

    def headers(self, name: str, rows: Sequence[Row]) -> Awaitable[Sequence[bytes | None]]:
        """The headers of segments (docs/m4f.md section 2), in the order of C{rows}, by their checksums.

        @return: None in the place of one that cannot be had without the segment, or not at all.
        @raise restreamer.errors.Refused: as L{segment}.
        """
        ...


class AskedFor(Protocol):
    """Gives the reader that serves another node, which may ask for others itself."""

    def __call__(self, path: tuple[bytes, ...]) -> ArchiveReader:
        """@param path: ids of the nodes that ask, none of which is asked in turn."""
        ...


class Recorder(Protocol):
    """Takes what is to be kept."""

    def record(self, name: str, segment: Segment, row: Row) -> None:
        """Keep a closed segment; never waits, never raises."""
        ...


class Archives(ArchiveReader, Protocol):
    """All that this node can play of the past: memory, cache, its disks and its sources as one timeline.

    L{hour} also has the closed segments of the live window.
    """

    def takes(self, name: str) -> bool:
        """Whether C{name} may have an archive, here or at a source: cheap, and asks nobody."""
        ...

    async def find(self, name: str, hours: Sequence[int], number: int) -> Row | None:
        """The row of segment C{number}, looked for in C{hours}."""
        ...
