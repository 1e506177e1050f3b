"""Sinks: events in bounded queues, sent on in batches, again while they are not taken."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred

from restreamer.events.filters import EventFilter
from restreamer.logs import Logger
from restreamer.seams import Clock, Timer

_log = Logger()

#: So many waiting events are sent without delay.
FULL: Final = 100
#: Longest pause before a batch that was not taken is sent again, seconds.
LONGEST_PAUSE: Final = 60.0

#: Sends a batch; fails when it was not taken.
Send = Callable[[list[bytes]], Awaitable[None]]


@frozen(kw_only=True)
class SinkLimits:
    """What a sink may hold and do.

    @ivar max_depth: events that wait; beyond that the oldest are dropped. @ivar max_size: bytes of a batch.
    @ivar throttle: seconds to gather events before they are sent.
    @ivar resend_limit: times a batch is sent again; 0: until it is taken. @ivar resend_pause: seconds before
        the first time; doubled each time.
    """

    max_depth: int = 10_000
    max_size: int = 1 << 20
    throttle: float = 0.2
    resend_limit: int = 0
    resend_pause: float = 1.0


@frozen(kw_only=True)
class SinkFacts:
    """How a sink is. @ivar waiting: events. @ivar last_error: empty while all is well."""

    name: str
    url: str
    waiting: int
    sent: int
    resent: int
    dropped: int
    last_error: str


class Sink:
    """An L{restreamer.events.bus.EventListener} that sends what it takes.

    @param name: in the configuration. @param url: for people, without secrets. @param send: one batch.
    """

    def __init__(
        self,
        name: str,
        url: str,
        clock: Clock,
        send: Send,
        wanted: EventFilter | None = None,
        limits: SinkLimits | None = None,
    ) -> None:
        self._name = name
        self._url = url
        self._clock = clock
        self._send = send
        self._wanted = wanted or EventFilter()
        self._limits = limits or SinkLimits()
        self._waiting: deque[bytes] = deque()
        self._timer: Timer | None = None
        self._sending: Deferred[None] | None = None
        self._batch: list[bytes] = []
        self._attempts = 0
        self._sent = self._resent = self._dropped = 0
        self._error = ""
        self._closed = False
        self._hurried = False

    def event(self, event: Mapping[str, Any]) -> None:
        """Take an event, if it is wanted."""
        if self._closed or not self._wanted.takes(event):
            return
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        if len(data) > self._limits.max_size:
            self._dropped += 1
            return
        while len(self._waiting) >= self._limits.max_depth:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(data)
        self._plan()

    def facts(self) -> SinkFacts:
        """How it is."""
        return SinkFacts(
            name=self._name,
            url=self._url,
            waiting=len(self._waiting) + len(self._batch),
            sent=self._sent,
            resent=self._resent,
            dropped=self._dropped,
            last_error=self._error,
        )

    def close(self) -> Deferred[None]:
        """Send what waits, once, and take nothing more; fires when that is over."""
        self._closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        return Deferred.fromCoroutine(self._last())

    def _plan(self) -> None:
        if self._sending is not None or self._closed or self._batch:
            # What could not be sent goes first, when its pause is over.
            return
        full = len(self._waiting) >= FULL
        delay = 0.0 if full else self._limits.throttle
        timer = self._timer
        if timer is None or not timer.active():
            self._timer = self._clock.callLater(delay, self._go)
        elif full and not self._hurried:
            timer.cancel()
            self._timer = self._clock.callLater(0, self._go)
            self._hurried = True

    def _go(self) -> None:
        self._timer = None
        self._hurried = False
        if self._sending is None and (self._batch or self._waiting):
            if not self._batch:
                self._batch = self._next()
                self._attempts = 0
            self._sending = Deferred.fromCoroutine(self._attempt())
            _ = self._sending.addErrback(lambda failure: _log.failure("an event sink failed", failure))
            if self._sending is not None and self._sending.called:
                self._sending = None

    def _next(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._waiting and size + len(self._waiting[0]) + 1 <= self._limits.max_size:
            size += len(self._waiting[0]) + 1
            batch.append(self._waiting.popleft())
        return batch or [self._waiting.popleft()]

    async def _attempt(self) -> None:
        batch = self._batch
        again = self._attempts > 0
        self._attempts += 1
        try:
            await self._send(batch)
        except Exception as error:
            self._failed(error)
        else:
            self._sent += len(batch)
            self._resent += len(batch) * again
            self._batch = []
            if self._error:
                self._error = ""
                _log.info("event sink {name}: {url} takes events again", name=self._name, url=self._url)
        self._sending = None
        if not self._closed and not self._batch and self._waiting:
            self._plan()

    def _failed(self, error: Exception) -> None:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        if not self._error:
            _log.warn("event sink {name}: {url}: {error}", name=self._name, url=self._url, error=text)
        self._error = text
        limit = self._limits.resend_limit
        if limit and self._attempts > limit:
            self._dropped += len(self._batch)
            self._batch = []
        elif not self._closed:
            pause = min(self._limits.resend_pause * 2 ** min(self._attempts - 1, 16), LONGEST_PAUSE)
            self._timer = self._clock.callLater(pause, self._go)

    async def _last(self) -> None:
        if self._sending is not None:
            over: Deferred[None] = Deferred()

            def tell(result: Any) -> Any:
                over.callback(None)
                return result

            _ = self._sending.addBoth(tell)
            await over
        while self._batch or self._waiting:
            if not self._batch:
                self._batch = self._next()
            await self._attempt()
            if self._error:
                self._dropped += len(self._batch) + len(self._waiting)
                self._batch = []
                self._waiting.clear()
