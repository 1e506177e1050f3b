"""A node is replaced by a new process of itself while it runs: how the two come to terms.

The old process starts the new one with a socket pair (C{RESTREAMER_PREDECESSOR} names the descriptor) and
gives it copies of its listening sockets, so no connection is refused in between. What only one may have,
archives and the like, the old one lets go before the new one begins. Then each is a source of the other
until the old one's viewers and publishers have left: see L{restreamer.tap}.

They may be of different versions, so they speak JSON, a line each:
old: C{{"sockets": [[kind, address, port], ...]}} with as many descriptors; new: C{{"take": true}}; old:
C{{"link": PATH, "key": HEX}}; new: C{{"up": true, "link": PATH, "key": HEX, "id": HEX}}.
"""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.errors import RestreamerError
from restreamer.logs import Logger
from restreamer.workers.channel import adopt

_log = Logger()

VARIABLE: Final = "RESTREAMER_PREDECESSOR"
#: Seconds the new process waits for the old one to let go.
LET_GO_SECONDS: Final = 20.0
_MAX_LINE: Final = 1 << 20
#: Descriptors that one call takes; the kernel has a limit of 253.
_FDS_AT_ONCE: Final = 128

#: (kind, address, port) of a listener.
Key = tuple[str, str, int]


class SuccessionError(RestreamerError):
    """The other process does not play its part; the text says how."""


@frozen
class Door:
    """Where the other process takes links. @ivar path: of a UNIX socket. @ivar key: of the links."""

    path: str
    key: bytes


class Predecessor:
    """The old process, as the new one sees it before its loop turns: everything here blocks.

    @ivar sockets: its listening sockets by listener.
    """

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._read = bytearray()
        self._fds: deque[int] = deque()
        wire.settimeout(LET_GO_SECONDS)
        told = self._line()
        self.sockets: dict[Key, list[socket.socket]] = {}
        for kind, address, port in told["sockets"]:
            if not self._fds:
                raise SuccessionError("a listening socket did not come")
            made = socket.socket(fileno=self._fds.popleft())
            self.sockets.setdefault((kind, address, port), []).append(made)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Predecessor | None:
        """The one that started this process; None: nobody hands anything over.

        @raise SuccessionError: it says nothing that makes sense.
        """
        text = environment.get(VARIABLE, "")
        if not text.isascii() or not text.isdigit():
            return None
        try:
            return cls(socket.socket(fileno=int(text)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SuccessionError(f"the process that started this one hands nothing over: {error}") from error

    def take_over(self) -> Door:
        """Have it let go of everything. @return: where it takes links.

        @raise SuccessionError: it did not.
        """
        try:
            self._wire.sendall(b'{"take": true}\n')
            told = self._line()
            return Door(told["link"], bytes.fromhex(told["key"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SuccessionError(f"the process that is replaced does not let go: {error}") from error

    def up(self, door: Door, node_id: bytes) -> None:
        """Tell it that we serve. @param node_id: ours on links between the two."""
        told = {"up": True, "link": door.path, "key": door.key.hex(), "id": node_id.hex()}
        try:
            self._wire.sendall(json.dumps(told).encode() + b"\n")
            self._wire.close()
        except OSError as error:
            _log.warn("the process that is replaced is gone already: {error}", error=error)

    def _line(self) -> dict[str, Any]:
        while b"\n" not in self._read:
            data, fds, _, _ = socket.recv_fds(self._wire, 65536, _FDS_AT_ONCE)
            self._fds.extend(fds)
            if not data or len(self._read) > _MAX_LINE:
                raise ValueError("the connection ended")
            self._read += data
        line, _, rest = bytes(self._read).partition(b"\n")
        self._read[:] = rest
        told = json.loads(line)
        if not isinstance(told, dict):
            raise ValueError("not an object")
        return told


class Successor(LineOnlyReceiver):
    """The new process, as the old one sees it.

    @param take: lets go of everything; calls back with where we take links.
    @param up: the new one serves: C{up(door, node_id)}.
    @param failed: it is gone before that: C{failed(taken)}.
    """

    delimiter = b"\n"
    MAX_LENGTH = _MAX_LINE

    def __init__(
        self,
        take: Callable[[Callable[[Door], None]], None],
        up: Callable[[Door, bytes], None],
        failed: Callable[[bool], None],
    ) -> None:
        self._take = take
        self._up = up
        self._failed = failed
        self._taken = False
        self._over = False

    @override
    def lineReceived(self, line: bytes) -> None:
        wire: Any = self.transport
        try:
            told = json.loads(line)
            if told.get("take"):
                self._taken = True
                self._take(self._let_go)
            elif told.get("up"):
                self._over = True
                self._up(Door(told["link"], bytes.fromhex(told["key"])), bytes.fromhex(told["id"]))
                wire.loseConnection()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.error("the new process says nothing that makes sense: {error}", error=error)
            wire.abortConnection()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._over:
            self._over = True
            self._failed(self._taken)

    def _let_go(self, door: Door) -> None:
        if not self._over:
            self.sendLine(json.dumps({"link": door.path, "key": door.key.hex()}).encode())


def start_successor(
    reactor: Any, successor: Successor, sockets: Sequence[tuple[Key, socket.socket]]
) -> subprocess.Popen[bytes]:
    """Start this program anew, as it was started, with copies of C{sockets}.

    @raise OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    try:
        environment = {**os.environ, VARIABLE: str(theirs.fileno())}
        # The life signs that the service manager waits for are the new one's, once it is told of it.
        environment.pop("WATCHDOG_PID", None)
        command = [sys.executable, *sys.orig_argv[1:]]
        process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()
        line = json.dumps({"sockets": [list(key) for key, _ in sockets]}).encode() + b"\n"
        fds = array.array("i", [each.fileno() for _, each in sockets])
        # A few bytes for each bunch of descriptors; the line is far smaller than what a socket pair holds.
        at = 0
        for first in range(0, len(fds), _FDS_AT_ONCE):
            socket.send_fds(ours, [line[at : at + 1]], list(fds[first : first + _FDS_AT_ONCE]))
            at += 1
        ours.sendall(line[at:])
        ours.setblocking(False)
        adopt(reactor, successor, ours.fileno())
        return process
    finally:
        ours.close()


def has_ended(pid: int) -> bool:
    """Whether our child C{pid} has; it stays a zombie: whoever takes our place hears how it ended."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
