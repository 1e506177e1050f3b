"""The periods of a range of an archive (ISO/IEC 23009-1 section 5.3.2), and their timelines as text (pure).

A period begins at each discontinuity, behind each number that is missing, and where other tracks, or tracks
with another configuration, are there. What an hour holds is written once: the lines of a timeline (section
5.3.9.6) depend on the hour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, evolve, field, frozen

from restreamer.dvr.timeline import DURATION, FIRST_SPAN, FLAGS, NUMBER, SEQUENCE, START, TABLE, RowTuple
from restreamer.errors import MediaError
from restreamer.live.cmaf_names import named_tracks
from restreamer.m4f.hour_index import HourIndex
from restreamer.m4f.hour_layout import DISCONTINUITY, SPAN_STRUCT
from restreamer.media.codecs import cmaf_can_carry, codec_string
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track

#: Tracks with their names (C{v1}, C{a1}).
Held = tuple[tuple[str, Track], ...]


@frozen(eq=False)
class Line:
    """The timeline of a track in a run of segments; UTC ticks.

    @ivar start: earliest presentation time; @ivar end: where the last sample ends. @ivar text: S elements.
    @ivar bits: bits/s of its heaviest segment.
    """

    start: int
    end: int
    text: str
    bits: int


@frozen(eq=False)
class Run:
    """Segments that follow each other, within an hour. @ivar lines: by the name of a track.

    @ivar longest: ticks of the longest one.
    """

    first: RowTuple
    last: RowTuple
    held: Held
    lines: dict[str, Line]
    longest: int


@define(eq=False)
class Period:
    """A period. @ivar runs: one for each hour that it touches."""

    runs: list[Run]

    @property
    def first(self) -> RowTuple:
        """Its first segment."""
        return self.runs[0].first

    @property
    def last(self) -> RowTuple:
        """Its last segment."""
        return self.runs[-1].last

    @property
    def held(self) -> Held:
        """Its tracks, as they are at its end."""
        return self.runs[-1].held

    def begins(self, names: Iterable[str]) -> int:
        """The first moment of the tracks C{names}."""
        return min(self.runs[0].lines[name].start for name in names)

    def ends(self, names: Iterable[str]) -> int:
        """The last moment of the tracks C{names}."""
        return max(self.runs[-1].lines[name].end for name in names)


def hour_runs(index: HourIndex, rows: Sequence[RowTuple]) -> tuple[Run, ...]:
    """What some segments of an hour, in the order of time, are in a manifest; those without tracks are left
    out."""
    spans = list(SPAN_STRUCT.iter_unpack(index.packed_spans))
    packed = list(index.tuples())
    firsts = [*[row[FIRST_SPAN] for row in packed[1:]], index.span_count]
    ends = dict(zip([row[NUMBER] for row in packed], firsts, strict=True)) if packed else {}
    tables = [[each for each in named_tracks(tracks) if _carried(each[1])] for tracks in index.tables]
    # Most segments hold the same tracks: they share one tuple, which is compared by identity.
    known: dict[tuple[int, tuple[int, ...]], Held] = {}
    runs: list[Run] = []
    current: _Run | None = None
    for row in rows:
        found = {span[0]: span for span in spans[row[FIRST_SPAN] : ends[row[NUMBER]]]}
        key = (row[TABLE], tuple(found))
        held = known.get(key)
        if held is None:
            held = known[key] = tuple([each for each in tables[row[TABLE]] if each[1].track_id in found])
        if current is not None and not current.goes_on(row, held):
            runs.append(current.close())
            current = None
        if not held:
            continue
        if current is None:
            current = _Run(row, held)
        current.add(row, held, found)
    if current is not None:
        runs.append(current.close())
    return tuple(runs)


def periods_of(runs: Iterable[Run]) -> list[Period]:
    """Runs put together, where one goes on with the one before."""
    periods: list[Period] = []
    for run in runs:
        last = periods[-1].runs[-1] if periods else None
        if last is not None and _continues(last.last, run.first) and same_tracks(last.held, run.held):
            periods[-1].runs.append(run)
        else:
            periods.append(Period([run]))
    return periods


def period_name(row: RowTuple) -> str:
    """The id of the period that begins with a segment: as live manifests have it."""
    name = f"d{row[SEQUENCE]}"
    return name if row[FLAGS] & DISCONTINUITY else f"{name}n{row[NUMBER]}"


def same_tracks(one: Held, other: Held) -> bool:
    """Whether the same init segments are right for both."""
    return one == other or (
        len(one) == len(other)
        and all(
            name == its_name and evolve(track, bandwidth=0) == evolve(its_track, bandwidth=0)
            for (name, track), (its_name, its_track) in zip(one, other, strict=True)
        )
    )


def _continues(before: RowTuple, after: RowTuple) -> bool:
    return after[NUMBER] == before[NUMBER] + 1 and not after[FLAGS] & DISCONTINUITY


@define(eq=False)
class _Run:
    """A run that is being read."""

    first: RowTuple
    held: Held
    last: RowTuple = field(init=False)
    longest: int = field(default=0, init=False)
    timelines: dict[str, _Timeline] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.last = self.first

    def goes_on(self, row: RowTuple, held: Held) -> bool:
        return _continues(self.last, row) and (held is self.held or same_tracks(self.held, held))

    def add(self, row: RowTuple, held: Held, found: dict[int, tuple[int, ...]]) -> None:
        self.last, self.held = row, held
        self.longest = max(self.longest, row[DURATION])
        start = row[START]
        for name, track in held:
            _, _, shown, duration, size = found[track.track_id]
            timeline = self.timelines.get(name)
            if timeline is None:
                timeline = self.timelines[name] = _Timeline(start + shown)
            timeline.add(start + shown, max(duration, 1), size, row[DURATION])

    def close(self) -> Run:
        return Run(
            self.first,
            self.last,
            self.held,
            {name: self.timelines[name].close() for name, _ in self.held},
            self.longest,
        )


@define(eq=False)
class _Timeline:
    """S elements of a track: those that follow each other and are equally long are one."""

    start: int
    parts: list[str] = field(factory=list, init=False)
    end: int = field(default=-1, init=False)
    bits: int = field(default=0, init=False)
    _at: int | None = field(default=None, init=False)
    _length: int = field(default=0, init=False)
    _repeats: int = field(default=-1, init=False)

    def add(self, start: int, duration: int, size: int, lasts: int) -> None:
        if start == self.end and duration == self._length:
            self._repeats += 1
        else:
            self._flush()
            self._at = start if start != self.end else None
            self._length, self._repeats = duration, 0
        self.end = start + duration
        self.bits = max(self.bits, size * 8 * TICKS_PER_SECOND // max(1, min(duration, lasts)))

    def _flush(self) -> None:
        if self._repeats >= 0:
            at = f' t="{self._at}"' if self._at is not None else ""
            repeats = f' r="{self._repeats}"' if self._repeats else ""
            self.parts.append(f'<S{at} d="{self._length}"{repeats}/>\n')

    def close(self) -> Line:
        self._flush()
        return Line(self.start, self.end, "".join(self.parts), self.bits)


def _carried(track: Track) -> bool:
    if not cmaf_can_carry(track):
        return False
    try:
        codec_string(track)
    except MediaError:
        return False
    return True
