"""Viewers of several streams on two nodes at once: what those of the one got is held against the other.

One thread reads all HTTP MPEG-TS connections; RTMP is recorded by ffmpeg. Everything is judged afterwards.
"""

from __future__ import annotations

import selectors
import subprocess
import threading
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen

from restreamer.mpegts.psi import PMT_PID
from restreamer.testing.ts_reader import read_ts
from test.e2e.machine import Delays
from test.e2e.nodes import LateError, Node, wait_until
from test.e2e.players import HttpStream, Packet, probe_packets
from test.e2e.samples import FFMPEG

#: Frames of each track every viewer gets before a L{Crowd} goes home: some seconds of video, of audio less.
SETTLE_FRAMES = 90
#: PIDs below are those of tables (ETSI EN 300 468, 5.1.3).
_FIRST_PID = 0x20
#: Frames of each track that must have been seen on both sides to say anything.
LEAST_COMPARED = 50


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
    counted: int = 0
    begun: Counter[int] = field(factory=Counter)

    def count(self) -> Counter[int]:
        """How many frames have begun, by PID."""
        whole = bytes(self.data[self.counted : len(self.data) - len(self.data) % 188])
        self.counted += len(whole)
        # Octets 1 and 2 of each packet: payload_unit_start_indicator and PID (ISO/IEC 13818-1, 2.4.3.2).
        for first, second in zip(whole[1::188], whole[2::188], strict=True):
            pid = (first & 0x1F) << 8 | second
            if first & 0x40 and pid >= _FIRST_PID and pid != PMT_PID:
                self.begun[pid] += 1
        return self.begun.copy()

    def frames(self) -> list[Seen]:
        """Everything it got. The reader raises on whatever breaks a rule of MPEG-TS."""
        whole = bytes(self.data[: len(self.data) - len(self.data) % 188])
        return [Seen(str(pes.pid), pes.dts, f"{zlib.crc32(pes.payload):08x}") for pes in read_ts(whole).pes]


class Crowd:
    """Watches C{streams} on all C{nodes} between C{with} and its end, and then until all is L{settled}.

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
        self.delays = Delays()

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
            lambda: all(len(each.data) > 20_000 for each in self.readers.values()), 20.0, "all see media"
        )
        files = [self._flv(name, stream) for name, stream in self.recorders]
        wait_until(
            lambda: all(path.exists() and path.stat().st_size > 20_000 for path in files), 20.0, "files grow"
        )
        self.delays.start()
        self.mark()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            self._leave()

    def _leave(self) -> None:
        self.delays.__exit__()
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

    def settle(self, frames: int = SETTLE_FRAMES, seconds: float = 40.0) -> None:
        """Wait until every viewer has got C{frames} frames of each track from now on, so that there is
        something to compare after whatever happened."""

        def counts() -> dict[tuple[str, ...], Counter[int]]:
            assert not any(reader.ended for reader in self.readers.values()), "a viewer lost its connection"
            return {
                **{("HTTP", *key): reader.count() for key, reader in self.readers.items()},
                **{("RTMP", *key): tags(self._flv(*key)) for key in self.recorders},
            }

        before = counts()
        lacking: list[object] = []

        def enough() -> bool:
            # Reading files and counting packets is work that those who are watched may need.
            self.over.wait(0.2)
            now = counts()
            lacking[:] = [
                (viewer, track, now[viewer][track] - count)
                for viewer, was in before.items()
                for track, count in was.items()
                if now[viewer][track] < count + frames
            ]
            return not lacking

        try:
            wait_until(enough, seconds, f"every viewer gets {frames} frames more of each track")
        except LateError as error:
            raise LateError(f"{error}; fewer came to (viewer, track, frames): {lacking[:8]}") from None

    def mark(self) -> None:
        """Forget the silences so far, and what the machine had to do with them."""
        self.delays.mark()
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

    def assert_silence(self, node: Node, limit: float, what: str = "") -> None:
        """Fail when any viewer of C{node} had to wait for longer than C{limit} seconds, and what the machine
        kept the programs on the way waiting meanwhile."""
        longest, allowance = self.longest(node), self.delays.allowance
        assert longest < limit + allowance, (
            f"{what}: nothing came for {longest:.3f} s; the limit is {limit} s, and {allowance:.3f} s for "
            "delays of the machine"
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
                    try:
                        piece = reader.http.sock.recv(262_144)
                    except OSError:
                        piece = b""
                    now = time.monotonic()
                    if not piece:
                        reader.ended = True
                        selector.unregister(reader.http.sock)
                        continue
                    reader.longest = max(reader.longest, now - reader.last)
                    reader.last = now
                    reader.data += piece


def tags(path: Path) -> Counter[int]:
    """How many whole tags of each kind an FLV file has (Video File Format Specification 10, annex E)."""
    data = path.read_bytes()
    found: Counter[int] = Counter()
    at = 13
    while at + 11 <= len(data):
        kind, end = data[at], at + 11 + int.from_bytes(data[at + 1 : at + 4]) + 4
        if end <= len(data) and kind in (8, 9):
            found[kind] += 1
        at = end
    return found


def _seen(packet: Packet) -> Seen:
    return Seen(packet.kind, packet.dts, packet.digest)


def shift_of(mine: Sequence[Seen], theirs: Sequence[Seen], what: str) -> int:
    """How much later the same frame is in C{theirs}: found by eight frames of the first track in a row.

    What is published is a looped file, so the same frames come again: the nearest place counts.
    """
    track = mine[0].track
    sums = [seen.checksum for seen in theirs if seen.track == track]
    times = [seen.dts for seen in theirs if seen.track == track]
    own = [seen for seen in mine if seen.track == track]
    found = []
    for start in range(0, len(own) - 8, 8):
        wanted = [seen.checksum for seen in own[start : start + 8]]
        found += [times[at] - own[start].dts for at in range(len(sums) - 8) if sums[at : at + 8] == wanted]
    assert found, f"{what}: nothing in common"
    return min(found, key=abs)


def _same(mine: Sequence[Seen], theirs: Sequence[Seen], what: str, shifted: bool = False) -> None:
    if shifted:
        shift = shift_of(mine, theirs, what)
        mine = [Seen(seen.track, seen.dts + shift, seen.checksum) for seen in mine]
    for track in sorted({seen.track for seen in mine}):
        own = [seen for seen in mine if seen.track == track]
        other = [seen for seen in theirs if seen.track == track]
        assert own and other, f"{what}: no frame of track {track}"
        begin, end = max(own[0].dts, other[0].dts), min(own[-1].dts, other[-1].dts)
        own = [seen for seen in own if begin <= seen.dts <= end]
        other = [seen for seen in other if begin <= seen.dts <= end]
        assert len(other) > LEAST_COMPARED, f"{what}: only {len(other)} frames of track {track} to compare"
        if own != other:
            missing = [seen for seen in other if seen not in set(own)]
            extra = [seen for seen in own if seen not in set(other)]
            raise AssertionError(
                f"{what}, track {track}: {len(own)} frames for {len(other)}; missing {missing[:5]} "
                f"({len(missing)}), foreign {extra[:5]} ({len(extra)})"
            )
