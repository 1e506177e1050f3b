"""What a decoder and a packager must know of one elementary stream."""

from __future__ import annotations

import enum

from attrs import frozen


class TrackKind(enum.IntEnum):
    """The kind of a track; the value is its number in M4F."""

    VIDEO = 1
    AUDIO = 2


#: FourCC of each codec, as in Enhanced RTMP and ISO/IEC 14496-12 sample entries.
H264 = "avc1"
HEVC = "hvc1"
AV1 = "av01"
VP9 = "vp09"
MPEG2 = "mp2v"
AAC = "mp4a"
MP3 = ".mp3"
MP2 = ".mp2"
OPUS = "Opus"
AC3 = "ac-3"
EAC3 = "ec-3"
ULAW = "ulaw"
ALAW = "alaw"


@frozen(kw_only=True)
class Track:
    """One track of a stream.

    @ivar track_id: 1..255, unique within the stream; video tracks first, then audio.
    @ivar codec: FourCC, 4 ASCII characters (L{H264}, L{AAC} …).
    @ivar config: codec configuration, in the form that ISO base media files hold:
         - H.264: AVCDecoderConfigurationRecord, lengthSizeMinusOne is 3 (ISO/IEC 14496-15 section 5.3.3.1);
         - HEVC: HEVCDecoderConfigurationRecord, likewise (section 8.3.3.1);
         - AV1: AV1CodecConfigurationRecord with the sequence header OBU (AV1-ISOBMFF section 2.3.3);
         - VP9: VPCodecConfigurationRecord without the four bytes of version and flags (VP-ISOBMFF);
         - MPEG-2 video: the sequence header with its extension, from its start code on;
         - AAC: AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2);
         - Opus: the payload of dOps (Opus-ISOBMFF section 4.3.2);
         - AC-3, E-AC-3: the payload of dac3, dec3 (ETSI TS 102 366 annex F);
         - MPEG audio, G.711: empty.
    @ivar timescale: the source's natural clock in Hz (90000 for video, the sample rate for audio); a hint.
    @ivar language: ISO 639-2/T, 3 letters, C{"und"} when unknown.
    @ivar width, height: pixels, 0 when unknown or audio.
    @ivar frame_rate: frames/s times 1000, 0 when unknown (25 fps = 25000).
    @ivar sample_rate: Hz, 0 for video; @ivar channels: 0 for video.
    @ivar bandwidth: bits/s as the ingest node measured it, 0 when not known yet; carried, so equal on
        all nodes.
    """

    track_id: int
    kind: TrackKind
    codec: str
    config: bytes = b""
    timescale: int = 90_000
    language: str = "und"
    width: int = 0
    height: int = 0
    frame_rate: int = 0
    sample_rate: int = 0
    channels: int = 0
    bandwidth: int = 0

    def same_media(self, other: Track) -> bool:
        """Whether a decoder can go from one to the other with no new configuration."""
        return (
            self.track_id == other.track_id
            and self.kind == other.kind
            and self.codec == other.codec
            and self.config == other.config
        )


Tracks = tuple[Track, ...]


def same_tracks(one: Tracks, other: Tracks) -> bool:
    """Whether two track tables differ at most in hints such as bandwidth."""
    return len(one) == len(other) and all(a.same_media(b) for a, b in zip(one, other, strict=True))


def has_video(tracks: Tracks) -> bool:
    """Whether the table holds a video track (the segment cutter then waits for keyframes)."""
    return any(track.kind is TrackKind.VIDEO for track in tracks)
