"""The segments in the data files of one stream, read by their rows, and verified."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from functools import partial
from typing import Final

from restreamer.dvr.filesystem import Filesystem
from restreamer.dvr.heads import read_header
from restreamer.dvr.hour_file import MAX_HOUR_NUMBER, data_name, day_folder
from restreamer.dvr.stream_folder import StoreCounters
from restreamer.errors import Reason, Refused, RemoteProtocolError
from restreamer.m4f.hour_index import Row, hour_of
from restreamer.m4f.segment import Segment

#: What the system says of one place of a disk that works otherwise: what lay there is lost.
DAMAGED: Final = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.EILSEQ})


class SegmentFiles:
    """See the module. Everything blocks and is called in threads, with no lock.

    @param folder: of the stream. @ivar counters: what happened.
    """

    def __init__(self, files: Filesystem, folder: str, counters: StoreCounters) -> None:
        self.folder = folder
        self.counters = counters
        self._files = files

    def segment(self, row: Row) -> Segment:
        """The segment of a row, verified.

        @raise Refused: NOT_FOUND: it is there no more, or is damaged (counted), as where a sector is bad.
            NOT_READY: the disk fails.
        """
        try:
            encoded = self._read(row)
        except FileNotFoundError:
            raise Refused(Reason.NOT_FOUND, "the segment is not there any more") from None
        except OSError as error:
            self.counters.damaged += 1
            if error.errno in DAMAGED:
                raise Refused(Reason.NOT_FOUND, "the segment cannot be read from the disk") from error
            raise Refused(Reason.NOT_READY, "the disk cannot be read") from error
        try:
            segment = Segment.parse(encoded)
        except RemoteProtocolError:
            segment = None
        if segment is None or segment.number != row.number or segment.checksum != row.checksum:
            if len(encoded) == row.size:
                self.counters.damaged += 1
            raise Refused(Reason.NOT_FOUND, "the segment is damaged")
        return segment

    def headers(self, rows: Sequence[Row]) -> list[bytes | None]:
        """The headers of the segments of C{rows}, verified; None: it is there no more, or is damaged.

        @raise Refused: NOT_READY: the disk fails.
        """
        found: list[bytes | None] = []
        for row in rows:
            try:
                found.append(read_header(partial(self._read_at, row), row))
            except FileNotFoundError:
                found.append(None)
            except OSError as error:
                if error.errno in DAMAGED:
                    found.append(None)
                    continue
                raise Refused(Reason.NOT_READY, "the disk cannot be read") from error
        return found

    def _read(self, row: Row) -> bytes:
        return self._read_at(row, 0, row.size)

    def _read_at(self, row: Row, offset: int, size: int) -> bytes:
        hour = hour_of(row.start)
        if not 0 <= hour < MAX_HOUR_NUMBER:
            raise FileNotFoundError(row.start)
        path = f"{self.folder}/{day_folder(hour)}/{data_name(hour, row.file)}"
        return self._files.read(path, row.offset + offset, size)
