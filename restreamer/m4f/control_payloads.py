"""Payloads of the control records: catalogue, heartbeats, farewell."""

from __future__ import annotations

from collections.abc import Sequence

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.layout import row_struct
from restreamer.m4f.record_fields import (
    check_number,
    check_time,
    name_from_wire,
    name_to_wire,
    path_from_wire,
    path_to_wire,
    text_from_wire,
    text_to_wire,
)
from restreamer.m4f.record_layout import (
    CONTINUATION,
    ENDING,
    HEARTBEAT_HEAD,
    MAX_CONTROL,
    NODE_LOAD,
    NODE_LOAD_TAIL,
    POSITION_TAIL,
    STREAM_LISTED,
    STREAM_UNLISTED,
)
from restreamer.m4f.record_values import (
    CatalogueComplete,
    Goodbye,
    Heartbeat,
    NodeLoad,
    Position,
    StreamListed,
    StreamState,
    StreamUnlisted,
)

_BACKUP = 1
_HEARTBEAT = row_struct(HEARTBEAT_HEAD)
_TAIL = row_struct(POSITION_TAIL)
_CONTINUATION = row_struct(CONTINUATION)
_LOAD = row_struct(NODE_LOAD)
_LOAD_TAIL = row_struct(NODE_LOAD_TAIL)
_STATES = {int(state): state for state in StreamState}


def encode_listed(record: StreamListed) -> bytes:
    """Payload of L{StreamListed}."""
    return STREAM_LISTED.build(
        {
            "name": name_to_wire(record.name),
            "state": int(record.state),
            "flags": _BACKUP if record.backup else 0,
            "title": text_to_wire(record.title),
            "path": path_to_wire(record.path),
        }
    )


def decode_listed(payload: bytes) -> StreamListed:
    """Read what L{encode_listed} wrote."""
    fields = STREAM_LISTED.parse(payload)
    state = _STATES.get(fields.state)
    if state is None:
        raise RemoteProtocolError("M4F catalogue", f"stream state {fields.state}")
    return StreamListed(
        name_from_wire(fields.name),
        state,
        text_from_wire(fields.title),
        path_from_wire(fields.path),
        bool(fields.flags & _BACKUP),
    )


def encode_unlisted(record: StreamUnlisted) -> bytes:
    """Payload of L{StreamUnlisted}."""
    return STREAM_UNLISTED.build({"name": name_to_wire(record.name)})


def decode_unlisted(payload: bytes) -> StreamUnlisted:
    """Read what L{encode_unlisted} wrote."""
    return StreamUnlisted(name_from_wire(STREAM_UNLISTED.parse(payload).name))


def encode_complete(record: CatalogueComplete) -> bytes:
    """Payload of L{CatalogueComplete}."""
    return b""


def decode_complete(payload: bytes) -> CatalogueComplete:
    """Read what L{encode_complete} wrote."""
    return CatalogueComplete()


def _encode_position(position: Position) -> bytes:
    name = name_to_wire(position.name)
    tail = _TAIL.pack(
        position.run_id, position.number, position.frame_index, _BACKUP if position.backup else 0
    )
    size = 1 + len(name) + len(tail) + _CONTINUATION.size
    continuation = _CONTINUATION.pack(position.continuation)
    return b"".join([size.to_bytes(2, "big"), len(name).to_bytes(1, "big"), name, tail, continuation])


def encode_heartbeat(record: Heartbeat) -> bytes:
    """Payload of L{Heartbeat}; by hand, for it comes twice a second with every running stream."""
    head = _HEARTBEAT.pack(record.sent_at, len(record.positions))
    return b"".join([head, *[_encode_position(position) for position in record.positions]])


def decode_heartbeat(payload: bytes) -> Heartbeat:
    """Read what L{encode_heartbeat} wrote."""
    sent_at, count = _HEARTBEAT.unpack_from(payload)
    offset = _HEARTBEAT.size
    positions = []
    for _ in range(count):
        if offset + 3 > len(payload):
            raise RemoteProtocolError("M4F heartbeat", "cut short")
        end = offset + 2 + int.from_bytes(payload[offset : offset + 2], "big")
        tail = offset + 3 + payload[offset + 2]
        if end > len(payload) or tail + _TAIL.size > end:
            raise RemoteProtocolError("M4F heartbeat", "a position is cut short")
        run_id, number, frame_index, flags = _TAIL.unpack_from(payload, tail)
        continuation = 0
        if tail + _TAIL.size + _CONTINUATION.size <= end:
            (continuation,) = _CONTINUATION.unpack_from(payload, tail + _TAIL.size)
        positions.append(
            Position(
                name_from_wire(payload[offset + 3 : tail]),
                run_id,
                check_number(number),
                frame_index,
                flags & _BACKUP == _BACKUP,
                continuation,
            )
        )
        offset = end
    return Heartbeat(check_time(sent_at), tuple(positions))


def heartbeats(sent_at: int, positions: Sequence[Position]) -> list[Heartbeat]:
    """As many heartbeats as it takes to carry C{positions}, one when there are none.

    @raise LocalProtocolError: for a position that names no stream.
    """
    result: list[Heartbeat] = []
    some: list[Position] = []
    room = MAX_CONTROL - _HEARTBEAT.size
    for position in positions:
        size = 3 + len(name_to_wire(position.name)) + _TAIL.size + _CONTINUATION.size
        if size > room:
            result.append(Heartbeat(sent_at, tuple(some)))
            some = []
            room = MAX_CONTROL - _HEARTBEAT.size
        some.append(position)
        room -= size
    result.append(Heartbeat(sent_at, tuple(some)))
    return result


def encode_goodbye(record: Goodbye) -> bytes:
    """Payload of L{Goodbye}."""
    if not 0 <= record.code < 1 << 16:
        raise LocalProtocolError(f"code {record.code} does not fit 16 bits")
    return ENDING.build({"code": record.code, "text": text_to_wire(record.text)})


def decode_goodbye(payload: bytes) -> Goodbye:
    """Read what L{encode_goodbye} wrote."""
    fields = ENDING.parse(payload)
    return Goodbye(fields.code, text_from_wire(fields.text))


def encode_load(record: NodeLoad) -> bytes:
    """Payload of L{NodeLoad}; counts that do not fit are cut."""
    load = _LOAD.pack(
        min(record.clients, (1 << 32) - 1),
        min(record.streams, (1 << 32) - 1),
        record.bitrate_in,
        record.bitrate_out,
        record.rtmp_port,
    )
    return load + _LOAD_TAIL.pack(record.rtsp_port)


def decode_load(payload: bytes) -> NodeLoad:
    """Read what L{encode_load} wrote."""
    fields = _LOAD.unpack_from(payload)
    if len(payload) > _LOAD.size:
        fields += _LOAD_TAIL.unpack_from(payload, _LOAD.size)
    return NodeLoad(*fields)
