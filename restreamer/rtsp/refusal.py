"""One refusal, one answer (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from restreamer.errors import REDIRECTED, Reason, Redirected, Refused, RemoteProtocolError
from restreamer.rtsp.message import Reply
from restreamer.rtsp.target import parse_target

#: Status of each class of refusal (RFC 2326 section 11).
STATUS_OF_REASON: Final[Mapping[Reason, int]] = {
    Reason.BAD_NAME: 400,
    Reason.NOT_FOUND: 404,
    Reason.DENIED: 403,
    Reason.BUSY: 503,
    Reason.NOT_READY: 503,
    Reason.OVERLOADED: 453,
    Reason.UNSUPPORTED: 415,
}


def refused(error: Refused, url: str) -> Reply:
    """The answer to a request for C{url} that was refused.

    What another node has is found there (RFC 2326 section 11.2), marked so that it is not redirected again;
    who asked over TLS is not sent out of it.
    """
    if isinstance(error, Redirected) and error.url.startswith(("rtsp://", "rtsps://")):
        return Reply(status=302, headers={"Location": error.url})
    if isinstance(error, Redirected) and error.rtsp:
        location = _location(error.rtsp, url)
        if location:
            return Reply(status=302, headers={"Location": location})
    return Reply(status=STATUS_OF_REASON[error.reason], headers={"X-Reason": error.text})


def stream_words(url: str) -> str:
    """C{" of NAME"} for the log: the stream C{url} is about, without its query; empty when that is none."""
    try:
        return f" of {parse_target(url).played.removesuffix('.sdp')}"
    except (RemoteProtocolError, Refused):
        return ""


def _location(place: str, url: str) -> str:
    """The same stream at C{place}; empty: nobody is sent there."""
    if url.lower().startswith("rtsps:"):
        return ""
    try:
        target = parse_target(url)
        name = target.played
    except (RemoteProtocolError, Refused):
        return ""
    query = f"{target.query}&{REDIRECTED}" if target.query else REDIRECTED
    return f"{place}/{quote(name)}?{query}"
