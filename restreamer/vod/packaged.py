"""Segments of files as they go out: MPEG-TS, made once in a thread and kept for a while."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from restreamer.errors import Reason, Refused
from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.segment import Segment
from restreamer.vod.keep import Kept, SingleFlight
from restreamer.vod.seams import InThread, MediaFiles, PackTs, Shelf

#: Packaged segments kept, bytes and pieces.
PACKAGED_BYTES = 64 * 1024 * 1024
PACKAGED_PIECES = 4000


@frozen(eq=False)
class Packaged:
    """A segment as MPEG-TS.

    @ivar checksum: of the canonical segment.
    """

    body: bytes
    checksum: int


class PackagedFiles:
    """Every location a node knows, its own before those of its sources, and the bytes viewers get.

    @param pack_ts: L{restreamer.mpegts.segment_muxer.mux_segment}.
    @param crowded: whether memory is short: nothing is kept then.
    """

    def __init__(
        self,
        libraries: tuple[Shelf, ...],
        pack_ts: PackTs,
        in_thread: InThread,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._crowded = crowded
        self._libraries = libraries
        self._pack_ts = pack_ts
        self._in_thread = in_thread
        self._kept: Kept[tuple[str, int, int], Packaged] = Kept(
            PACKAGED_BYTES, PACKAGED_PIECES, lambda packaged: len(packaged.body)
        )
        self._packing: SingleFlight[tuple[str, int, int], Packaged] = SingleFlight()

    def takes(self, name: str) -> bool:
        """See L{MediaFiles.takes}."""
        return any(library.takes(name) for library in self._libraries)

    async def index(self, name: str) -> FileIndex:
        """See L{MediaFiles.index}."""
        return await self._library(name).index(name)

    async def segment(self, name: str, version: int, number: int) -> Segment:
        """See L{MediaFiles.segment}."""
        return await self._library(name).segment(name, version, number)

    async def ts(self, name: str, version: int, number: int) -> Packaged:
        """Segment C{number} of the file as MPEG-TS.

        @raise Refused: as L{segment}.
        """
        key = (name, version, number)
        held = self._kept.get(key)
        if held is None:
            held = await self._packing.run(key, lambda: self._pack(key))
        return held

    async def _pack(self, key: tuple[str, int, int]) -> Packaged:
        segment = await self.segment(*key)
        body: bytes = await self._in_thread(self._mux, segment, key[0])
        packaged = Packaged(body, segment.checksum)
        if self._crowded():
            self._kept.clear()
            for library in self._libraries:
                library.forget()
        else:
            self._kept.put(key, packaged)
        return packaged

    def _mux(self, segment: Segment, name: str) -> bytes:
        return self._pack_ts(segment.tracks, segment.frames(), title=name)

    def _library(self, name: str) -> MediaFiles:
        for library in self._libraries:
            if library.takes(name):
                return library
        raise Refused(Reason.NOT_FOUND, "no such file")
