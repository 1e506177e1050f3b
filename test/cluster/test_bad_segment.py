"""A segment that comes damaged is refused and asked for again, on the same link (M03)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.puller import Puller
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow, WindowGap
from restreamer.m4f.records import (
    Frames,
    Pull,
    PullAccepted,
    Record,
    RunInfo,
    SegmentAsk,
    SegmentClose,
    SegmentCopy,
    SegmentLacking,
    SegmentOpen,
)
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from test.live.rig import RecordingTap

ORIGIN, EDGE = b"o" * 16, b"e" * 16
RUN = RunInfo(7, START, ORIGIN, (ORIGIN,))


class _Link:
    """Takes what the puller says."""

    peer_id = ORIGIN
    peer_name = "peer:80"
    paused = False
    round_trip: float | None = None

    def __init__(self) -> None:
        self.said: list[Record] = []
        self.ended: list[str] = []

    def send(self, record: Record) -> None:
        self.said.append(record)

    def send_encoded(self, data: bytes) -> None:
        raise AssertionError("a puller shares no records")

    def close(self, reason: str) -> None:
        self.ended.append(reason)

    def abort(self, reason: str) -> None:
        self.ended.append(reason)


def _opening(number: int) -> SegmentOpening:
    return SegmentOpening(
        number=number,
        start=START + (number - 5) * 2 * TICKS_PER_SECOND,
        discontinuity=False,
        independent=True,
        discontinuity_sequence=0,
        tracks=(h264_track(), aac_track()),
    )


def _segment(number: int) -> Segment:
    """Two seconds."""
    opening = _opening(number)
    builder = SegmentBuilder(opening)
    builder.extend(make_frames(2, start=opening.start))
    return builder.close(2 * TICKS_PER_SECOND)


class BadSegment(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.stream = Stream("a", LiveWindow(4))
        self.lost: list[tuple[str, bool]] = []
        self.puller = Puller(
            "a",
            lambda: self.stream,
            EDGE,
            lambda: START,
            lambda code, text: None,
            lost=lambda reason, link: self.lost.append((reason, link)),
        )
        self.whole = _segment(5)
        self.opening, self.frames = _opening(5), self.whole.frames()

    def _begin(self) -> _Link:
        link = _Link()
        self.puller.link_up(link)
        self.puller.record(PullAccepted("a", RUN, "", 5 * TICKS_PER_SECOND))
        return link

    def _damaged(self) -> SegmentCopy:
        damaged = bytearray(self.whole.encoded)
        damaged[-10] ^= 1
        return SegmentCopy(RUN, bytes(damaged))

    def _live(self) -> None:
        """A close whose checksum does not fit the frames that came."""
        self.puller.record(SegmentOpen(RUN, self.opening))
        self.puller.record(Frames(self.frames[:-1], START))
        self.puller.record(SegmentClose(5, self.whole.duration, self.whole.checksum))

    def test_live_form(self) -> None:
        """It is asked for again on the same link; viewers saw its frames and are not shown them again."""
        link = self._begin()
        self._live()
        self.assertEqual(self.stream.window.retained, ())
        self.assertEqual(link.said[1:], [SegmentAsk(5)])
        shown = self.stream.traffic.frames_in
        self.puller.record(SegmentCopy(RUN, self.whole.encoded))
        (entry,) = self.stream.window.retained
        self.assertEqual(entry.segment.encoded, self.whole.encoded)
        self.assertEqual(self.stream.traffic.frames_in, shown)
        self.assertEqual((link.ended, self.lost, self.puller.repairs), ([], [], 1))

    def test_copy(self) -> None:
        """A copy with one bit turned."""
        link = self._begin()
        self.puller.record(self._damaged())
        self.assertEqual(self.stream.window.retained, ())
        self.assertEqual(link.said[1:], [SegmentAsk(5)])
        self.puller.record(SegmentCopy(RUN, self.whole.encoded))
        self.assertEqual([e.segment for e in self.stream.window.retained], [self.whole])
        self.assertEqual((link.ended, self.lost), ([], []))

    def test_while_the_next_one_is_open(self) -> None:
        """The repair disturbs nothing, whether the next one is still open or closed already."""
        for closed in range(3):
            self.setUp()
            tap = RecordingTap()
            self.stream.attach(tap)
            self._begin()
            first = _segment(4)
            self.puller.record(SegmentCopy(RUN, first.encoded))
            self._live()
            for number in range(6, 6 + closed):
                later = _segment(number)
                self.puller.record(SegmentOpen(RUN, _opening(number)))
                self.puller.record(Frames(later.frames(), later.start))
                self.puller.record(SegmentClose(number, later.duration, later.checksum))
            self.puller.record(SegmentOpen(RUN, _opening(6 + closed)))
            frames = _segment(6 + closed).frames()
            self.puller.record(Frames(frames[:20], frames[0].dts))
            builder = self.stream.open
            seen = list(tap.frames)
            self.puller.record(SegmentCopy(RUN, self.whole.encoded))
            self.assertIs(self.stream.open, builder)
            self.assertEqual(tap.frames, seen)
            self.assertEqual([e.number for e in tap.filled], [5])
            held = self.stream.window.retained
            self.assertEqual([e.number for e in held], [4, 5, *range(6, 6 + closed)])
            self.assertEqual(held[1].segment, self.whole)
            self.assertEqual(len(self.stream.window.entries), len(held[-4:]))

    def test_twice(self) -> None:
        """The link is given up; the next one asks for the segment again and gets it whole."""
        link = self._begin()
        self._live()
        self.puller.record(self._damaged())
        self.assertEqual(len(link.ended), 1)
        self.assertEqual([link for _, link in self.lost], [True])
        self.puller.link_down("closed")
        self.assertEqual(len(self.lost), 1)
        link = self._begin()
        (pull,) = link.said
        assert isinstance(pull, Pull)
        self.assertLessEqual(pull.number, 5)
        self.puller.record(SegmentCopy(RUN, self.whole.encoded))
        (entry,) = self.stream.window.retained
        self.assertEqual(entry.segment.encoded, self.whole.encoded)

    def test_lacking(self) -> None:
        """A source that has it no more: it stays a gap."""
        link = self._begin()
        self._live()
        self.puller.record(SegmentLacking(5))
        self.puller.record(SegmentCopy(RUN, _segment(4).encoded))
        later = _segment(6)
        self.puller.record(SegmentOpen(RUN, _opening(6)))
        self.puller.record(Frames(later.frames(), later.start))
        self.puller.record(SegmentClose(6, later.duration, later.checksum))
        self.assertEqual([e.number for e in self.stream.window.entries], [4, 5, 6])
        self.assertIsInstance(self.stream.window.entries[1], WindowGap)
        self.assertEqual((link.ended, self.lost), ([], []))
