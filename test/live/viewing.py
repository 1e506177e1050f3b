"""Viewers for tests: a muxer of numbered packets, transports with a kernel of any size, a checker."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock
from typing_extensions import override

from restreamer.media.frame import Frame
from restreamer.media.track import Track, Tracks
from restreamer.seams import FeedMuxer

PACKET = 188
_HEAD = struct.Struct(">cBI")
#: Kinds of packets: of a keyframe, of another frame, before a join, before a skip.
KEY, PLAIN, JOIN, SKIP = b"K", b"P", b"J", b"S"
#: What the tests write aside looks like.
ASIDE = b"A"
#: A codec that its container cannot carry.
UNCARRIED = "none"


def packet(kind: bytes, number: int) -> bytes:
    return _HEAD.pack(kind, len(kind), number).ljust(PACKET, b"\xff")


class PacketMuxer(FeedMuxer):
    """Every frame is as many numbered packets as its data has bytes.

    @ivar log: the calls, in order.
    """

    def __init__(self, title: str = "") -> None:
        self.number = 0
        self.log: list[str] = []
        self.made: list[bytes] = []

    @override
    def carries(self, track: Track) -> bool:
        return track.codec != UNCARRIED

    @override
    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        self.log.append(f"configure {len(tracks)} {run_start} {discontinuity}")

    @override
    def mux(self, frame: Frame) -> bytes:
        assert self.log, "configured before the first frame"
        kinds = [KEY if frame.key and frame.track_id == 1 else PLAIN, *[PLAIN] * (len(frame.data) - 1)]
        packets = [packet(kind, self.number + index) for index, kind in enumerate(kinds)]
        self.number += len(packets)
        self.made += packets
        return b"".join(packets)

    @override
    def join_prefix(self) -> bytes:
        return packet(JOIN, self.number)

    @override
    def skip_prefix(self) -> bytes:
        return packet(SKIP, self.number)


@define
class Seen:
    """What a client saw: whole packets in order, joins and skips at keyframes, only forward.

    @ivar media: bytes of media; @ivar skips: jumps; @ivar asides: control packets, by number.
    """

    media: int = 0
    packets: int = 0
    skips: int = 0
    asides: list[int] = field(factory=list)
    last: int | None = None

    def check(self, data: bytes, whole: bool = True) -> Seen:
        """Look at everything the client got from the beginning on."""
        landing: int | None = None
        for at in range(0, len(data) - PACKET + 1, PACKET):
            kind, _, number = _HEAD.unpack_from(data, at)
            assert data[at : at + PACKET] == packet(kind, number), f"torn at {at}"
            if kind == ASIDE:
                self.asides.append(number)
                continue
            self.media += PACKET
            if kind in (JOIN, SKIP):
                assert (kind == JOIN) == (self.last is None), "a join comes first and only once"
                assert self.last is None or number > self.last, "backward"
                self.skips += kind == SKIP
                landing = number
                continue
            if landing is not None:
                assert kind == KEY and number == landing, "lands on a keyframe"
            else:
                assert self.last is not None and number == self.last + 1, f"{number} after {self.last}"
            landing = None
            self.last = number
            self.packets += 1
        if whole:
            assert len(data) % PACKET == 0, "torn at the end"
            assert landing is None
        return self


def aside(number: int) -> bytes:
    return packet(ASIDE, number)


@define(eq=False)
class KernelTransport:
    """A TCP transport with a kernel buffer of C{room} bytes, as Twisted's behaves.

    @ivar got: every byte that left the process. @ivar buffer: what the transport itself holds.
    @ivar most: most bytes the transport ever held.
    """

    room: int = 1 << 30
    got: bytearray = field(factory=bytearray)
    buffer: bytearray = field(factory=bytearray)
    producer: Any = None
    most: int = 0
    aborted: int = 0
    closing: bool = False
    gone: bool = False
    error: type[OSError] | None = None
    sends: int = 0

    def send(self, data: bytes) -> int:
        """The socket's own send."""
        assert not self.buffer, "the socket is written past the transport's buffer"
        assert self.producer is None, "a parked viewer's socket is written"
        self.sends += 1
        if self.error is not None:
            raise self.error
        taken = min(self.room, len(data))
        if data and not taken:
            raise BlockingIOError
        self.room -= taken
        self.got += data[:taken]
        return taken

    def write(self, data: bytes) -> None:
        assert data
        if not self.gone:
            self.buffer += data
            self.most = max(self.most, len(self.buffer))

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        if self.producer is not None:
            raise RuntimeError("there is a producer already")
        assert not streaming
        if self.gone:
            producer.stopProducing()
            return
        self.producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None

    def loseConnection(self) -> None:  # noqa: N802
        self.closing = True

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted += 1
        self.gone = True
        self.buffer.clear()

    def read(self, amount: int = 1 << 40) -> None:
        """The client reads: room in the kernel, and the reactor finds the socket writable."""
        self.room += amount
        while self.buffer and self.room:
            taken = min(self.room, len(self.buffer))
            self.room -= taken
            self.got += self.buffer[:taken]
            del self.buffer[:taken]
            if not self.buffer and self.producer is not None:
                self.producer.resumeProducing()

    def lose(self) -> None:
        """The connection is lost: Twisted tells the producer."""
        self.gone = True
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()


@define(eq=False)
class TlsTransport:
    """A TLS transport: bytes leave in turns of the reactor; a producer is told when much is held below, but
    only by a write after it was registered (a pull producer would be asked for more whatever is held).
    """

    clock: Clock
    threshold: int = 64 * 1024
    got: bytearray = field(factory=bytearray)
    buffer: bytearray = field(factory=bytearray)
    producer: Any = None
    most: int = 0
    aborted: int = 0
    stuck: bool = False
    paused: bool = False
    _turn: Any = None

    def getHandle(self) -> object:  # noqa: N802
        return object()

    def write(self, data: bytes) -> None:
        self.buffer += data
        self.most = max(self.most, len(self.buffer))
        if self._turn is None and not self.stuck:
            self._turn = self.clock.callLater(0, self._leave)
        if self.producer is not None and not self.paused and len(self.buffer) > self.threshold:
            self.paused = True
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        assert streaming
        if self.producer is not None:
            raise RuntimeError("there is a producer already")
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None
        self.paused = False

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted += 1

    def loseConnection(self) -> None:  # noqa: N802
        """Not looked at."""

    def _leave(self) -> None:
        self._turn = None
        self.got += self.buffer
        self.buffer.clear()
        if self.paused:
            self.paused = False
            self.producer.resumeProducing()


def picture(number: int, packets: int = 3, key: bool = False) -> Frame:
    return Frame(1, number * 3600, 0, key, b"v" * packets)


def sound(number: int, packets: int = 1) -> Frame:
    return Frame(2, number * 3600, 0, True, b"a" * packets)


def total(frames: Sequence[Frame]) -> int:
    """Bytes the muxer makes of C{frames}."""
    return PACKET * sum(len(frame.data) for frame in frames)
