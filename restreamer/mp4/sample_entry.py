"""What stsd says about a track: codec, configuration, size or rate (ISO/IEC 14496-12 section 8.5.2)."""

from __future__ import annotations

import struct

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.h264 import normalise_avcc, parse_avcc
from restreamer.media.hevc import normalise_hvcc, parse_hvcc
from restreamer.media.track import AAC, AC3, ALAW, AV1, EAC3, H264, HEVC, MP3, MPEG2, OPUS, ULAW, VP9
from restreamer.mp4.boxes import Box, children, fields, walk_boxes

_STSD = struct.Struct(">II")
_VIDEO = struct.Struct(">16xHH")
_AUDIO = struct.Struct(">HHIHHHHI")
_VIDEO_FIELDS = 78
_AUDIO_FIELDS = 28
_AVCC_HEAD = 7
_HVCC_HEAD = 23
#: Bytes a QuickTime sound description has more, by its version.
_QUICKTIME_MORE = {1: 16, 2: 36}

_AAC_OBJECTS = frozenset((0x40, 0x66, 0x67, 0x68))
#: MPEG-2 and MPEG-1 audio of any layer: which one, the first frame tells.
_MPEG_AUDIO_OBJECTS = frozenset((0x69, 0x6B))
#: MPEG-2 video by profile, and MPEG-1.
_MPEG2_OBJECTS = frozenset((0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x6A))
#: The codec of each sample entry, and the box of its configuration.
_VIDEO_CONFIGS = {
    b"avc1": (H264, b"avcC"),
    b"avc3": (H264, b"avcC"),
    b"hvc1": (HEVC, b"hvcC"),
    b"hev1": (HEVC, b"hvcC"),
    b"av01": (AV1, b"av1C"),
    b"vp09": (VP9, b"vpcC"),
    b"mp4v": (MPEG2, b"esds"),
}
_AUDIO_CONFIGS = {b"Opus": (OPUS, b"dOps"), b"ac-3": (AC3, b"dac3"), b"ec-3": (EAC3, b"dec3")}
_G711 = {b"ulaw": ULAW, b"alaw": ALAW}


@frozen(kw_only=True)
class SampleEntry:
    """The codec facts of one track, as the container has them.

    @ivar codec, config: as in L{restreamer.media.track.Track}; a track whose parameter sets are in its
        samples alone (avc3, hev1) has no config here. MP3 stands for MPEG audio of layer II too.
    @ivar width, height, sample_rate, channels: the container's word, which the codec's own overrules.
    @ivar length_size: bytes of each NAL unit's length in this file, 0 for codecs without.
    """

    codec: str
    config: bytes = b""
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    length_size: int = 0


def _avc_config(record: bytes) -> tuple[bytes, int]:
    """(record, NAL length size) of an avcC payload; the record is empty when it names no parameter sets."""
    if len(record) >= _AVCC_HEAD and record[0] == 1 and not record[5] & 0x1F and record[4] & 3 != 2:
        return b"", (record[4] & 3) + 1
    return normalise_avcc(record), parse_avcc(record).length_size


def _descriptor(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """(tag, start, end) of the descriptor at C{at} (ISO/IEC 14496-1 section 8.3.3)."""
    if at >= end:
        raise MediaError("esds is cut off")
    tag = data[at]
    length = 0
    for _ in range(4):
        at += 1
        if at >= end:
            raise MediaError("esds is cut off")
        length = length << 7 | data[at] & 0x7F
        if not data[at] & 0x80:
            break
    if at + 1 + length > end:
        raise MediaError(f"descriptor {tag} in esds has {length} bytes, only {end - at - 1} are there")
    return tag, at + 1, at + 1 + length


def read_esds(data: bytes, start: int, end: int) -> tuple[int, bytes]:
    """Object type indication and DecoderSpecificInfo of an esds payload (ISO/IEC 14496-1 section 7.2.6).

    @raise MediaError: it is cut off or has no decoder configuration.
    """
    tag, at, end = _descriptor(data, start + 4, end)
    if tag != 3 or at + 3 > end:
        raise MediaError("esds holds no ES descriptor")
    flags = data[at + 2]
    at += 3 + (2 if flags & 0x80 else 0)
    if flags & 0x40:
        at += 1 + (data[at] if at < end else 0)
    at += 2 if flags & 0x20 else 0
    tag, at, end = _descriptor(data, at, end)
    if tag != 4 or at + 13 > end:
        raise MediaError("esds holds no decoder configuration")
    object_type = data[at]
    at += 13
    while at < end:
        tag, start, stop = _descriptor(data, at, end)
        if tag == 5:
            return object_type, data[start:stop]
        at = stop
    return object_type, b""


def _hevc_config(record: bytes) -> tuple[bytes, int]:
    """(record, NAL length size) of an hvcC payload; the record is empty when it names no parameter sets."""
    if len(record) >= _HVCC_HEAD and record[0] <= 1 and not record[22] and record[21] & 3 != 2:
        return b"", (record[21] & 3) + 1
    return normalise_hvcc(record), parse_hvcc(record).length_size


def _video_entry(data: bytes, entry: Box) -> SampleEntry | None:
    width, height = fields(data, entry, _VIDEO, 8)
    boxes = children(data, entry, _VIDEO_FIELDS)
    codec, kind = _VIDEO_CONFIGS[entry.kind]
    if kind not in boxes:
        raise MediaError(f"{entry.kind!r} has no {kind.decode()} box")
    box = boxes[kind]
    config, length_size = data[box.start : box.end], 0
    if codec == H264:
        config, length_size = _avc_config(config)
    elif codec == HEVC:
        config, length_size = _hevc_config(config)
    elif codec == VP9:
        config = config[4:]
    elif codec == MPEG2:
        object_type, config = read_esds(data, box.start, box.end)
        if object_type not in _MPEG2_OBJECTS:
            return None
    return SampleEntry(
        codec=codec,
        config=config,
        width=width,
        height=height,
        length_size=length_size,
    )


def _audio_entry(data: bytes, entry: Box, stsd_version: int) -> SampleEntry | None:
    version, _, _, channels, _, _, _, rate = fields(data, entry, _AUDIO, 8)
    rate >>= 16
    skip = _AUDIO_FIELDS + (0 if stsd_version else _QUICKTIME_MORE.get(version, 0))
    if entry.kind == b".mp3":
        return SampleEntry(codec=MP3, sample_rate=rate, channels=channels)
    if entry.kind in _G711:
        return SampleEntry(codec=_G711[entry.kind], sample_rate=rate, channels=channels)
    boxes = children(data, entry, skip)
    if entry.kind in _AUDIO_CONFIGS:
        codec, kind = _AUDIO_CONFIGS[entry.kind]
        if kind not in boxes:
            raise MediaError(f"{entry.kind!r} has no {kind.decode()} box")
        box = boxes[kind]
        config = data[box.start : box.end]
        return SampleEntry(codec=codec, config=config, sample_rate=rate, channels=channels)
    if b"esds" not in boxes and b"wave" in boxes:
        boxes = children(data, boxes[b"wave"])
    if b"esds" not in boxes:
        raise MediaError("mp4a has no esds box")
    box = boxes[b"esds"]
    object_type, config = read_esds(data, box.start, box.end)
    if object_type in _MPEG_AUDIO_OBJECTS:
        return SampleEntry(codec=MP3, sample_rate=rate, channels=channels)
    if object_type not in _AAC_OBJECTS:
        return None
    return SampleEntry(codec=AAC, config=config, sample_rate=rate, channels=channels)


def read_sample_entry(data: bytes, stsd: Box) -> tuple[bytes, SampleEntry | None]:
    """The first sample entry of an stsd box.

    @return: its FourCC, and its facts or None for a codec we do not carry.
    @raise MediaError: it is cut off, or there is none.
    """
    version_flags, count = fields(data, stsd, _STSD)
    entry = next(walk_boxes(data, stsd.start + 8, stsd.end), None)
    if entry is None or not count:
        raise MediaError("stsd is empty")
    if entry.kind in _VIDEO_CONFIGS:
        return entry.kind, _video_entry(data, entry)
    if entry.kind in _AUDIO_CONFIGS or entry.kind in _G711 or entry.kind in (b"mp4a", b".mp3"):
        return entry.kind, _audio_entry(data, entry, version_flags >> 24)
    return entry.kind, None
