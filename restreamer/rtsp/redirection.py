"""Where a server's redirection leads a pull (RFC 2326 section 11.3; pure)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from attrs import evolve

from restreamer.config.secrecy import shown_url
from restreamer.sources.pull import PullTarget

#: Answers that say where the stream is. 303 is not for RTSP, and is sent all the same.
REDIRECTIONS: Final = frozenset({301, 302, 303, 307})
#: Redirections followed one after another.
MAX_REDIRECTIONS: Final = 3
_MAX_URL: Final = 2048
_URL: Final = re.compile(r"[\x21-\x7e]+")


def elsewhere(location: str, here: PullTarget) -> PullTarget | None:
    """The place that a C{Location} names; None where it may not be followed.

    It may not lead to other protocols, nor out of TLS. The login of C{here} goes to the same host and port
    and nowhere else.
    """
    if len(location) > _MAX_URL or _URL.fullmatch(location) is None:
        return None
    try:
        parts = urlsplit(location)
        port = parts.port
    except ValueError:
        return None
    tls = parts.scheme == "rtsps"
    if parts.scheme not in ("rtsp", "rtsps") or not parts.hostname or port == 0 or (here.tls and not tls):
        return None
    port = port or (322 if tls else 554)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user and not password and (parts.hostname, port) == (here.host.lower(), here.port):
        user, password = here.user, here.password
    return evolve(
        here,
        shown=shown_url(location),
        host=parts.hostname,
        port=port,
        tls=tls,
        path=parts.path,
        query=parts.query,
        user=user,
        password=password,
    )
