"""The files of a node put together: its own, those of its sources, the ways they are played and passed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from restreamer.cluster.file_catalogue import FileCatalogue
from restreamer.cluster.file_server import FileServer
from restreamer.cluster.remote_files import RemoteFiles
from restreamer.config.model import VodConfig
from restreamer.dvr.seams import AskedFor
from restreamer.hls.file_routes import file_hls_routes
from restreamer.http1.reply import Route
from restreamer.live.registry import StreamRegistry
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.seams import Gate
from restreamer.vod.disk import DiskThreads
from restreamer.vod.http_play import file_mpegts_route
from restreamer.vod.library import Library
from restreamer.vod.packaged import PackagedFiles

#: How long a segment of a file should be, ticks. The same on all nodes that hold copies of one file.
FILE_SEGMENT_TICKS = 5 * TICKS_PER_SECOND


class NodeFiles:
    """What a node has once for all files.

    @param reactor: for time and threads. @param crowded: whether memory is too short for another viewer.
    @param utc: UTC ticks now.
    @ivar archives: the past of streams, for other nodes that ask.
    @ivar remote: the files of its sources. @ivar catalogue: what it tells other nodes of files.
    """

    def __init__(
        self,
        reactor: Any,
        node_id: bytes,
        gate: Gate,
        registry: StreamRegistry,
        crowded: Callable[[], bool],
        utc: Callable[[], int],
    ) -> None:
        self.archives: AskedFor | None = None
        self._reactor = reactor
        self._node_id = node_id
        self._gate = gate
        self._registry = registry
        self._crowded = crowded
        self._utc = utc
        self._disk = DiskThreads(reactor)
        self._own = Library(reactor, self._disk.call, FILE_SEGMENT_TICKS)
        self.remote = RemoteFiles(node_id, reactor)
        self.catalogue = FileCatalogue(node_id, self.remote)
        self._files = PackagedFiles((self._own, self.remote), mux_segment, self._disk.call, crowded)

    def configure(self, vods: Mapping[str, VodConfig]) -> None:
        """The node's locations from now on."""
        self._own.set_locations({name: vod.storages for name, vod in vods.items()})
        self.catalogue.set_own(vods)

    def routes(self) -> list[Route]:
        """What answers for files; it stands before what answers for streams."""
        return [
            file_hls_routes(self._files, self._gate, self._disk.call, self._is_stream),
            file_mpegts_route(self._files, self._gate, self._reactor, self._is_stream, self._crowded),
        ]

    def server(self, archives: AskedFor | None = None) -> FileServer:
        """Who speaks on a link by which another node asks for files.

        @param archives: the past of streams that it may ask for; None: L{archives}.
        """
        return FileServer(self._files, self._utc, self._node_id, archives or self.archives)

    def close(self) -> None:
        """Ask other nodes no more."""
        self.remote.close()

    def _is_stream(self, name: str) -> bool:
        registry = self._registry
        return registry.find(name) is not None or registry.claimed(name) or registry.supply(name) is not None
