"""What C{twistd restreamer} runs: options, loading the configuration, the service, the reload on SIGHUP."""

from __future__ import annotations

import gc
import os
import resource
import signal
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
    start_successor,
)
from restreamer.supervisor import Supervisor

_log = Logger()

#: A process that was replaced first looks after so many seconds whether all have left: the figures of workers
#: are almost that old.
DRAIN_LOOK_SECONDS = 5.0


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
        self._successor: Any = None
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
        """Stop the node."""
        super().stopService()
        FAULTS.rest()
        self._supervisor.stop()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if self._reloading is not None and self._reloading.active():
            self._reloading.cancel()
        return self.node.stopService()

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

    def _let_go(self, reply: Callable[[Door], None]) -> None:
        door = self.node.door()
        _ = self.node.retire().addCallback(lambda _: reply(door))

    def _go_behind(self, door: Door, node_id: bytes) -> None:
        seconds = self.node.core.configuration.drain_time
        _log.info("another process serves; this one ends when all have left, in {n:g} s at last", n=seconds)
        self._supervisor.hand_over(self._successor.pid)
        self.node.stand_behind(door, node_id)
        self._draining = self._reactor.seconds() + seconds
        first = DRAIN_LOOK_SECONDS if self.node.crew is not None else 1.0
        self._reactor.callLater(min(first, seconds), self._drained)

    def _drained(self) -> None:
        if not self.running:
            return
        if self.node.connections and self._reactor.seconds() < self._draining:
            self._reactor.callLater(1.0, self._drained)
            return
        _log.info("this process ends: {left} connections are left", left=self.node.connections)
        self._reactor.stop()

    def _not_replaced(self, taken: bool) -> None:
        self._successor = None
        if not taken:
            _log.error("the other process did not start, this one goes on")
            return
        # What it took is gone with it: whoever watches over the service starts it anew.
        _log.error("the other process died as it began to serve: this one ends, to be started again")
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
        try:
            threads = self._reactor.getThreadPool()
            loaded = await deferToThreadPool(self._reactor, threads, load, self.path)
            await deferToThreadPool(self._reactor, threads, self.node.core.derive_keys, loaded.configuration)
            if not self.running:
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
        if self._busy:
            self._again = True
        elif self._reloading is None or not self._reloading.active():
            self._reloading = self._reactor.callLater(0.1, self._reload_now)

    def _reload_now(self) -> None:
        self._busy = True
        _ = Deferred.fromCoroutine(self.reload()).addBoth(self._reloaded)

    def _reloaded(self, _: object) -> None:
        self._busy = False
        if self._again:
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
        node = Node(reactor, loaded.configuration, held)
    except (ListenError, SuccessionError) as error:
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
