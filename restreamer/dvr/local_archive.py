"""What this node recorded, as an archive reader over the volumes of its configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import define

from restreamer.dvr.disks import Disks
from restreamer.dvr.seams import Holdings
from restreamer.dvr.store import Store
from restreamer.dvr.union import unite_holdings, unite_hours
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import HourIndex, Row
from restreamer.m4f.segment import Segment

T = TypeVar("T")


@define(eq=False)
class RecordedArchive:
    """An L{restreamer.dvr.seams.ArchiveReader}.

    @ivar roots: where a stream may be recorded by the configuration, likeliest first.
    """

    disks: Disks
    roots: Callable[[str], Sequence[str]]

    def records(self, name: str) -> bool:
        """Whether the configuration gives C{name} a place on disk."""
        return bool(self.roots(name))

    async def holdings(self, name: str) -> Holdings:
        """See the seam."""
        found, refusal = await self._every(name, lambda store: store.stream(name).holdings())
        if not found:
            raise refusal
        return unite_holdings(found, refusal.reason is Reason.NOT_FOUND)

    async def hour(self, name: str, hour: int) -> HourIndex:
        """See the seam."""
        found, refusal = await self._every(name, lambda store: store.stream(name).hour(hour))
        if not found or (refusal.reason is not Reason.NOT_FOUND and not any(map(len, found))):
            raise refusal
        return unite_hours(hour, found)

    async def segment(self, name: str, row: Row) -> Segment:
        """See the seam."""
        return await self._first(name, lambda store: store.stream(name).segment(row))

    async def headers(self, name: str, rows: Sequence[Row]) -> Sequence[bytes | None]:
        """The headers of segments, as far as they lie here.

        @raise Refused: NOT_FOUND; NOT_READY, OVERLOADED: the disk cannot be read now.
        """
        return await self._first(name, lambda store: store.stream(name).headers(rows))

    async def _every(self, name: str, call: Callable[[Store], T]) -> tuple[list[T], Refused]:
        """From each volume that has something; and why others gave nothing, the worst."""
        found: list[T] = []
        refusal = Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
        for root in self.roots(name):
            disk = self.disks.find(root)
            if disk is None:
                continue
            try:
                found.append(await disk.read(name, call))
            except Refused as refused:
                if refused.reason is not Reason.NOT_FOUND:
                    refusal = refused
        return found, refusal

    async def _first(self, name: str, call: Callable[[Store], T]) -> T:
        """From the first volume that has it."""
        refusal: Refused | None = None
        for root in self.roots(name):
            disk = self.disks.find(root)
            if disk is None:
                continue
            try:
                return await disk.read(name, call)
            except Refused as refused:
                if refusal is None or refused.reason is not Reason.NOT_FOUND:
                    refusal = refused
        raise refusal or Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
