"""The manifest as text (ISO/IEC 23009-1 section 5.3): a pure function of periods and a few figures.

Media times are UTC ticks, C{availabilityStartTime} is the epoch, so every node says the same of a segment; a
segment's line depends on that segment alone. Which segments there are, and how often to look, is the node's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from attrs import frozen

from restreamer.dash.periods import Period
from restreamer.errors import MediaError
from restreamer.media.codecs import codec_string
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND, iso8601_ms
from restreamer.media.track import Track, TrackKind

EPOCH: Final = "1970-01-01T00:00:00Z"
PROFILE: Final = "urn:mpeg:dash:profile:isoff-live:2011"
#: The most a bandwidth can say, bits/s: xs:unsignedInt (annex B).
MAX_BANDWIDTH: Final = (1 << 32) - 1
#: xs:language.
_LANGUAGE: Final = re.compile("[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*")
#: Bandwidths of tracks that were not measured yet are rounded up to this, bits/s.
_STEP: Final = 10_000


@frozen(kw_only=True)
class LowLatency:
    """Segments may be asked for while they are made.

    @ivar segment: D in ticks, the grid of segment numbers. @ivar part: ticks of a part; 0: there are none,
        and a segment is there when it is closed. @ivar early: ticks before the end of its share of the grid
        at which a segment may be asked for. @ivar target: latency players aim at, milliseconds.
    """

    segment: int
    part: int
    early: int
    target: int


@frozen(kw_only=True)
class Manifest:
    """What a manifest says beside its periods.

    @ivar published: UTC ticks that rise with each change: the end of the newest segment.
    @ivar update: milliseconds after which to look again. @ivar longest: seconds of the longest segment.
    @ivar depth: ticks that the listed segments reach back. @ivar delay: milliseconds to stay behind.
    @ivar buffer: milliseconds to have before playing. @ivar clock: URL of the node's clock.
    @ivar base: what stands before the URLs of media; empty: they are relative to the manifest.
    @ivar low_latency: number the segments by the grid instead of listing them.
    """

    published: int
    update: int
    longest: int
    depth: int
    delay: int
    buffer: int
    clock: str
    base: str
    low_latency: LowLatency | None = None


def manifest(about: Manifest, periods: Sequence[Period], files: Mapping[tuple[str, str], str]) -> str:
    """The whole MPD.

    @param files: by name of period and of track, the file of its init segment, relative to the base.
    """
    low = about.low_latency
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"',
        f' profiles="{PROFILE}" type="dynamic" availabilityStartTime="{EPOCH}"',
        f' publishTime="{iso8601_ms(about.published)}" minimumUpdatePeriod="{_duration(about.update)}"',
        f' minBufferTime="{_duration(about.buffer)}"',
        f' timeShiftBufferDepth="{_duration(about.depth // TICKS_PER_MS)}"',
        f' suggestedPresentationDelay="{_duration(about.delay)}"',
        f' maxSegmentDuration="PT{about.longest}S">\n',
    ]
    if about.base:
        lines.append(f"<BaseURL>{escape(about.base)}</BaseURL>\n")
    if low is not None and low.part:
        lines.append(
            '<ServiceDescription id="0">'
            f'<Latency target="{low.target}" max="{4 * low.target}" min="{low.target // 2}"/>'
            '<PlaybackRate max="1.05" min="0.95"/></ServiceDescription>\n'
        )
    for period in periods:
        lines += _period(period, files, low)
    lines.append(
        f'<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="{escape(about.clock)}"/>\n'
    )
    lines.append("</MPD>\n")
    return "".join(lines)


def _period(period: Period, files: Mapping[tuple[str, str], str], low: LowLatency | None) -> list[str]:
    start, begin = period.start, period.segments[0].number
    if low is not None:
        begin = start // low.segment
        start = begin * low.segment
    lines = [f'<Period id="{period.name}" start="{_duration(start // TICKS_PER_MS)}">\n']
    described = []
    for name, track in period.tracks:
        try:
            described.append((name, track, codec_string(track)))
        except MediaError:
            continue
    sets: dict[object, list[str]] = {}
    heads: dict[object, str] = {}
    main = {track.kind: track.track_id for _, track, _ in reversed(described)}
    for name, track, codecs in described:
        # Pictures of one codec are one content in several sizes; each sound is a content of its own.
        video = track.kind is TrackKind.VIDEO
        key: object = track.codec if video else track.track_id
        if key not in sets:
            heads[key] = _set_head(track, main[track.kind] == track.track_id)
            sets[key] = []
        template = (
            f'<SegmentTemplate timescale="{TICKS_PER_SECOND}" presentationTimeOffset="{start}"'
            f' startNumber="{begin}" initialization="{escape(files[period.name, name])}"'
            f' media="tracks-$RepresentationID$/$Number$.m4s"'
        )
        sets[key] += _representation(period, name, track, codecs, template, low)
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


def language_of(track: Track) -> str:
    """The attribute C{lang} of an adaptation set; empty: what C{track} says is none, or no xs:language."""
    known = track.language != "und" and _LANGUAGE.fullmatch(track.language)
    return f' lang="{track.language}"' if known else ""


def _representation(
    period: Period, name: str, track: Track, codecs: str, template: str, low: LowLatency | None
) -> list[str]:
    attributes = f'id="{name}" codecs="{escape(codecs)}" bandwidth="{_bandwidth(period, track)}"'
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
    lines = [f"<Representation {attributes}>\n", inside]
    if low is not None:
        early = ""
        if low.part:
            early = (
                f' availabilityTimeOffset="{_seconds(low.early // TICKS_PER_MS)}"'
                ' availabilityTimeComplete="false"'
            )
        lines.append(f'{template} duration="{low.segment}"{early}/>\n')
    else:
        lines.append(f"{template}>\n<SegmentTimeline>\n")
        for segment in period.segments:
            span = segment.spans[track.track_id]
            lines.append(f'<S t="{span.start}" d="{span.duration}"/>\n')
        lines.append("</SegmentTimeline>\n</SegmentTemplate>\n")
    lines.append("</Representation>\n")
    return lines


def _bandwidth(period: Period, track: Track) -> int:
    if track.bandwidth:
        return track.bandwidth
    span = period.segments[-1].spans[track.track_id]
    measured = -(-(span.size * 8 * TICKS_PER_SECOND // span.duration + 1) // _STEP) * _STEP
    return min(measured, MAX_BANDWIDTH)


def _rate(thousandths: int) -> str:
    """Frames per second as the standard wants them: an integer or a fraction (section 5.3.7.2)."""
    if thousandths % 1000 == 0:
        return str(thousandths // 1000)
    # 29970 means 30000/1001.
    whole = round(thousandths * 1001 / 1_000_000)
    if abs(whole * 1_000_000 // 1001 - thousandths) <= 1:
        return f"{whole * 1000}/1001"
    return f"{thousandths}/1000"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _duration(milliseconds: int) -> str:
    """An xs:duration. Pictures shown long after they are decoded can end before they begin: that is 0."""
    return f"PT{_seconds(max(milliseconds, 0))}S"
