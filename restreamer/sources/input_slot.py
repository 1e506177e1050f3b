"""One input of a stream as the switch keeps it: how it is begun and ranked, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from attrs import define, field, frozen

from restreamer.seams import Timer
from restreamer.sources.input_states import InputEvent, InputState

#: First and longest pause of an input that failed before it is tried again, seconds.
FIRST_REST = 1.0
LONGEST_REST = 30.0
#: How long a better input has to be there before the stream goes back to it, seconds: doubled each time
#: it is lost again.
FIRST_SETTLE = 5.0
LONGEST_SETTLE = 60.0
#: An input that fed the stream for so long without a break counts as steady: its pauses are the first again.
STEADY_SECONDS = 60.0
#: Inputs of one stream that were dropped and are remembered.
MAX_PAST = 64


class RunningInput(Protocol):
    """An input that was begun. One that reconnects by itself may have C{retry()}: try at once."""

    def activate(self) -> None:
        """It stood by: ask for the stream now."""
        ...

    def stop(self) -> Any:
        """End it; gives None or a Deferred that fires when it is closed. Nothing is reported after it."""
        ...


class InputReports(Protocol):
    """What an input tells the switch."""

    def delivered(self) -> None:
        """What the stream shows comes from this input from now on."""
        ...

    def lost(self, reason: str, link: bool = True, refused: bool = False) -> None:
        """It cannot feed the stream (any more).

        @param link: its connection is gone; otherwise only the media is.
        @param refused: the other side does not give it: it makes no sense to wait.
        """
        ...


def _never() -> float:
    return 0.0


def _always() -> bool:
    return True


@frozen(eq=False)
class InputPlan:
    """How an input is begun.

    @ivar url: what it is, for logs and the API; no secrets. @ivar rank: lower is preferred.
    @ivar begin: C{begin(reports, standby)} opens it; C{standby}: only its link, until C{activate()}.
    @ivar stands_by: it can stand by; @ivar may_stand_by: asked each time before it does.
    @ivar persistent: it reconnects by itself after C{lost(link=True)}.
    @ivar external: somebody else begins and ends it (a publisher): it is there from L{put} to L{drop}.
    @ivar backup: it is shown only when nothing else feeds the stream.
    @ivar patience: seconds it gets to deliver before another input is tried.
    @ivar rest: its first pause after a failure, seconds.
    @ivar source_timeout: seconds without a frame after which it is lost; None: what the stream says.
    @ivar not_before: moment (of the clock) before which it is not started.
    """

    url: str
    rank: tuple[int, ...]
    begin: Callable[[InputReports, bool], RunningInput]
    stands_by: bool = False
    may_stand_by: Callable[[], bool] = _always
    persistent: bool = False
    external: bool = False
    backup: bool = False
    patience: float = 5.0
    rest: float = FIRST_REST
    source_timeout: float | None = None
    not_before: Callable[[], float] = _never


@frozen
class BackupRule:
    """When the backup is shown: nothing fed the stream for so long, or a kind of track did not come.

    @ivar timeout: seconds without a frame. @ivar audio_timeout, @ivar video_timeout: seconds without a
        frame of that kind; None: not looked at.
    """

    timeout: float
    audio_timeout: float | None = None
    video_timeout: float | None = None


@define(eq=False)
class InputSlot:
    """One input in the switch.

    @ivar key: the owner's name for it. @ivar state: see L{InputState}. @ivar since: when it entered it.
    @ivar running: what C{begin} gave. @ivar session: counts its beginnings: reports of an old one are void.
    @ivar tried_at: when it was started; @ivar overdue: it did not deliver in its patience.
    @ivar fresh: an external input's media has taken the stream since it came.
    @ivar fed_since: when it began to feed; @ivar fed_seconds: how long it fed, without the current time.
    @ivar settle: seconds it must be there before the stream goes back to it. @ivar rest: its next pause.
    @ivar losses: how often it was lost; @ivar error: why, last; empty while it feeds.
    @ivar counts: events by kind. @ivar counted: what its earlier beginnings counted, by name.
    """

    key: Hashable
    plan: InputPlan
    since: float
    state: InputState = InputState.IDLE
    running: RunningInput | None = None
    session: int = 0
    tried_at: float = 0.0
    overdue: bool = False
    fresh: bool = False
    fed_since: float = 0.0
    fed_seconds: float = 0.0
    settle: float = FIRST_SETTLE
    rest: float = field(init=False)
    resting: Timer | None = None
    losses: int = 0
    error: str = ""
    said: str = ""
    counts: dict[InputEvent, int] = field(factory=dict)
    counted: dict[str, int] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.rest = self.plan.rest

    @property
    def counters(self) -> dict[str, int]:
        """What all its beginnings counted so far, by name; an input may have C{counters}."""
        return self.with_counters(self.running)

    def with_counters(self, running: RunningInput | None) -> dict[str, int]:
        """What its earlier beginnings counted, and C{running}."""
        counters: Mapping[str, int] = getattr(running, "counters", {})
        names = dict.fromkeys((*self.counted, *counters))
        return {name: self.counted.get(name, 0) + counters.get(name, 0) for name in names}


@define
class PastSlots:
    """How inputs behaved that were dropped a little while ago: they may be back in a moment."""

    _past: dict[Hashable, tuple[float, float, float]] = field(factory=dict)

    def keep(self, slot: InputSlot, now: float) -> None:
        """C{slot} is dropped at C{now}."""
        if slot.settle > FIRST_SETTLE or slot.rest > slot.plan.rest:
            self._past.pop(slot.key, None)
            self._past[slot.key] = (slot.settle, slot.rest, now)
            if len(self._past) > MAX_PAST:
                del self._past[next(iter(self._past))]

    def recall(self, slot: InputSlot, now: float) -> None:
        """C{slot} is new: one that was dropped lately goes on with the pauses it had."""
        settle, rest, dropped = self._past.pop(slot.key, (FIRST_SETTLE, slot.plan.rest, now))
        if now - dropped <= STEADY_SECONDS + LONGEST_SETTLE:
            slot.settle = settle
            slot.rest = rest
