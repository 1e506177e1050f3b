"""Session descriptions as RTSP carries them (RFC 8866): read with bounds, written plainly."""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from restreamer.errors import RemoteProtocolError

MAX_SIZE: Final = 131_072
MAX_LINE: Final = 16_384
#: Media sections of one description.
MAX_MEDIA: Final = 32
#: Attributes of one section that are kept.
MAX_ATTRIBUTES: Final = 64

_MEDIA: Final = re.compile(r"([a-z]+) ([0-9]{1,5})(?:/[0-9]+)? ([A-Za-z/]+)((?: [^ ]+)+)")
_RTPMAP: Final = re.compile(r"([0-9]{1,3})\s+([A-Za-z0-9_.+-]{1,64})/([0-9]{1,9})(?:/([0-9]{1,3}))?\s*")

#: Static payload types we know (RFC 3551 section 6).
_STATIC: Final = {0: ("PCMU", 8000, 1), 8: ("PCMA", 8000, 1), 14: ("MPA", 90_000, 0)}


@frozen(kw_only=True)
class MediaFormat:
    """What a payload type of a media section means.

    @ivar encoding: name in lower case; @ivar clock: Hz, above 0; @ivar channels: 0 when not told.
    @ivar parameters: of C{a=fmtp}, names in lower case.
    """

    payload_type: int
    encoding: str
    clock: int
    channels: int = 0
    parameters: dict[str, str] = field(factory=dict, repr=False)


@frozen(kw_only=True)
class Media:
    """A media section.

    @ivar kind: C{video}, C{audio} or another word. @ivar control: C{a=control} as written.
    @ivar format: of its first payload type; None when that is not known. @ivar language: C{a=lang}.
    """

    kind: str
    control: str = ""
    format: MediaFormat | None = None
    language: str = ""


@frozen(kw_only=True)
class Description:
    """A session. @ivar control: of the session level."""

    control: str
    media: tuple[Media, ...]


def parse_sdp(body: bytes) -> Description:
    """Read a description.

    @raise RemoteProtocolError: too large, no media section or more than L{MAX_MEDIA}, or a clock of 0 Hz.
    """
    if len(body) > MAX_SIZE:
        raise RemoteProtocolError("SDP", f"{len(body)} bytes, at most {MAX_SIZE}")
    session: list[tuple[str, str]] = []
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    for raw in body.split(b"\n"):
        line = raw.rstrip(b"\r").decode("utf-8", "replace")
        if len(line) > MAX_LINE:
            raise RemoteProtocolError("SDP", f"line of {len(line)} characters, at most {MAX_LINE}")
        if line.startswith("m="):
            if len(sections) >= MAX_MEDIA:
                raise RemoteProtocolError("SDP", f"more than {MAX_MEDIA} media sections")
            sections.append((line[2:], []))
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            into = sections[-1][1] if sections else session
            if len(into) < MAX_ATTRIBUTES:
                into.append((name.strip().lower(), value.strip()))
    if not sections:
        raise RemoteProtocolError("SDP", "no media section")
    control = next((value for name, value in session if name == "control"), "")
    return Description(
        control=control, media=tuple(_media(line, attributes) for line, attributes in sections)
    )


def _media(line: str, attributes: list[tuple[str, str]]) -> Media:
    match = _MEDIA.fullmatch(line.strip())
    if match is None:
        raise RemoteProtocolError("SDP", "a media line that is none")
    told = dict(reversed(attributes))
    control, language = told.get("control", ""), told.get("lang", "")
    first = match[4].split()[0]
    numbered = len(first) <= 3 and first.isdecimal() and int(first) <= 127
    if not match[3].upper().startswith("RTP/") or not numbered:
        return Media(kind=match[1], control=control, language=language)
    return Media(kind=match[1], control=control, format=_format(int(first), attributes), language=language)


def _format(payload_type: int, attributes: list[tuple[str, str]]) -> MediaFormat | None:
    encoding, clock, channels = _STATIC.get(payload_type, ("", 0, 0))
    parameters: dict[str, str] = {}
    for name, value in attributes:
        if name == "rtpmap":
            match = _RTPMAP.fullmatch(value)
            if match is None or int(match[1]) != payload_type:
                continue
            encoding, clock, channels = match[2], int(match[3]), int(match[4] or 0)
            if not 0 < clock <= 1_000_000:
                raise RemoteProtocolError("SDP", f"a clock of {clock} Hz")
        elif name == "fmtp":
            number, _, rest = value.partition(" ")
            if number != str(payload_type):
                continue
            for word in rest.split(";")[:MAX_ATTRIBUTES]:
                key, _, told = word.strip().partition("=")
                if key:
                    parameters[key.strip().lower()] = told.strip()
    if not encoding:
        return None
    return MediaFormat(
        payload_type=payload_type,
        encoding=encoding.lower(),
        clock=clock,
        channels=channels,
        parameters=parameters,
    )
