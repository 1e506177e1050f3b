"""From packets as they arrive to packets in order, with the gaps between them told.

Sequence numbers are extended beyond their 16 bits (RFC 3550 appendix A.1). Over TCP nothing is ever waited
for; over UDP a packet that came early waits until those before it come, or as many packets or as much time
went by as a network reorders at most.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from restreamer.rtp.packet import RtpPacket

#: A jump ahead by more than this is a new beginning of the sequence, not loss (RFC 3550: MAX_DROPOUT).
MAX_DROPOUT: Final = 3000
#: So many packets in a row below what is expected are a new beginning too; fewer are late ones.
MAX_LATE: Final = 16


@define(eq=False)
class ReorderBuffer:
    """Puts the packets of one source in order.

    @ivar depth: packets that may wait; 0: none, whatever comes is taken as it comes.
    @ivar seconds: how long one may wait.
    @ivar received, lost, late, restarts: what happened so far, in packets and new beginnings.
    @ivar highest: extended sequence number of the newest packet that was given on.
    @ivar expected: packets that should have come since the beginning.
    """

    depth: int = 0
    seconds: float = 0.2
    received: int = field(default=0, init=False)
    lost: int = field(default=0, init=False)
    late: int = field(default=0, init=False)
    restarts: int = field(default=0, init=False)
    highest: int = field(default=-1, init=False)
    _waiting: dict[int, tuple[float, RtpPacket]] = field(factory=dict, init=False)
    _late_row: int = field(default=0, init=False)

    @property
    def expected(self) -> int:
        """Packets that should have come, lost ones included."""
        return self.received + self.lost

    def reset(self) -> None:
        """A new source: whatever comes next is its first packet."""
        self._waiting.clear()
        self.highest = -1
        self._late_row = 0

    def take(self, packet: RtpPacket, now: float) -> list[tuple[RtpPacket, bool]]:
        """Packets that are next now, each with whether some before it are missing.

        @param now: seconds, of any clock that does not go back.
        """
        if self.highest < 0:
            self.highest = (1 << 16) + packet.sequence - 1
        step = (packet.sequence - self.highest) & 0xFFFF
        if step == 1 and not self._waiting:
            self.highest += 1
            self.received += 1
            self._late_row = 0
            return [(packet, False)]
        if step == 0 or step >= 0x10000 - MAX_DROPOUT:
            self.late += 1
            self._late_row += 1
            if self._late_row < MAX_LATE:
                return self.overdue(now)
            return self._restart(packet)
        self._late_row = 0
        if step > MAX_DROPOUT:
            return self._restart(packet)
        self._waiting.setdefault(self.highest + step, (now, packet))
        return self._release(now)

    def overdue(self, now: float) -> list[tuple[RtpPacket, bool]]:
        """What has waited long enough."""
        return self._release(now) if self._waiting else []

    def _release(self, now: float) -> list[tuple[RtpPacket, bool]]:
        found: list[tuple[RtpPacket, bool]] = []
        waiting = self._waiting
        while waiting:
            following = self.highest + 1
            if following in waiting:
                found.append((waiting.pop(following)[1], False))
                self.highest = following
                self.received += 1
                continue
            first = min(waiting)
            if len(waiting) <= self.depth and now - waiting[first][0] < self.seconds:
                break
            self.lost += first - following
            self.highest = first
            self.received += 1
            found.append((waiting.pop(first)[1], True))
        return found

    def _restart(self, packet: RtpPacket) -> list[tuple[RtpPacket, bool]]:
        self.restarts += 1
        rest = [self._waiting[number][1] for number in sorted(self._waiting)]
        self.reset()
        self.highest = (1 << 16) + packet.sequence
        self.received += 1 + len(rest)
        return [(each, True) for each in (*rest, packet)]
