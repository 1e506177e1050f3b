"""Rows of indexes from segments."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.dash.spans import spans
from restreamer.dvr.recorded import Recorded, archived_run, describe, make_row
from restreamer.live.window import LiveWindow
from restreamer.m4f.hour_index import HourBuilder, TrackSpan
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from test.m4f.samples import AUDIO, RUN, VIDEO, three_segments, tiny_segment


def real_segment() -> Segment:
    """Two seconds of video and sound."""
    builder = SegmentBuilder(SegmentOpening(7, START, False, True, 4, (h264_track(), aac_track())))
    builder.extend(make_frames(2, video_bitrate=100_000))
    return builder.close(180_000)


class Rows(SynchronousTestCase):
    """What an index says of a segment."""

    def test_a_row(self) -> None:
        """Of the segment that the documentation shows."""
        segment = tiny_segment()
        row, found = make_row(segment, False, 9)
        self.assertEqual(
            row[:8], (340_000_000, START, 7200, 2, 9, segment.checksum, len(segment.encoded), 3600)
        )
        self.assertEqual(found, (TrackSpan(1, 1, 3600, 7200, 13), TrackSpan(2, 1, 10, 1920, 2)))

    def test_the_spans_of_manifests(self) -> None:
        """They are those of live streams."""
        for segment in [real_segment(), *three_segments()]:
            row, found = make_row(segment, True, 0)
            self.assertTrue(row.discontinuity)
            self.assertEqual(row.start + row.shown, segment.program_date_time())
            live = spans(segment)
            self.assertEqual([span.track_id for span in found], list(live))
            for span in found:
                self.assertEqual(
                    (segment.start + span.shown, span.duration, span.size),
                    (live[span.track_id].start, live[span.track_id].duration, live[span.track_id].size),
                )

    def test_of_a_window(self) -> None:
        """What was shown, after a switch to another run, too; and the same from a row."""
        window = LiveWindow(5)
        first, second, third = three_segments()
        other = evolve(RUN, run_id=5, discontinuities=0)
        for segment, its_run in ((first, RUN), (second, other), (third, other)):
            window.add(segment, its_run, 90_000)
        for entry in window.retained:
            item = Recorded.of_window(entry)
            self.assertEqual(item.discontinuity_sequence, entry.discontinuity_sequence)
            row, run, found = describe(entry)
            self.assertEqual(
                (row.discontinuity, row.discontinuity_sequence), (True, entry.discontinuity_sequence)
            )
            again = Recorded.of_row(entry.segment, row, run)
            self.assertEqual((again.row(), archived_run(again.run)), ((row, found), run))

    def test_absurd_times(self) -> None:
        """Whatever a segment says of its frames, an index can say of it."""
        far = (1 << 31) - 1
        for dts, cts in ((far, far), (-far, -far), (far, -far), (0, far)):
            builder = SegmentBuilder(SegmentOpening(1, START, False, True, 0, (VIDEO, AUDIO)))
            builder.extend([Frame(1, START + dts, cts, True, b"x"), Frame(2, START, 0, True, b"y")])
            builder.add(Frame(1, START - dts, cts, True, b"x"))
            segment = builder.close(1)
            row, found = make_row(segment, True, 1 << 40)
            hour = HourBuilder(0)
            hour.add(row, segment.tracks, archived_run(RUN), found)
            self.assertEqual(len(hour.build()), 1)
