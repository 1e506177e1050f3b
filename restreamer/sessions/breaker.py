"""Whether a backend is asked at all: one that answers nobody is left alone, but for one probe at a time."""

from __future__ import annotations

from typing import Final

#: Questions in a row without any answer before it is taken for down.
SILENT_QUESTIONS: Final = 5
#: Seconds between two probes of a backend that is down.
PROBE_INTERVAL: Final = 1.0


class Breaker:
    """State of one backend. Times are seconds of any clock that only rises.

    @ivar down: it answered none of the last L{SILENT_QUESTIONS} questions.
    """

    def __init__(self) -> None:
        self._silent = 0
        self._probe_at = 0.0
        self._probing = False

    @property
    def down(self) -> bool:
        """Whether it answers nobody."""
        return self._silent >= SILENT_QUESTIONS

    def admit(self, now: float) -> bool:
        """Whether a question may be sent now; each that may must be followed by L{answered}, L{silent} or
        L{dropped}."""
        if not self.down:
            return True
        if self._probing or now < self._probe_at:
            return False
        self._probing = True
        return True

    def answered(self) -> None:
        """It said something, whatever it was."""
        self._silent = 0
        self._probing = False

    def silent(self, now: float) -> None:
        """It refused the connection, or gave no answer in time."""
        self._silent += 1
        self._probing = False
        self._probe_at = now + PROBE_INTERVAL

    def dropped(self) -> None:
        """The question was taken back: nothing is known."""
        self._probing = False
