"""What the two ends of a connection tell each other of Enhanced RTMP in C{connect} (pure).

Enhanced RTMP v2, "Enhancing NetConnection connect Command": C{fourCcList} (the older form),
C{videoFourCcInfoMap}, C{audioFourCcInfoMap} with a mask per codec, C{capsEx}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from attrs import frozen

from restreamer.flv.dialect import AUDIO_FOURCCS, ENHANCED_CODECS, VIDEO_FOURCCS, Dialect
from restreamer.media.track import AAC, H264, Tracks

#: Bits of the masks of codecs.
CAN_DECODE: Final = 1
CAN_ENCODE: Final = 2
CAN_FORWARD: Final = 4
#: Bits of capsEx.
RECONNECT: Final = 1
MULTITRACK: Final = 2
MODEX: Final = 4
NANO: Final = 8

_ANY: Final = "*"
_MAX_LISTED: Final = 64


@frozen
class Capabilities:
    """What a peer reads.

    @ivar codecs: FourCCs it named. @ivar anything: it reads (or forwards) whatever codec.
    @ivar flags: its capsEx.
    """

    codecs: frozenset[str] = frozenset()
    anything: bool = False
    flags: int = 0

    def dialect(self, tracks: Tracks) -> Dialect:
        """How C{tracks} are best written for it.

        Only codecs that the stream has are in it, so that peers who differ in others share what is muxed.
        """
        known = ENHANCED_CODECS.intersection(track.codec for track in tracks)
        if not self.anything:
            known &= self.codecs
        kinds = [track.kind for track in tracks if track.codec in known or track.codec not in ENHANCED_CODECS]
        several = len(kinds) > len(set(kinds))
        whole = self.anything or {H264, AAC} <= self.codecs
        return Dialect(
            known,
            multitrack=several and bool(self.flags & MULTITRACK),
            nano=whole and self.flags & (MODEX | NANO) == MODEX | NANO,
        )


#: What a peer reads that says nothing.
NOTHING: Final = Capabilities()


def _listed(found: set[str], names: Iterable[Any]) -> None:
    for name in list(names)[:_MAX_LISTED]:
        if isinstance(name, str):
            found.add(name)


def read_capabilities(properties: Mapping[str, Any]) -> Capabilities:
    """What the properties of C{connect}, or of its answer, say; nothing of what they do not."""
    found: set[str] = set()
    listed = properties.get("fourCcList")
    if isinstance(listed, list | tuple):
        _listed(found, listed)
    for name, every in (("videoFourCcInfoMap", VIDEO_FOURCCS), ("audioFourCcInfoMap", AUDIO_FOURCCS)):
        masks = properties.get(name)
        if isinstance(masks, Mapping):
            wanted = CAN_DECODE | CAN_FORWARD
            if int_of(masks.get(_ANY)) & wanted:
                # Of this kind only; it overrides what is said of single codecs.
                found.update(every)
            else:
                _listed(found, (fourcc for fourcc, mask in masks.items() if int_of(mask) & wanted))
    return _one(frozenset(found - {_ANY}), _ANY in found, int_of(properties.get("capsEx")))


@lru_cache(maxsize=64)
def _one(codecs: frozenset[str], anything: bool, flags: int) -> Capabilities:
    """One object for all who say the same: thousands of players are of few kinds."""
    return Capabilities(codecs, anything, flags)


def named_capabilities(text: str) -> Capabilities:
    """What C{?fourcc=hvc1,Opus} of an address says, for players that cannot tell it in C{connect}."""
    found = {name for name in text.split(",")[:_MAX_LISTED] if name}
    return Capabilities(frozenset(found - {_ANY}), _ANY in found)


def merged(one: Capabilities, other: Capabilities) -> Capabilities:
    """What either of them says."""
    return Capabilities(one.codecs | other.codecs, one.anything or other.anything, one.flags | other.flags)


def int_of(value: object) -> int:
    """An AMF number as a small whole one; 0 for anything else."""
    if isinstance(value, int | float) and 0 <= value < 1 << 31:
        return int(value)
    return 0


def our_capabilities(mask: int) -> dict[str, Any]:
    """What we tell of ourselves. @param mask: what we do with each codec."""
    return {
        "fourCcList": [*VIDEO_FOURCCS, *AUDIO_FOURCCS],
        "videoFourCcInfoMap": dict.fromkeys(VIDEO_FOURCCS, mask),
        "audioFourCcInfoMap": dict.fromkeys(AUDIO_FOURCCS, mask),
        "capsEx": RECONNECT | MULTITRACK | MODEX | NANO,
    }
