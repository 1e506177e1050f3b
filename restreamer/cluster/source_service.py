"""ClusterSource: a node whose streams are restreamed here.

One control link brings the list and its changes; each stream taken has a media link of its own, so that a
slow one never holds up another. All links reconnect by themselves.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from typing_extensions import override

from restreamer.cluster.connector import Node, Remote, link_service
from restreamer.cluster.puller import Puller
from restreamer.cluster.remote_streams import Pull, RemoteStreams, SourceOffer
from restreamer.cluster.seams import LinkWriter
from restreamer.errors import RemoteProtocolError
from restreamer.live.registry import StreamRegistry, StreamSettings
from restreamer.live.silence import SilenceWatch
from restreamer.logs import Logger
from restreamer.m4f.records import (
    CatalogueComplete,
    Goodbye,
    Heartbeat,
    Ping,
    Record,
    StreamListed,
    StreamUnlisted,
)
from restreamer.seams import Timer

_log = Logger()

#: How long a source's list stays in force after its control link was lost, seconds.
AWAY_SECONDS = 2.0


class MediaPull:
    """A running pull of one stream over a media link; a L{restreamer.cluster.remote_streams.Pull}.

    @ivar puller: its counters and lag.
    """

    def __init__(
        self,
        node: Node,
        remote: Remote,
        registry: StreamRegistry,
        remote_name: str,
        local_name: str,
        settings: StreamSettings,
    ) -> None:
        self._address = remote.address
        self._node = node
        self._name = local_name
        self.puller = Puller(
            remote_name,
            lambda: registry.obtain(local_name, settings),
            node.node_id,
            node.utc,
            self._refused,
        )
        self._service = link_service(node, remote, "media", self.puller)
        self._service.startService()
        # A source that lists a stream, keeps the link and yet sends no frame is as good as lost.
        timeout = settings.source_timeout
        self._watch = SilenceWatch(node.clock, lambda: self.puller.frames, timeout, self._silent)
        self._watch.start()
        self._over = False
        self._stopping: Deferred[Any] | None = None

    def stop(self) -> None:
        """End the pull."""
        if not self._over:
            self._over = True
            self._watch.stop()
            self.puller.stop("not pulled any more")
            stopping = self._service.stopService()
            if stopping is not None:
                self._stopping = stopping
                _ = stopping.addErrback(lambda failure: None)

    def retry(self) -> None:
        """Connect now if the link waits for its next attempt."""
        if not self._over and not self.puller.linked:
            stopping = self._service.stopService()
            if stopping is not None:
                _ = stopping.addCallback(self._again)

    @property
    def stopped(self) -> Deferred[Any] | None:
        """Fires when the link is closed, after L{stop}."""
        return self._stopping

    def _silent(self) -> None:
        if self.puller.linked:
            self.puller.abandon(f"no frame for {self._watch.timeout:g} s")

    def _again(self, result: object) -> None:
        if not self._over and not self._service.running:
            self._service.startService()

    def _refused(self, code: int, text: str) -> None:
        _log.warn(
            "source {source} does not give stream {name}: {text} ({code})",
            source=self._address,
            name=self._name,
            text=text,
            code=code,
        )


class ClusterSource(Service):
    """Follows one source's list and pulls its streams; a L{restreamer.cluster.seams.LinkHandler}.

    @ivar offer: what the source lists, as L{RemoteStreams} knows it.
    @ivar connected: the control link is up. @ivar fruitful: it brought the whole list.
    """

    def __init__(
        self,
        node: Node,
        remote: Remote,
        registry: StreamRegistry,
        streams: RemoteStreams,
        only: tuple[str, ...] | None,
        hidden: tuple[str, ...],
        settings: StreamSettings,
        clients_timeout: float,
        position: int | None = None,
    ) -> None:
        self._node = node
        self._remote = remote
        self._registry = registry
        self._streams = streams
        self.connected = False
        self.fruitful = False
        self.offer = SourceOffer(remote.address, only, hidden, settings, clients_timeout, self._begin_pull)
        streams.add_source(self.offer, position)
        self._pulls: dict[MediaPull, None] = {}
        self._control = link_service(node, remote, "control", self)
        self._link: LinkWriter | None = None
        self._fresh: set[str] | None = None
        self._away: Timer | None = None

    @override
    def startService(self) -> None:
        """Connect."""
        super().startService()
        self._control.startService()

    @override
    def stopService(self) -> Deferred[Any]:
        """Disconnect and stop every pull; fires when all links are closed."""
        super().stopService()
        self._cancel_away()
        self._streams.remove_source(self.offer)
        waits: list[Deferred[Any]] = []
        for pull in list(self._pulls):
            pull.stop()
            if pull.stopped is not None:
                waits.append(pull.stopped)
        control = self._control.stopService()
        if control is not None:
            waits.append(control)
        return gatherResults(waits, consumeErrors=True).addErrback(lambda failure: None)

    # The control link.

    def link_up(self, link: LinkWriter) -> None:
        """The list comes now."""
        self._link = link
        self.connected = True
        self._fresh = set()
        self._cancel_away()
        _log.info("source {source}: connected", source=self._remote.address)

    def record(self, record: Record) -> None:
        """Follow the source's list."""
        if isinstance(record, StreamListed):
            if self._fresh is not None:
                self._fresh.add(record.name)
            self._streams.listed(self.offer, record)
        elif isinstance(record, StreamUnlisted):
            if self._fresh is not None:
                self._fresh.discard(record.name)
            self._streams.unlisted(self.offer, record.name)
        elif isinstance(record, CatalogueComplete):
            self.fruitful = True
            fresh, self._fresh = self._fresh, None
            if fresh is not None:
                self._streams.keep_only(self.offer, fresh)
                self._streams.set_away(self.offer, False)
        elif not isinstance(record, (Heartbeat, Ping, Goodbye)):
            raise RemoteProtocolError("control link", f"unexpected {type(record).__name__}")

    def resumed(self) -> None:
        """Nothing waits here."""

    def beat(self) -> None:
        """Say that we live."""
        if self._link is not None:
            self._link.send(Ping(sent_at=self._node.utc()))

    def link_down(self, reason: str) -> None:
        """The list stays in force for a moment: the link may return at once."""
        self._link = None
        self.connected = False
        self._fresh = None
        _log.warn("source {source}: lost: {reason}", source=self._remote.address, reason=reason)
        if self.running:
            self._streams.set_away(self.offer, True)
            self._cancel_away()
            self._away = self._node.clock.callLater(AWAY_SECONDS, self._gone)

    # Inside.

    def _begin_pull(self, name: str, settings: StreamSettings) -> Pull:
        pull = MediaPull(self._node, self._remote, self._registry, name, name, settings)
        self._pulls[pull] = None
        return _Tracked(pull, self._pulls)

    def _gone(self) -> None:
        self._away = None
        self._streams.keep_only(self.offer, set())

    def _cancel_away(self) -> None:
        if self._away is not None and self._away.active():
            self._away.cancel()
        self._away = None


class _Tracked:
    """A pull that leaves its source's books when it stops."""

    def __init__(self, pull: MediaPull, book: dict[MediaPull, None]) -> None:
        self._pull = pull
        self._book = book

    def stop(self) -> None:
        """End the pull; it stays in the books until its link is closed."""
        pull = self._pull
        pull.stop()
        if pull.stopped is not None:
            _ = pull.stopped.addCallback(lambda _: self._book.pop(pull, None))
        else:
            self._book.pop(pull, None)

    def retry(self) -> None:
        """Try again now."""
        self._pull.retry()
