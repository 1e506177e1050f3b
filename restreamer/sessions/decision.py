"""The permission of one session: what each answer of a backend makes of it (pure: the caller brings time).

An answer holds for its duration; when that has run out the backend is asked again, and the old answer goes
on to hold until the new one is there, at most for a grace. All times are monotonic seconds.
"""

from __future__ import annotations

import enum
import math
from typing import Final

from attrs import define

from restreamer.sessions.answers import Verdict

#: How long an answer holds that does not say, seconds; and what it may say.
DEFAULT_DURATION: Final = 180.0
SHORTEST: Final = 1.0
LONGEST: Final = 30 * 86400.0
#: The least that a granted session goes on while its backend answers nobody, without a configured grace.
LEAST_GRACE: Final = 600.0
#: After so long a backend that gave no decision is asked again about a session that goes on.
RETRY_SECONDS: Final = 10.0
#: For so long a new session is refused without another question, when the backend gave no decision.
UNDECIDED_SECONDS: Final = 1.0
#: The same when it did not answer in time, or nothing that can be read.
FAILED_SECONDS: Final = 10.0


class State(enum.IntEnum):
    """What a session may. NEW: nobody has decided yet."""

    NEW = 0
    GRANTED = 1
    DENIED = 2
    REDIRECTED = 3


def held_for(duration: float | None) -> float:
    """How long an answer holds that says C{duration}, seconds: bounded, and never a NaN."""
    if duration is None or math.isnan(duration):
        return DEFAULT_DURATION
    return min(max(duration, SHORTEST), LONGEST)


@define(eq=False, repr=False)
class Decision:
    """See the module.

    @ivar due: from when on the backend is to be asked again; of a denial: when it is forgotten.
    @ivar until: from when on a question without a decision ends what was granted.
    @ivar duration: seconds the last answer holds. @ivar number: questions so far.
    @ivar silent_since: when the first question was sent of those in a row that got no answer, or none that
        can be read; infinite: the last one got one.
    """

    state: State = State.NEW
    due: float = math.inf
    until: float = math.inf
    duration: float = DEFAULT_DURATION
    number: int = 0
    silent_since: float = math.inf

    def grant_for_ever(self) -> None:
        """There is nobody to ask."""
        self.state = State.GRANTED
        self.due = self.until = math.inf

    def take(
        self,
        verdict: Verdict,
        duration: float | None,
        grace: float | None,
        now: float,
        nobody_answers: bool = False,
    ) -> None:
        """An answer came.

        @param duration: what it says of how long it holds. @param grace: seconds a granted session goes on
            after that without another one; None: as long again, and L{LEAST_GRACE} at least.
        @param nobody_answers: the backend answered nobody since L{silent_since}: to be late, then, says
            nothing about this session.
        """
        fresh = self.state is State.NEW
        if verdict is Verdict.UNDECIDED or (verdict is Verdict.FAILED and nobody_answers and not fresh):
            if fresh or now >= self.until:
                self.state = State.DENIED
                self.due = now + UNDECIDED_SECONDS
            else:
                self.due = min(now + min(RETRY_SECONDS, self.duration), self.until)
            return
        if verdict is Verdict.FAILED:
            self.state = State.DENIED
            self.due = now + min(self.duration, FAILED_SECONDS)
            return
        self.duration = held = held_for(duration)
        self.due = now + held
        if verdict is Verdict.ALLOW:
            self.state = State.GRANTED
            self.until = self.due + (max(held, LEAST_GRACE) if grace is None else grace)
        else:
            self.state = State.DENIED if verdict is Verdict.DENY else State.REDIRECTED
