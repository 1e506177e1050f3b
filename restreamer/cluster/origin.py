"""The serving side of links: a control link gets the catalogue, a media link gets the stream it pulls."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from restreamer.cluster.catalogue import Catalogue
from restreamer.cluster.file_catalogue import FileCatalogue
from restreamer.cluster.listing import BoundedList
from restreamer.cluster.relay import Relay, Relays
from restreamer.cluster.seams import LinkWriter
from restreamer.cluster.session_receipts import SessionReceipts
from restreamer.errors import Reason, Refused, RemoteProtocolError
from restreamer.live.registry import LiveEntry
from restreamer.live.stream import Stream
from restreamer.logs import Logger
from restreamer.m4f.records import (
    MAX_LISTED,
    MAX_LOCATIONS,
    CatalogueComplete,
    Goodbye,
    Heartbeat,
    NodeLoad,
    Ping,
    Pull,
    PullRefused,
    Record,
    SegmentAsk,
    StreamListed,
    StreamUnlisted,
    VodListed,
    VodUnlisted,
)
from restreamer.media.names import valid_stream_name
from restreamer.viewers.waiting import WaitingRoom

_log = Logger()

#: Beats (of half a second) for one L{NodeLoad}.
BEATS_PER_LOAD = 2
#: Codes of L{PullRefused}, by reason.
REFUSAL_CODES = {
    Reason.BAD_NAME: 400,
    Reason.DENIED: 403,
    Reason.NOT_FOUND: 404,
    Reason.BUSY: 409,
    Reason.UNSUPPORTED: 415,
    Reason.NOT_READY: 503,
    Reason.OVERLOADED: 503,
}


class ControlServer:
    """A L{restreamer.cluster.seams.LinkHandler}: the catalogue and its changes, and heartbeats."""

    def __init__(
        self,
        catalogue: Catalogue,
        utc: Callable[[], int],
        files: FileCatalogue | None = None,
        load: Callable[[], NodeLoad] | None = None,
        receipts: SessionReceipts | None = None,
    ) -> None:
        """@param files: the locations of files, if there are any to tell of.
        @param load: how busy this node is; told every second.
        @param receipts: takes what the follower tells of its viewers; None: nobody wants to know.
        """
        self._receipts = receipts
        self._files = files
        self._load = load
        self._beats = 0
        self._catalogue = catalogue
        self._utc = utc
        self._link: LinkWriter | None = None
        self._streams: BoundedList[StreamListed] = BoundedList(MAX_LISTED, "streams", self._tell)
        self._locations: BoundedList[VodListed] = BoundedList(MAX_LOCATIONS, "locations of files", self._tell)

    def link_up(self, link: LinkWriter) -> None:
        """Send the whole list, then changes as they come."""
        self._link = link
        for entry in self._catalogue.entries():
            self._streams.put(entry)
        self._streams.warn()
        if self._files is not None:
            for location in self._files.entries():
                self._locations.put(location)
            self._locations.warn()
            self._files.follow(self)
        if self._load is not None:
            link.send(self._load())
        link.send(CatalogueComplete())
        self._catalogue.follow(self)
        if self._receipts is not None:
            self._receipts.link_up(link)

    def catalogue_changed(self, change: StreamListed | StreamUnlisted | VodListed | VodUnlisted) -> None:
        """Push a change at once; one of a name that is left out is none."""
        if isinstance(change, StreamListed):
            self._streams.put(change)
            self._streams.warn()
        elif isinstance(change, StreamUnlisted):
            if self._streams.drop(change.name):
                self._tell(change)
                self._streams.refill()
        elif isinstance(change, VodListed):
            self._locations.put(change)
            self._locations.warn()
        elif self._locations.drop(change.name):
            self._tell(change)
            self._locations.refill()

    def record(self, record: Record) -> None:
        """A follower tells that it lives, and of its viewers."""
        if self._receipts is not None and self._receipts.take(record):
            return
        if not isinstance(record, (Heartbeat, Ping, Goodbye)):
            raise RemoteProtocolError("control link", f"unexpected {type(record).__name__}")

    def resumed(self) -> None:
        """Nothing waits here."""

    def beat(self) -> None:
        """Tell where every running stream stands, and how busy this node is."""
        if self._link is not None and not self._link.paused:
            self._beats += 1
            if self._load is not None and self._beats % BEATS_PER_LOAD == 0:
                self._link.send(self._load())
            self._link.send_encoded(self._catalogue.beat(self._utc()))

    def link_down(self, reason: str) -> None:
        """Stop following the catalogue."""
        self._catalogue.unfollow(self)
        if self._files is not None:
            self._files.unfollow(self)
        if self._receipts is not None:
            self._receipts.link_down()
        self._link = None

    def _tell(self, record: Record) -> None:
        if self._link is not None:
            self._link.send(record)


def _is_fed(stream: Stream) -> bool:
    return stream.running and stream.run is not None


class MediaServer:
    """A L{restreamer.cluster.seams.LinkHandler}: serves one pull."""

    def __init__(
        self,
        waiting: WaitingRoom,
        relays: Relays,
        node_id: bytes,
        utc: Callable[[], int],
        proto: str = "m4f",
    ) -> None:
        """@param proto: the protocol word that the stream must allow; empty: none."""
        self._proto = proto
        self._waiting = waiting
        self._relays = relays
        self._node_id = node_id
        self._utc = utc
        self._link: LinkWriter | None = None
        self._relay: Relay | None = None
        self._asked = False
        self._starting: Deferred[None] | None = None
        self._name = ""

    def link_up(self, link: LinkWriter) -> None:
        """Wait for the pull."""
        self._link = link

    def record(self, record: Record) -> None:
        """Take the pull, and asks for segments that came damaged; nothing else but signs of life comes."""
        if isinstance(record, Pull):
            if self._asked:
                raise RemoteProtocolError("media link", "a second pull on one link")
            if not valid_stream_name(record.name):
                raise RemoteProtocolError("media link", "a pull of an impossible stream name")
            self._asked = True
            self._name = record.name
            self._starting = Deferred.fromCoroutine(self._serve(record))
            _ = self._starting.addErrback(self._failed)
        elif isinstance(record, SegmentAsk):
            if self._relay is not None and self._link is not None:
                self._relay.send_again(self._link, record.number)
        elif not isinstance(record, (Ping, Heartbeat, Goodbye)):
            raise RemoteProtocolError("media link", f"unexpected {type(record).__name__}")

    def resumed(self) -> None:
        """The link drained."""
        if self._relay is not None and self._link is not None:
            self._relay.resumed(self._link)

    def beat(self) -> None:
        """Say that we live, also while no frame comes."""
        if self._link is not None and not self._link.paused:
            self._link.send(Ping(sent_at=self._utc()))

    def link_down(self, reason: str) -> None:
        """The pull is over."""
        link, self._link = self._link, None
        if self._starting is not None:
            self._starting.cancel()
        if self._relay is not None and link is not None:
            self._relay.drop(link)
            self._relays.release(self._relay.stream)
            self._relay = None

    async def _serve(self, pull: Pull) -> None:
        try:
            entry: LiveEntry = await self._waiting.entry(pull.name, _is_fed, self._proto)
        except Refused as refusal:
            if self._link is not None:
                self._link.send(PullRefused(code=REFUSAL_CODES[refusal.reason], text=refusal.text))
                self._link.close(refusal.text)
            return
        link = self._link
        if link is None:
            return
        run = entry.stream.run
        if run is not None and link.peer_id in run.path:
            link.send(PullRefused(code=508, text="the stream came from there: a loop"))
            link.close("loop")
            return
        self._relay = self._relays.of(entry.stream)
        self._relay.add(link, pull)

    def _failed(self, failure: object) -> None:
        if self._link is not None:
            _log.error("pull of {name} failed: {failure}", name=self._name, failure=failure)
            self._link.abort("internal error")
