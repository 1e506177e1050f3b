"""What a scenario hands to the runner: rows of figures, ours beside a peer's, with what is aimed at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from attrs import define, field, frozen

from bench.machine import median


@frozen
class Aim:
    """What a row should show.

    @ivar limit: the bound. @ivar most: it is an upper one. @ivar ratio: of ours / peer's, not of ours.
    """

    limit: float
    most: bool = True
    ratio: bool = False

    def met(self, value: float) -> bool:
        """Whether C{value} keeps it."""
        return value <= self.limit if self.most else value >= self.limit

    def describe(self, unit: str, peer: str) -> str:
        """For a table."""
        sign = "≤" if self.most else "≥"
        return f"{sign} {self.limit:g} x {peer}" if self.ratio else f"{sign} {self.limit:g} {unit}"


@define(eq=False)
class Row:
    """One line of the table: a question, and one figure of each repeat.

    @ivar key: for files and C{--only}. @ivar what: for people. @ivar unit: of the figures. @ivar aim: None
        where the figure is for information. @ivar peer: whose figures are in C{theirs}.
    @ivar ours, @ivar theirs: a figure for each repeat; @ivar ratios: ours / theirs of the same repeat.
    @ivar notes: what else was seen, once each. @ivar skipped: why there are no figures.
    @ivar load: the busiest process of the load generator, share of its core.
    """

    key: str
    what: str
    unit: str
    aim: Aim | None = None
    peer: str = ""
    ours: list[float] = field(factory=list)
    theirs: list[float] = field(factory=list)
    ratios: list[float] = field(factory=list)
    notes: list[str] = field(factory=list)
    skipped: str = ""
    load: float = 0.0

    def add(self, ours: float, theirs: float | None = None, load: float = 0.0) -> None:
        """The figures of one repeat."""
        self.ours.append(ours)
        self.load = max(self.load, load)
        if theirs is not None:
            self.theirs.append(theirs)
            if theirs:
                self.ratios.append(ours / theirs)

    def note(self, text: str) -> None:
        """Something to read beside the figures; replaces an older note that begins with the same word."""
        head = text.split(" ", 1)[0]
        self.notes = [each for each in self.notes if each.split(" ", 1)[0] != head] + [text]

    @property
    def value(self) -> float:
        """What the aim is about: the median over the repeats."""
        return median(self.ratios if self.aim is not None and self.aim.ratio else self.ours)

    @property
    def met(self) -> bool | None:
        """Whether the aim is kept; None when there is none or nothing was measured."""
        if self.aim is None or not (self.ratios if self.aim.ratio else self.ours):
            return None
        return self.aim.met(self.value)


class OutOfTimeError(Exception):
    """The time of a scenario is over; what it has measured so far counts."""


class SkipError(Exception):
    """A scenario cannot run here; the text says why."""


@define(eq=False)
class Bench:
    """What a scenario may use, and where its rows go.

    @ivar core: the server's core. @ivar others: cores of publishers and load generators.
    @ivar seconds: length of one window. @ivar full: measure more than the rows with an aim.
    @ivar deadline: C{time.monotonic()} at which the scenario should be over.
    @ivar crowds: processes that viewers are in; 0: one for each core of C{others}.
    """

    core: int
    others: Sequence[int]
    seconds: float
    full: bool = False
    deadline: float = float("inf")
    rows: dict[str, Row] = field(factory=dict)
    crowds: int = 0

    def row(self, key: str, what: str, unit: str, aim: Aim | None = None, peer: str = "") -> Row:
        """The row C{key}, made when it is new."""
        return self.rows.setdefault(key, Row(key, what, unit, aim, peer))

    def need(self, seconds: float) -> None:
        """Go on only if there are C{seconds} left.

        @raise OutOfTimeError: there are not.
        """
        if time.monotonic() + seconds > self.deadline:
            raise OutOfTimeError

    def say(self, text: str) -> None:
        """Progress, for whoever waits."""
        print(f"  {text}", flush=True)


class Scenario(Protocol):
    """A module with one job."""

    #: For C{--only} and file names.
    NAME: str
    #: For people.
    TITLE: str
    #: Seconds for all repeats together, unless the command says otherwise.
    BUDGET: float

    def run(self, bench: Bench) -> None:
        """One repeat.

        @raise OutOfTimeError: there was no time for all of it. @raise SkipError: it cannot run here.
        """
        ...
