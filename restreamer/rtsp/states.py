"""The states of a server's session and what may be asked in each (RFC 2326 appendix A.2)."""

from __future__ import annotations

import enum
from typing import Final


class State(enum.Enum):
    """Where a connection's session is."""

    INIT = "init"
    READY = "ready"
    PLAYING = "playing"
    RECORDING = "recording"


#: Methods there are, in the order in which they are told.
METHODS: Final = (
    "OPTIONS",
    "DESCRIBE",
    "ANNOUNCE",
    "SETUP",
    "PLAY",
    "PAUSE",
    "RECORD",
    "TEARDOWN",
    "GET_PARAMETER",
    "SET_PARAMETER",
)

_ALWAYS: Final = frozenset({"OPTIONS", "GET_PARAMETER", "SET_PARAMETER"})

#: By state, and whether the session publishes: None where there is none yet.
_ALLOWED: Final = {
    (State.INIT, None): _ALWAYS | {"DESCRIBE", "ANNOUNCE", "SETUP"},
    (State.INIT, False): _ALWAYS | {"DESCRIBE", "ANNOUNCE", "SETUP"},
    (State.INIT, True): _ALWAYS | {"SETUP", "TEARDOWN"},
    (State.READY, False): _ALWAYS | {"DESCRIBE", "SETUP", "PLAY", "TEARDOWN"},
    (State.READY, True): _ALWAYS | {"SETUP", "RECORD", "TEARDOWN"},
    (State.PLAYING, False): _ALWAYS | {"DESCRIBE", "PLAY", "PAUSE", "TEARDOWN"},
    (State.RECORDING, True): _ALWAYS | {"RECORD", "PAUSE", "TEARDOWN"},
}

#: Methods that need the session they speak of.
NEEDS_SESSION: Final = frozenset({"PLAY", "PAUSE", "RECORD", "TEARDOWN"})


def allowed(state: State, publishes: bool | None) -> list[str]:
    """The methods that may be asked now, in the order of L{METHODS}."""
    right = _ALLOWED.get((state, publishes), _ALWAYS)
    return [method for method in METHODS if method in right]
