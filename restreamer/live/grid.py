"""Where segments begin and end: the UTC grid rule, as pure functions and one small state machine.

With D = segment_duration in ticks, a segment that starts at C{start} after segment C{last} has

    number = max(floor(start / D), last + 1)

and ends at the first keyframe at or after its end line, (number + 1) * D. Without such a keyframe it is
ended by force, at D + 2 s after its start or 0.5 s before the line after its end line, whichever comes
first. A stream of audio alone ends at the line. So numbers are consecutive while frames flow (with
keyframes at most D apart) and return to the grid by themselves.

A segment is I{ahead} of the grid when its number is larger than floor(start / D): the tracks changed
mid-grid, or a publisher came back at once. Its end line may then be farther away than a segment may last.
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

from restreamer.media.timebase import TICKS_PER_SECOND

#: How much longer than D a segment may last (EXT-X-TARGETDURATION = D + 2 s).
TARGET_MARGIN_TICKS = 2 * TICKS_PER_SECOND
#: How long before the line after its end line a segment is ended by force.
LATE_MARGIN_TICKS = TICKS_PER_SECOND // 2
#: How far audio may run past the end by force before it ends a segment for the video.
PATIENCE_TICKS = TICKS_PER_SECOND
#: How much longer than D a segment that is ahead of the grid lasts at least.
GAIN_TICKS = TICKS_PER_SECOND // 2


def segment_number(start: int, grid: int, last: int | None) -> int:
    """Number of a segment that starts at C{start} ticks when C{last} was the highest number before it."""
    by_clock = start // grid
    return by_clock if last is None else max(by_clock, last + 1)


def force_line(number: int, start: int, grid: int) -> int:
    """The tick at which segment C{number} ends even without a keyframe."""
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
    _force: int = field(default=0, init=False)
    _patience: int = field(default=0, init=False)
    _ahead: bool = field(default=False, init=False)
    _last_key: int | None = field(default=None, init=False)
    _key_distance: int = field(default=0, init=False)

    def open(self, start: int, keyframe: bool = False) -> int:
        """Begin a segment at C{start}: gives its number.

        @param keyframe: a video keyframe begins it.
        """
        number = segment_number(start, self.grid, self.number)
        self.number = number
        self.start = start
        self._line = (number + 1) * self.grid
        self._force = force_line(number, start, self.grid)
        self._patience = min(self._force + PATIENCE_TICKS, (number + 2) * self.grid - 1)
        self._ahead = number * self.grid > start
        if keyframe:
            self._note_keyframe(start)
        return number

    def ends_before(self, dts: int, random_access: bool, video: bool, beside: bool = False) -> bool:
        """Whether the open segment ends before a frame at C{dts}.

        @param random_access: the frame is a keyframe of the video (of the audio where there is no video).
        @param video: the stream has a video track.
        @param beside: the frame is audio of a stream that has video.
        """
        if not random_access:
            if dts < (self._patience if beside else self._force):
                return False
            self.forced += 1
            return True
        if video:
            self._note_keyframe(dts)
        if dts >= self._line or dts >= self._force:
            return True
        return (
            self._ahead
            and dts - self.start >= self.grid + GAIN_TICKS
            and dts + self._key_distance > self._force
        )

    def longest(self) -> int:
        """Ticks a segment may last: what TARGETDURATION promises."""
        return self.grid + TARGET_MARGIN_TICKS

    def _note_keyframe(self, dts: int) -> None:
        last = self._last_key
        self._last_key = dts
        if last is not None:
            distance = dts - last
            if self._key_distance < distance <= self.longest():
                self._key_distance = distance
