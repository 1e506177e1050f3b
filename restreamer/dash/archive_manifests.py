"""Manifests of archives: what is asked for, put together from the timelines of hours.

The timelines of an hour that is over are written once. Nothing is answered before every hour is there.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from attrs import evolve, frozen

from restreamer.dash.archive_mpd import Growing, Listed, archive_manifest
from restreamer.dash.archive_periods import Held, Period, Run, hour_runs, period_name, periods_of
from restreamer.dash.routes import base_url
from restreamer.dvr.forms import MAX_PLAYLIST, ArchiveAsk, Kind, range_of
from restreamer.dvr.timeline import (
    DURATION,
    FLAGS,
    NUMBER,
    RUN,
    SEQUENCE,
    START,
    ArchiveHours,
    fingerprint,
    grid_of,
    nothing_there,
    rows_of,
    within,
)
from restreamer.errors import Reason, Refused
from restreamer.live.window import TARGET_MARGIN
from restreamer.m4f.hour_index import HourIndex
from restreamer.m4f.hour_layout import DISCONTINUITY, HOUR_TICKS
from restreamer.media.codecs import plain_names
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND
from restreamer.vod.keep import Kept, SingleFlight
from restreamer.vod.seams import InThread

#: Where the node tells its time.
CLOCK_PATH: Final = "/-/time"
#: Bytes of timelines and of manifests kept, and how many.
_RUN_BYTES: Final = 16 * 1024 * 1024
_HOURS: Final = 10_000
_MANIFEST_BYTES: Final = 16 * 1024 * 1024
_MANIFESTS: Final = 1000
#: For how many seconds a manifest is given again: one that grows, and one that is closed.
_GROWING_FOR: Final = 0.9
_CLOSED_FOR: Final = 30.0
_LASTING: Final = 3600
_UNCERTAIN: Final = 5
#: Seconds after its end in which a range is still told as one that grew: for players that saw it growing,
#: whose time goes on.
_STILL: Final = 60
#: Periods of sliding manifests that keep their names, by stream and choice of tracks.
_NAMED: Final = 500
_MAX_NAMES: Final = 200
_LEVEL: Final = 4
_NAME: Final = re.compile("[va][0-9]+")


@frozen(eq=False)
class Manifest:
    """A manifest. @ivar zipped: as gzip. @ivar seconds: for how long caches may keep it."""

    body: bytes
    zipped: bytes
    etag: str
    seconds: int


@frozen(eq=False)
class _KeptHour:
    at: float
    print: int
    runs: tuple[Run, ...]
    run_start: int
    complete: bool


@frozen
class _Known:
    """A period that was listed: its numbers, its name, its start."""

    first: int
    last: int
    name: str
    start: int


class ArchiveManifests:
    """Makes and keeps the manifests of archives; arguments as
    L{restreamer.hls.archive_playlists.ArchivePlaylists}."""

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
        self._texts: Kept[tuple[str, int], _KeptHour] = Kept(_RUN_BYTES, _HOURS, _cost)
        self._manifests: Kept[tuple[ArchiveAsk, str], tuple[float, Manifest]] = Kept(
            _MANIFEST_BYTES, _MANIFESTS, lambda held: len(held[1].body) + len(held[1].zipped)
        )
        self._writing: SingleFlight[tuple[ArchiveAsk, str], Manifest] = SingleFlight()
        self._packing: SingleFlight[tuple[str, int], _KeptHour | None] = SingleFlight()
        self._names: Kept[ArchiveAsk, tuple[_Known, ...]] = Kept(_NAMED, _NAMED, lambda _: 1)

    async def manifest(self, ask: ArchiveAsk, url_prefix: str = "") -> Manifest:
        """The manifest that C{ask} means now.

        @param url_prefix: of the stream. @raise Refused: BAD_NAME, NOT_FOUND, NOT_READY, UNSUPPORTED.
        """
        key = (ask, url_prefix)
        held = self._manifests.get(key)
        if held is not None:
            fresh = _CLOSED_FOR if held[1].seconds > 1 else _GROWING_FOR
            if self._seconds() - held[0] < fresh:
                return held[1]
        return await self._writing.run(key, lambda: self._write(ask, url_prefix))

    def forget(self) -> None:
        """Give the memory back."""
        self._texts.clear()
        self._manifests.clear()

    async def zipped(self, body: bytes) -> bytes:
        """A manifest that is one viewer's, compressed."""
        zipped: bytes = await self._in_thread(_zipped, body)
        return zipped

    async def _write(self, ask: ArchiveAsk, url_prefix: str) -> Manifest:
        if ask.kind not in (Kind.FIXED, Kind.EVENT, Kind.REWIND):
            raise Refused(Reason.UNSUPPORTED, "DASH has no form of this: ask for rewind, or by HLS")
        now = self._utc() // TICKS_PER_SECOND
        wanted = range_of(ask, now, self._longest)
        start, end = wanted.start * TICKS_PER_SECOND, wanted.end * TICKS_PER_SECOND
        hours, complete = await self._hours.hours_between(ask.name, start, end)
        runs: list[Run] = []
        run_start = None
        for hour in hours:
            if start <= hour * HOUR_TICKS and (hour + 1) * HOUR_TICKS <= end and hour != hours[-1]:
                kept = await self._whole(ask.name, hour)
                if kept is not None:
                    complete = complete and kept.complete
                    runs += kept.runs
                    run_start = kept.run_start if run_start is None else run_start
                continue
            index = await self._hours.hour(ask.name, hour)
            complete = complete and index.complete
            rows = rows_of(index)
            first, last = within(rows, start, end)
            if first < last:
                runs += hour_runs(index, rows[first:last])
                if run_start is None:
                    run_start = index.runs[rows[first][RUN]].run_start
        if run_start is None:
            raise nothing_there(complete)
        periods = _chosen(ask, periods_of(runs))
        if not periods:
            raise _nothing(ask, await self._hours.hour(ask.name, hours[-1]))
        closed = wanted.closed and now > wanted.end + _STILL
        listed = self._listed(ask, periods, run_start, closed)
        last_row = periods[-1][0].last
        grid = grid_of([last_row]) or last_row[DURATION]
        lasts = max(run.longest for period, _ in periods for run in period.runs)
        growing = None
        if not closed:
            length = grid // TICKS_PER_MS
            growing = Growing(
                update=0 if wanted.closed else max(500, length // 2),
                delay=length * 5 // 2 + 500,
                clock=CLOCK_PATH,
            )
        longest = max(grid // TICKS_PER_SECOND + TARGET_MARGIN, -(-lasts // TICKS_PER_SECOND))
        base = base_url(url_prefix, ask.name)
        seconds = (_LASTING if complete else _UNCERTAIN) if closed else 1
        manifest: Manifest = await self._in_thread(_written, listed, longest, base, growing, seconds)
        self._manifests.put((ask, url_prefix), (self._seconds(), manifest))
        return manifest

    async def _whole(self, name: str, hour: int) -> _KeptHour | None:
        """A whole hour; None when it is empty."""
        kept = self._texts.get((name, hour))
        if kept is not None and self._seconds() - kept.at < self._hours.fresh_for(hour):
            return kept
        # Manifests of other ranges hold the same hour: it is written for all of them at once.
        return await self._packing.run((name, hour), lambda: self._pack(name, hour, kept))

    async def _pack(self, name: str, hour: int, kept: _KeptHour | None) -> _KeptHour | None:
        index = await self._hours.hour(name, hour)
        if not len(index):
            return None
        known = fingerprint(index)
        if kept is not None and kept.print == known:
            kept = evolve(kept, at=self._seconds(), complete=index.complete)
        else:
            runs: tuple[Run, ...] = await self._in_thread(_hour_of_runs, index)
            began = index.runs[index[0].run].run_start
            kept = _KeptHour(self._seconds(), known, runs, began, index.complete)
        self._texts.put((name, hour), kept)
        return kept

    def _listed(
        self, ask: ArchiveAsk, periods: Sequence[tuple[Period, Held]], run_start: int, closed: bool
    ) -> list[Listed]:
        """Names and starts of periods.

        While the beginning of a range moves on, the first period keeps those it was listed with; else it is
        the run it belongs to that began it.
        """
        listed: list[Listed] = []
        used: set[str] = set()
        known = self._names.get(ask) or ()
        for period, held in periods:
            first = period.first
            begins = period.begins([name for name, _ in held])
            name, start = period_name(first), min(first[START], begins)
            if not listed and not closed and ask.kind is Kind.REWIND and not first[FLAGS] & DISCONTINUITY:
                before = next((each for each in known if each.first <= first[NUMBER] <= each.last + 1), None)
                name, start = f"d{first[SEQUENCE]}", min(run_start, begins)
                if before is not None:
                    name, start = before.name, before.start
            if name in used:
                name = f"{name}n{first[NUMBER]}"
            used.add(name)
            listed.append(Listed(period, name, start - start % TICKS_PER_MS, held))
        if not closed and ask.kind is Kind.REWIND:
            self._names.put(
                ask,
                tuple(
                    _Known(each.period.first[NUMBER], each.period.last[NUMBER], each.name, each.start)
                    for each in listed[:_MAX_NAMES]
                ),
            )
        return listed


def _chosen(ask: ArchiveAsk, periods: Sequence[Period]) -> list[tuple[Period, Held]]:
    """The periods that hold some of the tracks that are wanted, with those tracks."""
    if ask.selection is None:
        return [(period, period.held) for period in periods]
    wanted = set(_NAME.findall(str(ask.selection)))
    found = []
    for period in periods:
        held = tuple(each for each in period.held if each[0] in wanted)
        if held:
            found.append((period, held))
    return found


def _nothing(ask: ArchiveAsk, index: HourIndex) -> Refused:
    """Why no period is listed."""
    tracks = index.tables[-1] if index.tables else ()
    if ask.selection is not None and not ask.selection.of(tracks):
        return Refused(Reason.NOT_FOUND, "the stream had none of the chosen tracks")
    return Refused(Reason.UNSUPPORTED, f"DASH can carry none of the tracks ({plain_names(tracks)})")


def _hour_of_runs(index: HourIndex) -> tuple[Run, ...]:
    """The runs of a whole hour; in a thread."""
    return hour_runs(index, rows_of(index))


def _written(
    listed: Sequence[Listed], longest: int, base: str, growing: Growing | None, seconds: int
) -> Manifest:
    """The manifest; in a thread."""
    body = archive_manifest(listed, longest, base, growing).encode("utf-8")
    etag = f'"{zlib.crc32(body):08x}-{len(body):x}"'
    return Manifest(body, _zipped(body), etag, seconds)


def _zipped(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)


def _cost(kept: _KeptHour) -> int:
    return 500 + sum([len(line.text) + 500 for run in kept.runs for line in run.lines.values()])
