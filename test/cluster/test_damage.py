"""Row M03: any bit turned, any bytes missing, any two records swapped: no node ever holds a wrong segment."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.puller import Puller
from restreamer.errors import RemoteProtocolError
from restreamer.live.registry import StreamSettings
from restreamer.m4f.records import Pull, Record, RecordReader, SegmentAsk, encode_record
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.cluster_rig import ClusterRig
from test.cluster.splicing import Edge, EdgeLink, IngestNode

#: So many of the bits are tried (the others in turn, when this number is changed).
EVERY_BIT = 11


def small_frames(seconds: int) -> list[Frame]:
    """Two pictures and two sounds a second, with as few bytes as can be."""
    frames = []
    for index in range(2 * seconds):
        dts = index * TICKS_PER_SECOND // 2
        frames.append(Frame(1, dts, 0, index % 2 == 0, b"picture %d" % index))
        frames.append(Frame(2, dts + 100, 0, True, b"sound %d" % index))
    return frames


class _Wire:
    """Keeps what a source sends."""

    paused = False
    round_trip = None
    peer_id = b"edge------------"
    peer_name = "peer:80"

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def send(self, record: Record) -> None:
        self.records.append(encode_record(record))

    def send_encoded(self, data: bytes) -> None:
        self.records.append(data)

    def close(self, reason: str) -> None: ...

    def abort(self, reason: str) -> None: ...


class _Asking:
    """The puller's end of a link that carries what was recorded."""

    paused = False
    round_trip = None
    peer_id = b"source----------"
    peer_name = "peer:80"

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.closed = False

    def send(self, record: Record) -> None:
        if isinstance(record, SegmentAsk):
            self.asked.append(record.number)

    def send_encoded(self, data: bytes) -> None:
        raise AssertionError

    def close(self, reason: str) -> None:
        self.closed = True

    abort = close


class DamageTests(SynchronousTestCase):
    """What a source sends of three segments and a half, damaged in one place."""

    @override
    def setUp(self) -> None:
        frames = small_frames(9)
        self.source = source = IngestNode("a", 100)
        wire = _Wire()
        for index, frame in enumerate(frames):
            source.push(frame)
            if index == 4:
                source.relays.of(source.stream).add(wire, Pull("x"))
        source.relays.of(source.stream).drop(wire)
        self.records = wire.records
        self.published = {e.number: e.segment.encoded for e in source.stream.window.retained}
        self.assertGreaterEqual(len(self.published), 3)

    def repaired(self, records: list[bytes], what: object) -> int:
        """Deliver C{records}; then the link is cut and another one brings the rest.

        @return: how often the puller asked again or refused what came.
        """
        edge = Edge("e")
        puller = Puller("x", lambda: edge.stream, edge.node_id, lambda: 0, lambda code, text: None)
        asking = _Asking()
        puller.link_up(asking)
        reader = RecordReader()
        noticed = 0
        try:
            for data in records:
                for record in reader.receive(data):
                    if asking.closed:
                        break
                    puller.record(record)
                while asking.asked:
                    noticed += 1
                    number = asking.asked.pop()
                    reply = _Wire()
                    relay = self.source.relays.of(self.source.stream)
                    relay.add(reply, Pull("x", run_id=100, number=1 << 40))
                    reply.records.clear()
                    relay.send_again(reply, number)
                    relay.drop(reply)
                    for answer in RecordReader().receive(b"".join(reply.records)):
                        puller.record(answer)
        except RemoteProtocolError:
            noticed += 1
        puller.link_down("cut")
        again = EdgeLink(self.source, edge, puller)
        window = {entry.number: entry.segment.encoded for entry in edge.stream.window.retained}
        again.cut()
        for number, encoded in window.items():
            self.assertTrue(encoded == self.published.get(number), (what, number))
        self.assertEqual(list(window), list(self.published), what)
        return noticed

    def test_undamaged(self) -> None:
        self.assertEqual(self.repaired(self.records, None), 0)

    def test_any_bit(self) -> None:
        whole = bytearray(b"".join(self.records))
        sizes = [len(record) for record in self.records]
        noticed = tried = 0
        for bit in range(0, 8 * len(whole), EVERY_BIT):
            whole[bit // 8] ^= 1 << bit % 8
            noticed += bool(self.repaired(list(_cut(bytes(whole), sizes)), bit))
            whole[bit // 8] ^= 1 << bit % 8
            tried += 1
        self.assertGreater(tried, 1500)
        # The others: in what is still open, in the envelope, or in a length that made the reader wait.
        self.assertGreater(noticed, tried * 0.7)

    def test_any_bytes_missing(self) -> None:
        whole = b"".join(self.records)
        for place in range(0, len(whole), 13):
            for count in (1, 7, 40):
                self.repaired([whole[:place], whole[place + count :]], (place, count))

    def test_any_record_missing_or_doubled(self) -> None:
        for index in range(len(self.records)):
            self.repaired(self.records[:index] + self.records[index + 1 :], index)
            self.repaired(self.records[: index + 1] + self.records[index:], index)

    def test_any_two_records_swapped(self) -> None:
        count = len(self.records)
        for one in range(count):
            for other in range(one + 1, count, 1 if one % 3 == 0 else 4):
                swapped = list(self.records)
                swapped[one], swapped[other] = swapped[other], swapped[one]
                self.repaired(swapped, (one, other))


def _cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size


class RealLinkTests(SynchronousTestCase):
    """The same over real links, live: the node behind the damaged one gets everything, too."""

    def test_one_byte_now_and_then(self) -> None:
        for position in range(300, 9_000, 290):
            # A length that came damaged makes the reader wait: then it is the silence that is noticed.
            rig = ClusterRig(position, settings=StreamSettings(segment_duration=180_000, source_timeout=4.0))
            nodes = rig.chain("origin", "middle", "edge")
            witnesses = [node.witness("x") for node in nodes]
            rig.run(0.5)
            nodes[0].publish("x", pictures=5, gop=5)
            rig.run(0.1)
            media = rig.network.between("origin", "middle")[-1]
            _turn_a_bit(media, position)
            rig.run(16)
            rig.settle()
            published = witnesses[0].segments
            for node, witness in zip(nodes[1:], witnesses[1:], strict=True):
                window = node.window("x")
                self.assertGreaterEqual(len(window), 3, (position, node.name))
                for number, encoded in [*window.items(), *witness.segments.items()]:
                    self.assertTrue(encoded == published[number], (position, node.name, number))
                numbers = list(window)
                self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))), position)
            rig.stop()
            rig.check()


def _turn_a_bit(client: object, position: int) -> None:
    """Damage the byte at C{position} of what the server's end sends from now on."""
    protocol = client.protocol  # type: ignore[attr-defined]
    passed = 0
    receive = protocol.dataReceived

    def damaged(data: bytes) -> None:
        nonlocal passed
        at = position - passed
        passed += len(data)
        if 0 <= at < len(data):
            data = data[:at] + bytes((data[at] ^ 1 << position % 8,)) + data[at + 1 :]
        receive(data)

    protocol.dataReceived = damaged
