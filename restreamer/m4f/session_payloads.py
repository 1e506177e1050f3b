"""Payloads of the records about viewers: reports, progress, claims, orders."""

from __future__ import annotations

from construct import (
    Bytes,
    GreedyBytes,
    Int8ub,
    Int16ub,
    Int32sb,
    Int32ub,
    Int64sb,
    Int64ub,
    Prefixed,
    Struct,
)

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.layout import row_struct
from restreamer.m4f.record_fields import name_from_wire, name_to_wire, text_from_wire, text_to_wire
from restreamer.m4f.record_layout import MAX_CONTROL, NAME, TEXT
from restreamer.m4f.session_values import (
    Order,
    Progress,
    SessionClaim,
    SessionClaimed,
    SessionOrder,
    SessionProgress,
    SessionReport,
    SessionsTaken,
)
from restreamer.viewer_facts import SessionFacts

_WHERE = "M4F session"
_ID_SIZE = 16
#: Time and delay that are not known.
_NO_TIME = -1
_NO_LIMIT = (1 << 32) - 1
#: Last millisecond of the year 9999, UTC.
_MAX_TIME = 253_402_300_799_999
_MAX_BYTES = 1 << 63
_FIRST, _LAST = 1, 2
_PUBLISH, _PAST = 1, 2
_WORD = Prefixed(Int8ub, GreedyBytes)

_REPORT_HEAD = Struct("sequence" / Int32ub, "flags" / Int8ub, "count" / Int16ub)
_SESSION = Struct(
    "session_id" / Bytes(_ID_SIZE),
    "node_id" / Bytes(_ID_SIZE),
    "name" / NAME,
    "flags" / Int8ub,
    "opened_at" / Int64sb,
    "updated_at" / Int64sb,
    "started_at" / Int64sb,
    "closed_at" / Int64sb,
    "bytes" / Int64ub,
    "current_time" / Int64sb,
    "ts_delay" / Int32sb,
    "proto" / _WORD,
    "ip" / _WORD,
    "country" / _WORD,
    "token_hash" / _WORD,
    "closed_why" / _WORD,
    "user_id" / TEXT,
    "user_agent" / TEXT,
    "referer" / TEXT,
)
_PROGRESS_HEAD = Struct("sequence" / Int32ub, "count" / Int16ub)
_PROGRESS = Struct(
    "session_id" / Bytes(_ID_SIZE),
    "updated_at" / Int64sb,
    "started_at" / Int64sb,
    "bytes" / Int64ub,
    "current_time" / Int64sb,
    "ts_delay" / Int32sb,
)
_TAKEN = Struct("sequence" / Int32ub)
_CLAIM = Struct(
    "request" / Int32ub,
    "name" / NAME,
    "session_id" / Bytes(_ID_SIZE),
    "flags" / Int8ub,
    "user_limit" / Int32ub,
    "stream_limit" / Int32ub,
    "user_id" / TEXT,
)
_CLAIMED = Struct("request" / Int32ub, "verdict" / Int8ub)
_ORDER = Struct("session_id" / Bytes(_ID_SIZE), "order" / Int8ub, "why" / _WORD)

_HEAD = row_struct(_REPORT_HEAD)
_PROGRESS_HEAD_ROW = row_struct(_PROGRESS_HEAD)
_PROGRESS_ROW = row_struct(_PROGRESS)
_ORDERS = {int(order): order for order in Order}
#: Most rows of one L{SessionProgress}.
MAX_PROGRESS = (MAX_CONTROL - _PROGRESS_HEAD_ROW.size) // _PROGRESS_ROW.size


def encode_session(session: SessionFacts) -> bytes:
    """One session of a report, with its size before it.

    @raise LocalProtocolError: for a name or id that none can have.
    """
    flags = (_PUBLISH if session.kind == "publish" else 0) | (_PAST if session.past else 0)
    data: bytes = _SESSION.build(
        {
            "session_id": _id_to_wire(session.session_id),
            "node_id": _id_to_wire(session.node_id),
            "name": name_to_wire(session.name),
            "flags": flags,
            "opened_at": session.opened_at,
            "updated_at": session.updated_at,
            "started_at": _time_to_wire(session.started_at),
            "closed_at": _time_to_wire(session.closed_at),
            "bytes": session.bytes,
            "current_time": _time_to_wire(session.current_time),
            "ts_delay": _delay_to_wire(session.ts_delay),
            "proto": _word_to_wire(session.proto),
            "ip": _word_to_wire(session.ip),
            "country": _word_to_wire(session.country),
            "token_hash": _word_to_wire(session.token_hash),
            "closed_why": _word_to_wire(session.closed_why),
            "user_id": text_to_wire(session.user_id),
            "user_agent": text_to_wire(session.user_agent),
            "referer": text_to_wire(session.referer),
        }
    )
    return len(data).to_bytes(2, "big") + data


def encode_report(record: SessionReport) -> list[bytes]:
    """Payload of L{SessionReport}, in pieces."""
    flags = (_FIRST if record.first else 0) | (_LAST if record.last else 0)
    rows = [encode_session(each) for each in record.sessions]
    return [_HEAD.pack(record.sequence, flags, len(rows)), *rows]


def decode_report(payload: bytes) -> SessionReport:
    """Read what L{encode_report} wrote."""
    sequence, flags, count = _HEAD.unpack_from(payload)
    at = _HEAD.size
    sessions = []
    for _ in range(count):
        end = at + 2 + int.from_bytes(payload[at : at + 2], "big")
        if at + 2 > len(payload) or end > len(payload):
            raise RemoteProtocolError(_WHERE, "a session is cut short")
        sessions.append(_decode_session(payload[at + 2 : end]))
        at = end
    return SessionReport(sequence, tuple(sessions), bool(flags & _FIRST), bool(flags & _LAST))


def _decode_session(data: bytes) -> SessionFacts:
    fields = _SESSION.parse(data)
    return SessionFacts(
        session_id=fields.session_id.hex(),
        node_id=fields.node_id.hex(),
        name=name_from_wire(fields.name),
        kind="publish" if fields.flags & _PUBLISH else "play",
        past=bool(fields.flags & _PAST),
        opened_at=_time(fields.opened_at),
        updated_at=_time(fields.updated_at),
        started_at=_time_from_wire(fields.started_at),
        closed_at=_time_from_wire(fields.closed_at),
        bytes=_size(fields.bytes),
        current_time=_time_from_wire(fields.current_time),
        ts_delay=_delay_from_wire(fields.ts_delay),
        proto=text_from_wire(fields.proto),
        ip=text_from_wire(fields.ip),
        country=text_from_wire(fields.country),
        token_hash=text_from_wire(fields.token_hash),
        closed_why=text_from_wire(fields.closed_why),
        user_id=text_from_wire(fields.user_id),
        user_agent=text_from_wire(fields.user_agent),
        referer=text_from_wire(fields.referer),
    )


def encode_progress(record: SessionProgress) -> list[bytes]:
    """Payload of L{SessionProgress}, in pieces."""
    return [
        _PROGRESS_HEAD_ROW.pack(record.sequence, len(record.rows)),
        *[
            _PROGRESS_ROW.pack(
                _id_to_wire(row.session_id),
                row.updated_at,
                _time_to_wire(row.started_at),
                row.bytes,
                _time_to_wire(row.current_time),
                _delay_to_wire(row.ts_delay),
            )
            for row in record.rows
        ],
    ]


def decode_progress(payload: bytes) -> SessionProgress:
    """Read what L{encode_progress} wrote."""
    sequence, count = _PROGRESS_HEAD_ROW.unpack_from(payload)
    begin = _PROGRESS_HEAD_ROW.size
    end = begin + count * _PROGRESS_ROW.size
    if end > len(payload):
        raise RemoteProtocolError(_WHERE, f"{count} rows do not fit the record")
    rows = tuple(
        Progress(
            session_id.hex(),
            _time(updated_at),
            _time_from_wire(started_at),
            _size(size),
            _time_from_wire(current_time),
            _delay_from_wire(ts_delay),
        )
        for session_id, updated_at, started_at, size, current_time, ts_delay in _PROGRESS_ROW.iter_unpack(
            payload[begin:end]
        )
    )
    return SessionProgress(sequence, rows)


def encode_taken(record: SessionsTaken) -> bytes:
    """Payload of L{SessionsTaken}."""
    return _TAKEN.build({"sequence": record.sequence})


def decode_taken(payload: bytes) -> SessionsTaken:
    """Read what L{encode_taken} wrote."""
    return SessionsTaken(_TAKEN.parse(payload).sequence)


def encode_claim(record: SessionClaim) -> bytes:
    """Payload of L{SessionClaim}."""
    return _CLAIM.build(
        {
            "request": record.request,
            "name": name_to_wire(record.name),
            "session_id": _id_to_wire(record.session_id),
            "flags": 1 if record.unique else 0,
            "user_limit": _NO_LIMIT if record.user_limit is None else record.user_limit,
            "stream_limit": _NO_LIMIT if record.stream_limit is None else record.stream_limit,
            "user_id": text_to_wire(record.user_id),
        }
    )


def decode_claim(payload: bytes) -> SessionClaim:
    """Read what L{encode_claim} wrote."""
    fields = _CLAIM.parse(payload)
    return SessionClaim(
        fields.request,
        name_from_wire(fields.name),
        fields.session_id.hex(),
        text_from_wire(fields.user_id),
        None if fields.user_limit == _NO_LIMIT else fields.user_limit,
        None if fields.stream_limit == _NO_LIMIT else fields.stream_limit,
        bool(fields.flags & 1),
    )


def encode_claimed(record: SessionClaimed) -> bytes:
    """Payload of L{SessionClaimed}."""
    return _CLAIMED.build({"request": record.request, "verdict": int(record.granted)})


def decode_claimed(payload: bytes) -> SessionClaimed:
    """Read what L{encode_claimed} wrote."""
    fields = _CLAIMED.parse(payload)
    return SessionClaimed(fields.request, bool(fields.verdict))


def encode_order(record: SessionOrder) -> bytes:
    """Payload of L{SessionOrder}."""
    return _ORDER.build(
        {
            "session_id": _id_to_wire(record.session_id),
            "order": int(record.order),
            "why": _word_to_wire(record.why),
        }
    )


def decode_order(payload: bytes) -> SessionOrder:
    """Read what L{encode_order} wrote."""
    fields = _ORDER.parse(payload)
    order = _ORDERS.get(fields.order)
    if order is None:
        raise RemoteProtocolError(_WHERE, f"order {fields.order}")
    return SessionOrder(fields.session_id.hex(), order, text_from_wire(fields.why))


def _id_to_wire(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != _ID_SIZE:
        raise LocalProtocolError(f"an id is {2 * _ID_SIZE} hexadecimal digits")
    return data


def _word_to_wire(text: str) -> bytes:
    return text_to_wire(text)[:255].decode("utf-8", "ignore").encode()


def _time_to_wire(milliseconds: int | None) -> int:
    return _NO_TIME if milliseconds is None else milliseconds


def _time_from_wire(milliseconds: int) -> int | None:
    return None if milliseconds == _NO_TIME else _time(milliseconds)


def _delay_to_wire(milliseconds: int | None) -> int:
    return _NO_TIME if milliseconds is None else max(0, min(milliseconds, (1 << 31) - 1))


def _delay_from_wire(milliseconds: int) -> int | None:
    return None if milliseconds < 0 else milliseconds


def _time(milliseconds: int) -> int:
    if not 0 <= milliseconds <= _MAX_TIME:
        raise RemoteProtocolError(_WHERE, f"time {milliseconds} is out of any calendar")
    return milliseconds


def _size(size: int) -> int:
    if size >= _MAX_BYTES:
        raise RemoteProtocolError(_WHERE, f"{size} bytes were not sent")
    return size
