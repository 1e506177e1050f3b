"""Tracks and frames to the bodies of FLV tags and RTMP media messages (pure): the mirror of C{tag}.

The first track of a kind goes out with its legacy header if its codec has one (annex E.4 of the FLV
specification), which every player knows, else with the extended header (Enhanced RTMP v2). More tracks of a
kind are multitrack messages of one track each, to peers that read them. Nanosecond offsets are ModEx blocks
in front, which need the extended header for every codec.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.flv.dialect import Dialect
from restreamer.flv.tag import AUDIO_TAG, VIDEO_TAG
from restreamer.media.frame import Frame
from restreamer.media.opus import head_from_dops
from restreamer.media.timebase import TICKS_PER_MS
from restreamer.media.track import AAC, ALAW, AV1, H264, HEVC, MP3, OPUS, ULAW, VP9, Track, TrackKind, Tracks

_AVC: Final = Struct(">BI").pack
_KEY_FRAME: Final = 0x17
_INTER_FRAME: Final = 0x27
_MAX_OFFSET: Final = 0x7FFFFF
#: What stands before a legacy audio frame: codec id, then 44 kHz, 16 bits, stereo, which means something for
#: G.711 alone (8 kHz, and stereo or not).
_AUDIO_HEADS: Final = {AAC: 0xAF01, MP3: 0x2F, ALAW: 0x72, ULAW: 0x82}
_G711_RATE: Final = 8000
_AAC_CONFIG: Final = b"\xaf\x00"

#: Extended header bits and packet types.
_VIDEO_KEY: Final = 0x90
_VIDEO_INTER: Final = 0xA0
_AUDIO: Final = 0x90
_START: Final = 0
_CODED: Final = 1
_CODED_X: Final = 3
_MODEX: Final = 7
_VIDEO_MULTITRACK: Final = 6
_AUDIO_MULTITRACK: Final = 5
_WITH_OFFSET: Final = frozenset({H264, HEVC})

#: Makes the body of a frame; the second argument is the start of the run in ticks, zero of the clock.
BodyMaker = Callable[[Frame, int], bytes]


@frozen
class TrackForm:
    """How one track is written.

    @ivar kind: tag type, 8 or 9. @ivar header: body of its sequence header, empty when it has none.
    @ivar body: makes the body of a frame. @ivar number: its number within its kind. @ivar fourcc: it is named
        by its FourCC in onMetaData.
    """

    track: Track
    kind: int
    header: bytes
    body: BodyMaker
    number: int
    fourcc: bool


def offset_ms(frame: Frame, origin: int) -> int:
    """Composition offset in whole milliseconds such that both times, counted from C{origin}, round down."""
    offset = (frame.pts - origin) // TICKS_PER_MS - (frame.dts - origin) // TICKS_PER_MS
    return min(max(offset, -_MAX_OFFSET), _MAX_OFFSET)


def forms(tracks: Tracks, dialect: Dialect) -> dict[int, TrackForm]:
    """How the tracks that C{dialect} can carry are written, by track id, in the order of the table."""
    found: dict[int, TrackForm] = {}
    numbers = {TrackKind.VIDEO: 0, TrackKind.AUDIO: 0}
    for track in tracks:
        number = numbers[track.kind]
        if not dialect.knows(track.codec) or (number and not dialect.multitrack) or number > 255:
            continue
        form = _form(track, number, dialect)
        if form is not None:
            numbers[track.kind] += 1
            found[track.track_id] = form
    return found


def _form(track: Track, number: int, dialect: Dialect) -> TrackForm | None:
    named = track.codec not in (ALAW, ULAW)
    if not named and (track.sample_rate != _G711_RATE or track.channels > 2):
        return None
    legacy = dialect.knows(track.codec) and track.codec not in dialect.codecs
    if number == 0 and legacy and not (dialect.nano and named):
        kind = VIDEO_TAG if track.kind is TrackKind.VIDEO else AUDIO_TAG
        return TrackForm(track, kind, _legacy_header(track), _legacy_body(track), 0, False)
    if not named:
        return None
    try:
        config = _sequence_start(track)
    except MediaError:
        return None
    if track.kind is TrackKind.VIDEO:
        return TrackForm(
            track,
            VIDEO_TAG,
            _lead(_VIDEO_KEY, _START, _VIDEO_MULTITRACK, number, track.codec) + config if config else b"",
            _video_body(track.codec, number, dialect.nano),
            number,
            True,
        )
    return TrackForm(
        track,
        AUDIO_TAG,
        _lead(_AUDIO, _START, _AUDIO_MULTITRACK, number, track.codec) + config if config else b"",
        _audio_body(track.codec, number, dialect.nano),
        number,
        True,
    )


def _legacy_header(track: Track) -> bytes:
    if track.codec == H264:
        return _AVC(_KEY_FRAME, 0) + track.config
    return _AAC_CONFIG + track.config if track.codec == AAC else b""


def _sequence_start(track: Track) -> bytes:
    """The configuration in the form Enhanced RTMP gives it: as in ISO base media files, OpusHead for Opus."""
    return head_from_dops(track.config) if track.codec == OPUS else _configured(track)


def _configured(track: Track) -> bytes:
    return track.config if track.codec in _CONFIGURED else b""


#: Codecs with a sequence header; AC-3, E-AC-3 and MP3 tell everything in each frame.
_CONFIGURED: Final = frozenset({H264, HEVC, AV1, VP9, AAC})


def _legacy_body(track: Track) -> BodyMaker:
    if track.codec == H264:
        return _legacy_video
    number = _AUDIO_HEADS[track.codec]
    if track.codec in (ALAW, ULAW):
        number |= track.channels == 2
    head = number.to_bytes(2 if track.codec == AAC else 1, "big")
    return lambda frame, origin: head + frame.data


def _legacy_video(frame: Frame, origin: int) -> bytes:
    offset = 1 << 24 | offset_ms(frame, origin) & 0xFFFFFF
    return _AVC(_KEY_FRAME if frame.key else _INTER_FRAME, offset) + frame.data


def _lead(first: int, packet: int, multitrack: int, number: int, codec: str) -> bytes:
    """First byte, FourCC and track number of an extended body."""
    fourcc = codec.encode("ascii")
    if number == 0:
        return bytes((first | packet,)) + fourcc
    return bytes((first | multitrack, packet)) + fourcc + bytes((number,))


def _nanoseconds(ticks: int) -> bytes:
    """What is beyond whole milliseconds, rounded so that it is read back as the same ticks."""
    return ((ticks % TICKS_PER_MS * 1_000_000 + TICKS_PER_MS // 2) // TICKS_PER_MS).to_bytes(3, "big")


def with_nanoseconds(body: bytes, ticks: int) -> bytes:
    """An extended body with the ModEx block (TimestampOffsetNano) for the fraction of C{ticks}."""
    rest = ticks % TICKS_PER_MS
    if not rest:
        return body
    first = body[0]
    return bytes((first & 0xF0 | _MODEX, 2)) + _nanoseconds(rest) + bytes((first & 15,)) + body[1:]


def _video_body(codec: str, number: int, nano: bool) -> BodyMaker:
    coded = {
        key: _lead(first, _CODED, _VIDEO_MULTITRACK, number, codec)
        for key, first in ((True, _VIDEO_KEY), (False, _VIDEO_INTER))
    }
    if codec not in _WITH_OFFSET:

        def plain(frame: Frame, origin: int) -> bytes:
            body = coded[frame.key] + frame.data
            return with_nanoseconds(body, frame.dts - origin) if nano else body

        return plain
    at_once = {
        key: _lead(first, _CODED_X, _VIDEO_MULTITRACK, number, codec)
        for key, first in ((True, _VIDEO_KEY), (False, _VIDEO_INTER))
    }

    def offset(frame: Frame, origin: int) -> bytes:
        cts = offset_ms(frame, origin)
        if cts:
            body = coded[frame.key] + (cts & 0xFFFFFF).to_bytes(3, "big") + frame.data
        else:
            body = at_once[frame.key] + frame.data
        return with_nanoseconds(body, frame.pts - origin) if nano else body

    return offset


def _audio_body(codec: str, number: int, nano: bool) -> BodyMaker:
    lead = _lead(_AUDIO, _CODED, _AUDIO_MULTITRACK, number, codec)
    if not nano:
        return lambda frame, origin: lead + frame.data
    return lambda frame, origin: with_nanoseconds(lead + frame.data, frame.dts - origin)
