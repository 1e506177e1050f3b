"""Indexes and holdings of several archives put together (pure). The first one is preferred."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from operator import is_

from attrs import frozen

from restreamer.dvr.seams import Holdings
from restreamer.dvr.spans import join_spans
from restreamer.errors import LocalProtocolError
from restreamer.logs import Logger
from restreamer.m4f.hour_index import HourBuilder, HourIndex
from restreamer.vod.keep import Kept

_log = Logger()

#: Unions kept, bytes and pieces.
_BYTES = 32 * 1024 * 1024
_PIECES = 2000


def unite_hours(hour: int, indexes: Sequence[HourIndex]) -> HourIndex:
    """The rows of all of them; of two with one number that of the index named first.

    Usually one has all that the others have: it is given as it is, so that it is cheap for whoever keeps it.
    What does not fit an hour is left out.
    """
    filled = [index for index in indexes if len(index)]
    if not filled:
        return indexes[0] if indexes else HourIndex(hour)
    first, *others = filled
    numbers = {row[0] for row in first.tuples()}
    lacking = [index for index in others if not numbers.issuperset([row[0] for row in index.tuples()])]
    if not lacking:
        return first
    together = HourBuilder(hour)
    try:
        for index in (first, *lacking):
            together.take(index)
    except LocalProtocolError as error:
        _log.warn("hour {hour} of an archive is shown in part: {error}", hour=hour, error=error)
    return together.build()


def unite_holdings(found: Sequence[Holdings], complete: bool) -> Holdings:
    """What all of them hold. @param complete: whether all who may hold something were asked."""
    if len(found) == 1 and found[0].complete == complete:
        return found[0]
    first = found[0]
    hours, spans = first.hours, first.spans
    if any(each.hours != hours for each in found):
        hours = tuple(sorted({hour for each in found for hour in each.hours}))
    if any(each.spans != spans for each in found):
        spans = join_spans([span for each in found for span in each.spans])
    return Holdings(
        hours=hours,
        spans=spans,
        size=max([each.size for each in found]),
        complete=complete and all(each.complete for each in found),
    )


@frozen(eq=False)
class _Union:
    parts: tuple[HourIndex, ...]
    index: HourIndex


class Unions:
    """Unions of hours that are made anew only when one of their parts is another one."""

    def __init__(self) -> None:
        self._kept: Kept[tuple[Hashable, int], _Union] = Kept(_BYTES, _PIECES, lambda each: each.index.cost)

    def unite(self, key: Hashable, hour: int, indexes: Sequence[HourIndex]) -> HourIndex:
        """See L{unite_hours}. @param key: whose hour it is."""
        if len(indexes) < 2:
            return unite_hours(hour, indexes)
        held = self._kept.get((key, hour))
        if held is None or len(held.parts) != len(indexes) or not all(map(is_, held.parts, indexes)):
            held = _Union(tuple(indexes), unite_hours(hour, indexes))
            self._kept.put((key, hour), held)
        return held.index

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
