"""Who a request is from: the token it is known by, and which requests are of one session."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final
from urllib.parse import urlsplit

from restreamer.config.model import AuthConfig
from restreamer.seams import OpenRequest

#: Protocols whose viewers come back for each piece: their sessions end when nobody came for a while.
FILE_PROTOS: Final = frozenset({"hls", "llhls", "dash", "cmaf", "mp4"})
#: Protocols whose playlists list pieces, in the order in which the session of a piece is looked for.
LISTED_PROTOS: Final = ("hls", "dash", "llhls")
#: Not viewers: other nodes, which have proved the cluster key, and pages.
NO_VIEWERS: Final = frozenset({"m4f", "m4fs", "api"})
#: Names of fields of a query, or parts of them, whose values nobody is told.
SECRET_FIELDS: Final = re.compile(r"key|password|secret|token", re.IGNORECASE)
#: Characters of a query that are kept.
MAX_QUERY: Final = 512
#: Bytes of a token that is made here.
_MADE_SIZE: Final = 16

#: What makes two requests one session, with its protocol.
Key = tuple[str, ...]


def given_token(request: OpenRequest) -> str:
    """The token C{request} came with: C{?token=}, else C{X-Playback-Session-Id}, else none."""
    return request.token or request.playback_id


def made_token(secret: bytes, keys: Sequence[str], request: OpenRequest) -> str:
    """A token for a viewer that came without: the same for all its requests, and nobody else can make it.

    It is made of the values of C{keys} without protocol and token, so all protocols of a viewer agree.
    @param secret: of this node.
    """
    told = [request.name, request.peer]
    if "user_agent" in keys:
        told.append(request.user_agent)
    text = "\0".join(told).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=_MADE_SIZE, key=secret[:64], person=b"viewer token").hexdigest()


def token_hash(secret: bytes, token: str) -> str:
    """What is told of C{token}: 16 hexadecimal digits that mean it on this node; empty without one."""
    if not token:
        return ""
    text = token.encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=8, key=secret[:64], person=b"token told").hexdigest()


def identity(keys: Sequence[str], request: OpenRequest, token: str, proto: str) -> Key:
    """What requests of one session have in common, beside the name. @param proto: as whose it counts."""
    agent = request.user_agent if "user_agent" in keys else ""
    return proto, request.peer, token if "token" in keys else "", agent


def is_alone(auth: AuthConfig, request: OpenRequest) -> bool:
    """Whether each request is a session of its own: nothing but an address, which many may share, tells
    connections apart of which each is one viewer.
    """
    return (
        not auth.on_play
        and request.proto not in FILE_PROTOS
        and "token" in auth.session_keys
        and not given_token(request)
    )


def told_query(query: str, secret: frozenset[str] = frozenset()) -> str:
    """C{query} without secrets, cut to L{MAX_QUERY}. @param secret: fields that are secret, too."""
    if not query:
        return ""
    names = ((part, part.partition("=")[0]) for part in query.split("&"))
    kept = [part for part, name in names if not SECRET_FIELDS.search(name) and name not in secret]
    return "&".join(kept)[:MAX_QUERY]


def told_page(referer: str, secret: frozenset[str] = frozenset()) -> str:
    """The page C{referer}, its query as L{told_query}: that of a page with a player may have the token."""
    page, _, query = referer.partition("?")
    told = told_query(query, secret)
    return f"{page}?{told}" if told else page


def may_embed(domains: Sequence[str], referer: str) -> bool:
    """Whether a page at C{referer} may embed a player. Who sends no referer is not stopped by this.

    @param domains: hosts; C{*.} before one means it and all below it. Empty: all may.
    """
    if not domains or not referer:
        return True
    try:
        host = (urlsplit(referer).hostname or "").rstrip(".")
    except ValueError:
        return False
    for domain in domains:
        domain = domain.lower()
        if host == domain:
            return True
        if domain.startswith("*.") and (host == domain[2:] or host.endswith(domain[1:])):
            return True
    return False
