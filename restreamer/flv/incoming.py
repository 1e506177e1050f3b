"""How the tracks of a publisher are read out of tag parts, codec by codec (pure): the mirror of C{bodies}.

Sequence headers hold what ISO base media files hold (Enhanced RTMP v2, "Extended VideoTagHeader"), but for
Opus, which has its OpusHead (RFC 7845 section 5.1). AC-3, E-AC-3, MP3 and G.711 have none: their first frame
tells all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, evolve, frozen

from restreamer.errors import MediaError
from restreamer.flv.tag import TagPart
from restreamer.media.aac import aac_track
from restreamer.media.ac3 import ac3_track
from restreamer.media.av1 import (
    SEQUENCE_HEADER,
    TEMPORAL_DELIMITER,
    av1_track,
    av1c_from_sequence_header,
    obu_type,
    split_obus,
    with_sizes,
)
from restreamer.media.g711 import g711_track
from restreamer.media.h264 import h264_track, relength
from restreamer.media.hevc import hevc_track
from restreamer.media.mp3 import mp3_track
from restreamer.media.opus import dops_from_head, opus_track
from restreamer.media.track import (
    AAC,
    AC3,
    ALAW,
    AV1,
    EAC3,
    H264,
    HEVC,
    MP3,
    OPUS,
    ULAW,
    VP9,
    Track,
    TrackKind,
)
from restreamer.media.vp9 import parse_keyframe, vp9_track, vpcc_from_keyframe

_Maker = Callable[[int, bytes, int], Track]
#: Version and flags before a VP9 record, where a writer took over the whole box (VP-ISOBMFF section 2.3).
_VPCC_HEAD: Final = b"\x01\x00\x00\x00"


@define(eq=False)
class Incoming:
    """One track of a publisher.

    @ivar track_id: in the table. @ivar number: its multitrack number. @ivar bandwidth: bits/s as announced, 0
        when it was not; @ivar language: likewise, or empty; @ivar size: likewise, pixels.
    @ivar track: as it is known now. @ivar codec: its codec, also while it has no configuration.
    @ivar raw: the sequence header in use. @ivar length_size: bytes of the NAL lengths that come.
    """

    track_id: int
    kind: TrackKind
    number: int = 0
    bandwidth: int = 0
    language: str = ""
    size: tuple[int, int] = (0, 0)
    track: Track | None = None
    codec: str = ""
    raw: bytes = b""
    length_size: int = 4

    def configure(self, part: TagPart) -> bool:
        """Take a sequence header. @return: whether the track changed. @raise MediaError: it is unreadable."""
        reader = READERS[part.codec]
        if reader.from_header is None or (self.raw == part.data and self.codec == part.codec and self.track):
            return False
        track = reader.from_header(self.track_id, part.data, self.bandwidth)
        self.raw = part.data
        if part.codec == H264:
            self.length_size = (part.data[4] & 3) + 1
        elif part.codec == HEVC:
            self.length_size = (part.data[21] & 3) + 1
        return self._use(track, part.codec)

    def frame(self, part: TagPart) -> tuple[bytes, bool]:
        """What a frame's data are inside the program, and whether the track changed with it.

        @raise MediaError: it is broken, or its track is not configured.
        """
        reader = READERS[part.codec]
        changed = False
        if (self.track is None or self.codec != part.codec) and reader.from_frame is not None:
            if part.codec in (ALAW, ULAW):
                changed = self._use(
                    g711_track(self.track_id, part.codec, channels=1 + part.stereo), part.codec
                )
            elif part.key:
                changed = self._use(reader.from_frame(self.track_id, part.data, self.bandwidth), part.codec)
        if self.track is None or self.codec != part.codec or not part.data:
            raise MediaError(f"a {part.codec} frame of a track that is not configured, or an empty one")
        if part.codec == VP9 and part.key and not self.track.width:
            facts = parse_keyframe(part.data)
            self.track = evolve(self.track, width=facts.width, height=facts.height)
        return reader.data(part.data, self.length_size), changed

    def _use(self, track: Track, codec: str) -> bool:
        if track.codec != codec:
            raise MediaError(f"{codec} was announced, {track.codec} came")
        if self.language:
            track = evolve(track, language=self.language)
        if track.kind is TrackKind.VIDEO and not track.width:
            track = evolve(track, width=self.size[0], height=self.size[1])
        before, self.track, self.codec = self.track, track, codec
        return before is None or not before.same_media(track)


@frozen
class Reader:
    """How one codec is read.

    @ivar from_header: the track of a sequence header; None: it has none.
    @ivar from_frame: the track of a first frame (a keyframe, of video); None: a sequence header must come.
    @ivar data: a frame's data, with the size of NAL lengths, in the form L{restreamer.media.frame} tells.
    """

    kind: TrackKind
    from_header: _Maker | None
    from_frame: _Maker | None
    data: Callable[[bytes, int], bytes]


def _whole(data: bytes, length_size: int) -> bytes:
    return data


def _units(data: bytes, length_size: int) -> bytes:
    """A temporal unit without its delimiter, every OBU with its size."""
    return with_sizes(obu for obu in split_obus(data) if obu_type(obu) != TEMPORAL_DELIMITER)


def _av1_of_frame(track_id: int, data: bytes, bandwidth: int) -> Track:
    for obu in split_obus(data):
        if obu_type(obu) == SEQUENCE_HEADER:
            return av1_track(track_id, av1c_from_sequence_header(obu), bandwidth)
    raise MediaError("an AV1 keyframe without a sequence header")


def _vp9(track_id: int, record: bytes, bandwidth: int) -> Track:
    return vp9_track(track_id, record.removeprefix(_VPCC_HEAD), bandwidth)


def _vp9_of_frame(track_id: int, data: bytes, bandwidth: int) -> Track:
    facts = parse_keyframe(data)
    return vp9_track(track_id, vpcc_from_keyframe(data), bandwidth, facts.width, facts.height)


def _opus(track_id: int, head: bytes, bandwidth: int) -> Track:
    return opus_track(track_id, dops_from_head(head), bandwidth)


def _g711(track_id: int, data: bytes, bandwidth: int) -> Track:
    return g711_track(track_id, ULAW)


READERS: Final[dict[str, Reader]] = {
    H264: Reader(TrackKind.VIDEO, h264_track, None, relength),
    HEVC: Reader(TrackKind.VIDEO, hevc_track, None, relength),
    AV1: Reader(TrackKind.VIDEO, av1_track, _av1_of_frame, _units),
    VP9: Reader(TrackKind.VIDEO, _vp9, _vp9_of_frame, _whole),
    AAC: Reader(TrackKind.AUDIO, aac_track, None, _whole),
    OPUS: Reader(TrackKind.AUDIO, _opus, None, _whole),
    MP3: Reader(TrackKind.AUDIO, None, mp3_track, _whole),
    AC3: Reader(TrackKind.AUDIO, None, ac3_track, _whole),
    EAC3: Reader(TrackKind.AUDIO, None, ac3_track, _whole),
    ULAW: Reader(TrackKind.AUDIO, None, _g711, _whole),
    ALAW: Reader(TrackKind.AUDIO, None, _g711, _whole),
}
