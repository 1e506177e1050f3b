"""The playlists of live streams: which one suits, each rendered once per version of the window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakKeyDictionary

from attrs import define, evolve, field

from restreamer.errors import Reason, Refused
from restreamer.hls.cmaf_playlist import ListedCmaf, LowLatency, Report, cmaf_playlist, part_target
from restreamer.hls.master import master_playlist, suits_cmaf
from restreamer.hls.paths import Kind
from restreamer.hls.playlist import Listed, ListedGap, ListedSegment, media_playlist, segment_base
from restreamer.hls.variants import Offer, chosen_tracks, offering_master
from restreamer.live.choices import Choices
from restreamer.live.cmaf import CmafStream, CmafStreams, carried_track, init_of
from restreamer.live.cmaf_names import find_track, named_tracks, track_folder
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow, WindowEntry, WindowGap, WindowSegment
from restreamer.media.codecs import cmaf_can_carry, mpegts_can_carry, plain_names
from restreamer.media.selection import TrackSelection
from restreamer.media.track import Track, TrackKind, Tracks

#: What a packet of MPEG-TS, or the tables of a fragment, add to a frame, bytes.
_PER_FRAME: Final = 100
_MASTERS: Final = {Kind.CMAF: "mono.fmp4.m3u8", Kind.LOW_LATENCY: "mono.ll.m3u8", Kind.TS: "mono.ts.m3u8"}
_MASTER_VERSION: Final = 6


#: Stands in playlists of MPEG-TS where the folder of the chosen tracks comes: choices differ there alone.
_FOLDER: Final = "\0"


@define(eq=False)
class _Rendering:
    """What was rendered of one version of a window.

    @ivar url_prefix: the stream's. @ivar bodies: playlists, by whatever they depend on beside the window.
    @ivar moment: how far the open segment was when C{now} was rendered: low-latency playlists, by track and
        whether they leave out what is old.
    @ivar entries: the closed entries as each CMAF track shows them.
    """

    version: int
    url_prefix: str
    bodies: Choices[bytes] = field(factory=Choices, init=False)
    moment: tuple[object, ...] = field(default=(), init=False)
    now: dict[tuple[str, bool], bytes] = field(factory=dict, init=False)
    entries: dict[str, list[ListedCmaf]] = field(factory=dict, init=False)


class LivePlaylists:
    """Renders the playlists of streams.

    @ivar cmaf: the CMAF tracks of the streams.
    """

    def __init__(self) -> None:
        self.cmaf = CmafStreams()
        self._renderings: WeakKeyDictionary[LiveWindow, _Rendering] = WeakKeyDictionary()

    def body(self, stream: Stream, kind: Kind, selection: TrackSelection | None, inside: bool) -> bytes:
        """A playlist, but for those of one track with low latency.

        @param selection: the viewer's choice of tracks. @param inside: the playlist stands in the folder of
            those tracks.
        @raise Refused: UNSUPPORTED when there is nothing to list; NOT_READY when there is no segment yet.
        """
        newest = stream.window.last
        if newest is None:
            raise Refused(Reason.NOT_READY, "the stream has no segment yet")
        rendering = self._rendering(stream)
        # A track that the newest segment does not hold is still listed, with gaps where it is not.
        held = stream.window.retained if kind is Kind.CMAF_MEDIA else (newest,)
        tables = {each.segment.tracks for each in held}
        choice = selection.within(tables) if selection is not None else None
        key = (kind, choice, inside)
        body = rendering.bodies.get(key)
        if body is None:
            body = self._render(stream, rendering, newest, kind, choice, inside).encode("ascii")
            rendering.bodies.keep(key, body, choice is None or kind is Kind.CMAF_MEDIA)
        if selection is not None:
            base = self._base(stream, f"tracks-{selection}/", inside)
            body = body.replace(_FOLDER.encode("ascii"), base.encode("ascii"))
        return body

    def low_latency(self, stream: Stream, name: str, skip: bool) -> bytes:
        """The playlist of track C{name} as it is at this moment."""
        rendering = self._rendering(stream)
        cmaf = self.cmaf.of(stream)
        entries = self._track_entries(stream, name)
        builder = stream.open
        opened = builder.opening.number if builder is not None else None
        here = len(cmaf.open_parts(name))
        moment = (opened, len(builder.parts) if builder is not None else 0, stream.fed)
        if rendering.moment != moment:
            rendering.moment = moment
            rendering.now.clear()
        body = rendering.now.get((name, skip))
        if body is not None:
            return body
        wanted = stream.run.part_duration if stream.run is not None else 0
        parts = [part for entry in entries for part in entry.parts]
        added: list[ListedCmaf] = []
        extra: LowLatency | None = None
        if parts or wanted:
            now = self._open_entries(stream, name)
            hint: tuple[int, int] | None = None
            if now:
                added = now[:-1]
                hint = (now[-1].number, here)
            elif builder is None and stream.fed and entries:
                hint = (entries[-1].number + 1, 0)
            extra = LowLatency(
                part_target=part_target(_part_lengths(stream), wanted),
                open=now[-1] if now else None,
                hint=hint,
                reports=self._reports(stream, name),
                skip=skip,
            )
        base = self._base(stream, track_folder(name), inside=True)
        text = cmaf_playlist(stream.window.target_duration, [*entries, *added], base, extra)
        body = rendering.now[name, skip] = text.encode("ascii")
        return body

    def part_target(self, stream: Stream, name: str) -> int:
        """PART-TARGET of track C{name}, ticks.

        @raise Refused: as L{_track_entries}.
        """
        self._track_entries(stream, name)
        return part_target(_part_lengths(stream), stream.run.part_duration if stream.run is not None else 0)

    # Inside.

    def _rendering(self, stream: Stream) -> _Rendering:
        window = stream.window
        rendering = self._renderings.get(window)
        if (
            rendering is None
            or rendering.version != window.version
            or rendering.url_prefix != stream.url_prefix
        ):
            rendering = self._renderings[window] = _Rendering(window.version, stream.url_prefix)
        return rendering

    def _render(
        self,
        stream: Stream,
        rendering: _Rendering,
        newest: WindowSegment,
        kind: Kind,
        selection: TrackSelection | None,
        inside: bool,
    ) -> str:
        tracks = newest.segment.tracks
        wanted = selection.of(tracks) if selection is not None else tracks
        if kind in (Kind.SUITABLE, Kind.MASTER):
            return self._suitable(stream, rendering, kind, selection, wanted, newest)
        if kind is Kind.TS_MEDIA or (kind is Kind.TS and not _choice(wanted)):
            return self._ts_media(stream, selection is not None, wanted, inside)
        if kind is Kind.CMAF_MEDIA:
            name = _only_name(selection)
            base = self._base(stream, track_folder(name), inside)
            return cmaf_playlist(stream.window.target_duration, self._track_entries(stream, name), base)
        return self._master(stream, kind, tracks, wanted, newest)

    def _suitable(
        self,
        stream: Stream,
        rendering: _Rendering,
        kind: Kind,
        selection: TrackSelection | None,
        wanted: Tracks,
        newest: WindowSegment,
    ) -> str:
        if suits_cmaf(wanted):
            return self._master(stream, Kind.CMAF, newest.segment.tracks, wanted, newest)
        if kind is Kind.SUITABLE or _choice(wanted) or selection is not None:
            return self._render(stream, rendering, newest, Kind.TS, selection, False)
        _something(wanted, mpegts_can_carry)
        size = sum(_sizes(newest).values())
        return master_playlist("video.m3u8", wanted, size, newest.duration)

    def _ts_media(self, stream: Stream, chosen: bool, wanted: Tracks, inside: bool) -> str:
        _something(wanted, mpegts_can_carry)
        base = _FOLDER if chosen else self._base(stream, "", inside)
        window = stream.window
        return media_playlist(window.target_duration, [_listed(entry) for entry in window.entries], base)

    def _master(
        self, stream: Stream, kind: Kind, tracks: Tracks, wanted: Tracks, newest: WindowSegment
    ) -> str:
        file = _MASTERS[kind]
        muxed = kind is Kind.TS
        carries = mpegts_can_carry if muxed else cmaf_can_carry
        _something(wanted, carries)
        ids = {track.track_id for track in wanted}
        named = chosen_tracks(tracks, lambda track: track.track_id in ids, carries)

        def uri(names: Sequence[str]) -> str:
            return f"tracks-{''.join(names)}/{file}"

        return offering_master(
            Offer(
                tracks=named,
                sizes=_sizes(newest),
                duration=newest.duration,
                uri=uri,
                muxed=muxed,
                version=4 if muxed else _MASTER_VERSION,
            )
        )

    @staticmethod
    def _base(stream: Stream, folder: str, inside: bool) -> str:
        """What stands before URIs of files in C{folder} of the stream."""
        prefix = segment_base(stream.url_prefix, stream.name)
        return folder if not prefix and not inside else f"{prefix}{folder}" if prefix else ""

    def _track_entries(self, stream: Stream, name: str) -> list[ListedCmaf]:
        """The closed entries as track C{name} shows them.

        @raise Refused: NOT_FOUND or UNSUPPORTED when none of them shows the track.
        """
        rendering = self._rendering(stream)
        known = rendering.entries.get(name)
        if known is None:
            cmaf = self.cmaf.of(stream)
            known = [_listed_cmaf(cmaf, entry, name) for entry in stream.window.entries]
            if any(entry.init for entry in known):
                rendering.entries[name] = known
        if not any(entry.init for entry in known):
            if find_track(stream.tracks, name) is None:
                raise Refused(Reason.NOT_FOUND, f"there is no track {name}")
            raise Refused(Reason.UNSUPPORTED, f"CMAF cannot carry track {name}")
        return known

    def _open_entries(self, stream: Stream, name: str) -> list[ListedCmaf]:
        """What follows the closed entries: numbers that are missing, and the open segment.

        Empty when there is no open segment, or when it is not the next one to be listed.
        """
        builder = stream.open
        window = stream.window
        last = window.last_number
        if builder is None or last is None:
            return []
        opening = builder.opening
        if opening.number <= last or opening.number > last + window.segment_count:
            return []
        gaps = window.gaps_before(opening.number, opening.start)
        discontinuity, sequence = opening.discontinuity, opening.discontinuity_sequence
        if stream.run is not None:
            discontinuity, sequence, _ = window.shown(opening, stream.run)
        parts = self.cmaf.of(stream).open_parts(name)
        track = carried_track(opening.tracks, name)
        listed = [_listed_gap(gap) for gap in gaps]
        listed.append(
            ListedCmaf(
                number=opening.number,
                start=parts[0].shown if parts else opening.start,
                duration=0,
                init=init_of(track)[0] if track is not None else "",
                independent=_independent(opening.independent, track),
                discontinuity=discontinuity,
                discontinuity_sequence=sequence,
                parts=tuple(parts),
            )
        )
        return listed

    def _reports(self, stream: Stream, name: str) -> list[Report]:
        """Where the other tracks stand."""
        cmaf = self.cmaf.of(stream)
        newest = stream.window.last
        if newest is None:
            return []
        builder = stream.open
        reports = []
        for other, track in named_tracks(newest.segment.tracks):
            if other == name or not cmaf_can_carry(track):
                continue
            number, part = newest.number, len(cmaf.closed_parts(newest, other)) - 1
            opened = cmaf.open_parts(other)
            if builder is not None and builder.opening.number > number and opened:
                number, part = builder.opening.number, len(opened) - 1
            reports.append(Report(f"../{track_folder(other)}mono.ll.m3u8", number, part))
        return reports


def _part_lengths(stream: Stream) -> list[int]:
    """What the parts of listed segments and of the open one last, ticks."""
    segments = [entry.segment.parts for entry in stream.window.entries if isinstance(entry, WindowSegment)]
    if stream.open is not None:
        segments.append(tuple(stream.open.parts))
    return [part.duration for parts in segments for part in parts]


def _choice(tracks: Tracks) -> bool:
    """Whether there is more than one track of a kind that MPEG-TS carries."""
    kinds = [track.kind for track in tracks if mpegts_can_carry(track)]
    return kinds.count(TrackKind.VIDEO) > 1 or kinds.count(TrackKind.AUDIO) > 1


def _only_name(selection: TrackSelection | None) -> str:
    """The name of the one track that is wanted.

    @raise Refused: there is none, or there are several.
    """
    if selection is None or not selection.wanted:
        raise Refused(Reason.NOT_FOUND, "the stream has no such track")
    if len(selection.wanted) != 1:
        raise Refused(Reason.NOT_FOUND, "such a playlist is of one track")
    return str(selection)


def _something(tracks: Tracks, carries: Callable[[Track], bool]) -> None:
    """Refuse when nothing of C{tracks} can be carried.

    @raise Refused: UNSUPPORTED.
    """
    if not any(carries(track) for track in tracks):
        what = plain_names(tracks) if tracks else "none of the tracks that were chosen"
        raise Refused(Reason.UNSUPPORTED, f"this form of HLS cannot carry the stream: {what}")


def _independent(independent: bool, track: Track | None) -> bool:
    return independent or (track is not None and track.kind is TrackKind.AUDIO)


def _sizes(entry: WindowSegment) -> dict[int, int]:
    """About how many bytes each track takes in the segment as packaged, rather too many, by track id."""
    sizes: dict[int, int] = {}
    for track_id, _, _, _, size in entry.segment.rows():
        sizes[track_id] = sizes.get(track_id, 0) + size * 33 // 32 + _PER_FRAME
    return sizes


def _listed(entry: WindowEntry) -> Listed:
    if isinstance(entry, WindowGap):
        return ListedGap(entry.number, entry.start, entry.duration, entry.discontinuity_sequence)
    segment = entry.segment
    return ListedSegment(
        segment.number,
        segment.start,
        segment.duration,
        segment.program_date_time(),
        entry.discontinuity,
        entry.discontinuity_sequence,
    )


def _listed_gap(entry: WindowGap | WindowSegment) -> ListedCmaf:
    return ListedCmaf(
        number=entry.number,
        start=entry.start,
        duration=entry.duration,
        discontinuity_sequence=entry.discontinuity_sequence,
    )


def _listed_cmaf(cmaf: CmafStream, entry: WindowEntry, name: str) -> ListedCmaf:
    if isinstance(entry, WindowGap):
        return _listed_gap(entry)
    track = carried_track(entry.segment.tracks, name)
    parts = cmaf.closed_parts(entry, name)
    if track is None or not parts:
        return evolve(_listed_gap(entry), discontinuity=entry.discontinuity)
    return ListedCmaf(
        number=entry.number,
        start=parts[0].shown,
        duration=entry.duration,
        init=init_of(track)[0],
        independent=_independent(entry.segment.independent, track),
        discontinuity=entry.discontinuity,
        discontinuity_sequence=entry.discontinuity_sequence,
        parts=parts if entry.segment.parts else (),
    )
