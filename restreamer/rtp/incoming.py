"""From what a description says of a media section to what reads its packets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from attrs import evolve, frozen

from restreamer.errors import MediaError
from restreamer.media.g711 import g711_track
from restreamer.media.h264 import avcc_from_sets
from restreamer.media.hevc import hvcc_from_sets
from restreamer.media.track import ALAW, ULAW, Track
from restreamer.media.video_units import Av1Units, H264Units, HevcUnits, Vp9Units
from restreamer.rtp.unpack_aac import GenericAacUnpacker, LatmUnpacker
from restreamer.rtp.unpack_av1 import Av1Unpacker
from restreamer.rtp.unpack_frames import MpegAudioUnpacker, OpusUnpacker, SamplesUnpacker, Vp9Unpacker
from restreamer.rtp.unpack_nal import H264Unpacker, HevcUnpacker, TimedUnit

_MAX_SET: Final = 4096
_MAX_SETS: Final = 32


class Unpacker(Protocol):
    """Payloads of one track into frames.

    @ivar dropped: frames left out because a part was missing or wrong.
    """

    dropped: int

    @property
    def track_known(self) -> bool:
        """Whether the track's configuration is known already."""
        ...

    def packet(self, payload: bytes, marker: bool, timestamp: int, lost: bool) -> list[TimedUnit]:
        """Take one payload, in order.

        @param timestamp: RTP time; @param lost: packets before this one are missing.
        @return: what is whole with it: RTP time, how much later it is, in units of the clock, and the frame
            with its track when that is new.
        """
        ...


@frozen(kw_only=True)
class MediaSection:
    """What is needed of a section of a description.

    @ivar encoding: in lower case; @ivar clock: Hz; @ivar channels: 0 when not told.
    @ivar parameters: of C{a=fmtp}, names in lower case.
    """

    encoding: str
    clock: int
    payload_type: int
    channels: int = 0
    language: str = ""
    parameters: Mapping[str, str]


def unpacker_of(track_id: int, section: MediaSection) -> Unpacker:
    """What reads the packets of C{section}.

    @raise MediaError: there is no such payload format here, or its parameters cannot be used.
    """
    make = _UNPACKERS.get(section.encoding)
    if make is None:
        raise MediaError(f"payload format {section.encoding!r} is not known here")
    return make(track_id, section)


def is_video(section: MediaSection) -> bool:
    """Whether frames of C{section} may be sent in another order than they are shown."""
    return section.encoding in ("h264", "h265")


def with_language(track: Track, section: MediaSection) -> Track:
    """C{track} with the language of the description, if that is a word of three letters."""
    language = section.language.lower()
    if len(language) == 3 and language.isascii() and language.isalpha():
        return evolve(track, language=language)
    return track


def _decoded(text: str) -> list[bytes]:
    """NAL units of C{sprop-…}: base64 with commas between; bad ones are left out."""
    found = []
    for word in text.split(",")[:_MAX_SETS]:
        try:
            nal = base64.b64decode(word + "=" * (-len(word) % 4), validate=True)
        except (binascii.Error, ValueError):
            continue
        if 3 <= len(nal) <= _MAX_SET:
            found.append(nal)
    return found


def _record(make: Callable[..., bytes], *sets: Sequence[bytes]) -> bytes:
    try:
        return make(*sets)
    except MediaError:
        return b""


def _h264(track_id: int, section: MediaSection) -> Unpacker:
    if section.parameters.get("packetization-mode", "0") not in ("0", "1"):
        raise MediaError("interleaved packetization of H.264 is not read")
    sets = _decoded(section.parameters.get("sprop-parameter-sets", ""))
    sps = [nal for nal in sets if nal[0] & 0x1F == 7]
    pps = [nal for nal in sets if nal[0] & 0x1F == 8]
    return H264Unpacker(H264Units(track_id, _record(avcc_from_sets, sps, pps)))


def _hevc(track_id: int, section: MediaSection) -> Unpacker:
    if section.parameters.get("sprop-max-don-diff", "0") != "0":
        raise MediaError("interleaved packetization of HEVC is not read")
    sets = [_decoded(section.parameters.get(f"sprop-{name}", "")) for name in ("vps", "sps", "pps")]
    return HevcUnpacker(HevcUnits(track_id, _record(hvcc_from_sets, *sets)))


def _opus(track_id: int, section: MediaSection) -> Unpacker:
    told = section.parameters.get("sprop-stereo")
    return OpusUnpacker(track_id, None if told is None else told == "1")


def _g711(codec: str) -> Callable[[int, MediaSection], Unpacker]:
    def make(track_id: int, section: MediaSection) -> Unpacker:
        return SamplesUnpacker(g711_track(track_id, codec, section.clock, section.channels or 1))

    return make


_UNPACKERS: Final[Mapping[str, Callable[[int, MediaSection], Unpacker]]] = {
    "h264": _h264,
    "h265": _hevc,
    "av1": lambda track_id, section: Av1Unpacker(Av1Units(track_id)),
    "vp9": lambda track_id, section: Vp9Unpacker(Vp9Units(track_id)),
    "mpeg4-generic": lambda track_id, section: GenericAacUnpacker(
        track_id, section.clock, section.parameters
    ),
    "mp4a-latm": lambda track_id, section: LatmUnpacker(track_id, section.clock, section.parameters),
    "mpa": lambda track_id, section: MpegAudioUnpacker(track_id),
    "opus": _opus,
    "pcmu": _g711(ULAW),
    "pcma": _g711(ALAW),
}
