"""Master playlists that offer a choice: one variant for each video track, renditions for the sound (RFC 8216
sections 4.3.4.1 and 4.3.4.2); pure functions.

Sound of one codec is one group; each variant names one group, so that its CODECS are true whatever rendition
of the group is played. In MPEG-TS the first rendition of a group is in the variant itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.hls.master import variant_attributes
from restreamer.live.cmaf_names import named_tracks
from restreamer.media.codecs import codec_string
from restreamer.media.track import AAC, OPUS, Track, TrackKind, Tracks

#: A track and its name: C{v1}, C{a2}.
Named = tuple[str, Track]

_VERSION: Final = 4
#: Sound that players take wherever they take CMAF. Those that cannot play the first variant may fail on it.
_COMMON: Final = frozenset({AAC, OPUS})


@frozen(kw_only=True)
class Offer:
    """What a master playlist tells of.

    @ivar tracks: those the container carries and the viewer wants, by name.
    @ivar sizes: about how many bytes each takes in the newest closed segment, by track id.
    @ivar duration: of that segment, ticks. @ivar uri: of the playlist of some tracks, by their names.
    @ivar muxed: pictures and sound stand in one playlist. @ivar version: EXT-X-VERSION at least.
    """

    tracks: Sequence[Named]
    sizes: Mapping[int, int]
    duration: int
    uri: Callable[[Sequence[str]], str]
    muxed: bool
    version: int = _VERSION


def chosen_tracks(
    tracks: Tracks, wanted: Callable[[Track], bool], carries: Callable[[Track], bool]
) -> list[Named]:
    """Those of C{tracks} that are wanted and carried, with their names."""
    return [(name, track) for name, track in named_tracks(tracks) if wanted(track) and carries(track)]


def offering_master(offer: Offer) -> str:
    """The master playlist of C{offer}."""
    videos = [each for each in offer.tracks if each[1].kind is TrackKind.VIDEO]
    groups = _groups([each for each in offer.tracks if each[1].kind is TrackKind.AUDIO])
    lines = [f"#EXTM3U\n#EXT-X-VERSION:{offer.version}\n"]
    apart = not offer.muxed and bool(videos)
    listed: list[tuple[str, list[Named]]] = []
    for index, members in enumerate(groups, 1):
        group = f"audio{index}" if apart or len(members) > 1 else ""
        listed.append((group, members))
        if group:
            lines.extend(_media_lines(group, members, offer.uri, apart))
    if not videos:
        for group, members in listed:
            lines.append(_variant(offer, members[:1], members, group))
    for video in videos:
        if not listed:
            lines.append(_variant(offer, [video], [], ""))
        for group, members in listed:
            own = [video] if apart else [video, members[0]]
            lines.append(_variant(offer, own, members, group))
    return "".join(lines)


def _groups(audios: Sequence[Named]) -> list[list[Named]]:
    """Audio tracks by codec: what most players take first, else in the order of the table."""
    groups: dict[str, list[Named]] = {}
    for name, track in audios:
        try:
            codec = codec_string(track)
        except MediaError:
            codec = track.codec
        groups.setdefault(codec, []).append((name, track))
    return sorted(groups.values(), key=lambda members: members[0][1].codec not in _COMMON)


def _media_lines(
    group: str, members: Sequence[Named], uri: Callable[[Sequence[str]], str], apart: bool
) -> list[str]:
    lines = []
    languages: set[str] = set()
    spoken = [track.language for _, track in members]
    for place, (name, track) in enumerate(members):
        language = track.language
        known = language != "und"
        shown = language if known and spoken.count(language) == 1 else f"Audio {name[1:]}"
        attributes = [f'TYPE=AUDIO,GROUP-ID="{group}",NAME="{shown}"']
        if known:
            attributes.append(f'LANGUAGE="{language}"')
        attributes.append(f"DEFAULT={'NO' if place else 'YES'}")
        attributes.append(f"AUTOSELECT={'NO' if language in languages else 'YES'}")
        if track.channels:
            attributes.append(f'CHANNELS="{track.channels}"')
        if apart or place:
            attributes.append(f'URI="{uri([name])}"')
        languages.add(language)
        lines.append(f"#EXT-X-MEDIA:{','.join(attributes)}\n")
    return lines


def _variant(offer: Offer, own: Sequence[Named], sound: Sequence[Named], group: str) -> str:
    """One variant. @param own: what its playlist holds; @param sound: what is in its group."""
    loudest = max(sound, key=lambda each: offer.sizes.get(each[1].track_id, 0), default=None)
    tracks = [track for _, track in own if track.kind is TrackKind.VIDEO]
    if loudest is not None:
        tracks.append(loudest[1])
    size = sum(offer.sizes.get(track.track_id, 0) for track in tracks)
    attributes = variant_attributes(tuple(tracks), size, offer.duration)
    if group:
        attributes.append(f'AUDIO="{group}"')
    return f"#EXT-X-STREAM-INF:{','.join(attributes)}\n{offer.uri([name for name, _ in own])}\n"
