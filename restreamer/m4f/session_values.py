"""What two linked nodes tell each other of viewers, as values (docs/m4f.md, section 5.5)."""

from __future__ import annotations

import enum

from attrs import field, frozen

from restreamer.viewer_facts import SessionFacts


@frozen
class SessionReport:
    """Control, from the follower: sessions as they are now. What it says counts instead of what was said
    before of the same session, so that it may be said twice.

    @ivar sequence: rises with each report and progress of a link; the answer repeats it.
    @ivar first, @ivar last: of a list of all sessions; in between everything else may come.
    @ivar sessions: with names as the receiver calls the streams.
    """

    sequence: int
    sessions: tuple[SessionFacts, ...] = field(repr=False)
    first: bool = False
    last: bool = False


@frozen
class Progress:
    """How far a session is that was reported before: fields as in L{SessionFacts}."""

    session_id: str
    updated_at: int
    started_at: int | None
    bytes: int
    current_time: int | None = None
    ts_delay: int | None = None


@frozen
class SessionProgress:
    """Control, from the follower: how far sessions are that were reported before."""

    sequence: int
    rows: tuple[Progress, ...] = field(repr=False)


@frozen
class SessionsTaken:
    """Control: the answer to L{SessionReport} and L{SessionProgress}."""

    sequence: int


@frozen
class SessionClaim:
    """Control, from the follower: may this session be, with all others of its user and stream in the cluster?

    @ivar request: drawn by the asker; the answer repeats it. @ivar name: as the receiver calls the stream.
    @ivar user_limit, @ivar stream_limit: sessions at once; None: no limit.
    @ivar unique: all others of the user are to end.
    """

    request: int
    name: str
    session_id: str
    user_id: str = ""
    user_limit: int | None = None
    stream_limit: int | None = None
    unique: bool = False


@frozen
class SessionClaimed:
    """Control: the answer to L{SessionClaim}. @ivar granted: it may."""

    request: int
    granted: bool


class Order(enum.IntEnum):
    """What a node can be told to do with a session of its own; the value is its number on the wire."""

    END = 1
    ASK_AGAIN = 2


@frozen
class SessionOrder:
    """Control, from the node above: do C{order} with a session.

    @ivar why: one word of L{SessionFacts.closed_why}.
    """

    session_id: str
    order: Order
    why: str = ""
