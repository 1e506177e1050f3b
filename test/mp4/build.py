"""Writes small MP4 files for tests, every table in the form a test asks for."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from attrs import field, frozen

from restreamer.testing.media import ASC, AVCC


def box(kind: bytes, *parts: bytes, large: bool = False) -> bytes:
    body = b"".join(parts)
    if large:
        return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body
    return struct.pack(">I4s", len(body) + 8, kind) + body


def full(kind: bytes, version: int, *parts: bytes) -> bytes:
    return box(kind, bytes((version, 0, 0, 0)), *parts)


def rows(kind: bytes, layout: str, table: Sequence[tuple[int, ...]], version: int = 0) -> bytes:
    return full(kind, version, struct.pack(">I", len(table)), *(struct.pack(layout, *row) for row in table))


def avc_entry(kind: bytes = b"avc1", avcc: bytes = AVCC) -> bytes:
    head = struct.pack(">6xH16xHHIIIH32xHh", 1, 640, 360, 0x480000, 0x480000, 0, 1, 24, -1)
    return box(kind, head, box(b"avcC", avcc))


def descriptor(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((tag, 0x80, 0x80, 0x80, len(body))) + body


def esds(object_type: int = 0x40, config: bytes = ASC) -> bytes:
    specific = descriptor(5, config) if config else b""
    decoder = descriptor(4, bytes((object_type, 0x15)), bytes(11), specific)
    return full(b"esds", 0, descriptor(3, b"\0\2\0", decoder, descriptor(6, b"\2")))


def audio_entry(inner: bytes, kind: bytes = b"mp4a", rate: int = 48000, version: int = 0) -> bytes:
    head = struct.pack(">6xHHHIHHHHI", 1, version, 0, 0, 2, 16, 0, 0, rate << 16)
    return box(kind, head, bytes({0: 0, 1: 16, 2: 36}[version]), inner)


@frozen(kw_only=True)
class Trak:
    """What one track of a test file is made of.

    @ivar samples: bodies. @ivar chunks: samples per chunk, in turn. @ivar stts, ctts: run-length rows.
    """

    entry: bytes
    samples: Sequence[bytes]
    timescale: int
    chunks: Sequence[int]
    stts: Sequence[tuple[int, int]]
    ctts: Sequence[tuple[int, int]] = ()
    ctts_version: int = 0
    stss: Sequence[int] | None = None
    edits: Sequence[tuple[int, int]] = ()
    edit_version: int = 0
    size_bits: int = 32
    co64: bool = False
    language: str = "eng"
    mdhd_version: int = 0
    more: Sequence[bytes] = field(default=())


def _sizes(trak: Trak) -> bytes:
    sizes = [len(sample) for sample in trak.samples]
    if trak.size_bits == 0:
        return full(b"stsz", 0, struct.pack(">II", sizes[0], len(sizes)))
    if trak.size_bits == 32:
        return full(b"stsz", 0, struct.pack(">II", 0, len(sizes)), struct.pack(f">{len(sizes)}I", *sizes))
    head = struct.pack(">II", trak.size_bits, len(sizes))
    if trak.size_bits == 4:
        sizes += [0] * (len(sizes) % 2)
        body = bytes(a << 4 | b for a, b in zip(sizes[0::2], sizes[1::2], strict=True))
    else:
        body = struct.pack(f">{len(sizes)}{'B' if trak.size_bits == 8 else 'H'}", *sizes)
    return full(b"stz2", 0, head, body)


def _trak(trak: Trak, offsets: Sequence[int]) -> bytes:
    packed = 0
    for letter in trak.language:
        packed = packed << 5 | ord(letter) - 0x60
    if trak.mdhd_version == 1:
        mdhd = full(b"mdhd", 1, struct.pack(">QQIQHH", 0, 0, trak.timescale, 0, packed, 0))
    else:
        mdhd = full(b"mdhd", 0, struct.pack(">IIIIHH", 0, 0, trak.timescale, 0, packed, 0))
    stsc = [
        (1 + at, count, 1) for at, count in enumerate(trak.chunks) if not at or count != trak.chunks[at - 1]
    ]
    tables = [
        full(b"stsd", 0, struct.pack(">I", 1), trak.entry),
        rows(b"stts", ">II", trak.stts),
        rows(b"stsc", ">III", stsc),
        _sizes(trak),
        rows(b"co64", ">Q", [(at,) for at in offsets])
        if trak.co64
        else rows(b"stco", ">I", [(at,) for at in offsets]),
        *trak.more,
    ]
    if trak.ctts:
        tables.append(rows(b"ctts", ">Ii", trak.ctts, trak.ctts_version))
    if trak.stss is not None:
        tables.append(rows(b"stss", ">I", [(number,) for number in trak.stss]))
    edits = b""
    if trak.edits:
        layout = ">QqI" if trak.edit_version else ">IiI"
        table = [(lasts, time, 0x10000) for lasts, time in trak.edits]
        edits = box(b"edts", rows(b"elst", layout, table, trak.edit_version))
    return box(b"trak", edits, box(b"mdia", mdhd, box(b"minf", box(b"stbl", *tables))))


def mp4(
    *traks: Trak,
    moov_first: bool = True,
    movie_scale: int = 1000,
    large: bool = False,
    endless_mdat: bool = False,
    front: bytes = box(b"ftyp", b"isom\0\0\0\0"),
    more: Sequence[bytes] = (),
) -> bytes:
    """A file of C{traks} whose chunks take turns in mdat."""
    bodies: list[bytes] = []
    places: list[list[int]] = [[] for _ in traks]
    at = 0
    for turn in range(max((len(trak.chunks) for trak in traks), default=0)):
        for index, trak in enumerate(traks):
            if turn < len(trak.chunks):
                begin = sum(trak.chunks[:turn])
                chunk = b"".join(trak.samples[begin : begin + trak.chunks[turn]])
                places[index].append(at)
                bodies.append(chunk)
                at += len(chunk)
    data = b"".join(bodies)
    mvhd = full(b"mvhd", 0, struct.pack(">IIII", 0, 0, movie_scale, 0), bytes(80))

    def moov(base: int) -> bytes:
        listed = [_trak(trak, [base + at for at in places[index]]) for index, trak in enumerate(traks)]
        return box(b"moov", mvhd, *listed, *more, large=large)

    mdat = box(b"mdat", data, large=large)
    head = 16 if large else 8
    if endless_mdat:
        mdat = b"\0\0\0\0" + mdat[4:]
    if moov_first:
        return front + moov(len(front) + len(moov(0)) + head) + mdat
    return front + mdat + moov(len(front) + head)


def nal_sample(number: int, size: int = 20, length_size: int = 4, key: bool = False) -> bytes:
    """One slice whose body tells its number."""
    nal = bytes((0x65 if key else 0x41,)) + number.to_bytes(2, "big") + b"\x55" * (size - 3)
    return len(nal).to_bytes(length_size, "big") + nal


def video(count: int = 10, **changes: object) -> Trak:
    """A track of 25 frames/s at timescale 12800, a keyframe every 5."""
    values: dict[str, object] = {
        "entry": avc_entry(),
        "samples": [nal_sample(number, 20 + number, key=number % 5 == 0) for number in range(count)],
        "timescale": 12800,
        "chunks": [1] * count,
        "stts": [(count, 512)],
        "stss": list(range(1, count + 1, 5)),
    }
    return Trak(**(values | changes))  # type: ignore[arg-type]


def audio(count: int = 18, **changes: object) -> Trak:
    """A track of AAC frames at 48 kHz."""
    values: dict[str, object] = {
        "entry": audio_entry(esds()),
        "samples": [b"\x21" + number.to_bytes(2, "big") + bytes(number % 7) for number in range(count)],
        "timescale": 48000,
        "chunks": [3] * (count // 3) + ([count % 3] if count % 3 else []),
        "stts": [(count, 1024)],
    }
    return Trak(**(values | changes))  # type: ignore[arg-type]
