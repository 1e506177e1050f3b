"""The workers as the main process has them: started, told what to do, replaced when they die.

Each worker has listening sockets of its own on every port, which the main process keeps open: when a worker
dies its connections are lost, and those that wait to be accepted wait for the worker that takes its place.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from typing_extensions import override

import restreamer
from restreamer.assembly import Core
from restreamer.cluster.catalogue import Catalogue
from restreamer.cluster.push import PushServer
from restreamer.cluster.seams import LinkHandler
from restreamer.config.model import Configuration
from restreamer.errors import RestreamerError
from restreamer.facts import WorkerFacts
from restreamer.listeners import BoundSocket
from restreamer.logs import Logger
from restreamer.m4f.link import Authorised
from restreamer.own_folder import OwnFolder
from restreamer.viewer_facts import SessionFacts
from restreamer.web.service import FrontFactory
from restreamer.workers.channel import Channel, adopt
from restreamer.workers.figures import Totals
from restreamer.workers.gatekeeper import NodeGatekeeper
from restreamer.workers.lessor import Lessor
from restreamer.workers.messages import (
    Asked,
    Attached,
    Configure,
    Detached,
    Failed,
    Figures,
    Forsaken,
    GivenBack,
    HoldName,
    Message,
    NameAsked,
    NameKnown,
    NameReleased,
    Passed,
    Ready,
    Retire,
    Stop,
    Used,
)
from restreamer.workers.names import HeldNames
from restreamer.workers.passing import Adopting

_log = Logger()

#: Seconds before a worker that died is started again: none, then more, until it lives for a while.
PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 5.0)
STEADY_SECONDS: Final = 30.0
#: A worker that says nothing for so long hangs and is killed, seconds; in so many looks, for it may be this
#: process that hung, which finds that its timers are due before it reads what it was told.
SILENT_SECONDS: Final = 15.0
SILENT_LOOKS: Final = 5
#: Seconds a worker gets to end in order.
END_SECONDS: Final = 5.5
#: Seconds its program gets to show that it starts.
TRY_SECONDS: Final = 30.0
_CHANNEL_FD: Final = 3
_PROGRAM: Final = "restreamer.workers.process"
#: The argument with which it ends once it is loaded.
CHECK: Final = "check"


class WorkerError(RestreamerError):
    """No worker can be started; the text says why."""


class Worker(ProcessProtocol):
    """One worker, over all its processes.

    @ivar place: from 1. @ivar node_id: by which its links are known. @ivar pid: None: there is no process.
    @ivar starts: processes so far. @ivar ready: the one that is there listens. @ivar since: when it began,
        monotonic seconds.
    """

    def __init__(self, crew: Crew, place: int) -> None:
        self._crew = crew
        self._clock = crew.reactor
        self.place = place
        self.node_id = os.urandom(16)
        self.pid: int | None = None
        self.starts = 0
        self.ready = False
        self.since = 0.0
        self._silent = 0
        self._fruitless = 0
        self._channel: Channel | None = None
        self._process: Any = None
        self._timer: Any = None
        self._watch: Any = None
        self._ending: Deferred[None] | None = None
        self._lines = {1: b"", 2: b""}
        self._new()

    def _new(self) -> None:
        core = self._crew.core
        self._gatekeeper = NodeGatekeeper(core)
        self.lessor = Lessor(self.send, self._gatekeeper)
        self.names = HeldNames(self._clock, self.send, core.publishing, core.registry)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Tell it something."""
        if self._channel is not None:
            self._channel.send(message, fds)

    # Its processes.

    def start(self) -> None:
        """Start a process; one that cannot be started is tried again."""
        self._timer = None
        self._silent = 0
        self.since = self._clock.seconds()
        try:
            self._process = self._spawn()
        except OSError as error:
            self._channel = None
            self._again(f"cannot be started: {error}")
            return
        self.starts += 1
        self.pid = self._process.pid
        self.configure(self._crew.sockets_of(self.place))
        self._watch = self._clock.callLater(SILENT_SECONDS / SILENT_LOOKS, self._look)

    def _spawn(self) -> Any:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            self._channel = Channel(self.heard)
            adopt(self._clock, self._channel, ours.fileno())
            return self._clock.spawnProcess(
                self,
                sys.executable,
                [sys.executable, "-m", _PROGRAM, str(_CHANNEL_FD)],
                env=_environment(),
                childFDs={0: "w", 1: "r", 2: "r", _CHANNEL_FD: theirs.fileno()},
            )

    def _again(self, why: str) -> None:
        """Start another process in a while. @param why: it is needed."""
        lived = self._clock.seconds() - self.since
        self._fruitless = 0 if lived >= STEADY_SECONDS else self._fruitless + 1
        pause = PAUSES[min(max(0, self._fruitless - 1), len(PAUSES) - 1)]
        _log.error(
            "worker {place} {why}; another begins in {pause:g} s", place=self.place, why=why, pause=pause
        )
        self._timer = self._clock.callLater(pause, self.start)

    def facts(self, figures: Figures | None) -> WorkerFacts:
        """How it is. @param figures: what it told last."""
        about = WorkerFacts(place=self.place, starts=self.starts, pid=self.pid, ready=self.ready)
        if figures is None:
            return about
        return evolve(
            about,
            connections=figures.connections,
            sent=figures.sent,
            resident=figures.resident,
            cpu=figures.cpu,
            late=figures.late,
        )

    def configure(self, sockets: Mapping[tuple[str, str, int], socket.socket]) -> None:
        """Tell it the configuration in force, with C{sockets} that are new to it."""
        crew = self._crew
        message = Configure(
            configuration=crew.core.configuration,
            place=self.place,
            workers=len(crew.workers),
            node_id=self.node_id,
            socket=crew.path,
            key=crew.key,
            secret=crew.core.state.secret,
            sockets=tuple(sockets),
        )
        self.send(message, [each.fileno() for each in sockets.values()])

    def end(self) -> Deferred[None]:
        """End it for good; fires when its process is gone."""
        for timer in (self._timer, self._watch):
            if timer is not None and timer.active():
                timer.cancel()
        self._ending = Deferred()
        if self.pid is None:
            self._ending.callback(None)
            return self._ending
        self.send(Stop())
        kill = self._clock.callLater(END_SECONDS, self.kill)
        _ = self._ending.addBoth(lambda _: kill.cancel() if kill.active() else None)
        return self._ending

    def kill(self) -> None:
        """End its process at once."""
        if self._process is not None:
            try:
                self._process.signalProcess("KILL")
            except ProcessExitedAlready:
                pass

    def _look(self) -> None:
        self._watch = self._clock.callLater(SILENT_SECONDS / SILENT_LOOKS, self._look)
        self._silent += 1
        if self._silent > SILENT_LOOKS:
            _log.error("worker {place} does not answer: it is killed", place=self.place)
            self._silent = 0
            self.kill()

    # What its process says.

    @override
    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Lines of its log."""
        *lines, rest = (self._lines[childFD] + data).split(b"\n")
        self._lines[childFD] = rest[-65536:]
        for line in lines:
            text = line.decode("utf-8", "replace")
            level, tab, told = text.partition("\t")
            if childFD == 1 and tab and level in _LEVELS:
                text = told.replace("\x1f", "\n")
            else:
                level = "error"
            _log.emit(_LEVELS[level], "worker {place}: {text}", place=self.place, text=text)

    @override
    def processEnded(self, reason: Failure) -> None:
        """It is gone: what it had is gone, and another takes its place."""
        self.pid = None
        self.ready = False
        self._process = None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        self.lessor.close()
        self.names.close()
        self._crew.gone(self)
        if self._ending is not None:
            self._ending.callback(None)
            return
        if self._crew.retired:
            return
        self._new()
        self._again(f"died: {reason.getErrorMessage()}")

    def heard(self, message: Message, fds: Sequence[int]) -> None:
        """A message of its process."""
        self._silent = 0
        lessor, names = self.lessor, self.names
        if isinstance(message, Used):
            lessor.used(message)
        elif isinstance(message, Asked):
            lessor.asked(message)
        elif isinstance(message, Attached):
            lessor.attached(message)
        elif isinstance(message, Detached):
            lessor.detached(message)
        elif isinstance(message, Forsaken):
            lessor.forsaken(message)
        elif isinstance(message, GivenBack):
            lessor.given_back(message)
        elif isinstance(message, HoldName):
            names.hold(message)
        elif isinstance(message, NameReleased):
            names.released(message)
        elif isinstance(message, NameAsked):
            self.send(NameKnown(message.number, self._gatekeeper.knows(message.name)))
        elif isinstance(message, Passed):
            self._crew.adopting.take(message, fds[0], self.send)
        elif isinstance(message, Figures):
            self._crew.totals.told(self.place, message)
        elif isinstance(message, Ready):
            self.ready = True
            took = self._clock.seconds() - self.since
            told = "worker {place} is up, process {pid}, {took:.1f} s"
            _log.info(told, place=self.place, pid=message.pid, took=took)
            self._crew.came(self)
        elif isinstance(message, Failed):
            _log.error("worker {place}: {why}", place=self.place, why=message.why)


class Crew:
    """All workers of a node.

    @param sockets: what the node listens with, by (kind, address, port).
    @ivar path: of the UNIX socket by which workers link to this process; @ivar key: of those links.
    @ivar totals: what the workers tell of themselves.
    """

    def __init__(
        self,
        core: Core,
        count: int,
        sockets: Mapping[tuple[str, str, int], BoundSocket],
        fronts: Mapping[tuple[str, int], FrontFactory],
    ) -> None:
        self.core = core
        self.reactor: Any = core.reactor
        self.key = os.urandom(32)
        self.totals = Totals(lambda name: core.registry.find(name) is not None)
        self.adopting = Adopting(core.reactor, fronts)
        self._sockets = sockets
        self._folder = OwnFolder()
        self.path = str(self._folder.path / "main")
        self._port: Any = None
        self._catalogue = Catalogue(core.registry, core.node_id, everything=True)
        self.workers = [Worker(self, place + 1) for place in range(count)]
        self._by_id = {each.node_id: each for each in self.workers}
        self._waiting: list[Deferred[None]] = []
        self._retired = False
        core.sessions.listen(self)

    def start(self) -> None:
        """Start the workers."""
        route = self.core.link_route(lambda: (self.key,), self._handler)
        front = FrontFactory(self.reactor, [route])
        self._port = self.reactor.listenUNIX(self.path, front, mode=0o600)
        for worker in self.workers:
            worker.start()

    def ready(self) -> Deferred[None]:
        """Fires when all workers listen."""
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        self.came(None)
        return done

    def stop(self) -> Deferred[Any]:
        """End them all."""
        waits: list[Deferred[Any]] = [worker.end() for worker in self.workers]
        if self._port is not None:
            waits.append(self._port.stopListening())
        done = gatherResults(waits, consumeErrors=True).addErrback(lambda failure: None)
        return done.addBoth(lambda _: self._folder.close())

    def retire(self, handed: bool) -> None:
        """Have the workers listen no more; those that die are not replaced.

        @param handed: another process serves: their publishers are to go there.
        """
        self._retired = True
        for worker in self.workers:
            worker.send(Retire(handed))

    @property
    def retired(self) -> bool:
        """Whether another process has the listeners."""
        return self._retired

    @property
    def all_ready(self) -> bool:
        """Whether each has listened at least once."""
        return all(worker.ready or worker.starts > 1 for worker in self.workers)

    def stream_sent(self, name: str) -> int:
        """Bytes that the feeds of a stream sent."""
        return self.totals.stream_sent(name)

    def containers(self, name: str) -> Mapping[str, tuple[int, int, int, int, int, float]]:
        """The feeds of a stream by container."""
        return self.totals.containers(name)

    def facts(self) -> list[WorkerFacts]:
        """How each worker is."""
        return [worker.facts(self.totals.of(worker.place)) for worker in self.workers]

    @property
    def connections(self) -> int:
        """Connections that the workers serve, as they told last."""
        told = (self.totals.of(worker.place) for worker in self.workers)
        return sum(figures.connections for figures in told if figures is not None)

    def reconfigure(self, fresh: Sequence[tuple[str, str, int]]) -> None:
        """The configuration is another one; C{fresh} listeners are new."""
        for worker in self.workers:
            if worker.pid is not None:
                sockets = self.sockets_of(worker.place)
                worker.configure({key: sockets[key] for key in fresh})

    def rules_changed(self) -> None:
        """Who may play may be another matter now."""
        for worker in self.workers:
            worker.lessor.rules_changed()

    def sockets_of(self, place: int) -> dict[tuple[str, str, int], socket.socket]:
        """The listening sockets of worker C{place}."""
        return {
            key: bound.socket if place == 1 else bound.others[place - 2]
            for key, bound in self._sockets.items()
        }

    def came(self, worker: Worker | None) -> None:
        """A worker listens."""
        if all(each.ready for each in self.workers):
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done.callback(None)

    def gone(self, worker: Worker) -> None:
        """A process is no more."""
        self.totals.gone(worker.place)

    def session_event(self, event: str, facts: SessionFacts) -> None:
        """A session began or ended: whoever serves it hears."""
        for worker in self.workers:
            worker.lessor.session_event(event, facts)

    def _handler(self, event: Authorised) -> LinkHandler:
        """Who speaks on a link of a worker."""
        worker = self._by_id[event.peer_node_id]
        core = self.core

        def pushed() -> LinkHandler:
            return PushServer(worker.names, core.registry, core.node_id, core.utc.ticks, core.reactor)

        return core.own_process(event, self._catalogue, pushed)


_LEVELS: Final = {level.name: level for level in LogLevel.iterconstants()}


def _environment() -> dict[str, str]:
    """What a worker is started in: as this process, and it finds the same program."""
    found = dict(os.environ)
    package = str(Path(restreamer.__path__[0]).parent)
    found["PYTHONPATH"] = os.pathsep.join(each for each in (package, found.get("PYTHONPATH")) if each)
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        found.pop(name, None)
    return found


def try_worker() -> None:
    """See whether the program of a worker starts at all. Blocks for a second.

    @raise WorkerError: it does not.
    """
    command = [sys.executable, "-m", _PROGRAM, CHECK]
    try:
        done = subprocess.run(
            command, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=TRY_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkerError(f"a worker does not start: {error}") from error
    if done.returncode:
        told = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        raise WorkerError(f"a worker does not start: it ends with {done.returncode}: {told[-2000:]}")


def worker_count(configuration: Configuration) -> int:
    """How many workers there are to be; 0: none."""
    count = configuration.workers
    return count if count >= 0 else len(os.sched_getaffinity(0))
