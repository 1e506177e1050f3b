"""Whoever begins to follow a stream because it starts to run gets each frame once."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.testing.media import START, aac_track, h264_track, make_frames

NODE = b"n" * 16


class _Recorder(IdleTap):
    def __init__(self) -> None:
        self.frames: list[Frame] = []

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        self.frames.extend(frames)


class FollowAtStart(SynchronousTestCase):
    """An edge that waits for an on-demand stream begins to follow inside the call that starts it."""

    def test_frames_come_once(self) -> None:
        """Frames held by the builder at that moment are not told again."""
        stream = Stream("film", LiveWindow(4))
        recorder = _Recorder()

        def follow(changed: Stream) -> None:
            if changed.running and changed.open is not None:
                recorder.frames.extend(changed.open.frames)
                changed.attach(recorder)

        stream.watch_running(follow)
        writer = stream.begin_run(RunInfo(1, START, NODE, (NODE,)), 450_000, local=True)
        writer.open(
            SegmentOpening(
                number=1,
                start=START,
                discontinuity=False,
                independent=True,
                discontinuity_sequence=0,
                tracks=(h264_track(), aac_track()),
            )
        )
        frames = make_frames(1)
        writer.frames(frames[:3])
        writer.frames(frames[3:])
        self.assertEqual(recorder.frames, frames)
