"""From a publisher's own clock to UTC ticks: anchored once per run, kept monotonic, drift measured.

The first frame of a run is anchored to UTC as it arrives; every later frame keeps its distance to it. What
can go wrong with a publisher's clock, and what happens:

 - a timestamp that goes back a little (rounding, interleaving): lifted to just after the track's last
   one, PTS kept where it can be;
 - a jump (back by more than a second, or ahead of the time that really passed by more than five seconds):
   a new anchor, and the frame begins a segment marked as a discontinuity;
 - a clock that runs slow or stood still (our lag behind UTC never falls under five seconds for half a
   minute): a new anchor at the next segment boundary, again marked;
 - a clock that runs ahead (a file sent as fast as the link takes it): the publisher is slowed down.
"""

from __future__ import annotations

from attrs import define, field

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND

BACK_JUMP = 1 * TICKS_PER_SECOND
AHEAD_JUMP = 5 * TICKS_PER_SECOND
DRIFT_LIMIT = 5 * TICKS_PER_SECOND
DRIFT_WINDOW = 30 * TICKS_PER_SECOND
#: How far a publisher may be ahead of UTC before it is slowed down.
LEAD_LIMIT = 5 * TICKS_PER_SECOND


@define
class Timeline:
    """Maps the frames of one run.

    @ivar lead: ticks by which the newest frame is ahead of UTC (negative: behind).
    @ivar anchors: how often the clock was anchored (1 for an undisturbed run).
    @ivar lifted: frames whose time was lifted to keep DTS rising.
    """

    lead: int = field(default=0, init=False)
    anchors: int = field(default=0, init=False)
    lifted: int = field(default=0, init=False)
    _offset: int = field(default=0, init=False)
    _newest: int = field(default=0, init=False)
    _newest_source: int = field(default=0, init=False)
    _seen_at: int = field(default=0, init=False)
    _last: dict[int, int] = field(factory=dict, init=False)
    _drift_since: int = field(default=0, init=False)
    _least_lag: int = field(default=0, init=False)

    def map(self, frame: Frame, now: int) -> tuple[Frame, bool]:
        """The frame in UTC.

        @param frame: with times of the publisher's clock, in ticks, unwrapped.
        @param now: UTC ticks of its arrival.
        @return: the frame with UTC times, and whether a discontinuity begins with it (never for the first).
        """
        source = frame.dts
        broken = False
        if not self.anchors:
            self._anchor(source, now)
        else:
            step = source - self._newest_source
            passed = max(0, now - self._seen_at)
            if step < -BACK_JUMP or step > passed + AHEAD_JUMP:
                self._anchor(source, now)
                broken = True
        dts = source + self._offset
        cts = frame.cts
        last = self._last.get(frame.track_id)
        if last is not None and dts <= last:
            lifted = last + 1
            cts = max(0, cts - (lifted - dts))
            dts = lifted
            self.lifted += 1
        self._last[frame.track_id] = dts
        if source >= self._newest_source:
            self._newest_source = source
            self._seen_at = now
        if dts > self._newest:
            self._newest = dts
        lag = now - dts
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
        behind = self._least_lag
        self._drift_since = now
        self._least_lag = now - self._newest
        return behind > DRIFT_LIMIT

    def reanchor(self, frame: Frame, source_dts: int, now: int) -> Frame:
        """Anchor the clock again at a mapped frame whose source time was C{source_dts}."""
        self._anchor(source_dts, now)
        dts = source_dts + self._offset
        self._last[frame.track_id] = dts
        return Frame(frame.track_id, dts, frame.cts, frame.key, frame.data)

    def _anchor(self, source: int, now: int) -> None:
        begin = now if not self.anchors else max(now, self._newest + 1)
        self._offset = begin - source
        self._newest_source = source
        self._seen_at = now
        self._newest = begin
        self._drift_since = now
        self._least_lag = now - begin
        self.anchors += 1

    def wait(self) -> float:
        """Seconds the publisher should not be read from, because it is too far ahead of UTC."""
        excess = self.lead - LEAD_LIMIT
        return excess / TICKS_PER_SECOND if excess > 0 else 0.0
