"""Segments of files as they go out: MPEG-TS and CMAF, made once in a thread and kept for a while."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from restreamer.errors import Reason, Refused
from restreamer.live.cmaf import carried_track, mux_segment
from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.segment import Segment
from restreamer.media.codecs import mpegts_can_carry, plain_names
from restreamer.vod.keep import Kept, SingleFlight
from restreamer.vod.seams import InThread, MediaFiles, PackTs, Shelf

#: Packaged segments kept, bytes and pieces.
PACKAGED_BYTES = 64 * 1024 * 1024
PACKAGED_PIECES = 4000

#: Name of a file, version, number of a segment, and the track, or nothing for MPEG-TS.
_Key = tuple[str, int, int, str]


@frozen(eq=False)
class Packaged:
    """A segment as MPEG-TS, or a track of it as CMAF.

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
        self._kept: Kept[_Key, Packaged] = Kept(
            PACKAGED_BYTES, PACKAGED_PIECES, lambda packaged: len(packaged.body)
        )
        self._packing: SingleFlight[_Key, Packaged] = SingleFlight()

    def takes(self, name: str) -> bool:
        """See L{MediaFiles.takes}."""
        return any(library.takes(name) for library in self._libraries)

    async def index(self, name: str) -> FileIndex:
        """See L{MediaFiles.index}."""
        return await self._library(name).index(name)

    async def ts_index(self, name: str) -> FileIndex:
        """The index of a file of which MPEG-TS carries something.

        @raise Refused: as L{index}; UNSUPPORTED when MPEG-TS carries none of its tracks.
        """
        index = await self.index(name)
        if not any(mpegts_can_carry(track) for track in index.tracks):
            raise Refused(
                Reason.UNSUPPORTED,
                f"MPEG-TS carries none of the tracks: {plain_names(index.tracks)}",
            )
        return index

    async def segment(self, name: str, version: int, number: int) -> Segment:
        """See L{MediaFiles.segment}."""
        return await self._library(name).segment(name, version, number)

    async def ts(self, name: str, version: int, number: int) -> Packaged:
        """Segment C{number} of the file as MPEG-TS.

        @raise Refused: as L{segment}.
        """
        return await self._packaged((name, version, number, ""))

    async def cmaf(self, name: str, version: int, number: int, track: str) -> Packaged:
        """Segment C{number} of one track, by its name (C{v1}), as CMAF; empty when it holds nothing of it.

        @raise Refused: as L{segment}.
        """
        return await self._packaged((name, version, number, track))

    async def _packaged(self, key: _Key) -> Packaged:
        held = self._kept.get(key)
        if held is None:
            held = await self._packing.run(key, lambda: self._pack(key))
        return held

    async def _pack(self, key: _Key) -> Packaged:
        name, version, number, track = key
        segment = await self.segment(name, version, number)
        body: bytes = await self._in_thread(self._mux, segment, name, track)
        packaged = Packaged(body, segment.checksum)
        if self._crowded():
            self._kept.clear()
            for library in self._libraries:
                library.forget()
        else:
            self._kept.put(key, packaged)
        return packaged

    def _mux(self, segment: Segment, name: str, track: str) -> bytes:
        if track:
            carried = carried_track(segment.tracks, track)
            return mux_segment(segment, carried) if carried is not None else b""
        return self._pack_ts(segment.tracks, segment.frames(), title=name)

    def _library(self, name: str) -> MediaFiles:
        for library in self._libraries:
            if library.takes(name):
                return library
        raise Refused(Reason.NOT_FOUND, "no such file")
