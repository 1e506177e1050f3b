"""What a stream tells those who follow it: feeds of viewers, links to other nodes, the recorder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from restreamer.live.window import WindowSegment
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame


class StreamTap(Protocol):
    """A follower of a stream. Calls come in the order things happen and must not raise."""

    def run_began(self, run: RunInfo) -> None:
        """A new run (another timeline) feeds the stream from here on."""
        ...

    def segment_opened(self, builder: SegmentBuilder) -> None:
        """Frames from here on belong to C{builder}'s segment; an unclosed one before it is void."""
        ...

    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """C{frames} were just appended to C{builder}."""
        ...

    def frames_repeated(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """C{frames} were just appended to C{builder}; followers were told of them in another segment of the
        run already. They are for those who pass segments on."""
        ...

    def part_closed(self, builder: SegmentBuilder) -> None:
        """A low-latency part of C{builder}'s segment ended: the newest of its parts."""
        ...

    def segment_closed(self, entry: WindowSegment) -> None:
        """The open segment ended and is in the window."""
        ...

    def segment_set_aside(self, entry: WindowSegment) -> None:
        """The open segment ended, and the window has one of another run under its number."""
        ...

    def segment_filled(self, entry: WindowSegment) -> None:
        """A segment that had been lost or damaged is in the window after all; the open one goes on."""
        ...

    def run_ended(self, run: RunInfo, reason: str) -> None:
        """The input was lost; another run may follow."""
        ...

    def stream_ended(self, reason: str) -> None:
        """The stream is gone for good."""
        ...


class IdleTap:
    """A tap that ignores everything: the base of taps that need only some of it."""

    def run_began(self, run: RunInfo) -> None:
        """Ignore."""

    def segment_opened(self, builder: SegmentBuilder) -> None:
        """Ignore."""

    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Ignore."""

    def frames_repeated(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Ignore."""

    def part_closed(self, builder: SegmentBuilder) -> None:
        """Ignore."""

    def segment_closed(self, entry: WindowSegment) -> None:
        """Ignore."""

    def segment_set_aside(self, entry: WindowSegment) -> None:
        """Ignore."""

    def segment_filled(self, entry: WindowSegment) -> None:
        """Ignore."""

    def run_ended(self, run: RunInfo, reason: str) -> None:
        """Ignore."""

    def stream_ended(self, reason: str) -> None:
        """Ignore."""
