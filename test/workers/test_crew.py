"""A worker as the main process has it: started, watched, replaced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.workers.crew import PAUSES, SILENT_LOOKS, SILENT_SECONDS, Worker
from restreamer.workers.messages import Figures, Message


class Processes(Clock):
    """A clock that starts processes, or cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Any] = []
        self.trouble: OSError | None = None

    def spawnProcess(self, protocol: Any, *_: Any, **__: Any) -> Any:  # noqa: N802
        """See C{IReactorProcess}."""
        if self.trouble is not None:
            raise self.trouble
        process = SimpleNamespace(pid=len(self.started) + 100, killed=[])
        process.signalProcess = process.killed.append
        self.started.append(process)
        return process

    def adoptStreamConnection(self, *_: Any) -> None:  # noqa: N802
        """See C{IReactorSocket}."""


FIGURES = Figures(sent=0, connections=0, resident=0, late=0.0, cpu=0.0, streams={})


class Watched(SynchronousTestCase):
    """See the module."""

    @override
    def setUp(self) -> None:
        self.clock = Processes()
        core: Any = SimpleNamespace(publishing=None, registry=None)
        self.gone: list[int] = []
        self.crew: Any = SimpleNamespace(
            core=core,
            reactor=self.clock,
            retired=False,
            sockets_of=lambda place: {},
            gone=lambda worker: self.gone.append(worker.place),
            totals=SimpleNamespace(told=lambda place, message: None),
        )
        self.told: list[Message] = []
        self.patch(Worker, "configure", lambda worker, sockets: None)
        crew: Any = self.crew
        self.worker = Worker(crew, 1)

    def die(self) -> None:
        """Its process ends."""
        self.worker.processEnded(Failure(ProcessTerminated(1)))

    def test_cannot_be_started(self) -> None:
        """No memory, no descriptors, no program for a while: it is tried on until it works."""
        self.clock.trouble = OSError(11, "Resource temporarily unavailable")
        self.worker.start()
        self.assertIsNone(self.worker.pid)
        for pause in PAUSES:
            self.clock.advance(pause)
        self.assertEqual(self.clock.started, [])
        self.clock.trouble = None
        self.clock.advance(PAUSES[-1])
        self.assertEqual(self.worker.pid, 100)
        self.assertEqual(self.worker.starts, 1)

    def test_dies_again_and_again(self) -> None:
        """The pauses grow, until it lives for a while."""
        self.worker.start()
        for pause in (*PAUSES, PAUSES[-1]):
            before = len(self.clock.started)
            self.die()
            if pause:
                self.clock.advance(pause - 0.01)
                self.assertEqual(len(self.clock.started), before)
            self.clock.advance(0.01)
            self.assertEqual(len(self.clock.started), before + 1)
        for _ in range(20):
            self.clock.advance(3.0)
            self.worker.heard(FIGURES, ())
        before = len(self.clock.started)
        self.die()
        self.clock.advance(0.0)
        self.assertEqual(len(self.clock.started), before + 1)

    def test_says_nothing(self) -> None:
        """It is killed then, once; one that speaks is not."""
        self.worker.start()
        (process,) = self.clock.started
        for _ in range(10):
            self.clock.advance(SILENT_SECONDS / SILENT_LOOKS)
            self.worker.heard(FIGURES, ())
        self.assertEqual(process.killed, [])
        self.clock.pump([SILENT_SECONDS / SILENT_LOOKS] * (SILENT_LOOKS + 1))
        self.assertEqual(process.killed, ["KILL"])

    def test_this_process_hung(self) -> None:
        """What waits to be read is read before anybody is killed for his silence."""
        self.worker.start()
        (process,) = self.clock.started
        self.clock.advance(100 * SILENT_SECONDS)
        self.assertEqual(process.killed, [])
        self.worker.heard(FIGURES, ())
        self.clock.advance(SILENT_SECONDS)
        self.assertEqual(process.killed, [])
