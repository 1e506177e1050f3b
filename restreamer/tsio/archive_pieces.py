"""Segments of archives as MPEG-TS, made once in a thread and kept for a while, in a row."""

from __future__ import annotations

from collections.abc import Callable

from restreamer.dvr.playback import MAX_DAMAGED, Found, Playback
from restreamer.errors import Reason, Refused
from restreamer.m4f.segment import Segment
from restreamer.media.codecs import mpegts_can_carry, plain_names
from restreamer.media.selection import TrackSelection
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.vod.keep import Kept, SingleFlight
from restreamer.vod.paced import Piece
from restreamer.vod.seams import InThread, PackTs

#: Bytes of muxed segments kept for viewers who are at the same place, and how many.
KEPT_BYTES = 32 * 1024 * 1024
KEPT_PIECES = 200

#: Stream, number, checksum, chosen tracks, whether the time breaks.
_Key = tuple[str, int, int, str, bool]


class TsPacker:
    """Muxes segments of archives, each once however many want it.

    @param pack_ts: L{restreamer.mpegts.segment_muxer.mux_segment}. @param crowded: whether memory is short.
    """

    def __init__(self, pack_ts: PackTs, in_thread: InThread, crowded: Callable[[], bool]) -> None:
        self._pack_ts = pack_ts
        self._in_thread = in_thread
        self._crowded = crowded
        self._kept: Kept[_Key, bytes] = Kept(KEPT_BYTES, KEPT_PIECES, len)
        self._packing: SingleFlight[_Key, bytes] = SingleFlight()

    async def body(self, playback: Playback, found: Found, selection: TrackSelection | None) -> bytes:
        """A segment as MPEG-TS; empty when it has none of the tracks.

        @raise Refused: as L{Playback.segment}.
        """
        row = found.row
        key = (playback.name, row.number, row.checksum, str(selection or ""), found.breaks)
        body = self._kept.get(key)
        if body is None:
            body = await self._packing.run(key, lambda: self._pack(playback, found, selection, key))
        return body

    def forget(self) -> None:
        """Give the memory back."""
        self._kept.clear()

    async def _pack(
        self, playback: Playback, found: Found, selection: TrackSelection | None, key: _Key
    ) -> bytes:
        segment = await playback.segment(found)
        body: bytes = await self._in_thread(self._mux, segment, playback.name, selection, found.breaks)
        if self._crowded():
            self._kept.clear()
        else:
            self._kept.put(key, body)
        return body

    def _mux(self, segment: Segment, name: str, selection: TrackSelection | None, breaks: bool) -> bytes:
        tracks, frames = segment.tracks, segment.frames()
        if selection is not None:
            tracks = selection.of(tracks)
            ids = {track.track_id for track in tracks}
            frames = [frame for frame in frames if frame.track_id in ids]
        if not frames or not any(mpegts_can_carry(track) for track in tracks):
            return b""
        return self._pack_ts(tracks, frames, title=name, discontinuity=breaks)


class TsPieces:
    """A walk through an archive as MPEG-TS: L{restreamer.vod.paced.Pieces}."""

    def __init__(self, packer: TsPacker, playback: Playback, selection: TrackSelection | None) -> None:
        self._packer = packer
        self._playback = playback
        self._selection = selection

    async def next(self) -> Piece | None:
        """See L{restreamer.vod.paced.Pieces.next}. What is damaged is left out."""
        damaged = 0
        while (found := await self._playback.next()) is not None:
            try:
                body = await self._packer.body(self._playback, found, self._selection)
            except Refused as refused:
                damaged += 1
                if refused.reason is not Reason.NOT_FOUND or damaged > MAX_DAMAGED:
                    raise
                # The same segment may be read by others: who made it counted it; all go on behind it.
                self._playback.skipped()
                continue
            if body:
                return Piece(body, found.row.duration / TICKS_PER_SECOND)
        return None


def check_carried(tracks: Tracks, selection: TrackSelection | None) -> None:
    """Whether there is anything to send.

    @raise Refused: NOT_FOUND: none of the chosen tracks; UNSUPPORTED: MPEG-TS carries none of them.
    """
    chosen = selection.of(tracks) if selection is not None else tracks
    if tracks and not chosen:
        raise Refused(Reason.NOT_FOUND, "the stream has none of these tracks")
    if not any(mpegts_can_carry(track) for track in chosen):
        raise Refused(Reason.UNSUPPORTED, f"MPEG-TS carries none of the tracks: {plain_names(chosen)}")
