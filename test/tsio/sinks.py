"""A publish point and sink that keep what they get."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import define, field

from restreamer.errors import Refused
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.seams import OpenRequest


@define(eq=False)
class KeepingSink:
    """A L{restreamer.seams.FrameSink}."""

    tables: list[Tracks] = field(factory=list)
    frames: list[Frame] = field(factory=list)
    ends: list[str] = field(factory=list)
    wait: float = 0.0
    fails: bool = False
    counts: Callable[[], Mapping[str, int]] = dict

    def configure(self, tracks: Tracks) -> None:
        self.tables.append(tracks)

    def dated(self, offset: int | None) -> None:
        """Nobody asks."""

    def counted(self, told: Callable[[], Mapping[str, int]]) -> None:
        self.counts = told

    def push(self, frames: Sequence[Frame]) -> float:
        assert self.tables and not self.ends
        if self.fails:
            raise ValueError("a bug")
        self.frames += frames
        return self.wait

    def end(self, reason: str) -> None:
        self.ends.append(reason)

    def of(self, track_id: int) -> list[Frame]:
        """The frames of one track."""
        return [frame for frame in self.frames if frame.track_id == track_id]


@define(eq=False)
class KeepingPoint:
    """A L{restreamer.seams.PublishPoint}. C{refusal} refuses everything."""

    sinks: list[KeepingSink] = field(factory=list)
    requests: list[OpenRequest] = field(factory=list)
    kicks: list[Callable[[str], None]] = field(factory=list)
    refusal: Refused | None = None

    def publish(self, request: OpenRequest, kick: Callable[[str], None]) -> Awaitable[KeepingSink]:
        async def granted() -> KeepingSink:
            self.requests.append(request)
            if self.refusal is not None:
                raise self.refusal
            self.sinks.append(KeepingSink())
            self.kicks.append(kick)
            return self.sinks[-1]

        return granted()
