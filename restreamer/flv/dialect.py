"""How much of Enhanced RTMP a peer understands, and the name that what is muxed for such peers has (pure).

Legacy FLV headers know H.264, AAC, MP3 and G.711 and one track of a kind. Everything else goes only to who
said that he reads it (Enhanced RTMP v2, "Enhancing NetConnection connect Command").
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from restreamer.media.track import AAC, AC3, ALAW, AV1, EAC3, H264, HEVC, MP3, OPUS, ULAW, VP9

#: Codecs every player knows by its legacy header.
LEGACY_CODECS: Final = frozenset({H264, AAC, MP3, ULAW, ALAW})
#: Codecs that only an extended header can name.
ENHANCED_CODECS: Final = frozenset({HEVC, AV1, VP9, OPUS, AC3, EAC3})
#: Video codecs with a FourCC of Enhanced RTMP; audio codecs likewise (G.711 has none).
VIDEO_FOURCCS: Final = (H264, HEVC, AV1, VP9)
AUDIO_FOURCCS: Final = (AAC, MP3, OPUS, AC3, EAC3)

_NAME: Final = re.compile(r"(?P<base>[a-z]+)(?:@(?P<stream>\d{1,5}))?(?P<rest>(?:\+[A-Za-z0-9-]{4,6})*)")
_TRACKS: Final = "tracks"
_NANO: Final = "nano"


@frozen
class Dialect:
    """What may be written to a peer.

    @ivar codecs: those of L{ENHANCED_CODECS} it reads.
    @ivar multitrack: it reads more than one track of a kind.
    @ivar nano: it reads nanosecond offsets (ModEx, and extended headers for every codec that has a FourCC).
    """

    codecs: frozenset[str] = frozenset()
    multitrack: bool = False
    nano: bool = False

    def knows(self, codec: str) -> bool:
        """Whether a track of C{codec} may be sent."""
        return codec in LEGACY_CODECS or codec in self.codecs

    def container(self, base: str = "rtmp", stream_id: int = 1) -> str:
        """What feeds in this dialect are called: C{rtmp}, C{rtmp+Opus+hvc1+tracks}, C{rtmppush@2+nano}."""
        words = [
            *sorted(self.codecs),
            *([_TRACKS] if self.multitrack else []),
            *([_NANO] if self.nano else []),
        ]
        return base + ("" if stream_id == 1 else f"@{stream_id}") + "".join(f"+{word}" for word in words)


#: Everything at once; what a stream is asked with to learn its codecs.
FULL: Final = Dialect(ENHANCED_CODECS, multitrack=True)
#: What players of HTTP-FLV get, who cannot say what they read: one track of a kind, any codec.
FLV: Final = Dialect(ENHANCED_CODECS)


def parse_container(name: str) -> tuple[str, int, Dialect] | None:
    """Base, message stream and dialect of a name that L{Dialect.container} made; None for any other."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    words = set(match["rest"].split("+")[1:])
    codecs = words & ENHANCED_CODECS
    if words - codecs - {_TRACKS, _NANO}:
        return None
    return (
        match["base"],
        int(match["stream"] or 1),
        Dialect(frozenset(codecs), _TRACKS in words, _NANO in words),
    )
