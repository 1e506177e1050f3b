"""Archives as other nodes may ask for them: those of streams that are not given to nodes are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define

from restreamer.dvr.seams import ArchiveReader, Holdings
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import HourIndex, Row
from restreamer.m4f.segment import Segment


@define(eq=False)
class AllowedArchive:
    """An L{ArchiveReader} before another one.

    @param allows: whether the past of a stream may be given; asked anew each time, as a reload changes it.
    """

    _archive: ArchiveReader
    _allows: Callable[[str], bool]

    async def holdings(self, name: str) -> Holdings:
        """See the seam."""
        self._check(name)
        return await self._archive.holdings(name)

    async def hour(self, name: str, hour: int) -> HourIndex:
        """See the seam."""
        self._check(name)
        return await self._archive.hour(name, hour)

    async def segment(self, name: str, row: Row) -> Segment:
        """See the seam."""
        self._check(name)
        return await self._archive.segment(name, row)

    async def headers(self, name: str, rows: Sequence[Row]) -> Sequence[bytes | None]:
        """See the seam."""
        self._check(name)
        return await self._archive.headers(name, rows)

    def _check(self, name: str) -> None:
        """Like the list of live streams: what is not given is not told of."""
        if not self._allows(name):
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
