"""By which protocols a stream may be played: the words of the configuration against those of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: How a request calls its protocol, where the configuration has another word for it.
_CONFIGURED_AS: Final[Mapping[str, str]] = {"tshttp": "mpegts", "m4fs": "m4f"}


def allowed(protocols: frozenset[str] | None, proto: str) -> bool:
    """Whether a stream with these C{protocols} (None: all) is played by C{proto}.

    @param proto: C{hls}, C{tshttp}, C{rtmp}, C{m4f}…; the words C{tshttp} and C{mpegts} mean the same. The
        files that HLS and DASH share are C{cmaf}: they are given when either is.
    """
    if proto == "cmaf":
        return protocols is None or "hls" in protocols or "dash" in protocols
    if protocols is None or proto in protocols:
        return True
    word = _CONFIGURED_AS.get(proto, proto)
    return word in protocols or (word == "mpegts" and "tshttp" in protocols)
