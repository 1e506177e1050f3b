"""The files of this node: opened on request, cut by L{restreamer.vod.plan}, read in threads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from attrs import define, frozen

from restreamer.errors import MediaError, Reason, Refused
from restreamer.logs import Logger
from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.segment import Segment
from restreamer.mp4.reader import Mp4Reader
from restreamer.seams import Clock
from restreamer.sources.vod_path import VodPathError, check_vod_path, open_vod_file
from restreamer.vod.keep import Kept, SingleFlight
from restreamer.vod.plan import FilePlan, build_segment, plan_file
from restreamer.vod.seams import InThread, location_of

_log = Logger()

#: Plans of files kept: bytes and files.
PLAN_BYTES = 64 * 1024 * 1024
PLAN_FILES = 500
#: Canonical segments kept, bytes and pieces.
SEGMENT_BYTES = 32 * 1024 * 1024
SEGMENT_PIECES = 2000
#: Seconds after which an opened file is looked at again: it may have been replaced.
RECHECK_SECONDS = 2.0
#: Seconds for which a refusal stands, and how many are kept.
REFUSED_SECONDS = 2.0
MAX_REFUSED = 1000


@frozen
class Identity:
    """What tells one file from another that took its place."""

    device: int
    inode: int
    size: int
    mtime: int


@define
class OpenedFile:
    """A file whose tables were read.

    @ivar checked: clock seconds at which C{identity} was seen last.
    """

    identity: Identity
    plan: FilePlan
    checked: float


def _identity(fd: int) -> Identity:
    facts = os.fstat(fd)
    return Identity(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def read_plan(
    storages: Sequence[str], path: str, segment_ticks: int, known: Identity | None
) -> tuple[Identity, FilePlan | None]:
    """Open a file and cut it; no plan when it is still C{known}. Blocks.

    @raise VodPathError: there is no such file, or it may not be opened.
    @raise MediaError: it is damaged, or not one we play. @raise OSError: it cannot be read.
    """
    fd = open_vod_file(storages, path)
    try:
        identity = _identity(fd)
        if identity == known:
            return identity, None
        reader = Mp4Reader(lambda at, size: os.pread(fd, size, at), identity.size)
        return identity, plan_file(reader, identity.size, segment_ticks)
    finally:
        os.close(fd)


def read_segment(
    storages: Sequence[str], path: str, identity: Identity, plan: FilePlan, number: int
) -> Segment | None:
    """Read one segment; None when the file is another one by now. Blocks.

    @raise VodPathError, MediaError, OSError: as L{read_plan}.
    """
    fd = open_vod_file(storages, path)
    try:
        if _identity(fd) != identity:
            return None
        return build_segment(plan, number, lambda at, size: os.pread(fd, size, at))
    finally:
        os.close(fd)


class Library:
    """The files of this node's C{vod} blocks; a L{restreamer.vod.seams.MediaFiles}.

    @param segment_ticks: how long a segment should be.
    """

    def __init__(self, clock: Clock, in_thread: InThread, segment_ticks: int) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._segment_ticks = segment_ticks
        self._locations: dict[str, tuple[str, ...]] = {}
        self._opened: Kept[str, OpenedFile] = Kept(PLAN_BYTES, PLAN_FILES, lambda held: held.plan.cost)
        self._opening: SingleFlight[str, OpenedFile] = SingleFlight()
        self._segments: Kept[tuple[str, int, int], Segment] = Kept(
            SEGMENT_BYTES, SEGMENT_PIECES, lambda held: len(held.encoded)
        )
        self._reading: SingleFlight[tuple[str, int, int], Segment] = SingleFlight()
        self._refused: dict[str, tuple[float, Refused]] = {}

    @property
    def locations(self) -> tuple[str, ...]:
        """Names of the locations."""
        return tuple(self._locations)

    def set_locations(self, locations: Mapping[str, Sequence[str]]) -> None:
        """The locations and their folders from now on."""
        fresh = {name: tuple(storages) for name, storages in locations.items()}
        if fresh != self._locations:
            self._locations = fresh
            self._opened.clear()
            self._segments.clear()
            self._refused.clear()

    def takes(self, name: str) -> bool:
        """Whether C{name} lies in a location of this node."""
        return location_of(name, self._locations) is not None

    async def index(self, name: str) -> FileIndex:
        """See L{restreamer.vod.seams.MediaFiles.index}."""
        return (await self._open(name)).plan.index

    async def segment(self, name: str, version: int, number: int) -> Segment:
        """See L{restreamer.vod.seams.MediaFiles.segment}."""
        key = (name, version, number)
        held = self._segments.get(key)
        if held is None:
            held = await self._reading.run(key, lambda: self._read(key))
        return held

    def forget(self) -> None:
        """Give the memory of segments back."""
        self._segments.clear()

    async def _open(self, name: str) -> OpenedFile:
        """The file as it is now, or was a moment ago."""
        now = self._clock.seconds()
        refused = self._refused.get(name)
        if refused is not None:
            if now < refused[0]:
                raise Refused(refused[1].reason, refused[1].text)
            del self._refused[name]
        held = self._opened.get(name)
        if held is not None and now - held.checked < RECHECK_SECONDS:
            return held
        return await self._opening.run(name, lambda: self._look(name, held))

    async def _look(self, name: str, held: OpenedFile | None) -> OpenedFile:
        try:
            storages, path = self._place(name)
            known = held.identity if held is not None else None
            identity, plan = await self._in_thread(read_plan, storages, path, self._segment_ticks, known)
        except (VodPathError, MediaError, OSError) as error:
            self._opened.drop(name)
            raise self._refuse(name, error) from error
        now = self._clock.seconds()
        if plan is None:
            assert held is not None
            held.checked = now
            return held
        held = OpenedFile(identity, plan, now)
        if location_of(name, self._locations) is not None:
            self._opened.put(name, held)
        return held

    async def _read(self, key: tuple[str, int, int]) -> Segment:
        name, version, number = key
        opened = await self._open(name)
        plan = opened.plan
        if plan.index.version != version or not 0 <= number < len(plan.index):
            raise Refused(Reason.NOT_FOUND, "the file has no such segment")
        try:
            storages, path = self._place(name)
            segment: Segment | None = await self._in_thread(
                read_segment, storages, path, opened.identity, plan, number
            )
        except (VodPathError, MediaError, OSError) as error:
            raise self._refuse(name, error) from error
        if segment is None:
            self._opened.drop(name)
            raise Refused(Reason.NOT_FOUND, "the file was replaced")
        self._segments.put(key, segment)
        return segment

    def _place(self, name: str) -> tuple[tuple[str, ...], str]:
        found = location_of(name, self._locations)
        if found is None:
            raise VodPathError(f"no vod takes {name!r}")
        check_vod_path(found[1])
        return self._locations[found[0]], found[1]

    def _refuse(self, name: str, error: Exception) -> Refused:
        """What a viewer is told; what it tells to an operator goes to the log."""
        if isinstance(error, VodPathError):
            _log.debug("file {name!r}: {error}", name=name, error=error)
            refused = Refused(Reason.NOT_FOUND, "no such file")
        elif isinstance(error, MediaError):
            _log.warn("file {name!r} cannot be played: {error}", name=name, error=error)
            refused = Refused(Reason.UNSUPPORTED, f"the file cannot be played: {error}")
        else:
            _log.warn("file {name!r} cannot be read: {error}", name=name, error=error)
            refused = Refused(Reason.NOT_READY, "the file cannot be read now")
        if len(self._refused) >= MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[name] = (self._clock.seconds() + REFUSED_SECONDS, refused)
        return refused
