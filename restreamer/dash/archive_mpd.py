"""The manifest of a range of an archive as text (ISO/IEC 23009-1 section 5.3), pure.

A closed range is static, and its periods follow each other without a hole whatever is missing between them:
its time begins with 0. One that grows is dynamic and has the time of live manifests, UTC since the epoch. The
files are the same, and so are the times in them: C{presentationTimeOffset} says which of them a period begins
with.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from attrs import frozen

from restreamer.dash.archive_periods import Held, Period
from restreamer.dash.mpd import EPOCH, MAX_BANDWIDTH, PROFILE, language_of
from restreamer.live.cmaf import init_of
from restreamer.live.cmaf_names import track_folder
from restreamer.media.codecs import codec_string
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND, iso8601_ms
from restreamer.media.track import Track, TrackKind

#: Bandwidths of tracks that were not measured are rounded up to this, bits/s.
_STEP: Final = 10_000


@frozen(eq=False)
class Listed:
    """A period as it is listed. @ivar name: its id; @ivar start: UTC ticks it begins with."""

    period: Period
    name: str
    start: int
    held: Held


@frozen(kw_only=True)
class Growing:
    """What a manifest says that is read again. @ivar update: milliseconds until then; 0: it is over.

    @ivar delay: milliseconds to stay behind; @ivar clock: URL of the node's clock.
    """

    update: int
    delay: int
    clock: str


def archive_manifest(
    listed: Sequence[Listed], longest: int, base: str, growing: Growing | None = None
) -> str:
    """The whole MPD.

    @param longest: seconds of the longest segment. @param base: what stands before the URLs of media.
    @param growing: None: nothing is added.
    """
    names = [[name for name, _ in each.held] for each in listed]
    begins = listed[0].period.begins(names[0])
    ends = listed[-1].period.ends(names[-1])
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="{PROFILE}"',
    ]
    starts: list[int] = []
    if growing is None:
        at = 0
        for each, mine in zip(listed, names, strict=True):
            starts.append(at)
            at += _milliseconds(each.period.ends(mine) - each.period.begins(mine))
        lines.append(f' type="static" mediaPresentationDuration="{_duration(at)}"')
    else:
        starts = [each.start // TICKS_PER_MS for each in listed]
        lines.append(
            f' type="dynamic" availabilityStartTime="{EPOCH}" publishTime="{iso8601_ms(ends)}"'
            f' timeShiftBufferDepth="{_duration(_milliseconds(ends - begins))}"'
            f' suggestedPresentationDelay="{_duration(growing.delay)}"'
        )
        if growing.update:
            lines.append(f' minimumUpdatePeriod="{_duration(growing.update)}"')
        else:
            lines.append(f' mediaPresentationDuration="{_duration(ends // TICKS_PER_MS)}"')
    lines.append(f' minBufferTime="PT{longest}S" maxSegmentDuration="PT{longest}S">\n')
    if base:
        lines.append(f"<BaseURL>{escape(base)}</BaseURL>\n")
    for each, start in zip(listed, starts, strict=True):
        lines += _period(each, start, growing is None)
    if growing is not None:
        lines.append(
            f'<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="{escape(growing.clock)}"/>\n'
        )
    lines.append("</MPD>\n")
    return "".join(lines)


def _period(listed: Listed, start: int, static: bool) -> list[str]:
    """@param start: milliseconds of the presentation."""
    lines = [f'<Period id="{listed.name}" start="{_duration(start)}">\n']
    offset = listed.period.begins([name for name, _ in listed.held]) if static else listed.start
    sets: dict[object, list[str]] = {}
    heads: dict[object, str] = {}
    main = {track.kind: track.track_id for _, track in reversed(listed.held)}
    for name, track in listed.held:
        # Pictures of one codec are one content in several sizes; each sound is a content of its own.
        key: object = track.codec if track.kind is TrackKind.VIDEO else track.track_id
        if key not in sets:
            heads[key] = _set_head(track, main[track.kind] == track.track_id)
            sets[key] = []
        sets[key] += _representation(listed.period, name, track, offset)
    for key, representations in sets.items():
        lines += [heads[key], *representations, "</AdaptationSet>\n"]
    lines.append("</Period>\n")
    return lines


def _set_head(track: Track, main: bool) -> str:
    video = track.kind is TrackKind.VIDEO
    language = "" if video else language_of(track)
    kind = "video" if video else "audio"
    role = '<Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>\n' if main else ""
    return (
        f'<AdaptationSet id="{track.track_id}" contentType="{kind}" mimeType="{kind}/mp4"{language}'
        f' segmentAlignment="true">\n{role}'
    )


def _representation(period: Period, name: str, track: Track, offset: int) -> list[str]:
    measured = max(run.lines[name].bits for run in period.runs)
    bandwidth = min(max(track.bandwidth, -(-measured // _STEP) * _STEP, 1), MAX_BANDWIDTH)
    attributes = f'id="{name}" codecs="{escape(codec_string(track))}" bandwidth="{bandwidth}"'
    inside = ""
    if track.kind is TrackKind.VIDEO:
        if track.width and track.height:
            attributes += f' width="{track.width}" height="{track.height}"'
        if track.frame_rate:
            attributes += f' frameRate="{_rate(track.frame_rate)}"'
    else:
        if track.sample_rate:
            attributes += f' audioSamplingRate="{track.sample_rate}"'
        if track.channels:
            inside = (
                "<AudioChannelConfiguration"
                ' schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011"'
                f' value="{7 if track.channels == 8 else track.channels}"/>\n'
            )
    return [
        f"<Representation {attributes}>\n{inside}",
        f'<SegmentTemplate timescale="{TICKS_PER_SECOND}" presentationTimeOffset="{offset}"',
        f' startNumber="{period.first[0]}" initialization="{escape(track_folder(name) + init_of(track)[0])}"',
        ' media="tracks-$RepresentationID$/$Number$.m4s">\n<SegmentTimeline>\n',
        *[run.lines[name].text for run in period.runs],
        "</SegmentTimeline>\n</SegmentTemplate>\n</Representation>\n",
    ]


def _rate(thousandths: int) -> str:
    """Frames per second as the standard wants them: an integer or a fraction (section 5.3.7.2)."""
    if thousandths % 1000 == 0:
        return str(thousandths // 1000)
    whole = round(thousandths * 1001 / 1_000_000)
    if abs(whole * 1_000_000 // 1001 - thousandths) <= 1:
        return f"{whole * 1000}/1001"
    return f"{thousandths}/1000"


def _milliseconds(ticks: int) -> int:
    return -(-ticks // TICKS_PER_MS)


def _duration(milliseconds: int) -> str:
    """An xs:duration. Pictures shown long after they are decoded can end before they begin: that is 0."""
    milliseconds = max(milliseconds, 0)
    return f"PT{milliseconds // 1000}.{milliseconds % 1000:03d}S"
