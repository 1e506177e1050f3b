"""The lines of an hour of an archive in a media playlist: a pure function of its index.

The lines of a segment are those of the live playlist (L{restreamer.hls.playlist},
L{restreamer.hls.cmaf_playlist}). Lists that slide have a media sequence number for each segment number, so
what is missing is listed (EXT-X-GAP, RFC 8216bis section 4.4.4.7); the others go on behind a discontinuity.

A week has 120,000 segments, so the usual line is put together from tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from restreamer.dvr.timeline import FIRST_SPAN, FLAGS, NUMBER, Missing, RowTuple, joint, missing_between
from restreamer.hls.names import gap_uri, segment_uri
from restreamer.live.cmaf import carried_track, init_of
from restreamer.live.cmaf_names import segment_file
from restreamer.m4f.hour_index import HourIndex
from restreamer.m4f.hour_layout import DISCONTINUITY, HOUR_TICKS, INDEPENDENT, SPAN_STRUCT
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND, iso8601_ms, utc_datetime
from restreamer.media.track import TrackKind

_HOUR_MS: Final = 3_600_000
#: The minute and second of each second of an hour, as times and as URIs have them; each millisecond.
_TIMES: Final = tuple(f"{at // 60:02d}:{at % 60:02d}" for at in range(3600))
_FOLDERS: Final = tuple(f"{at // 60:02d}/{at % 60:02d}" for at in range(3600))
_FRACTIONS: Final = tuple(f".{ms:03d}Z\n" for ms in range(1000))
_BREAK: Final = "#EXT-X-DISCONTINUITY\n"


@frozen
class Form:
    """What kind of media playlist it is.

    @ivar track: the CMAF track; empty: MPEG-TS. @ivar sliding: it is listed by numbers.
    @ivar base: what stands before URIs.
    """

    track: str = ""
    sliding: bool = False
    base: str = ""


@frozen
class HourText:
    """The lines of some segments of an hour, from the first one's EXT-X-PROGRAM-DATE-TIME on.

    @ivar first, last: rows. @ivar opening: init segment of the first one; empty: it has none.
    @ivar init: the one that holds at the end. @ivar longest: ticks.
    @ivar gaps: some EXT-X-GAP is there. @ivar independent: each begins with a keyframe.
    @ivar restarts: what came before is on another grid, and cannot be listed with these.
    """

    text: str
    first: RowTuple
    last: RowTuple
    opening: str
    init: str
    longest: int
    gaps: bool
    independent: bool
    restarts: bool


def hour_text(index: HourIndex, rows: Sequence[RowTuple], form: Form) -> HourText:
    """The lines of C{rows}, which are some of C{index} in the order of time, one at least."""
    return _cmaf(index, rows, form) if form.track else _ts(index, rows, form)


def lead(before: RowTuple | None, after: RowTuple, form: Form) -> str:
    """What stands between the lines of two segments, but for EXT-X-MAP. @param before: None: nothing is."""
    if before is None:
        return _BREAK if after[FLAGS] & DISCONTINUITY else ""
    between = joint(before, after)
    if not form.sliding:
        return _BREAK if between.breaks else ""
    lines = missing_lines(missing_between(before, after, between), form)
    return lines + _BREAK if after[FLAGS] & DISCONTINUITY else lines


def missing_lines(missing: Sequence[Missing], form: Form) -> str:
    """The lines of numbers that nobody has."""
    lines = []
    for gap in missing:
        uri = segment_file(gap.number) if form.track else gap_uri(gap.number)
        lines.append(
            f"{_BREAK if gap.broken else ''}#EXT-X-PROGRAM-DATE-TIME:{iso8601_ms(gap.start)}\n"
            f"#EXT-X-GAP\n#EXTINF:{_seconds(gap.duration)},\n{form.base}{uri}\n"
        )
    return "".join(lines)


def unrelated(before: RowTuple, after: RowTuple) -> bool:
    """Whether no list by numbers can hold both."""
    return after[NUMBER] != before[NUMBER] + 1 and joint(before, after).unrelated


def map_line(init: str, base: str) -> str:
    """EXT-X-MAP."""
    return f'#EXT-X-MAP:URI="{base}{init}"\n'


def _ts(index: HourIndex, rows: Sequence[RowTuple], form: Form) -> HourText:
    origin = index.hour * HOUR_TICKS
    moment = utc_datetime(origin)
    date = f"#EXT-X-PROGRAM-DATE-TIME:{moment:%Y-%m-%dT%H}:"
    folder = f"{form.base}{moment:%Y/%m/%d/%H}/"
    forms: dict[int, tuple[str, str]] = {}
    parts: list[str] = []
    add = parts.append
    first = before = rows[0]
    expected = first[NUMBER]
    gaps = restarts = False
    fresh = True
    for row in rows:
        number, start, duration, flags, _, _, _, shown, _, _, _, _, _ = row
        if (number != expected or flags & DISCONTINUITY) and not fresh:
            if form.sliding and unrelated(before, row):
                parts.clear()
                first, gaps, restarts = row, False, True
            else:
                text = lead(before, row, form)
                gaps = gaps or "-GAP" in text
                add(text)
        fresh = False
        before = row
        expected = number + 1
        at = start - origin
        ms = (at + shown) // TICKS_PER_MS
        if duration >= TICKS_PER_SECOND and 0 <= ms < _HOUR_MS:
            known = forms.get(duration)
            if known is None:
                known = forms[duration] = _ts_form(duration, folder)
            extinf, ending = known
            add(
                f"{date}{_TIMES[ms // 1000]}{_FRACTIONS[ms % 1000]}{extinf}"
                f"{_FOLDERS[at // TICKS_PER_SECOND]}{ending}"
            )
        else:
            forms.setdefault(duration, ("", ""))
            add(
                f"#EXT-X-PROGRAM-DATE-TIME:{iso8601_ms(start + shown)}\n#EXTINF:{_seconds(duration)},\n"
                f"{form.base}{segment_uri(start, duration, number)}\n"
            )
            if duration >= TICKS_PER_SECOND:
                forms[duration] = _ts_form(duration, folder)
    text = "".join(parts)
    return HourText(text, first, before, "", "", max(forms), gaps, True, restarts)


def _ts_form(duration: int, folder: str) -> tuple[str, str]:
    ms = (duration + TICKS_PER_MS // 2) // TICKS_PER_MS
    return f"#EXTINF:{_seconds(duration)},\n{folder}", f"-{ms:05d}.ts\n"


def _cmaf(index: HourIndex, rows: Sequence[RowTuple], form: Form) -> HourText:
    origin = index.hour * HOUR_TICKS
    date = f"#EXT-X-PROGRAM-DATE-TIME:{utc_datetime(origin):%Y-%m-%dT%H}:"
    spans = list(SPAN_STRUCT.iter_unpack(index.packed_spans))
    tables = [_named(index, place, form.track) for place in range(len(index.tables))]
    ends = span_ends(index)
    forms: dict[int, str] = {}
    parts: list[str] = []
    add = parts.append
    first = before = rows[0]
    expected = first[NUMBER]
    gaps = restarts = False
    fresh = independent = True
    opening = init = ""
    for row in rows:
        number, start, duration, flags, _, _, _, _, table, _, span, _, _ = row
        if (number != expected or flags & DISCONTINUITY) and not fresh:
            if form.sliding and unrelated(before, row):
                parts.clear()
                first, gaps, restarts, fresh, independent, opening, init = (
                    row,
                    False,
                    True,
                    True,
                    True,
                    "",
                    "",
                )
            else:
                text = lead(before, row, form)
                gaps = gaps or "-GAP" in text
                add(text)
        before = row
        expected = number + 1
        track_id, file, place, sound = tables[table]
        mine = None
        if track_id:
            # Spans stand in the order of the table, and most segments hold every track.
            at = span + place
            end = ends[number]
            if at < end and spans[at][0] == track_id:
                mine = spans[at]
            else:
                mine = next((each for each in spans[span:end] if each[0] == track_id), None)
        extinf = forms.get(duration)
        if extinf is None:
            extinf = forms[duration] = f"#EXTINF:{_seconds(duration)},\n{form.base}"
        if mine is None:
            gaps = True
            fresh = False
            add(f"#EXT-X-PROGRAM-DATE-TIME:{iso8601_ms(start)}\n#EXT-X-GAP\n{extinf}{number}.m4s\n")
            continue
        if file != init:
            init = file
            if fresh:
                opening = file
            else:
                add(map_line(file, form.base))
        fresh = False
        if not (sound or flags & INDEPENDENT):
            independent = False
        moment = start + mine[2]
        ms = (moment - origin) // TICKS_PER_MS
        if 0 <= ms < _HOUR_MS:
            add(f"{date}{_TIMES[ms // 1000]}{_FRACTIONS[ms % 1000]}{extinf}{number}.m4s\n")
        else:
            add(f"#EXT-X-PROGRAM-DATE-TIME:{iso8601_ms(moment)}\n{extinf}{number}.m4s\n")
    text = "".join(parts)
    return HourText(text, first, before, opening, init, max(forms), gaps, independent, restarts)


def span_ends(index: HourIndex) -> dict[int, int]:
    """Where the spans of each row end, by its number."""
    rows = list(index.tuples())
    ends = [*[row[FIRST_SPAN] for row in rows[1:]], index.span_count]
    return dict(zip([row[NUMBER] for row in rows], ends, strict=bool(rows)))


def _named(index: HourIndex, table: int, name: str) -> tuple[int, str, int, bool]:
    """Track id, init segment, place in the table, whether it is sound; id 0: there is no such track."""
    tracks = index.tables[table]
    track = carried_track(tracks, name)
    if track is None:
        return 0, "", 0, False
    return track.track_id, init_of(track)[0], tracks.index(track), track.kind is TrackKind.AUDIO


def _seconds(ticks: int) -> str:
    """As L{restreamer.hls.playlist}: 3 decimals, rounded half up in integers."""
    milliseconds = (ticks * 1000 + TICKS_PER_SECOND // 2) // TICKS_PER_SECOND
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
