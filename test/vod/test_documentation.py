"""docs/vod.md against the program."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from restreamer.cluster import file_link, remote_files
from restreamer.m4f.record_layout import MAX_FILE_SEGMENTS, MAX_LOCATIONS
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.mp4.boxes import MAX_MOOV
from restreamer.mp4.file_track import MAX_SECONDS
from restreamer.node_files import FILE_SEGMENT_TICKS
from restreamer.vod import disk, keep, library, paced, packaged, plan

_TEXT = (Path(__file__).parents[2] / "docs" / "vod.md").read_text("utf-8")


class DocumentTests(SynchronousTestCase):
    def test_figures(self) -> None:
        for words in (
            f"{disk.MAX_RUNNING} reads; {keep.MAX_FLIGHTS} that wait",
            f"{library.PLAN_BYTES >> 20} MiB, {library.PLAN_FILES} files",
            f"{MAX_SECONDS // 86_400} days, {MAX_FILE_SEGMENTS:,} segments",
            f"segments, {plan.MAX_ROWS // 1_000_000} million frames",
            f"{MAX_MOOV >> 20} MiB of `moov`",
            f"| {plan.FORCED_TICKS // TICKS_PER_SECOND} s, {plan.FORCED_BYTES >> 20} MiB, ",
            f"MiB, {plan.FORCED_FRAMES:,} frames |",
            f"{paced.AHEAD_SECONDS:.0f} s ahead of real time",
            f"takes nothing for {paced.STALL_SECONDS:.0f} s",
            f"| {MAX_LOCATIONS:,}: the first ones;",
            f"| {file_link.ASK_SECONDS:.0f} s, {file_link.MAX_ASKS} at once",
            f"multiple of {FILE_SEGMENT_TICKS // TICKS_PER_SECOND} s",
            f"up to {remote_files.SEGMENT_BYTES >> 20} MiB of segments",
            f"and {packaged.PACKAGED_BYTES >> 20} MiB as they are sent to viewers",
        ):
            self.assertIn(words, _TEXT)
        self.assertEqual(plan.MAX_SEGMENT_TICKS, 3600 * TICKS_PER_SECOND)
        self.assertEqual((library.RECHECK_SECONDS, remote_files.FRESH_SECONDS), (2.0, 5.0))
