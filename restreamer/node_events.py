"""The events of a node: what its parts tell, under the names that sinks know, and the sinks as configured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define
from twisted.internet.defer import Deferred, gatherResults

from restreamer import __version__
from restreamer.config.model import EventSinkConfig
from restreamer.config.secrecy import shown_url
from restreamer.events.bus import EventBus
from restreamer.events.filters import Condition, EventFilter
from restreamer.events.service import file_send, http_send
from restreamer.events.sinks import Sink, SinkFacts, SinkLimits
from restreamer.live.stream import Stream
from restreamer.logs import Logger
from restreamer.seams import Clock, Timer
from restreamer.viewer_facts import SessionFacts

_log = Logger()

#: How often things that nobody tells of are looked at, seconds.
LOOK_SECONDS: Final = 2.0


@define(eq=False)
class _Placed:
    """A sink and what it needs. @ivar stop: it hears no more. @ivar close: its connections."""

    config: EventSinkConfig
    sink: Sink
    stop: Callable[[], None]
    close: Callable[[], Any] | None


class NodeEvents:
    """Hears of streams (L{restreamer.live.registry.RegistryListener}), sessions, sources, archives, pushes.

    @param alarms: what is wrong with archives now. @param pushed: pushes that are taken now, (stream, URL).
    @ivar bus: where all is told.
    """

    def __init__(
        self,
        reactor: Any,
        utc_ms: Callable[[], int],
        server: str,
        in_thread: Callable[..., Deferred[Any]],
        alarms: Callable[[], Iterable[str]] = tuple,
        pushed: Callable[[], Iterable[tuple[str, str]]] = tuple,
    ) -> None:
        self.bus = EventBus(utc_ms, server)
        self._reactor = reactor
        self._clock: Clock = reactor
        self._in_thread = in_thread
        self._alarms = alarms
        self._pushed = pushed
        self._sinks: dict[str, _Placed] = {}
        self._running: set[str] = set()
        self._known: set[str] = set()
        self._wrong: set[str] = set()
        self._taken: set[tuple[str, str]] = set()
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to look, and say that the node is up."""
        self.bus.emit("server_started", version=__version__)
        self._look_later()

    def configure(self, sinks: Sequence[EventSinkConfig]) -> None:
        """Send events where C{sinks} say."""
        wanted = {config.name: config for config in sinks}
        for name in [name for name, held in self._sinks.items() if wanted.get(name) != held.config]:
            _ = self._end(self._sinks.pop(name))
        for name, config in wanted.items():
            if name not in self._sinks:
                self._sinks[name] = self._placed(config)

    def sinks(self) -> list[SinkFacts]:
        """How the sinks are."""
        return [held.sink.facts() for held in self._sinks.values()]

    def close(self) -> Deferred[Any]:
        """Say that the node ends, and send what waits."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self.bus.emit("server_stopped")
        held, self._sinks = list(self._sinks.values()), {}
        return gatherResults([self._end(each) for each in held], consumeErrors=True)

    # What is told.

    def session_event(self, event: str, facts: SessionFacts) -> None:
        """A viewer or publisher."""
        self.bus.emit(
            event,
            facts.name,
            id=facts.session_id,
            proto=facts.proto,
            ip=facts.ip,
            country=facts.country or None,
            token=facts.token_hash or None,
            user_id=facts.user_id or None,
            user_agent=facts.user_agent or None,
            referer=facts.referer or None,
            opened_at=facts.opened_at,
            started_at=facts.started_at,
            closed_at=facts.closed_at,
            bytes=facts.bytes,
            dvr=facts.past,
            reason=facts.closed_why or None,
        )

    def source(self, address: str, ready: bool, why: str = "") -> None:
        """The control link to a source is up or lost."""
        self.bus.emit("source_ready" if ready else "source_lost", source=address, reason=why or None)

    # The registry's events.

    def stream_changed(self, stream: Stream) -> None:
        """An input began or was lost."""
        name = stream.name
        if name not in self._known:
            self._known.add(name)
            self.bus.emit("stream_opened", name)
        if stream.running and name not in self._running:
            self._running.add(name)
            run = f"{stream.run.run_id:016x}" if stream.run is not None else None
            self.bus.emit("stream_started", name, id=run)
        elif not stream.running and name in self._running:
            self._running.discard(name)
            self.bus.emit("stream_stopped", name)

    def stream_removed(self, stream: Stream) -> None:
        """It is gone."""
        name = stream.name
        if name in self._running:
            self._running.discard(name)
            self.bus.emit("stream_stopped", name)
        if name in self._known:
            self._known.discard(name)
            self.bus.emit("stream_closed", name, bytes=stream.traffic.bytes_in)

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Told of when the stream begins."""

    def supply_changed(self, name: str) -> None:
        """Likewise."""

    # Inside.

    def _look_later(self) -> None:
        self._timer = self._clock.callLater(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._look_later()
        try:
            wrong, taken = set(self._alarms()), set(self._pushed())
        except Exception:
            _log.failure("archives and pushes could not be looked at")
            return
        for alarm in sorted(wrong - self._wrong):
            self.bus.emit("dvr_alarm", reason=alarm)
        for alarm in sorted(self._wrong - wrong):
            self.bus.emit("dvr_recovered", reason=alarm)
        for name, url in sorted(taken - self._taken):
            self.bus.emit("push_started", name, url=url)
        for name, url in sorted(self._taken - taken):
            self.bus.emit("push_stopped", name, url=url)
        self._wrong, self._taken = wrong, taken

    def _placed(self, config: EventSinkConfig) -> _Placed:
        close: Callable[[], Any] | None = None
        if config.url.startswith("jsonlog://"):
            send = file_send(Path(config.url.removeprefix("jsonlog://")), self._in_thread)
        else:
            send, close = http_send(self._reactor, config.url, __version__)
        sink = Sink(
            config.name,
            shown_url(config.url),
            self._clock,
            send,
            EventFilter(
                tuple(Condition(each.key, each.values) for each in config.only),
                tuple(Condition(each.key, each.values) for each in config.except_),
            ),
            SinkLimits(
                max_depth=config.max_depth,
                max_size=config.max_size,
                throttle=config.throttle_delay,
                resend_limit=config.resend_limit,
                resend_pause=config.resend_timeout,
            ),
        )
        return _Placed(config, sink, self.bus.listen(sink), close)

    @staticmethod
    def _end(held: _Placed) -> Deferred[Any]:
        held.stop()
        ending: Deferred[Any] = held.sink.close()
        if held.close is not None:
            close = held.close
            _ = ending.addBoth(lambda _: close())
        return ending
