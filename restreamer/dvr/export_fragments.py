"""A range of an archive as fragmented MP4, from its first segment on: nothing is built before it begins.

Each segment is one movie fragment of every track (ISO/IEC 14496-12 section 8.8); times begin at 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from restreamer.dvr.export import Part, parts_of
from restreamer.dvr.playback import MAX_DAMAGED, Playback
from restreamer.errors import Reason, Refused
from restreamer.m4f.segment import Segment
from restreamer.media.frame import Frame
from restreamer.media.selection import TrackSelection
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, TrackKind
from restreamer.mp4.codec_boxes import sample_entry
from restreamer.mp4.fragment import fragment, movie_header
from restreamer.vod.paced import Piece
from restreamer.vod.seams import InThread


class FragmentPieces:
    """The file, a segment at a time: L{restreamer.vod.paced.Pieces}.

    The first segment says which tracks there are. Where the configuration of one of them changes, the file
    ends: its header, which is sent already, cannot tell of it.
    """

    def __init__(self, playback: Playback, in_thread: InThread, selection: TrackSelection | None) -> None:
        self._playback = playback
        self._in_thread = in_thread
        self._selection = selection
        self._tracks: dict[tuple[TrackKind, int], tuple[Track, bytes]] = {}
        self._zero = 0
        self._sequence = 0

    async def next(self) -> Piece | None:
        """See L{restreamer.vod.paced.Pieces.next}. What is damaged is left out."""
        damaged = 0
        while (found := await self._playback.next()) is not None:
            try:
                segment = await self._playback.segment(found)
            except Refused as refused:
                damaged += 1
                if refused.reason is not Reason.NOT_FOUND or damaged > MAX_DAMAGED:
                    raise
                continue
            body: bytes | None = await self._in_thread(self._pack, segment)
            if body is None:
                return None
            if body:
                return Piece(body, found.row.duration / TICKS_PER_SECOND)
        return None

    def _pack(self, segment: Segment) -> bytes | None:
        """Its fragments; None when they do not fit the header."""
        parts = [part for part in parts_of(segment, self._selection, self._playback.start) if part[2]]
        head = b""
        if not self._tracks:
            if not parts:
                return b""
            head = self._begin(parts)
        bodies = [head]
        for key, track, frames in parts:
            if key not in self._tracks:
                continue
            mine, entry = self._tracks[key]
            if sample_entry(track) != entry:
                return None
            self._sequence += 1
            moved = [
                Frame(mine.track_id, each.dts - self._zero, each.cts, each.key, each.data) for each in frames
            ]
            bodies.append(fragment(mine, moved, self._sequence, segment.end - self._zero))
        return b"".join(bodies)

    def _begin(self, parts: Sequence[Part]) -> bytes:
        """The header."""
        for key, track, _ in parts:
            self._tracks[key] = (evolve(track, track_id=len(self._tracks) + 1), sample_entry(track))
        self._zero = min(frames[0].dts for _, _, frames in parts)
        return movie_header([track for track, _ in self._tracks.values()])
