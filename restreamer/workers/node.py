"""A worker: an edge of the main process that shares its listeners.

Viewers are served from what is pulled from the main process as any edge pulls; who publishes here is pushed
to it. Everything else, pages, API, links of other nodes, is passed on.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from typing_extensions import override

from restreamer.assembly import Core
from restreamer.cluster.connector import Remote
from restreamer.cluster.push import Push, Pushes
from restreamer.cluster.source_service import ClusterSource
from restreamer.config.model import DEFAULT_CLIENTS_TIMEOUT, Configuration, Listen
from restreamer.config.words import LISTENERS, TLS_LISTENERS
from restreamer.listeners import BoundSocket
from restreamer.live.registry import StreamSettings
from restreamer.live.stream import Stream
from restreamer.logs import GATE, Logger
from restreamer.neighbours import read_tls
from restreamer.pressure import resident_bytes
from restreamer.rtmp.service import RtmpFactory
from restreamer.rtsp.service import RtspFactory
from restreamer.web.service import FrontFactory
from restreamer.workers.absent import AbsentStreams, balancer_route
from restreamer.workers.channel import Send
from restreamer.workers.derived import worker_configuration
from restreamer.workers.figures import measure
from restreamer.workers.leased_gate import LeasedGate
from restreamer.workers.messages import Configure
from restreamer.workers.names import AskedNames
from restreamer.workers.passing import Passing

_log = Logger()

#: How the main process is called in the log of a worker.
MAIN: Final = "main"
#: Seconds from one telling of figures to the next.
FIGURES_SECONDS: Final = 2.0
#: Seconds a stopping worker waits for its connections, and its HTTP clients get to take what they asked for.
STOP_SECONDS: Final = 4.0
DRAIN_SECONDS: Final = 1.0
#: Names whose settings are remembered.
_MAX_SETTINGS: Final = 20_000

_Key = tuple[str, str, int]


class _Published:
    """Pushes to the main process are looked at anew when a publisher takes a name; a RegistryListener."""

    def __init__(self, renew: Callable[[str], None]) -> None:
        self._renew = renew

    def stream_changed(self, stream: Stream) -> None:
        """The pushes hear of it themselves."""

    def stream_removed(self, stream: Stream) -> None:
        """The pushes hear of it themselves."""

    def claim_changed(self, name: str, claimed: bool) -> None:
        """It is another's now, or ours."""
        self._renew(name)

    def supply_changed(self, name: str) -> None:
        """Nothing to do."""


class WorkerNode(MultiService):
    """See the module.

    @param start: what the main process said first.
    @param sockets: listening sockets by (kind, address, port).
    @param up: called when it listens.
    """

    def __init__(
        self,
        reactor: Any,
        start: Configure,
        sockets: Mapping[_Key, socket.socket],
        send: Send,
        up: Callable[[], None],
    ) -> None:
        super().__init__()
        configuration = worker_configuration(start.configuration)
        tls = read_tls(configuration)
        self._send = send
        self._reactor = reactor
        self.gate = LeasedGate(reactor, send, self._settled)

        def kept(size: int) -> bytes:
            return start.node_id if size == len(start.node_id) else start.secret

        self.gate.token_field = configuration.auth_token
        self.core = core = Core(reactor, configuration, self.gate, kept, start.workers + 1)
        self.names = AskedNames(reactor, send, core.registry.ledger)
        core.registry.arbiter = self.names
        core.publishing.fed = lambda name: None
        core.neighbours.use_tls(tls)
        self._settings: dict[str, StreamSettings] = {}
        core.remote.settings_of = self._settings.get
        self.passing = Passing(reactor, send)
        self._remote = Remote(address=MAIN, endpoint=UNIXClientEndpoint(reactor, start.socket), key=start.key)
        self.pushes = Pushes(core.registry, self._pushes_of)
        core.registry.listen(_Published(self.pushes.renew))
        self.absent = core.playing.absence = AbsentStreams(reactor, core.registry, self.gate, send)
        playing = core.past_or_live()
        self.rtmp = RtmpFactory(core.publishing, playing, reactor)
        self.rtsp = RtspFactory(core.publishing, playing, reactor, core.publish_password)
        self._balancers = frozenset(start.configuration.balancers)
        self._routes = [balancer_route(lambda: self._balancers), *core.media_routes()]
        self.fronts: dict[tuple[str, int], FrontFactory] = {}
        self._sockets: dict[_Key, BoundSocket] = {}
        self._fresh = dict(sockets)
        self._figures: Any = None
        self._up = up
        self._listens = False
        self._source = ClusterSource(
            core.link_node(),
            self._remote,
            core.registry,
            core.remote,
            only=(),
            hidden=(),
            settings=StreamSettings(),
            clients_timeout=min(10.0, DEFAULT_CLIENTS_TIMEOUT),
            files=core.files.remote,
            told=self._listed,
        )

    @override
    def startService(self) -> None:
        """Link to the main process; when it is known which streams there are, listen."""
        super().startService()
        core = self.core
        GATE.set(core.configuration.loglevel)
        core.archive.configure()
        core.neighbours.start(core.configuration)
        self._source.setServiceParent(self)
        core.pressure.start()
        core.http_sent = self._http_sent
        self._tell_figures()

    @override
    def stopService(self) -> Deferred[Any]:
        """Stop listening, send everybody away."""
        core = self.core
        waits: list[Deferred[Any]] = []
        for bound in self._sockets.values():
            _collect(waits, bound.close())
        self.rtmp.request_reconnect()
        waits += [self.rtmp.close_all("the node stops"), self.rtsp.close_all("the node stops")]
        waits += self.pushes.close()
        for closing in core.neighbours.close():
            _collect(waits, closing)
        core.remote.close()
        core.files.close()
        core.registry.close()
        waits += core.archive.close()
        for front in self.fronts.values():
            waits.append(front.drain(DRAIN_SECONDS))
        core.pressure.stop()
        core.sessions.stop()
        waits.append(core.authorities.close())
        core.viewers.remote.close()
        self.gate.close()
        self.names.close()
        self.passing.close()
        if self._figures is not None and self._figures.active():
            self._figures.cancel()
        _collect(waits, super().stopService())
        done = gatherResults(waits, consumeErrors=True).addErrback(lambda failure: None)
        return done.addTimeout(STOP_SECONDS, self._reactor, onTimeoutCancel=lambda result, seconds: None)

    def reconfigure(self, message: Configure, sockets: Mapping[_Key, socket.socket]) -> None:
        """Go over to another configuration.

        @param sockets: listening sockets that are new.
        @raise restreamer.tls.TlsError: a certificate cannot be used; nothing was changed then.
        """
        core = self.core
        before = core.configuration
        configuration = worker_configuration(message.configuration)
        tls = read_tls(configuration)
        core.configuration = configuration
        self._balancers = frozenset(message.configuration.balancers)
        self.gate.token_field = configuration.auth_token
        core.proxies.use(configuration.forwarded_for)
        core.neighbours.use_tls(tls)
        core.files.configure(configuration.vods)
        GATE.set(configuration.loglevel)
        self._settings.clear()
        self._fresh.update(sockets)
        if self._listens:
            self._listen()
        for name in core.publishing.publishers():
            if core.publish_settings(name) is None:
                core.publishing.kick(name, "publishing here is no longer configured")
        if before.vods != configuration.vods:
            core.archive.configure()
        self.gate.ask_all_again()

    def retire(self, handed: bool) -> None:
        """Listen no more; who is connected is served on.

        @param handed: other processes serve now: publishers are to go there, and who comes for each piece.
        """
        for bound in self._sockets.values():
            bound.close()
        self._sockets.clear()
        if handed:
            self.rtmp.request_reconnect()
            for front in self.fronts.values():
                front.retire()

    def kick_publisher(self, name: str, why: str) -> None:
        """Send the publisher of a name away."""
        self.core.publishing.kick(name, why)

    # Listeners.

    def _listed(self, address: str, ready: bool, why: str) -> None:
        """The list of streams is whole, or lost."""
        if ready and not self._listens and self.running:
            self._listens = True
            self._listen()
            self._up()

    def _listen(self) -> None:
        wanted = {(kind, *listen.key): (kind, listen) for kind, listen in _listeners(self.core.configuration)}
        for key in [key for key in self._sockets if key not in wanted]:
            self._sockets.pop(key).close()
            front = self.fronts.pop(key[1:], None)
            if front is not None:
                _ = front.drain(DRAIN_SECONDS)
        for key in [key for key in self._fresh if key not in wanted]:
            # Removed before it was ever listened on: connections would wait there for ever.
            self._fresh.pop(key).close()
        for key, (kind, listen) in wanted.items():
            held = self._fresh.pop(key, None)
            if held is not None and key not in self._sockets:
                self._sockets[key] = BoundSocket(kind, listen.address, listen.port, held)
                self._serve(key, kind, listen)
            elif held is not None:
                held.close()

    def _serve(self, key: _Key, kind: str, listen: Listen) -> None:
        factory: Any
        if kind in ("http", "https"):
            site: Any = self.passing.site(listen.key)
            factory = self.fronts[listen.key] = FrontFactory(
                self._reactor, self._routes, site, proxies=self.core.proxies
            )
        else:
            factory = self.rtmp if kind in ("rtmp", "rtmps") else self.rtsp
        if kind in TLS_LISTENERS:
            factory = self.core.neighbours.certificate.wrap(factory, self._reactor)
        self._sockets[key].serve(self._reactor, factory)

    # Streams.

    def _settled(self, name: str, settings: StreamSettings) -> None:
        """The main process keeps a stream like that."""
        if self._settings.get(name) == settings:
            return
        self._settings.pop(name, None)
        while len(self._settings) >= _MAX_SETTINGS:
            del self._settings[next(iter(self._settings))]
        self._settings[name] = settings
        self.core.remote.settings_changed(name)

    def _pushes_of(self, name: str) -> list[Push]:
        core = self.core
        if not core.registry.published(name):
            return []
        return [Push(core.link_node(), self._remote, name, name, core.waiting, core.relays, MAIN)]

    # Figures.

    def _http_sent(self) -> int:
        return sum(front.counters.bytes_sent for front in self.fronts.values())

    def _connections(self) -> int:
        fronts = sum(front.connections for front in self.fronts.values())
        return fronts + self.rtmp.connections + self.rtsp.connections

    def _tell_figures(self) -> None:
        self._figures = self._reactor.callLater(FIGURES_SECONDS, self._tell_figures)
        core = self.core
        self._send(
            measure(core.registry, self._http_sent, self._connections, resident_bytes, core.pressure.late)
        )


def _listeners(configuration: Configuration) -> list[tuple[str, Listen]]:
    return [(kind, listen) for kind in LISTENERS for listen in getattr(configuration, kind)]


def _collect(waits: list[Deferred[Any]], result: object) -> None:
    if isinstance(result, Deferred):
        waits.append(result)
