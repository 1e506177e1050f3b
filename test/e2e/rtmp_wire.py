"""A tiny RTMP client, written apart from the program under test so that both cannot share a mistake.

It knows just enough to publish FLV tags and to ask for a play: simple handshake, AMF0 of strings, numbers,
booleans, null and objects, chunks with full (type 0) headers on the way out. It does not parse media on the
way in.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define, field, frozen

#: Chunk size announced and used for what we send, in bytes; one message is one chunk below it.
CHUNK = 65_536
HANDSHAKE = 1536

AUDIO, VIDEO, DATA = 8, 9, 18


def amf0(*values: object) -> bytes:
    """AMF0 encoding of strings, numbers, booleans, None and flat dicts."""
    out = bytearray()
    for value in values:
        if value is None:
            out += b"\x05"
        elif isinstance(value, bool):
            out += bytes((1, value))
        elif isinstance(value, int | float):
            out += b"\x00" + struct.pack(">d", value)
        elif isinstance(value, str):
            text = value.encode()
            out += b"\x02" + struct.pack(">H", len(text)) + text
        elif isinstance(value, dict):
            out += b"\x03"
            for key, item in value.items():
                name = str(key).encode()
                out += struct.pack(">H", len(name)) + name + amf0(item)
            out += b"\x00\x00\x09"
        else:
            raise TypeError(type(value))
    return bytes(out)


def message(
    kind: int, body: bytes, timestamp: int = 0, stream_id: int = 0, chunk_stream: int = 3, size: int = CHUNK
) -> bytes:
    """One RTMP message as chunks of at most C{size} bytes: a type 0 header, then type 3 ones."""
    short = min(timestamp, 0xFFFFFF)
    extended = struct.pack(">I", timestamp) if timestamp >= 0xFFFFFF else b""
    head = bytes((chunk_stream,)) + struct.pack(">I", short)[1:] + struct.pack(">I", len(body))[1:]
    head += bytes((kind,)) + struct.pack("<I", stream_id) + extended
    out = bytearray(head + body[:size])
    for at in range(size, len(body), size):
        out += bytes((0xC0 | chunk_stream,)) + extended + body[at : at + size]
    return bytes(out)


def command(name: str, transaction: int, *arguments: object, stream_id: int = 0, size: int = CHUNK) -> bytes:
    """An AMF0 command message."""
    return message(20, amf0(name, transaction, *arguments), stream_id=stream_id, chunk_stream=3, size=size)


def hello() -> bytes:
    """C0 and C1."""
    return b"\x03" + struct.pack(">II", 0, 0) + b"\x5a" * (HANDSHAKE - 8)


def connect_bytes(app: str, url: str) -> bytes:
    """Announce our chunk size, then C{connect}. Sent before it: the default chunk size of 128 is still in
    force."""
    announce = message(1, struct.pack(">I", CHUNK), chunk_stream=2)
    details: dict[str, object] = {"app": app, "type": "nonprivate", "flashVer": "wire/1", "tcUrl": url}
    return announce + command("connect", 1, details)


def play_bytes(key: str, stream_id: int = 1) -> bytes:
    """C{play} of the live stream C{key}, with a buffer length as players send it."""
    buffer_length = message(4, struct.pack(">HII", 3, stream_id, 100), chunk_stream=2)
    return command("play", 0, None, key, -2000, stream_id=stream_id) + buffer_length


@frozen
class Tag:
    """One FLV tag: kind, timestamp in ms, body."""

    kind: int
    timestamp: int
    body: bytes

    @property
    def is_header(self) -> bool:
        """Metadata, or the configuration of a codec: no media by itself."""
        if self.kind == VIDEO:
            return self.body[1] == 0
        return self.kind == DATA or (self.body[0] >> 4 == 10 and self.body[1] == 0)

    @property
    def is_keyframe(self) -> bool:
        """A video tag a decoder can begin with."""
        return self.kind == VIDEO and self.body[0] >> 4 == 1 and self.body[1] == 1


def read_flv(path: Path) -> list[Tag]:
    """All tags of an FLV file."""
    data = path.read_bytes()
    tags, at = [], 9 + 4
    while at + 11 <= len(data):
        kind = data[at]
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        timestamp = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        tags.append(Tag(kind, timestamp, data[at + 11 : at + 11 + size]))
        at += 11 + size + 4
    return tags


def whole_tags(data: bytes) -> bytes:
    """C{data} of a growing FLV file up to the end of its last complete tag."""
    at = 9 + 4
    while at + 11 <= len(data):
        end = at + 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
        if end > len(data):
            break
        at = end
    return data[:at]


def looped(tags: list[Tag]) -> Iterator[Tag]:
    """The media of C{tags} for ever, headers once, timestamps rising by the length of the file each round."""
    headers = [tag for tag in tags if tag.is_header]
    # An end-of-sequence tag (AVC packet type 2) is no media either.
    media = [tag for tag in tags if not tag.is_header and not (tag.kind == VIDEO and tag.body[1] == 2)]
    frames = sum(1 for tag in media if tag.kind == VIDEO) or len(media)
    span = max(tag.timestamp for tag in media)
    length = span + round(span / max(frames - 1, 1))
    yield from headers
    offset = 0
    while True:
        for tag in media:
            yield Tag(tag.kind, tag.timestamp + offset, tag.body)
        offset += length


_REFUSED = re.compile(
    rb"_error|NetStream\.(?:Publish\.(?:BadName|Denied|Rejected)|Failed|Play\.(?:StreamNotFound|Failed))"
    rb"|NetConnection\.Connect\.Rejected"
)


class RefusalError(Exception):
    """The server answered C{_error} or an error status, or closed."""


@define
class WireClient:
    """A blocking RTMP connection to one server.

    @ivar sock: the connection; @ivar got: what arrived since the last command and was not looked at.
    """

    sock: socket.socket
    got: bytearray = field(factory=bytearray)

    @classmethod
    def connect(cls, port: int, app: str, timeout: float = 5.0) -> WireClient:
        """Handshake and C{connect} to C{app} on the loopback interface."""
        sock = socket.create_connection(("127.0.0.1", port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = cls(sock)
        sock.sendall(hello())
        reply = client._exactly(1 + 2 * HANDSHAKE)
        sock.sendall(reply[1 : 1 + HANDSHAKE] + connect_bytes(app, f"rtmp://127.0.0.1:{port}/{app}"))
        client.expect(b"_result")
        sock.sendall(command("createStream", 2, None))
        client.expect(b"_result")
        return client

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise RefusalError(f"closed after {len(data)} of {count} bytes")
            data += piece
        return bytes(data)

    def expect(self, *words: bytes) -> bytes:
        """Read until one of C{words} came and give it; what came with it is dropped.

        @raise RefusalError: an error status or the end of the connection came first.
        """
        while True:
            for word in words:
                if word in self.got:
                    self.got.clear()
                    return word
            if _REFUSED.search(self.got):
                raise RefusalError(bytes(self.got[-200:]).decode("latin-1"))
            piece = self.sock.recv(65_536)
            if not piece:
                raise RefusalError("closed")
            self.got += piece

    def publish(self, key: str) -> None:
        """C{publish}, and wait for its start.

        @raise RefusalError: it was not granted.
        """
        self.sock.sendall(command("publish", 3, None, key, "live", stream_id=1))
        self.expect(b"NetStream.Publish.Start")

    def play(self, key: str) -> None:
        """Ask to play; media follows."""
        self.sock.sendall(play_bytes(key))

    def send(self, tag: Tag) -> None:
        """Send one FLV tag as a message."""
        body = tag.body
        if tag.kind == DATA and not body.startswith(b"\x02\x00\x0d@setDataFrame"):
            body = amf0("@setDataFrame") + body
        self.sock.sendall(message(tag.kind, body, tag.timestamp, 1, {AUDIO: 4, VIDEO: 6, DATA: 5}[tag.kind]))

    def drain(self) -> int:
        """Throw away what has arrived, without waiting; bytes thrown away, -1 when the peer closed."""
        self.sock.setblocking(False)
        count = 0
        try:
            while piece := self.sock.recv(65_536):
                count += len(piece)
            return -1
        except BlockingIOError:
            return count
        except OSError:
            return -1
        finally:
            self.sock.settimeout(5.0)

    def close(self, *, reset: bool = False) -> None:
        """Close; C{reset} sends RST instead of FIN."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@define
class PacedPublisher:
    """Publishes a looped FLV file in real time from the calling thread.

    @ivar client: a connection that was granted the publish. @ivar first_key: C{time.monotonic()} right after
        the first keyframe was handed to the kernel, 0.0 before. @ivar dress: changes a tag at the moment it
        is sent.
    """

    client: WireClient
    tags: Iterator[Tag]
    started: float = 0.0
    first_key: float = 0.0
    pending: Tag | None = None
    dress: Callable[[Tag], Tag] = lambda tag: tag

    def run_for(self, seconds: float) -> None:
        """Send what falls due during the next C{seconds}."""
        until = time.monotonic() + seconds
        self.started = self.started or time.monotonic()
        while True:
            tag = self.pending or next(self.tags)
            self.pending = tag
            due = self.started + tag.timestamp / 1000
            if due > until:
                time.sleep(max(0.0, until - time.monotonic()))
                return
            time.sleep(max(0.0, due - time.monotonic()))
            self.client.send(self.dress(tag))
            self.pending = None
            if tag.is_keyframe and not self.first_key:
                self.first_key = time.monotonic()
            if self.client.drain() < 0:
                raise RefusalError("the server closed the publish")
