"""The rows of the journal, as values and as lines of the spool."""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, fields, frozen

from restreamer.viewer_facts import SessionFacts

#: Characters of a text that are kept.
MAX_TEXT = 1024


@frozen(kw_only=True)
class SessionRow:
    """A closed session, as L{SessionFacts}; times are UTC milliseconds."""

    session_id: str
    node_id: str
    name: str
    kind: str
    proto: str
    ip: str
    country: str
    token_hash: str
    user_id: str
    user_agent: str
    referer: str
    opened_at: int
    started_at: int | None
    closed_at: int
    bytes: int
    past: bool
    closed_why: str

    @classmethod
    def of(cls, facts: SessionFacts) -> SessionRow:
        """The row of a session that is over."""
        closed_at = facts.closed_at if facts.closed_at is not None else facts.updated_at
        return cls(
            session_id=facts.session_id,
            node_id=facts.node_id,
            name=_text(facts.name),
            kind=facts.kind,
            proto=_text(facts.proto),
            ip=_text(facts.ip),
            country=_text(facts.country),
            token_hash=_text(facts.token_hash),
            user_id=_text(facts.user_id),
            user_agent=_text(facts.user_agent),
            referer=_text(facts.referer),
            opened_at=facts.opened_at,
            started_at=facts.started_at,
            closed_at=closed_at,
            bytes=facts.bytes,
            past=facts.past,
            closed_why=_text(facts.closed_why),
        )


@frozen(kw_only=True)
class TrafficRow:
    """What a stream sent by one protocol in one minute.

    @ivar minute: UTC milliseconds of its begin. @ivar epoch: UTC milliseconds at which the node started: a
        minute in which it was started again has two rows. @ivar opened: sessions that began in it.
    @ivar viewers: sessions at its end.
    """

    minute: int
    node_id: str
    epoch: int
    name: str
    proto: str
    bytes: int
    opened: int
    viewers: int


Row = SessionRow | TrafficRow
_KINDS: dict[str, type[Any]] = {"session": SessionRow, "traffic": TrafficRow}
_WORDS = {cls: word for word, cls in _KINDS.items()}


def to_line(row: Row) -> bytes:
    """A line of the spool, with its end."""
    return json.dumps({"row": _WORDS[type(row)], **asdict(row)}, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Row:
    """What L{to_line} wrote.

    @raise ValueError: it is none.
    """
    try:
        told = json.loads(line)
        cls = _KINDS[told.pop("row")]
        row: Row = cls(**{each.name: told[each.name] for each in fields(cls)})
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a row of the journal: {error!r}") from error
    return row


def _text(text: str) -> str:
    # PostgreSQL takes no NUL, and nobody takes half of a surrogate pair.
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:MAX_TEXT]
