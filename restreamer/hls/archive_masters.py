"""Master playlists of an archive, and which form suits it (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from restreamer.dvr.forms import ArchiveAsk, Kind
from restreamer.dvr.timeline import DURATION, NUMBER, SIZE, TABLE, RowTuple
from restreamer.errors import Reason, Refused
from restreamer.hls.master import master_playlist, needs_master, suits_cmaf
from restreamer.hls.variants import Offer, chosen_tracks, offering_master
from restreamer.m4f.hour_index import HourIndex
from restreamer.media.codecs import cmaf_can_carry, mpegts_can_carry, plain_names
from restreamer.media.track import Track, Tracks

#: What the tables of a container add to a segment of one track, bytes, and to its frames, rather too much.
_PER_SEGMENT: Final = 4000
_MASTER_VERSION: Final = {True: 4, False: 6}


def wants_cmaf(ask: ArchiveAsk, tables: Sequence[Tracks]) -> bool:
    """Whether C{ask} is answered with CMAF.

    @param tables: tracks of the range: whatever suits CMAF alone decides for all of it.
    """
    if ask.packaging:
        return ask.packaging == "fmp4"
    if ask.whole:
        return False
    chosen = [tracks if ask.selection is None else ask.selection.of(tracks) for tracks in tables]
    return any(suits_cmaf(tracks) for tracks in chosen)


def wants_master(ask: ArchiveAsk, tracks: Tracks, cmaf: bool) -> bool:
    """Whether C{ask} is answered with a master playlist. @param tracks: of the newest segment."""
    if ask.kind is Kind.ABSOLUTE:
        return True
    if ask.inside:
        return False
    if cmaf:
        return True
    chosen = tuple(track for track in _chosen(ask, tracks) if mpegts_can_carry(track))
    return not ask.whole and needs_master(chosen)


def archive_master(
    ask: ArchiveAsk, words: str, index: HourIndex, rows: Sequence[RowTuple], newest: RowTuple, cmaf: bool
) -> str:
    """The master playlist.

    @param words: of the media playlists (L{ArchiveAsk.words}). @param rows: some of C{index}: what its peaks
        are taken from. @param newest: whose tracks are offered.
    @raise Refused: UNSUPPORTED, NOT_FOUND: there is nothing to offer.
    """
    tracks = index.tables[newest[TABLE]]
    chosen = _chosen(ask, tracks)
    carries = cmaf_can_carry if cmaf else mpegts_can_carry
    check_tracks(ask, tracks, carries)
    heaviest = max(
        (row for row in rows if row[TABLE] == newest[TABLE]), key=lambda row: row[SIZE] / row[DURATION]
    )
    sizes = _sizes(index, heaviest)
    ids = {track.track_id for track in chosen}
    if not cmaf and (ask.whole or not needs_master(tuple(track for track in chosen if carries(track)))):
        folder = f"tracks-{ask.selection}/mono-" if ask.selection is not None else "video-"
        if ask.inside:
            folder = "mono-"
        size = sum(size for track_id, size in sizes.items() if track_id in ids)
        return master_playlist(f"{folder}{words}.ts.m3u8", chosen, size, heaviest[DURATION])
    ending = "fmp4" if cmaf else "ts"

    def uri(names: Sequence[str]) -> str:
        return f"{'../' if ask.inside else ''}tracks-{''.join(names)}/mono-{words}.{ending}.m3u8"

    return offering_master(
        Offer(
            tracks=chosen_tracks(tracks, lambda track: track.track_id in ids, carries),
            sizes=sizes,
            duration=heaviest[DURATION],
            uri=uri,
            muxed=not cmaf,
            version=_MASTER_VERSION[not cmaf],
        )
    )


def check_tracks(ask: ArchiveAsk, tracks: Tracks, carries: Callable[[Track], bool]) -> None:
    """Whether there is something to play.

    @raise Refused: NOT_FOUND: none of the chosen tracks is there; UNSUPPORTED: none can be carried.
    """
    chosen = _chosen(ask, tracks)
    if tracks and not chosen:
        raise Refused(Reason.NOT_FOUND, "the stream had none of the chosen tracks")
    if not any(carries(track) for track in chosen):
        raise Refused(Reason.UNSUPPORTED, f"this form of HLS cannot carry the stream: {plain_names(chosen)}")


def _chosen(ask: ArchiveAsk, tracks: Tracks) -> Tracks:
    return tracks if ask.selection is None else ask.selection.of(tracks)


def _sizes(index: HourIndex, row: RowTuple) -> dict[int, int]:
    """About how many bytes each track takes in the segment as packaged, by track id."""
    found = index.find(row[NUMBER])
    if found is None:
        return {}
    # Rows are packed by rising number.
    low, high = 0, len(index)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if index.number_at(middle) < row[NUMBER] else (low, middle)
    return {span.track_id: span.size * 35 // 32 + _PER_SEGMENT for span in index.spans(low)}
