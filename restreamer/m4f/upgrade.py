"""The HTTP/1.1 Upgrade before a link (RFC 9110 section 7.8): the client's request and its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from restreamer.errors import LocalProtocolError, RemoteProtocolError

UPGRADE_TOKEN = "m4f"
UPGRADE_PATH = "/m4f"
#: Largest head of an answer, bytes.
MAX_HEAD = 8 * 1024

_WHERE = "M4F upgrade"
_HOST = re.compile(r"[A-Za-z0-9._~:\[\]%-]{1,300}")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?")


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
    if matched[1] != b"101":
        raise RemoteProtocolError(_WHERE, f"answered with status {matched[1].decode()} instead of 101")
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise RemoteProtocolError(_WHERE, "a header line has no colon")
        if name.lower() == b"upgrade" and _has_token(value.decode("latin-1"), UPGRADE_TOKEN):
            return
    raise RemoteProtocolError(_WHERE, "the answer switches to another protocol")
