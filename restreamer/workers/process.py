"""The program of a worker: C{python -m restreamer.workers.process FD}, started by the main process only.

It speaks with the main process over the socket C{FD}, logs to its standard output (lines that begin with the
level), and ends when the main process does.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogBeginner,
)
from typing_extensions import override
from zope.interface import implementer

from restreamer.listeners import ListenError
from restreamer.logs import Logger
from restreamer.polling import quicken
from restreamer.resolver import ImpatientResolver
from restreamer.tls import TlsError
from restreamer.workers.channel import Channel, adopt
from restreamer.workers.messages import (
    Configure,
    Denied,
    Failed,
    Granted,
    KickPublisher,
    Message,
    NameHeld,
    NameKnown,
    Ready,
    Retire,
    Revoked,
    RevokedAll,
    Stop,
    Taken,
)
from restreamer.workers.node import WorkerNode

_log = Logger()

#: Seconds to end in order once the main process is gone or says so.
END_SECONDS: Final = 5.0


@implementer(ILogObserver)
class LineLog:
    """Writes events for the main process to read: level, a tab, the text with its line ends made spaces."""

    def __call__(self, event: LogEvent) -> None:
        """Write one."""
        level = event.get("log_level") or LogLevel.info
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}"
        line = text.replace("\r", " ").replace("\n", "\x1f")
        sys.stdout.write(f"{level.name}\t{line}\n")
        sys.stdout.flush()


class Worker:
    """Carries out what the main process says."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.channel = Channel(self.heard, self.lost)
        self.node: WorkerNode | None = None
        self._ended: Deferred[Any] | None = None
        self._down = False

    def heard(self, message: Message, fds: Sequence[int]) -> None:
        """A message of the main process."""
        node = self.node
        if isinstance(message, Configure):
            sockets = {key: socket.socket(fileno=fd) for key, fd in zip(message.sockets, fds, strict=True)}
            self._configure(message, sockets)
        elif isinstance(message, Stop):
            self.stop()
        elif node is None:
            return
        elif isinstance(message, Retire):
            node.retire(message.handed)
        elif isinstance(message, Granted):
            node.gate.granted(message)
        elif isinstance(message, Denied):
            if message.number < 0:
                node.names.denied(message)
            else:
                node.gate.denied(message)
        elif isinstance(message, Revoked):
            node.gate.revoked(message)
        elif isinstance(message, RevokedAll):
            node.gate.ask_all_again()
        elif isinstance(message, NameHeld):
            node.names.held(message)
        elif isinstance(message, KickPublisher):
            node.kick_publisher(message.name, message.why)
        elif isinstance(message, NameKnown):
            node.absent.answered(message)
        elif isinstance(message, Taken):
            node.passing.taken(message)

    def lost(self) -> None:
        """The main process is gone."""
        self.stop()

    def stop(self) -> None:
        """End in order, then the program."""
        if self._ended is None:
            _ = self.end().addBoth(lambda _: None if self._down else self._reactor.stop())

    def going_down(self) -> Deferred[Any]:
        """The program ends, by a signal perhaps, that all processes of a service get at once. @return: fires
        when we are ready.
        """
        self._down = True
        return self.end()

    def end(self) -> Deferred[Any]:
        """End in order, and at last in any case. @return: fires when that is done."""
        if self._ended is None:
            self._reactor.callLater(END_SECONDS, os._exit, 1)
            node = self.node
            stopping: Deferred[Any]
            stopping = node.stopService() if node is not None and node.running else succeed(None)
            self._ended = stopping
            _ = stopping.addErrback(lambda failure: _log.failure("the worker did not end in order", failure))
        return self._ended

    def _configure(self, message: Configure, sockets: dict[tuple[str, str, int], socket.socket]) -> None:
        try:
            if self.node is not None:
                self.node.reconfigure(message, sockets)
                return
            node = WorkerNode(self._reactor, message, sockets, self.channel.send, self._up)
            node.startService()
        except (ListenError, TlsError) as error:
            self.channel.send(Failed(str(error)))
            return
        self.node = node

    def _up(self) -> None:
        # What exists now lives as long as the process: keep the collector away from it.
        gc.collect()
        gc.freeze()
        self.channel.send(Ready(os.getpid()))

    @override
    def __repr__(self) -> str:
        return f"<Worker {os.getpid()}>"


def main(arguments: Sequence[str]) -> None:
    """Run a worker that speaks over the descriptor named by C{arguments}; C{check}: only load it."""
    from twisted.internet import reactor

    if arguments[0] == "check":
        return
    loop: Any = reactor
    # Who stops or reloads the node tells the main process.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop.seconds = time.monotonic
    quicken(loop)
    loop.installNameResolver(ImpatientResolver(loop))
    globalLogBeginner.beginLoggingTo([LineLog()], redirectStandardIO=False, discardBuffer=True)
    fd = int(arguments[0])
    worker = Worker(loop)
    adopt(loop, worker.channel, fd)
    os.close(fd)
    loop.addSystemEventTrigger("before", "shutdown", worker.going_down)
    loop.run(installSignalHandlers=True)


if __name__ == "__main__":
    main(sys.argv[1:])
