"""The HTTP/1.1 Upgrade before a link (RFC 9110 section 7.8): the client's request and its answer.

A node may answer with a redirection to another node's C{/m4f} (L{Moved}); L{Place.moved_to} says where that
is, and refuses what a link must not follow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen
from typing_extensions import override

from restreamer.errors import LocalProtocolError, RemoteProtocolError

UPGRADE_TOKEN = "m4f"
UPGRADE_PATH = "/m4f"
#: Largest head of an answer, bytes.
MAX_HEAD = 8 * 1024

_WHERE = "M4F upgrade"
_HOST = re.compile(r"[A-Za-z0-9._~:\[\]%-]{1,300}")
_REDIRECTIONS = (b"301", b"302", b"307", b"308")
_LOCATION = re.compile(
    r"(?i:(?P<scheme>https?))://"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9._-]{1,253}))"
    r"(?::(?P<port>[0-9]{1,5}))?/m4f/?(?:[?#].*)?"
)
_PARTS = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?([^/?#]*)([^?#]*)", re.DOTALL)
#: What an answer means that a node gives.
_MEANINGS = {
    b"403": "instead of 101: it takes no links, most likely it has no cluster_key",
    b"429": "instead of 101: too many failed attempts from this address, most likely a wrong cluster_key",
}
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?")


class Moved(RemoteProtocolError):  # noqa: N818 - it is an answer
    """The answer is a redirection. @ivar location: where to, as the node wrote it."""

    def __init__(self, status: str, location: str) -> None:
        super().__init__(_WHERE, f"answered with status {status}: ask elsewhere")
        self.location = location


@frozen
class Place:
    """Where a node takes links.

    @ivar host: a name in lower case, or an IP address without brackets. @ivar tls: over HTTPS.
    """

    host: str
    port: int
    tls: bool = False

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{shown}:{self.port}"

    @override
    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    def moved_to(self, location: str) -> Place:
        """The place a redirection from here leads to.

        @param location: the Location field: C{http(s)://HOST[:PORT]/m4f}.
        @raise RemoteProtocolError: it is anything else, or leads from HTTPS to HTTP.
        """
        matched = _LOCATION.fullmatch(location)
        if matched is None:
            raise RemoteProtocolError(
                _WHERE, f"redirected to {_shown(location)[:200]!r}, which is no node's {UPGRADE_PATH}"
            )
        tls = matched["scheme"].lower() == "https"
        port = int(matched["port"]) if matched["port"] else 443 if tls else 80
        there = Place((matched["v6"] or matched["host"]).lower(), port, tls)
        if not 0 < port < 1 << 16:
            raise RemoteProtocolError(_WHERE, f"redirected to port {port}")
        if self.tls and not tls:
            raise RemoteProtocolError(_WHERE, f"redirected from HTTPS to {there}: not followed")
        return there


def _shown(location: str) -> str:
    """A Location for logs: without user, password and query."""
    matched = _PARTS.match(location)
    assert matched is not None
    before, authority, path = matched[1] or "", matched[2], matched[3]
    if "@" in path:
        # A password with a slash in it, most likely.
        return f"{before}…"
    return f"{before}{authority.rpartition('@')[2]}{path}"


def upgrade_request(host: str) -> bytes:
    """The request that asks a node for a link.

    @param host: value of the Host header: a name or address, with the port when it is not the scheme's own.
    @raise ValueError: when C{host} cannot stand in a header.
    """
    if _HOST.fullmatch(host) is None:
        raise ValueError("not a host")
    return (
        f"GET {UPGRADE_PATH} HTTP/1.1\r\n"
        f"Host: {host}\r\n"
        f"Upgrade: {UPGRADE_TOKEN}\r\n"
        "Connection: Upgrade\r\n"
        "\r\n"
    ).encode("ascii")


def is_upgrade(headers: Mapping[str, str]) -> bool:
    """Whether a request asks for a link.

    @param headers: lower-case names to values.
    """
    return _has_token(headers.get("connection", ""), "upgrade") and _has_token(
        headers.get("upgrade", ""), UPGRADE_TOKEN
    )


def _has_token(value: str, token: str) -> bool:
    return any(item.strip().lower() == token for item in value.split(","))


class UpgradeResponse:
    """Reads the answer to L{upgrade_request}, for any fragmentation.

    @ivar done: the peer switched to M4F. @ivar leftover: what came behind the head: the link's first bytes.
    """

    def __init__(self) -> None:
        self.done = False
        self.leftover = b""
        self._buffer = bytearray()

    def receive(self, data: bytes) -> bool:
        """Take bytes until the answer is whole.

        @return: whether it is; from then on L{leftover} and all later bytes are the link's.
        @raise Moved: when the peer says to ask elsewhere.
        @raise RemoteProtocolError: when the peer does not switch to M4F, or its head is too long or no HTTP.
        @raise LocalProtocolError: when the answer was whole before.
        """
        if self.done:
            raise LocalProtocolError("bytes behind the answer belong to the link")
        buffer = self._buffer
        searched = max(0, len(buffer) - 3)
        buffer += data
        end = buffer.find(b"\r\n\r\n", searched)
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            raise RemoteProtocolError(_WHERE, f"answer head longer than {MAX_HEAD} bytes")
        if end < 0:
            if b"HTTP/1."[: len(buffer)] != bytes(buffer[:7]):
                raise RemoteProtocolError(_WHERE, "the answer is not HTTP/1")
            return False
        _check_head(bytes(buffer[:end]))
        self.leftover = bytes(buffer[end + 4 :])
        buffer.clear()
        self.done = True
        return True


def _check_head(head: bytes) -> None:
    status_line, *lines = head.split(b"\r\n")
    matched = _STATUS.fullmatch(status_line)
    if matched is None:
        raise RemoteProtocolError(_WHERE, "the answer is not HTTP/1")
    if matched[1] in _REDIRECTIONS:
        location = _field(lines, b"location")
        if location:
            raise Moved(matched[1].decode(), location)
    if matched[1] != b"101":
        meaning = _MEANINGS.get(matched[1], "instead of 101")
        raise RemoteProtocolError(_WHERE, f"answered with status {matched[1].decode()} {meaning}")
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise RemoteProtocolError(_WHERE, "a header line has no colon")
        if name.lower() == b"upgrade" and _has_token(value.decode("latin-1"), UPGRADE_TOKEN):
            return
    raise RemoteProtocolError(_WHERE, "the answer switches to another protocol")


def _field(lines: list[bytes], wanted: bytes) -> str:
    """The first value of a header field; empty without one."""
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == wanted:
            return value.strip().decode("latin-1")
    return ""
