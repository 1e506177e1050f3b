"""Reading segments from a disk that fails in one place, or altogether."""

from __future__ import annotations

import errno
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.segment_files import SegmentFiles
from restreamer.dvr.stream_folder import StoreCounters
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import Row
from test.dvr.recordings import several


class Failing:
    """Files of which each read fails."""

    def __init__(self, number: int) -> None:
        self.number = number

    def read(self, path: str, offset: int, size: int) -> bytes:
        raise OSError(self.number, "no")


class FailingTests(SynchronousTestCase):
    """What becomes of the segment."""

    def test_by_errno(self) -> None:
        """A bad sector loses what lay there: others are asked, or a gap is shown. Else the disk is away."""
        row: Row = several(range(1))[0].row()[0]
        for number, reason in (
            (errno.EIO, Reason.NOT_FOUND),
            (errno.EUCLEAN, Reason.NOT_FOUND),
            (errno.EBADMSG, Reason.NOT_FOUND),
            (errno.ESTALE, Reason.NOT_READY),
            (errno.ETIMEDOUT, Reason.NOT_READY),
        ):
            failing: Any = Failing(number)
            files = SegmentFiles(failing, "/d/cam", StoreCounters())
            with self.assertRaises(Refused) as caught:
                files.segment(row)
            self.assertIs(caught.exception.reason, reason, number)
            self.assertEqual(files.counters.damaged, 1)
