"""The status replies of an RTMP server: their codes, and which one says which refusal (pure).

Codes are those of the ActionScript NetStream and NetConnection classes that encoders and players act on.
"""

from __future__ import annotations

from typing import Any

from restreamer.errors import Reason
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
