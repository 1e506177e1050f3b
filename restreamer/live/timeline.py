"""From a publisher's own clock to UTC ticks: anchored once per run, kept monotonic, drift measured.

The first frame of a run is anchored to UTC as it arrives, or where the publisher says that it belongs if that
is plausible; every later frame keeps its distance to it. What
can go wrong with a publisher's clock, and what happens:

 - a timestamp that goes back a little (rounding, interleaving): lifted to just after the track's last
   one, PTS kept where it can be;
 - a jump of a track (back by more than a second, or ahead of the time that really passed by more than five
   seconds): a new anchor, and the frame begins a segment marked as a discontinuity. The other tracks follow
   to the new anchor as each of them jumps; until then their late frames keep the anchor before;
 - tracks that were never on one clock (audio ten seconds ahead of the video): each keeps an anchor of its
   own, after one discontinuity;
 - a clock that runs slow or stood still (our lag behind UTC never falls under five seconds for half a
   minute): a new anchor at the next segment boundary, again marked;
 - a track that falls half a minute behind the newest one: a new anchor, marked;
 - a clock that runs ahead (a file sent as fast as the link takes it): the publisher is slowed down.

PTS is never before DTS and at most L{LONGEST_DELAY} after it.
"""

from __future__ import annotations

from attrs import define, field

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND

BACK_JUMP = 1 * TICKS_PER_SECOND
AHEAD_JUMP = 5 * TICKS_PER_SECOND
#: How far the first frame of a track may be from the run's anchor and still be of the same clock.
TOGETHER = 5 * TICKS_PER_SECOND
DRIFT_LIMIT = 5 * TICKS_PER_SECOND
#: How far behind and ahead of its arrival a frame may be anchored because the publisher says so.
DATED_BEHIND = 2 * TICKS_PER_SECOND
DATED_AHEAD = TICKS_PER_SECOND // 2
DRIFT_WINDOW = 30 * TICKS_PER_SECOND
#: How far a track may fall behind the newest frame of the run.
TRACK_LAG = 30 * TICKS_PER_SECOND
#: How far a publisher may be ahead of UTC before it is slowed down.
LEAD_LIMIT = 5 * TICKS_PER_SECOND
#: Largest composition offset that is believed.
LONGEST_DELAY = 10 * TICKS_PER_SECOND
#: Anchors lie on whole 0.1 ms, so that times in milliseconds (RTMP) and at the usual frame rates are whole
#: microseconds. Browsers count in those: with a rest that they round once up and once down, the first picture
#: of a player that begins at zero lies a microsecond before it, and a whole segment is thrown away.
ANCHOR_GRID = TICKS_PER_SECOND // 10_000


@define(eq=False)
class _Anchor:
    """A distance from a publisher's clock to UTC; C{newest} source time seen with it, and when."""

    offset: int
    newest: int
    seen_at: int


@define(eq=False)
class _TrackClock:
    """Where a track is: its anchor, newest source time and when that came, last DTS given."""

    anchor: _Anchor
    source: int
    seen_at: int
    last: int | None = None


@define
class Timeline:
    """Maps the frames of one run.

    @ivar lead: ticks by which the newest frame is ahead of UTC (negative: behind).
    @ivar anchors: how often the clock was anchored (1 for an undisturbed run).
    @ivar lifted: frames whose time was lifted to keep DTS rising.
    @ivar told: ticks from the publisher's clock to UTC, as the publisher says; None: it says nothing. New
        anchors heed it, no other frame does.
    @ivar earliest: UTC ticks before which nothing is anchored.
    """

    lead: int = field(default=0, init=False)
    anchors: int = field(default=0, init=False)
    lifted: int = field(default=0, init=False)
    told: int | None = field(default=None, init=False)
    earliest: int = field(default=0, init=False)
    _anchor: _Anchor | None = field(default=None, init=False)
    _tracks: dict[int, _TrackClock] = field(factory=dict, init=False)
    _newest: int = field(default=0, init=False)
    _drift_since: int = field(default=0, init=False)
    _least_lag: int = field(default=0, init=False)
    _usual_lag: int = field(default=0, init=False)

    def map(self, frame: Frame, now: int) -> tuple[Frame, bool]:
        """The frame in UTC.

        @param frame: with times of the publisher's clock, in ticks, unwrapped.
        @param now: UTC ticks of its arrival.
        @return: the frame with UTC times, and whether a discontinuity begins with it (never for the first).
        """
        source = frame.dts
        track = self._tracks.get(frame.track_id)
        broken = False
        if track is None or not self._goes_on(track, source, now):
            track, broken = self._place(frame.track_id, track, source, now)
        anchor = track.anchor
        dts = source + anchor.offset
        cts = frame.cts
        last = track.last
        if last is not None and dts <= last:
            cts -= last + 1 - dts
            dts = last + 1
            self.lifted += 1
        if cts < 0:
            cts = 0
        elif cts > LONGEST_DELAY:
            cts = LONGEST_DELAY
        track.last = dts
        if source >= track.source:
            track.source = source
            track.seen_at = now
            if source >= anchor.newest:
                anchor.newest = source
                anchor.seen_at = now
        if dts > self._newest:
            self._newest = dts
        lag = now - self._newest
        if lag < self._least_lag:
            self._least_lag = lag
        self.lead = -lag
        return Frame(frame.track_id, dts, cts, frame.key, frame.data), broken

    def boundary(self, now: int) -> bool:
        """At a segment boundary: whether the run has fallen so far behind UTC that it must be anchored anew.

        When true, the frame that opens the segment has to be mapped again with L{reanchor}.
        """
        if now - self._drift_since < DRIFT_WINDOW:
            return False
        behind = self._least_lag - self._usual_lag
        self._drift_since = now
        self._least_lag = now - self._newest
        return behind > DRIFT_LIMIT

    def reanchor(self, frame: Frame, source_dts: int, now: int) -> Frame:
        """Anchor the clock again at a mapped frame whose source time was C{source_dts}.

        All tracks move by the same distance.
        """
        begin = self._begin(source_dts, now)
        track = self._tracks[frame.track_id]
        moved = begin - source_dts - track.anchor.offset
        anchors = {id(each.anchor): each.anchor for each in self._tracks.values()}
        if self._anchor is not None:
            anchors[id(self._anchor)] = self._anchor
        for anchor in anchors.values():
            anchor.offset += moved
        track.last = begin
        return Frame(frame.track_id, begin, frame.cts, frame.key, frame.data)

    def wait(self) -> float:
        """Seconds the publisher should not be read from, because it is too far ahead of UTC."""
        excess = self.lead - LEAD_LIMIT
        return excess / TICKS_PER_SECOND if excess > 0 else 0.0

    def _goes_on(self, track: _TrackClock, source: int, now: int) -> bool:
        """Whether C{source} continues the track's clock."""
        step = source - track.source
        passed = now - track.seen_at
        if step < -BACK_JUMP or step > (passed if passed > 0 else 0) + AHEAD_JUMP:
            return False
        return source + track.anchor.offset >= self._newest - TRACK_LAG

    def _place(
        self, track_id: int, track: _TrackClock | None, source: int, now: int
    ) -> tuple[_TrackClock, bool]:
        """Find the anchor of a track that is new or has jumped: the run's newest one, or one more."""
        anchor = self._anchor
        broken = False
        follows = track is None or track.anchor is not anchor
        if anchor is None or not follows or not self._belongs(anchor, source, now):
            broken = anchor is not None
            anchor = self._anchor = _Anchor(self._begin(source, now) - source, source, now)
        if track is None:
            track = self._tracks[track_id] = _TrackClock(anchor, source, now)
        else:
            track.anchor = anchor
            track.source = source
            track.seen_at = now
        return track, broken

    @staticmethod
    def _belongs(anchor: _Anchor, source: int, now: int) -> bool:
        distance = source - anchor.newest
        return -TOGETHER <= distance <= max(0, now - anchor.seen_at) + TOGETHER

    def _dated(self, source: int, now: int) -> int:
        """When a frame that arrives C{now} was made: as the publisher says, where that can be."""
        if self.told is not None and -DATED_BEHIND <= source + self.told - now <= DATED_AHEAD:
            return source + self.told
        return now

    def _begin(self, source: int, now: int) -> int:
        """Where a new anchor puts its frame (on L{ANCHOR_GRID}); begins the measuring of drift anew."""
        begin = max(self._dated(source, now), self.earliest)
        if self.anchors:
            begin = max(begin, self._newest + 1)
        begin += -begin % ANCHOR_GRID
        self._newest = begin
        self._drift_since = now
        self._least_lag = now - begin
        # What the publisher dates back is no drift.
        self._usual_lag = max(0, now - begin)
        self.anchors += 1
        return begin
