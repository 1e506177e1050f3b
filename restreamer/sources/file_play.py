"""The blocking half of a file input: an MP4 file read in slices, round and round."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.mp4.reader import Mp4Reader


class FilePlay:
    """An open MP4 file; every method blocks and is called from one thread at a time.

    @ivar tracks: what the file holds. @ivar skipped: FourCC of tracks left out.
    @ivar loop_duration: ticks one round takes.
    """

    tracks: Tracks
    skipped: tuple[str, ...]
    loop_duration: int

    def __init__(self, opener: Callable[[], int], loop: bool) -> None:
        """Open the file and read its tables.

        @param opener: gives a file descriptor, which is then ours.
        @raise MediaError: the file cannot be played. Whatever C{opener} raises goes through, and L{OSError}.
        """
        self._fd = opener()
        try:
            reader = Mp4Reader(self._read_at, os.fstat(self._fd).st_size)
        except BaseException:
            os.close(self._fd)
            raise
        self.tracks = reader.tracks
        self.skipped = reader.skipped
        self.loop_duration = reader.duration
        self._slices = self._rounds(reader, loop)

    def _read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    @staticmethod
    def _rounds(reader: Mp4Reader, loop: bool) -> Iterator[list[Frame]]:
        shift = 0
        yield from reader.batches(shift)
        while loop:
            shift += reader.duration
            yield from reader.batches(shift)

    def read(self) -> list[Frame]:
        """The next slice of frames, in order of DTS from tick 0 on.

        @return: empty at the end of a file that does not loop.
        @raise MediaError: the file changed under us or is broken here.
        @raise OSError: it cannot be read.
        """
        return next(self._slices, [])

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
