"""Links between a node's process and the one that replaces it: each is a source of the other for a while.

The new one takes from the old one what is still published there; viewers whom the old one still serves get
from the new one whatever they watch. On these links the new process has an id of its own: the two of them are
one node to all others, and what came over such a link never goes back over it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint

from restreamer.assembly import Core
from restreamer.cluster.catalogue import Catalogue
from restreamer.cluster.connector import Remote
from restreamer.cluster.seams import LinkHandler
from restreamer.cluster.source_service import ClusterSource
from restreamer.live.registry import StreamSettings
from restreamer.logs import Logger
from restreamer.m4f.link import Authorised
from restreamer.own_folder import OwnFolder
from restreamer.succession import Door
from restreamer.web.service import FrontFactory

_log = Logger()

#: How the other process is called in the log.
_OTHER: Final = "other-process"


class Between:
    """See the module."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._folder = OwnFolder()
        self.door = Door(str(self._folder.path / "node"), os.urandom(32))
        self._catalogue = Catalogue(core.registry, core.node_id, everything=True)
        for entry in core.registry:
            self._catalogue.stream_changed(entry.stream)
        for name in core.registry.supplies():
            self._catalogue.supply_changed(name)
        route = core.link_route(lambda: (self.door.key,), self._handler)
        front = FrontFactory(core.reactor, [route])
        self._port = core.reactor.listenUNIX(self.door.path, front, mode=0o600)
        self._source: ClusterSource | None = None

    def follow(
        self,
        door: Door,
        node_id: bytes,
        only: tuple[str, ...] | None,
        told: Callable[[bool], None] = lambda ready: None,
    ) -> None:
        """Take streams from the other process.

        @param node_id: of the new process on these links. @param only: as of a C{source}.
        @param told: hears that the list of its streams is whole, or that it is gone.
        """
        core = self._core
        remote = Remote(address=_OTHER, endpoint=UNIXClientEndpoint(core.reactor, door.path), key=door.key)
        self._source = ClusterSource(
            evolve(core.link_node(), node_id=node_id),
            remote,
            core.registry,
            core.remote,
            only=only,
            hidden=(),
            settings=StreamSettings(),
            clients_timeout=10.0,
            files=core.files.remote,
            told=lambda address, ready, why: told(ready),
        )
        self._source.startService()

    @property
    def entered(self) -> bool:
        """Whether each stream that the other process lists is one here."""
        registry = self._core.registry
        listed = self._source.offer.listed if self._source is not None else ()
        return all(registry.find(name) is not None or registry.expected(name) for name in listed)

    def close(self) -> Deferred[Any]:
        """End the links."""
        waits: list[Any] = [self._port.stopListening()]
        if self._source is not None:
            waits.append(self._source.stopService())
        done = gatherResults([each for each in waits if each is not None], consumeErrors=True)
        return done.addErrback(lambda failure: None).addBoth(lambda _: self._folder.close())

    def _handler(self, event: Authorised) -> LinkHandler:
        core = self._core
        return core.own_process(event, self._catalogue, lambda: core.neighbours.push_server(core.publishing))
