"""Viewers of several streams on two nodes at once: what those of the one got is held against the other.

One thread reads all HTTP MPEG-TS connections; RTMP is recorded by ffmpeg. Everything is judged afterwards.
"""

from __future__ import annotations

import selectors
import subprocess
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen

from restreamer.testing.ts_reader import read_ts
from test.e2e.nodes import Node, wait_until
from test.e2e.players import HttpStream, Packet, probe_packets
from test.e2e.samples import FFMPEG


@frozen
class Seen:
    """A frame as a viewer got it: track (PID or kind), DTS in units of the container, checksum."""

    track: str
    dts: int
    checksum: str


@define(eq=False)
class Reader:
    """One viewer by HTTP MPEG-TS.

    @ivar longest: longest time without a byte since L{Crowd.mark}, seconds.
    """

    node: Node
    stream: str
    http: HttpStream
    data: bytearray = field(factory=bytearray)
    last: float = 0.0
    longest: float = 0.0
    ended: bool = False

    def frames(self) -> list[Seen]:
        """Everything it got. The reader raises on whatever breaks a rule of MPEG-TS."""
        whole = bytes(self.data[: len(self.data) - len(self.data) % 188])
        return [Seen(str(pes.pid), pes.dts, f"{zlib.crc32(pes.payload):08x}") for pes in read_ts(whole).pes]


class Crowd:
    """Watches C{streams} on all C{nodes} between C{with} and its end.

    @param rtmp: streams that are also recorded by RTMP on all nodes.
    """

    def __init__(
        self, nodes: Sequence[Node], streams: Sequence[str], folder: Path, rtmp: Sequence[str] = ()
    ) -> None:
        self.nodes = list(nodes)
        self.streams = list(streams)
        self.rtmp = list(rtmp)
        self.folder = folder / f"crowd-{time.monotonic_ns()}"
        self.folder.mkdir()
        self.readers: dict[tuple[str, str], Reader] = {}
        self.recorders: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self.over = threading.Event()

    def __enter__(self) -> Crowd:
        for node in self.nodes:
            for stream in self.streams:
                http = HttpStream(node.http, f"/{stream}/mpegts")
                assert http.status == 200, http.head
                self.readers[node.name, stream] = Reader(node, stream, http)
            for stream in self.rtmp:
                command = [
                    FFMPEG or "ffmpeg",
                    "-v",
                    "error",
                    "-nostdin",
                    "-y",
                    "-i",
                    node.url(stream, "rtmp"),
                ]
                command += ["-c", "copy", "-copyts", "-flush_packets", "1", "-f", "flv"]
                self.recorders[node.name, stream] = subprocess.Popen(
                    [*command, str(self._flv(node.name, stream))], stderr=subprocess.DEVNULL
                )
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        wait_until(
            lambda: all(len(each.data) > 20_000 for each in self.readers.values()), 10.0, "all see media"
        )
        files = [self._flv(name, stream) for name, stream in self.recorders]
        wait_until(
            lambda: all(path.exists() and path.stat().st_size > 20_000 for path in files), 10.0, "files grow"
        )
        self.mark()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.thread.join(5)
        for reader in self.readers.values():
            reader.http.close()
        for recorder in self.recorders.values():
            recorder.terminate()
        for recorder in self.recorders.values():
            try:
                recorder.wait(5)
            except subprocess.TimeoutExpired:
                recorder.kill()
                recorder.wait(5)

    def mark(self) -> None:
        """Forget the silences so far."""
        now = time.monotonic()
        for reader in self.readers.values():
            reader.last = now
            reader.longest = 0.0

    def longest(self, node: Node) -> float:
        """The longest silence any viewer of C{node} has had."""
        now = time.monotonic()
        return max(
            max(each.longest, now - each.last)
            for (name, _), each in self.readers.items()
            if name == node.name
        )

    def compare(self, node: Node, reference: Node, shifted: bool = False) -> None:
        """Fail unless each viewer of C{node} got exactly what those of C{reference} did, as long as both
        watched: no frame missing, none twice, none changed.

        @param shifted: all times may differ by one constant.
        """
        for stream in self.streams:
            mine, theirs = self.readers[node.name, stream], self.readers[reference.name, stream]
            assert not mine.ended, f"a viewer of {stream} on {node.name} lost its connection"
            _same(mine.frames(), theirs.frames(), f"HTTP MPEG-TS of {stream}", shifted)
        for stream in self.rtmp:
            got = [
                [_seen(packet) for packet in probe_packets(str(self._flv(each.name, stream)))]
                for each in (node, reference)
            ]
            _same(got[0], got[1], f"RTMP of {stream}", shifted)

    def _flv(self, name: str, stream: str) -> Path:
        return self.folder / f"{name}-{stream.replace('/', '_')}.flv"

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for reader in self.readers.values():
                reader.data += reader.http.rest
                reader.http.rest = b""
                reader.last = time.monotonic()
                reader.http.sock.setblocking(False)
                selector.register(reader.http.sock, selectors.EVENT_READ, reader)
            while not self.over.is_set():
                for key, _ in selector.select(0.05):
                    reader = key.data
                    piece = reader.http.sock.recv(262_144)
                    now = time.monotonic()
                    if not piece:
                        reader.ended = True
                        selector.unregister(reader.http.sock)
                        continue
                    reader.longest = max(reader.longest, now - reader.last)
                    reader.last = now
                    reader.data += piece


def _seen(packet: Packet) -> Seen:
    return Seen(packet.kind, packet.dts, packet.digest)


def _shift(mine: Sequence[Seen], theirs: Sequence[Seen], what: str) -> int:
    """How much later the same frame is in C{theirs}: found by eight frames of the first track in a row."""
    track = mine[0].track
    sums = [seen.checksum for seen in theirs if seen.track == track]
    times = [seen.dts for seen in theirs if seen.track == track]
    own = [seen for seen in mine if seen.track == track]
    for start in range(0, len(own) - 8, 8):
        wanted = [seen.checksum for seen in own[start : start + 8]]
        for at in range(len(sums) - 8):
            if sums[at : at + 8] == wanted:
                return times[at] - own[start].dts
    raise AssertionError(f"{what}: nothing in common")


def _same(mine: Sequence[Seen], theirs: Sequence[Seen], what: str, shifted: bool = False) -> None:
    if shifted:
        shift = _shift(mine, theirs, what)
        mine = [Seen(seen.track, seen.dts + shift, seen.checksum) for seen in mine]
    for track in sorted({seen.track for seen in mine}):
        own = [seen for seen in mine if seen.track == track]
        other = [seen for seen in theirs if seen.track == track]
        assert own and other, f"{what}: no frame of track {track}"
        begin, end = max(own[0].dts, other[0].dts), min(own[-1].dts, other[-1].dts)
        own = [seen for seen in own if begin <= seen.dts <= end]
        other = [seen for seen in other if begin <= seen.dts <= end]
        assert len(other) > 50, f"{what}: only {len(other)} frames of track {track} to compare"
        if own != other:
            missing = [seen for seen in other if seen not in set(own)]
            extra = [seen for seen in own if seen not in set(other)]
            raise AssertionError(
                f"{what}, track {track}: {len(own)} frames for {len(other)}; missing {missing[:5]} "
                f"({len(missing)}), foreign {extra[:5]} ({len(extra)})"
            )
