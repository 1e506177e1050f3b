"""Opus: its head in ISO files and in Ogg, and how long a packet lasts.

The configuration of a track is the payload of dOps (Encapsulation of Opus in ISO Base Media File Format,
section 4.3.2), big-endian; Enhanced RTMP, Ogg and Matroska have the same facts as OpusHead (RFC 7845
section 5.1), little-endian.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.track import OPUS, Track, TrackKind

#: Opus always decodes at this rate, and its times are told in it.
RATE: Final = 48_000
#: Longest packet, ticks: 120 ms (RFC 6716 section 3.2.5).
MAX_DURATION: Final = 10_800
MAX_CHANNELS: Final = 8

_DOPS: Final = Struct(">BBHIhB")
_HEAD: Final = Struct("<8sBBHIhB")
_MAGIC: Final = b"OpusHead"
#: Ticks of one frame by the configuration number in the TOC byte (RFC 6716 table 2).
_FRAME_TICKS: Final = (
    *((900, 1800, 3600, 5400) * 3),
    *((900, 1800) * 2),
    *((225, 450, 900, 1800) * 4),
)
#: Streams, coupled streams and channel order for 1 to 8 speakers (RFC 7845 section 5.1.1.2).
_SURROUND: Final = (
    (1, 0, b"\x00"),
    (1, 1, b"\x00\x01"),
    (2, 1, b"\x00\x02\x01"),
    (2, 2, b"\x00\x01\x02\x03"),
    (3, 2, b"\x00\x04\x01\x02\x03"),
    (4, 2, b"\x00\x04\x01\x02\x03\x05"),
    (4, 3, b"\x00\x04\x01\x02\x03\x05\x06"),
    (5, 3, b"\x00\x06\x01\x02\x03\x04\x05\x07"),
)


@frozen(kw_only=True)
class OpusConfig:
    """What a dOps says.

    @ivar channels: speakers. @ivar pre_skip: samples of 48 kHz to throw away at the beginning.
    @ivar input_rate: Hz of what was encoded, 0 when unknown. @ivar gain: output gain, dB times 256.
    @ivar family: channel mapping family. @ivar mapping: for families above 0: the numbers of streams and of
        coupled streams, then a byte per channel.
    """

    channels: int
    pre_skip: int
    input_rate: int
    gain: int
    family: int
    mapping: bytes


def parse_dops(dops: bytes) -> OpusConfig:
    """Read the payload of dOps.

    @raise MediaError: it is cut off, of another version, or its mapping contradicts itself.
    """
    if len(dops) < _DOPS.size:
        raise MediaError(f"dOps of {len(dops)} bytes")
    version, channels, pre_skip, rate, gain, family = _DOPS.unpack_from(dops)
    if version:
        raise MediaError(f"dOps version {version}, expected 0")
    return _checked(channels, pre_skip, rate, gain, family, dops[_DOPS.size :])


def _checked(channels: int, pre_skip: int, rate: int, gain: int, family: int, rest: bytes) -> OpusConfig:
    if not 1 <= channels <= 255 or (family == 0 and channels > 2):
        raise MediaError(f"Opus with {channels} channels in mapping family {family}")
    mapping = b""
    if family:
        mapping = rest[: 2 + channels]
        if len(mapping) != 2 + channels:
            raise MediaError(f"Opus mapping of {len(mapping)} bytes for {channels} channels")
        streams, coupled = mapping[:2]
        if not streams or coupled > streams or streams + coupled > 255:
            raise MediaError(f"Opus mapping of {streams} streams, {coupled} of them coupled")
        if any(place >= streams + coupled and place != 255 for place in mapping[2:]):
            raise MediaError("Opus mapping names a channel that is not there")
    return OpusConfig(
        channels=channels, pre_skip=pre_skip, input_rate=rate, gain=gain, family=family, mapping=mapping
    )


def _dops(config: OpusConfig) -> bytes:
    head = (0, config.channels, config.pre_skip, config.input_rate, config.gain, config.family)
    return _DOPS.pack(*head) + config.mapping


def dops_from_head(opus_head: bytes) -> bytes:
    """The payload of dOps that says the same as an OpusHead.

    @raise MediaError: it is none, or as L{parse_dops}.
    """
    if len(opus_head) < _HEAD.size:
        raise MediaError(f"OpusHead of {len(opus_head)} bytes")
    magic, version, channels, pre_skip, rate, gain, family = _HEAD.unpack_from(opus_head)
    if magic != _MAGIC or version >> 4:
        raise MediaError(f"no OpusHead of version 0 or 1 (version {version})")
    return _dops(_checked(channels, pre_skip, rate, gain, family, opus_head[_HEAD.size :]))


def head_from_dops(dops: bytes) -> bytes:
    """The OpusHead that says the same as a payload of dOps.

    @raise MediaError: as L{parse_dops}.
    """
    config = parse_dops(dops)
    head = (config.channels, config.pre_skip, config.input_rate, config.gain, config.family)
    return _HEAD.pack(_MAGIC, 1, *head) + config.mapping


def dops_for_channels(channels: int, pre_skip: int = 0) -> bytes:
    """The payload of dOps for a stream of which only the number of speakers is known (MPEG-TS, RTP).

    @param pre_skip: samples of 48 kHz. @raise MediaError: not 1 to L{MAX_CHANNELS}.
    """
    if not 1 <= channels <= MAX_CHANNELS:
        raise MediaError(f"Opus with {channels} channels, expected 1 to {MAX_CHANNELS}")
    family, mapping = 0, b""
    if channels > 2:
        streams, coupled, order = _SURROUND[channels - 1]
        family, mapping = 1, bytes((streams, coupled)) + order
    return _dops(_checked(channels, pre_skip, RATE, 0, family, mapping))


def opus_track(track_id: int, dops: bytes, bandwidth: int = 0) -> Track:
    """The track of a payload of dOps.

    @raise MediaError: as L{parse_dops}.
    """
    config = parse_dops(dops)
    return Track(
        track_id=track_id,
        kind=TrackKind.AUDIO,
        codec=OPUS,
        config=_dops(config),
        timescale=RATE,
        sample_rate=RATE,
        channels=config.channels,
        bandwidth=bandwidth,
    )


def packet_duration(packet: bytes) -> int:
    """Ticks of 90 kHz that a packet lasts, by its TOC byte (RFC 6716 section 3.1).

    @raise MediaError: it is empty, has no frames, or lasts over 120 ms.
    """
    if not packet:
        raise MediaError("empty Opus packet")
    toc = packet[0]
    code = toc & 3
    frames = 1 if code == 0 else 2
    if code == 3:
        frames = packet[1] & 0x3F if len(packet) > 1 else 0
    lasts = frames * _FRAME_TICKS[toc >> 3]
    if not 0 < lasts <= MAX_DURATION:
        raise MediaError(f"Opus packet of {frames} frames, {lasts} ticks")
    return lasts
