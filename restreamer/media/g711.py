"""G.711: a byte per sample, A-law or mu-law (ITU-T G.711)."""

from __future__ import annotations

from typing import Final

from restreamer.errors import MediaError
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import ALAW, ULAW, Track, TrackKind

RATE: Final = 8000
_MAX_RATE: Final = 192_000
_MAX_CHANNELS: Final = 8


def g711_track(track_id: int, codec: str, rate: int = RATE, channels: int = 1) -> Track:
    """The track of samples of C{codec}, L{ULAW} or L{ALAW}.

    @param rate: Hz. @raise MediaError: another codec, or an impossible rate or number of channels.
    """
    if codec not in (ULAW, ALAW):
        raise MediaError(f"codec {codec!r} is not G.711")
    if not RATE <= rate <= _MAX_RATE or not 1 <= channels <= _MAX_CHANNELS:
        raise MediaError(f"G.711 of {rate} Hz and {channels} channels")
    return Track(
        track_id=track_id,
        kind=TrackKind.AUDIO,
        codec=codec,
        timescale=rate,
        sample_rate=rate,
        channels=channels,
        bandwidth=8 * rate * channels,
    )


def samples_duration(size: int, rate: int = RATE, channels: int = 1) -> int:
    """Ticks of 90 kHz that C{size} bytes last."""
    return size * TICKS_PER_SECOND // (rate * channels)
