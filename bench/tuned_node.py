"""A node for measuring: the program as it is, with a probe if the environment asks for one.

C{BENCH_PROBE}: a file; a timer of 10 ms writes there how late it came each time, so that what holds up the
reactor can be seen from outside (L{Lateness}).

    BENCH_PROBE=FILE python -m bench.tuned_node --nodaemon --pidfile= restreamer --config node.conf
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

PROBE_SECONDS = 0.01
#: Measurements kept: ten minutes.
_RING = 60_000
_COUNT = struct.Struct("<Q")
_LATE = struct.Struct("<f")
_SIZE = _COUNT.size + _RING * _LATE.size


class Lateness:
    """The file of a probe, from outside.

    @ivar path: the file; made here, before the node starts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(_SIZE))
        self._from = 0

    def mark(self) -> None:
        """Begin a window."""
        self._from = _COUNT.unpack_from(self.path.read_bytes())[0]

    def since(self) -> list[float]:
        """Milliseconds by which the timer was late, each time since L{mark}."""
        data = self.path.read_bytes()
        (until,) = _COUNT.unpack_from(data)
        first = max(self._from, until - _RING)
        at = (_COUNT.size + number % _RING * _LATE.size for number in range(first, until))
        return [_LATE.unpack_from(data, where)[0] for where in at]


def probe(path: str) -> None:
    """Measure from when the reactor runs, for ever."""
    from twisted.internet import reactor

    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), _SIZE)
    count = 0
    due = 0.0
    later = reactor.callLater

    def came() -> None:
        nonlocal count, due
        _LATE.pack_into(memory, _COUNT.size + count % _RING * _LATE.size, (time.monotonic() - due) * 1000)
        count += 1
        _COUNT.pack_into(memory, 0, count)
        due = time.monotonic() + PROBE_SECONDS
        later(PROBE_SECONDS, came)

    def begin() -> None:
        nonlocal due
        due = time.monotonic() + PROBE_SECONDS
        later(PROBE_SECONDS, came)

    reactor.callWhenRunning(begin)


def main() -> None:
    path = os.environ.get("BENCH_PROBE")
    if path:
        probe(path)
    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main()
