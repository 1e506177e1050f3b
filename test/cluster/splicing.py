"""Ingest nodes of one encoder, and edges that pull from them: links without a network, for tests of joins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from restreamer.cluster.puller import Puller
from restreamer.cluster.relay import Relays
from restreamer.live.ingest import Ingest
from restreamer.live.ledger import Ledger
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow, WindowSegment
from restreamer.m4f.records import Frames, Pull, Record, RecordReader, SegmentAsk, encode_record
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.testing.media import START
from test.live.rig import AV, RecordingTap

D = 2 * TICKS_PER_SECOND


class IngestNode:
    """A node with one stream and one publisher.

    @ivar closed: every segment it ever closed, by number. @ivar error: ticks its clock is wrong by.
    """

    def __init__(self, name: str, run_id: int, error: int = 0, tracks: Tracks = AV, count: int = 4) -> None:
        self.node_id = name.encode().ljust(16, b"-")
        self.now = START + error
        self.stream = Stream("x", LiveWindow(count))
        self.tap = RecordingTap()
        self.stream.attach(self.tap)
        self.relays = Relays()
        self.error = error
        self.tracks = tracks
        self.runs = run_id
        self.publish()

    def publish(self) -> None:
        """A publisher comes."""
        self.ingest = Ingest(
            stream=self.stream,
            run_id=self.runs,
            node_id=self.node_id,
            segment_duration=D,
            part_duration=D // 10,
            now=lambda: self.now,
            ledger=Ledger(),
            ended=lambda reason: None,
        )
        self.runs += 1
        self.ingest.configure(self.tracks)

    def push(self, frame: Frame, late: int = 0) -> None:
        """A frame of the publisher's clock comes C{late} ticks after its time."""
        self.now = max(self.now, START + self.error + frame.dts + late)
        self.ingest.push([frame])

    @property
    def closed(self) -> dict[int, bytes]:
        """Canonical bytes of all segments, by number."""
        return {entry.number: entry.segment.encoded for entry in self.tap.closed}


class EdgeLink:
    """A media link in memory: what either end says arrives at once, unless it is held back."""

    paused = False
    round_trip = None

    def __init__(self, source: IngestNode | Edge, edge: Edge, puller: Puller, lag: int = 0) -> None:
        self.source = source
        self.puller = puller
        self.up = True
        self.lag = lag
        self.held: list[bytes] = []
        self.pulls: list[Pull] = []
        self.peer_id = edge.node_id
        self.peer_name = "peer:80"
        self._reader = RecordReader()
        puller.link_up(_Asking(self))

    def ask(self, record: Record) -> None:
        relay = self.source.relays.of(self.source.stream)
        if isinstance(record, Pull):
            self.pulls.append(record)
            relay.add(self, record)
        elif isinstance(record, SegmentAsk):
            relay.send_again(self, record.number)

    def send(self, record: Record) -> None:
        self.send_encoded(encode_record(record))

    def send_encoded(self, data: bytes) -> None:
        if self.up:
            self.held.append(data)
            self._deliver(self.lag)

    def flush(self) -> None:
        """Deliver what is held back; nothing is from here on."""
        self.lag = 0
        self._deliver(0)

    def _deliver(self, lag: int) -> None:
        while self.up and len(self.held) > lag:
            for record in self._reader.receive(self.held.pop(0)):
                self.puller.record(record)

    def close(self, reason: str) -> None:
        self.cut(reason)

    abort = close

    def cut(self, reason: str = "cut") -> None:
        if self.up:
            self.up = False
            self.source.relays.of(self.source.stream).drop(self)
            self.puller.link_down(reason)


class _Asking:
    """The puller's end."""

    paused = False
    round_trip = None

    def __init__(self, link: EdgeLink) -> None:
        self._link = link
        self.peer_id = link.source.node_id
        self.peer_name = "peer:80"

    def send(self, record: Record) -> None:
        self._link.ask(record)

    def send_encoded(self, data: bytes) -> None:
        raise AssertionError

    def close(self, reason: str) -> None:
        self._link.cut(reason)

    abort = close


class Edge:
    """A node that pulls one stream from others.

    @ivar events: what its pullers reported: ("delivered" or reason, source name).
    """

    def __init__(self, name: str, count: int = 4) -> None:
        self.node_id = name.encode().ljust(16, b"-")
        self.stream = Stream("x", LiveWindow(count))
        self.tap = RecordingTap()
        self.stream.attach(self.tap)
        self.relays = Relays()
        self.events: list[tuple[str, str]] = []

    def pull(self, source: IngestNode | Edge, lag: int = 0, standby: bool = False) -> EdgeLink:
        """Pull from C{source}, over a link that holds back the last C{lag} writes."""
        name = source.node_id.decode().rstrip("-")
        puller = Puller(
            "x",
            lambda: self.stream,
            self.node_id,
            lambda: 0,
            lambda code, text: None,
            delivered=lambda: self.events.append(("delivered", name)),
            lost=lambda reason, link: self.events.append(("link" if link else "input", name)),
            standby=standby,
            held=lambda: self.stream,
        )
        return EdgeLink(source, self, puller, lag)

    @property
    def closed(self) -> dict[int, bytes]:
        """Canonical bytes of all segments that entered its window, by number."""
        return {entry.number: entry.segment.encoded for entry in self.entries}

    @property
    def entries(self) -> list[WindowSegment]:
        """All segments that entered its window, in order of their numbers."""
        return sorted([*self.tap.closed, *self.tap.filled], key=lambda entry: entry.number)


def times(frames: Sequence[Frame]) -> dict[int, list[int]]:
    """DTS by track."""
    found: dict[int, list[int]] = {}
    for frame in frames:
        found.setdefault(frame.track_id, []).append(frame.dts)
    return found


def only(record_type: type, found: Callable[[Any], None]) -> Callable[[Record], None]:
    """Call C{found} for records of one type."""

    def look(record: Record) -> None:
        if isinstance(record, record_type):
            found(record)

    return look


__all__ = ["D", "Edge", "EdgeLink", "Frames", "IngestNode", "only", "times"]
