"""The description of a stream that players are given: SDP from the track table.

The same on every node: nothing in it depends on where or when it is asked for.
"""

from __future__ import annotations

import re
import zlib

from restreamer.media.track import Tracks
from restreamer.rtp.formats import format_of, kind_word

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL = re.compile(r"trackID=([0-9]{1,3})")


def control_of(track_id: int) -> str:
    """The last part of a track's URL."""
    return f"trackID={track_id}"


def track_of_control(text: str) -> int | None:
    """The track that the end of a URL names; None: the whole stream."""
    match = _CONTROL.fullmatch(text)
    return int(match[1]) if match else None


def describe(title: str, tracks: Tracks, reach: str = "npt=now-") -> bytes:
    """The SDP of a stream.

    @param reach: what can be played of it, as a Range.

    @raise restreamer.errors.MediaError: a track has no payload format.
    """
    shown = _UNSAFE.sub(" ", title) or "-"
    number = zlib.crc32(title.encode("utf-8", "surrogatepass"))
    lines = [
        "v=0",
        f"o=- {number} 1 IN IP4 0.0.0.0",
        f"s={shown}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        f"a=range:{reach}",
        "a=control:*",
    ]
    for index, track in enumerate(tracks):
        told = format_of(track, index)
        lines.append(f"m={kind_word(track)} 0 RTP/AVP {told.payload_type}")
        if track.bandwidth:
            lines.append(f"b=AS:{max(1, track.bandwidth // 1000)}")
        lines.append(f"a=rtpmap:{told.payload_type} {told.encoding}")
        if told.parameters:
            lines.append(f"a=fmtp:{told.payload_type} {told.parameters}")
        if track.language and track.language != "und":
            lines.append(f"a=lang:{track.language}")
        if track.frame_rate:
            lines.append(f"a=framerate:{track.frame_rate / 1000:g}")
        lines.append(f"a=control:{control_of(track.track_id)}")
    return ("\r\n".join(lines) + "\r\n").encode()
