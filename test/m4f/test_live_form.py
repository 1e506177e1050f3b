"""The live form ends with the canonical bytes, or with an error."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import RemoteProtocolError
from restreamer.m4f import layout
from restreamer.m4f.live_form import LiveFormCheck, part_of
from restreamer.m4f.records import (
    Frames,
    PartClose,
    Ping,
    Record,
    RecordReader,
    RunEnd,
    SegmentClose,
    SegmentOpen,
    encode_record,
)
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.testing.media import aac_track, h264_track, make_frames
from test.m4f import samples
from test.m4f.samples import AUDIO, RUN, START, VIDEO, live_records, three_segments

_SETTINGS = settings(deadline=None, max_examples=100, derandomize=True)


def _receive(records: list[Record]) -> list[Segment]:
    """What a receiver makes of records: only segments whose checksum is the announced one."""
    check = LiveFormCheck()
    segments: list[Segment] = []
    builder: SegmentBuilder | None = None
    for record in records:
        check.take(record)
        if isinstance(record, SegmentOpen):
            builder = SegmentBuilder(record.opening)
        elif isinstance(record, Frames) and builder:
            builder.extend(record.frames)
        elif isinstance(record, PartClose) and builder:
            builder.close_part(part_of(record))
        elif isinstance(record, SegmentClose) and builder:
            segment = builder.close(record.duration)
            if segment.checksum != record.checksum:
                raise RemoteProtocolError("test", "checksum")
            segments.append(segment)
            builder = None
    return segments


def _over_the_wire(records: list[Record]) -> list[Record]:
    return RecordReader().receive(b"".join(encode_record(record) for record in records))


class LiveFormTests(SynchronousTestCase):
    """Live form and canonical form are one."""

    @_SETTINGS
    @given(samples.segments())
    def test_rebuilt_segments_are_identical(self, made: tuple[SegmentBuilder, Segment]) -> None:
        _, segment = made
        if not segment.frames() and segment.parts:
            return
        records = _over_the_wire(live_records_of(segment))
        (rebuilt,) = _receive(records)
        self.assertEqual(rebuilt.encoded, segment.encoded)
        self.assertEqual(rebuilt.checksum, segment.checksum)

    def test_real_frames_in_batches(self) -> None:
        frames = make_frames(4)
        opening = SegmentOpening(9, frames[0].dts, False, True, 0, (h264_track(), aac_track()))
        builder = SegmentBuilder(opening)
        builder.extend(frames)
        segment = builder.close(4 * 90_000)
        records: list[Record] = [SegmentOpen(RUN, opening)]
        for at in range(0, len(frames), 7):
            records.append(Frames(frames[at : at + 7], opening.start))
            records.append(Ping(at))
        records.append(SegmentClose(9, segment.duration, segment.checksum))
        (rebuilt,) = _receive(_over_the_wire(records))
        self.assertEqual(rebuilt.encoded, segment.encoded)

    def test_any_two_records_swapped_never_give_another_segment(self) -> None:
        whole = three_segments()
        records = [record for segment in whole for record in live_records(segment)]
        originals = {segment.encoded for segment in whole}
        for one, other in combinations(range(len(records)), 2):
            swapped = list(records)
            swapped[one], swapped[other] = swapped[other], swapped[one]
            try:
                received = _receive(_over_the_wire(swapped))
            except RemoteProtocolError:
                continue
            self.assertTrue({segment.encoded for segment in received} <= originals, (one, other))

    def test_any_record_lost_never_gives_another_segment(self) -> None:
        records = [record for segment in three_segments() for record in live_records(segment)]
        originals = {segment.encoded for segment in three_segments()}
        for lost in range(len(records)):
            try:
                received = _receive(_over_the_wire(records[:lost] + records[lost + 1 :]))
            except RemoteProtocolError:
                continue
            self.assertTrue({segment.encoded for segment in received} <= originals, lost)

    def test_an_opening_voids_the_open_segment(self) -> None:
        first, second, _ = three_segments()
        records = live_records(first)[:-1] + live_records(second)
        self.assertEqual(_receive(records), [second])


def live_records_of(segment: Segment) -> list[Record]:
    """Like L{live_records}, with parts of no frames where the segment has such."""
    records: list[Record] = []
    parts = list(segment.parts)
    closed = 0
    for record in live_records(segment):
        if isinstance(record, PartClose):
            continue
        if isinstance(record, (SegmentClose, Frames)):
            while parts and parts[0].first_frame + parts[0].frame_count <= closed:
                part = parts.pop(0)
                records.append(PartClose(part.first_frame, part.frame_count, part.duration, part.independent))
            closed += isinstance(record, Frames)
        records.append(record)
    return records


class CheckTests(SynchronousTestCase):
    """What may not stand where."""

    @override
    def setUp(self) -> None:
        self.check = LiveFormCheck()
        self.check.take(SegmentOpen(RUN, SegmentOpening(5, START, False, True, 0, (VIDEO, AUDIO))))

    def _refused(self, *records: Record) -> None:
        for record in records[:-1]:
            self.check.take(record)
        self.assertRaises(RemoteProtocolError, self.check.take, records[-1])

    def test_frames_without_an_opening(self) -> None:
        self.check.take(RunEnd(1))
        self._refused(Frames([], START))

    def test_frames_of_another_start(self) -> None:
        self._refused(Frames([], START + 1))

    def test_frames_of_no_track(self) -> None:
        self._refused(Frames([Frame(3, START, 0, True, b"")], START))

    def test_a_segment_that_never_closes(self) -> None:
        megabyte = Frames([Frame(1, START, 0, True, bytes(1 << 20))], START)
        self._refused(*[megabyte] * 32)

    def test_frames_without_end(self) -> None:
        empty = Frames([Frame(1, START, 0, True, b"")] * 50_000, START)
        self.check.take(empty)
        self.check.take(empty)
        self.assertEqual(self.check.frame_count, layout.MAX_FRAMES)
        self._refused(Frames([Frame(1, START, 0, True, b"")], START))

    def test_size_is_that_of_the_canonical_bytes(self) -> None:
        for segment in three_segments():
            check = LiveFormCheck()
            for record in live_records(segment)[:-1]:
                check.take(record)
            self.assertEqual(check.size, len(segment.encoded))

    def test_parts(self) -> None:
        frame = Frames([Frame(1, START, 0, True, b"")], START)
        self._refused(frame, PartClose(0, 2, 1, True))
        self._refused(PartClose(1, 0, 1, True))
        self._refused(PartClose(0, 1, 1, True), frame, SegmentClose(5, 1, 0))
        self._refused(PartClose(0, 0, 1, True))

    def test_close_of_another_segment(self) -> None:
        self._refused(SegmentClose(6, 1, 0))
        self._refused(SegmentClose(5, 1, 0))

    def test_parts_without_end(self) -> None:
        part = PartClose(0, 0, 1, True)
        for _ in range(65_535):
            self.check.take(part)
        self._refused(part)
