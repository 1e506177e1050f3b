"""CMAF (ISO/IEC 23000-19): init segments and movie fragments of one track, pure.

Every track has the timescale of the program, 90 kHz, and decode times are UTC ticks: what two nodes make of
the same frames is equal, and nothing but the track and the frames goes in. Fragments put one behind another
are a segment (section 7.3.3).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, TrackKind
from restreamer.mp4.codec_boxes import box, sample_entry

_U32: Final = struct.Struct(">I")
_MASK: Final = (1 << 32) - 1
_MATRIX: Final = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
#: Sample flags (ISO/IEC 14496-12 section 8.8.3.1): depends on none; depends on others and is no sync sample.
_SYNC: Final = 0x02000000
_NON_SYNC: Final = 0x01010000
#: tfhd: default-base-is-moof, default-sample-flags.
_TFHD_FLAGS: Final = 0x020020
#: trun: data offset, then of each sample duration and size; video has flags and composition offsets, too.
_TRUN_AUDIO: Final = 0x000301
_TRUN_VIDEO: Final = 0x000F01
_MFHD: Final = struct.Struct(">I4sI4sII")
_TRAF: Final = struct.Struct(">I4s I4sIII I4sIQ I4sIII")
#: moof up to the rows of trun: its own header, mfhd, traf, tfhd, tfdt, trun.
_BEFORE_ROWS: Final = 8 + 16 + 8 + 20 + 20 + 20


def full_box(kind: bytes, version: int, flags: int, *payload: bytes) -> bytes:
    """A box with version and flags."""
    return box(kind, _U32.pack(version << 24 | flags), *payload)


def init_segment(track: Track) -> bytes:
    """The CMAF header of C{track}: ftyp and moov (ISO/IEC 23000-19 section 7.3.1).

    Its bandwidth plays no part, so it stays the same while only that changes.
    @raise MediaError: MP4 cannot hold the codec.
    """
    return box(b"ftyp", b"iso6", bytes(4), b"iso6cmfcdashmp41") + _moov((track,))


def movie_header(tracks: Sequence[Track]) -> bytes:
    """What a file of fragments of several tracks begins with: ftyp and moov.

    @param tracks: with ids that differ.
    @raise MediaError: MP4 cannot hold a codec.
    """
    return box(b"ftyp", b"iso6", bytes(4), b"iso6mp41") + _moov(tracks)


def _moov(tracks: Sequence[Track]) -> bytes:
    header = full_box(
        b"mvhd",
        0,
        0,
        struct.pack(">IIIIIH10x", 0, 0, TICKS_PER_SECOND, 0, 0x10000, 0x0100),
        _MATRIX,
        bytes(24),
        _U32.pack(max(track.track_id for track in tracks) + 1),
    )
    extends = box(b"mvex", *[_trex(track) for track in tracks])
    return box(b"moov", header, *[_trak(track) for track in tracks], extends)


def _trex(track: Track) -> bytes:
    flags = _NON_SYNC if track.kind is TrackKind.VIDEO else _SYNC
    return full_box(b"trex", 0, 0, struct.pack(">IIIII", track.track_id, 1, 0, 0, flags))


def _trak(track: Track) -> bytes:
    video = track.kind is TrackKind.VIDEO
    track_header = full_box(
        b"tkhd",
        0,
        3,
        struct.pack(">IIIII8xHHHH", 0, 0, track.track_id, 0, 0, 0, 0, 0 if video else 0x0100, 0),
        _MATRIX,
        struct.pack(">II", (track.width & 0xFFFF) << 16, (track.height & 0xFFFF) << 16),
    )
    media_header = full_box(
        b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, TICKS_PER_SECOND, 0, _language(track.language), 0)
    )
    handler = full_box(
        b"hdlr", 0, 0, bytes(4), b"vide" if video else b"soun", bytes(12), b"video\0" if video else b"audio\0"
    )
    kind_header = full_box(b"vmhd", 0, 1, bytes(8)) if video else full_box(b"smhd", 0, 0, bytes(4))
    data_here = box(b"dinf", full_box(b"dref", 0, 0, _U32.pack(1), full_box(b"url ", 0, 1)))
    sample_table = box(
        b"stbl",
        full_box(b"stsd", 0, 0, _U32.pack(1), sample_entry(track)),
        full_box(b"stts", 0, 0, bytes(4)),
        full_box(b"stsc", 0, 0, bytes(4)),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, bytes(4)),
    )
    media = box(b"mdia", media_header, handler, box(b"minf", kind_header, data_here, sample_table))
    return box(b"trak", track_header, media)


def fragment(track: Track, frames: Sequence[Frame], sequence: int, end: int) -> bytes:
    """One movie fragment, moof and mdat (ISO/IEC 14496-12 section 8.8), a CMAF chunk.

    @param frames: one at least, all of C{track}, in decoding order; their DTS are UTC ticks.
    @param sequence: of the fragment; masked to 32 bits.
    @param end: where the last sample ends, UTC ticks.
    """
    video = track.kind is TrackKind.VIDEO
    rows: list[int] = []
    size = 0
    last = len(frames) - 1
    for index, frame in enumerate(frames):
        after = frames[index + 1].dts if index < last else end
        length = len(frame.data)
        size += length
        rows.append(min(max(0, after - frame.dts), _MASK))
        rows.append(length)
        if video:
            rows.append(_SYNC if frame.key else _NON_SYNC)
            rows.append(frame.cts & _MASK)
    table = struct.pack(f">{len(rows)}I", *rows)
    moof_size = _BEFORE_ROWS + len(table)
    head = _MFHD.pack(moof_size, b"moof", 16, b"mfhd", 0, sequence & _MASK) + _TRAF.pack(
        moof_size - 24,
        b"traf",
        20,
        b"tfhd",
        _TFHD_FLAGS,
        track.track_id,
        _NON_SYNC if video else _SYNC,
        20,
        b"tfdt",
        1 << 24,
        frames[0].dts & ((1 << 64) - 1),
        20 + len(table),
        b"trun",
        1 << 24 | (_TRUN_VIDEO if video else _TRUN_AUDIO),
        len(frames),
        moof_size + 8,
    )
    return b"".join(
        [head, table, _U32.pack(8 + size), b"mdat", *[frame.data for frame in frames]],
    )


def split_fragments(data: bytes) -> list[tuple[int, int]]:
    """Where each fragment of a segment of L{fragment} lies: (start, end) offsets."""
    found = []
    at = 0
    while at + 8 <= len(data):
        (moof,) = _U32.unpack_from(data, at)
        (mdat,) = _U32.unpack_from(data, at + moof)
        found.append((at, at + moof + mdat))
        at += moof + mdat
    return found


def _language(code: str) -> int:
    """ISO 639-2/T in three times five bits (ISO/IEC 14496-12 section 8.4.2.3)."""
    if len(code) != 3 or not all("a" <= letter <= "z" for letter in code):
        code = "und"
    first, second, third = (ord(letter) - 0x60 for letter in code)
    return first << 10 | second << 5 | third
