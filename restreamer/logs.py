"""Logging: Twisted's logger behind one level that the configuration sets.

A module says C{_log = Logger()}. Below the level an event costs one comparison and goes nowhere; what
passes goes to Twisted's global publisher, and so wherever twistd was told to log.
"""

from __future__ import annotations

import sys
from typing import Any

import twisted.logger
from constantly import NamedConstant
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from typing_extensions import override
from zope.interface import implementer

#: The words of C{loglevel}; L{None} keeps everything away.
LEVELS: dict[str, NamedConstant | None] = {
    "none": None,
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "notice": LogLevel.info,
    "warning": LogLevel.warn,
    "error": LogLevel.error,
    "alert": LogLevel.critical,
    "critical": LogLevel.critical,
}


@implementer(ILogObserver)
class LevelGate:
    """Lets events of a level and above through to the global publisher.

    @ivar level: the lowest level that passes; None: nothing does.
    """

    def __init__(self) -> None:
        self.level: NamedConstant | None = LogLevel.info

    def set(self, word: str) -> None:
        """Set the level by its word in the configuration."""
        self.level = LEVELS[word]

    def __call__(self, event: LogEvent) -> None:
        """Pass C{event} on, or not."""
        level = event.get("log_level")
        if self.level is not None and (level is None or level >= self.level):
            globalLogPublisher(event)


GATE = LevelGate()


@implementer(ILogObserver)
class FaultCount:
    """Counts errors of the program itself: what is logged with the failure it was.

    @ivar faults: so far.
    """

    def __init__(self) -> None:
        self.faults = 0

    def __call__(self, event: LogEvent) -> None:
        """Count C{event}, if it is one."""
        if "log_failure" in event:
            self.faults += 1

    def watch(self) -> None:
        """Count from now on; what Twisted catches for us is counted too."""
        globalLogPublisher.addObserver(self)

    def rest(self) -> None:
        """Count no more."""
        globalLogPublisher.removeObserver(self)


FAULTS = FaultCount()


class Logger(twisted.logger.Logger):
    """A logger of one module, behind the level of the configuration."""

    def __init__(
        self, namespace: str | None = None, source: object = None, observer: ILogObserver | None = None
    ) -> None:
        """@param namespace: the module that speaks; the calling one when None."""
        super().__init__(namespace or sys._getframe(1).f_globals["__name__"], source, observer or GATE)

    @override
    def emit(self, level: NamedConstant, format: str | None = None, **kwargs: Any) -> None:
        """Emit an event, unless its level is shut out."""
        if GATE.level is not None and level >= GATE.level:
            super().emit(level, format, **kwargs)
