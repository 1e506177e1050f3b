"""Bodies of FLV video and audio tags: what RTMP carries in its media messages (pure).

Legacy headers: FLV and F4V specification version 10.1, annex E.4.2 and E.4.3. Extended headers (FourCC
codecs, ModEx, multitrack): Enhanced RTMP v2, "Extended VideoTagHeader" and "Extended AudioTagHeader". A
codec we do not carry is parsed all the same and named, so that the layer above can say what it refused.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from restreamer.errors import RemoteProtocolError
from restreamer.media.track import AAC, ALAW, H264, HEVC, MP3, ULAW

#: Tag types (annex E.4.1); RTMP's message types have the same numbers.
AUDIO_TAG = 8
VIDEO_TAG = 9
SCRIPT_TAG = 18


class Packet(enum.IntEnum):
    """What a tag body holds."""

    CONFIG = 0
    FRAME = 1
    END = 2
    METADATA = 3
    OTHER = 4


class TagPart(NamedTuple):
    """One track's part of a tag.

    C{codec} is a FourCC, or C{flv:N} for a legacy codec id without one. C{cts} is the composition offset
    in milliseconds. C{track} is the multitrack number, 0 for the default track. C{nano} is what a ModEx block
    adds to the message's time, in nanoseconds, below a millisecond. C{stereo}: the legacy header says so,
    which means something for G.711 alone.
    """

    codec: str
    packet: Packet
    key: bool
    cts: int
    track: int
    data: bytes
    nano: int = 0
    stereo: bool = False


#: Legacy codec ids (annex E.4.3.1 and E.4.2.1); 12 is what some encoders of before Enhanced RTMP call HEVC.
_VIDEO_CODECS = {7: H264, 12: HEVC}
_AUDIO_CODECS = {10: AAC, 2: MP3, 14: MP3, 7: ALAW, 8: ULAW}

_KEY_FRAME = 1
_COMMAND_FRAME = 5
_MULTITRACK_VIDEO = 6
_MULTITRACK_AUDIO = 5
_MODEX = 7
#: Forms of multitrack bodies (AvMultitrackType); between these two: many tracks of one codec.
_ONE_TRACK = 0
_MANY_CODECS = 2
_TS_START = 5
_MAX_TRACKS = 16
_MAX_NANO = 999_999
#: FourCCs whose coded frames carry a composition offset.
_WITH_OFFSET = frozenset((b"avc1", b"hvc1", b"vvc1"))

_VIDEO_PACKETS = {
    0: Packet.CONFIG,
    1: Packet.FRAME,
    2: Packet.END,
    3: Packet.FRAME,
    4: Packet.METADATA,
    5: Packet.CONFIG,
}
_AUDIO_PACKETS = {0: Packet.CONFIG, 1: Packet.FRAME, 2: Packet.END, 4: Packet.METADATA}


def _short(what: str, have: int) -> RemoteProtocolError:
    return RemoteProtocolError(what, f"only {have} bytes")


def _si24(data: bytes, pos: int) -> int:
    return int.from_bytes(data[pos : pos + 3], "big", signed=True)


def fourcc(raw: bytes) -> str:
    """Four bytes as the name of a codec, unprintable ones as C{?}."""
    return "".join(chr(byte) if 0x20 < byte < 0x7F else "?" for byte in raw)


def parse_video(body: bytes) -> list[TagPart]:
    """The parts of a video message: one, or several for multitrack, or none for an empty one.

    @raise RemoteProtocolError: when it is too short for what its header says.
    """
    if not body:
        return []
    first = body[0]
    if first & 0x80:
        return _extended(body, (first >> 4) & 7, first & 15, video=True)
    frame_type = first >> 4
    if frame_type == _COMMAND_FRAME:
        return []
    codec = _VIDEO_CODECS.get(first & 15)
    if codec is None:
        return [TagPart(f"flv:{first & 15}", Packet.OTHER, False, 0, 0, b"")]
    if len(body) < 5:
        raise _short("AVC video tag", len(body))
    kind = body[1]
    if kind == 1:
        return [TagPart(codec, Packet.FRAME, frame_type == _KEY_FRAME, _si24(body, 2), 0, body[5:])]
    packet = Packet.CONFIG if kind == 0 else Packet.END if kind == 2 else Packet.OTHER
    return [TagPart(codec, packet, False, 0, 0, body[5:])]


def parse_audio(body: bytes) -> list[TagPart]:
    """The parts of an audio message; an empty message means silence and gives none.

    @raise RemoteProtocolError: when it is too short for what its header says.
    """
    if not body:
        return []
    first = body[0]
    sound_format = first >> 4
    if sound_format == 9:
        return _extended(body, 0, first & 15, video=False)
    codec = _AUDIO_CODECS.get(sound_format)
    if codec is None:
        return [TagPart(f"flv:{sound_format}", Packet.OTHER, True, 0, 0, b"")]
    if codec in (ALAW, ULAW):
        return [TagPart(codec, Packet.FRAME, True, 0, 0, body[1:], 0, bool(first & 1))]
    if codec != AAC:
        return [TagPart(codec, Packet.FRAME, True, 0, 0, body[1:])]
    if len(body) < 2:
        raise _short("AAC audio tag", len(body))
    packet = Packet.CONFIG if body[1] == 0 else Packet.FRAME if body[1] == 1 else Packet.OTHER
    return [TagPart(codec, packet, True, 0, 0, body[2:])]


def _mod_ex(body: bytes, pos: int) -> tuple[int, int, int]:
    """One ModEx block at C{pos}: the place after it, the next packet type, and the nanoseconds it adds."""
    if pos >= len(body):
        raise _short("ModEx", len(body))
    size = body[pos] + 1
    pos += 1
    if size == 256:
        if len(body) - pos < 2:
            raise _short("ModEx", len(body))
        size = (body[pos] << 8 | body[pos + 1]) + 1
        pos += 2
    begin = pos
    pos += size
    if pos >= len(body):
        raise RemoteProtocolError("ModEx", f"{size} bytes announced in a body of {len(body)}")
    nano = int.from_bytes(body[begin : begin + 3], "big") if size >= 3 and not body[pos] >> 4 else 0
    return pos + 1, body[pos] & 15, nano if nano <= _MAX_NANO else 0


def _extended(body: bytes, frame_type: int, kind: int, *, video: bool) -> list[TagPart]:
    """Enhanced RTMP: [ModEx]* [multitrack byte] FourCC ...; C{kind} is the packet type of the first byte."""
    pos = 1
    nano = 0
    while kind == _MODEX:
        pos, kind, added = _mod_ex(body, pos)
        nano = added or nano
    if video and frame_type == _COMMAND_FRAME and kind != 4:
        return []
    key = not video or frame_type == _KEY_FRAME
    if kind == (_MULTITRACK_VIDEO if video else _MULTITRACK_AUDIO):
        return _multitrack(body, pos, key, video, nano)
    if len(body) - pos < 4:
        raise _short("extended tag", len(body))
    codec = body[pos : pos + 4]
    return [_part(codec, kind, key, 0, body[pos + 4 :], video, nano)]


def _multitrack(body: bytes, pos: int, key: bool, video: bool, nano: int) -> list[TagPart]:
    if pos >= len(body):
        raise _short("multitrack tag", len(body))
    form, kind = body[pos] >> 4, body[pos] & 15
    if form > _MANY_CODECS:
        # Reserved: where its tracks begin and end nobody knows.
        return []
    pos += 1
    codec = b""
    if form != _MANY_CODECS:
        codec = body[pos : pos + 4]
        pos += 4
        if len(codec) < 4:
            raise _short("multitrack tag", len(body))
    parts: list[TagPart] = []
    while pos < len(body):
        if len(parts) == _MAX_TRACKS:
            raise RemoteProtocolError("multitrack tag", f"more than {_MAX_TRACKS} tracks")
        if form == _MANY_CODECS:
            codec = body[pos : pos + 4]
            pos += 4
        head = body[pos : pos + (1 if form == _ONE_TRACK else 4)]
        pos += len(head)
        size = len(body) - pos if form == _ONE_TRACK else int.from_bytes(head[1:4], "big")
        if not head or len(codec) < 4 or size > len(body) - pos or (form and len(head) < 4):
            raise RemoteProtocolError("multitrack tag", "a track is cut short")
        parts.append(_part(codec, kind, key, head[0], body[pos : pos + size], video, nano))
        pos += size
    return parts


def _part(codec: bytes, kind: int, key: bool, track: int, data: bytes, video: bool, nano: int) -> TagPart:
    packet = (_VIDEO_PACKETS if video else _AUDIO_PACKETS).get(kind, Packet.OTHER)
    cts = 0
    if video and kind == 1 and codec in _WITH_OFFSET:
        if len(data) < 3:
            raise _short("coded frame", len(data))
        cts = _si24(data, 0)
        data = data[3:]
    if video and kind == _TS_START:
        data = _av1_record(codec, data)
    return TagPart(fourcc(codec), packet, key, cts, track, data, nano)


def _av1_record(codec: bytes, data: bytes) -> bytes:
    """The configuration record of an AV1 video descriptor (tag 0x80, its length, the record's four bytes)."""
    return data[2:6] if codec == b"av01" and data[:2] == b"\x80\x04" else data
