"""What C{twistd restreamer} runs: options, loading the configuration, the service, the reload on SIGHUP."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python import usage
from typing_extensions import override

from restreamer.account import cannot_write, too_much
from restreamer.config.difference import Difference
from restreamer.config.excerpt import describe
from restreamer.config.include import MAX_BYTES, decode
from restreamer.config.load import Loaded, find_config, load
from restreamer.errors import ConfigError
from restreamer.listeners import ListenError
from restreamer.logs import FAULTS, Logger
from restreamer.node import Node
from restreamer.node_api import config_file
from restreamer.polling import quicken
from restreamer.resolver import ImpatientResolver
from restreamer.succession import (
    VARIABLE as PREDECESSOR,
)
from restreamer.succession import (
    Door,
    Predecessor,
    SuccessionError,
    Successor,
    has_ended,
    start_successor,
)
from restreamer.supervisor import Supervisor
from restreamer.workers.crew import WorkerError, try_worker, worker_count

_log = Logger()

#: A process that was replaced first looks after so many seconds whether all have left: the figures of workers
#: are almost that old.
DRAIN_LOOK_SECONDS = 5.0
#: Seconds a process that is to replace this one gets until it takes over, and from then on until it serves.
TAKE_SECONDS = 60.0
SERVE_SECONDS = 60.0


class Options(usage.Options):
    """Options of C{twistd restreamer}."""

    synopsis = "[--config FILE]"
    longdesc = "Runs a Restreamer node."
    optParameters = [
        [
            "config",
            "c",
            None,
            "configuration file (default: conf/restreamer.conf, then /etc/restreamer/restreamer.conf)",
        ]
    ]


class RunningNode(Service):
    """A L{Node} that reloads its configuration on SIGHUP.

    @ivar path: the file; @ivar node: the node.
    """

    def __init__(
        self, reactor: Any, path: str, loaded: Loaded, node: Node, predecessor: Predecessor | None = None
    ) -> None:
        self._predecessor = predecessor
        self._successor: subprocess.Popen[bytes] | None = None
        self._behind = False
        self._limit: Any = None
        self._draining = 0.0
        self._reactor = reactor
        self.path = path
        self.node = node
        self._loaded = loaded
        self._reloading: Any = None
        self._busy = False
        self._again = False
        self._supervisor = Supervisor(reactor, os.environ)
        node.api.file = config_file(path, node.core.in_thread, self.reload)

    @override
    def startService(self) -> None:
        """Start the node; from here on SIGHUP reloads."""
        super().startService()
        FAULTS.watch()
        _warn(self._loaded)
        _look_at_rights(self._loaded.configuration.state_dir)
        predecessor, self._predecessor = self._predecessor, None
        if predecessor is not None:
            self.node.heir = (predecessor.take_over(), os.urandom(16))
        self.node.startService()
        signal.signal(signal.SIGHUP, self._hung_up)
        signal.signal(signal.SIGUSR2, self._replaced)
        if predecessor is not None:
            self._succeed(predecessor)
        # What exists now lives as long as the process: keep the collector away from it.
        gc.collect()
        gc.freeze()
        # Told when the loop turns: that is when connections are taken.
        self._reactor.callWhenRunning(self._up)

    @override
    def stopService(self) -> Deferred[Any]:
        """Stop the node; who asks for it again does not want to wait for what is going on."""
        super().stopService()
        signal.signal(signal.SIGTERM, self._told_again)
        signal.signal(signal.SIGINT, self._told_again)
        FAULTS.rest()
        self._supervisor.stop()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        for timer in (self._reloading, self._limit):
            if timer is not None and timer.active():
                timer.cancel()
        if self._successor is not None and not self._behind:
            self._successor.terminate()
        return self.node.stopService()

    def _told_again(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._end_now)

    def _end_now(self) -> None:
        _log.warn("asked to end again: nothing is waited for any more")
        self._reactor.crash()

    # Replacing another process, and being replaced.

    def _succeed(self, predecessor: Predecessor) -> None:
        assert self.node.heir is not None
        node_id = self.node.heir[1]

        def up(_: None) -> None:
            _log.info("this process serves in the place of the one before")
            predecessor.up(self.node.door(), node_id)

        _ = self.node.ready().addCallback(up)

    def _replaced(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._replace)

    def _replace(self) -> None:
        """Start the program anew, and go behind it."""
        if not self.running or self._successor is not None:
            _log.warn("this process is being replaced already")
            return
        successor = Successor(self._let_go, self._go_behind, self._not_replaced)
        try:
            self._successor = start_successor(self._reactor, successor, self.node.listening())
        except OSError as error:
            _log.error("no other process can be started, this one goes on: {error}", error=error)
            return
        _log.info("process {pid} is to serve in the place of this one", pid=self._successor.pid)
        self._limit = self._reactor.callLater(TAKE_SECONDS, self._too_slow)

    def _let_go(self, reply: Callable[[Door], None]) -> None:
        if self._limit.active():
            self._limit.reset(SERVE_SECONDS)
        door = self.node.door()
        _ = self.node.retire().addCallback(lambda _: reply(door))

    def _too_slow(self) -> None:
        """What only hangs would be waited for for ever."""
        assert self._successor is not None
        _log.error("process {pid} takes too long to begin: it is killed", pid=self._successor.pid)
        self._successor.kill()

    def _go_behind(self, door: Door, node_id: bytes) -> None:
        assert self._successor is not None
        if self._limit.active():
            self._limit.cancel()
        self._behind = True
        seconds = self.node.core.configuration.drain_time
        _log.info("another process serves; this one ends when all have left, in {n:g} s at last", n=seconds)
        self._supervisor.hand_over(self._successor.pid)
        self.node.stand_behind(door, node_id)
        now = self._reactor.seconds()
        self._draining = now + seconds
        first = DRAIN_LOOK_SECONDS if self.node.crew is not None else 1.0
        self._reactor.callLater(min(1.0, seconds), self._drained, now + min(first, seconds))
        if self._again:
            self._again = False
            self._soon()

    def _drained(self, first: float) -> None:
        """Look whether this process is of use still. @param first: when figures are to be trusted."""
        if not self.running:
            return
        assert self._successor is not None
        if has_ended(self._successor.pid):
            _log.error("the process that replaced this one is gone: this one ends, to be started again")
            self._fail()
            return
        now = self._reactor.seconds()
        if now < self._draining and (self.node.connections or now < first):
            self._reactor.callLater(1.0, self._drained, first)
            return
        _log.info("this process ends: {left} connections are left", left=self.node.connections)
        self._reactor.stop()

    def _not_replaced(self, taken: bool) -> None:
        process, self._successor = self._successor, None
        if self._limit.active():
            self._limit.cancel()
        if not self.running:
            return
        if taken:
            # What it took is gone with it: whoever watches over the service starts it anew.
            _log.error("the other process died as it began to serve: this one ends, to be started again")
            if process is not None:
                process.kill()
            self._fail()
            return
        _log.error("the other process did not start, this one goes on")
        if process is not None:
            self._bury(process, 50)
        if self._again:
            self._again = False
            self._soon()

    def _bury(self, process: subprocess.Popen[bytes], looks: int) -> None:
        """Wait until C{process} has ended."""
        if process.poll() is None:
            if not looks:
                process.kill()
            self._reactor.callLater(0.1, self._bury, process, looks - 1)

    def _fail(self) -> None:
        """End so that whoever watches over the service starts it anew, with both processes gone."""
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.stop()

    def _up(self) -> None:
        if self.running:
            _ = self.node.ready().addCallback(lambda _: self._supervisor.start() if self.running else None)

    async def reload(self) -> bool:
        """Load the file again and go over to it; a bad file changes nothing.

        The file is read in a thread: a very long one takes seconds.
        @return: whether the new configuration is in force.
        """
        if self._successor is not None:
            self._pass_on()
            return False
        try:
            threads = self._reactor.getThreadPool()
            loaded = await deferToThreadPool(self._reactor, threads, load, self.path)
            await deferToThreadPool(self._reactor, threads, self.node.core.derive_keys, loaded.configuration)
            if not self.running:
                return False
            if self._successor is not None:
                self._pass_on()
                return False
            difference = self.node.apply(loaded.configuration)
        except (ConfigError, ListenError) as error:
            _log.error("reload failed, the old configuration stays in force: {error}", error=error)
            return False
        except Exception:
            _log.failure("reload failed")
            return False
        _warn(loaded)
        _log.info("reloaded {path}: {what}", path=self.path, what=summary(difference))
        return True

    def _hung_up(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._soon)

    def _soon(self) -> None:
        """Several signals in a row are one reload; one that comes during a reload is another, after it."""
        if not self.running:
            return
        if self._successor is not None:
            self._pass_on()
        elif self._busy:
            self._again = True
        elif self._reloading is None or not self._reloading.active():
            self._reloading = self._reactor.callLater(0.1, self._reload_now)

    def _pass_on(self) -> None:
        """What replaces this process is to reload, once it hears signals: what it read may be older."""
        if not self._behind or self._successor is None:
            self._again = True
            return
        _log.info("process {pid} is told to reload", pid=self._successor.pid)
        try:
            os.kill(self._successor.pid, signal.SIGHUP)
        except ProcessLookupError:
            pass

    def _reload_now(self) -> None:
        self._busy = True
        _ = Deferred.fromCoroutine(self.reload()).addBoth(self._reloaded)

    def _reloaded(self, _: object) -> None:
        self._busy = False
        if self._again and (self._successor is None or self._behind):
            self._again = False
            self._soon()


def makeService(options: Options) -> Service:
    """The service of C{twistd restreamer}; a configuration or port that cannot be used ends the program."""
    from twisted.internet import reactor

    # What is asked for before the node is up is read anyway; without this it would end the program.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    _raise_file_limit()
    # Timers must not follow a wall clock that steps; Twisted's default is time.time.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    quicken(reactor)
    reactor.installNameResolver(ImpatientResolver(reactor))  # type: ignore[attr-defined]
    try:
        path = find_config(options["config"])
        loaded = load(path)
    except ConfigError as error:
        sys.stderr.write(describe(error, _text_of(error.path)) + "\n")
        raise SystemExit(1)
    try:
        predecessor = Predecessor.of(os.environ)
        os.environ.pop(PREDECESSOR, None)
        held = predecessor.sockets if predecessor is not None else None
        if predecessor is not None and worker_count(loaded.configuration):
            # While the other process serves still.
            try_worker()
        node = Node(reactor, loaded.configuration, held)
    except (ListenError, SuccessionError, WorkerError) as error:
        sys.stderr.write(f"restreamer: {error}\n")
        raise SystemExit(1)
    return RunningNode(reactor, path, loaded, node, predecessor)


def _raise_file_limit() -> None:
    """Let the process open as many files as it may: every viewer is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            _log.warn("at most {soft} files can be open: {error}", soft=soft, error=error)


def _text_of(path: str) -> str | None:
    """The text of a configuration file, to show the offending line; None when it cannot be had."""
    try:
        with open(path, "rb") as file:
            return decode(file.read(MAX_BYTES), path)
    except (OSError, ValueError, ConfigError):
        return None


def _warn(loaded: Loaded) -> None:
    for warning in loaded.warnings:
        _log.warn("{warning}", warning=warning)


def _look_at_rights(state_dir: str) -> None:
    """Say when the account of this process, which is its last one by now, may too much or too little."""
    why = too_much()
    if why:
        _log.warn("{why}", why=why)
    why = cannot_write(state_dir) if state_dir else ""
    if why:
        _log.error(
            "state_dir {folder}: {why}; the node runs, but its id, numbers of segments and the journal do "
            "not outlive it",
            folder=state_dir,
            why=why,
        )


def summary(difference: Difference) -> str:
    """What a reload touched, in one line."""
    parts = []
    named = {
        kind: getattr(difference, kind)
        for kind in ("streams", "templates", "vods", "sources", "peers", "balancers")
    }
    for kind, changes in {**named, **difference.listeners}.items():
        for what in ("added", "removed", "changed"):
            names = getattr(changes, what)
            if names:
                parts.append(f"{kind} {what}: {len(names)}")
    parts.extend(difference.globals)
    return ", ".join(parts) or "nothing changed"
