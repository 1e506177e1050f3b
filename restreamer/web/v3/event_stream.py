"""Server-sent events (WHATWG HTML section 9.2): what happens on the node, while somebody looks at it.

A reader that does not keep up misses events, and is told how many; nothing is kept for it. So it is with all
readers when more happens than anybody reads: an event is written once, for all of them, and only so many a
second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from restreamer.seams import Clock, Timer
from restreamer.web.api_error import ApiError

#: Seconds from one sign of life to the next, so that nobody on the way closes the connection.
PULSE_SECONDS: Final = 5.0
#: Readers at once.
MAX_READERS: Final = 100
#: Events that are told in a second; of others only how many there were.
MAX_A_SECOND: Final = 200


class EventSource(Protocol):
    """Where events come from."""

    def listen(self, listener: EventStreams) -> Callable[[], None]:
        """Tell C{listener} from now on, until what this gives back is called."""
        ...

    def since(self, number: int) -> list[Mapping[str, Any]]:
        """Remembered events behind number C{number}."""
        ...


class EventStreams:
    """All readers of the events of a node.

    @param pulse: what is told every L{PULSE_SECONDS}: the node in figures.
    """

    def __init__(self, clock: Clock, events: EventSource, pulse: Callable[[], Mapping[str, Any]]) -> None:
        self.clock = clock
        self.events = events
        self.pulse = pulse
        self._readers: set[EventReader] = set()
        self._stop: Callable[[], None] | None = None
        self._second = 0.0
        self._told = 0

    def __len__(self) -> int:
        return len(self._readers)

    def begin(self, since: int | None) -> Callable[[Request], None]:
        """What starts a stream of events on a request.

        @param since: first all remembered events behind this number; None: only what happens from now on.
        @raise ApiError: 503: there are too many readers.
        """
        if len(self._readers) >= MAX_READERS:
            raise ApiError(503, "busy", "too many readers of events")

        def start(request: Request) -> None:
            reader = EventReader(self, request)
            self._readers.add(reader)
            if self._stop is None:
                self._stop = self.events.listen(self)
            reader.start(since)

        return start

    def event(self, event: Mapping[str, Any]) -> None:
        """Tell all readers of an event, or that they missed one."""
        now = self.clock.seconds()
        if not 0 <= now - self._second < 1:
            self._second, self._told = now, 0
        self._told += 1
        text = _written(b"event", event, event.get("event_id")) if self._told <= MAX_A_SECOND else None
        for reader in tuple(self._readers):
            reader.event(text)

    def left(self, reader: EventReader) -> None:
        """A reader is gone."""
        self._readers.discard(reader)
        if not self._readers and self._stop is not None:
            self._stop()
            self._stop = None

    def close(self) -> None:
        """End all of them."""
        for reader in tuple(self._readers):
            reader.end()


@implementer(IPushProducer)
class EventReader:
    """One reader."""

    def __init__(self, streams: EventStreams, request: Request) -> None:
        self._streams = streams
        self._request = request
        self._paused = False
        self._missed = 0
        self._timer: Timer | None = None
        self._there = False

    def start(self, since: int | None) -> None:
        """Begin."""
        request = self._request
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"X-Accel-Buffering", b"no")
        _ = request.notifyFinish().addBoth(self._gone)
        request.registerProducer(self, True)
        self._there = True
        for event in self._streams.events.since(since) if since is not None else ():
            self.event(_written(b"event", event, event.get("event_id")))
        self._pulse()

    def event(self, text: bytes | None) -> None:
        """Tell of an event, as it is written. None, or a reader that does not keep up: it is missed."""
        if self._paused or text is None:
            self._missed += 1
            return
        self._tell_missed()
        self._request.write(text)

    def end(self) -> None:
        """Close it."""
        if self._there:
            self._request.unregisterProducer()
            self._request.finish()

    # IPushProducer.

    def pauseProducing(self) -> None:
        """It does not keep up."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._tell_missed()

    def stopProducing(self) -> None:
        """It is gone; the request says so, too."""

    # Inside.

    def _pulse(self) -> None:
        self._timer = self._streams.clock.callLater(PULSE_SECONDS, self._pulse)
        if not self._paused:
            self._tell_missed()
            self._request.write(_written(b"pulse", self._streams.pulse()))

    def _tell_missed(self) -> None:
        missed, self._missed = self._missed, 0
        if missed:
            self._request.write(_written(b"missed", {"count": missed}))

    def _gone(self, _: Failure | None) -> None:
        self._there = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._streams.left(self)


def _written(kind: bytes, value: Mapping[str, Any], number: object = None) -> bytes:
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    line = b"id: %d\n" % number if isinstance(number, int) else b""
    return b"%sevent: %s\ndata: %s\n\n" % (line, kind, data)
