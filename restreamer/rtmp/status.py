"""The status replies of an RTMP server: their codes, and which one says which refusal (pure).

Codes are those of the ActionScript NetStream and NetConnection classes that encoders and players act on.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from restreamer.errors import REDIRECTED, Reason, Redirected
from restreamer.rtmp.message import Command

PUBLISH_START = "NetStream.Publish.Start"
PUBLISH_BAD_NAME = "NetStream.Publish.BadName"
PUBLISH_DENIED = "NetStream.Publish.Denied"
PUBLISH_REJECTED = "NetStream.Publish.Rejected"
UNPUBLISH_SUCCESS = "NetStream.Unpublish.Success"
STREAM_FAILED = "NetStream.Failed"
PLAY_RESET = "NetStream.Play.Reset"
PLAY_START = "NetStream.Play.Start"
PLAY_STOP = "NetStream.Play.Stop"
PLAY_FAILED = "NetStream.Play.Failed"
PLAY_NOT_FOUND = "NetStream.Play.StreamNotFound"
PLAY_UNPUBLISHED = "NetStream.Play.UnpublishNotify"
PAUSE_NOTIFY = "NetStream.Pause.Notify"
UNPAUSE_NOTIFY = "NetStream.Unpause.Notify"
SEEK_NOTIFY = "NetStream.Seek.Notify"
CONNECT_SUCCESS = "NetConnection.Connect.Success"
CONNECT_REJECTED = "NetConnection.Connect.Rejected"
CONNECT_RECONNECT = "NetConnection.Connect.ReconnectRequest"
CALL_FAILED = "NetConnection.Call.Failed"

#: An application that is no part of the name: for names of one part.
_ENTRANCE = "static"


@frozen
class Redirect:
    """Where a stream can be played instead.

    There is no standard; this is the form that SRS and its clients use and others took over: a rejection with
    C{ex.code} 302, the tcUrl in C{ex.redirect}, the whole URL in C{ex.redirect2}. Who does not know it reads
    the URL in the description.
    @ivar base: C{rtmp://HOST:PORT}. @ivar name: the stream. @ivar query: as the client sent it.
    """

    base: str
    name: str
    query: str = field(default="", repr=False)

    @property
    def tc_url(self) -> str:
        """The URL to connect to."""
        return f"{self.base}/{self.name.rpartition('/')[0] or _ENTRANCE}"

    def on_status(self, stream_id: int, text: str) -> Command:
        """The command that says it."""
        key = self.name.rpartition("/")[2]
        query = f"{self.query}&{REDIRECTED}" if self.query else REDIRECTED
        more = {"code": 302, "redirect": self.tc_url, "redirect2": f"{self.tc_url}/{key}?{query}"}
        return on_status(stream_id, "error", CONNECT_REJECTED, f"{text}: {self.tc_url}/{key}", ex=more)


def redirect(error: Redirected, name: str, query: str) -> Redirect | None:
    """Where who asked for stream C{name} is sent; None: to nowhere that RTMP can say."""
    if not error.url:
        return Redirect(error.rtmp, name, query) if error.rtmp else None
    scheme, _, rest = error.url.partition("://")
    place, _, path = rest.partition("/")
    if scheme not in ("rtmp", "rtmps") or not path:
        return None
    path, _, query = path.partition("?")
    return Redirect(f"{scheme}://{place}", path, query)


_PUBLISH_REFUSALS = {
    Reason.BUSY: PUBLISH_BAD_NAME,
    Reason.BAD_NAME: PUBLISH_BAD_NAME,
    Reason.UNSUPPORTED: PUBLISH_REJECTED,
    Reason.OVERLOADED: CONNECT_REJECTED,
    Reason.NOT_READY: STREAM_FAILED,
}
_PLAY_REFUSALS = {
    Reason.NOT_FOUND: PLAY_NOT_FOUND,
    Reason.BAD_NAME: PLAY_NOT_FOUND,
    Reason.OVERLOADED: CONNECT_REJECTED,
}


def refusal_code(action: str, reason: Reason) -> str:
    """The code that tells C{reason} to somebody who asked to C{action} (publish or play)."""
    if action == "publish":
        return _PUBLISH_REFUSALS.get(reason, PUBLISH_DENIED)
    return _PLAY_REFUSALS.get(reason, PLAY_FAILED)


def info(level: str, code: str, description: str, **more: Any) -> dict[str, Any]:
    """An information object."""
    return {"level": level, "code": code, "description": description, **more}


def on_status(stream_id: int, level: str, code: str, description: str, **more: Any) -> Command:
    """An onStatus command for message stream C{stream_id} (section 7.2.2)."""
    return Command("onStatus", 0, None, (info(level, code, description, **more),), stream_id)
