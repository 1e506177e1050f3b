"""RTSP inside HTTP: a GET that answers flow out of, a POST whose body brings requests in base64.

What Apple's QuickTime server introduced and clients still offer to get through proxies: both requests carry
the same C{x-sessioncookie}.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from attrs import field, frozen

from restreamer.rtsp.message import MAX_HEAD, RtspError

#: Tunnels that wait for their POST at most.
MAX_WAITING: Final = 1000
VERBS: Final = (b"GET ", b"POST ")
ANSWER: Final = (
    b"HTTP/1.0 200 OK\r\nServer: Restreamer\r\nConnection: close\r\nCache-Control: no-store\r\n"
    b"Pragma: no-cache\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n"
)
#: The answer to any other HTTP request.
NOT_HERE: Final = b"HTTP/1.0 501 Not Implemented\r\nServer: Restreamer\r\nConnection: close\r\n\r\n"
REFUSAL: Final = b"HTTP/1.0 400 Bad Request\r\nServer: Restreamer\r\nConnection: close\r\n\r\n"

_HEAD: Final = re.compile(rb"(GET|POST) [\x21-\x7e]+ HTTP/1\.[01]")
_COOKIE: Final = re.compile(
    rb"\r\nx-sessioncookie[ \t]*:[ \t]*([\x21-\x7e]{1,128})[ \t]*(?:\r\n|$)", re.IGNORECASE
)


@frozen
class TunnelHead:
    """The head of one half.

    @ivar posts: it brings requests. @ivar cookie: what both halves have in common."""

    posts: bool
    cookie: bytes = field(repr=False)


def may_open(data: bytes | bytearray) -> bool:
    """Whether C{data}, the first bytes of a connection, may become the head of a half."""
    return any(data[: len(verb)] == verb[: len(data)] for verb in VERBS)


def read_head(data: bytes | bytearray) -> tuple[TunnelHead | None, int] | None:
    """The head at the beginning of C{data} and where it ends; None: it has not ended yet.

    The head is None for an HTTP request that opens no tunnel.
    @raise RtspError: it is too long.
    """
    end = data.find(b"\r\n\r\n")
    if end > MAX_HEAD or (end < 0 and len(data) > MAX_HEAD):
        raise RtspError(400, f"head of more than {MAX_HEAD} bytes")
    if end < 0:
        return None
    head = bytes(data[:end])
    first = _HEAD.fullmatch(head.partition(b"\r\n")[0])
    cookie = _COOKIE.search(head)
    if first is None or cookie is None:
        return None, end + 4
    return TunnelHead(first[1] == b"POST", cookie[1]), end + 4


class Base64Stream:
    """Base64 in pieces of any length; a request may end with padding, and the next one begin behind it."""

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, data: bytes) -> bytes:
        """The bytes that are whole with C{data}.

        @raise RtspError: it is no base64.
        """
        text = self._rest + data.translate(None, b"\r\n \t")
        whole = len(text) & ~3
        self._rest = text[whole:]
        out = []
        for part in re.findall(rb"[^=]*=*", text[:whole]):
            try:
                out.append(base64.b64decode(part, validate=True))
            except (binascii.Error, ValueError):
                raise RtspError(400, "what came through the tunnel is no base64")
        return b"".join(out)
