"""From an HTTP request to what the gate is asked, and which tracks the viewer chose: the same for every
protocol that plays over HTTP.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_plus

from restreamer.errors import Reason, Refused
from restreamer.http1.reply import HttpRequest
from restreamer.media.selection import TrackSelection
from restreamer.seams import OpenRequest

#: Characters of a header field that are kept.
MAX_FIELD: Final = 256
#: Characters of a token.
MAX_TOKEN: Final = 1024
#: In a query: the tracks a viewer wants.
FILTER_TRACKS: Final = "filter.tracks"


def query_value(query: str, name: str) -> str:
    """The first value of C{name} in a raw query string, decoded and cut to L{MAX_TOKEN}; empty without."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return unquote_plus(value[: 3 * MAX_TOKEN])[:MAX_TOKEN]
    return ""


def selection_of(request: HttpRequest) -> TrackSelection | None:
    """The tracks chosen by C{?filter.tracks=v1a2}; None without: all.

    @raise Refused: BAD_NAME (400) for a value that is not of this form.
    """
    text = query_value(request.query, FILTER_TRACKS) if request.query else ""
    if not text:
        return None
    selection = TrackSelection.parse(text)
    if selection is None:
        raise Refused(Reason.BAD_NAME, f"{FILTER_TRACKS} is v or a with a number, once or more: v1a2")
    return selection


def play_request(
    name: str, proto: str, request: HttpRequest, part: bool = False, span: tuple[int, int] | None = None
) -> OpenRequest:
    """What the gate is asked about C{request}.

    @param name: of the stream, checked; or of a file, as it stands in the URL: it may hold spaces and more.
    @param proto: the protocol's word. @param part: it is about a segment.
    @param span: UTC ticks of the archive that it is about; None: it is about live.
    """
    headers = request.headers
    query = request.query
    return OpenRequest(
        name=name,
        action="play",
        proto=proto,
        peer=request.peer,
        token=query_value(query, "token") if query else "",
        query=query,
        user_agent=headers.get("user-agent", "")[:MAX_FIELD],
        referer=headers.get("referer", "")[:MAX_FIELD],
        part=part,
        playback_id=headers.get("x-playback-session-id", "")[:MAX_FIELD],
        host=headers.get("host", "").partition(":")[0][:MAX_FIELD],
        span=span,
        account=request.account,
    )


def shown(wanted: OpenRequest, until: int) -> None:
    """Whoever C{wanted} is from is given media up to C{until}, UTC ticks."""
    account = wanted.account
    if account is not None and account.viewing is not None:
        account.viewing.show(until)


def shown_token(wanted: OpenRequest) -> str:
    """What playlists append to their URIs for whoever C{wanted} is from, once it passed the gate."""
    account = wanted.account
    if account is None or account.viewing is None:
        return wanted.token
    return account.viewing.token
