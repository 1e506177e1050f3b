"""Two fields of one frame that came as two access units, put together (pure).

A sample of a file (ISO/IEC 14496-15 section 5.2.1), and a L{restreamer.media.frame.Frame}, hold a frame of
H.264 or both of its fields, while in a stream each field is an access unit of its own (ISO/IEC 14496-10
sections 3.1 and 7.4.1.2.4). A first field is held until what comes next tells whether it is its second one.
Frames go straight through, those of macroblock-adaptive coding among them. In HEVC each field is a picture
and a sample of its own.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from restreamer.media.video_units import Unit

Stamp = TypeVar("Stamp")


class PairedUnits(Generic[Stamp]):
    """Puts fields together. What belongs to a unit, its time say, is its stamp; a pair has its first field's.

    @ivar single: fields whose other one never came.
    """

    def __init__(self) -> None:
        self._held: tuple[Stamp, Unit] | None = None
        #: The parity that frames begin with, once it is known.
        self._bottom_first: bool | None = None
        self.single = 0

    @property
    def holds(self) -> bool:
        """Whether a first field is held."""
        return self._held is not None

    def completes(self, unit: Unit) -> bool:
        """Whether C{unit} is the second field of the frame that is held."""
        if self._held is None or unit.field is None:
            return False
        first = self._held[1].field
        second = unit.field
        assert first is not None
        opposite = first.bottom is not second.bottom and first.number == second.number
        return opposite and (first.idr or not second.idr)

    def take(self, stamp: Stamp, unit: Unit) -> list[tuple[Stamp, Unit]]:
        """What is whole with C{unit}, in its order."""
        field = unit.field
        held = self._held
        if field is None and held is None:
            return [(stamp, unit)]
        if held is not None and self.completes(unit):
            self._held = None
            first = held[1]
            assert first.field is not None
            self._bottom_first = first.field.bottom
            both = Unit(first.data + unit.data, first.key, unit.track or first.track)
            return [(held[0], both)]
        found = self.flush()
        if field is None:
            found.append((stamp, unit))
        elif not unit.key and self._bottom_first is not None and field.bottom is not self._bottom_first:
            # The field before it was lost: the next one begins a frame.
            self.single += 1
            found.append((stamp, unit))
        else:
            self._held = stamp, unit
        return found

    def flush(self) -> list[tuple[Stamp, Unit]]:
        """No second field comes: give what is held."""
        held, self._held = self._held, None
        if held is None:
            return []
        self.single += 1
        return [held]
