"""Three nodes in a row, A to B to C: every viewer everywhere gets the same segments, frames and times."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from test.e2e.nodes import Node
from test.e2e.players import (
    MILLISECOND,
    Packet,
    assert_unbroken,
    decode,
    frame_digests,
    probe_packets,
    record_ts,
)
from test.e2e.playlists import Playlist, check_reload, fetch, segment_bytes, wait_segments
from test.e2e.publishers import Publisher
from test.e2e.rtmp_wire import whole_tags
from test.e2e.shared import Stage, StageCase

STREAM = "live/chain"


class Chain(StageCase):
    """One stream published on A, restreamed by B from A and by C from B."""

    nodes: ClassVar[list[Node]]
    publisher: ClassVar[Publisher]
    copy: ClassVar[Path]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        a = stage.node("a")
        b = stage.edge("b", a)
        c = stage.edge("c", b)
        cls.nodes = [a, b, c]
        cls.copy = stage.folder / "published.flv"
        cls.publisher = stage.publish(a, STREAM, copy=cls.copy)
        for node in cls.nodes:
            node.wait_alive(STREAM)
        for node in cls.nodes:
            wait_segments(node, STREAM, 3)

    def playlists(self) -> list[Playlist]:
        """The playlist of each node, taken at about the same time."""
        return [fetch(node, STREAM) for node in self.nodes]

    def published(self) -> list[Packet]:
        """What the publisher has sent so far, also kept in L{so_far}."""
        self.so_far.write_bytes(whole_tags(self.copy.read_bytes()))
        return probe_packets(str(self.so_far))

    @property
    def so_far(self) -> Path:
        """The file L{published} writes."""
        return self.stage.folder / "published-so-far.flv"

    def test_playlists_agree_line_by_line(self) -> None:
        """For every segment that two nodes list, all its lines are the same, and so are the sequence
        numbers."""
        for _ in range(3):
            first, *rest = self.playlists()
            for other in rest:
                self.assertEqual(other.target, first.target)
                lines = {segment.number: segment.lines for segment in first.segments}
                shared = [segment for segment in other.segments if segment.number in lines]
                self.assertGreaterEqual(len(shared), 2, f"{first.text}\n{other.text}")
                for segment in shared:
                    self.assertEqual(segment.lines, lines[segment.number])
            wait_segments(self.nodes[0], STREAM, 1, beyond=first.numbers[-1], seconds=6.0)

    def test_segments_are_byte_equal(self) -> None:
        """Every segment listed anywhere has one SHA-256 on all nodes that list it."""
        seen: dict[int, dict[str, str]] = {}
        for node in self.nodes:
            for segment in fetch(node, STREAM).segments:
                if not segment.gap:
                    digest = hashlib.sha256(segment_bytes(node, STREAM, segment)).hexdigest()
                    seen.setdefault(segment.number, {})[node.name] = digest
        everywhere = [number for number, by_node in seen.items() if len(by_node) == len(self.nodes)]
        self.assertGreaterEqual(len(everywhere), 2, f"segments on all nodes: {seen}")
        for number, by_node in seen.items():
            self.assertEqual(len(set(by_node.values())), 1, f"segment {number}: {by_node}")

    def test_playlists_move_forward(self) -> None:
        """Reloads keep the rules of RFC 8216 on every node."""
        before = self.playlists()
        for node, old in zip(self.nodes, before, strict=True):
            check_reload(old, wait_segments(node, STREAM, 1, beyond=old.numbers[-1], seconds=6.0))

    def test_every_protocol_decodes(self) -> None:
        """A decoder finds nothing to complain of, whatever the node and the protocol."""
        urls = [node.url(STREAM, proto) for node in self.nodes for proto in ("tshttp", "rtmp", "hls")]
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(lambda url: decode(url, 4.0), urls))
        for url, result in zip(urls, results, strict=True):
            self.assertEqual(result.complaints, "", url)
            self.assertGreaterEqual(result.frames, 80, url)

    def test_segments_decode_in_a_row(self) -> None:
        """The segments of a playlist put one after the other are one clean transport stream with no jump."""
        for node in self.nodes:
            playlist = fetch(node, STREAM)
            path = self.stage.folder / f"row-{node.name}.ts"
            path.write_bytes(
                b"".join(segment_bytes(node, STREAM, segment) for segment in playlist.segments[-3:])
            )
            result = decode(str(path), 0)
            self.assertEqual(result.complaints, "", node.name)
            assert_unbroken(probe_packets(str(path)))

    def test_rtmp_times_are_the_publishers(self) -> None:
        """RTMP play: every packet has the publisher's bytes, and all times differ by one constant."""
        with ThreadPoolExecutor(3) as pool:
            played = list(pool.map(lambda node: probe_packets(node.url(STREAM, "rtmp"), 4.0), self.nodes))
        published = self.published()
        for node, packets in zip(self.nodes, played, strict=True):
            offsets = self.offsets(packets, published, 1)
            self.assertEqual(
                len(offsets), 1, f"{node.name}: offsets to the publisher's clock, ms: {sorted(offsets)[:20]}"
            )
        shared = {packet.digest: packet for packet in played[0]}
        for node, packets in zip(self.nodes[1:], played[1:], strict=True):
            for packet in packets:
                if packet.digest in shared and packet.kind == "video":
                    self.assertEqual(packet, shared[packet.digest], node.name)

    def test_http_ts_times_are_the_publishers(self) -> None:
        """HTTP-TS: PTS and DTS of both tracks are the publisher's moved by one constant, to the
        millisecond."""
        with ThreadPoolExecutor(3) as pool:
            paths = list(
                pool.map(
                    lambda node: record_ts(
                        node.http, STREAM, 5.0, self.stage.folder / f"times-{node.name}.ts"
                    ),
                    self.nodes,
                )
            )
        published = self.published()
        reference: dict[tuple[str, int], tuple[int, int]] = {}
        for node, path in zip(self.nodes, paths, strict=True):
            packets = probe_packets(str(path))
            starts = {}
            for kind in ("video", "audio"):
                # Containers wrap the payload differently: find the publisher's packet by its frame's digest.
                ours = [packet for packet in packets if packet.kind == kind]
                digests = frame_digests(path, kind[0])[: len(ours)]
                theirs = [packet for packet in published if packet.kind == kind]
                at = find_run(digests[:-1], frame_digests(self.so_far, kind[0]))
                self.assertGreaterEqual(at, 0, f"{node.name}: {kind} frames as published")
                moved = {
                    (mine.dts - theirs[at + i].dts * 90, mine.pts - theirs[at + i].pts * 90)
                    for i, mine in enumerate(ours[: len(digests) - 1])
                }
                spread = max(max(pair) for pair in moved) - min(min(pair) for pair in moved)
                self.assertLessEqual(
                    spread, MILLISECOND, f"{node.name}: {kind} times spread by {spread} ticks"
                )
                starts[kind] = min(min(pair) for pair in moved)
                for i, mine in enumerate(ours[: len(digests) - 1]):
                    key = (kind, at + i)
                    self.assertEqual(
                        reference.setdefault(key, (mine.dts, mine.pts)), (mine.dts, mine.pts), node.name
                    )
            self.assertLessEqual(
                abs(starts["video"] - starts["audio"]), MILLISECOND, f"{node.name}: audio against video"
            )

    def test_frames_are_equal_between_nodes(self) -> None:
        """The elementary streams that HTTP-TS carries are the same frames on all nodes, bit by bit."""
        with ThreadPoolExecutor(3) as pool:
            paths = list(
                pool.map(
                    lambda node: record_ts(
                        node.http, STREAM, 4.0, self.stage.folder / f"frames-{node.name}.ts"
                    ),
                    self.nodes,
                )
            )
        for kind in ("v", "a"):
            first, *rest = (frame_digests(path, kind)[:-1] for path in paths)
            for node, digests in zip(self.nodes[1:], rest, strict=True):
                start = next((i for i, digest in enumerate(digests) if digest == first[0]), None)
                if start is None:
                    start, longer, shorter = first.index(digests[0]), first, digests
                else:
                    longer, shorter = digests, first
                count = min(len(longer) - start, len(shorter))
                self.assertGreater(count, 40, f"{node.name} shares only {count} {kind} frames with a")
                self.assertEqual(longer[start : start + count], shorter[:count], node.name)

    def offsets(self, packets: list[Packet], published: list[Packet], unit: int) -> set[int]:
        """Distances of C{packets} from the publisher's packets of the same bytes, in C{unit}s of its
        milliseconds."""
        theirs: dict[tuple[str, str], list[Packet]] = {}
        for packet in published:
            theirs.setdefault((packet.kind, packet.digest), []).append(packet)
        best: set[int] | None = None
        first = next(packet for packet in packets if packet.kind == "video")
        # The sample is looped: its first packet may have been published several times.
        for start in theirs.get(("video", first.digest), []):
            base = first.dts - start.dts * unit
            found = set()
            for packet in packets:
                same = theirs.get((packet.kind, packet.digest), [])
                self.assertTrue(same, f"a {packet.kind} packet at {packet.dts} that was never published")
                near = min(same, key=lambda other: abs(packet.dts - other.dts * unit - base))
                found |= {packet.dts - near.dts * unit, packet.pts - near.pts * unit}
            if best is None or len(found) < len(best):
                best = found
        self.assertIsNotNone(best, "the first picture was never published")
        assert best is not None
        return best


def find_run(needle: list[str], hay: list[str]) -> int:
    """Where C{needle} stands in C{hay} as a run, -1 if nowhere; the last place, for loops."""
    for at in range(len(hay) - len(needle), -1, -1):
        if hay[at] == needle[0] and hay[at : at + len(needle)] == needle:
            return at
    return -1
