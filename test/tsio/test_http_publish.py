"""C{POST /NAME/mpegts}: a transport stream published through the front."""

from __future__ import annotations

from twisted.internet.task import Clock
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.testing.media import aac_track, h264_track, make_frames
from restreamer.tsio.http_publish import MAX_FAILURES, publish_route
from test.tsio.sinks import KeepingPoint
from test.web.test_bodies import post
from test.web.test_front import FrontCase
from test.web.wires import Visit

MIB = 1024 * 1024
TRACKS = (h264_track(), aac_track())
FRAMES = make_frames(2.0)
STREAM = mux_segment(TRACKS, FRAMES)


class Publishing(FrontCase):
    @override
    def setUp(self) -> None:
        self.point = KeepingPoint()
        self.clock = Clock()
        self.route = publish_route(self.point, self.clock)

    def begin(self, *fields: str, path: str = "/live/cam/mpegts", body: bytes = b"") -> Visit:
        visit = self.visit(self.route, clock=self.clock)
        visit.send(post(*fields, path=path, body=body))
        return visit

    def test_frames_arrive_as_they_were(self) -> None:
        visit = self.begin("Transfer-Encoding: chunked", path="/live/cam/mpegts?password=p&token=t")
        for at in range(0, len(STREAM), 1000):
            piece = STREAM[at : at + 1000]
            visit.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        sink = self.point.sinks[0]
        self.assertGreater(len(sink.frames), len(FRAMES) // 2)
        visit.send(b"0\r\n\r\n")
        self.assertEqual((visit.statuses(), sink.ends), ([200], ["the publisher ended"]))
        self.assertEqual(
            sorted((f.track_id, f.dts, f.cts, f.key, f.data) for f in sink.frames),
            sorted((f.track_id, f.dts & (1 << 33) - 1, f.cts, f.key, f.data) for f in FRAMES),
        )
        request = self.point.requests[0]
        self.assertEqual(
            (request.name, request.action, request.proto, request.password, request.token),
            ("live/cam", "publish", "tshttp", "p", "t"),
        )

    def test_refused(self) -> None:
        self.point.refusal = Refused(Reason.DENIED, "wrong password")
        for _ in range(MAX_FAILURES + 1):
            visit = self.begin("Transfer-Encoding: chunked", "Expect: 100-continue")
            self.assertEqual(visit.statuses(), [403])
        self.assertEqual(len(self.point.requests), MAX_FAILURES)
        self.clock.advance(61)
        self.point.refusal = Refused(Reason.BUSY, "taken")
        self.assertEqual(self.begin("Content-Length: 5").statuses(), [409])

    def test_not_its_own(self) -> None:
        self.assertEqual(self.begin("Content-Length: 5", path="/cam/other").statuses(), [404])
        self.assertEqual(self.begin("Content-Length: 5", path="/-cam/mpegts").statuses(), [400])
        self.assertEqual(self.point.requests, [])

    def test_nothing_that_can_be_played(self) -> None:
        """A byte now and then that never makes a frame does not hold the name."""
        visit = self.begin("Transfer-Encoding: chunked")
        for _ in range(12):
            self.clock.advance(0.9)
            visit.send(b"1\r\nx\r\n")
        self.assertEqual(visit.statuses(), [408])
        self.assertEqual(self.point.sinks[0].ends, ["no frame in 10 s"])

    def test_a_publisher_may_pause(self) -> None:
        """Once frames came it is the stream that says how long."""
        visit = self.begin("Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n" % (len(STREAM), STREAM))
        for _ in range(16):
            self.clock.advance(1)
        self.assertEqual((visit.statuses(), self.point.sinks[0].ends), ([], []))
        visit.lose()

    def test_the_publisher_is_gone(self) -> None:
        visit = self.begin("Transfer-Encoding: chunked", body=b"400\r\n" + STREAM[:1024])
        visit.lose()
        self.assertEqual(self.point.sinks[0].ends, ["the publisher is gone"])

    def test_it_is_sent_away(self) -> None:
        visit = self.begin("Content-Length: 1000000", body=STREAM[:5000])
        self.point.kicks[0]("stream removed")
        visit.settle()
        self.assertEqual((visit.statuses(), self.point.sinks[0].ends), ([503], ["stream removed"]))
        visit.send(STREAM[5000:6000])
        self.assertEqual(self.point.sinks[0].ends, ["stream removed"])

    def test_no_transport_stream(self) -> None:
        visit = self.begin("Content-Length: 10000000")
        for _ in range(30):
            visit.send(b"<html>" * 2000)
            if visit.got:
                break
        self.assertEqual(visit.statuses(), [400])
        self.assertEqual(len(self.point.sinks[0].ends), 1)

    def test_it_runs_ahead(self) -> None:
        visit = self.begin("Content-Length: 1000000", body=STREAM[:20000])
        self.point.sinks[0].wait = 3.0
        visit.send(STREAM[20000:40000])
        self.assertFalse(visit.wire.reading)
        visit.pass_time(3.5)
        self.assertTrue(visit.wire.reading)

    def test_faster_than_any_stream(self) -> None:
        """Bytes without a picture, and bytes in tiny pieces, are read at a bounded rate."""
        null = b"\x47\x1f\xff\x10" + b"\xff" * 184
        for piece, most in ((null * 340, 33 * MIB + 25_000_000), (b"1\r\nG\r\n" * 10_000, 120 * 60_000)):
            with self.subTest(size=len(piece)):
                visit = self.begin("Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n" % (len(STREAM), STREAM))
                chunk = piece if piece.startswith(b"1") else b"%x\r\n%s\r\n" % (len(piece), piece)
                sent = 0
                for _ in range(100):
                    for _ in range(20):
                        if visit.wire.reading:
                            visit.send(chunk)
                            sent += len(chunk)
                    self.clock.advance(0.01)
                self.assertLess(sent, most)
                self.assertEqual(visit.statuses(), [])
                visit.lose()

    def test_a_fault_of_ours_ends_the_publish_only(self) -> None:
        visit = self.begin("Content-Length: 1000000", body=STREAM[:20000])
        self.point.sinks[0].fails = True
        visit.send(STREAM[20000:40000])
        self.assertEqual(visit.statuses(), [500])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
