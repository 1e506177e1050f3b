"""Deletes from an object store what is older than the depth of what was copied there. Everything blocks.

Hours go as a whole, the oldest first. What a day says that it holds is written before anything is deleted, so
nobody is shown what is about to go; it goes itself when nothing is left of its day, so what an end of the
node left behind is found again. Ages are counted by the clock of the object store too: one of this node that
is ahead deletes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from attrs import define, field, frozen

from restreamer.dvr.hour_file import day_folder
from restreamer.dvr.s3_client import ObjectMissingError, S3Bucket
from restreamer.dvr.s3_hour import MAX_DAY_OBJECT, day_object, days_prefix, first_hour
from restreamer.dvr.seams import Span
from restreamer.dvr.summary import HourFacts, decode_summary, encode_summary
from restreamer.errors import RemoteProtocolError
from restreamer.m4f.hour_layout import HOUR_TICKS

HOUR_SECONDS = 3600
DAY_HOURS = 24
#: Objects that are deleted in one go, of all streams: copying goes on between.
MAX_OBJECTS = 500


@frozen
class Aged:
    """A stream whose copies are deleted for their age.

    @ivar depth: seconds. @ivar locks: the ranges that stay, asked in the thread.
    """

    name: str
    depth: int
    locks: Callable[[], Sequence[Span]] = field(eq=False)


@define(eq=False)
class ExpiryCounters:
    """What was deleted since the start."""

    hours: int = 0
    objects: int = 0


class ObjectExpiry:
    """See the module.

    @param pace: called before each request; raises when the node ends. @param utc: seconds since the epoch.
    """

    def __init__(
        self,
        bucket: S3Bucket,
        pace: Callable[[int], None] = lambda _: None,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self.counters = ExpiryCounters()
        self._bucket = bucket
        self._pace = pace
        self._utc = utc
        #: Up to which hour a stream was looked at to the end.
        self._done: dict[str, int] = {}
        self._left = 0

    def expire(self, streams: Iterable[Aged]) -> bool:
        """Delete what is over, as much as one go may.

        @return: whether more is to be deleted.
        @raise restreamer.dvr.s3_client.ObjectStoreError: the store does not let us.
        """
        self._left = MAX_OBJECTS
        streams = list(streams)
        names = {each.name for each in streams}
        self._done = {name: hour for name, hour in self._done.items() if name in names}
        for each in streams:
            # Once for each hour: the clock of the store is asked only then.
            if self._done.get(each.name) == self._first_kept(self._utc(), each.depth):
                continue
            kept = self._of_stream(each)
            if kept is None:
                return True
            self._done[each.name] = kept
        return False

    # Inside.

    def _first_kept(self, utc: float, depth: int) -> int:
        """The first hour of which something is younger than C{depth}."""
        return int(utc - depth) // HOUR_SECONDS

    def _of_stream(self, stream: Aged) -> int | None:
        """@return: the first hour that is kept; None: there is more to be deleted before it."""
        self._pace(0)
        listed = self._bucket.names(days_prefix(stream.name))
        now = self._bucket.utc
        if now is None:
            # A store that does not say what time it is: nothing is deleted by one clock alone.
            return self._first_kept(self._utc(), stream.depth)
        own = self._first_kept(self._utc(), stream.depth)
        kept = min(own, self._first_kept(now, stream.depth))
        locks: Sequence[Span] | None = None
        for each in listed:
            first = first_hour(stream.name, each.name)
            if first is None or first >= kept:
                continue
            if locks is None:
                locks = stream.locks()
            if not self._of_day(stream.name, first, kept, locks):
                return None
        return kept

    def _of_day(self, name: str, first: int, kept: int, locks: Sequence[Span]) -> bool:
        """@return: whether all is deleted that is over."""
        self._pace(0)
        where = day_object(name, first)
        try:
            held = decode_summary(self._bucket.get(where, MAX_DAY_OBJECT))
        except ObjectMissingError:
            held = []
        except RemoteProtocolError:
            # What is locked of it cannot be told apart from what is not listed, and need not be: see below.
            held = []
        over = {hour for hour in range(first, min(first + DAY_HOURS, kept)) if not _touches(hour, locks)}
        left: list[HourFacts] = [each for each in held if each.hour not in over]
        if len(left) != len(held):
            self._bucket.put(where, encode_summary(left))
            self.counters.hours += len(held) - len(left)
        found = self._bucket.names(f"{name}/{day_folder(first)}/")
        # What says which data files are an hour goes before them.
        doomed = sorted(
            [each.name for each in found if _hour_of_object(each.name, first) in over],
            key=lambda object_name: not object_name.endswith(".hour"),
        )
        for object_name in doomed:
            if self._left <= 0:
                return False
            self._pace(0)
            self._bucket.delete(object_name)
            self._left -= 1
            self.counters.objects += 1
        if not left and len(doomed) == len(found) and first + DAY_HOURS <= kept:
            self._bucket.delete(where)
        return True


def _touches(hour: int, locks: Sequence[Span]) -> bool:
    start = hour * HOUR_TICKS
    return any(lock.start < start + HOUR_TICKS and start < lock.end for lock in locks)


def _hour_of_object(name: str, first: int) -> int | None:
    """The hour that an object in the folder of a day is of, by the two digits that its name begins with."""
    digits = name.rpartition("/")[2][:2]
    return first + int(digits) if digits.isascii() and digits.isdigit() and int(digits) < DAY_HOURS else None
