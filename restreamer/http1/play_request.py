"""From an HTTP request to what the gate is asked: the same for every protocol that plays over HTTP."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_plus

from restreamer.http1.reply import HttpRequest
from restreamer.seams import OpenRequest

#: Characters of a header field that are kept.
MAX_FIELD: Final = 256
#: Characters of a token.
MAX_TOKEN: Final = 1024


def query_value(query: str, name: str) -> str:
    """The first value of C{name} in a raw query string, decoded and cut to L{MAX_TOKEN}; empty without."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return unquote_plus(value[: 3 * MAX_TOKEN])[:MAX_TOKEN]
    return ""


def play_request(name: str, proto: str, request: HttpRequest, part: bool = False) -> OpenRequest:
    """What the gate is asked about C{request}.

    @param name: of the stream, checked; or of a file, as it stands in the URL: it may hold spaces and more.
    @param proto: the protocol's word. @param part: it is about a segment.
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
    )
