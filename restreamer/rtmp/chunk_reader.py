"""RTMP chunks to whole messages (Adobe RTMP 1.0 section 5.3).

The reader works straight on the bytes a read delivered. Between reads it keeps only an incomplete header (at
most 18 bytes) and, per chunk stream, the parts of an unfinished message; the parts are joined once, when the
message is whole. Continuation chunks of one message that lie in a row are cut out in one slice: the run is
copied and its header bytes, which stand at a fixed stride, are deleted together. So a stream at chunk
size 128 costs little more than one at 65536.

Timestamps follow what real senders do:
  - the extended field may or may not be repeated on type 3 chunks: four bytes equal to the last extended
    value are taken for it, anything else for payload;
  - a type 3 chunk that begins a message adds the last delta, which after a type 0 chunk is that chunk's
    timestamp (section 5.3.1.2.4);
  - chunk stream 2 may begin with type 1: librtmp answers pings so.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from restreamer.errors import RemoteProtocolError
from restreamer.rtmp.limits import WireLimits

DEFAULT_CHUNK_SIZE = 128
SET_CHUNK_SIZE = 1
ABORT = 2

_U32 = Struct(">I")
_U32_LE = Struct("<I")
_word = _U32.unpack_from
_EXTENDED = 0xFFFFFF
_MASK = 0xFFFFFFFF
#: Bytes of the message header by chunk type (section 5.3.1.2).
_HEADER_BYTES = (11, 7, 3, 0)
#: Pieces shorter than this are gathered in one buffer, so that dribbled bytes cost no object each.
_SMALL = 512
#: What a chunk header costs, and a message again, in bytes of payload that cost as much: a read whose cost is
#: far more than its length was made to keep us busy. Silent audio, the leanest honest media, pays 16 for 16.
_PIECE_WORK = 8


class RawMessage(NamedTuple):
    """A whole message, not yet understood.

    C{kind} is the message type id, C{timestamp} milliseconds modulo 2**32.
    """

    kind: int
    stream_id: int
    timestamp: int
    payload: bytes


class _ChunkStream:
    """What one chunk stream remembers.

    C{left} is what the message in progress still lacks (0: none in progress), C{extended} the extended
    timestamp of its last header or -1, C{head} its one-byte type 3 header or -1 when that needs more bytes.
    """

    __slots__ = ("delta", "extended", "head", "kind", "left", "length", "parts", "stream_id", "timestamp")

    def __init__(self, chunk_stream_id: int) -> None:
        self.head = 0xC0 | chunk_stream_id if chunk_stream_id < 64 else -1
        self.timestamp = 0
        self.delta = 0
        self.extended = -1
        self.length = 0
        self.kind = 0
        self.stream_id = 0
        self.left = 0
        self.parts: list[bytes | bytearray] = []


class ChunkReader:
    """Bytes in, L{RawMessage}s out. Set Chunk Size and Abort are obeyed here and passed on as well.

    @ivar partial_cap: bytes the unfinished messages may hold together; the owner may change it.
    """

    __slots__ = (
        "_carry", "_chunk_left", "_current", "_limits", "_message_cap", "_partial", "_spare_work",
        "_streams", "chunk_size", "partial_cap",
    )  # fmt: skip

    def __init__(self, limits: WireLimits) -> None:
        self._limits = limits
        self._message_cap = limits.message_bytes
        self._spare_work = limits.spare_work
        self.partial_cap = limits.partial_bytes
        self._streams: dict[int, _ChunkStream] = {}
        self._carry = b""
        self._current: _ChunkStream | None = None
        self._chunk_left = 0
        self._partial = 0
        self.chunk_size = DEFAULT_CHUNK_SIZE

    @property
    def partial_bytes(self) -> int:
        """Bytes held of unfinished messages."""
        return self._partial

    def receive(self, data: bytes) -> list[RawMessage]:
        """Parse C{data}.

        @raise RemoteProtocolError: on a header that breaks the protocol or a limit. The messages that
            were whole before it in the same call are lost: the connection ends.
        """
        if self._carry:
            data = self._carry + data
            self._carry = b""
        messages: list[RawMessage] = []
        pos = 0
        end = len(data)
        current = self._current
        work = end + self._spare_work
        while True:
            if current is None:
                if pos == end:
                    break
                work -= _PIECE_WORK
                if work < 0:
                    raise RemoteProtocolError("chunk", f"too many chunks in {end} bytes")
                pos, current = self._header(data, pos, end)
                if current is None:
                    self._carry = data[pos:]
                    break
            want = self._chunk_left
            have = end - pos
            if have < want:
                if have:
                    self._add(current, data[pos:])
                    self._chunk_left = want - have
                break
            if want == current.left and not current.parts:
                # The whole message is here in one chunk: the usual case at large chunk sizes.
                message = RawMessage(
                    current.kind, current.stream_id, current.timestamp, data[pos : pos + want]
                )
                current.left = 0
                pos += want
            else:
                self._add(current, data[pos : pos + want])
                pos += want
                if current.left:
                    pos = self._continuations(current, data, pos, end)
                    current = None
                    continue
                self._partial -= current.length
                message = RawMessage(
                    current.kind, current.stream_id, current.timestamp, b"".join(current.parts)
                )
                current.parts = []
            current = None
            if message.kind <= ABORT:
                self._obey(message)
            work -= _PIECE_WORK
            messages.append(message)
        self._current = current
        return messages

    def _add(self, stream: _ChunkStream, piece: bytes | bytearray) -> None:
        """Keep C{piece} of the message in progress."""
        size = len(piece)
        stream.left -= size
        self._partial += size
        if self._partial > self.partial_cap:
            raise RemoteProtocolError("chunk", f"unfinished messages hold more than {self.partial_cap} bytes")
        parts = stream.parts
        if size >= _SMALL:
            parts.append(piece)
        elif parts and type(parts[-1]) is bytearray:
            parts[-1] += piece
        else:
            parts.append(bytearray(piece))

    def _continuations(self, stream: _ChunkStream, data: bytes, pos: int, end: int) -> int:
        """Take the run of full type 3 chunks of C{stream}'s message that begins at C{pos}, if there is one.

        The message's last chunk is left to the general path, which closes the message.
        """
        head = stream.head
        if head < 0 or stream.extended >= 0:
            return pos
        size = self.chunk_size
        stride = size + 1
        count = min((stream.left - 1) // size, (end - pos) // stride)
        if count > 1:
            heads = data[pos : pos + count * stride : stride]
            count -= len(heads.lstrip(bytes((head,))))
            run = bytearray(data[pos : pos + count * stride])
            del run[::stride]
            if count:
                self._add(stream, run)
        elif count == 1 and data[pos] == head:
            self._add(stream, data[pos + 1 : pos + stride])
        else:
            return pos
        return pos + count * stride

    def _header(self, data: bytes, pos: int, end: int) -> tuple[int, _ChunkStream | None]:
        """Read the chunk header at C{pos}: the place after it and its stream, or C{pos} and None when
        it is incomplete (then nothing has changed).
        """
        at = pos + 1
        form = data[pos] >> 6
        stream_id = data[pos] & 63
        if stream_id < 2:
            at += stream_id + 1
            if at > end:
                return pos, None
            stream_id = data[pos + 1] + 64 + (data[pos + 2] << 8 if stream_id else 0)
        stream = self._streams.get(stream_id)
        if form == 3:
            if stream is None:
                raise RemoteProtocolError("chunk header", f"type 3 opens chunk stream {stream_id}")
            if stream.extended >= 0:
                expected = _U32.pack(stream.extended)
                found = data[at : at + 4]
                if found == expected:
                    at += 4
                elif expected.startswith(found):
                    return pos, None
            if not stream.left:
                stream.timestamp = (stream.timestamp + stream.delta) & _MASK
                stream.left = stream.length
        else:
            after = at + _HEADER_BYTES[form]
            if after > end:
                return pos, None
            # Three bytes read as four, with the byte before them cut off.
            time = _word(data, at - 1)[0] & 0xFFFFFF
            extended = -1
            if time == _EXTENDED:
                if after + 4 > end:
                    return pos, None
                time = extended = _word(data, after)[0]
                after += 4
            if stream is None:
                stream = self._open(stream_id, form)
            elif stream.left:
                raise RemoteProtocolError(
                    "chunk header", f"type {form} inside a message of chunk stream {stream_id}"
                )
            if form < 2:
                word = _word(data, at + 3)[0]
                length = word >> 8
                if length > self._message_cap:
                    raise RemoteProtocolError(
                        "chunk header", f"message of {length} bytes, limit {self._message_cap}"
                    )
                stream.length = length
                stream.kind = word & 0xFF
                if form == 0:
                    stream.stream_id = _U32_LE.unpack_from(data, at + 7)[0]
            stream.timestamp = time if form == 0 else (stream.timestamp + time) & _MASK
            stream.delta = time
            stream.extended = extended
            stream.left = stream.length
            at = after
        left = stream.left
        self._chunk_left = left if left < self.chunk_size else self.chunk_size
        return at, stream

    def _open(self, stream_id: int, form: int) -> _ChunkStream:
        """A chunk stream's first chunk."""
        if form != 0 and not (form == 1 and stream_id == 2):
            raise RemoteProtocolError("chunk header", f"type {form} opens chunk stream {stream_id}")
        if len(self._streams) >= self._limits.chunk_streams:
            raise RemoteProtocolError("chunk header", f"more than {self._limits.chunk_streams} chunk streams")
        stream = self._streams[stream_id] = _ChunkStream(stream_id)
        return stream

    def _obey(self, message: RawMessage) -> None:
        """Act on Set Chunk Size (section 5.4.1) and Abort (5.4.2)."""
        if message.kind not in (SET_CHUNK_SIZE, ABORT):
            return
        if len(message.payload) < 4:
            raise RemoteProtocolError("control message", f"{len(message.payload)} bytes, expected 4")
        value = _word(message.payload)[0]
        if message.kind == SET_CHUNK_SIZE:
            if not 1 <= value <= self._limits.chunk_size:
                raise RemoteProtocolError(
                    "Set Chunk Size", f"{value}, allowed 1 to {self._limits.chunk_size}"
                )
            self.chunk_size = value
            return
        stream = self._streams.get(value)
        if stream is not None and stream.left:
            self._partial -= stream.length - stream.left
            stream.left = 0
            stream.parts = []
