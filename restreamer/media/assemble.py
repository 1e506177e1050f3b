"""From elementary streams to access units: one place to find what each codec takes.

Video (L{restreamer.media.video_units}): C{XUnits(track_id).unit(pieces)} gives a L{Unit} or None. Audio
(L{restreamer.media.audio_frames}): C{XFrames(track_id).frames(data)} gives (frame, offset in ticks) pairs.
Both have C{track}, None until it is known.
"""

from __future__ import annotations

from restreamer.media.audio_frames import (
    Ac3Frames,
    AdtsFrames,
    MpegAudioFrames,
    OpusFrames,
    TimedFrame,
)
from restreamer.media.latm import LatmFrames
from restreamer.media.video_units import Av1Units, H264Units, HevcUnits, Mpeg2Units, Unit, Vp9Units

__all__ = [
    "Ac3Frames",
    "AdtsFrames",
    "Av1Units",
    "H264Units",
    "HevcUnits",
    "LatmFrames",
    "Mpeg2Units",
    "MpegAudioFrames",
    "OpusFrames",
    "TimedFrame",
    "Unit",
    "Vp9Units",
]
