"""VP9 and audio frames into RTP payloads.

VP9: RFC 9628; AAC: RFC 3640 (AAC-hbr, one access unit per packet); MPEG audio: RFC 2250; Opus: RFC 7587;
G.711: RFC 3551 section 4.5.14.
"""

from __future__ import annotations

import struct
from typing import Final

from restreamer.media.track import Track
from restreamer.rtp.pack_nal import Piece
from restreamer.rtp.packet import MAX_PAYLOAD

_VP9_INTER: Final = 0x40
_VP9_BEGIN: Final = 0x08
_VP9_END: Final = 0x04
_AU_HEADER: Final = struct.Struct(">HH")
_MPA: Final = struct.Struct(">HH")
#: AU-size has 13 bits in AAC-hbr.
_MAX_AAC: Final = 8191


class Vp9Packer:
    """Frames behind the one-byte descriptor (RFC 9628 section 4.2)."""

    clock = 90_000

    def __init__(self, track: Track) -> None:
        """Nothing of the configuration is needed."""

    def pieces(self, data: bytes, key: bool) -> list[Piece]:
        """The payloads of one frame or superframe."""
        view = memoryview(data)
        room = MAX_PAYLOAD - 1
        flags = _VP9_BEGIN | (0 if key else _VP9_INTER)
        found: list[Piece] = []
        for at in range(0, len(data), room):
            if at + room >= len(data):
                flags |= _VP9_END
            found.append((bytes((flags,)), view[at : at + room]))
            flags &= ~_VP9_BEGIN
        return found


class AacPacker:
    """Raw frames behind one AU header each (RFC 3640 section 3.3.6)."""

    def __init__(self, track: Track) -> None:
        """The clock is the sampling rate."""
        self.clock = track.sample_rate or 48_000

    def pieces(self, data: bytes, key: bool) -> list[Piece]:
        """The payloads of one frame: each fragment tells the size of the whole."""
        if len(data) > _MAX_AAC:
            return []
        head = _AU_HEADER.pack(16, len(data) << 3)
        room = MAX_PAYLOAD - 4
        if len(data) <= room:
            return [(head, data)]
        view = memoryview(data)
        return [(head, view[at : at + room]) for at in range(0, len(data), room)]


class MpegAudioPacker:
    """Whole frames behind the fragment offset (RFC 2250 section 3.5)."""

    clock = 90_000

    def __init__(self, track: Track) -> None:
        """Nothing of the configuration is needed."""

    def pieces(self, data: bytes, key: bool) -> list[Piece]:
        """The payloads of one frame."""
        room = MAX_PAYLOAD - 4
        if len(data) <= room:
            return [(b"\x00\x00\x00\x00", data)]
        view = memoryview(data)
        return [(_MPA.pack(0, at), view[at : at + room]) for at in range(0, min(len(data), 0xFFFF), room)]


class OpusPacker:
    """One packet in each payload (RFC 7587 section 4.2)."""

    clock = 48_000

    def __init__(self, track: Track) -> None:
        """Nothing of the configuration is needed."""

    def pieces(self, data: bytes, key: bool) -> list[Piece]:
        """The payload; a packet that fits none is left out (no encoder makes one)."""
        return [(b"", data)] if len(data) <= MAX_PAYLOAD else []


class G711Packer:
    """Samples as they are.

    @ivar bytes_per_unit: bytes that the clock counts as one: payloads of one frame have times of their own.
    """

    def __init__(self, track: Track) -> None:
        """The clock is the sampling rate."""
        self.clock = track.sample_rate or 8000
        self.bytes_per_unit = max(1, track.channels)

    def pieces(self, data: bytes, key: bool) -> list[Piece]:
        """The payloads of a frame of any length, each of whole samples."""
        room = MAX_PAYLOAD // self.bytes_per_unit * self.bytes_per_unit
        if len(data) <= room:
            return [(b"", data)]
        view = memoryview(data)
        return [(b"", view[at : at + room]) for at in range(0, len(data), room)]
