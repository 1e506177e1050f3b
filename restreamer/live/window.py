"""The live window of a stream: its newest closed segments, and the numbers that are missing between them.

Entries are ordered by segment number, without holes: a number nobody closed is a L{WindowGap}. The
playlists list the newest C{segment_count} entries; a few older segments stay retained, unlisted, for
players that are late (RFC 8216 section 6.2.2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, evolve, field, frozen

from restreamer.live.stretch import first_stretch, next_stretch
from restreamer.m4f.records import RunInfo, Stretch
from restreamer.m4f.segment import Segment, SegmentOpening
from restreamer.media.timebase import TICKS_PER_SECOND

#: Closed segments kept beyond the listed ones.
HIDDEN_SEGMENTS = 2
#: Target durations that a playlist lasts at least (RFC 8216 section 6.2.2: segments leave it only then).
TARGETS_LISTED = 3
#: Entries that are listed for that at most: very short segments are an encoder that comes and goes.
MAX_LISTED = 100
#: What a segment may last beyond segment_duration: EXT-X-TARGETDURATION = segment_duration + this, seconds.
TARGET_MARGIN = 2


#: Choices of several tracks that a segment is kept in at once, beside all tracks together and single ones.
MAX_PACKAGES = 16


@frozen
class WindowGap:
    """A number that nobody closed (an outage): EXT-X-GAP in playlists.

    @ivar number: the missing number; @ivar start, @ivar duration: its share of the outage, in ticks.
    @ivar discontinuity_sequence: that of the segment before.
    """

    number: int
    start: int
    duration: int
    discontinuity_sequence: int


@define(eq=False)
class WindowSegment:
    """A closed segment and what was packaged from it so far.

    @ivar segment: the canonical segment; @ivar run: the run it belongs to.
    @ivar target: seconds EXT-X-TARGETDURATION must be at least.
    @ivar discontinuity, @ivar discontinuity_sequence: what is shown of it: it may differ from what the
        canonical bytes say after a switch to another run (L{LiveWindow.shown}).
    """

    segment: Segment
    run: RunInfo
    target: int
    discontinuity: bool
    discontinuity_sequence: int
    _packages: dict[str, bytes] = field(factory=dict, init=False)
    _chosen: dict[str, bytes] = field(factory=dict, init=False)

    @property
    def number(self) -> int:
        """The segment's number."""
        return self.segment.number

    @property
    def stretch(self) -> Stretch | None:
        """What it belongs to; of a segment in a window never None."""
        return self.run.stretch

    @property
    def start(self) -> int:
        """The segment's start in ticks."""
        return self.segment.start

    @property
    def duration(self) -> int:
        """The segment's duration in ticks."""
        return self.segment.duration

    def packaged(self, container: str, make: Callable[[Segment], bytes], chosen: bool = False) -> bytes:
        """The segment in C{container}, made by C{make} at the first request and shared after that.

        Of very many choices of tracks the one not asked for longest is made again when it is asked for.
        @param chosen: the form is of tracks that viewers chose. The others are few, and stay.
        """
        packages = self._chosen if chosen else self._packages
        packed = packages.get(container)
        if packed is None:
            if chosen and len(packages) >= MAX_PACKAGES:
                del packages[next(iter(packages))]
            packed = packages[container] = make(self.segment)
        elif chosen:
            packages[container] = packages.pop(container)
        return packed


WindowEntry = WindowSegment | WindowGap

#: Most bytes of segments a window holds, and how many segments it holds whatever their size: a publisher that
#: sends much more than its timestamps say must not fill the memory.
MAX_WINDOW_BYTES = 64 * 1024 * 1024
MIN_SEGMENTS = 3

#: Numbers so far below the newest one held are of another grid (segment_duration was raised, a node lost its
#: state): the window is begun anew instead of waiting until they have caught up.
UNRELATED = 1000

#: Segments kept aside at most, because their numbers are taken.
MAX_ASIDE = 2


def _in_stretch(run: RunInfo, stretch: Stretch | None) -> RunInfo:
    return run if stretch == run.stretch else evolve(run, stretch=stretch)


@define(eq=False)
class LiveWindow:
    """The newest closed segments of one stream.

    @ivar segment_count: how many entries playlists list at least; they are more where these would last less
        than L{TARGETS_LISTED} target durations.
    @ivar version: rises at every change; the key for rendered playlists.
    @ivar repeats: segments refused because their number was already closed (first wins).
    @ivar mismatches: those among them whose bytes differed.
    @ivar aside: closed segments whose number is taken by one of another run, oldest first: not listed, kept
        for nodes that missed them.
    """

    segment_count: int
    version: int = field(default=0, init=False)
    repeats: int = field(default=0, init=False)
    mismatches: int = field(default=0, init=False)
    entries: tuple[WindowEntry, ...] = field(default=(), init=False)
    aside: tuple[WindowSegment, ...] = field(default=(), init=False)
    _all: deque[WindowEntry] = field(factory=deque, init=False)
    _front: int = field(default=0, init=False)
    _by_number: dict[int, WindowSegment] = field(factory=dict, init=False)

    @property
    def target_duration(self) -> int:
        """Seconds for EXT-X-TARGETDURATION: the largest of the segments held."""
        return max((entry.target for entry in self._by_number.values()), default=0)

    @property
    def last(self) -> WindowSegment | None:
        """The newest closed segment."""
        newest = self._all[-1] if self._all else None
        return newest if isinstance(newest, WindowSegment) else None

    @property
    def last_number(self) -> int | None:
        """Number of the newest closed segment."""
        return self._all[-1].number if self._all else None

    @property
    def retained(self) -> tuple[WindowSegment, ...]:
        """Every closed segment held, listed or not, oldest first."""
        return tuple(entry for entry in self._all if isinstance(entry, WindowSegment))

    @property
    def everything(self) -> tuple[WindowSegment, ...]:
        """What is retained and what is aside, by number; of two of one number the one aside is the later."""
        if not self.aside:
            return self.retained
        return tuple(sorted((*self.retained, *self.aside), key=lambda entry: entry.number))

    def of_run(self, run_id: int) -> list[WindowSegment]:
        """The closed segments of a run, retained or aside, newest first."""
        return [entry for entry in reversed(self.everything) if entry.run.run_id == run_id]

    def find(self, number: int) -> WindowSegment | None:
        """The closed segment of that number, if it is still held."""
        return self._by_number.get(number)

    def shown(self, segment: Segment | SegmentOpening, run: RunInfo) -> tuple[bool, int, RunInfo]:
        """What is shown of a segment of C{run} that follows the newest one before its number.

        The discontinuity sequence counts what viewers of this window met. Of the run of the entry before it
        rises with each flagged segment; where the run changes, the segment is shown as a discontinuity
        whatever its bytes say. For a publisher that comes back at its own node this is what they say, too.
        @return: discontinuity, discontinuity sequence, and the run with C{discontinuities} and C{stretch} to
            match.
        """
        number = segment.number
        before = next((each for each in reversed(self._by_number.values()) if each.number < number), None)
        if before is None:
            breaks = segment.discontinuity
            run = _in_stretch(run, first_stretch(segment, run, breaks))
            return breaks, max(0, segment.discontinuity_sequence + run.discontinuities), run
        breaks = segment.discontinuity or before.run.run_id != run.run_id
        sequence = before.discontinuity_sequence + breaks
        more = sequence - segment.discontinuity_sequence
        if more != run.discontinuities:
            run = evolve(run, discontinuities=more)
        return (
            breaks,
            sequence,
            _in_stretch(run, next_stretch(segment, before.stretch, before.number, breaks)),
        )

    def add(self, segment: Segment, run: RunInfo, segment_duration: int) -> WindowSegment | None:
        """Take a newly closed segment.

        @param segment_duration: the stream's D in ticks, which fixes the target duration.
        @return: its entry, or None when its number is not above the newest one (first wins; counted).
        """
        last = self._all[-1] if self._all else None
        if last is not None and segment.number <= last.number:
            self._repeated(segment)
            self._set_aside(segment, run, segment_duration)
            return None
        if last is not None and segment.number > last.number + 1:
            self._bridge(last, segment)
        entry = self._entry(segment, run, segment_duration)
        self._all.append(entry)
        self._by_number[segment.number] = entry
        self._trim()
        return entry

    def fill(self, segment: Segment, run: RunInfo, segment_duration: int) -> WindowSegment | None:
        """Take a closed segment that comes out of its turn: into the gap its number left, or at the end.

        @return: its entry, or None when there is no place for it (it is held already: counted; or the window
            has moved past it, or began behind it).
        """
        newest = self.last_number
        if newest is None or segment.number > newest:
            return self.add(segment, run, segment_duration)
        place = next((at for at, each in enumerate(self._all) if each.number == segment.number), None)
        if place is None or isinstance(self._all[place], WindowSegment):
            self._repeated(segment)
            self._set_aside(segment, run, segment_duration)
            return None
        entry = self._entry(segment, run, segment_duration)
        self._all[place] = entry
        held = [*self._by_number.values(), entry]
        self._by_number = {each.number: each for each in sorted(held, key=lambda each: each.number)}
        self._mend(entry)
        self._trim()
        return entry

    def _entry(self, segment: Segment, run: RunInfo, segment_duration: int) -> WindowSegment:
        # A segment of an earlier run may be longer than this run's D allows: round half up, as players do.
        rounded = (2 * segment.duration + TICKS_PER_SECOND) // (2 * TICKS_PER_SECOND)
        target = max(-(-segment_duration // TICKS_PER_SECOND) + TARGET_MARGIN, rounded)
        discontinuity, sequence, run = self.shown(segment, run)
        return WindowSegment(segment, run, target, discontinuity, sequence)

    def _mend(self, before: WindowSegment) -> None:
        """The gap before the next segments is filled: they go on with what C{before} is part of."""
        while (entry := self._by_number.get(before.number + 1)) is not None:
            stretch = next_stretch(entry.segment, before.stretch, before.number, entry.discontinuity)
            if stretch == entry.stretch:
                return
            entry.run = _in_stretch(entry.run, stretch)
            before = entry

    def _repeated(self, segment: Segment) -> None:
        self.repeats += 1
        held = self._by_number.get(segment.number)
        if held is not None and held.segment.checksum != segment.checksum:
            self.mismatches += 1

    def _set_aside(self, segment: Segment, run: RunInfo, segment_duration: int) -> None:
        """Keep a segment whose number another run's has."""
        held = self._by_number.get(segment.number)
        if held is None or held.run.run_id == run.run_id:
            return
        others = [
            each for each in self.aside if (each.number, each.run.run_id) != (segment.number, run.run_id)
        ]
        self.aside = (*others, self._entry(segment, run, segment_duration))[-MAX_ASIDE:]

    def clear(self) -> None:
        """Forget everything (the stream's content was replaced by an unrelated one)."""
        self.aside = ()
        self._all.clear()
        self._by_number.clear()
        self._front = 0
        self._trim()

    def _bridge(self, last: WindowEntry, segment: Segment) -> None:
        """List the numbers missing between C{last} and C{segment}, as many as the window can hold."""
        self._all.extend(self._gaps(last, segment.number, segment.start))

    def gaps_before(self, number: int, start: int) -> list[WindowGap]:
        """What is missing between the newest entry and a segment C{number} that starts at C{start}."""
        return self._gaps(self._all[-1], number, start) if self._all else []

    def _gaps(self, last: WindowEntry, number: int, start: int) -> list[WindowGap]:
        missing = number - last.number - 1
        if missing <= 0:
            return []
        lost_from = last.start + last.duration
        share = max(0, start - lost_from) // missing
        longest = max(last.duration, TICKS_PER_SECOND)
        # As many as may be listed at most: with fewer what is before them could be listed without them.
        most = max(self.segment_count, MAX_LISTED)
        return [
            WindowGap(
                last.number + 1 + index,
                lost_from + index * share,
                min(share, longest) or longest,
                last.discontinuity_sequence,
            )
            for index in range(max(0, missing - most), missing)
        ]

    def listed_count(self) -> int:
        """How many entries are listed."""
        left = TARGETS_LISTED * self.target_duration * TICKS_PER_SECOND
        count = 0
        for entry in reversed(self._all):
            if count >= self.segment_count and (left <= 0 or count >= MAX_LISTED):
                return count
            left -= entry.duration
            count += 1
        return max(self.segment_count, min(MAX_LISTED, count))

    def _trim(self) -> None:
        count = self.listed_count()
        keep = count + HIDDEN_SEGMENTS
        size = sum(len(entry.segment.encoded) for entry in self._by_number.values())
        while len(self._all) > keep or (size > MAX_WINDOW_BYTES and len(self._by_number) > MIN_SEGMENTS):
            gone = self._all.popleft()
            held = self._by_number.pop(gone.number, None)
            if held is not None:
                size -= len(held.segment.encoded)
        while self._all and isinstance(self._all[0], WindowGap):
            self._all.popleft()
        if self.aside:
            self.aside = tuple(entry for entry in self.aside if entry.number in self._by_number)
        listed = list(self._all)[-count:]
        # A playlist never gets an entry back in front (RFC 8216 section 6.2.2): more of them come at the end.
        while listed and (isinstance(listed[0], WindowGap) or listed[0].number < self._front):
            del listed[0]
        if listed:
            self._front = listed[0].number
        self.entries = tuple(listed)
        self.version += 1
