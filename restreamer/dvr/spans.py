"""Ranges without a gap (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from restreamer.dvr.seams import Span
from restreamer.m4f.hour_index import HourIndex
from restreamer.media.timebase import TICKS_PER_SECOND

#: Pieces of an archive less than this apart are one, ticks.
JOINED = TICKS_PER_SECOND


def join_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The union of C{spans}, in order; what is less than L{JOINED} apart is one."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda each: each.start):
        if joined and span.start <= joined[-1].end + JOINED:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return tuple(joined)


def spans_of(index: HourIndex) -> tuple[Span, ...]:
    """What an index holds."""
    return join_spans(_runs_of_rows(index))


def _runs_of_rows(index: HourIndex) -> Iterator[Span]:
    """Rows that follow each other, put together; in the order of their numbers."""
    begin = end = None
    for row in index.tuples():
        start, after = row[1], row[1] + row[2]
        if begin is None or end is None:
            begin, end = start, after
        elif begin <= start <= end + JOINED:
            end = max(end, after)
        else:
            yield Span(begin, end)
            begin, end = start, after
    if begin is not None and end is not None:
        yield Span(begin, end)
