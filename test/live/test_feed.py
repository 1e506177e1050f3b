"""The fan-out: what each viewer gets, whatever its socket and its neighbours do."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.live import feed as module
from restreamer.live import viewer as viewer_module
from restreamer.live.feed import SLICE, Feed, FeedCounters, FeedLimits
from restreamer.live.feed_log import FeedLog
from restreamer.live.playout import Playout
from restreamer.live.stream import Stream, StreamWriter
from restreamer.live.viewer import Viewer
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.timebase import TICKS_PER_SECOND
from test.live.rig import AV, NODE, D
from test.live.viewing import (
    PACKET,
    KernelTransport,
    PacketMuxer,
    Seen,
    TlsTransport,
    aside,
    packet,
    picture,
    sound,
)

RUN = RunInfo(1, 77, NODE, (NODE,))


class FeedCase(SynchronousTestCase):
    """A stream with a playout of numbered packets."""

    limits = FeedLimits()

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.faults: list[str] = []
        self.stream = Stream("x", LiveWindow(4), faulted=lambda what, error: self.faults.append(repr(error)))
        self.muxer = PacketMuxer()
        self.playout = Playout(self.stream, self.clock, {"p": lambda title: self.muxer}, self.limits)
        self.ended: list[str] = []
        self.number = 0
        self.frame = 0
        self.writer: StreamWriter
        patched = mock.patch.object(
            viewer_module, "direct_send", lambda transport: getattr(transport, "send", _blocked)
        )
        patched.start()
        self.addCleanup(patched.stop)
        self.begin()

    def begin(self, run_id: int = 1, discontinuity: bool = False) -> None:
        self.writer = self.stream.begin_run(RunInfo(run_id, run_id * 77, NODE, (NODE,)), D, local=True)
        self.open(discontinuity)

    def open(self, discontinuity: bool = False, tracks: Any = AV) -> None:
        self.number += 1
        self.writer.open(SegmentOpening(self.number, 0, discontinuity, True, 0, tracks))

    def push(self, packets: int = 3, key: bool = False, audio: bool = False) -> None:
        """One frame as its own batch."""
        self.frame += 1
        frame = sound(self.frame, packets) if audio else picture(self.frame, packets, key)
        self.writer.frames([frame])

    def gop(self, pictures: int = 5, packets: int = 3) -> None:
        for index in range(pictures):
            self.push(packets, key=index == 0)
            self.push(1, audio=True)

    def join(self, transport: Any = None) -> tuple[KernelTransport, Viewer]:
        transport = transport if transport is not None else KernelTransport()
        viewer = self.playout.join("p", transport, self.ended.append)
        if isinstance(transport, KernelTransport):
            transport.read(0)
        return transport, viewer

    @property
    def feed(self) -> Feed:
        return self.playout.feeds()["p"]

    def timers(self) -> list[object]:
        return list(self.clock.getDelayedCalls())

    @override
    def tearDown(self) -> None:
        self.assertEqual(self.faults, [])


def _blocked(data: bytes) -> int:
    raise BlockingIOError


class JoinTests(FeedCase):
    """Where viewers begin."""

    def test_at_the_newest_keyframe_behind_what_was_written_before(self) -> None:
        self.gop()
        self.gop()
        transport = KernelTransport(room=0)
        transport.write(packet(b"A", 1))
        _, viewer = self.join(transport)
        self.gop()
        self.assertEqual(len(transport.got), 0)
        transport.read()
        self.push()
        seen = Seen().check(bytes(transport.got))
        self.assertEqual((seen.asides, seen.last), ([1], self.muxer.number - 1))
        self.assertEqual(viewer.bytes_sent, seen.media)
        # Primed with the newest group of pictures only.
        self.assertEqual(seen.packets, 20 + 20 + 3)

    def test_before_any_keyframe_it_waits_and_control_bytes_keep_their_order(self) -> None:
        transport = KernelTransport(room=10)
        transport.write(aside(1))
        _, viewer = self.join(transport)
        self.push(audio=True)
        viewer.write_aside(aside(2))
        transport.read(PACKET)
        viewer.write_aside(aside(3))
        self.gop()
        viewer.write_aside(aside(4))
        transport.read()
        viewer.write_aside(aside(5))
        seen = Seen().check(bytes(transport.got))
        self.assertEqual(seen.asides, [1, 2, 3, 4, 5])
        self.assertEqual(seen.last, self.muxer.number - 1)

    def test_stream_without_a_segment_yet(self) -> None:
        """A run that has begun but opened nothing: the feed is configured by its first segment."""
        self.stream.open = None
        transport, _ = self.join()
        self.open()
        self.gop()
        transport.read(0)
        self.assertEqual(self.muxer.log, ["configure 2 77 True"])
        self.assertEqual(Seen().check(bytes(transport.got)).packets, 20)

    def test_second_viewer_gets_the_shared_log(self) -> None:
        self.gop()
        first, _ = self.join()
        self.push()
        self.push()
        second, _ = self.join()
        self.push()
        self.assertEqual(bytes(first.got[-PACKET * 9 :]), bytes(second.got[-PACKET * 9 :]))
        self.assertEqual(len(self.playout.feeds()), 1)
        self.assertEqual((self.playout.viewers, self.feed.counters.joined), (2, 2))

    def test_frames_that_wait_for_a_flush_come_once(self) -> None:
        """A join in between two flushes must neither lose nor repeat what is pending."""
        with mock.patch.object(module, "CADENCES", ((1 << 62, 0.1),)):
            self.gop()
            first, _ = self.join()
            self.push()
            second, _ = self.join()
            self.push()
            self.clock.advance(0.1 * module.LATEST)
            for transport in (first, second):
                self.assertEqual(Seen().check(bytes(transport.got)).last, self.muxer.number - 1)

    def test_flushes_come_at_borders_of_a_grid(self) -> None:
        """The first frame behind a border goes out at once with what waited; a timer does it without one."""
        interval = 0.1
        step = round(interval * TICKS_PER_SECOND)
        with mock.patch.object(module, "CADENCES", ((1 << 62, interval),)):
            self.gop()
            transport, _ = self.join()
            self.push()
            self.clock.advance(1.0)
            taken = []
            for _ in range(50):
                before = len(transport.got)
                self.push()
                if len(transport.got) != before:
                    taken.append(picture(self.frame).dts)
                self.clock.advance(0.04)
            self.assertGreater(len(taken), 5)
            for at in taken[1:]:
                self.assertGreater(at // step, (at - picture(1).dts) // step, at)
            before = len(transport.got)
            self.clock.advance(2.0 * interval)
            self.assertGreaterEqual(len(transport.got), before)
            self.assertEqual(Seen().check(bytes(transport.got)).last, self.muxer.number - 1)

    def test_unknown_container(self) -> None:
        refused = self.assertRaises(Refused, self.playout.join, "flv", KernelTransport(), self.ended.append)
        self.assertEqual(refused.reason, Reason.UNSUPPORTED)

    def test_ended_stream(self) -> None:
        self.gop()
        self.stream.finish("gone")
        _, viewer = self.join()
        viewer.leave()
        self.assertEqual(self.ended, ["the stream has ended"])
        self.assertEqual((self.playout.feeds(), self.timers()), ({}, []))

    def test_a_transport_that_is_lost_already(self) -> None:
        self.gop()
        self.join(KernelTransport(gone=True))
        self.assertEqual((self.playout.feeds(), self.stream.taps, self.timers()), ({}, 0, []))

    def test_a_transport_whose_producer_slot_is_taken(self) -> None:
        self.gop()
        transport = KernelTransport()
        transport.producer = object()
        self.join(transport)
        self.assertEqual(self.faults, ["RuntimeError('there is a producer already')"])
        self.faults.clear()
        self.assertEqual((self.playout.feeds(), self.stream.taps, transport.aborted), ({}, 0, 1))

    def test_audio_alone_can_be_joined_once_a_second(self) -> None:
        self.open(tracks=AV[1:])
        self.push(audio=True)
        transport, _ = self.join()
        for _ in range(60):
            self.push(audio=True)
        self.assertEqual(len(self.feed.log.keys), 3)
        self.assertGreater(len(transport.got), 60 * PACKET)


class SlowTests(FeedCase):
    """Kernels that are full."""

    def test_partial_sends_of_any_length_tear_nothing(self) -> None:
        for room in range(0, 3 * PACKET + 1, 47):
            self.setUp()
            self.gop()
            transport, viewer = self.join()
            for _ in range(20):
                transport.room = room
                self.push()
                self.push()
                transport.read(PACKET)
            transport.read()
            self.push()
            seen = Seen().check(bytes(transport.got))
            self.assertEqual((seen.last, seen.skips), (self.muxer.number - 1, 0))
            self.assertEqual(viewer.bytes_sent, seen.media)

    def test_private_memory_is_one_entry(self) -> None:
        self.gop()
        transport, _ = self.join()
        transport.room, transport.most = 5 * PACKET, 0
        for _ in range(200):
            self.push(packets=4)
        self.assertLessEqual(transport.most, 4 * PACKET)

    def test_entries_are_small_even_when_a_feed_is_primed(self) -> None:
        """A long group of pictures is not one entry that each new viewer has to itself."""
        self.push(key=True, packets=50)
        for _ in range(200):
            self.push(packets=50)
        transport, _ = self.join(KernelTransport(room=0))
        self.assertLessEqual(len(transport.buffer), module.MAX_ENTRY + 50 * PACKET)
        transport.read()
        self.assertEqual(Seen().check(bytes(transport.got)).packets, 201 * 50)

    def test_slow_viewer_jumps_forward_to_keyframes_only(self) -> None:
        self.gop()
        transport, _ = self.join()
        transport.room = 0
        for _ in range(16):
            self.clock.advance(0.9)
            transport.read(PACKET // 2)
            self.gop()
        transport.read()
        self.push()
        seen = Seen().check(bytes(transport.got))
        self.assertEqual((seen.skips, seen.last), (1, self.muxer.number - 1))
        self.assertEqual((self.feed.counters.skips, self.feed.counters.dropped), (1, 0))

    def test_a_long_group_of_pictures_is_no_reason_to_jump(self) -> None:
        """Behind by more than the bound, but there is no newer keyframe: it goes on where it is."""
        self.gop()
        transport, _ = self.join()
        transport.room = 0
        for _ in range(9):
            self.clock.advance(1)
            self.push()
            transport.read(PACKET)
        transport.read()
        self.clock.advance(5)
        self.push()
        seen = Seen().check(bytes(transport.got))
        self.assertEqual((seen.skips, seen.last), (0, self.muxer.number - 1))

    def test_dropped_after_jumps_in_short_time(self) -> None:
        self.playout = Playout(
            self.stream, self.clock, {"p": lambda title: self.muxer}, FeedLimits(max_bytes=40 * PACKET)
        )
        self.gop()
        transport, _ = self.join()
        for _ in range(2):
            transport.room = 0
            for _ in range(10):
                self.gop()
            transport.read(1000 * PACKET)
        self.assertEqual(transport.aborted, 1)
        self.assertEqual(self.ended, ["too slow: fell behind again and again"])
        counters = self.playout.counters["p"]
        self.assertEqual((counters.skips, counters.dropped), (2, 1))
        self.assertEqual((self.playout.feeds(), self.stream.taps, self.timers()), ({}, 0, []))
        Seen().check(bytes(transport.got), whole=False)

    def test_jumps_far_apart_are_forgiven(self) -> None:
        self.playout = Playout(
            self.stream, self.clock, {"p": lambda title: self.muxer}, FeedLimits(max_bytes=40 * PACKET)
        )
        self.gop()
        transport, _ = self.join()
        for _ in range(6):
            transport.room = 0
            for _ in range(10):
                self.gop()
            transport.read(1000 * PACKET)
            self.clock.advance(31)
            transport.read()
        self.assertEqual((transport.aborted, self.feed.counters.skips), (0, 6))

    def test_stalled_viewer_is_aborted(self) -> None:
        self.gop()
        stalled, _ = self.join()
        stalled.room = 100
        healthy, _ = self.join()
        for _ in range(9):
            self.gop()
            self.clock.advance(1)
        self.assertEqual(stalled.aborted, 0)
        for _ in range(3):
            self.gop()
            self.clock.advance(1)
        self.assertEqual((stalled.aborted, healthy.aborted), (1, 0))
        self.assertEqual(self.ended, ["did not take what it was sent for 10 s"])
        self.assertEqual((self.playout.viewers, self.feed.counters.dropped), (1, 1))
        self.assertEqual(self.timers(), [])

    def test_a_stalled_viewer_of_a_silent_stream_is_aborted_too(self) -> None:
        self.gop()
        transport, _ = self.join(KernelTransport(room=0))
        self.clock.pump([1] * 12)
        self.assertEqual((transport.aborted, self.playout.feeds(), self.timers()), (1, {}, []))

    def test_lost_before_a_keyframe_exists_again(self) -> None:
        """Everything it could continue from is gone, and no keyframe is held: it waits for the next one."""
        self.playout = Playout(
            self.stream, self.clock, {"p": lambda title: self.muxer}, FeedLimits(max_bytes=20 * PACKET)
        )
        self.gop()
        transport, _ = self.join()
        transport.room = 0
        for _ in range(60):
            self.push()
        transport.read()
        self.push()
        self.assertEqual(Seen().check(bytes(transport.got)).skips, 0)
        self.gop()
        transport.read()
        seen = Seen().check(bytes(transport.got))
        self.assertEqual((seen.skips, seen.last), (1, self.muxer.number - 1))

    def test_socket_errors_end_that_viewer_alone(self) -> None:
        for error in (BrokenPipeError, ConnectionResetError, OSError):
            self.setUp()
            self.gop()
            transports = [self.join()[0] for _ in range(5)]
            transports[1].error = transports[4].error = error
            self.push()
            self.assertEqual([t.aborted for t in transports], [0, 1, 0, 0, 1])
            self.assertEqual(self.ended, ["the connection broke"] * 2)
            self.assertEqual((self.playout.viewers, self.feed.counters.dropped), (3, 0))
            self.push()
            for index in (0, 2, 3):
                self.assertEqual(Seen().check(bytes(transports[index].got)).last, self.muxer.number - 1)

    def test_the_last_viewer_breaks_while_a_flush_is_due(self) -> None:
        with mock.patch.object(module, "CADENCES", ((1 << 62, 0.1),)):
            self.gop()
            transport, _ = self.join()
            self.push()
            transport.error = BrokenPipeError
            self.push()
            self.clock.advance(1)
        self.assertEqual((self.playout.feeds(), self.stream.taps, self.timers()), ({}, 0, []))

    def test_any_other_error_of_a_transport_is_reported_and_ends_that_viewer_alone(self) -> None:
        self.gop()
        bad, _ = self.join()
        good, _ = self.join()
        bad.room = 0
        with mock.patch.object(KernelTransport, "write", side_effect=ZeroDivisionError):
            self.push()
        self.assertEqual(self.faults, ["ZeroDivisionError()"])
        self.faults.clear()
        self.push()
        self.assertEqual((bad.aborted, self.playout.viewers), (1, 1))
        self.assertEqual(Seen().check(bytes(good.got)).last, self.muxer.number - 1)

    def test_a_protocol_that_fails_at_the_end_of_its_viewer(self) -> None:
        self.gop()

        def fail(reason: str) -> None:
            raise ZeroDivisionError

        bad = KernelTransport()
        self.playout.join("p", bad, fail)
        bad.read(0)
        good, _ = self.join()
        bad.error = BrokenPipeError
        self.push()
        self.push()
        self.assertEqual(self.faults, ["ZeroDivisionError()"])
        self.faults.clear()
        self.assertEqual(Seen().check(bytes(good.got)).last, self.muxer.number - 1)


class WalkTests(FeedCase):
    """More viewers than one turn of the reactor serves."""

    limits = FeedLimits(flush_interval=0.0)

    def crowd(self, size: int = 3 * SLICE + 10) -> list[tuple[KernelTransport, Viewer]]:
        self.gop()
        return [self.join() for _ in range(size)]

    def check(self, crowd: list[tuple[KernelTransport, Viewer]]) -> None:
        for transport, viewer in crowd:
            seen = Seen().check(bytes(transport.got))
            self.assertEqual((seen.last, seen.media), (self.muxer.number - 1, viewer.bytes_sent))

    def test_sliced(self) -> None:
        crowd = self.crowd()
        before = [t.sends for t, _ in crowd]
        self.push()
        served = sum(t.sends for t, _ in crowd) - sum(before)
        self.assertEqual(served, SLICE)
        self.clock.pump([0] * 10)
        self.check(crowd)
        self.clock.pump([1, 1])
        self.assertEqual(self.timers(), [])

    def test_slices_are_short(self) -> None:
        """Viewers that cost much more than usual (all of them have just gone) make a slice no longer."""
        crowd = self.crowd()
        took: list[float] = []
        serve = Feed._serve

        def timed(feed: Feed) -> None:
            before = self.clock.seconds()
            serve(feed)
            took.append(self.clock.seconds() - before)

        for _, viewer in crowd:
            viewer.send = self.costly(viewer.send, 0.0002)
        with mock.patch.object(Feed, "_serve", timed):
            self.push()
            self.clock.pump([0] * 10)
        self.check(crowd)
        # Of 15 viewers the last one may have been too many.
        self.assertTrue(0.001 < max(took) <= module.SLICE_SECONDS + 15 * 0.0002, took)

    def costly(self, send: Callable[[bytes], int], seconds: float) -> Callable[[bytes], int]:
        def cost(data: bytes) -> int:
            self.clock.rightNow += seconds
            return send(data)

        return cost

    def test_entries_that_come_while_a_walk_runs(self) -> None:
        crowd = self.crowd()
        for _ in range(5):
            self.push()
            self.clock.advance(0)
        self.clock.pump([0] * 10)
        self.check(crowd)
        self.clock.pump([1, 1])
        self.assertEqual(self.timers(), [])

    def test_nobody_is_always_last(self) -> None:
        """Who is served in the first slice of a walk is not who was in the one before."""
        crowd = self.crowd(4 * SLICE)
        often = [0] * len(crowd)
        walks = 40
        for _ in range(walks):
            before = [transport.sends for transport, _ in crowd]
            self.push()
            for index, (transport, _) in enumerate(crowd):
                often[index] += transport.sends - before[index]
            self.clock.pump([0] * 10)
            self.clock.advance(1)
        self.check(crowd)
        # A quarter of the walks, each.
        self.assertTrue(all(walks // 8 <= times <= walks // 2 for times in often), (min(often), max(often)))

    def test_an_entry_before_the_last_slice(self) -> None:
        """Those served first must not wait for the flush after."""
        crowd = self.crowd(SLICE + 1)
        self.push()
        self.push()
        self.clock.pump([0] * 4)
        self.check(crowd)

    def test_with_a_cadence(self) -> None:
        with mock.patch.object(module, "CADENCES", ((1 << 62, 0.1),)):
            self.limits = FeedLimits()
            self.setUp()
            crowd = self.crowd()
            self.push()
            self.clock.advance(0.1)
            self.push()
            self.clock.advance(0.1)  # due while the walk of the first is at its second slice
            self.clock.pump([0] * 10)
            self.check(crowd)
        self.clock.pump([1, 1])
        self.assertEqual(self.timers(), [])

    def test_joining_while_a_walk_runs(self) -> None:
        crowd = self.crowd()
        self.push()
        crowd.append(self.join())
        self.push()
        self.clock.advance(0)
        crowd.append(self.join())
        self.clock.pump([0] * 10)
        self.check(crowd)

    def test_leaving_while_a_walk_runs(self) -> None:
        crowd = self.crowd()
        self.push()
        for _, viewer in crowd[::2]:
            viewer.leave()
        self.clock.pump([0] * 10)
        self.check(crowd[1::2])
        for transport, _ in crowd[::2]:
            Seen().check(bytes(transport.got))
        for _, viewer in crowd[1::2]:
            viewer.leave()
        self.assertEqual((self.playout.feeds(), self.timers()), ({}, []))

    def test_all_leave_while_a_walk_runs(self) -> None:
        crowd = self.crowd()
        self.push()
        for _, viewer in crowd:
            viewer.leave()
            viewer.leave()
        self.assertEqual((self.playout.feeds(), self.stream.taps, self.timers()), ({}, 0, []))
        self.push()
        self.clock.pump([0] * 5)
        crowd = self.crowd(3)
        self.push()
        self.check(crowd)

    def test_the_stream_ends_while_a_walk_runs(self) -> None:
        crowd = self.crowd()
        self.push()
        self.push()
        self.stream.finish("gone")
        self.check(crowd)
        self.assertEqual(self.ended, ["gone"] * len(crowd))
        self.assertEqual((self.playout.feeds(), self.timers()), ({}, []))
        self.assertTrue(all(t.producer is None for t, _ in crowd))

    def test_viewers_that_break_while_a_walk_runs(self) -> None:
        crowd = self.crowd()
        for transport, _ in crowd[5::7]:
            transport.error = BrokenPipeError
        for transport, _ in crowd[3::7]:
            transport.room = 100
        self.push()
        self.push()
        self.clock.pump([0] * 10)
        for transport, _ in crowd[3::7]:
            transport.read()
        self.push()
        self.clock.pump([0] * 10)
        self.check([each for index, each in enumerate(crowd) if index % 7 != 5])

    def test_a_viewer_whose_end_makes_another_leave_and_join(self) -> None:
        self.gop()
        others: list[tuple[KernelTransport, Viewer]] = []

        def react(reason: str) -> None:
            crowd[-1][1].leave()
            others.append(self.join())

        transport = KernelTransport()
        self.playout.join("p", transport, react)
        transport.read(0)
        crowd = self.crowd(SLICE + 5)
        transport.error = BrokenPipeError
        self.push()
        self.clock.pump([0] * 5)
        self.check(crowd[:-1] + others)


class LifeTests(FeedCase):
    """Feeds come with the first viewer and go with the last."""

    def test_gone_with_the_last_viewer(self) -> None:
        self.gop()
        _, one = self.join()
        slow, two = self.join(KernelTransport(room=0))
        self.assertEqual(self.stream.taps, 1)
        one.leave()
        self.assertEqual(self.stream.taps, 1)
        slow.lose()
        self.assertEqual((self.playout.feeds(), self.stream.taps, self.timers()), ({}, 0, []))
        self.assertEqual(self.ended, [])
        two.leave()
        two.write_aside(b"x")
        self.push()
        self.assertEqual((self.playout.feeds(), self.timers()), ({}, []))

    def test_leaving_while_parked_frees_the_transport(self) -> None:
        self.gop()
        transport, viewer = self.join(KernelTransport(room=0))
        self.assertIsNotNone(transport.producer)
        viewer.leave()
        self.assertIsNone(transport.producer)
        transport.read()
        self.push()
        Seen().check(bytes(transport.got))

    def test_bytes_are_counted_once(self) -> None:
        self.gop()
        crowd = [self.join() for _ in range(4)]
        crowd[3][0].room = 0
        self.push()
        crowd[0][1].leave()
        self.push()
        crowd[1][0].error = BrokenPipeError
        self.push()
        out = sum(len(t.got) + len(t.buffer) for t, _ in crowd)
        broken = crowd[1][0]
        self.assertEqual(self.playout.bytes_out, out)
        for _, viewer in crowd:
            viewer.leave()
        self.assertEqual(self.playout.bytes_out, out)
        self.assertEqual(self.playout.counters["p"].bytes_out, out)
        self.assertEqual(broken.aborted, 1)
        self.join()
        self.assertGreater(self.playout.bytes_out, out)

    def test_stream_end_sends_what_was_muxed(self) -> None:
        with mock.patch.object(module, "CADENCES", ((1 << 62, 0.1),)):
            self.gop()
            live, _ = self.join()
            parked, _ = self.join(KernelTransport(room=0))
            self.push()
            self.stream.finish("gone")
        self.assertEqual(Seen().check(bytes(live.got)).last, self.muxer.number - 1)
        self.assertIsNone(parked.producer)
        parked.read()
        Seen().check(bytes(parked.got))
        self.assertEqual(self.ended, ["gone", "gone"])
        self.assertEqual((live.aborted, self.playout.feeds(), self.timers()), (0, {}, []))
        self.assertEqual(self.playout.bytes_out, len(live.got) + len(parked.got))

    def test_a_muxer_that_fails_ends_its_viewers(self) -> None:
        self.gop()
        _, _ = self.join()
        with mock.patch.object(PacketMuxer, "mux", side_effect=ZeroDivisionError):
            self.push()
        self.assertEqual(self.faults, ["ZeroDivisionError()"])
        self.faults.clear()
        self.assertEqual(self.ended, ["internal error"])
        self.assertEqual((self.playout.feeds(), self.stream.taps, self.timers()), ({}, 0, []))
        self.gop()
        transport, _ = self.join()
        self.push()
        Seen().check(bytes(transport.got))

    def test_cadence_by_viewers(self) -> None:
        feed = Feed(PacketMuxer(), self.clock, FeedLimits(), FeedCounters(), lambda: None)
        for viewers, interval in ((1, 0.0), (100, 0.0), (101, 0.04), (1000, 0.04), (4000, 0.1), (5000, 0.35)):
            with mock.patch.object(Feed, "__len__", return_value=viewers):
                self.assertEqual(feed.flush_interval, interval)

    def test_one_flush_per_interval(self) -> None:
        with mock.patch.object(module, "CADENCES", ((1 << 62, 0.1),)):
            self.gop()
            transport, _ = self.join()
            before = transport.sends
            for _ in range(100):
                self.push()
                self.clock.advance(0.01)
            self.assertLessEqual(transport.sends - before, 10 / module.LEAST + 1)


class MuxerTests(FeedCase):
    """The order in which a muxer is called (L{restreamer.seams.FeedMuxer})."""

    def test_configured_once_for_a_run(self) -> None:
        self.gop()
        self.join()
        for _ in range(3):
            self.open()
            self.gop()
        self.assertEqual(self.muxer.log, ["configure 2 77 False"])

    def test_discontinuity_and_other_tracks(self) -> None:
        self.gop()
        self.join()
        self.open(discontinuity=True)
        self.gop()
        self.open(tracks=AV[:1])
        self.push(key=True)
        self.assertEqual(
            self.muxer.log, ["configure 2 77 False", "configure 2 77 True", "configure 1 77 True"]
        )

    def test_another_run(self) -> None:
        self.gop()
        transport, _ = self.join()
        self.push()
        self.writer.lose("gone")
        self.begin(2)
        self.gop()
        self.assertEqual(self.muxer.log, ["configure 2 77 False", "configure 2 154 True"])
        self.assertEqual(Seen().check(bytes(transport.got)).last, self.muxer.number - 1)

    def test_a_feed_made_between_two_runs(self) -> None:
        """Primed with nothing of the run before: its timeline is not that of the new one."""
        self.gop()
        self.writer.close(D)
        self.writer.lose("gone")
        self.writer = self.stream.begin_run(RunInfo(2, 154, NODE, (NODE,)), D, local=True)
        transport, _ = self.join()
        self.assertEqual(transport.got, b"")
        self.open(discontinuity=True)
        self.gop()
        transport.read()
        self.assertEqual(self.muxer.log[-1], "configure 2 154 True")
        self.assertEqual(Seen().check(bytes(transport.got)).packets, 20)

    def test_a_muxer_that_gives_nothing_for_keyframes(self) -> None:
        """Marks of keyframes that left no bytes do not pile up."""
        self.gop()
        self.join()
        with mock.patch.object(PacketMuxer, "mux", return_value=b""):
            for _ in range(500):
                self.push(key=True)
        self.assertLessEqual(len(self.feed.log.keys), 2)


class TlsTests(FeedCase):
    """Transports with no socket of their own: everything through their buffer, one entry at a time."""

    def test_everything_arrives_in_order(self) -> None:
        self.gop()
        transport = TlsTransport(self.clock)
        _, viewer = self.join(transport)
        for index in range(50):
            self.push()
            if index % 10 == 3:
                viewer.write_aside(aside(index))
            self.clock.advance(0)
        self.clock.pump([0] * 10)
        seen = Seen().check(bytes(transport.got))
        self.assertEqual((seen.last, seen.asides), (self.muxer.number - 1, [3, 13, 23, 33, 43]))
        self.assertEqual(viewer.bytes_sent, seen.media)
        viewer.leave()
        self.assertEqual(self.timers(), [])

    def test_a_stuck_one_is_bounded_and_aborted(self) -> None:
        self.gop()
        transport = TlsTransport(self.clock, threshold=10 * PACKET, stuck=True)
        self.join(transport)
        for _ in range(300):
            self.push()
            self.clock.advance(0.04)
        self.assertLess(transport.most, 10 * PACKET + 20 * PACKET)
        self.assertEqual(transport.aborted, 1)


class LogTests(SynchronousTestCase):
    """The shared log by itself."""

    def test_bounds(self) -> None:
        log = FeedLog(1000, 10.0)
        for index in range(50):
            if index % 10 == 0:
                log.mark(b"", b"")
            log.append(b"x" * 100, index * 0.1)
            self.assertLessEqual(log.size, 2000)
            self.assertEqual(log.size, sum(map(len, log.entries)))
            self.assertEqual(log.end, 100 * (index + 1))
        newest = log.newest_key()
        assert newest is not None
        self.assertEqual(newest.entry, 4000)
        self.assertEqual(log.base, 4000)

    def test_entries_of_all_lengths(self) -> None:
        log = FeedLog(60, 100.0)
        begins = []
        for length in range(1, 20):
            begins.append(log.end)
            log.mark(b"", b"", length)
            log.append(bytes((length,)) * length, float(length))
        held = [(begin, number) for number, begin in enumerate(begins, 1) if begin >= log.base]
        self.assertEqual([number for _, number in held], [17, 18, 19])
        for begin, number in held:
            self.assertEqual(log.entry(begin), bytes((number,)) * number)
            self.assertEqual(log.age(begin, 20.0), 20.0 - number)
        self.assertEqual(log.age(log.end, 20.0), 0.0)

    def test_age(self) -> None:
        log = FeedLog(1 << 20, 10.0)
        log.append(b"x", 5.0)
        self.assertEqual((log.age(0, 7.0), log.age(1, 7.0)), (2.0, 0.0))

    def test_old_entries_go_by_time(self) -> None:
        log = FeedLog(1 << 20, 10.0)
        for index in range(30):
            log.mark(b"", b"")
            log.append(b"x", float(index))
        self.assertEqual((log.base, len(log.keys)), (19, 11))

    def test_without_keyframes_it_is_bounded_too(self) -> None:
        log = FeedLog(1000, 10.0)
        log.mark(b"", b"")
        for _index in range(500):
            log.append(b"x" * 100, 0.0)
            self.assertLessEqual(log.size, 2000)
            self.assertLessEqual(len(log.keys), 1)
        self.assertIsNone(log.newest_key())


class AnythingTests(FeedCase):
    """Any order of events."""

    @settings(deadline=None, max_examples=80, derandomize=True)
    @given(
        st.randoms(use_true_random=False),
        st.sampled_from([0.0, 0.04]),
        st.sampled_from([20, 60, 2000]),
        st.integers(1, 4),
    )
    def test_anything(self, rng: random.Random, interval: float, packets: int, slice_size: int) -> None:
        self.setUp()
        limits = FeedLimits(max_bytes=packets * PACKET, max_seconds=2.0, flush_interval=interval)
        self.playout = Playout(self.stream, self.clock, {"p": lambda title: self.muxer}, limits)
        crowd: list[tuple[Any, Viewer]] = []
        left: list[Viewer] = []
        asides = 0
        with (
            mock.patch.object(module, "SLICE", slice_size),
            mock.patch.object(module, "MAX_ENTRY", 12 * PACKET),
        ):
            for _ in range(rng.randrange(20, 200)):
                what = rng.randrange(100)
                if what < 45:
                    self.push(rng.randrange(1, 8), key=rng.randrange(6) == 0, audio=rng.randrange(3) == 0)
                elif what < 55 and len(crowd) < 12:
                    slow = rng.randrange(3)
                    transport = (
                        TlsTransport(self.clock)
                        if rng.randrange(5) == 0
                        else KernelTransport(room=1 << 30 if slow else rng.randrange(5 * PACKET))
                    )
                    transport.write(aside(0))
                    crowd.append(self.join(transport))
                elif what < 75 and crowd:
                    transport, viewer = rng.choice(crowd)
                    if isinstance(transport, KernelTransport):
                        transport.read(rng.randrange(1, 20 * PACKET))
                elif what < 80 and crowd:
                    _, viewer = rng.choice(crowd)
                    asides += 1
                    viewer.write_aside(aside(asides))
                elif what < 84 and crowd:
                    _, viewer = rng.choice(crowd)
                    viewer.leave()
                    left.append(viewer)
                elif what < 86 and crowd:
                    transport, viewer = rng.choice(crowd)
                    if isinstance(transport, KernelTransport) and viewer not in left:
                        transport.room = 0
                elif what < 88:
                    self.open(discontinuity=rng.randrange(2) == 0)
                else:
                    self.clock.advance(rng.choice([0, 0, 0.04, 0.3, 1.0]))
            for _ in range(40):
                for transport, _ in crowd:
                    if isinstance(transport, KernelTransport):
                        transport.read()
                self.clock.advance(0.04)
            here = {viewer for _, viewer in crowd if not viewer.gone}
            self.assertEqual(self.playout.viewers, len(here))
            sent = 0
            for transport, viewer in crowd:
                seen = Seen().check(bytes(transport.got), whole=not transport.aborted)
                self.assertEqual(seen.asides, sorted(seen.asides))
                sent += viewer.bytes_sent
                if viewer in here:
                    self.assertEqual(seen.media, viewer.bytes_sent)
                    if seen.last is not None and viewer not in self.feed._waiting:
                        self.assertEqual(seen.last, self.muxer.number - 1)
            self.assertEqual(self.playout.bytes_out, sent)
            for viewer in here:
                viewer.leave()
        self.assertEqual((self.playout.feeds(), self.stream.taps, self.timers()), ({}, 0, []))
        self.assertEqual(self.faults, [])
