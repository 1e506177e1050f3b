"""RTMP messages as values: one type per message (Adobe RTMP 1.0 sections 5.4, 6.2, 7.1).

L{decode} turns a L{RawMessage} into a value, L{encode} a value into chunks of its own. Audio and video bodies
stay as they came: L{restreamer.flv.tag} reads them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from struct import Struct
from typing import Any

from attrs import define, frozen

from restreamer.errors import RemoteProtocolError
from restreamer.flv import amf0
from restreamer.flv.amf0 import AmfLimitError
from restreamer.rtmp.chunk_reader import RawMessage
from restreamer.rtmp.chunk_writer import chunked

_U16 = Struct(">H")
_U32 = Struct(">I")


class Kind(enum.IntEnum):
    """Message type ids."""

    SET_CHUNK_SIZE = 1
    ABORT = 2
    ACKNOWLEDGEMENT = 3
    USER_CONTROL = 4
    WINDOW_ACK_SIZE = 5
    SET_PEER_BANDWIDTH = 6
    AUDIO = 8
    VIDEO = 9
    DATA_AMF3 = 15
    SHARED_OBJECT_AMF3 = 16
    COMMAND_AMF3 = 17
    DATA_AMF0 = 18
    SHARED_OBJECT_AMF0 = 19
    COMMAND_AMF0 = 20
    AGGREGATE = 22


class UserEvent(enum.IntEnum):
    """User control event types (section 7.1.7, and the ones librtmp knows)."""

    STREAM_BEGIN = 0
    STREAM_EOF = 1
    STREAM_DRY = 2
    SET_BUFFER_LENGTH = 3
    STREAM_IS_RECORDED = 4
    PING_REQUEST = 6
    PING_RESPONSE = 7
    SWF_VERIFICATION = 26
    BUFFER_EMPTY = 31
    BUFFER_READY = 32


@frozen
class SetChunkSize:
    """The sender's chunks are C{size} bytes from here on."""

    size: int


@frozen
class Abort:
    """The unfinished message of C{chunk_stream} is void."""

    chunk_stream: int


@frozen
class Acknowledgement:
    """C{sequence} bytes, modulo 2**32, have arrived."""

    sequence: int


@frozen
class WindowAckSize:
    """The sender wants an acknowledgement at least every C{size} bytes."""

    size: int


@frozen
class SetPeerBandwidth:
    """C{size} bytes may be unacknowledged; C{limit}: 0 hard, 1 soft, 2 dynamic."""

    size: int
    limit: int = 2


@frozen
class UserControl:
    """C{event} is a L{UserEvent} or an unknown number; C{value} a stream id or a time stamp, C{extra} the
    buffer length in milliseconds for SET_BUFFER_LENGTH.
    """

    event: int
    value: int = 0
    extra: int = 0


@define
class Audio:
    """An audio message: an FLV audio tag body at C{timestamp} milliseconds modulo 2**32."""

    stream_id: int
    timestamp: int
    payload: bytes


@define
class Video:
    """A video message: an FLV video tag body."""

    stream_id: int
    timestamp: int
    payload: bytes


@frozen
class Data:
    """A data message: a name and its values (C{@setDataFrame} is kept as the name it is)."""

    stream_id: int
    values: tuple[Any, ...]
    timestamp: int = 0


@frozen
class Command:
    """A remote call or its answer (section 7.2)."""

    name: str
    transaction: float
    properties: Any = None
    arguments: tuple[Any, ...] = ()
    stream_id: int = 0

    def argument(self, index: int) -> Any:
        """Argument C{index}, or None."""
        return self.arguments[index] if index < len(self.arguments) else None

    def text(self, index: int) -> str:
        """Argument C{index} if it is a string, else an empty one."""
        value = self.argument(index)
        return value if isinstance(value, str) else ""


@frozen
class Ignored:
    """A message nobody here reads: shared objects, unknown types, data over the limits."""

    kind: int
    why: str


Message = (
    SetChunkSize
    | Abort
    | Acknowledgement
    | WindowAckSize
    | SetPeerBandwidth
    | UserControl
    | Audio
    | Video
    | Data
    | Command
    | Ignored
)


def _word(raw: RawMessage) -> int:
    if len(raw.payload) < 4:
        raise RemoteProtocolError(Kind(raw.kind).name, f"{len(raw.payload)} bytes, expected 4")
    value: int = _U32.unpack_from(raw.payload)[0]
    return value


def _peer_bandwidth(raw: RawMessage) -> SetPeerBandwidth:
    return SetPeerBandwidth(_word(raw), raw.payload[4] if len(raw.payload) > 4 else 2)


def _user_control(raw: RawMessage) -> UserControl | Ignored:
    payload = raw.payload
    if len(payload) < 6:
        return Ignored(raw.kind, f"user control of {len(payload)} bytes")
    extra = _U32.unpack_from(payload, 6)[0] if len(payload) >= 10 else 0
    return UserControl(_U16.unpack_from(payload)[0], _U32.unpack_from(payload, 2)[0], extra)


def _values(raw: RawMessage, amf3: bool) -> list[Any]:
    # AMF3 messages are a zero byte, then AMF0 with the switch marker where AMF3 begins.
    skip = 1 if amf3 and raw.payload[:1] == b"\0" else 0
    return amf0.decode(raw.payload, skip)


def _command(raw: RawMessage) -> Command:
    values = _values(raw, raw.kind == Kind.COMMAND_AMF3)
    if len(values) < 2 or not isinstance(values[0], str) or not isinstance(values[1], int | float):
        raise RemoteProtocolError("command", "does not begin with a name and a number")
    properties = values[2] if len(values) > 2 else None
    return Command(values[0], float(values[1]), properties, tuple(values[3:]), raw.stream_id)


def _data(raw: RawMessage) -> Data | Ignored:
    try:
        values = _values(raw, raw.kind == Kind.DATA_AMF3)
    except AmfLimitError as error:
        return Ignored(raw.kind, error.what)
    return Data(raw.stream_id, tuple(values), raw.timestamp)


#: How onMetaData begins, bare and behind @setDataFrame, as AMF0 (AMF3 messages have a zero byte before it).
_METADATA_HEADS = (b"\x02\x00\x0d@setDataFrame", b"\x02\x00\x0aonMetaData")


def is_metadata(raw: RawMessage) -> bool:
    """Whether a data message is onMetaData, told from its first bytes."""
    start = 1 if raw.kind == Kind.DATA_AMF3 and raw.payload[:1] == b"\0" else 0
    return raw.payload.startswith(_METADATA_HEADS, start)


_DECODERS: dict[int, Callable[[RawMessage], Message]] = {
    Kind.SET_CHUNK_SIZE: lambda raw: SetChunkSize(_word(raw)),
    Kind.ABORT: lambda raw: Abort(_word(raw)),
    Kind.ACKNOWLEDGEMENT: lambda raw: Acknowledgement(_word(raw)),
    Kind.USER_CONTROL: _user_control,
    Kind.WINDOW_ACK_SIZE: lambda raw: WindowAckSize(_word(raw)),
    Kind.SET_PEER_BANDWIDTH: _peer_bandwidth,
    Kind.DATA_AMF3: _data,
    Kind.DATA_AMF0: _data,
    Kind.COMMAND_AMF3: _command,
    Kind.COMMAND_AMF0: _command,
}


def decode(raw: RawMessage, control_bytes: int) -> Message:
    """The value of C{raw} (not of an aggregate: see L{split_aggregate}).

    @param control_bytes: longest command or data message to look into.
    @raise RemoteProtocolError: when it cannot be read, or a command or control message is too long.
    """
    if raw.kind == Kind.VIDEO:
        return Video(raw.stream_id, raw.timestamp, raw.payload)
    if raw.kind == Kind.AUDIO:
        return Audio(raw.stream_id, raw.timestamp, raw.payload)
    decoder = _DECODERS.get(raw.kind)
    if decoder is None:
        return Ignored(raw.kind, "unknown message type")
    if len(raw.payload) > control_bytes:
        if decoder is _data:
            return Ignored(raw.kind, f"data message of {len(raw.payload)} bytes, limit {control_bytes}")
        raise RemoteProtocolError(
            "message", f"type {raw.kind} of {len(raw.payload)} bytes, limit {control_bytes}"
        )
    return decoder(raw)


def split_aggregate(raw: RawMessage) -> list[RawMessage]:
    """The messages of an aggregate (section 7.1.6): FLV tags, their times counted from the first one's.

    @raise RemoteProtocolError: when a length does not fit.
    """
    payload = raw.payload
    messages: list[RawMessage] = []
    pos = 0
    base: int | None = None
    while len(payload) - pos >= 11:
        size = int.from_bytes(payload[pos + 1 : pos + 4], "big")
        time = int.from_bytes(payload[pos + 4 : pos + 7], "big") | payload[pos + 7] << 24
        if base is None:
            base = time
        if len(payload) - pos - 11 < size:
            raise RemoteProtocolError("aggregate", f"{size} bytes announced, {len(payload) - pos - 11} there")
        timestamp = (raw.timestamp + time - base) & 0xFFFFFFFF
        messages.append(
            RawMessage(payload[pos] & 0x1F, raw.stream_id, timestamp, payload[pos + 11 : pos + 11 + size])
        )
        pos += 11 + size + 4
    return messages


def _encode_word(kind: int, value: int) -> RawMessage:
    return RawMessage(kind, 0, 0, _U32.pack(value))


def _encode_user(message: UserControl) -> RawMessage:
    payload = _U16.pack(message.event) + _U32.pack(message.value)
    if message.event == UserEvent.SET_BUFFER_LENGTH:
        payload += _U32.pack(message.extra)
    return RawMessage(Kind.USER_CONTROL, 0, 0, payload)


def _encode_command(message: Command) -> RawMessage:
    payload = amf0.encode(message.name, message.transaction, message.properties, *message.arguments)
    return RawMessage(Kind.COMMAND_AMF0, message.stream_id, 0, payload)


_ENCODERS: dict[type, Callable[[Any], RawMessage]] = {
    SetChunkSize: lambda m: _encode_word(Kind.SET_CHUNK_SIZE, m.size),
    Abort: lambda m: _encode_word(Kind.ABORT, m.chunk_stream),
    Acknowledgement: lambda m: _encode_word(Kind.ACKNOWLEDGEMENT, m.sequence),
    WindowAckSize: lambda m: _encode_word(Kind.WINDOW_ACK_SIZE, m.size),
    SetPeerBandwidth: lambda m: RawMessage(
        Kind.SET_PEER_BANDWIDTH, 0, 0, _U32.pack(m.size) + bytes((m.limit,))
    ),
    UserControl: _encode_user,
    Audio: lambda m: RawMessage(Kind.AUDIO, m.stream_id, m.timestamp, m.payload),
    Video: lambda m: RawMessage(Kind.VIDEO, m.stream_id, m.timestamp, m.payload),
    Data: lambda m: RawMessage(Kind.DATA_AMF0, m.stream_id, m.timestamp, amf0.encode(*m.values)),
    Command: _encode_command,
}

#: Chunk streams we send on: control on 2 as section 5.4 asks, audio and video apart.
CONTROL_CHUNKS = 2
COMMAND_CHUNKS = 3
AUDIO_CHUNKS = 4
DATA_CHUNKS = 5
VIDEO_CHUNKS = 6
_CHUNK_STREAMS: dict[int, int] = {
    Kind.AUDIO: AUDIO_CHUNKS,
    Kind.VIDEO: VIDEO_CHUNKS,
    Kind.DATA_AMF0: DATA_CHUNKS,
    Kind.COMMAND_AMF0: COMMAND_CHUNKS,
}


def encode_raw(message: Message) -> RawMessage:
    """C{message} as type, stream, time and body. Control messages go to stream 0 at time 0."""
    return _ENCODERS[type(message)](message)


def encode(message: Message, chunk_size: int) -> bytes:
    """C{message} as chunks of C{chunk_size}, self-contained (type 0 headers)."""
    raw = encode_raw(message)
    chunk_stream = _CHUNK_STREAMS.get(raw.kind, CONTROL_CHUNKS)
    return chunked(chunk_stream, raw.kind, raw.stream_id, raw.timestamp, raw.payload, chunk_size)
