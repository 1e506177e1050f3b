"""What stands between a feed and a player: transports that let PLAY be answered with the first bytes.

Over TCP the feed writes to the connection itself from then on. Over UDP each entry is taken apart and sent as
datagrams, a few in each turn, so that a keyframe does not overrun the player's socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from typing_extensions import override

from restreamer.rtsp.first_packets import split_frames
from restreamer.seams import Clock, Timer, ViewerTransport

#: Datagrams sent in one turn, at least, and the seconds between two turns: 20 Mbit/s. A player's socket takes
#: about 90 large ones by default, and what it begins with comes at once.
BURST: Final = 4
PAUSE: Final = 0.002
#: Of more that wait, this part is sent in one turn: so a large keyframe takes a fifth of a second at most.
PART: Final = 16
_DOLLAR: Final = b"$"


class InterleavedPort:
    """A connection whose first media are preceded by the answer to PLAY; a L{ViewerTransport}."""

    def __init__(self, transport: ViewerTransport, answer: Callable[[bytes], bytes]) -> None:
        """@param answer: gives the answer, told the first media."""
        self._transport = transport
        self._answer: Callable[[bytes], bytes] | None = answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, behind the answer where these are the first media."""
        answer = self._answer
        if answer is not None and data[:1] == _DOLLAR:
            self._answer = None
            data = answer(data) + data
        self._transport.write(data)


class DatagramPort(ViewerTransport):
    """A L{ViewerTransport} of datagrams.

    @param send: sends some packets with their channels, in order; raises nothing.
    @param answer: told the first media; sends the answer to PLAY.
    @param abort: closes the connection of the session at once.
    """

    def __init__(
        self,
        clock: Clock,
        send: Callable[[Sequence[tuple[int, bytes]]], None],
        answer: Callable[[bytes], None],
        abort: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._send = send
        self._answer: Callable[[bytes], None] | None = answer
        self._abort = abort
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._producer: Any = None
        self._timer: Timer | None = None
        self._closed = False

    @override
    def write(self, data: bytes) -> None:
        """Take an entry of the feed."""
        if self._closed:
            return
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(data)
        self._waiting += split_frames(data)
        self._run_later(0.0)

    @override
    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Ask C{producer} for more when everything is sent."""
        self._producer = producer
        self._run_later(0.0)

    @override
    def unregisterProducer(self) -> None:
        """Nobody is asked for more."""
        self._producer = None

    @override
    def loseConnection(self) -> None:
        """The session ends."""
        self.close()
        self._abort()

    @override
    def abortConnection(self) -> None:
        """The session ends at once."""
        self.close()
        self._abort()

    def finish(self) -> None:
        """Send at once what waits: it is the last."""
        if self._waiting:
            self._send(list(self._waiting))
            self._waiting.clear()

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        self._waiting.clear()
        self._producer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run_later(self, seconds: float) -> None:
        if self._timer is None and not self._closed:
            self._timer = self._clock.callLater(seconds, self._run)

    def _run(self) -> None:
        self._timer = None
        waiting = self._waiting
        try:
            count = min(max(BURST, len(waiting) // PART), len(waiting))
            if count:
                self._send([waiting.popleft() for _ in range(count)])
        finally:
            if waiting:
                self._run_later(PAUSE)
            elif self._producer is not None:
                self._producer.resumeProducing()
