"""A node as a service: listeners, configured streams, sources, the reload that touches only what changed."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, succeed
from typing_extensions import override

from restreamer import __version__
from restreamer.assembly import Core, spawn
from restreamer.between import Between
from restreamer.cluster.source_service import ClusterSource
from restreamer.config.difference import (
    SOURCE_SETTINGS,
    STREAM_SETTINGS,
    Difference,
    compare,
)
from restreamer.config.model import Configuration, Listen, SourceConfig, StreamConfig
from restreamer.config.resolve import resolve_stream
from restreamer.config.words import LISTENERS, TLS_LISTENERS
from restreamer.facts import SourceFacts
from restreamer.listeners import BoundSocket, ListenError, bind, inherited
from restreamer.logs import GATE, Logger
from restreamer.neighbours import read_tls
from restreamer.node_api import NodeEndpoints
from restreamer.node_events import NodeEvents
from restreamer.node_journal import NodeJournal
from restreamer.node_state import KeptState
from restreamer.rtmp.service import RtmpFactory
from restreamer.rtsp.service import RtspFactory
from restreamer.succession import Door
from restreamer.web.api import ServerFacts
from restreamer.web.limits import FrontLimits
from restreamer.web.service import FrontFactory
from restreamer.workers.crew import Crew, worker_count

_log = Logger()

#: Kinds of listeners that serve HTTP.
_HTTP = ("http", "https")
#: Kinds of listeners that serve RTMP.
_RTMP = ("rtmp", "rtmps")
#: Seconds a new process waits for the list of what the one before it has.
FOLLOW_SECONDS = 3.0
#: Seconds after which it looks again whether all that is there is fed here.
ENTER_SECONDS = 0.05
#: Seconds a stopping node waits for its connections and files.
STOP_SECONDS = 4.0
#: Seconds its HTTP clients get to take what they asked for.
DRAIN_SECONDS = 1.0


class Node(MultiService):
    """A whole node as a service.

    @ivar core: its parts. @ivar heir: of another process of this node: where that takes links, and our id on
        them; to be set before the start; None: this one begins afresh.
    """

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        held: Mapping[tuple[str, str, int], Sequence[socket.socket]] | None = None,
    ) -> None:
        """Bind every listener; nothing is started.

        @param held: listening sockets that are there already; those that are not wanted are closed.
        @raise restreamer.listeners.ListenError: a port cannot be had; everything bound before is let go.
        """
        super().__init__()
        self._sockets: dict[tuple[str, str, int], BoundSocket] = {}
        tls = read_tls(configuration)
        workers = worker_count(configuration)
        self._processes = max(1, workers)
        left = dict(held or {})
        try:
            for kind, listen in _listeners(configuration):
                self._sockets[kind, *listen.key] = self._listening(kind, listen, left)
        except BaseException:
            for bound in self._sockets.values():
                bound.close()
            raise
        finally:
            for sockets in left.values():
                for each in sockets:
                    each.close()
        self.core = Core(reactor, configuration)
        self.core.neighbours.use_tls(tls)
        playing = self.core.past_or_live()
        self.rtmp = RtmpFactory(self.core.publishing, playing, reactor)
        self.rtsp = RtspFactory(self.core.publishing, playing, reactor, self.core.publish_password)
        self._routes = self.core.routes()
        self.fronts: dict[tuple[str, int], FrontFactory] = {}
        self._sources: dict[tuple[str, int], ClusterSource] = {}
        self.state = KeptState(reactor, self.core.state, self.core.in_thread)
        self._retired = self._handed = self._listens = False
        self._waiting: list[Deferred[None]] = []
        self.heir: tuple[Door, bytes] | None = None
        self._between: Between | None = None
        self._add_api(reactor, configuration)
        self.crew = Crew(self.core, workers, self._sockets, self.fronts) if workers else None
        self.core.stats.workers = self.crew

    def _listening(
        self, kind: str, listen: Listen, held: dict[tuple[str, str, int], Sequence[socket.socket]]
    ) -> BoundSocket:
        found = held.pop((kind, *listen.key), None)
        if found is None:
            return bind(kind, *listen.key, self._processes)
        return inherited(kind, *listen.key, found, self._processes)

    def ready(self) -> Deferred[None]:
        """Fires when connections are taken."""
        done: Deferred[None] = Deferred()
        if self._listens:
            done.callback(None)
        else:
            self._waiting.append(done)
        return done.addCallback(lambda _: self.crew.ready() if self.crew is not None else succeed(None))

    # Being replaced by another process, and replacing one.

    def listening(self) -> list[tuple[tuple[str, str, int], socket.socket]]:
        """All listening sockets, by (kind, address, port)."""
        return [(key, each) for key, bound in self._sockets.items() for each in bound.sockets]

    @property
    def connections(self) -> int:
        """Those that are open."""
        fronts = sum(front.connections for front in self.fronts.values())
        own = fronts + self.rtmp.connections + self.rtsp.connections
        return own + (self.crew.connections if self.crew is not None else 0)

    def door(self) -> Door:
        """Where another process of this node may link to."""
        if self._between is None:
            self._between = Between(self.core)
        return self._between.door

    def retire(self) -> Deferred[Any]:
        """Let go of all that only one process may have: another one of this node begins.

        Who is connected is served on. @return: fires when it is let go.
        """
        self._retired = True
        waits: list[Deferred[Any]] = []
        for bound in self._sockets.values():
            _collect(waits, bound.close())
        self._sockets.clear()
        if self.crew is not None:
            self.crew.retire(False)
        waits += self.core.archive.close()
        waits += [self.journal.retire(), self.events.close()]
        waits.append(self.state.finish())
        return gatherResults(waits, consumeErrors=True).addErrback(lambda failure: None)

    def stand_behind(self, door: Door, node_id: bytes) -> None:
        """The process that replaces this one serves: all streams come from there from now on."""
        assert self._between is not None
        self._between.follow(door, node_id, (), self._handed_on)

    def _handed_on(self, ready: bool) -> None:
        """The list of what the other process has is whole."""
        core = self.core
        if not ready or not self._retired or self._handed:
            return
        self._handed = True
        core.registry.reserve(frozenset())
        for closing in (*core.streams.close(), *core.neighbours.close()):
            if isinstance(closing, Deferred):
                _ = closing.addErrback(lambda failure: None)
        for source in list(self._sources.values()):
            _ = source.disownServiceParent()
        self.rtmp.request_reconnect()
        for front in self.fronts.values():
            front.retire()
        if self.crew is not None:
            self.crew.retire(True)

    def _follow(self, door: Door, node_id: bytes) -> None:
        """Take from the process that this one replaces what is still published there, then listen."""
        self.door()
        assert self._between is not None
        late = self.core.reactor.callLater(FOLLOW_SECONDS, self._listen)

        def entered(between: Between) -> None:
            if not late.active():
                return
            if between.entered:
                late.cancel()
                self._listen()
            else:
                self.core.reactor.callLater(ENTER_SECONDS, entered, between)

        between = self._between
        between.follow(door, node_id, None, lambda ready: entered(between) if ready else None)

    def _listen(self) -> None:
        if not self.running:
            return
        for kind, listen in _listeners(self.core.configuration):
            self._serve(kind, listen)
        if self.crew is not None:
            self.crew.start()
        waiting, self._waiting = self._waiting, []
        self._listens = True
        for done in waiting:
            done.callback(None)

    # Its parts.

    def _add_api(self, reactor: Any, configuration: Configuration) -> None:
        """What tells of the node: events, journal, API."""
        core = self.core

        def utc_ms() -> int:
            return int(core.utc.seconds() * 1000)

        self.events = NodeEvents(
            reactor,
            utc_ms,
            socket.gethostname(),
            core.in_thread,
            self._alarms,
            self._pushed,
        )
        core.registry.listen(self.events)
        core.sessions.listen(self.events)
        self.journal = NodeJournal(
            reactor, core.sessions, core.node_id.hex(), utc_ms, configuration.state_dir
        )
        facts = ServerFacts(
            version=__version__,
            started_at=utc_ms(),
            now=core.utc.seconds,
            ready=lambda: bool(self.running) and (self.crew is None or self.crew.all_ready),
        )
        self.api = NodeEndpoints(core, facts, self.events, self.journal, self._stop_by_name)
        core.reports = lambda: [
            source.reports for source in self._sources.values() if source.reports is not None
        ]

    def _pushed(self) -> list[tuple[str, str]]:
        """Pushes that are taken now."""
        facts = self.core.neighbours.push_facts()
        return [(each.stream, each.url) for each in facts if each.connected]

    def _alarms(self) -> list[str]:
        """What is wrong with archives now."""
        told = self.core.stats.server().get("dvr")
        return list(told["alarms"]) if told is not None else []

    def _tell(self, configuration: Configuration) -> None:
        """Tell where C{configuration} says."""
        self.events.configure(configuration.event_sinks)
        self.journal.configure(configuration.session_log)
        self.api.configure(configuration)

    @override
    def startService(self) -> None:
        """Start streams and sources, then listen."""
        super().startService()
        configuration = self.core.configuration
        GATE.set(configuration.loglevel)
        self._tell(configuration)
        self.core.derive_keys(configuration)
        self.core.use_auth()
        self._reserve(configuration)
        self.core.archive.configure()
        for stream in configuration.streams.values():
            self._start_stream(stream)
        for source in configuration.sources:
            self._start_source(source)
        self.core.neighbours.start(configuration)
        if self.heir is None:
            self._listen()
        else:
            self._follow(*self.heir)
        self.core.pressure.start()
        self.core.http_sent = self._http_sent
        self.core.stats.tell_sources(self._source_facts)
        self.core.stats.start(self.core.reactor)
        self.state.start()
        self.events.start()
        _log.info(
            "node {node} is up: {listeners}",
            node=self.core.node_id.hex()[:8],
            listeners=", ".join(f"{kind} {listen}" for kind, listen in _listeners(configuration)),
        )

    @override
    def stopService(self) -> Deferred[Any]:
        """Stop listening, send everybody away, close what is open, keep the state."""
        waits: list[Deferred[Any]] = [self.crew.stop()] if self.crew is not None else []
        for bound in self._sockets.values():
            _collect(waits, bound.close())
        self.rtmp.request_reconnect()
        waits.append(self.rtmp.close_all("the node stops"))
        waits.append(self.rtsp.close_all("the node stops"))
        for closing in self.core.streams.close():
            _collect(waits, closing)
        for source in list(self._sources.values()):
            _collect(waits, source.disownServiceParent())
        for closing in self.core.neighbours.close():
            _collect(waits, closing)
        if self._between is not None:
            waits.append(self._between.close())
        self.core.remote.close()
        self.core.files.close()
        self.core.registry.close()
        waits += [] if self._retired else self.core.archive.close()
        for front in self.fronts.values():
            waits.append(front.drain(DRAIN_SECONDS))
        self.core.pressure.stop()
        self.core.sessions.stop()
        waits.append(self.core.authorities.close())
        self.core.viewers.remote.close()
        self.api.readers.close()
        waits.append(self.journal.close())
        self.core.stats.stop()
        if not self._retired:
            waits.append(self.events.close())
            waits.append(self.state.finish())
        _collect(waits, super().stopService())
        done = gatherResults(waits, consumeErrors=True).addErrback(lambda failure: None)
        return done.addTimeout(STOP_SECONDS, self.core.reactor, onTimeoutCancel=lambda result, seconds: None)

    def apply(self, configuration: Configuration) -> Difference:
        """Go over to another configuration, touching only what differs.

        @raise restreamer.listeners.ListenError: a new port cannot be had; nothing was changed then.
        """
        core = self.core
        old = core.configuration
        difference = compare(old, configuration)
        tls = read_tls(configuration)
        fresh = {}
        try:
            for kind, changes in difference.listeners.items():
                for key in changes.added:
                    fresh[kind, *key] = self._bind(kind, *key)
        except BaseException:
            for bound in fresh.values():
                bound.close()
            raise
        core.configuration = configuration
        core.use_auth()
        self._tell(configuration)
        core.neighbours.use_tls(tls)
        core.files.configure(configuration.vods)
        GATE.set(configuration.loglevel)
        self._reserve(configuration)
        self._apply_listeners(difference, fresh)
        # Publishers first: a name one of them has to leave may be wanted by a configured stream.
        self._apply_publishers(old)
        self._apply_streams(difference)
        self._apply_sources(difference)
        core.archive.configure()
        core.neighbours.apply(configuration, difference)
        if self.crew is not None:
            self.crew.reconfigure(tuple(fresh))
            self.crew.rules_changed()
        self.events.bus.emit("config_changed")
        for word in ("state_dir", "workers"):
            if word in difference.globals:
                _log.warn("{word} changes at the next start", word=word)
        return difference

    # Listeners.

    def _bind(self, kind: str, address: str, port: int) -> BoundSocket:
        try:
            return bind(kind, address, port, self._processes)
        except ListenError as error:
            own = [
                f"{other} {Listen(address=host, port=held)}"
                for other, host, held in self._sockets
                if held == port
            ]
            if not error.in_use or not own:
                raise
            raise ListenError(
                f"{kind} {Listen(address=address, port=port)}: this node listens there as {', '.join(own)}; "
                "restart it to change that",
                in_use=True,
            )

    def _serve(self, kind: str, listen: Listen) -> None:
        reactor = self.core.reactor
        factory: Any
        if kind in _HTTP:
            # Who was passed on for one answer of ours comes to a worker with the next request.
            limits = FrontLimits(requests=1) if self.crew is not None else None
            factory = self.fronts[listen.key] = FrontFactory(
                reactor, self._routes, self.api.site(listen), limits, proxies=self.core.proxies
            )
        else:
            factory = self.rtmp if kind in _RTMP else self.rtsp
        if self.crew is not None:
            # The workers listen.
            return
        if kind in TLS_LISTENERS:
            factory = self.core.neighbours.certificate.wrap(factory, reactor)
        self._sockets[kind, *listen.key].serve(reactor, factory)

    def _http_sent(self) -> int:
        own = sum(front.counters.bytes_sent for front in self.fronts.values())
        return own + (self.crew.totals.sent if self.crew is not None else 0)

    def _stop_by_name(self, name: str) -> bool:
        """Send the publisher of C{name} away, begin its inputs anew; whether there was anything to stop."""
        core = self.core
        published = name in core.publishing.publishers()
        core.publishing.kick(name, "stopped over the API")
        config = core.configuration.streams.get(name)
        if config is not None and core.streams.get(name) is not None:
            self._stop_stream(name)
            self._start_stream(config)
            return True
        return published or config is not None

    def _apply_listeners(
        self, difference: Difference, fresh: dict[tuple[str, str, int], BoundSocket]
    ) -> None:
        self._sockets.update(fresh)
        for kind, changes in difference.listeners.items():
            for key in changes.removed:
                self._sockets.pop((kind, *key)).close()
                if kind in _HTTP:
                    _ = self.fronts.pop(key).drain(DRAIN_SECONDS)
        for kind, listen in _listeners(self.core.configuration):
            if (kind, *listen.key) in fresh:
                self._serve(kind, listen)
            elif kind in _HTTP and listen.key in difference.listeners[kind].changed:
                self.fronts[listen.key].site = self.api.site(listen)

    # Streams.

    def _reserve(self, configuration: Configuration) -> None:
        self.core.registry.reserve(
            frozenset(
                name
                for name, stream in configuration.streams.items()
                if stream.takes_publisher and not stream.disabled
            )
        )

    def _start_stream(self, config: StreamConfig) -> None:
        core = self.core
        if not core.plans.needs_switch(config):
            return
        stream = core.plans.stream(config, random.uniform, spawn)
        core.streams.add(stream)
        spawn(stream.start())

    def _stop_stream(self, name: str) -> None:
        core = self.core
        if core.streams.get(name) is not None:
            core.streams.remove(name)
            if not core.registry.published(name):
                core.registry.remove(name, "the configuration changed")

    def _forget(self, name: str) -> None:
        """Let a stream go that left the configuration, unless a publisher or a source feeds it now."""
        self._stop_stream(name)
        core = self.core
        entry = core.registry.find(name)
        if entry is not None and not entry.stream.fed and core.remote.source_of(name) is None:
            core.registry.remove(name, "it left the configuration")

    def _apply_streams(self, difference: Difference) -> None:
        streams = self.core.configuration.streams
        for name in difference.streams.removed:
            self._forget(name)
        for name, fields in difference.streams.changed.items():
            held = self.core.streams.get(name)
            if held is not None and set(fields) <= STREAM_SETTINGS:
                held.retitle(self.core.plans.settings(streams[name]))
            else:
                self._stop_stream(name)
                self._start_stream(streams[name])
        for name in difference.streams.added:
            self._start_stream(streams[name])

    def _apply_publishers(self, old: Configuration) -> None:
        """Send publishers away whose name is no longer taken, or whose media settings changed."""
        core = self.core
        for name in core.publishing.publishers():
            before = resolve_stream(old, name)
            now = resolve_stream(core.configuration, name)
            if now is None or not now.takes_publisher:
                core.publishing.kick(name, "publishing here is no longer configured")
            elif before is not None and before.segment_duration != now.segment_duration:
                core.publishing.kick(name, "segment_duration changed")
            elif before is not None and before.password != now.password:
                core.publishing.kick(name, "the publish password changed")
            elif before != now:
                core.registry.obtain(name, core.plans.settings(now))

    # Sources.

    def _source_facts(self) -> list[SourceFacts]:
        """What is known of each source, in the order of the configuration."""
        return [
            self._sources[config.key].facts(position)
            for position, config in enumerate(self.core.configuration.sources)
            if config.key in self._sources
        ]

    def _start_source(self, config: SourceConfig) -> None:
        core = self.core
        position = [source.key for source in core.configuration.sources].index(config.key)
        source = self._sources[config.key] = ClusterSource(
            core.link_node(),
            core.remote_node(config.host, config.port, config.cluster_key, config.tls),
            core.registry,
            core.remote,
            config.only,
            config.except_,
            core.plans.source_settings(config),
            config.clients_timeout,
            position,
            prefix=config.prefix,
            priority=config.priority,
            scheme="m4fs" if config.tls else "m4f",
            backup=core.plans.backup_offer(config),
            files=core.files.remote,
            book=core.viewers,
            told=self.events.source,
        )
        source.setServiceParent(self)

    def _apply_sources(self, difference: Difference) -> None:
        changed = difference.sources.changed
        begun_again = [key for key, fields in changed.items() if not set(fields) <= SOURCE_SETTINGS]
        for key in (*difference.sources.removed, *begun_again):
            self._sources.pop(key).disownServiceParent()
        for config in self.core.configuration.sources:
            source = self._sources.get(config.key)
            if source is None:
                self._start_source(config)
            elif config.key in changed or source.offer.priority != config.priority:
                source.resettle(
                    config.only,
                    config.except_,
                    self.core.plans.source_settings(config),
                    config.clients_timeout,
                    config.priority,
                )
        if difference.source_order:
            self.core.remote.reorder(
                [self._sources[source.key].offer for source in self.core.configuration.sources]
            )
            self.core.files.remote.reorder(
                self._sources[source.key].files for source in self.core.configuration.sources
            )


def _listeners(configuration: Configuration) -> list[tuple[str, Listen]]:
    return [(kind, listen) for kind in LISTENERS for listen in getattr(configuration, kind)]


def _collect(waits: list[Deferred[Any]], result: object) -> None:
    if isinstance(result, Deferred):
        waits.append(result)
