"""Segments and init segments of archives: found by their names, made as live ones are, kept for a while.

A name of MPEG-TS says the time of its segment. One of CMAF says its number, which is UTC divided by the
length of segments; where it lies is guessed from another segment, and found by halving when the guess is
wrong. A name of an init segment says its checksum; the tables of hours are looked through, the newest first,
then ever more finely. What is not there is remembered, so that asking for it again costs nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from attrs import frozen

from restreamer.dvr.timeline import ArchiveHours, rows_of, within
from restreamer.errors import Reason, Refused
from restreamer.hls.names import parse_segment_uri, segment_uri
from restreamer.live.cmaf import carried_track, init_of, mux_segment
from restreamer.live.cmaf_names import CmafName, named_tracks
from restreamer.m4f.hour_index import HourIndex, Row, hour_of
from restreamer.m4f.layout import MAX_NUMBER
from restreamer.m4f.segment import Segment
from restreamer.media.selection import TrackSelection
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.vod.keep import Kept, SingleFlight
from restreamer.vod.seams import InThread, PackTs

#: Packaged segments kept, bytes and pieces.
PACKAGED_BYTES: Final = 64 * 1024 * 1024
PACKAGED_PIECES: Final = 4000
#: Hours loaded for one number, and looked through for one init segment, at most.
MAX_PROBES: Final = 40
MAX_INIT_HOURS: Final = 200
#: Init segments, and sets of them by hour, that are kept.
_INITS: Final = 4000
#: Names that are known not to be there, and for how many seconds.
_ABSENT: Final = 20_000
_ABSENT_FOR: Final = 3.0


@frozen(eq=False)
class Packaged:
    """A segment as it goes out. @ivar tag: of its entity tag, as live segments have it."""

    body: bytes
    tag: str


class ArchiveFiles:
    """Gives files of archives.

    @param pack_ts: L{restreamer.mpegts.segment_muxer.mux_segment}. @param seconds: of a monotonic clock.
    @param crowded: whether memory is short: nothing is kept then.
    @ivar damaged: segments that an index names and nobody could give.
    """

    def __init__(
        self,
        hours: ArchiveHours,
        pack_ts: PackTs,
        in_thread: InThread,
        seconds: Callable[[], float],
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self.damaged = 0
        self._hours = hours
        self._pack_ts = pack_ts
        self._in_thread = in_thread
        self._seconds = seconds
        self._crowded = crowded
        self._kept: Kept[tuple[str, int, int, str], bytes] = Kept(PACKAGED_BYTES, PACKAGED_PIECES, len)
        self._packing: SingleFlight[tuple[str, int, int, str], bytes] = SingleFlight()
        self._absent: Kept[tuple[str, str], float] = Kept(_ABSENT, _ABSENT, lambda _: 1)
        self._inits: Kept[tuple[str, str, str], bytes] = Kept(1 << 24, _INITS, len)
        self._named: Kept[tuple[str, int, str], frozenset[str]] = Kept(_INITS * 4, _INITS, len)

    async def ts(self, name: str, uri: str, selection: TrackSelection | None = None) -> Packaged:
        """The segment C{uri}, relative to the stream, as MPEG-TS; with chosen tracks alone.

        @raise Refused: NOT_FOUND, NOT_READY, OVERLOADED.
        """
        self._not_absent(name, uri)
        row = await self._by_time(name, uri)
        if row is None:
            raise self._gone(name, uri)
        tracks = await self._tracks(name, row)
        tag = f"{row.number:x}-{row.checksum:08x}"
        if selection is None:
            return Packaged((await self._packaged(name, row, "")), tag)
        # Whoever chooses the same tracks in other words shares what is made.
        chosen = selection.of(tracks)
        names = "".join([known for known, track in named_tracks(tracks) if track in chosen])
        resolved = TrackSelection.parse(names) if names else None
        if resolved is None:
            raise self._nothing()
        return Packaged(await self._packaged(name, row, f"-{names}", resolved), f"{tag}-{selection}")

    async def cmaf(
        self,
        name: str,
        number: int,
        track: str,
        may: Callable[[tuple[int, int]], Awaitable[object]] | None = None,
    ) -> Packaged:
        """Segment C{number} of one track (C{v1}) as CMAF.

        @param may: asked before it is read, with the UTC ticks (from, to) it is of, which its name does not
            say; it raises what this is to raise.
        @raise Refused: as L{ts}; what C{may} raises.
        """
        uri = f"{number}.m4s"
        self._not_absent(name, uri)
        row = await self._by_number(name, number)
        if row is None:
            raise self._gone(name, uri)
        if may is not None:
            await may((row.start, row.start + row.duration))
        if carried_track(await self._tracks(name, row), track) is None:
            raise self._nothing()
        body = await self._packaged(name, row, track)
        return Packaged(body, f"{row.number:x}-{row.checksum:08x}-{track}")

    async def span(self, name: str, number: int) -> tuple[int, int]:
        """UTC ticks (from, to) of segment C{number}.

        @raise Refused: as L{ts}.
        """
        uri = f"{number}.m4s"
        self._not_absent(name, uri)
        row = await self._by_number(name, number)
        if row is None:
            raise self._gone(name, uri)
        return row.start, row.start + row.duration

    async def init(self, name: str, asked: CmafName) -> bytes:
        """An init segment.

        @raise Refused: as L{ts}.
        """
        file = f"init-{asked.init}.mp4"
        uri = f"{asked.track}/{file}"
        known = self._inits.get((name, asked.track, file))
        if known is not None:
            return known
        self._not_absent(name, uri)
        held = await self._hours.holdings(name)
        for hour in _spread(held.hours, MAX_INIT_HOURS):
            files = self._named.get((name, hour, asked.track))
            if files is not None and file not in files:
                continue
            index = await self._hours.hour(name, hour)
            inits = _inits_of(index, asked.track)
            if (hour + 1) * 3600 < held.spans[-1].end // TICKS_PER_SECOND if held.spans else False:
                self._named.put((name, hour, asked.track), frozenset(inits))
            if file in inits:
                self._inits.put((name, asked.track, file), inits[file])
                return inits[file]
        raise self._gone(name, uri)

    def forget(self) -> None:
        """Give the memory back."""
        for kept in (self._kept, self._inits, self._named, self._absent):
            kept.clear()

    # Inside.

    async def _tracks(self, name: str, row: Row) -> Tracks:
        """The tracks of a segment, without reading it."""
        index = await self._hours.hour(name, hour_of(row.start))
        return index.tables[row.table] if row.table < len(index.tables) else ()

    @staticmethod
    def _nothing() -> Refused:
        return Refused(Reason.NOT_FOUND, "no such segment")

    def _not_absent(self, name: str, uri: str) -> None:
        until = self._absent.get((name, uri))
        if until is not None and self._seconds() < until:
            raise self._nothing()

    def _gone(self, name: str, uri: str) -> Refused:
        self._absent.put((name, uri), self._seconds() + _ABSENT_FOR)
        return self._nothing()

    async def _by_time(self, name: str, uri: str) -> Row | None:
        asked = parse_segment_uri(uri)
        if asked is None or asked.second < 0:
            return None
        hour = hour_of(asked.second)
        held = await self._hours.holdings(name)
        if not _holds(held.hours, hour):
            if held.complete:
                return None
            raise Refused(Reason.NOT_READY, "who may have recorded this cannot be asked now")
        rows = rows_of(await self._hours.hour(name, hour))
        first, last = within(rows, asked.second, asked.second + TICKS_PER_SECOND)
        for each in rows[first:last]:
            if segment_uri(each[1], each[2], each[0]) == uri:
                return Row._make(each)
        return None

    async def _by_number(self, name: str, number: int) -> Row | None:
        """The row of segment C{number}: guessed, then found by halving."""
        held = await self._hours.holdings(name)
        hours = held.hours
        if not hours or number > MAX_NUMBER:
            return None
        low, high = 0, len(hours) - 1
        tried: set[int] = set()
        place = high
        while low <= high and len(tried) < MAX_PROBES:
            index = await self._hours.hour(name, hours[place])
            tried.add(place)
            if not len(index):
                # Deleted meanwhile: it says nothing of where to go on.
                place = next(
                    (at for at in (place - 1, place + 1) if low <= at <= high and at not in tried), -1
                )
                if place < 0:
                    break
                continue
            row = index.find(number)
            if row is not None:
                return row
            first, last = index[0], index[len(index) - 1]
            if first.number < number < last.number:
                break
            if number < first.number:
                high = place - 1
            else:
                low = place + 1
            if low > high:
                break
            near = first if number < first.number else last
            place = self._guess(hours, near, number, low, high, len(tried))
        for hour in (hours[0], hours[-1]):
            # The stream had another length of segments once: its numbers do not rise all the time.
            index = await self._hours.hour(name, hour)
            begin = index[0] if len(index) else None
            guess = (
                hour_of(begin.start * number // begin.number) if begin is not None and begin.number else -1
            )
            other = (await self._hours.hour(name, guess)).find(number) if _holds(hours, guess) else None
            if other is not None:
                return other
        if not held.complete:
            raise Refused(Reason.NOT_READY, "who may have recorded this cannot be asked now")
        return None

    @staticmethod
    def _guess(hours: Sequence[int], near: Row, number: int, low: int, high: int, tries: int) -> int:
        """The place between C{low} and C{high} to look at next."""
        if tries > 3 or near.number <= 0:
            return (low + high) // 2
        start = near.start * number // near.number
        place = bisect_left(hours, hour_of(start), low, high + 1)
        return min(max(place, low), high)

    async def _packaged(
        self, name: str, row: Row, form: str, selection: TrackSelection | None = None
    ) -> bytes:
        key = (name, row.number, row.checksum, form)
        body = self._kept.get(key)
        if body is None:
            body = await self._packing.run(key, lambda: self._pack(name, row, form, selection))
        if not body:
            raise self._nothing()
        return body

    async def _pack(self, name: str, row: Row, form: str, selection: TrackSelection | None) -> bytes:
        try:
            segment = await self._hours.archives.segment(name, row)
        except Refused as refused:
            self.damaged += refused.reason is Reason.NOT_FOUND
            raise
        body: bytes = await self._in_thread(self._mux, segment, name, form, selection)
        if self._crowded():
            self._kept.clear()
        else:
            self._kept.put((name, row.number, row.checksum, form), body)
        return body

    def _mux(self, segment: Segment, name: str, form: str, selection: TrackSelection | None) -> bytes:
        if form and selection is None:
            track = carried_track(segment.tracks, form)
            return mux_segment(segment, track) if track is not None else b""
        tracks, frames = segment.tracks, segment.frames()
        if selection is not None:
            tracks = selection.of(tracks)
            ids = {track.track_id for track in tracks}
            frames = [frame for frame in frames if frame.track_id in ids]
            if not tracks:
                return b""
        return self._pack_ts(tracks, frames, title=name, discontinuity=segment.discontinuity)


def _holds(hours: Sequence[int], hour: int) -> bool:
    place = bisect_left(hours, hour)
    return place < len(hours) and hours[place] == hour


def _inits_of(index: HourIndex, name: str) -> dict[str, bytes]:
    """The init segments of a track in an hour, by file."""
    tracks = (carried_track(table, name) for table in index.tables)
    return dict(init_of(track) for track in tracks if track is not None)


def _spread(hours: Sequence[int], count: int) -> Iterable[int]:
    """C{count} of C{hours} at most: the newest ones first, then the others ever more finely."""
    seen: set[int] = set()
    newest = len(hours) - 1
    step = max(1, len(hours))
    while len(seen) < min(count, len(hours)):
        for place in range(newest, -1, -step):
            if place not in seen and len(seen) < count:
                seen.add(place)
                yield hours[place]
        if step == 1:
            return
        step = max(1, step // 2)
