"""Who lags behind whom, by what sources say of themselves twice a second."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.progress_marks import AHEAD_SECONDS, ProgressMarks
from restreamer.m4f.records import Position

RUN, OTHER_RUN = 7, 8
#: Frames in a segment, which takes two seconds.
EACH = 50
BEAT = 0.5


class MarkTests(SynchronousTestCase):
    """The feeding source at C{ours} and another at C{theirs}, in seconds of media."""

    @override
    def setUp(self) -> None:
        self.marks = ProgressMarks()
        self.now = self.ours = self.theirs = 100.0
        self.run_id = RUN

    def stream(self) -> Any:
        number, rest = divmod(self.ours, 2)
        builder = SimpleNamespace(opening=SimpleNamespace(number=int(number)), frames=[0] * int(rest * 25))
        return SimpleNamespace(
            run=SimpleNamespace(run_id=self.run_id),
            open=builder,
            traffic=SimpleNamespace(frames_in=int(self.ours * 25)),
            segment_duration=180_000,
        )

    def until_behind(self, ours: float, theirs: float, run_id: int, seconds: float = 60.0) -> float | None:
        """Seconds until it is said that we are behind, when the two go at such speeds; None: never."""
        began = self.now
        while self.now - began <= seconds:
            number, rest = divmod(self.theirs, 2)
            position = Position("x", run_id, int(number), int(rest * 25), False)
            if self.marks.behind("b", position, self.stream(), self.now):
                return self.now - began
            self.now += BEAT
            self.ours += ours * BEAT
            self.theirs += theirs * BEAT
        return None

    def test_both_go_on(self) -> None:
        for run_id in (RUN, OTHER_RUN):
            for ahead in (-9.0, -0.7, 0.0, 0.7, 1.2):
                self.setUp()
                self.theirs += ahead
                self.assertIsNone(self.until_behind(1, 1, run_id), (run_id, ahead))

    def test_we_stand_still(self) -> None:
        for run_id in (RUN, OTHER_RUN):
            self.setUp()
            took = self.until_behind(0, 1, run_id)
            assert took is not None
            self.assertTrue(AHEAD_SECONDS <= took <= AHEAD_SECONDS + 2 * BEAT, took)

    def test_nobody_goes_on(self) -> None:
        for run_id in (RUN, OTHER_RUN):
            self.setUp()
            self.assertIsNone(self.until_behind(0, 0, run_id))

    def test_we_are_slow(self) -> None:
        for speed, same, other in ((0.5, 5.0, 11.0), (0.9, 21.0, 65.0)):
            for run_id, longest in ((RUN, same), (OTHER_RUN, other)):
                self.setUp()
                took = self.until_behind(speed, 1, run_id, 100)
                assert took is not None
                self.assertLess(took, longest, (speed, run_id))

    def test_both_are_slow(self) -> None:
        """Of other runs nobody can say who is ahead: both have it from an encoder that is slow."""
        for ours, theirs in ((0.5, 0.5), (0.9, 0.8), (0.9, 0.9)):
            self.setUp()
            self.assertIsNone(self.until_behind(ours, theirs, OTHER_RUN), (ours, theirs))

    def test_our_run_changes(self) -> None:
        """What was before it says nothing about it."""
        self.assertIsNone(self.until_behind(0.8, 1, OTHER_RUN, 15))
        self.run_id = 9
        self.ours -= 40
        self.assertIsNone(self.until_behind(1, 1, OTHER_RUN))

    def test_forgotten(self) -> None:
        self.assertIsNone(self.until_behind(0, 1, OTHER_RUN, 1))
        self.marks.forget("b")
        self.marks.forget("b")
        self.assertIsNone(self.until_behind(0, 1, OTHER_RUN, 1))
