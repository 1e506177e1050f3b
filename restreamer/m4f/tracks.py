"""The track table of a segment: tuples of L{Track} and their bytes.

Tables repeat from segment to segment, so both directions remember the last ones: a window of segments
then shares one tuple of tracks.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

from attrs import frozen
from construct import ConstructError

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.layout import MAX_CONFIG, MAX_TRACKS, TRACK
from restreamer.media.track import Track, TrackKind, Tracks

_WHERE = "M4F track table"
_REMEMBERED_SIZE = 4096
_SIZE = struct.Struct(">I")
_KINDS = {int(kind): kind for kind in TrackKind}


@frozen
class TrackTable:
    """A decoded table.

    @ivar tracks: the tracks of kinds this version knows.
    @ivar ids: ids of all tracks; @ivar hidden: those of unknown kinds, whose frames are not shown.
    """

    tracks: Tracks
    ids: frozenset[int]
    hidden: frozenset[int]


@lru_cache(maxsize=256)
def encode_tracks(tracks: Tracks) -> bytes:
    """The bytes of a track table.

    @raise LocalProtocolError: for a table no segment can hold.
    """
    if len(tracks) > MAX_TRACKS:
        raise LocalProtocolError(f"{len(tracks)} tracks, at most {MAX_TRACKS}")
    if len({track.track_id for track in tracks}) != len(tracks):
        raise LocalProtocolError("two tracks share one id")
    return b"".join([_encode_track(track) for track in tracks])


def _encode_track(track: Track) -> bytes:
    if track.track_id == 0:
        raise LocalProtocolError("track id 0")
    if len(track.config) > MAX_CONFIG:
        raise LocalProtocolError(f"codec configuration of {len(track.config)} bytes, at most {MAX_CONFIG}")
    try:
        codec = track.codec.encode("ascii")
        language = track.language.encode("ascii")
        if len(codec) != 4:
            raise LocalProtocolError(f"codec {track.codec!r} is not 4 characters")
        encoded: bytes = TRACK.build(
            {
                "track_id": track.track_id,
                "kind": int(track.kind),
                "codec": codec,
                "timescale": track.timescale,
                "width": track.width,
                "height": track.height,
                "frame_rate": track.frame_rate,
                "sample_rate": track.sample_rate,
                "channels": track.channels,
                "bandwidth": track.bandwidth,
                "language": language,
                "config": track.config,
            }
        )
    except (ConstructError, UnicodeError) as error:
        raise LocalProtocolError(f"track {track.track_id} does not fit M4F: {error}") from error
    return encoded


def tracks_end(data: bytes, offset: int, count: int, limit: int) -> int:
    """Offset just behind a table of C{count} entries that begins at C{offset} of C{data}.

    @raise RemoteProtocolError: when it would pass C{limit}.
    """
    for _ in range(count):
        if offset + 4 > limit:
            raise RemoteProtocolError(_WHERE, "cut short")
        offset += 4 + _SIZE.unpack_from(data, offset)[0]
        if offset > limit:
            raise RemoteProtocolError(_WHERE, "an entry is longer than the header")
    return offset


def decode_tracks(table: bytes) -> TrackTable:
    """Read a whole table, of which L{tracks_end} found the bounds.

    @raise RemoteProtocolError: for entries that are cut short or contradict each other.
    """
    if len(table) <= _REMEMBERED_SIZE:
        return _decode_remembered(table)
    return _decode(table)


def _decode(table: bytes) -> TrackTable:
    tracks = []
    ids: set[int] = set()
    hidden = set()
    offset = 0
    while offset < len(table):
        end = tracks_end(table, offset, 1, len(table))
        try:
            entry = TRACK.parse(table[offset:end])
        except ConstructError as error:
            raise RemoteProtocolError(_WHERE, f"an entry is cut short ({type(error).__name__})") from error
        offset = end
        if entry.track_id == 0 or entry.track_id in ids:
            raise RemoteProtocolError(_WHERE, f"track id {entry.track_id} is 0 or used twice")
        ids.add(entry.track_id)
        track = _track(entry)
        if track is None:
            hidden.add(entry.track_id)
        else:
            tracks.append(track)
    return TrackTable(tuple(tracks), frozenset(ids), frozenset(hidden))


_decode_remembered = lru_cache(maxsize=256)(_decode)


def _track(entry: Any) -> Track | None:
    if len(entry.config) > MAX_CONFIG:
        raise RemoteProtocolError(
            _WHERE, f"codec configuration of {len(entry.config)} bytes, at most {MAX_CONFIG}"
        )
    try:
        codec = entry.codec.decode("ascii")
        language = entry.language.decode("ascii")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(_WHERE, "codec or language is not ASCII") from error
    kind = _KINDS.get(entry.kind)
    if kind is None:
        return None
    return Track(
        track_id=entry.track_id,
        kind=kind,
        codec=codec,
        config=entry.config,
        timescale=entry.timescale,
        language=language,
        width=entry.width,
        height=entry.height,
        frame_rate=entry.frame_rate,
        sample_rate=entry.sample_rate,
        channels=entry.channels,
        bandwidth=entry.bandwidth,
    )
