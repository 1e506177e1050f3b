"""The one file that knows all concrete classes: what a node has once, wired together.

Clock, registry, gate, playing and publishing, catalogue, neighbours. L{restreamer.node.Node} is the service
around it.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from collections import ChainMap
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool

from restreamer.authorities import Authorities
from restreamer.cluster.catalogue import Catalogue
from restreamer.cluster.connector import Node as LinkNode
from restreamer.cluster.connector import Remote
from restreamer.cluster.link_route import link_route
from restreamer.cluster.origin import ControlServer, MediaServer
from restreamer.cluster.relay import Relays
from restreamer.cluster.remote_streams import RemoteStreams
from restreamer.cluster.seams import LinkHandler
from restreamer.cluster.session_reports import SessionReports
from restreamer.cluster.traffic import LinkTraffic
from restreamer.config.model import AuthConfig, Configuration, PushConfig
from restreamer.config.resolve import cluster_keys, resolve_stream
from restreamer.config.resolve_auth import AuthRules
from restreamer.dash.routes import dash_routes
from restreamer.facts import InputFacts
from restreamer.flv.http_play import flv_route
from restreamer.flv.live_muxer import FlvFeedMuxer, several_tracks
from restreamer.hls.routes import hls_routes
from restreamer.http1.forwarded import TrustedProxies
from restreamer.http1.reply import Route
from restreamer.live.feed import FeedLimits
from restreamer.live.playout import MuxerFactory, Playout
from restreamer.live.registry import StreamRegistry, StreamSettings
from restreamer.live.stream import Stream
from restreamer.live.utc_clock import UtcClock
from restreamer.logs import Logger
from restreamer.m4f.handshake import derive_key
from restreamer.m4f.link import Authorised
from restreamer.m4f.records import NodeLoad
from restreamer.m4f.upgrade import Place
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.mpegts.http_play import mpegts_route
from restreamer.mpegts.live_muxer import MpegTsFeedMuxer
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.neighbours import Neighbours
from restreamer.node_archive import NodeArchive
from restreamer.node_files import NodeFiles
from restreamer.node_viewers import NodeViewers
from restreamer.plans import Plans
from restreamer.pressure import Pressure, allowed_bytes
from restreamer.pulls import pulls
from restreamer.pushes import OtherPush, push_target, pushings
from restreamer.rtmp.play_muxer import RtmpMuxers
from restreamer.rtsp.play_muxer import RtspFeedMuxer
from restreamer.seams import Gate, PlayPoint
from restreamer.sessions.answers import Backend
from restreamer.sessions.session_gate import SessionGate
from restreamer.sessions.table import SessionTable
from restreamer.sources.configured_stream import ConfiguredStream
from restreamer.sources.configured_streams import ConfiguredStreams
from restreamer.sources.input_facts import with_publisher
from restreamer.state_file import StateFile
from restreamer.stats import NodeStats
from restreamer.stream_log import ForcedLog, StreamLog
from restreamer.tsio.http_publish import publish_route
from restreamer.viewers.gate import PasswordGate
from restreamer.viewers.points import IngestMaker, Playing, Publishing
from restreamer.viewers.waiting import WaitingRoom

_log = Logger()


def _report(what: str, error: BaseException) -> None:
    _log.error("{what}: {error!r}", what=what, error=error)


class Core:
    """What every node has once.

    @param reactor: the reactor, for time, threads and sockets.
    @param gate: decides about viewers and publishers; None: L{gate} does.
    @param fresh: makes the node's id and secret where none are kept.
    @param share: into so many parts the memory is divided that this process may have one of.
    @ivar configuration: the one in force. @ivar gate: of this process.
    """

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        gate: Gate | None = None,
        fresh: Callable[[int], bytes] = os.urandom,
        share: int = 1,
    ) -> None:
        self.reactor = reactor
        self.configuration = configuration
        self.state = StateFile(configuration.state_dir, fresh)
        self.utc = UtcClock(reactor.seconds, time.time)
        self.node_id = self.state.node_id
        self.registry = StreamRegistry(reactor, self.state.ledger, self._playout, _report)
        self.sessions = SessionTable(
            reactor,
            lambda: self.utc.ticks() * 1000 // TICKS_PER_SECOND,
            lambda: uuid.uuid4().hex,
            node_id=self.node_id.hex(),
            secret=self.state.secret,
            country_of=lambda ip: self.authorities.country_of(ip),
        )
        self.sessions.newest = self._newest
        self.proxies = TrustedProxies(configuration.forwarded_for)
        self.authorities = Authorities(reactor, self.utc.seconds)
        self._auth = AuthRules(configuration, self._fed_by)
        self.gate = SessionGate(
            self.sessions,
            reactor,
            self._auth_of,
            self._backend_of,
            self.state.secret,
            PasswordGate(self.publish_password),
        )
        entrance: Gate = gate if gate is not None else self.gate
        self._entrance = entrance
        self.reports: Callable[[], Sequence[SessionReports]] = tuple
        self.viewers = NodeViewers(reactor, self.node_id.hex(), lambda: self.reports())
        self.sessions.others = self.viewers.claims
        self.gate.upstream = self.viewers
        self.viewers.serve(self.sessions)
        self.waiting = WaitingRoom(self.registry, reactor)
        self.pressure = Pressure(reactor, limit=allowed_bytes() // share, shed=self._shed)
        self.playing = Playing(
            entrance,
            self.waiting,
            lambda: self.pressure.crowded,
            lambda request: self.neighbours.peers.elsewhere(request),
        )
        self.ingests = IngestMaker(
            self.registry,
            self.node_id,
            self.utc.ticks,
            lambda: random.getrandbits(63) | 1,
            ForcedLog(reactor).of_run,
        )
        self.publishing = Publishing(entrance, self.registry, self.ingests, self.publish_settings, reactor)
        self.catalogue = Catalogue(self.registry, self.node_id)
        self.files = NodeFiles(
            reactor, self.node_id, entrance, self.registry, lambda: self.pressure.crowded, self.utc.ticks
        )
        self.files.configure(configuration.vods)
        self.relays = Relays()
        self.remote = RemoteStreams(self.registry, self.node_id, reactor, self.utc.ticks, random.uniform)
        self.archive = NodeArchive(
            reactor,
            self.node_id,
            entrance,
            self.registry,
            lambda: self.configuration,
            self.remote.source_of,
            self.files.remote,
            lambda: self.pressure.crowded,
            self.utc.ticks,
            configuration.state_dir,
            self.link_node,
            self.remote_node,
        )
        self.files.archives = self.archive.asked_by
        self.plans = Plans(
            lambda: self.configuration,
            self.registry,
            self.ingests,
            reactor,
            self.in_thread,
            self.link_node,
            self.remote_node,
            pulls(reactor, self._connect),
        )
        self._pushings = pushings(reactor, self._connect, self._playable)
        self.neighbours = Neighbours(
            reactor,
            self.registry,
            self.waiting,
            self.relays,
            self.link_node,
            self.remote_node,
            self._source_push,
            self._load,
            self._other_push,
        )
        self.streams = ConfiguredStreams(self.registry, self._made_by_publisher)
        self.publishing.fed = self.streams.fed
        self._told_of: Configuration | None = None
        self._told: dict[str, tuple[str, bool]] = {}
        self.served = LinkTraffic()
        self.http_sent: Callable[[], int] = lambda: 0
        self.stats = NodeStats(
            self.registry,
            self.remote,
            self._configured,
            self.utc.ticks,
            inputs_of=self._inputs_of,
            switches_of=self._switches_of,
            sent=lambda: self.served.bytes_out + self.http_sent(),
            node_id=self.node_id,
            neighbours=self.neighbours,
            archives=self.archive,
            clients_of=lambda name: self.sessions.clients(name),
            clients=lambda: self.sessions.total(),
        )
        self.registry.listen(StreamLog(self.remote.source_of, reactor))
        self._keys: dict[str, bytes] = {}

    def key(self, cluster_key: str) -> bytes:
        """The derived form of a cluster key, computed once."""
        if cluster_key not in self._keys:
            self._keys[cluster_key] = derive_key(cluster_key)
        return self._keys[cluster_key]

    def derive_keys(self, configuration: Configuration) -> None:
        """Derive all keys of C{configuration}: each takes some 40 ms, which a thread or a start can spare."""
        for key in cluster_keys(configuration):
            self.key(key)

    def accepted_keys(self) -> tuple[bytes, ...]:
        """The derived keys of nodes that may link to this one."""
        key = self.configuration.cluster_key
        return (self.key(key),) if key else ()

    def link_node(self) -> LinkNode:
        """This node, as its own links present it."""
        return LinkNode(
            node_id=self.node_id,
            nonce=lambda: os.urandom(16),
            uniform=random.uniform,
            clock=self.reactor,
            utc=self.utc.ticks,
        )

    def remote_node(self, host: str, port: int, cluster_key: str, tls: bool = False) -> Remote:
        """Another node, ready to be linked to."""
        place = Place(host, port, tls)
        return Remote(
            address=place.authority,
            endpoint=self.neighbours.endpoint(place),
            key=self.key(cluster_key),
            place=place,
            elsewhere=self.neighbours.endpoint,
        )

    def routes(self) -> list[Route]:
        """What the HTTP front answers itself."""
        return [
            self.link_route(self.accepted_keys),
            *self.neighbours.routes(self._entrance),
            *self.media_routes(),
        ]

    def link_route(
        self,
        keys: Callable[[], Sequence[bytes]],
        handler: Callable[[Authorised], LinkHandler] | None = None,
    ) -> Route:
        """What takes links.

        @param keys: the derived keys that are accepted.
        @param handler: who speaks on them; None: who speaks with other nodes.
        """
        return link_route(
            self.node_id,
            keys,
            lambda: os.urandom(16),
            handler or self._link_handler,
            self.reactor,
            self.served,
        )

    def media_routes(self) -> list[Route]:
        """What answers with media."""
        return [
            *self.files.routes(),
            *self.archive.routes(hls_routes(self.playing, mux_segment, self.reactor)),
            dash_routes(self.playing, self.utc.ticks),
            publish_route(self.publishing, self.reactor),
            mpegts_route(self.playing),
            flv_route(self.playing),
        ]

    def in_thread(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run something that blocks, in a thread."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), call, *args)

    def _link_handler(self, event: Authorised) -> LinkHandler:
        if event.purpose == "control":
            load = self.neighbours.gauge.load
            receipts = self.viewers.receipts()
            return ControlServer(self.catalogue, self.utc.ticks, self.files.catalogue, load, receipts)
        if event.purpose == "push":
            return self.neighbours.push_server(self.publishing)
        if event.purpose == "file":
            return self.files.server()
        return MediaServer(self.waiting, self.relays, self.node_id, self.utc.ticks)

    def own_process(
        self, event: Authorised, catalogue: Catalogue, pushed: Callable[[], LinkHandler]
    ) -> LinkHandler:
        """Who speaks with another process of this node: it may have everything.

        @param catalogue: of everything. @param pushed: who takes what the other process pushes.
        """
        if event.purpose == "control":
            return ControlServer(catalogue, self.utc.ticks, self.files.catalogue)
        if event.purpose == "push":
            return pushed()
        if event.purpose == "file":
            return self.files.server(self.archive.archive.asked_by)
        return MediaServer(self.waiting, self.relays, self.node_id, self.utc.ticks, proto="")

    def _load(self) -> NodeLoad:
        """How busy this node is now."""
        told = self.stats.server()
        rtmp, rtsp = self.configuration.rtmp, self.configuration.rtsp
        return NodeLoad(
            clients=told.get("total_clients", 0),
            streams=told.get("online_streams", 0),
            bitrate_in=told.get("input_kbit", 0) * 1000,
            bitrate_out=told.get("output_kbit", 0) * 1000,
            rtmp_port=rtmp[0].port if rtmp else 0,
            rtsp_port=rtsp[0].port if rtsp else 0,
        )

    def _source_push(self, name: str) -> tuple[PushConfig, ...]:
        """Where the source that feeds C{name} says that its streams are pushed."""
        address = self.remote.source_of(name)
        return next((each.push for each in self.configuration.sources if str(each) == address), ())

    def _connect(self, host: str, port: int, tls: bool) -> IStreamClientEndpoint:
        """How to connect to another server."""
        return self.neighbours.endpoint(Place(host, port, tls))

    def _other_push(self, name: str, config: PushConfig) -> OtherPush:
        """A push that no node takes."""
        make = self._pushings[config.scheme]
        return OtherPush(name, make(push_target(config), name, config), self.utc.ticks, self.reactor.seconds)

    def _playable(self, name: str) -> Playout | None:
        """The stream of a name, when it runs."""
        entry = self.registry.find(name)
        return entry.playout if entry is not None and entry.stream.running else None

    def _newest(self, name: str) -> int | None:
        """UTC milliseconds of the newest frame of a stream that runs."""
        entry = self.registry.find(name)
        if entry is None or not entry.stream.running or entry.stream.last_dts is None:
            return None
        return entry.stream.last_dts * 1000 // TICKS_PER_SECOND

    def _inputs_of(self, name: str) -> tuple[InputFacts, ...]:
        held = self.streams.get(name)
        inputs = held.facts(self.utc.ticks()) if held is not None else self.remote.inputs_of(name)
        return with_publisher(inputs, self.publishing.facts(name))

    def _switches_of(self, name: str) -> int:
        held = self.streams.get(name)
        return held.switches if held is not None else self.remote.switches_of(name)

    def _configured(self) -> dict[str, tuple[str, bool]]:
        if self._told_of is not self.configuration:
            self._told_of = self.configuration
            self._told = {
                name: (stream.title, stream.static)
                for name, stream in self.configuration.streams.items()
                if not stream.disabled
            }
        return self._told

    def _shed(self) -> int:
        """Drop every viewer that is behind, and what can be read again: memory is full."""
        self.archive.forget()
        feeds = [feed for entry in self.registry for feed in list(entry.playout.feeds().values())]
        return sum(feed.shed("the node is out of memory") for feed in feeds)

    def _playout(self, stream: Stream) -> Playout:
        return Playout(stream, self.reactor, self._muxers(), FeedLimits())

    @staticmethod
    def _muxers() -> Mapping[str, MuxerFactory]:
        """Makers of the muxers of all containers of endless bytes."""
        return ChainMap[str, MuxerFactory](
            {
                "mpegts": MpegTsFeedMuxer,
                "flv": FlvFeedMuxer,
                "flvtracks": several_tracks,
                "rtsp": RtspFeedMuxer,
            },
            RtmpMuxers(),  # type: ignore[arg-type]
        )

    def past_or_live(self) -> PlayPoint:
        """Grants players of endless feeds the past of a stream where they ask for it."""
        return self.archive.playing(self.playing, self._muxers())

    def publish_password(self, name: str) -> str:
        """The password publishers of C{name} need; empty: none."""
        stream = resolve_stream(self.configuration, name)
        return stream.password if stream is not None else ""

    def use_auth(self) -> None:
        """Go over to the rules in force; sessions that were under others are asked about."""
        configuration = self.configuration
        self._auth = AuthRules(configuration, self._fed_by)
        self.proxies.use(configuration.forwarded_for)
        self.gate.token_field = configuration.auth_token
        self.sessions.secret_fields = frozenset(
            [configuration.auth_token] if configuration.auth_token else ()
        )
        changed = self.authorities.configure(configuration)
        self.gate.reconfigured(
            lambda old, new: old != new or not changed.isdisjoint((old.on_play, old.on_publish))
        )

    def _fed_by(self, name: str) -> str | None:
        """The source that feeds C{name}; None: a publisher of this node does, or nothing."""
        return None if self.registry.owned(name) else self.remote.source_of(name)

    def _auth_of(self, name: str) -> AuthConfig | None:
        """Who may play and publish C{name}; None: everybody."""
        return self._auth.of(name)

    def _backend_of(self, name: str, action: str) -> Backend | None:
        """Whom to ask who may."""
        auth = self._auth.of(name)
        if auth is None:
            return None
        return self.authorities.backend_of(auth.on_play if action == "play" else auth.on_publish)

    def _made_by_publisher(self, name: str) -> ConfiguredStream | None:
        """What a name that a publisher made by a template needs beside its publisher."""
        stream = resolve_stream(self.configuration, name)
        if stream is None or name in self.configuration.streams or not self.plans.needs_switch(stream):
            return None
        return self.plans.stream(stream, random.uniform, spawn, passing=True)

    def publish_settings(self, name: str) -> StreamSettings | None:
        """How a name is kept that is published; None: nobody may publish it."""
        stream = resolve_stream(self.configuration, name)
        if stream is None or not stream.takes_publisher:
            return None
        return self.plans.settings(stream)


def spawn(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine; what it raises is logged."""
    _ = Deferred.fromCoroutine(work).addErrback(
        lambda failure: _log.failure("a configured stream did not start", failure)
    )
