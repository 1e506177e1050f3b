"""The level of the configuration decides what reaches the log."""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.logs import GATE, LEVELS, Logger

_log = Logger()


class LevelTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.seen: list[LogEvent] = []
        observer = cast(ILogObserver, self.seen.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.addCleanup(setattr, GATE, "level", GATE.level)

    def _said(self) -> list[str]:
        for say in (_log.debug, _log.info, _log.warn):
            say("at {word}", word=say.__name__)
        return [str(event["log_level"].name) for event in self.seen if event.get("log_namespace") == __name__]

    def test_levels(self) -> None:
        expected = {
            "none": [],
            "debug": ["debug", "info", "warn"],
            "info": ["info", "warn"],
            "notice": ["info", "warn"],
            "warning": ["warn"],
            "error": [],
            "alert": [],
            "critical": [],
        }
        self.assertEqual(set(expected), set(LEVELS))
        for word, levels in expected.items():
            self.seen.clear()
            GATE.set(word)
            self.assertEqual(self._said(), levels, word)
