"""Client bytes for the RTMP tests, made without the code under test where that matters."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from restreamer.flv.amf0 import encode as amf
from restreamer.rtmp.connection import ServerConnection
from restreamer.rtmp.events import Event
from restreamer.rtmp.handshake import NONCE, PACKET
from restreamer.rtmp.limits import WireLimits

VECTORS = Path(__file__).parent.parent / "vectors" / "rtmp"

#: C0, C1 and C2 of a plain handshake, C2 not an echo of anything.
HANDSHAKE = b"\x03" + bytes(2 * PACKET)


def header0(csid: int, timestamp: int, length: int, kind: int, stream_id: int) -> bytes:
    """A type 0 chunk header with a one-byte basic header."""
    head = bytes((csid,)) + min(timestamp, 0xFFFFFF).to_bytes(3, "big") + length.to_bytes(3, "big")
    head += bytes((kind,)) + stream_id.to_bytes(4, "little")
    return head + (timestamp.to_bytes(4, "big") if timestamp >= 0xFFFFFF else b"")


def message(
    kind: int,
    payload: bytes,
    *,
    csid: int = 3,
    timestamp: int = 0,
    stream_id: int = 0,
    chunk: int = 128,
    repeat: bool = True,
) -> bytes:
    """A message in chunks; C{repeat}: the extended timestamp also on type 3 chunks."""
    pieces = [header0(csid, timestamp, len(payload), kind, stream_id), payload[:chunk]]
    extended = timestamp.to_bytes(4, "big") if repeat and timestamp >= 0xFFFFFF else b""
    for at in range(chunk, len(payload), chunk):
        pieces += [bytes((0xC0 | csid,)), extended, payload[at : at + chunk]]
    return b"".join(pieces)


def command(name: str, transaction: float, *arguments: Any, stream_id: int = 0) -> bytes:
    """A command message; the first argument is the command object."""
    return message(20, amf(name, transaction, *(arguments or (None,))), stream_id=stream_id)


def connect(app: str = "live", **properties: Any) -> bytes:
    """The connect command."""
    return command("connect", 1, {"app": app, "flashVer": "test", "tcUrl": f"rtmp://h/{app}", **properties})


def publish_opening(app: str = "live", key: str = "cam", **properties: Any) -> bytes:
    """Everything up to the publish command; C{properties} of connect."""
    return (
        HANDSHAKE
        + connect(app, **properties)
        + command("createStream", 2)
        + command("publish", 3, None, key, "live", stream_id=1)
    )


def play_opening(app: str = "live", key: str = "cam", **properties: Any) -> bytes:
    """Everything up to the play command; C{properties} of connect."""
    opening = HANDSHAKE + connect(app, **properties) + command("createStream", 2)
    return opening + command("play", 3, None, key, stream_id=1)


def server(limits: WireLimits | None = None) -> ServerConnection:
    """A server connection with a fixed nonce."""
    return ServerConnection(bytes(NONCE), limits)


def cuts(data: bytes, seed: int, longest: int = 5000) -> Iterator[bytes]:
    """C{data} in random pieces: many tiny, some long."""
    chance = random.Random(seed)
    at = 0
    while at < len(data):
        size = min(chance.choice((1, 1, 2, 3, 7, 50, 400, 1448, 5000)), longest)
        yield data[at : at + size]
        at += size


def events_of(connection: ServerConnection, pieces: Iterator[bytes] | list[bytes]) -> list[Event]:
    """All events of C{pieces}."""
    return [event for piece in pieces for event in connection.receive(piece)]
