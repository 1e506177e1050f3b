"""Playlists of other servers, as far as pulling a live stream needs them (RFC 8216; pure)."""

from __future__ import annotations

import math
import re
from typing import Final

from attrs import frozen

from restreamer.errors import RemoteProtocolError

#: Bytes and lines a playlist may have.
MAX_PLAYLIST: Final = 1024 * 1024
MAX_LINES: Final = 50_000
#: Longest segment that is believed, seconds.
MAX_DURATION: Final = 600.0
_MAX_URI: Final = 4096
#: Characters of a line, and of the name of an attribute.
MAX_LINE: Final = 16 * 1024
_ATTRIBUTE: Final = re.compile(r'\s*([A-Z0-9-]{1,64})=("[^"]*"|[^",\s][^,]*)(?:,|$)')
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_RANGE: Final = re.compile(r"([0-9]{1,15})(?:@([0-9]{1,15}))?")


@frozen
class Piece:
    """A resource or a part of it. @ivar begin: first byte; @ivar size: bytes, 0 for all of it."""

    uri: str
    begin: int = 0
    size: int = 0


@frozen(kw_only=True)
class PulledSegment:
    """One media segment.

    @ivar number: media sequence number. @ivar duration: seconds. @ivar init: its init section, if it has one.
    @ivar discontinuity: what follows has other times or tracks. @ivar gap: it is not there.
    """

    number: int
    piece: Piece
    duration: float
    init: Piece | None = None
    discontinuity: bool = False
    gap: bool = False


@frozen(kw_only=True)
class MediaPlaylist:
    """@ivar target: target duration, seconds. @ivar ended: nothing will be added."""

    target: float
    segments: tuple[PulledSegment, ...]
    ended: bool = False


@frozen(kw_only=True)
class Variant:
    """@ivar bandwidth: bits/s. @ivar audio: its group of audio renditions, or empty."""

    uri: str
    bandwidth: int
    audio: str = ""


@frozen(kw_only=True)
class Rendition:
    """An audio rendition with a playlist of its own."""

    group: str
    uri: str
    language: str = ""


@frozen(kw_only=True)
class MasterPlaylist:
    """@ivar variants: best first."""

    variants: tuple[Variant, ...]
    renditions: tuple[Rendition, ...]


def parse_playlist(data: bytes) -> MasterPlaylist | MediaPlaylist:
    """Read a playlist.

    @raise RemoteProtocolError: it is none, or one that cannot be played here (encrypted).
    """
    if len(data) > MAX_PLAYLIST:
        raise RemoteProtocolError("playlist", f"{len(data)} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RemoteProtocolError("playlist", "not UTF-8") from None
    lines = [line.strip() for line in text.split("\n")]
    if not lines or not lines[0].startswith("#EXTM3U"):
        raise RemoteProtocolError("playlist", "does not begin with #EXTM3U")
    if len(lines) > MAX_LINES:
        raise RemoteProtocolError("playlist", f"{len(lines)} lines")
    longest = max(map(len, lines))
    if longest > MAX_LINE:
        raise RemoteProtocolError("playlist", f"a line of {longest} characters, at most {MAX_LINE}")
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
        return _master(lines)
    return _media(lines)


def _master(lines: list[str]) -> MasterPlaylist:
    variants: list[Variant] = []
    renditions: list[Rendition] = []
    pending: dict[str, str] | None = None
    for line in lines:
        if line.startswith("#EXT-X-STREAM-INF:"):
            pending = _attributes(line)
        elif line.startswith("#EXT-X-MEDIA:"):
            found = _attributes(line)
            if found.get("TYPE") == "AUDIO" and found.get("URI"):
                renditions.append(
                    Rendition(
                        group=found.get("GROUP-ID", ""),
                        uri=found["URI"],
                        language=found.get("LANGUAGE", ""),
                    )
                )
        elif line and not line.startswith("#") and pending is not None:
            bandwidth = pending.get("BANDWIDTH", "0")
            number = int(bandwidth) if _NUMBER.fullmatch(bandwidth) else 0
            variants.append(Variant(uri=_uri(line), bandwidth=number, audio=pending.get("AUDIO", "")))
            pending = None
    if not variants:
        raise RemoteProtocolError("playlist", "a master playlist without variants")
    variants.sort(key=lambda variant: -variant.bandwidth)
    return MasterPlaylist(variants=tuple(variants), renditions=tuple(renditions))


class _MediaReader:
    """Collects one media playlist."""

    def __init__(self) -> None:
        self.target = 0.0
        self.number = 0
        self.segments: list[PulledSegment] = []
        self.ended = False
        self._duration = -1.0
        self._init: Piece | None = None
        self._discontinuity = False
        self._gap = False
        self._range = ""
        self._behind: dict[str, int] = {}

    def tag(self, line: str) -> None:
        """A line that begins with #EXT."""
        name, _, value = line.partition(":")
        if name == "#EXTINF":
            self._duration = _seconds(value.partition(",")[0])
        elif name == "#EXT-X-TARGETDURATION":
            self.target = _seconds(value)
        elif name == "#EXT-X-MEDIA-SEQUENCE":
            if _NUMBER.fullmatch(value) is None or self.segments:
                raise RemoteProtocolError("playlist", "EXT-X-MEDIA-SEQUENCE is not right")
            self.number = int(value)
        elif name == "#EXT-X-DISCONTINUITY":
            self._discontinuity = True
        elif name == "#EXT-X-GAP":
            self._gap = True
        elif name == "#EXT-X-BYTERANGE":
            self._range = value
        elif name == "#EXT-X-MAP":
            found = _attributes(line)
            self._init = self._piece(_uri(found.get("URI", "")), found.get("BYTERANGE", ""))
        elif name == "#EXT-X-KEY" and _attributes(line).get("METHOD") != "NONE":
            raise RemoteProtocolError("playlist", "segments are encrypted")
        elif name == "#EXT-X-ENDLIST":
            self.ended = True

    def uri(self, line: str) -> None:
        """A segment."""
        if self._duration < 0:
            raise RemoteProtocolError("playlist", "a segment without EXTINF")
        self.segments.append(
            PulledSegment(
                number=self.number,
                piece=self._piece(_uri(line), self._range),
                duration=self._duration,
                init=self._init,
                discontinuity=self._discontinuity,
                gap=self._gap,
            )
        )
        self.number += 1
        self._duration = -1.0
        self._discontinuity = self._gap = False
        self._range = ""

    def _piece(self, uri: str, text: str) -> Piece:
        if not text:
            return Piece(uri)
        match = _RANGE.fullmatch(text)
        if match is None or not int(match[1]):
            raise RemoteProtocolError("playlist", "a byte range that is not right")
        size = int(match[1])
        begin = int(match[2]) if match[2] else self._behind.get(uri, 0)
        self._behind[uri] = begin + size
        return Piece(uri, begin, size)


def _media(lines: list[str]) -> MediaPlaylist:
    reader = _MediaReader()
    for line in lines:
        if line.startswith("#EXT"):
            reader.tag(line)
        elif line and not line.startswith("#"):
            reader.uri(line)
    target = reader.target
    if not target:
        raise RemoteProtocolError("playlist", "no EXT-X-TARGETDURATION")
    return MediaPlaylist(target=target, segments=tuple(reader.segments), ended=reader.ended)


def _attributes(line: str) -> dict[str, str]:
    """An attribute list (section 4.2); what is malformed in it is passed over, up to the next comma.

    Each character is looked at once: a search from every place of a hostile line would take hours.
    """
    found: dict[str, str] = {}
    text = line.partition(":")[2]
    at = 0
    while at < len(text):
        match = _ATTRIBUTE.match(text, at)
        if match is not None:
            found[match[1]] = match[2].strip('"')
            at = match.end()
        else:
            comma = text.find(",", at)
            at = comma + 1 if comma >= 0 else len(text)
    return found


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_DURATION:
        raise RemoteProtocolError("playlist", "a duration that is not right")
    return value


def _uri(text: str) -> str:
    if not 0 < len(text) <= _MAX_URI:
        raise RemoteProtocolError("playlist", "a URI that is not right")
    return text
