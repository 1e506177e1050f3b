"""What a node must know of a media file to list its segments: a pure function of the file."""

from __future__ import annotations

from array import array
from itertools import accumulate

from attrs import field, frozen

from restreamer.media.track import Tracks


@frozen
class FileIndex:
    """A file as a sequence of segments, numbered from 0; treat the arrays as immutable.

    @ivar version: 64 bits drawn from the file's tables: another file of the same name has another one.
    @ivar start: ticks of the first segment. @ivar tracks: as in every segment.
    @ivar durations: ticks of each segment. @ivar sizes: bytes of each segment's frames.
    """

    version: int
    start: int
    tracks: Tracks
    durations: array[int] = field(repr=False)
    sizes: array[int] = field(repr=False)

    def __len__(self) -> int:
        return len(self.durations)

    def starts(self) -> list[int]:
        """Ticks of each segment's start, and the end of the last one."""
        return list(accumulate(self.durations, initial=self.start))

    @property
    def cost(self) -> int:
        """About how many bytes of memory it takes."""
        return 1000 + 8 * len(self.durations) + sum(300 + len(track.config) for track in self.tracks)
