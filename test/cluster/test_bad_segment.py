"""A segment that comes damaged is refused, and comes whole over the next link (M03)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.puller import Puller
from restreamer.errors import RemoteProtocolError
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import (
    Frames,
    Pull,
    PullAccepted,
    Record,
    RunInfo,
    SegmentClose,
    SegmentCopy,
    SegmentOpen,
)
from restreamer.m4f.segment import SegmentBuilder, SegmentOpening
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import START, aac_track, h264_track, make_frames

ORIGIN, EDGE = b"o" * 16, b"e" * 16
RUN = RunInfo(7, START, ORIGIN, (ORIGIN,))


class _Link:
    """Takes what the puller says."""

    peer_id = ORIGIN
    paused = False

    def __init__(self) -> None:
        self.said: list[Record] = []

    def send(self, record: Record) -> None:
        self.said.append(record)

    def send_encoded(self, data: bytes) -> None:
        raise AssertionError("a puller shares no records")

    def close(self, reason: str) -> None: ...

    def abort(self, reason: str) -> None: ...


class BadSegment(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.stream = Stream("a", LiveWindow(4))
        self.puller = Puller("a", lambda: self.stream, EDGE, lambda: START, lambda code, text: None)
        opening = SegmentOpening(
            number=5,
            start=START,
            discontinuity=False,
            independent=True,
            discontinuity_sequence=0,
            tracks=(h264_track(), aac_track()),
        )
        builder = SegmentBuilder(opening)
        builder.extend(make_frames(2))
        self.opening, self.frames = opening, list(builder.frames)
        self.whole = builder.close(2 * TICKS_PER_SECOND)

    def _begin(self) -> _Link:
        link = _Link()
        self.puller.link_up(link)
        self.puller.record(PullAccepted("a", RUN, "", 5 * TICKS_PER_SECOND))
        return link

    def test_live_form(self) -> None:
        """A close whose checksum does not fit the frames that came."""
        self._begin()
        self.puller.record(SegmentOpen(RUN, self.opening))
        self.puller.record(Frames(self.frames[:-1], START))
        close = SegmentClose(5, self.whole.duration, self.whole.checksum)
        self.assertRaises(RemoteProtocolError, self.puller.record, close)
        self.assertEqual(self.stream.window.retained, ())
        self._again()

    def test_copy(self) -> None:
        """A copy with one bit turned."""
        self._begin()
        damaged = bytearray(self.whole.encoded)
        damaged[-10] ^= 1
        self.assertRaises(RemoteProtocolError, self.puller.record, SegmentCopy(RUN, bytes(damaged)))
        self.assertEqual(self.stream.window.retained, ())
        self._again()

    def _again(self) -> None:
        """The link is closed for it; the next one asks for the segment again and gets it whole."""
        self.puller.link_down("closed")
        link = self._begin()
        (pull,) = link.said
        assert isinstance(pull, Pull)
        self.assertLessEqual(pull.number, 5)
        self.puller.record(SegmentCopy(RUN, self.whole.encoded))
        (entry,) = self.stream.window.retained
        self.assertEqual(entry.segment.encoded, self.whole.encoded)
