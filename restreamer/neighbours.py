"""This node and its neighbours, as the configuration has them: TLS, peers, balancers, pushes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate

from restreamer.cluster.balancer import Balancer, balancer_route
from restreamer.cluster.connector import Node as LinkNode
from restreamer.cluster.connector import Remote
from restreamer.cluster.node_load import LoadGauge
from restreamer.cluster.peers import Peer, Peers, PublicPlace
from restreamer.cluster.push import SAY_AGAIN_SECONDS, AnyPush, Push, Pushes, PushServer
from restreamer.cluster.relay import Relays
from restreamer.config.difference import Difference
from restreamer.config.model import Configuration, PeerConfig, PushConfig
from restreamer.config.resolve import resolve_stream
from restreamer.config.words import NODE_PUSH_SCHEMES, TLS_LISTENERS
from restreamer.facts import BalancerFacts, PeerFacts, PusherFacts, PushFacts
from restreamer.failures import SaidLately
from restreamer.http1.reply import Route
from restreamer.live.registry import StreamRegistry
from restreamer.m4f.records import NodeLoad
from restreamer.m4f.upgrade import Place
from restreamer.seams import Gate
from restreamer.tls import (
    ServerCertificate,
    TlsEndpoint,
    TrustedCertificates,
    load_certificate,
    load_trusted,
)
from restreamer.viewers.points import Publishing
from restreamer.viewers.waiting import WaitingRoom

#: Seconds to connect to one address of a node.
CONNECT_SECONDS = 5


@frozen
class TlsFiles:
    """What was read of the files the configuration names. @ivar context: None where no listener is TLS."""

    configuration: Configuration
    context: SSL.Context | None
    roots: list[Certificate] | None


def read_tls(configuration: Configuration) -> TlsFiles:
    """Read the TLS files of C{configuration}.

    @raise restreamer.tls.TlsError: one cannot be used.
    """
    context = None
    if any(getattr(configuration, word) for word in TLS_LISTENERS):
        context = load_certificate(configuration.ssl_certificate, configuration.ssl_certificate_key)
    return TlsFiles(configuration, context, load_trusted(configuration.ssl_ca))


class Neighbours:
    """See the module.

    @param link_node: this node, for its own links. @param remote: C{remote(host, port, key, tls)}.
    @param source_push: the C{push} of the source that feeds a name now.
    @param measure: how busy this node is now. @param other_push: makes a push by another protocol.
    @ivar certificate: what the HTTPS listeners show.
    """

    def __init__(
        self,
        reactor: Any,
        registry: StreamRegistry,
        waiting: WaitingRoom,
        relays: Relays,
        link_node: Callable[[], LinkNode],
        remote: Callable[[str, int, str, bool], Remote],
        source_push: Callable[[str], tuple[PushConfig, ...]],
        measure: Callable[[], NodeLoad],
        other_push: Callable[[str, PushConfig], AnyPush],
    ) -> None:
        self.certificate = ServerCertificate()
        self.gauge = LoadGauge(reactor.seconds, measure)
        self.peers = Peers(registry, random.choice)
        self._reactor = reactor
        self._registry = registry
        self._waiting = waiting
        self._relays = relays
        self._link_node = link_node
        self._remote = remote
        self._source_push = source_push
        self._other_push = other_push
        self._pushes_said = SaidLately(SAY_AGAIN_SECONDS)
        self._trusted = TrustedCertificates()
        self._takings: dict[str, PushServer] = {}
        self._balancers: dict[str, Balancer] = {}
        self._configuration = Configuration()
        self.pushes = Pushes(registry, self._pushes_of)

    def endpoint(self, place: Place) -> IStreamClientEndpoint:
        """How to connect to C{place}: its addresses are looked up each time, and a dead one costs little."""
        endpoint = HostnameEndpoint(self._reactor, place.host, place.port, timeout=CONNECT_SECONDS)
        return TlsEndpoint(endpoint, place.host, self._trusted) if place.tls else endpoint

    def routes(self, gate: Gate) -> list[Route]:
        """What the HTTP front answers for them."""
        return [balancer_route(lambda: self._balancers, gate)]

    def push_server(self, publishing: Publishing) -> PushServer:
        """Who speaks with a node that pushes."""
        node = self._link_node()
        return PushServer(
            publishing,
            self._registry,
            node.node_id,
            node.utc,
            self._reactor,
            self._pushes_said,
            self._takings,
        )

    # For the API.

    def peer_facts(self) -> list[PeerFacts]:
        """What is known of the peers, in the order of the configuration."""
        held = [self.peers.get(config.key) for config in self._configuration.peers]
        return [peer.facts() for peer in held if peer is not None]

    def balancer_facts(self) -> list[BalancerFacts]:
        """What is known of the balancers, in the order of the configuration."""
        return [balancer.facts(name) for name, balancer in self._balancers.items()]

    def push_facts(self, name: str | None = None) -> list[PushFacts]:
        """What is known of the pushes that were begun; or only those of stream C{name}."""
        return self.pushes.facts(name)

    def pusher_of(self, name: str) -> PusherFacts | None:
        """The node that pushes stream C{name} into this one; None: none does."""
        server = self._takings.get(name)
        return server.facts() if server is not None else None

    def use_tls(self, files: TlsFiles) -> None:
        """Use these certificates from the next connection on."""
        configuration = files.configuration
        if files.context is not None:
            self.certificate.use(
                files.context, configuration.ssl_certificate, configuration.ssl_certificate_key
            )
        self._trusted.use(files.roots)

    def start(self, configuration: Configuration) -> None:
        """Link to the peers; streams are pushed as they begin to run."""
        self._configuration = configuration
        for peer in configuration.peers:
            self._add_peer(peer)
        self._balance()

    def apply(self, configuration: Configuration, difference: Difference) -> None:
        """Go over to another configuration."""
        self._configuration = configuration
        for key in (*difference.peers.removed, *difference.peers.changed):
            self.peers.remove(key)
        for peer in configuration.peers:
            if self.peers.get(peer.key) is None:
                self._add_peer(peer)
        self._balance()
        running = {entry.stream.name for entry in self._registry if entry.stream.running}
        for name in running.union(self.pushes.names()):
            if tuple(push.key for push in self.pushes.of(name)) != self._push_configs(name):
                self.pushes.renew(name)

    def close(self) -> list[Any]:
        """End all links; gives what fires when each is closed."""
        self._balancers = {}
        return [*self.peers.close(), *self.pushes.close()]

    def _add_peer(self, config: PeerConfig) -> None:
        remote = self._remote(config.host, config.port, config.cluster_key, config.tls)
        public = PublicPlace(config.public_url, config.public_host)
        self.peers.add(config.key, Peer(self._link_node(), remote, public))

    def _balance(self) -> None:
        self._balancers = {
            name: Balancer(
                balancer.mode,
                [
                    (peer, most or 0)
                    for config, most in balancer.peers
                    if (peer := self.peers.get(config.key)) is not None
                ],
                random.choice,
            )
            for name, balancer in self._configuration.balancers.items()
        }

    def _push_configs(self, name: str) -> tuple[PushConfig, ...]:
        stream = resolve_stream(self._configuration, name)
        if stream is not None:
            configs = stream.push
        else:
            configs = tuple(each.for_stream(name) for each in self._source_push(name))
        return configs

    def _pushes_of(self, name: str) -> list[AnyPush]:
        return [self._push(name, config) for config in self._push_configs(name)]

    def _push(self, name: str, config: PushConfig) -> AnyPush:
        if config.scheme not in NODE_PUSH_SCHEMES:
            return self._other_push(name, config)
        key = config.cluster_key or self._configuration.cluster_key
        remote = self._remote(config.host, config.port, key, config.tls)
        node = self._link_node()
        return Push(node, remote, name, config.path, self._waiting, self._relays, config)
