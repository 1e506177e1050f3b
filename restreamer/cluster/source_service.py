"""ClusterSource: a node whose streams are restreamed here.

One control link brings the list and its changes; each stream taken has a media link of its own, so that a
slow one never holds up another. All links reconnect by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from typing_extensions import override

from restreamer.cluster.connector import Node, Remote, link_service
from restreamer.cluster.offers import BackupOffer, SourceOffer
from restreamer.cluster.puller import Puller
from restreamer.cluster.remote_files import RemoteFiles
from restreamer.cluster.remote_streams import RemoteStreams
from restreamer.cluster.seams import LinkWriter
from restreamer.cluster.session_reports import SessionBook, SessionReports
from restreamer.errors import RemoteProtocolError
from restreamer.facts import SourceFacts
from restreamer.live.registry import StreamRegistry, StreamSettings
from restreamer.logs import Logger
from restreamer.m4f.records import (
    CatalogueComplete,
    Goodbye,
    Heartbeat,
    NodeLoad,
    Ping,
    Record,
    StreamListed,
    StreamUnlisted,
    VodListed,
    VodUnlisted,
)
from restreamer.seams import Timer
from restreamer.sources.input_slot import InputReports, RunningInput

_log = Logger()

#: How long a source's list stays in force after its control link was lost, seconds.
AWAY_SECONDS = 2.0


class MediaPull:
    """A pull of one stream over a media link; a L{restreamer.sources.input_slot.RunningInput}.

    @param reports: told when its media took the stream, and when it cannot feed it.
    @param standby: only open the link; ask for the stream at L{activate}.
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
        reports: InputReports,
        standby: bool = False,
    ) -> None:
        self._address = remote.address
        self._name = local_name
        self._said = ""
        self._refusal = False
        self._reports = reports
        self._settings = settings
        self.puller = Puller(
            remote_name,
            lambda: registry.obtain(local_name, self._settings),
            node.node_id,
            node.utc,
            self._refused,
            delivered=reports.delivered,
            lost=self._lost,
            standby=standby,
            held=lambda: entry.stream if (entry := registry.find(local_name)) is not None else None,
            turns=registry.turns,
        )
        self._service = link_service(node, remote, "media", self.puller)
        self._service.startService()
        self._over = False
        self._stopping: Deferred[Any] | None = None

    @property
    def frames(self) -> int:
        """Frames taken so far."""
        return self.puller.frames

    @property
    def bytes(self) -> int:
        """Bytes of their bodies."""
        return self.puller.bytes

    @property
    def lag(self) -> int | None:
        """Ticks from the newest frame's time to its arrival here; None before the first."""
        return self.puller.lag

    def activate(self) -> None:
        """Ask for the stream now, or as soon as the link is up."""
        self.puller.activate()

    def resettle(self, settings: StreamSettings) -> None:
        """Keep the stream with C{settings} when it has to be made again."""
        self._settings = settings

    def stop(self) -> Deferred[Any] | None:
        """End the pull; gives what fires when the link is closed."""
        if not self._over:
            self._over = True
            self.puller.stop("not pulled any more")
            stopping = self._service.stopService()
            if stopping is not None:
                self._stopping = stopping
                _ = stopping.addErrback(lambda failure: None)
        return self._stopping

    def retry(self) -> None:
        """Connect now if the link waits for its next attempt."""
        if not self._over and not self.puller.linked:
            stopping = self._service.stopService()
            if stopping is not None:
                _ = stopping.addCallback(self._again)

    def _again(self, result: object) -> None:
        if not self._over and not self._service.running:
            self._service.startService()

    def _lost(self, reason: str, link: bool) -> None:
        refused, self._refusal = self._refusal, False
        self._reports.lost(reason, link, refused)

    def _refused(self, code: int, text: str) -> None:
        self._refusal = True
        said = f"{code} {text}"
        if said == self._said:
            return
        self._said = said
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
        prefix: str = "",
        priority: int = 0,
        scheme: str = "m4f",
        backup: BackupOffer | None = None,
        files: RemoteFiles | None = None,
        book: SessionBook | None = None,
        told: Callable[[str, bool, str], None] = lambda address, ready, why: None,
    ) -> None:
        """@param files: takes the locations of files the source lists; None: nobody wants them.
        @param book: sessions, of which the source is told those of its streams; None: it is told nothing.
        @param told: hears that the source's list is whole, or that it is lost and why.
        """
        self.files = (
            files.add_source(node, remote, only, hidden, position, prefix, priority)
            if files is not None
            else None
        )
        self._node = node
        self._remote = remote
        self._registry = registry
        self._streams = streams
        self._told = told
        self.connected = False
        self.fruitful = False
        self.offer = SourceOffer(
            remote.address,
            only,
            hidden,
            settings,
            clients_timeout,
            self._begin_pull,
            scheme=scheme,
            prefix=prefix,
            priority=priority,
            backup=backup,
            node_id=node.node_id,
        )
        self.reports = (
            SessionReports(book, lambda name: streams.name_at(self.offer, name), node.clock)
            if book is not None
            else None
        )
        streams.add_source(self.offer, position)
        self._pulls: dict[MediaPull, None] = {}
        self._control = link_service(node, remote, "control", self)
        self._link: LinkWriter | None = None
        self._fresh: set[str] | None = None
        self._away: Timer | None = None
        self._since: int | None = None
        self._peer_id = b""
        self._losses = 0

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
        if self.files is not None:
            self.files.close()
        waits: list[Deferred[Any]] = []
        for pull in list(self._pulls):
            stopping = pull.stop()
            if stopping is not None:
                waits.append(stopping)
        control = self._control.stopService()
        if control is not None:
            waits.append(control)
        return gatherResults(waits, consumeErrors=True).addErrback(lambda failure: None)

    def resettle(
        self,
        only: tuple[str, ...] | None,
        hidden: tuple[str, ...],
        settings: StreamSettings,
        clients_timeout: float,
        priority: int,
    ) -> None:
        """Take other lists and settings; no link is touched that is needed as before."""
        offer = self.offer
        offer.only = only
        offer.hidden = hidden
        offer.settings = settings
        offer.clients_timeout = clients_timeout
        offer.priority = priority
        if self.files is not None:
            self.files.resettle(only, hidden, priority)
        self._streams.resettle(offer)

    def facts(self, position: int) -> SourceFacts:
        """What is known of the source.

        @param position: its place in the configuration.
        """
        traffic = self._remote.traffic
        return SourceFacts(
            address=self._remote.address,
            proto=self.offer.scheme,
            position=position,
            connected=self.connected,
            node_id=self._peer_id,
            since=self._since,
            bytes_in=traffic.bytes_in,
            bytes_out=traffic.bytes_out,
            listed=0 if self.offer.gone else len(self.offer.listed),
            pulled=self._streams.pulled_from(self.offer),
            standbys=self.offer.standing,
            losses=self._losses,
            last_error=traffic.trouble,
            round_trip=self._link.round_trip if self._link is not None else None,
        )

    # The control link.

    def link_up(self, link: LinkWriter) -> None:
        """The list comes now."""
        self._link = link
        self.connected = True
        self._since = self._node.utc()
        self._peer_id = link.peer_id
        self._fresh = self.offer.fresh = set()
        if self.files is not None:
            self.files.peer_id = link.peer_id
            self.files.control_up()
        if self.reports is not None:
            self.reports.link_up(link)
        self._cancel_away()
        _log.info("source {source}: connected", source=self._remote.address)

    def record(self, record: Record) -> None:
        """Follow the source's list."""
        if self.files is not None and self.files.take(record):
            return
        if self.reports is not None and self.reports.take(record):
            return
        if isinstance(record, StreamListed):
            self._streams.listed(self.offer, record)
            # What was not taken is not kept in mind either: a list may be of any length.
            if self._fresh is not None and self.offer.local_name(record.name) in self.offer.listed:
                self._fresh.add(record.name)
        elif isinstance(record, StreamUnlisted):
            if self._fresh is not None:
                self._fresh.discard(record.name)
            self._streams.unlisted(self.offer, record.name)
        elif isinstance(record, CatalogueComplete):
            self.fruitful = True
            self._told(self._remote.address, True, "")
            fresh, self._fresh, self.offer.fresh = self._fresh, None, None
            if fresh is not None:
                self._streams.keep_only(self.offer, fresh)
                self._streams.set_away(self.offer, False)
        elif isinstance(record, Heartbeat):
            self._streams.positions(self.offer, record.positions)
        elif not isinstance(record, (Ping, Goodbye, NodeLoad, VodListed, VodUnlisted)):
            raise RemoteProtocolError("control link", f"unexpected {type(record).__name__}")

    def resumed(self) -> None:
        """Nothing waits here."""

    def beat(self) -> None:
        """Say that we live."""
        if self._link is not None:
            self._link.send(Ping(sent_at=self._node.utc()))
            if self.reports is not None:
                self.reports.beat()

    def link_down(self, reason: str) -> None:
        """The list stays in force for a moment: the link may return at once."""
        self._link = None
        self.connected = False
        self._since = self._node.utc()
        self._losses += 1
        if self.running:
            self._remote.traffic.trouble = reason
            self._told(self._remote.address, False, reason)
        self._fresh = self.offer.fresh = None
        if self.files is not None:
            self.files.control_down()
        if self.reports is not None:
            self.reports.link_down()
        # What this node ends itself, at a reload or its own end, is no trouble.
        say = _log.warn if self.running else _log.info
        say("source {source}: lost: {reason}", source=self._remote.address, reason=reason)
        if self.running:
            self._streams.set_away(self.offer, True)
            self._cancel_away()
            self._away = self._node.clock.callLater(AWAY_SECONDS, self._gone)

    # Inside.

    def _begin_pull(
        self, remote_name: str, name: str, settings: StreamSettings, reports: InputReports, standby: bool
    ) -> RunningInput:
        pull = MediaPull(
            self._node, self._remote, self._registry, remote_name, name, settings, reports, standby
        )
        self._pulls[pull] = None
        return _Tracked(pull, self._pulls, self.offer, standby)

    def _gone(self) -> None:
        """The source stays away: its list is void, unless its streams have a backup to show meanwhile."""
        self._away = None
        if self.offer.backup is None:
            self._streams.set_gone(self.offer)

    def _cancel_away(self) -> None:
        if self._away is not None and self._away.active():
            self._away.cancel()
        self._away = None


class _Tracked:
    """A pull that is kept in its source's books until its link is closed.

    @param book: the source's pulls. @param offer: counts the links that stand by.
    """

    def __init__(
        self, pull: MediaPull, book: dict[MediaPull, None], offer: SourceOffer, standby: bool
    ) -> None:
        self._pull = pull
        self._book = book
        self._offer = offer
        self._standing = standby
        offer.standing += standby

    @property
    def frames(self) -> int:
        """Frames taken so far."""
        return self._pull.frames

    @property
    def bytes(self) -> int:
        """Bytes of their bodies."""
        return self._pull.bytes

    @property
    def lag(self) -> int | None:
        """Ticks from the newest frame's time to its arrival here."""
        return self._pull.lag

    def activate(self) -> None:
        """Ask for the stream."""
        self._stand_down()
        self._pull.activate()

    def resettle(self, settings: StreamSettings) -> None:
        """Keep the stream with C{settings} when it has to be made again."""
        self._pull.resettle(settings)

    def stop(self) -> Deferred[Any] | None:
        """End the pull."""
        self._stand_down()
        pull = self._pull
        stopping = pull.stop()
        if stopping is not None:
            _ = stopping.addCallback(lambda _: self._book.pop(pull, None))
        else:
            self._book.pop(pull, None)
        return stopping

    def retry(self) -> None:
        """Try again now."""
        self._pull.retry()

    def _stand_down(self) -> None:
        if self._standing:
            self._standing = False
            self._offer.standing -= 1
