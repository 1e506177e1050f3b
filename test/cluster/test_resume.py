"""A relay and a puller with a pipe of bytes between them: cut anywhere, paused at any time."""

from __future__ import annotations

import random

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.cluster.puller import Puller
from restreamer.cluster.relay import Relays
from restreamer.errors import RemoteProtocolError
from restreamer.live.stream import Stream, StreamWriter
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import Frames, Pull, Record, RecordReader, RunInfo, SegmentCopy, encode_record
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from test.live.rig import AV, NODE, D, RecordingTap

EDGE = b"e" * 16
NEXT = b"f" * 16


class PipeLink:
    """A link in both roles: what the source sends is kept as bytes until L{deliver}.

    @ivar total: bytes sent. @ivar budget: after so many bytes the connection is gone.
    """

    peer_id = EDGE
    peer_name = "peer:80"
    round_trip: float | None = None

    def __init__(self, pair: Pair, budget: int | None = None) -> None:
        self.pair = pair
        self.paused = False
        self.budget = budget
        self.total = 0
        self.cut = False
        self.closed: list[str] = []
        self.held = bytearray()
        self.reader = RecordReader()

    def send(self, record: Record) -> None:
        self.send_encoded(encode_record(record))

    def send_encoded(self, data: bytes) -> None:
        if self.cut:
            return
        if self.budget is not None and self.total + len(data) > self.budget:
            data = data[: self.budget - self.total]
            self.cut = True
        self.total += len(data)
        self.held += data

    def close(self, reason: str) -> None:
        self.closed.append(reason)

    def abort(self, reason: str) -> None:
        self.closed.append(reason)


class AskingLink:
    """The puller's end: only ever asks."""

    peer_id = NODE
    peer_name = "peer:80"
    paused = False
    round_trip: float | None = None

    def __init__(self) -> None:
        self.pulls: list[Pull] = []

    def send(self, record: Record) -> None:
        if isinstance(record, Pull):
            self.pulls.append(record)

    def send_encoded(self, data: bytes) -> None:
        raise AssertionError

    def close(self, reason: str) -> None:
        raise AssertionError

    def abort(self, reason: str) -> None:
        raise AssertionError


class Pair:
    """A source with a stream, an edge that pulls it."""

    def __init__(self, count: int = 100, path: tuple[bytes, ...] = (NODE,)) -> None:
        self.source = Stream("x", LiveWindow(count))
        self.edge = Stream("x", LiveWindow(count))
        self.relays = Relays()
        self.puller = Puller("x", lambda: self.edge, path[-1][:15] + b"!", lambda: 0, lambda code, text: None)
        self.there = RecordingTap()
        self.here = RecordingTap()
        self.source.attach(self.there)
        self.edge.attach(self.here)
        self.link: PipeLink | None = None
        self.path = path
        self.runs = 0
        self.number = 10
        self.index = 0
        self.writer: StreamWriter | None = None

    # The source's input.

    def begin(self) -> None:
        self.runs += 1
        run = RunInfo(self.runs, self.number * D, NODE, self.path)
        self.writer = self.source.begin_run(run, D, local=True)
        self.open(discontinuity=self.runs > 1)

    def open(self, discontinuity: bool = False) -> None:
        assert self.writer is not None
        self.number += 1
        self.index = 0
        self.writer.open(SegmentOpening(self.number, self.number * D, discontinuity, True, 0, AV))

    def push(self, count: int = 1) -> None:
        assert self.writer is not None
        frames = []
        for _ in range(count):
            self.index += 1
            dts = self.number * D + self.index * 900
            track = 2 - self.index % 2
            frames.append(
                Frame(track, dts, 0, self.index == 1 or track == 2, b"%d.%d" % (self.number, self.index))
            )
        self.writer.frames(frames)

    def cut_segment(self) -> None:
        assert self.writer is not None
        self.writer.close(D)
        self.open()

    def lose(self) -> None:
        """The source's own link to the input breaks: the same run will go on."""
        assert self.writer is not None
        self.writer.lose("cut")

    def resume(self) -> None:
        assert self.source.run is not None
        self.writer = self.source.begin_run(self.source.run, D, local=False)

    def end_run(self) -> None:
        assert self.writer is not None
        self.writer.close(D)
        self.writer.lose("left")

    # The link.

    def connect(self, budget: int | None = None) -> PipeLink:
        self.link = link = PipeLink(self, budget)
        asking = AskingLink()
        self.puller.link_up(asking)
        (pull,) = asking.pulls
        self.relays.of(self.source).add(link, pull)
        return link

    def deliver(self, amount: int | None = None) -> None:
        link = self.link
        assert link is not None
        data = bytes(link.held[:amount])
        del link.held[: len(data)]
        for record in link.reader.receive(data):
            self.puller.record(record)

    def disconnect(self) -> None:
        link, self.link = self.link, None
        assert link is not None
        self.relays.of(self.source).drop(link)
        self.relays.release(self.source)
        self.puller.link_down("cut")


class CutTests(SynchronousTestCase):
    """The connection breaks after each byte in turn."""

    def live(self, position: int | None) -> Pair:
        """Three closed segments, one open; then a segment and a half live; the first link breaks."""
        pair = Pair()
        pair.begin()
        for _ in range(3):
            pair.push(4)
            pair.cut_segment()
        pair.push(2)
        link = pair.connect(position)
        for step in range(12):
            pair.push()
            if step == 6:
                pair.cut_segment()
            if link.cut:
                pair.deliver()
                pair.disconnect()
                link = pair.connect()
        pair.deliver()
        return pair

    def test_every_byte(self) -> None:
        whole = self.live(None)
        assert whole.link is not None
        length = whole.link.total
        self.assertGreater(length, 1500)
        # Of the live part: the open segment from its beginning, then everything.
        expected = [frame for frame in whole.there.frames if frame.dts >= 14 * D]
        self.assertEqual(whole.here.frames, expected)
        closed = {entry.number: entry.segment for entry in whole.source.window.retained}
        self.assertEqual(len(closed), 4)
        for position in range(length):
            pair = self.live(position)
            self.assertEqual(pair.here.frames, expected, position)
            self.assertEqual({e.number: e.segment for e in pair.edge.window.retained}, closed, position)
            assert pair.edge.open is not None and pair.source.open is not None
            self.assertEqual(pair.edge.open.frames, pair.source.open.frames)
            self.assertEqual(pair.edge.traffic.refused, 0)

    def test_every_byte_of_a_second_run(self) -> None:
        def drive(position: int | None) -> Pair:
            pair = Pair()
            pair.begin()
            pair.push(3)
            link = pair.connect()
            pair.deliver()
            base = link.total
            if position is not None:
                link.budget = base + position
            pair.push(2)
            pair.end_run()
            pair.begin()
            pair.push(3)
            pair.cut_segment()
            pair.push(2)
            for extra in (1, 0):
                if link.cut and pair.link is link:
                    pair.deliver()
                    pair.disconnect()
                    pair.connect()
                pair.push(extra)
            pair.deliver()
            return pair

        whole = drive(None)
        assert whole.link is not None
        self.assertEqual(whole.here.frames, whole.there.frames)
        for position in range(whole.link.total):
            pair = drive(position)
            window = {e.number: (e.segment, e.run.run_id) for e in pair.edge.window.retained}
            self.assertEqual(
                window, {e.number: (e.segment, e.run.run_id) for e in pair.source.window.retained}, position
            )
            self.assertEqual(pair.here.frames, pair.there.frames, position)


class PauseTests(SynchronousTestCase):
    """A link whose transport is full."""

    def setup_pair(self) -> tuple[Pair, PipeLink]:
        pair = Pair()
        pair.begin()
        pair.push(3)
        link = pair.connect()
        pair.push(1)
        return pair, link

    def check(self, pair: Pair) -> None:
        pair.deliver()
        self.assertEqual(pair.here.frames, pair.there.frames)
        self.assertEqual(
            [e.segment for e in pair.edge.window.retained], [e.segment for e in pair.source.window.retained]
        )
        if pair.source.open is not None and pair.edge.open is not None:
            self.assertEqual(pair.edge.open.frames, pair.source.open.frames)

    def go_on(self, pair: Pair, link: PipeLink) -> None:
        link.paused = False
        pair.relays.of(pair.source).resumed(link)

    def test_paused_at_the_close_of_a_segment(self) -> None:
        pair, link = self.setup_pair()
        link.paused = True
        pair.cut_segment()
        self.go_on(pair, link)
        pair.push(2)
        self.check(pair)
        self.assertEqual(len(pair.edge.window.retained), 1)

    def test_nothing_is_sent_while_paused(self) -> None:
        pair, link = self.setup_pair()
        link.paused = True
        before = link.total
        for _ in range(5):
            pair.push(3)
            pair.cut_segment()
        self.assertEqual(link.total, before)
        self.go_on(pair, link)
        self.check(pair)

    def test_paused_again_in_the_middle_of_catching_up(self) -> None:
        pair, link = self.setup_pair()
        link.paused = True
        for _ in range(5):
            pair.push(3)
            pair.cut_segment()
        original = link.send

        def send(record: Record) -> None:
            self.assertFalse(link.paused)
            original(record)
            link.paused = isinstance(record, SegmentCopy)

        link.send = send  # type: ignore[method-assign]
        for _ in range(6):
            before = link.total
            self.go_on(pair, link)
            self.assertLess(link.total - before, 2000)
        link.paused = False
        pair.push(1)
        self.check(pair)

    def test_behind_by_more_than_the_window(self) -> None:
        pair = Pair(count=2)
        pair.begin()
        pair.push(3)
        link = pair.connect()
        link.paused = True
        for _ in range(9):
            pair.push(3)
            pair.cut_segment()
        self.go_on(pair, link)
        pair.push(2)
        pair.deliver()
        self.assertEqual(
            [e.segment for e in pair.edge.window.retained][-2:],
            [e.segment for e in pair.source.window.retained][-2:],
        )
        dts = [frame.dts for frame in pair.here.frames]
        self.assertEqual(dts, sorted(set(dts)))
        self.assertEqual(pair.here.frames[-2:], pair.there.frames[-2:])

    def test_the_run_ends_while_paused(self) -> None:
        pair, link = self.setup_pair()
        link.paused = True
        pair.push(2)
        pair.end_run()
        self.go_on(pair, link)
        self.check(pair)
        self.assertFalse(pair.edge.running)
        pair.begin()
        pair.push(2)
        self.check(pair)
        self.assertTrue(pair.edge.running)

    def test_another_run_while_paused(self) -> None:
        pair, link = self.setup_pair()
        link.paused = True
        pair.push(2)
        pair.end_run()
        pair.begin()
        pair.push(2)
        self.go_on(pair, link)
        pair.push(1)
        self.check(pair)
        self.assertEqual([e for e in pair.here.events if e.startswith("run")], ["run 1", "run 2"])
        pair.cut_segment()
        self.check(pair)

    def test_the_others_notice_nothing(self) -> None:
        pair, link = self.setup_pair()
        other = PipeLink(pair)
        pair.relays.of(pair.source).add(other, Pull("x"))
        link.paused = True
        before = other.total
        pair.push(2)
        self.assertGreater(other.total, before)


class LifeTests(SynchronousTestCase):
    """Relays by stream; what a puller refuses."""

    def test_links_are_served_before_viewers(self) -> None:
        pair = Pair()
        pair.begin()
        link = pair.connect()
        sent: list[int] = []
        pair.there.on_frames = lambda: sent.append(link.total)
        before = link.total
        pair.push(1)
        self.assertGreater(sent[0], before)

    def test_a_source_that_is_behind_what_is_held(self) -> None:
        """Segments closed here before are passed over, the first one stays; then it goes on."""
        pair = Pair()
        ahead = Pair()
        for each in (pair, ahead):
            each.begin()
            each.push(4)
        ahead.cut_segment()
        ahead.push(4)
        ahead.cut_segment()
        # The edge took both segments of a source that was ahead, and lost it.
        writer = pair.edge.begin_run(RunInfo(7, 0, NODE, (NODE,)), D, local=False)
        for entry in ahead.source.window.retained:
            writer.copy(entry.segment, entry.run)
        writer.lose("cut")
        pair.connect()
        for _ in range(3):
            pair.push(2)
            pair.cut_segment()
        pair.push(2)
        pair.deliver()
        self.assertEqual([e.number for e in pair.edge.window.retained], [11, 12, 13])
        self.assertEqual(
            [e.segment for e in pair.edge.window.retained][:1], [ahead.source.window.retained[0].segment]
        )
        self.assertEqual({frame.dts // D for frame in pair.here.frames}, {13, 14})
        self.assertTrue(pair.puller.fruitful)

    def test_title(self) -> None:
        pair = Pair()
        pair.source.title = "Theirs"
        pair.begin()
        pair.push(1)
        pair.connect()
        pair.deliver()
        self.assertEqual(pair.edge.title, "Theirs")
        pair.disconnect()
        pair.edge.title = "Ours"
        pair.connect()
        pair.deliver()
        self.assertEqual(pair.edge.title, "Ours")

    def test_relays_come_and_go(self) -> None:
        pair = Pair()
        pair.begin()
        pair.push(1)
        self.assertEqual((pair.relays.links(pair.source), pair.source.taps), (0, 1))
        pair.connect()
        self.assertEqual((pair.relays.links(pair.source), pair.source.taps), (1, 2))
        pair.disconnect()
        self.assertEqual((pair.relays.links(pair.source), pair.source.taps), (0, 1))

    def test_stream_end_closes_the_links(self) -> None:
        pair = Pair()
        pair.begin()
        link = pair.connect()
        pair.source.finish("gone")
        self.assertEqual(link.closed, ["gone"])

    def test_a_relay_that_failed_is_not_used_again(self) -> None:
        pair = Pair()
        pair.begin()
        pair.push(1)
        link = pair.connect()
        first = pair.relays.of(pair.source)
        too_long = Frame(1, pair.source.last_dts or 0, 1 << 40, True, b"x")
        assert pair.writer is not None and pair.source.open is not None
        pair.writer.frames([too_long])
        self.assertEqual(link.closed, ["internal error"])
        pair.source.open.frames.pop()
        second = pair.relays.of(pair.source)
        self.assertIsNot(second, first)
        link = pair.connect()
        pair.push(1)
        pair.deliver()
        self.assertEqual(pair.here.frames[-1], pair.there.frames[-1])

    def test_input_lost_and_back_at_the_source(self) -> None:
        """A node in the middle loses its link and resumes: nothing is lost below, the link stays."""
        pair = Pair()
        pair.begin()
        pair.push(3)
        pair.connect()
        for _ in range(3):
            pair.lose()
            pair.deliver()
            self.assertFalse(pair.edge.running)
            pair.resume()
            pair.push(2)
            pair.deliver()
            self.assertTrue(pair.edge.running)
            pair.cut_segment()
            pair.push(1)
            pair.deliver()
        self.assertEqual(pair.here.frames, pair.there.frames)
        self.assertEqual([e for e in pair.here.events if e.startswith("run")], ["run 1"])

    def test_after_stop_nothing_feeds_the_stream(self) -> None:
        """A local publisher took the name: what the closing link still brings must not take it back."""
        pair = Pair()
        pair.begin()
        pair.push(1)
        pair.connect()
        pair.deliver()
        pair.puller.stop("not pulled any more")
        local = pair.edge.begin_run(RunInfo(99, 0, EDGE, (EDGE,)), D, local=True)
        pair.push(2)
        pair.end_run()
        pair.begin()
        pair.push(1)
        pair.deliver()
        self.assertTrue(local.in_power)
        self.assertFalse(pair.puller.linked and pair.edge.running)

    def test_hostile_records(self) -> None:
        run = RunInfo(1, 0, NODE, (NODE,))
        for record in (Frames([Frame(1, 0, 0, True, b"x")], 0), SegmentCopy(run, b"")):
            pair = Pair()
            pair.puller.link_up(AskingLink())
            self.assertRaises(RemoteProtocolError, pair.puller.record, record)

    def test_a_loop_is_refused(self) -> None:
        pair = Pair()
        ours = pair.puller._node_id
        pair.path = (NODE, ours, NEXT)
        pair.begin()
        pair.push(1)
        pair.connect()
        self.assertRaises(RemoteProtocolError, pair.deliver)
        self.assertEqual(pair.here.events, [])

    def test_another_name_is_refused(self) -> None:
        pair = Pair()
        pair.begin()
        pair.push(1)
        pair.source.name = "y"
        pair.connect()
        self.assertRaises(RemoteProtocolError, pair.deliver)

    def test_lag(self) -> None:
        pair = Pair()
        pair.puller._utc = lambda: 11 * D + 5000
        pair.begin()
        pair.push(1)
        pair.connect()
        pair.deliver()
        self.assertEqual(pair.puller.lag, 5000 - 900)
        self.assertEqual((pair.puller.frames, pair.puller.bytes), (1, 4))


class AnythingTests(SynchronousTestCase):
    """Any order of frames, cuts, pauses, losses and runs."""

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.randoms(use_true_random=False))
    def test_anything(self, rng: random.Random) -> None:
        pair = Pair()
        pair.begin()
        pair.push(1)
        pair.connect()
        pair.deliver()
        lost = False
        for _ in range(rng.randrange(10, 120)):
            what = rng.randrange(20)
            if what < 8 and not lost:
                pair.push(rng.randrange(1, 4))
            elif what < 10 and not lost:
                pair.cut_segment()
            elif what < 11 and not lost:
                pair.end_run()
                pair.begin()
                pair.push()
            elif what < 12:
                pair.resume() if lost else pair.lose()
                lost = not lost
            elif what < 15 and pair.link is not None:
                pair.deliver(rng.randrange(400))
            elif what < 17 and pair.link is not None:
                if pair.link.paused:
                    pair.link.paused = False
                    pair.relays.of(pair.source).resumed(pair.link)
                else:
                    pair.link.paused = True
            elif what < 18:
                if pair.link is not None:
                    pair.disconnect()
                elif not lost:
                    pair.connect()
        if lost:
            pair.resume()
        if pair.link is None:
            pair.connect()
        elif pair.link.paused:
            pair.link.paused = False
            pair.relays.of(pair.source).resumed(pair.link)
        pair.push()
        pair.deliver()
        window = [(e.segment, e.run.run_id) for e in pair.edge.window.retained]
        self.assertEqual(window, [(e.segment, e.run.run_id) for e in pair.source.window.retained])
        assert pair.edge.open is not None and pair.source.open is not None
        self.assertEqual(pair.edge.open.frames, pair.source.open.frames)
        seen = [(frame.track_id, frame.dts) for frame in pair.here.frames]
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(seen, sorted(seen, key=lambda each: each[1]))
        self.assertEqual(pair.edge.traffic.refused, 0)
        assert pair.edge.run is not None and pair.source.run is not None
        self.assertEqual(evolve(pair.edge.run, path=(NODE,)), pair.source.run)
