"""What one follower is told of a list that may be longer than a list may be: first come, first listed.

A receiver takes no more than so many names of one source, so none is sent that it would drop. A name that
goes makes room for the one that was left out first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from restreamer.logs import Logger

_log = Logger()


class Named(Protocol):
    """An entry of a list."""

    @property
    def name(self) -> str:
        """What it lists."""
        ...


Entry = TypeVar("Entry", bound=Named)


class BoundedList(Generic[Entry]):
    """At most C{most} names of a list, as one follower knows it.

    @param send: tells the follower an entry. @param what: what is listed, for the log.
    """

    def __init__(self, most: int, what: str, send: Callable[[Entry], None]) -> None:
        self._most = most
        self._what = what
        self._send = send
        self._told: set[str] = set()
        self._left_out: dict[str, Entry] = {}
        self._warned = False

    def put(self, entry: Entry) -> None:
        """An entry came or changed: tell it, when there is room."""
        name = entry.name
        if name not in self._told:
            if len(self._told) >= self._most:
                self._left_out[name] = entry
                return
            self._told.add(name)
        self._send(entry)

    def drop(self, name: str) -> bool:
        """An entry went.

        @return: whether the follower had been told of it; call L{refill} when it is told that it went.
        """
        if name in self._told:
            self._told.remove(name)
            return True
        self._left_out.pop(name, None)
        return False

    def refill(self) -> None:
        """Tell what was left out first, as far as there is room."""
        while self._left_out and len(self._told) < self._most:
            self.put(self._left_out.pop(next(iter(self._left_out))))

    def warn(self) -> None:
        """Say once how many are left out, if any are."""
        if self._left_out and not self._warned:
            self._warned = True
            _log.warn(
                "this node has {all} {what}; a follower is told of the first {most} only",
                all=len(self._told) + len(self._left_out),
                what=self._what,
                most=self._most,
            )
