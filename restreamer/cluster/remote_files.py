"""Files of other nodes: which locations the sources list, and their indexes and segments, kept for a while.

A file is asked for at the first source that lists its location, then at the next. What comes is checked
against its checksum and the index, and is served as it is: a segment has the same bytes on every node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from attrs import define, field

from restreamer.cluster.connector import Node, Remote
from restreamer.cluster.file_link import FileLink, SourceLostError
from restreamer.cluster.selection import Choice, choose
from restreamer.errors import Reason, Refused, RemoteProtocolError
from restreamer.logs import Logger
from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.records import (
    MAX_LOCATIONS,
    CatalogueComplete,
    FileAsk,
    FileIndexed,
    FileSegment,
    FileSegmentAsk,
    Record,
    VodListed,
    VodUnlisted,
)
from restreamer.m4f.segment import Segment
from restreamer.seams import Clock
from restreamer.vod.keep import Kept, SingleFlight
from restreamer.vod.seams import location_of

_log = Logger()
_Answer = TypeVar("_Answer")

#: Locations one source may list.
#: Indexes kept, bytes and pieces, and seconds after which one is asked for again.
INDEX_BYTES = 32 * 1024 * 1024
INDEX_PIECES = 1000
FRESH_SECONDS = 5.0
#: Canonical segments kept, bytes and pieces.
SEGMENT_BYTES = 48 * 1024 * 1024
SEGMENT_PIECES = 4000
#: Seconds for which C{no such file} stands, and how many are kept.
MISSING_SECONDS = 2.0
MAX_MISSING = 1000


class FileSource:
    """One source's locations, in local names. It stands until L{close}, whatever becomes of its link.

    @param background: makes another link to it, for what may take its time; to another port, if one is given.
    @ivar listed: the newest entry of each location. @ivar away: its control link is down.
    @ivar peer_id: its node id, as soon as it was linked to; empty before.
    """

    def __init__(
        self,
        shelf: RemoteFiles,
        link: FileLink,
        address: str,
        only: tuple[str, ...] | None,
        hidden: tuple[str, ...],
        prefix: str,
        priority: int,
        background: Callable[[int | None], FileLink],
    ) -> None:
        self.address = address
        self.peer_id = b""
        self.priority = priority
        self.listed: dict[str, VodListed] = {}
        self.away = True
        self.link = link
        self._background = background
        self._links: dict[int | None, FileLink] = {}
        self._shelf = shelf
        self._only = only
        self._hidden = hidden
        self._prefix = prefix + "/" if prefix else ""
        self._fresh: set[str] | None = None
        self._full = False

    def remote_name(self, name: str) -> str:
        """What the source calls the file or location that is C{name} here."""
        return self._prefix + name

    def shows(self, name: str) -> bool:
        """Whether C{except} leaves a location or a file of the source visible here."""
        return choose(name, False, self._only, self._hidden) is not Choice.HIDDEN

    def lists(self, name: str) -> bool:
        """Whether the source has the location of the file C{name}, and both are visible here."""
        found = location_of(name, self.listed)
        return found is not None and self.shows(found[0]) and self.shows(name)

    def may_have(self, name: str) -> bool:
        """Whether the source may have stream C{name}, and it is visible here."""
        return choose(name, False, self._only, self._hidden) is not Choice.HIDDEN

    def resettle(self, only: tuple[str, ...] | None, hidden: tuple[str, ...], priority: int) -> None:
        """Take other lists and another priority."""
        self._only = only
        self._hidden = hidden
        self.priority = priority
        self._shelf.changed()

    def control_up(self) -> None:
        """The control link is up: the whole list comes."""
        self._fresh = set()

    def take(self, record: Record) -> bool:
        """Look at a record of the control link.

        @return: whether it was about files.
        """
        if isinstance(record, CatalogueComplete):
            fresh, self._fresh = self._fresh, None
            if fresh is not None:
                for name in [name for name in self.listed if name not in fresh]:
                    del self.listed[name]
            self.away = False
            self._shelf.changed()
            return False
        if isinstance(record, VodListed):
            self._listed(record)
        elif isinstance(record, VodUnlisted):
            self._forget(record.name)
        else:
            return False
        return True

    def control_down(self) -> None:
        """The control link is lost; the list stands, but others are asked first."""
        self.away = True
        self._fresh = None

    def background_link(self, port: int | None = None) -> FileLink:
        """The link for what may take its time; C{port}: of the source, when it is not that of the others."""
        link = self._links.get(port)
        if link is None:
            link = self._links[port] = self._background(port)
        return link

    def close(self) -> None:
        """The source is not used any more."""
        self.link.close()
        for link in self._links.values():
            link.close()
        self._shelf.remove(self)

    def _listed(self, record: VodListed) -> None:
        name = record.name
        if not name.startswith(self._prefix):
            return
        local = name[len(self._prefix) :]
        if not local or self._shelf.node_id in record.path:
            self._forget(name)
            return
        # Twice as many while the list that replaces them comes, and no more, also when it never ends.
        kept = self.listed if self._fresh is None else self._fresh
        full = len(kept) >= MAX_LOCATIONS or len(self.listed) >= 2 * MAX_LOCATIONS
        if local not in self.listed and full:
            if not self._full:
                self._full = True
                _log.warn(
                    "source {source} lists more than {most} locations of files: the rest is passed over",
                    source=self.address,
                    most=MAX_LOCATIONS,
                )
            return
        if self._fresh is not None:
            self._fresh.add(local)
        self.listed[local] = record
        self._shelf.location_changed(local)

    def _forget(self, remote_name: str) -> None:
        if remote_name.startswith(self._prefix):
            local = remote_name[len(self._prefix) :]
            if self._fresh is not None:
                self._fresh.discard(local)
            if self.listed.pop(local, None) is not None:
                self._shelf.location_changed(local)


@define
class _HeldIndex:
    """An index and the clock seconds at which a source confirmed it."""

    index: FileIndex
    confirmed: float = field(eq=False)


class RemoteFiles:
    """The files that sources offer; a L{restreamer.vod.seams.MediaFiles}.

    @ivar node_id: this node's id.
    @ivar told: called with the location that changed, or with None when all may have changed.
    """

    def __init__(self, node_id: bytes, clock: Clock) -> None:
        self.node_id = node_id
        self.told: Callable[[str | None], None] = lambda name: None
        self._clock = clock
        self._sources: list[FileSource] = []
        self._locations: set[str] = set()
        self._indexes: Kept[str, _HeldIndex] = Kept(INDEX_BYTES, INDEX_PIECES, lambda held: held.index.cost)
        self._asking: SingleFlight[str, FileIndex] = SingleFlight()
        self._segments: Kept[tuple[str, int, int], Segment] = Kept(
            SEGMENT_BYTES, SEGMENT_PIECES, lambda held: len(held.encoded)
        )
        self._fetching: SingleFlight[tuple[str, int, int], Segment] = SingleFlight()
        self._missing: dict[str, tuple[float, Refused]] = {}

    # Sources.

    def add_source(
        self,
        node: Node,
        remote: Remote,
        only: tuple[str, ...] | None,
        hidden: tuple[str, ...],
        position: int | None = None,
        prefix: str = "",
        priority: int = 0,
    ) -> FileSource:
        """Take a source, at the end of the order or at C{position}."""
        source = FileSource(
            self,
            FileLink(node, remote),
            remote.address,
            only,
            hidden,
            prefix,
            priority,
            lambda port: FileLink(node, remote if port is None else remote.at_port(port)),
        )
        self._sources.insert(len(self._sources) if position is None else position, source)
        return source

    def reorder(self, order: Iterable[FileSource | None]) -> None:
        """The sources in a new order of preference."""
        self._sources = [source for source in order if source is not None and source in self._sources]
        self.changed()

    def remove(self, source: FileSource) -> None:
        """Forget a source."""
        if source in self._sources:
            self._sources.remove(source)
            self.changed()

    def close(self) -> None:
        """Ask no more."""
        for source in list(self._sources):
            source.close()

    def changed(self) -> None:
        """The sources changed, or what is shown of all they list."""
        self._locations = {name for source in self._sources for name in source.listed if source.shows(name)}
        self._missing.clear()
        self.told(None)

    def location_changed(self, name: str) -> None:
        """What a source says of one location changed. A whole list comes like that: nothing here may cost
        more the longer the list is.
        """
        if self.location(name) is not None:
            self._locations.add(name)
        else:
            self._locations.discard(name)
        self._missing.clear()
        self.told(name)

    def location(self, name: str) -> VodListed | None:
        """The location as the preferred source lists it; None when none does."""
        for source in self._in_order():
            entry = source.listed.get(name)
            if entry is not None and source.shows(name):
                return entry
        return None

    def locations(self) -> dict[str, VodListed]:
        """The locations of all sources by local name, each as the preferred source lists it."""
        found: dict[str, VodListed] = {}
        for source in self._in_order():
            for name, entry in source.listed.items():
                if source.shows(name):
                    found.setdefault(name, entry)
        return found

    def source_ids(self) -> set[bytes]:
        """Node ids of the sources, as far as they are known."""
        return {source.peer_id for source in self._sources if source.peer_id}

    def asked_for_stream(self, name: str) -> list[FileSource]:
        """The sources to ask for the past of stream C{name}, best first."""
        return [source for source in self._in_order() if source.may_have(name)]

    # Files.

    def takes(self, name: str) -> bool:
        """Whether C{name} lies in a location of a source."""
        return location_of(name, self._locations) is not None and bool(self._offering(name))

    async def index(self, name: str) -> FileIndex:
        """See L{restreamer.vod.seams.MediaFiles.index}."""
        held = self._indexes.get(name)
        if held is not None and self._clock.seconds() - held.confirmed < FRESH_SECONDS:
            return held.index
        return await self._asking.run(name, lambda: self._ask_index(name))

    async def segment(self, name: str, version: int, number: int) -> Segment:
        """See L{restreamer.vod.seams.MediaFiles.segment}."""
        key = (name, version, number)
        held = self._segments.get(key)
        if held is None:
            held = await self._fetching.run(key, lambda: self._ask_segment(key))
        return held

    def forget(self) -> None:
        """Give the memory of segments back."""
        self._segments.clear()

    # Inside.

    def _in_order(self) -> list[FileSource]:
        return sorted(self._sources, key=lambda source: (source.away, source.priority))

    def _offering(self, name: str) -> list[FileSource]:
        """The sources that list the location of C{name} and do not hide it, best first."""
        return [source for source in self._in_order() if source.lists(name)]

    async def _ask_index(self, name: str) -> FileIndex:
        missing = self._missing.get(name)
        if missing is not None:
            if self._clock.seconds() < missing[0]:
                raise Refused(missing[1].reason, missing[1].text)
            del self._missing[name]
        try:
            index = await self._ask(name, FileAsk, _index_of)
        except Refused as refused:
            held = self._indexes.get(name)
            if refused.reason is Reason.NOT_READY and held is not None:
                # Nobody can tell now; the segments that are held are right for ever.
                return held.index
            self._indexes.drop(name)
            self._note_missing(name, refused)
            raise
        self._indexes.put(name, _HeldIndex(index, self._clock.seconds()))
        return index

    async def _ask_segment(self, key: tuple[str, int, int]) -> Segment:
        name, version, number = key
        index = await self.index(name)
        if index.version != version or not 0 <= number < len(index):
            raise Refused(Reason.NOT_FOUND, "the file has no such segment")
        segment = await self._ask(
            name,
            lambda request, remote: FileSegmentAsk(request, remote, version, number),
            lambda answer: _segment_of(answer, number, index.durations[number]),
        )
        self._segments.put(key, segment)
        return segment

    async def _ask(
        self, name: str, make: Callable[[int, str], Record], read: Callable[[Record], _Answer]
    ) -> _Answer:
        """Ask one source after the other.

        @param make: makes the record, given the number of the ask and the file's name at the source.
        @param read: takes from an answer what is wanted; raises L{SourceLostError} when it is of no use.
        @raise Refused: as the last source that could be asked said; NOT_READY when none could.
        """
        refusal: Refused | None = None
        lost = False
        for source in self._offering(name):
            try:
                return read(await source.link.ask(partial(_made, make, source.remote_name(name))))
            except Refused as refused:
                refusal = refused
            except SourceLostError as error:
                _log.debug(
                    "source {source} cannot be asked for file {name!r}: {error}",
                    source=source.address,
                    name=name,
                    error=error,
                )
                lost = True
        if refusal is None or lost:
            raise Refused(Reason.NOT_READY, "no source can be asked for the file now")
        raise refusal

    def _note_missing(self, name: str, refused: Refused) -> None:
        if refused.reason in (Reason.NOT_FOUND, Reason.UNSUPPORTED):
            if len(self._missing) >= MAX_MISSING:
                del self._missing[next(iter(self._missing))]
            self._missing[name] = (self._clock.seconds() + MISSING_SECONDS, refused)


def _made(make: Callable[[int, str], Record], remote_name: str, number: int) -> Record:
    return make(number, remote_name)


def _index_of(answer: Record) -> FileIndex:
    if not isinstance(answer, FileIndexed):
        raise SourceLostError("it answered something else")
    return answer.index


def _segment_of(answer: Record, number: int, duration: int) -> Segment:
    if not isinstance(answer, FileSegment):
        raise SourceLostError("it answered something else")
    try:
        segment = Segment.parse(answer.encoded)
    except RemoteProtocolError as error:
        raise SourceLostError(f"segment {number} came damaged: {error}") from error
    if (segment.number, segment.duration) != (number, duration):
        raise SourceLostError("it gave another segment")
    return segment
