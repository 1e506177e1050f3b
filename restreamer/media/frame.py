"""One access unit of one track."""

from __future__ import annotations

from attrs import define


@define(eq=True)
class Frame:
    """An access unit (video) or an audio frame; treated as immutable once made.

    @ivar track_id: id of its track in the stream's track table (1..255).
    @ivar dts: decoding time in ticks of 90 kHz: UTC once ingested; the publisher's own clock before.
    @ivar cts: composition offset in ticks, PTS - DTS (0 for audio).
    @ivar key: a random access point: an IDR or CRA picture; every audio frame is one too.
    @ivar data: the payload. H.264, HEVC: NAL units with 4-byte big-endian lengths, no parameter sets needed
        (they are in the track); AV1: the OBUs of a temporal unit, each with its size field, without temporal
        delimiters; VP9: a frame or superframe; MPEG-2: a picture with all before it, with start codes;
        AAC: one raw frame with no ADTS header; MPEG audio, AC-3, E-AC-3: one whole frame with its header;
        Opus: one packet; G.711: samples, one byte each.
    """

    track_id: int
    dts: int
    cts: int
    key: bool
    data: bytes

    @property
    def pts(self) -> int:
        """Presentation time in ticks."""
        return self.dts + self.cts
