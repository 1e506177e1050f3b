"""Where segments begin and end: the UTC grid rule, as pure functions and one small state machine.

With D = segment_duration in ticks, a segment that starts at C{start} after segment C{last} has

    number = max(floor(start / D), last + 1)

and ends at the first keyframe at or after its end line, (number + 1) * D. Without such a keyframe it is
ended by force, at D + 2 s after its start or 0.5 s before the line after its end line, whichever comes
first. In that last half second it still waits for a keyframe that the distance of the keyframes before
promises: an encoder with one keyframe every D would otherwise, begun in the wrong moment, meet the force
just before each of them. A stream of audio alone ends at the line. So numbers are consecutive while frames
flow (with keyframes at most D apart) and return to the grid by themselves.

A segment is I{ahead} of the grid when its number is larger than floor(start / D): the tracks changed
mid-grid, or a publisher came back at once; by L{SLACK_TICKS} does not count: it is an encoder with one
keyframe every D whose keyframes fall on the lines, now a millisecond after, now before, and a keyframe
just before the line ends such a segment. The end line of one ahead may be farther away than it may last.
Such a segment ends at the last keyframe that still fits the target duration, judged by the longest distance
of keyframes seen in the run, provided that makes it at least L{GAIN_TICKS} longer than D; otherwise it is
ended by force. So every such segment brings the numbers closer to the grid by that much at least.

Beside video, audio alone ends a segment only L{PATIENCE_TICKS} later than force would: many publishers send
their audio a little ahead of the video it belongs to.

A restart that keeps nothing at all repeats no number when it comes after the end line of the last segment:
for a stream that is on the grid and not ahead of UTC that is at most D later. A quicker one, or one after UTC
stepped back, needs the last number (L{restreamer.live.ledger}).
"""

from __future__ import annotations

from attrs import define, field

from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND

#: How much longer than D a segment may last (EXT-X-TARGETDURATION = D + 2 s).
TARGET_MARGIN_TICKS = 2 * TICKS_PER_SECOND
#: How long before the line after its end line a segment is ended by force.
LATE_MARGIN_TICKS = TICKS_PER_SECOND // 2
#: How far audio may run past the end by force before it ends a segment for the video.
PATIENCE_TICKS = TICKS_PER_SECOND
#: How much longer than D a segment that is ahead of the grid lasts at least.
GAIN_TICKS = TICKS_PER_SECOND // 2
#: What the times of an encoder's keyframes may be off (publishers round to milliseconds).
JITTER_TICKS = 3 * TICKS_PER_MS
#: How far ahead of the grid a segment may be and still count as on it.
SLACK_TICKS = TICKS_PER_SECOND // 10
#: Audio beside video ends a late segment so long before the line after.
_LAST_CALL = TICKS_PER_SECOND // 10


def segment_number(start: int, grid: int, last: int | None) -> int:
    """Number of a segment that starts at C{start} ticks when C{last} was the highest number before it."""
    by_clock = start // grid
    return by_clock if last is None else max(by_clock, last + 1)


def force_line(number: int, start: int, grid: int) -> int:
    """The tick at which segment C{number} ends without a keyframe, unless one is just about to come."""
    return min(start + grid + TARGET_MARGIN_TICKS, (number + 2) * grid - LATE_MARGIN_TICKS)


@define
class SegmentCutter:
    """Decides, frame by frame, whether the open segment ends before the frame.

    @ivar grid: D in ticks, at least a second. @ivar number, @ivar start: of the open segment.
    @ivar forced: segments that were ended without a random access point so far.
    """

    grid: int
    number: int | None = None
    start: int = 0
    forced: int = 0
    _line: int = field(default=0, init=False)
    _after: int = field(default=0, init=False)
    _force: int = field(default=0, init=False)
    _early: int = field(default=0, init=False)
    _last_key: int | None = field(default=None, init=False)
    _distances: tuple[int, int] = field(default=(0, 0), init=False)
    _longest_distance: int = field(default=0, init=False)
    _last_picture: int = field(default=0, init=False)
    _step: int = field(default=0, init=False)

    def open(self, start: int, keyframe: bool = False) -> int:
        """Begin a segment at C{start}: gives its number.

        @param keyframe: a video keyframe begins it.
        """
        number = segment_number(start, self.grid, self.number)
        self.number = number
        self.start = start
        self._line = (number + 1) * self.grid
        self._after = (number + 2) * self.grid
        self._force = force_line(number, start, self.grid)
        self._early = number * self.grid - start
        if keyframe:
            self._note_keyframe(start)
        return number

    def resume(self, number: int, start: int) -> None:
        """Go on in segment C{number} that began at C{start}, which another cutter of the grid opened."""
        self.number = number - 1
        self.open(start)
        self.number = number

    def passed(self, dts: int, key: bool) -> None:
        """A frame of the resumed segment, or of one before it, that was there already.

        @param key: it is a keyframe of the video. Frames of audio beside video are not told.
        """
        self._note_picture(dts)
        if key:
            self._note_keyframe(dts)

    def ends_before(self, dts: int, random_access: bool, video: bool, beside: bool = False) -> bool:
        """Whether the open segment ends before a frame at C{dts}.

        @param random_access: the frame is a keyframe of the video (of the audio where there is no video).
        @param video: the stream has a video track.
        @param beside: the frame is audio of a stream that has video.
        """
        if random_access:
            if video:
                self._note_picture(dts)
                self._note_keyframe(dts)
            if dts >= self._line or dts >= self._force:
                return True
            if dts + self._longest_distance <= self._force:
                return False
            if self._early > SLACK_TICKS:
                return dts - self.start >= self.grid + GAIN_TICKS
            return video and self._line - dts <= min(max(0, self._early) + 2 * JITTER_TICKS, SLACK_TICKS)
        if not beside:
            self._note_picture(dts)
        if dts < self._force or self._may_wait(dts, beside):
            return False
        self.forced += 1
        return True

    def was_short(self, end: int) -> bool:
        """Whether the segment, closed at C{end}, was ended before the grid would have: the publisher left."""
        early = end < min(self._line, self._force) - SLACK_TICKS
        return early and end - self.start < self.grid - SLACK_TICKS

    def longest(self) -> int:
        """Ticks a segment may last: what TARGETDURATION promises."""
        return self.grid + TARGET_MARGIN_TICKS

    def _may_wait(self, dts: int, beside: bool) -> bool:
        """Past the end by force: whether the segment goes on, because this is audio that is a little ahead of
        its video, or because a keyframe is due before the line after."""
        patience = PATIENCE_TICKS if beside else 0
        if dts >= self.start + self.grid + TARGET_MARGIN_TICKS + patience:
            return False
        if beside and dts < min(self._force + PATIENCE_TICKS, self._after - _LAST_CALL):
            return True
        last = self._last_key
        if last is None:
            return False
        distance, before = self._distances
        if not distance:
            # One keyframe so far, and none since: one every D is what most encoders are set to then.
            distance = before = self.grid
        if abs(distance - before) > JITTER_TICKS and abs(distance - self.grid) > JITTER_TICKS:
            # A short distance behind a longer one is where a file began again: the longer one follows.
            distance = max(distance, before)
            regular = abs(distance - self.grid) <= JITTER_TICKS
        else:
            regular = True
        # Where it is not, one more picture must fit, in case this is no keyframe.
        margin = JITTER_TICKS if regular else self._step + 2 * JITTER_TICKS
        due = last + distance
        return due + margin <= self._after and dts <= due + (patience or JITTER_TICKS)

    def _note_picture(self, dts: int) -> None:
        step = dts - self._last_picture
        self._last_picture = dts
        if 0 < step <= TICKS_PER_SECOND:
            self._step = step

    def _note_keyframe(self, dts: int) -> None:
        last = self._last_key
        self._last_key = dts
        if last is not None and dts != last:
            distance = dts - last
            self._distances = (distance, self._distances[0])
            if self._longest_distance < distance <= self.longest():
                self._longest_distance = distance
