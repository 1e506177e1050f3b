"""Copies sealed hours of streams to an object store, one hour at a time. Everything blocks.

An hour counts as copied when its data files, the object that says which they are, and the day's object have
been read back. What was copied is remembered beside the archive, so that nothing is sent twice; when that is
lost, the store itself tells.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable

from attrs import define

from restreamer.dvr.filesystem import Filesystem, replace_file
from restreamer.dvr.hour_file import data_name, day_folder
from restreamer.dvr.s3_client import ObjectMissingError, S3Bucket
from restreamer.dvr.s3_hour import (
    MAX_DAY_OBJECT,
    MAX_HOUR_OBJECT,
    CopiedFile,
    CopiedHour,
    data_object,
    day_object,
    decode_copied,
    encode_copied,
    hour_object,
)
from restreamer.dvr.store import Store
from restreamer.dvr.stream_store import StreamStore
from restreamer.dvr.summary import FileFacts, HourFacts, decode_summary, encode_summary, facts_of
from restreamer.errors import RemoteProtocolError
from restreamer.m4f.hour_index import HourBuilder, HourIndex

#: Beside the days of a stream: what was copied; behind it whereto.
MARKS = "@copied-"
_PIECE = 4 * 1024 * 1024


class UploadStoppedError(Exception):
    """The node ends."""


@define(eq=False)
class UploadCounters:
    """What was copied since the start.

    @ivar hours: those that had something new. @ivar bytes: of data files.
    """

    hours: int = 0
    files: int = 0
    bytes: int = 0


class HourUpload:
    """Copies hours to a bucket.

    @param pace: waits before so many bytes are sent; raises L{UploadStoppedError} when the node ends.
    @ivar counters: what was copied.
    """

    def __init__(self, bucket: S3Bucket, pace: Callable[[int], None] = lambda _: None) -> None:
        self.counters = UploadCounters()
        self._bucket = bucket
        self._pace = pace
        self._marks: dict[tuple[str, str], dict[int, HourFacts]] = {}
        self._lock = threading.Lock()
        where = hashlib.sha256(str(bucket.config).encode()).hexdigest()[:16]
        self._marks_name = f"{MARKS}{where}"

    def waiting(self, store: Store, name: str) -> list[HourFacts]:
        """The sealed hours of a stream that are not copied as they are now, oldest first.

        @raise OSError: the disk cannot be read.
        """
        marks = self._marks_of(store, name)
        with self._lock:
            return [each for each in store.stream(name).sealed() if marks.get(each.hour) != each]

    def is_copied(self, store: Store, name: str, hour: int) -> bool:
        """Whether all that lies here of an hour is in the object store, and was verified there.

        @raise OSError: the disk cannot be read.
        """
        facts = store.stream(name).sealed_hour(hour)
        marks = self._marks_of(store, name)
        with self._lock:
            return facts is not None and marks.get(hour) == facts

    def is_file_copied(self, store: Store, name: str, hour: int, file: FileFacts) -> bool:
        """Whether a data file is in the object store, whatever became of others of its hour since.

        @raise OSError: the disk cannot be read.
        """
        marks = self._marks_of(store, name)
        with self._lock:
            copied = marks.get(hour)
            return copied is not None and file in copied.files

    def copy(self, store: Store, name: str, facts: HourFacts) -> None:
        """Copy what the object store lacks of an hour.

        @raise ObjectStoreError: the store cannot take it. @raise OSError: the disk cannot be read.
        @raise restreamer.errors.Refused: nothing of the stream is here any more.
        """
        stream = store.stream(name)
        index = stream.hour(facts.hour)
        if not len(index):
            return
        copied = self.read_hour(name, facts.hour)
        missing = {row.file for row in index if copied is None or copied.index.find(row.number) is None}
        if missing:
            copied = self._add(store.files, stream, index, missing, copied)
            self._bucket.put(hour_object(name, facts.hour), encode_copied(copied))
            self.counters.hours += 1
        if copied is not None:
            sizes = {number: file.size for number, file in enumerate(copied.files)}
            self._put_day(name, facts_of(copied.index, sizes))
        self._mark(store, name, facts)

    def read_hour(self, name: str, hour: int) -> CopiedHour | None:
        """What the object store has of an hour; None: nothing, or nothing that can be read."""
        try:
            return decode_copied(self._bucket.get(hour_object(name, hour), MAX_HOUR_OBJECT), hour)
        except (ObjectMissingError, RemoteProtocolError):
            return None

    # Inside.

    def _add(
        self,
        files: Filesystem,
        stream: StreamStore,
        index: HourIndex,
        missing: Iterable[int],
        copied: CopiedHour | None,
    ) -> CopiedHour:
        """Send data files, and say what the hour is with them."""
        sent = list(copied.files) if copied is not None else []
        places: dict[int, int] = {}
        for number in sorted(missing):
            path = f"{stream.folder}/{day_folder(index.hour)}/{data_name(index.hour, number)}"
            file = self._send(files, stream.name, index.hour, path)
            if file not in sent:
                sent.append(file)
            places[number] = sent.index(file)
        builder = HourBuilder(index.hour)
        if copied is not None:
            builder.take(copied.index)
        for place, row in enumerate(index):
            if row.number in builder:
                continue
            at = row._replace(file=places[row.file])
            if at.offset + at.size > sent[at.file].size:
                raise OSError(f"segment {row.number} lies behind the end of its file")
            builder.add(at, index.tracks(row), index.runs[row.run], index.spans(place))
        return CopiedHour(builder.build(), tuple(sent))

    def _send(self, files: Filesystem, name: str, hour: int, path: str) -> CopiedFile:
        size = files.size(path)
        digest = hashlib.sha256()
        for offset in range(0, size, _PIECE):
            digest.update(files.read(path, offset, min(_PIECE, size - offset)))
        file = CopiedFile(size, digest.hexdigest())
        where = data_object(name, hour, file)

        def read(offset: int, length: int) -> bytes:
            data = files.read(path, offset, length)
            if len(data) != length:
                raise OSError("a data file became shorter")
            return data

        # An attempt before this one may have come so far.
        if not self._bucket.has(where, size, file.sha256):
            self._bucket.put_file(where, read, size, file.sha256, self._pace)
            self.counters.files += 1
            self.counters.bytes += size
        return file

    def _put_day(self, name: str, facts: HourFacts) -> None:
        where = day_object(name, facts.hour)
        whole = True
        try:
            day = {each.hour: each for each in decode_summary(self._bucket.get(where, MAX_DAY_OBJECT))}
        except (ObjectMissingError, RemoteProtocolError):
            whole = False
            day = self._rebuild_day(name, facts.hour)
        if not whole or day.get(facts.hour) != facts:
            day[facts.hour] = facts
            self._bucket.put(where, encode_summary(day.values()))

    def _rebuild_day(self, name: str, hour: int) -> dict[int, HourFacts]:
        """What the hours of a day hold, from their own objects."""
        first = hour - hour % 24
        found = {}
        for listed in self._bucket.names(f"{name}/{day_folder(hour)}/"):
            if not listed.name.endswith(".hour"):
                continue
            for each in range(first, first + 24):
                if listed.name == hour_object(name, each):
                    copied = self.read_hour(name, each)
                    if copied is not None and len(copied.index):
                        sizes = {number: file.size for number, file in enumerate(copied.files)}
                        found[each] = facts_of(copied.index, sizes)
        return found

    def _marks_of(self, store: Store, name: str) -> dict[int, HourFacts]:
        key = (store.root, name)
        with self._lock:
            held = self._marks.get(key)
        if held is None:
            held = {}
            try:
                data = store.files.read(f"{store.stream(name).folder}/{self._marks_name}")
                held = {each.hour: each for each in decode_summary(data)}
            except (FileNotFoundError, NotADirectoryError, RemoteProtocolError):
                pass
            with self._lock:
                held = self._marks.setdefault(key, held)
        return held

    def _mark(self, store: Store, name: str, facts: HourFacts) -> None:
        marks = self._marks_of(store, name)
        there = {each.hour for each in store.stream(name).sealed()}
        with self._lock:
            marks[facts.hour] = facts
            for hour in marks.keys() - there:
                del marks[hour]
            encoded = encode_summary(marks.values())
        if not store.taken:
            # It was let go meanwhile, and is not taken again for this.
            return
        try:
            store.check()
            replace_file(store.files, store.stream(name).folder, self._marks_name, [encoded])
        except OSError:
            # The object store tells it again after the next start.
            pass
