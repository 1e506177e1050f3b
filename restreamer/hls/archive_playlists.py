"""The playlists of archives: what is asked for, put together from the texts of hours.

The text of an hour that is over is made once, in a thread, and kept compressed. Nothing is answered before
every hour is there, so an answer is whole or a refusal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from attrs import evolve, frozen

from restreamer.dvr.forms import MAX_PLAYLIST, ArchiveAsk, Kind, Range, delayed, range_of
from restreamer.dvr.timeline import (
    DURATION,
    SEQUENCE,
    START,
    TABLE,
    ArchiveHours,
    RowTuple,
    fingerprint,
    grid_of,
    joint,
    missing_between,
    nothing_there,
    rows_of,
    sequence_of,
    within,
)
from restreamer.errors import Reason, Refused
from restreamer.hls.archive_body import Packed, Pieces, size_of
from restreamer.hls.archive_lists import ListBuilder
from restreamer.hls.archive_masters import archive_master, check_tracks, wants_cmaf, wants_master
from restreamer.hls.archive_text import Form, HourText, hour_text, missing_lines, unrelated
from restreamer.hls.playlist import segment_base
from restreamer.live.cmaf_names import find_track, named_tracks, track_folder
from restreamer.m4f.hour_index import HourIndex, hour_of
from restreamer.m4f.hour_layout import HOUR_TICKS
from restreamer.media.codecs import mpegts_can_carry
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.vod.keep import Kept, SingleFlight
from restreamer.vod.seams import InThread

#: Bytes of compressed hours kept, and how many.
_HOUR_BYTES: Final = 16 * 1024 * 1024
_HOURS: Final = 20_000
#: Bytes of finished playlists kept, and how many.
_LIST_BYTES: Final = 16 * 1024 * 1024
_LISTS: Final = 2000
#: For how many seconds a list is given again: one that grows, and one that is closed.
_GROWING_FOR: Final = 0.9
_CLOSED_FOR: Final = 30.0
#: For how many seconds caches may keep a closed list.
_LASTING: Final = 3600
_UNCERTAIN: Final = 5
#: Seconds after its end in which the last segments of a range may still be on their way.
_ON_ITS_WAY: Final = 30
#: What a list of the delayed stream reaches back, ticks; it holds one segment at least.
DELAYED_WINDOW: Final = 60 * TICKS_PER_SECOND
#: How far back the newest segment of a delayed stream is looked for: an outage may lie between.
_OUTAGE: Final = 86_400 * TICKS_PER_SECOND
#: Rows above which the text of a part of an hour is written in a thread.
_MANY: Final = 1500


@frozen(eq=False)
class Listing:
    """A playlist. @ivar seconds: for how long caches may keep it; 0: not at all."""

    pieces: Pieces
    seconds: int


@frozen(eq=False)
class _KeptHour:
    """The text of an hour. @ivar at: when it was compared with the archive. @ivar print: of its index.
    @ivar complete: as of the index.
    """

    at: float
    print: int
    facts: HourText
    body: Packed
    complete: bool


@frozen(eq=False)
class _Newest:
    """Where a range ends. @ivar rows: those of its hour within. @ivar tables: tracks at both of its ends."""

    index: HourIndex
    rows: list[RowTuple]
    row: RowTuple
    tables: tuple[Tracks, ...]

    @property
    def tracks(self) -> Tracks:
        """The tracks of the newest segment."""
        return self.index.tables[self.row[TABLE]]


class ArchivePlaylists:
    """Makes and keeps the playlists of archives.

    @param utc: UTC ticks now; @param seconds: of a monotonic clock.
    @param longest: seconds a playlist may reach.
    """

    def __init__(
        self,
        hours: ArchiveHours,
        in_thread: InThread,
        utc: Callable[[], int],
        seconds: Callable[[], float],
        longest: int = MAX_PLAYLIST,
    ) -> None:
        self._hours = hours
        self._in_thread = in_thread
        self._utc = utc
        self._seconds = seconds
        self._longest = longest
        self._texts: Kept[tuple[str, int, Form], _KeptHour] = Kept(
            _HOUR_BYTES, _HOURS, lambda kept: len(kept.body.deflated) + 600
        )
        self._lists: Kept[tuple[ArchiveAsk, str], tuple[float, Listing]] = Kept(
            _LIST_BYTES, _LISTS, lambda held: _cost(held[1].pieces)
        )
        self._writing: SingleFlight[tuple[ArchiveAsk, str], Listing] = SingleFlight()
        self._packing: SingleFlight[tuple[str, int, Form], _KeptHour | None] = SingleFlight()

    async def listing(self, ask: ArchiveAsk, url_prefix: str = "") -> Listing:
        """The playlist that C{ask} means now.

        @param url_prefix: of the stream. @raise Refused: BAD_NAME, NOT_FOUND, NOT_READY, UNSUPPORTED.
        """
        key = (ask, url_prefix)
        held = self._lists.get(key)
        if held is not None:
            fresh = _CLOSED_FOR if held[1].seconds > 1 else _GROWING_FOR
            if self._seconds() - held[0] < fresh:
                return held[1]
        return await self._writing.run(key, lambda: self._write(ask, url_prefix))

    def forget(self) -> None:
        """Give the memory back."""
        self._texts.clear()
        self._lists.clear()

    async def _write(self, ask: ArchiveAsk, url_prefix: str) -> Listing:
        now = self._utc() // TICKS_PER_SECOND
        wanted = range_of(ask, now, self._longest)
        newest = await self._newest(ask.name, wanted)
        cmaf = wants_cmaf(ask, newest.tables)
        complete = (await self._hours.holdings(ask.name)).complete
        if wants_master(ask, newest.tracks, cmaf):
            shown = delayed(ask, now) if ask.kind is Kind.ABSOLUTE else ask
            text = archive_master(ask, shown.words, newest.index, newest.rows, newest.row, cmaf)
            seconds = 0 if ask.kind is Kind.ABSOLUTE else self._lasting(wanted, now, complete)
            listing = Listing((text.encode("utf-8"),), seconds)
        else:
            form = self._form(ask, newest.tracks, cmaf, url_prefix)
            grid = grid_of([newest.row])
            if ask.kind is Kind.RELATIVE:
                listing = Listing(await self._delayed(ask, form, wanted, grid), 1)
            else:
                listing = await self._range(ask, form, wanted, newest, grid, complete)
        self._lists.put((ask, url_prefix), (self._seconds(), listing))
        return listing

    def _form(self, ask: ArchiveAsk, tracks: Tracks, cmaf: bool, url_prefix: str) -> Form:
        """What kind of media playlist it is.

        @raise Refused: there is nothing to list.
        """
        sliding = ask.kind in (Kind.REWIND, Kind.RELATIVE)
        prefix = segment_base(url_prefix, ask.name)
        if cmaf:
            chosen = tracks if ask.selection is None else ask.selection.of(tracks)
            names = [name for name, track in named_tracks(tracks) if track in chosen]
            if ask.selection is not None and not names:
                names = [str(ask.selection)]
            if len(names) != 1:
                raise Refused(Reason.NOT_FOUND, "such a playlist is of one track")
            folder = track_folder(names[0])
            return Form(names[0], sliding, f"{prefix}{folder}" if prefix or not ask.inside else "")
        check_tracks(ask, tracks, mpegts_can_carry)
        folder = f"tracks-{ask.selection}/" if ask.selection is not None else ""
        return Form("", sliding, f"{prefix}{folder}" if prefix or not ask.inside else "")

    async def _newest(self, name: str, wanted: Range) -> _Newest:
        """The newest segment of a range.

        @raise Refused: there is none.
        """
        start, end = wanted.start * TICKS_PER_SECOND, wanted.end * TICKS_PER_SECOND
        if start >= end:
            start, end = end - _OUTAGE, end + 1
        hours, complete = await self._hours.hours_between(name, start, end)
        tables: tuple[Tracks, ...] = ()
        if len(hours) > 1 and wanted.end > wanted.start:
            tables = (await self._hours.hour(name, hours[0])).tables
        for hour in reversed(hours[-3:]):
            index = await self._hours.hour(name, hour)
            complete = complete and index.complete
            rows = rows_of(index)
            first, last = within(rows, start, end)
            if first < last:
                return _Newest(index, rows[first:last], rows[last - 1], tables + index.tables)
        raise nothing_there(complete)

    async def _range(
        self, ask: ArchiveAsk, form: Form, wanted: Range, newest: _Newest, grid: int, complete: bool
    ) -> Listing:
        """A closed or growing range."""
        start, end = wanted.start * TICKS_PER_SECOND, wanted.end * TICKS_PER_SECOND
        hours, _ = await self._hours.hours_between(ask.name, start, end)
        builder = ListBuilder(form)
        for hour in hours:
            if start <= hour * HOUR_TICKS and (hour + 1) * HOUR_TICKS <= end and hour != hours[-1]:
                kept = await self._whole(ask.name, hour, form)
                if kept is not None:
                    complete = complete and kept.complete
                    builder.add(kept.facts, kept.body, kept.facts.first[SEQUENCE])
                continue
            index = await self._hours.hour(ask.name, hour)
            complete = complete and index.complete
            rows = rows_of(index)
            first, last = within(rows, start, end)
            if first < last:
                await self._part(builder, index, rows, first, last)
        if builder.last is None:
            raise nothing_there(complete)
        if form.track and not builder.shown:
            raise _not_shown(newest.tracks, form.track)
        if wanted.sliding:
            return Listing(builder.build(grid), 1)
        now = self._utc() // TICKS_PER_SECOND
        reached = builder.last[START] + builder.last[DURATION] >= end
        ended = wanted.closed and (reached or now > wanted.end + _ON_ITS_WAY)
        seconds = self._lasting(wanted, now, complete) if ended else 1
        return Listing(builder.build(grid, "VOD" if ended else "EVENT", ended), seconds)

    async def _part(
        self, builder: ListBuilder, index: HourIndex, rows: list[RowTuple], first: int, last: int
    ) -> None:
        """Some segments of an hour: they are listed anew each time."""
        some = rows[first:last]
        facts = (
            hour_text(index, some, builder.form)
            if len(some) < _MANY
            else await self._in_thread(hour_text, index, some, builder.form)
        )
        sequence = facts.first[SEQUENCE] if facts.restarts else sequence_of(rows, first)
        builder.add(facts, facts.text.encode("ascii"), sequence)

    async def _whole(self, name: str, hour: int, form: Form) -> _KeptHour | None:
        """A whole hour; None when it is empty."""
        key = (name, hour, form)
        kept = self._texts.get(key)
        if kept is not None and self._seconds() - kept.at < self._hours.fresh_for(hour):
            return kept
        # Lists of other ranges hold the same hour: it is written for all of them at once.
        return await self._packing.run(key, lambda: self._pack(name, hour, form, kept))

    async def _pack(self, name: str, hour: int, form: Form, kept: _KeptHour | None) -> _KeptHour | None:
        index = await self._hours.hour(name, hour)
        if not len(index):
            return None
        known = fingerprint(index)
        if kept is not None and kept.print == known:
            kept = evolve(kept, at=self._seconds(), complete=index.complete)
        else:
            facts, body = await self._in_thread(_packed_hour, index, form)
            kept = _KeptHour(self._seconds(), known, facts, body, index.complete)
        self._texts.put((name, hour, form), kept)
        return kept

    async def _delayed(
        self, ask: ArchiveAsk, form: Form, wanted: Range, grid: int
    ) -> tuple[Packed | bytes, ...]:
        """The list of the stream as it was at a moment: the newest entries that were over then."""
        name, moment = ask.name, wanted.end * TICKS_PER_SECOND
        held = await self._hours.holdings(name)
        place = bisect_right(held.hours, hour_of(moment))
        hours: list[tuple[HourIndex, list[RowTuple]]] = []
        after: RowTuple | None = None
        last: RowTuple | None = None
        complete = held.complete
        for hour in held.hours[max(0, place - 2) : place + 1]:
            index = await self._hours.hour(name, hour)
            complete = complete and index.complete
            rows = rows_of(index)
            over = [row for row in rows if row[START] + row[DURATION] <= moment]
            if over:
                hours.append((index, rows))
                last = over[-1]
            if len(over) < len(rows):
                after = rows[len(over)]
                break
        if last is None:
            raise nothing_there(complete)
        followed = after is not None and not unrelated(last, after)
        if not followed and last[START] + last[DURATION] < moment - DELAYED_WINDOW:
            # An outage so long that nothing of it is listed.
            raise nothing_there(complete)
        builder = ListBuilder(form)
        for index, rows in hours:
            first, _ = within(rows, min(moment - DELAYED_WINDOW, last[START]), moment)
            end = next((at for at, row in enumerate(rows) if row[START] + row[DURATION] > moment), len(rows))
            if first < end:
                await self._part(builder, index, rows, first, end)
        if after is not None:
            between = joint(last, after)
            over_by_then = [
                gap for gap in missing_between(last, after, between) if gap.start + gap.duration <= moment
            ]
            builder.add_missing(missing_lines(over_by_then, form))
        if form.track and not builder.shown:
            tracks = hours[-1][0].tables[last[TABLE]]
            raise _not_shown(tracks, form.track)
        return builder.build(grid)

    @staticmethod
    def _lasting(wanted: Range, now: int, complete: bool) -> int:
        """For how many seconds caches may keep what is said of a range."""
        if not wanted.closed or now <= wanted.end + _ON_ITS_WAY:
            return 1
        return _LASTING if complete else _UNCERTAIN


def _packed_hour(index: HourIndex, form: Form) -> tuple[HourText, Packed]:
    """The text of a whole hour, compressed; in a thread."""
    facts = hour_text(index, rows_of(index), form)
    return evolve(facts, text=""), Packed.of(facts.text.encode("ascii"))


def _not_shown(tracks: Tracks, name: str) -> Refused:
    if find_track(tracks, name) is None:
        return Refused(Reason.NOT_FOUND, f"there is no track {name}")
    return Refused(Reason.UNSUPPORTED, f"CMAF cannot carry track {name}")


def _cost(pieces: Pieces) -> int:
    return 500 + size_of([piece for piece in pieces if isinstance(piece, bytes)]) + 100 * len(pieces)
