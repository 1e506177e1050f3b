"""The errors that cross a layer; each carries its facts as fields, the text is composed in one place."""

from __future__ import annotations

import enum


class RestreamerError(Exception):
    """Base of every error this program raises on purpose."""


class RemoteProtocolError(RestreamerError):
    """A peer sent bytes that break its protocol: close that connection, nothing else.

    Every sans-IO decoder raises this type and no other for any input whatever; another type
    leaving a decoder is our bug.

    @ivar what: what is wrong, with the offending value and the limit where there is one.
    @ivar where: the protocol's own name of the place (``"chunk header"``, ``"AMF0 object"``).
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


class LocalProtocolError(RestreamerError):
    """We asked a protocol machine for something its state does not allow: a bug of ours."""


class MediaError(RestreamerError):
    """Codec data or a media file that cannot be understood (a bad SPS, a truncated box)."""


class Reason(enum.Enum):
    """Why a play or publish was refused, in terms every protocol can map to its own status."""

    BAD_NAME = "bad name"
    NOT_FOUND = "not found"
    DENIED = "denied"
    BUSY = "busy"
    NOT_READY = "not ready"
    OVERLOADED = "overloaded"
    UNSUPPORTED = "unsupported"


class Refused(RestreamerError):  # noqa: N818 - it is an answer
    """A play or publish that is not granted.

    @ivar reason: the class of the refusal.
    @ivar text: one plain sentence, safe to show to the peer (no secrets, no addresses).
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


#: A query that carries this was redirected here by another node: it is not redirected again.
REDIRECTED = "redirected=1"


class Redirected(Refused):
    """Another node has what was asked for; each protocol says so in its own words.

    @ivar http: scheme, host and port of its HTTP side, with no C{/} at the end.
    @ivar rtmp, rtsp: the same of its RTMP and RTSP sides; empty when viewers do not find that there.
    @ivar url: the whole address where the viewer is to go, and the other fields say nothing; empty: they do.
        May be secret.
    """

    def __init__(self, http: str = "", rtmp: str = "", rtsp: str = "", url: str = "") -> None:
        if url:
            super().__init__(Reason.DENIED, "this viewer is sent elsewhere")
        else:
            super().__init__(Reason.NOT_FOUND, "another node has this stream")
        self.http = http
        self.rtmp = rtmp
        self.rtsp = rtsp
        self.url = url


class NotHere(Refused):
    """This process has not got what was asked for, or not now; another one of the same node may have it.

    Over HTTP the request goes on to that one; other protocols take it for the refusal that it is.
    """


class ConfigError(RestreamerError):
    """A configuration file that cannot be used.

    @ivar path: the file; @ivar line, @ivar column: 1-based place of the offending text.
    @ivar found: the offending text; @ivar expected: what would have been right.
    """

    def __init__(self, path: str, line: int, column: int, found: str, expected: str) -> None:
        super().__init__(f"{path}:{line}:{column}: found {found!r}, expected {expected}")
        self.path = path
        self.line = line
        self.column = column
        self.found = found
        self.expected = expected
