"""The headers of RTSP that have a grammar of their own (RFC 2326 section 12)."""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen
from typing_extensions import override

from restreamer.errors import RemoteProtocolError

#: Transports of one header that are looked at.
MAX_CHOICES: Final = 16

_PAIR: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_SESSION: Final = re.compile(r"([\x21-\x3a\x3c-\x7e]{1,128})(?:\s*;\s*timeout\s*=\s*([0-9]{1,6}))?.*")
# What is matched once is not given back (C{*+}): a list costs what its length does.
_PARAMETER: Final = re.compile(
    r'\s*+([A-Za-z0-9_-]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]*+))\s*+(?:,|$)'
)


@frozen(kw_only=True)
class Transport:
    """One choice of a Transport header (section 12.39).

    @ivar tcp: interleaved in the RTSP connection, else UDP. @ivar multicast: asked for a group.
    @ivar channels: of interleaved RTP and RTCP. @ivar client_ports, server_ports: of RTP and RTCP.
    @ivar record: C{mode=record}. @ivar destination: the parameter as sent, empty without.
    @ivar ssrc: as told, None without. @ivar source: the server's address for UDP.
    """

    tcp: bool
    multicast: bool = False
    channels: tuple[int, int] | None = None
    client_ports: tuple[int, int] | None = None
    server_ports: tuple[int, int] | None = None
    record: bool = False
    destination: str = ""
    ssrc: int | None = None
    source: str = ""

    @override
    def __str__(self) -> str:
        """As the header says it."""
        parts = ["RTP/AVP/TCP" if self.tcp else "RTP/AVP", "unicast"]
        for name, pair in (
            ("interleaved", self.channels),
            ("client_port", self.client_ports),
            ("server_port", self.server_ports),
        ):
            if pair is not None:
                parts.append(f"{name}={pair[0]}-{pair[1]}")
        if self.ssrc is not None:
            parts.append(f"ssrc={self.ssrc:08X}")
        if self.record:
            parts.append("mode=record")
        return ";".join(parts)


def parse_transports(text: str) -> list[Transport]:
    """The choices of a Transport header that are RTP, in order; those of other profiles are left out.

    @raise RemoteProtocolError: a parameter that is out of its range.
    """
    found = []
    for choice in text.split(",")[:MAX_CHOICES]:
        words = [word.strip() for word in choice.split(";")]
        profile = words[0].upper()
        if profile not in ("RTP/AVP", "RTP/AVP/UDP", "RTP/AVP/TCP"):
            continue
        values: dict[str, str] = {}
        for word in words[1:]:
            name, _, value = word.partition("=")
            values[name.strip().lower()] = value.strip().strip('"')
        ssrc = values.get("ssrc", "")
        found.append(
            Transport(
                tcp=profile.endswith("TCP"),
                multicast="multicast" in values,
                channels=_pair(values, "interleaved", 0, 255),
                client_ports=_pair(values, "client_port", 1, 65535),
                server_ports=_pair(values, "server_port", 1, 65535),
                record=values.get("mode", "").lower() in ("record", "receive"),
                destination=values.get("destination", ""),
                ssrc=int(ssrc, 16) if re.fullmatch("[0-9A-Fa-f]{1,8}", ssrc) else None,
                source=values.get("source", ""),
            )
        )
    return found


def _pair(values: dict[str, str], name: str, least: int, most: int) -> tuple[int, int] | None:
    text = values.get(name)
    if text is None:
        return None
    match = _PAIR.fullmatch(text)
    if match is None:
        raise RemoteProtocolError("Transport", f"{name} is no pair of numbers")
    first = int(match[1])
    second = int(match[2]) if match[2] else first + 1
    if not least <= first < second <= most:
        raise RemoteProtocolError("Transport", f"{name}={first}-{second}, expected {least} to {most}, rising")
    return first, second


def parse_session(text: str) -> tuple[str, int]:
    """The identifier and the timeout in seconds (0: not told) of a Session header (section 12.37)."""
    match = _SESSION.fullmatch(text.strip())
    return (match[1], int(match[2] or 0)) if match else ("", 0)


def parse_parameters(text: str) -> dict[str, str]:
    """C{name="value", name=value} of an authentication header, names in lower case (RFC 7235 section 2.1).

    What does not fit the grammar ends the list.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(text) and len(found) < 32:
        match = _PARAMETER.match(text, at)
        if match is None:
            break
        quoted = match[2]
        found[match[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match[3]
        at = match.end()
    return found


@frozen
class RtpInfo:
    """Where one stream of an aggregate begins (section 12.33). @ivar sequence, rtptime: None: not told."""

    url: str
    sequence: int | None
    rtptime: int | None


def parse_rtp_info(text: str) -> list[RtpInfo]:
    """The streams of an RTP-Info header; values out of range count as not told."""
    found = []
    for entry in text.split(",")[:64]:
        values: dict[str, str] = {}
        for word in entry.split(";"):
            name, _, value = word.strip().partition("=")
            values[name.strip().lower()] = value.strip().strip('"')
        if "url" in values:
            found.append(RtpInfo(values["url"], _number(values, "seq", 16), _number(values, "rtptime", 32)))
    return found


def _number(values: dict[str, str], name: str, bits: int) -> int | None:
    text = values.get(name, "")
    if not text.isascii() or not text.isdecimal() or len(text) > 10:
        return None
    value = int(text)
    return value if value < 1 << bits else None
