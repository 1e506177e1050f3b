"""The life of one input of a stream, as a table: every state, every event, where each leads."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class InputState(enum.Enum):
    """Where an input is.

    - C{IDLE}: nothing is open; it may be tried.
    - C{STANDBY}: its link is open and authorised, and has not asked for the stream.
    - C{TRYING}: it was asked, and what the stream shows does not come from it (yet, or for the moment).
    - C{FEEDING}: what the stream shows comes from it.
    - C{HELD}: it failed and rests.
    """

    IDLE = "idle"
    STANDBY = "standby"
    TRYING = "trying"
    FEEDING = "feeding"
    HELD = "held"


class InputEvent(enum.Enum):
    """What happens to an input.

    - C{STAND_BY}: its link is opened ahead of need. C{START}: it is asked for the stream.
    - C{DELIVERED}: its media took the stream. C{DRIED}: it ceased to, and may go on by itself.
    - C{LOST}: it failed and was closed. C{RESTED}: its pause after a failure is over.
    - C{STOPPED}: it is not needed (any more) and was closed.
    """

    STAND_BY = "stand by"
    START = "start"
    DELIVERED = "delivered"
    DRIED = "dried"
    LOST = "lost"
    RESTED = "rested"
    STOPPED = "stopped"


_S = InputState
_E = InputEvent

#: Where each event leads from each state; what is not here does not happen.
TRANSITIONS: Mapping[tuple[InputState, InputEvent], InputState] = {
    (_S.IDLE, _E.STAND_BY): _S.STANDBY,
    (_S.IDLE, _E.START): _S.TRYING,
    (_S.STANDBY, _E.START): _S.TRYING,
    (_S.STANDBY, _E.STOPPED): _S.IDLE,
    (_S.TRYING, _E.DELIVERED): _S.FEEDING,
    (_S.TRYING, _E.DRIED): _S.TRYING,
    (_S.TRYING, _E.LOST): _S.HELD,
    (_S.TRYING, _E.STOPPED): _S.IDLE,
    (_S.FEEDING, _E.DRIED): _S.TRYING,
    (_S.FEEDING, _E.LOST): _S.HELD,
    (_S.FEEDING, _E.STOPPED): _S.IDLE,
    (_S.HELD, _E.RESTED): _S.IDLE,
    (_S.HELD, _E.STOPPED): _S.IDLE,
}


def follow(state: InputState, event: InputEvent) -> InputState:
    """The state after C{event}.

    @raise ValueError: it cannot happen in C{state}.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"an input that is {state.value} cannot be {event.value}") from None
