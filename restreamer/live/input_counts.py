"""What one input counts while it runs: what it brought, and what was wrong with that (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import define, field

from restreamer.media.frame import Frame

#: Gives what a protocol has counted so far, by name; names that begin with C{errors_} tell of faults.
TellCounts = Callable[[], Mapping[str, int]]


def _nothing() -> Mapping[str, int]:
    return {}


@define(eq=False)
class InputCounts:
    """Counts of one run of one input.

    @ivar frames, @ivar bytes: taken so far; bytes are frame bodies.
    @ivar told: what its protocol counts by itself.
    """

    frames: int = 0
    bytes: int = 0
    told: TellCounts = field(default=_nothing)

    def take(self, frames: Sequence[Frame]) -> None:
        """C{frames} came."""
        self.frames += len(frames)
        size = 0
        for frame in frames:
            size += len(frame.data)
        self.bytes += size


def added(*counts: Mapping[str, int]) -> dict[str, int]:
    """C{counts} put together: what has the same name is summed up."""
    found: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            found[name] = found.get(name, 0) + count
    return found
