"""Which of a source's streams run here: the white, gray and black lists of C{only} and C{except}.

A pure function. Without C{only}, what runs at the source runs here (static) and what is on demand there is
on demand here; with it, C{only} is the white list and everything else is on demand. C{except} hides, and
beats C{only}. A bare C{only;} is an empty white list: everything is on demand.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Choice(enum.Enum):
    """What becomes of a remote stream."""

    STATIC = "static"
    ON_DEMAND = "ondemand"
    HIDDEN = "hidden"


def matches(pattern: str, name: str) -> bool:
    """Whether C{pattern} (an exact name, or C{prefix/*} for any rest) takes C{name}."""
    if pattern.endswith("*"):
        prefix = pattern[:-1]
        return len(name) > len(prefix) and name.startswith(prefix)
    return pattern == name


def choose(name: str, runs_there: bool, only: Iterable[str] | None, hidden: Iterable[str]) -> Choice:
    """What becomes of the remote stream C{name}.

    @param runs_there: it is static at the source (not on demand).
    @param only: patterns of the white list, or None when there is no C{only}.
    @param hidden: patterns of C{except}.
    """
    if any(matches(pattern, name) for pattern in hidden):
        return Choice.HIDDEN
    if only is None:
        return Choice.STATIC if runs_there else Choice.ON_DEMAND
    return Choice.STATIC if any(matches(pattern, name) for pattern in only) else Choice.ON_DEMAND
