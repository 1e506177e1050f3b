"""What is told of a session: plain values, for API, journal, events and the reports to other nodes."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class SessionFacts:
    """One session of a viewer or a publisher, as it is at one moment. All times are UTC milliseconds.

    @ivar session_id: 32 hexadecimal digits, unique for ever; made by the node that serves the session.
    @ivar name: of the stream or file. @ivar kind: C{"play"}, C{"publish"}.
    @ivar proto: protocol word: C{hls}, C{llhls}, C{dash}, C{rtmp}, C{rtsp}, C{tshttp}, C{mp4}…
    @ivar ip: the viewer's address. @ivar country: ISO 3166-1 alpha-2, or empty.
    @ivar token_hash: 16 hexadecimal digits that stand for the token, or empty. The token itself is told to
        nobody but the backend.
    @ivar user_id: what the backend calls the user, or empty.
    @ivar user_agent, referer, query: as sent, cut; the query has no C{token}, C{password}, C{key} any more.
    @ivar opened_at: first request. @ivar started_at: first media byte; None: none yet.
    @ivar updated_at: last request or byte. @ivar closed_at: its end; None: it goes on.
    @ivar bytes: media bytes sent to (play) or taken from (publish) it so far.
    @ivar current_time: UTC milliseconds of the media it is given now; None: not known.
    @ivar ts_delay: milliseconds it is behind the newest frame; None: not known.
    @ivar past: it plays the archive. @ivar node_id: 32 hexadecimal digits of the node that serves it.
    @ivar closed_why: C{left}, C{idle}, C{denied}, C{kicked}, C{limit}, C{ended}, C{stopped}; empty: goes on.
    """

    session_id: str
    name: str
    proto: str
    ip: str
    opened_at: int
    updated_at: int
    kind: str = "play"
    country: str = ""
    token_hash: str = ""
    user_id: str = ""
    user_agent: str = ""
    referer: str = ""
    query: str = ""
    started_at: int | None = None
    closed_at: int | None = None
    bytes: int = 0
    current_time: int | None = None
    ts_delay: int | None = None
    past: bool = False
    node_id: str = ""
    closed_why: str = ""
