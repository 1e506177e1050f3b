"""The media playlist of one CMAF track, and what low latency adds to it (RFC 8216bis): pure functions.

A segment's lines depend on the segment alone, but for EXT-X-MAP, which is given where it differs from that of
the segment before. EXT-X-PROGRAM-DATE-TIME is of the track itself, so that players put tracks together that
begin a little apart.

EXT-X-INDEPENDENT-SEGMENTS says something of every listed segment. Sound always has it. Pictures have it as
long as each listed segment begins with a keyframe, that is, always, but for encoders whose keyframes do not
come when a segment must end; a promise that is wrong would be worse than one that goes for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from restreamer.live.cmaf import TrackPart
from restreamer.live.cmaf_names import part_file, segment_file
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND, iso8601_ms

#: EXT-X-MAP in playlists of media segments came with 6, EXT-X-GAP with 8, EXT-X-SKIP with 9.
_VERSION: Final = 6
_VERSION_WITH_GAPS: Final = 8
_VERSION_LOW_LATENCY: Final = 9

#: EXT-X-SERVER-CONTROL in target durations (RFC 8216bis section 4.4.3.8).
_HOLD_BACK: Final = 3
_SKIP_UNTIL: Final = 6
#: PART-HOLD-BACK in parts, and in ticks at least: what a player needs to load parts over a real network.
_PART_HOLD_BACK: Final = 3
_LEAST_HOLD_BACK: Final = TICKS_PER_SECOND
#: Segments at the end whose parts are listed, the open one among them. Parts may be left out when they are
#: three target durations old (section 4.4.4.9); no player begins so far back with parts, and they are most
#: of a playlist that is loaded several times a second.
_WITH_PARTS: Final = 3
#: PART-TARGET is told in steps of so many ticks, with so many to spare: times that publishers round do not
#: move it.
_TARGET_STEP: Final = 10 * TICKS_PER_MS
_TARGET_SPARE: Final = 5 * TICKS_PER_MS
_JITTER: Final = 3 * TICKS_PER_MS


@frozen(kw_only=True)
class ListedCmaf:
    """A segment as the playlist of one of its tracks shows it; times in ticks.

    @ivar start: UTC of what is shown first. @ivar duration: what it lasts; 0 while it is open.
    @ivar init: file of its init segment; empty: nobody has the segment, or it holds nothing of the track.
    @ivar independent: it begins with a keyframe. @ivar discontinuity: it does not continue the one before.
    @ivar discontinuity_sequence: discontinuities of the stream up to it, its own included.
    """

    number: int
    start: int
    duration: int
    discontinuity_sequence: int
    init: str = ""
    independent: bool = True
    discontinuity: bool = False
    parts: Sequence[TrackPart] = ()


@frozen
class Report:
    """Where another rendition stands (EXT-X-RENDITION-REPORT, section 4.4.5.4).

    @ivar uri: of its playlist; @ivar number, @ivar part: of its newest part; part -1: it has none.
    """

    uri: str
    number: int
    part: int


@frozen(kw_only=True)
class LowLatency:
    """What a low-latency playlist has beside the closed segments.

    @ivar part_target: ticks. @ivar open: the segment that is being made. @ivar hint: number and place of the
        part that comes next. @ivar reports: of the other renditions. @ivar skip: the player has an older
        version of the playlist and wants the difference.
    """

    part_target: int
    open: ListedCmaf | None = None
    hint: tuple[int, int] | None = None
    reports: Sequence[Report] = ()
    skip: bool = False


def part_target(lengths: Iterable[int], wanted: int) -> int:
    """PART-TARGET, in ticks: what the longest part lasts, rounded up.

    @param lengths: of all parts that are held, whatever tracks they hold, in ticks: all renditions must say
        the same (section 6.2.4). @param wanted: what parts should last; that of a playlist without any.
    """
    longest = max(lengths, default=wanted)
    return -(-(max(longest, 1) - _JITTER) // _TARGET_STEP) * _TARGET_STEP + _TARGET_SPARE


def cmaf_playlist(
    target_duration: int,
    entries: Sequence[ListedCmaf],
    base: str = "",
    low_latency: LowLatency | None = None,
) -> str:
    """The playlist of C{entries}, oldest first, with consecutive numbers.

    @param target_duration: seconds, at least each rounded duration.
    @param base: stands before every URI; empty: they are relative to the playlist.
    """
    first = entries[0] if entries else None
    opened = low_latency.open if low_latency is not None else None
    listed = [*entries, opened] if opened is not None and opened.parts else entries
    lines = [
        "#EXTM3U\n",
        f"#EXT-X-VERSION:{_version(entries, low_latency)}\n",
        f"#EXT-X-TARGETDURATION:{target_duration}\n",
    ]
    if all(entry.independent for entry in listed):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS\n")
    if low_latency is not None:
        lines.append(_server_control(target_duration, low_latency.part_target))
        lines.append(f"#EXT-X-PART-INF:PART-TARGET={_seconds(low_latency.part_target)}\n")
    lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first.number if first is not None else 0}\n")
    if first is not None:
        before = first.discontinuity_sequence - first.discontinuity
        if before > 0:
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{before}\n")
    skipped = 0
    if low_latency is not None and low_latency.skip:
        skipped = _skipped(target_duration, listed)
    if skipped:
        lines.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n")
    with_parts = len(entries) + 1 - _WITH_PARTS if low_latency is not None else len(listed)
    init = ""
    for index, entry in enumerate(listed):
        shown = index >= skipped
        head = _map(entry, base) if entry.init and entry.init != init else ""
        init = entry.init or init
        if shown:
            lines.append(_entry_lines(entry, base, head, index >= with_parts))
    if low_latency is not None:
        lines.append(_behind(base, low_latency))
    return "".join(lines)


def _version(entries: Sequence[ListedCmaf], low_latency: LowLatency | None) -> int:
    if low_latency is not None:
        return _VERSION_LOW_LATENCY
    return _VERSION if all(entry.init for entry in entries) else _VERSION_WITH_GAPS


def _server_control(target_duration: int, part: int) -> str:
    hold_back = max(_PART_HOLD_BACK * part, _LEAST_HOLD_BACK)
    return (
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,"
        f"CAN-SKIP-UNTIL={_SKIP_UNTIL * target_duration}.0,"
        f"HOLD-BACK={_HOLD_BACK * target_duration}.0,"
        f"PART-HOLD-BACK={_seconds(hold_back)}\n"
    )


def _map(entry: ListedCmaf, base: str) -> str:
    return f'#EXT-X-MAP:URI="{base}{entry.init}"\n'


def _entry_lines(entry: ListedCmaf, base: str, head: str, with_parts: bool) -> str:
    lines = ["#EXT-X-DISCONTINUITY\n"] if entry.discontinuity else []
    lines.append(head)
    lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{iso8601_ms(entry.start)}\n")
    if with_parts:
        lines.extend(_part_line(entry.number, place, part, base) for place, part in enumerate(entry.parts))
    if entry.duration:
        if not entry.init:
            lines.append("#EXT-X-GAP\n")
        lines.append(f"#EXTINF:{_seconds(entry.duration)},\n{base}{segment_file(entry.number)}\n")
    return "".join(lines)


def _part_line(number: int, place: int, part: TrackPart, base: str) -> str:
    independent = ",INDEPENDENT=YES" if part.independent else ""
    uri = f"{base}{part_file(number, place)}"
    return f'#EXT-X-PART:DURATION={_fine_seconds(part.duration)},URI="{uri}"{independent}\n'


def _behind(base: str, low_latency: LowLatency) -> str:
    lines = []
    if low_latency.hint is not None:
        uri = f"{base}{part_file(*low_latency.hint)}"
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{uri}"\n')
    for report in low_latency.reports:
        last = f",LAST-PART={report.part}" if report.part >= 0 else ""
        lines.append(f'#EXT-X-RENDITION-REPORT:URI="{report.uri}",LAST-MSN={report.number}{last}\n')
    return "".join(lines)


def _length(entry: ListedCmaf) -> int:
    return entry.duration or sum(part.duration for part in entry.parts)


def _skipped(target_duration: int, listed: Sequence[ListedCmaf]) -> int:
    """How many segments lie before the skip boundary (section 6.2.5.1)."""
    boundary = _SKIP_UNTIL * target_duration * TICKS_PER_SECOND
    left = sum(_length(entry) for entry in listed)
    for index, entry in enumerate(listed):
        left -= _length(entry)
        if left < boundary:
            return index
    return 0


def _seconds(ticks: int) -> str:
    """Ticks as seconds with 3 decimals, rounded half up in integers: the same on every machine."""
    milliseconds = (ticks * 1000 + TICKS_PER_SECOND // 2) // TICKS_PER_SECOND
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _fine_seconds(ticks: int) -> str:
    """Ticks as seconds with 5 decimals: parts are short, and their lengths are added up."""
    units = (ticks * 100_000 + TICKS_PER_SECOND // 2) // TICKS_PER_SECOND
    return f"{units // 100_000}.{units % 100_000:05d}"
