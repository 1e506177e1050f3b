"""What the parts that serve files need of where the files come from."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.segment import Segment
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks


class MediaFiles(Protocol):
    """Files by name: a location, C{/}, a path in it."""

    def takes(self, name: str) -> bool:
        """Whether C{name} lies in a location that is known here (whether there is such a file or not)."""
        ...

    def index(self, name: str) -> Awaitable[FileIndex]:
        """The segments of the file.

        @raise restreamer.errors.Refused: NOT_FOUND, UNSUPPORTED (a damaged file), NOT_READY (nobody who could
            tell is there now), OVERLOADED.
        """
        ...

    def segment(self, name: str, version: int, number: int) -> Awaitable[Segment]:
        """Segment C{number} of the file as long as it is of C{version}.

        @raise restreamer.errors.Refused: as L{index}.
        """
        ...


class Shelf(MediaFiles, Protocol):
    """Files with a memory of what was asked for."""

    def forget(self) -> None:
        """Give the memory of segments back."""
        ...


class InThread(Protocol):
    """Runs what blocks."""

    def __call__(self, call: Any, *args: Any) -> Awaitable[Any]:
        """The result of C{call(*args)}, made in a thread."""
        ...


class PackTs(Protocol):
    """Makes the MPEG-TS bytes of one segment, from nothing but its arguments."""

    def __call__(
        self, tracks: Tracks, frames: Sequence[Frame], *, title: str = "", discontinuity: bool = False
    ) -> bytes:
        """Mux a segment."""
        ...


def location_of(name: str, locations: Any) -> tuple[str, str] | None:
    """(location, path) of C{name}, of several locations that fit the longest; None when none does.

    @param locations: a container of location names.
    """
    location = name
    while True:
        location, slash, _ = location.rpartition("/")
        if not slash:
            return None
        if location in locations:
            path = name[len(location) + 1 :]
            return (location, path) if path else None
