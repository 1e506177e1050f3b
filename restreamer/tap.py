"""What C{twistd restreamer} runs: options, loading the configuration, the service, the reload on SIGHUP."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python import usage
from typing_extensions import override

from restreamer.config.difference import Difference
from restreamer.config.excerpt import describe
from restreamer.config.include import MAX_BYTES, decode
from restreamer.config.load import Loaded, find_config, load
from restreamer.errors import ConfigError
from restreamer.listeners import ListenError
from restreamer.logs import Logger
from restreamer.node import Node
from restreamer.node_api import config_file
from restreamer.resolver import ImpatientResolver
from restreamer.supervisor import Supervisor

_log = Logger()


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

    def __init__(self, reactor: Any, path: str, loaded: Loaded, node: Node) -> None:
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
        _warn(self._loaded)
        self.node.startService()
        signal.signal(signal.SIGHUP, self._hung_up)
        # What exists now lives as long as the process: keep the collector away from it.
        gc.collect()
        gc.freeze()
        # Told when the loop turns: that is when connections are taken.
        self._reactor.callWhenRunning(self._up)

    @override
    def stopService(self) -> Deferred[Any]:
        """Stop the node."""
        super().stopService()
        self._supervisor.stop()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self._reloading is not None and self._reloading.active():
            self._reloading.cancel()
        return self.node.stopService()

    def _up(self) -> None:
        if self.running:
            self._supervisor.start()

    async def reload(self) -> bool:
        """Load the file again and go over to it; a bad file changes nothing.

        The file is read in a thread: a very long one takes seconds.
        @return: whether the new configuration is in force.
        """
        try:
            loaded = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), load, self.path)
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
    _raise_file_limit()
    # Timers must not follow a wall clock that steps; Twisted's default is time.time.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    reactor.installNameResolver(ImpatientResolver(reactor))  # type: ignore[attr-defined]
    try:
        path = find_config(options["config"])
        loaded = load(path)
    except ConfigError as error:
        sys.stderr.write(describe(error, _text_of(error.path)) + "\n")
        raise SystemExit(1)
    try:
        node = Node(reactor, loaded.configuration)
    except ListenError as error:
        sys.stderr.write(f"restreamer: {error}\n")
        raise SystemExit(1)
    return RunningNode(reactor, path, loaded, node)


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
