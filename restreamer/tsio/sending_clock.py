"""The clock that a transport stream is sent by: the system time clock of its receivers (pure).

It begins L{LEAD} behind the first frame and then runs by itself, so what is written into a PCR is true at the
moment it is written, whatever the frames do. It is steered towards the frames very gently, and set anew only
when they left it for good.
"""

from __future__ import annotations

from typing import Final

from restreamer.media.timebase import TICKS_PER_SECOND

#: Ticks by which a frame's DTS is ahead of the clock when the frame arrives.
LEAD: Final = TICKS_PER_SECOND // 2
#: A frame is sent when its DTS is at most so far ahead of the clock.
SEND_AHEAD: Final = TICKS_PER_SECOND * 7 // 10
#: Less than this ahead is too late: the clock is set anew.
_TOO_LATE: Final = TICKS_PER_SECOND // 20
#: A frame further ahead belongs to another time.
_TOO_EARLY: Final = 15 * TICKS_PER_SECOND
_WINDOW: Final = 10.0
_SLACK: Final = TICKS_PER_SECOND // 20
#: How much faster or slower it may run: parts in one.
_STEER: Final = 50e-6


class SendingClock:
    """Ticks of the senders' time by seconds of the node's.

    @ivar settings: how often it was set.
    """

    def __init__(self) -> None:
        self._anchor = 0.0
        self._at = 0.0
        self._rate = 1.0
        self._set = False
        self._least = float(_TOO_EARLY)
        self._since = 0.0
        self.settings = 0

    def ticks(self, now: float) -> float:
        """What the clock shows at C{now} seconds."""
        return self._anchor + (now - self._at) * self._rate * TICKS_PER_SECOND

    def arrived(self, dts: int, now: float) -> bool:
        """A frame came; gives whether the clock was set (anew) for it."""
        ahead = dts - self.ticks(now)
        if not self._set or not _TOO_LATE <= ahead <= _TOO_EARLY:
            self._anchor = float(dts - LEAD)
            self._at = self._since = now
            self._rate = 1.0
            self._set = True
            self._least = float(_TOO_EARLY)
            self.settings += 1
            return True
        self._least = min(self._least, ahead)
        if now - self._since >= _WINDOW:
            self._anchor, self._at = self.ticks(now), now
            off = self._least - LEAD
            self._rate = 1.0 + (_STEER if off > _SLACK else -_STEER if off < -_SLACK else 0.0)
            self._least = float(_TOO_EARLY)
            self._since = now
        return False

    def forget(self) -> None:
        """The next frame sets it."""
        self._set = False
