"""Which archives of a node are filled, from which other nodes, over which links (C{dvr … replicate})."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from restreamer.cluster.archive_inputs import ArchiveInput, ArchiveInputs
from restreamer.cluster.connector import Node, Remote
from restreamer.cluster.remote_archive import RemoteArchive
from restreamer.cluster.remote_files import RemoteFiles
from restreamer.config.model import Configuration, DvrConfig
from restreamer.config.resolve import resolve_stream
from restreamer.dvr.disks import Disk, Disks
from restreamer.dvr.local_archive import RecordedArchive
from restreamer.dvr.replication import ReplicatedStream, Replication, ReplicationFacts, room_in
from restreamer.live.registry import StreamRegistry
from restreamer.live.stream import Stream
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Timer

#: Streams come and go in crowds: after the first news it is looked once, seconds.
LOOK_AFTER = 0.5


class NodeReplication:
    """A L{restreamer.live.registry.RegistryListener}: L{Replication} does what the configuration says.

    @param configuration: the one in force. @param dvr_of: how a stream is recorded.
    @param local: what was recorded here. @param link_node: this node, as its links present it.
    @param remote_node: another one.
    """

    def __init__(
        self,
        reactor: Any,
        node_id: bytes,
        registry: StreamRegistry,
        files: RemoteFiles,
        utc: Callable[[], int],
        disks: Disks,
        local: RecordedArchive,
        configuration: Callable[[], Configuration],
        dvr_of: Callable[[str], DvrConfig | None],
        link_node: Callable[[], Node],
        remote_node: Callable[[str, int, str, bool], Remote],
    ) -> None:
        self._reactor = reactor
        self._node_id = node_id
        self._registry = registry
        self._inputs = ArchiveInputs(files, self._inputs_of, link_node, remote_node)
        self._utc = utc
        self._disks = disks
        self._local = local
        self._configuration = configuration
        self._dvr_of = dvr_of
        self._job = Replication(reactor, utc)
        self._sources: dict[int | None, RemoteArchive] = {}
        self._timer: Timer | None = None
        self._over = False
        registry.listen(self)

    @property
    def speed(self) -> float:
        """Bytes per second that came lately, of all streams."""
        return self._job.speed

    def facts(self, name: str) -> ReplicationFacts | None:
        """How it goes with a stream; None: it is not filled."""
        return self._job.facts(name)

    def look(self) -> None:
        """Find out what is to be filled now."""
        self._timer = None
        found = []
        for name in sorted(self._names()):
            dvr = self._dvr_of(name)
            disk = self._disks.find(os.path.normpath(dvr.root)) if dvr is not None else None
            if dvr is not None and disk is not None and dvr.replicate:
                found.append(self._stream(name, dvr, disk))
        self._job.set_streams(found)
        self._inputs.keep([each.name for each in found])

    def close(self) -> None:
        """Fill nothing any more."""
        self._over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._job.close()
        self._inputs.close()

    # The registry's listener.

    def stream_changed(self, stream: Stream) -> None:
        """A stream that is to be filled may have come."""
        self._soon()

    def stream_removed(self, stream: Stream) -> None:
        """Or gone."""
        self._soon()

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Says nothing of archives."""

    def supply_changed(self, name: str) -> None:
        """Says nothing of archives."""

    # Inside.

    def _fills(self) -> bool:
        """Whether the configuration has anything to be filled."""
        configuration = self._configuration()
        places = [
            *[each.dvr for each in configuration.streams.values()],
            *[each.stream.dvr for each in configuration.templates.values()],
            *[each.dvr for each in configuration.sources],
        ]
        return any(dvr is not None and dvr.replicate for dvr in places)

    def _names(self) -> Iterable[str]:
        if not self._fills():
            return ()
        return {*self._configuration().streams, *[entry.stream.name for entry in self._registry]}

    def _soon(self) -> None:
        if not self._over and self._fills() and (self._timer is None or not self._timer.active()):
            self._timer = self._reactor.callLater(LOOK_AFTER, self.look)

    def _stream(self, name: str, dvr: DvrConfig, disk: Disk) -> ReplicatedStream:
        depth = dvr.depth

        def since() -> int | None:
            return self._utc() - depth * TICKS_PER_SECOND if depth is not None else None

        return ReplicatedStream(
            name=name,
            key=(disk.root, id(disk), dvr.replication_port, depth, *self._inputs_of(name)),
            source=self._source(dvr.replication_port).asked_by(()),
            local=self._local,
            record=disk.record,
            room=room_in(disk.writer, name, lambda: bool(disk.alarm)),
            since=since,
        )

    def _inputs_of(self, name: str) -> list[ArchiveInput]:
        """The other nodes that the configuration takes a stream from."""
        configuration = self._configuration()
        stream = resolve_stream(configuration, name)
        return [
            ArchiveInput(
                each.host, each.port, each.tls, each.cluster_key or configuration.cluster_key, each.path
            )
            for each in (stream.inputs if stream is not None else ())
            if each.scheme in ("m4f", "m4fs")
        ]

    def _source(self, port: int | None) -> RemoteArchive:
        """The sources, by links of their own: a viewer never waits for what is filled in the background."""
        made = self._sources.get(port)
        if made is None:
            made = self._sources[port] = RemoteArchive(
                self._node_id,
                self._inputs,
                self._reactor,
                self._utc,
                lambda source: source.background_link(port),
            )
        return made
