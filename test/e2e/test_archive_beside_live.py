"""Downloads of a large archive through an edge, as fast as they go: live viewers there notice nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import ClassVar

from attrs import evolve
from typing_extensions import override

from bench.viewers import Audience, Target
from restreamer.dvr.recorded import Recorded
from restreamer.dvr.store import Store
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder, SegmentOpening
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import h264_track, video_frames
from test.e2e.machine import Delays
from test.e2e.nodes import Node, wait_until
from test.e2e.players import HttpStream
from test.e2e.shared import Stage, StageCase

LIVE = "live/show"
LARGE = "live/large"
SECONDS = 60
#: Mbit/s of what is recorded: a segment of two seconds has 8 MB, the archive 240 MB.
RATE = 32
#: The longest silence of a live viewer, seconds.
GAP = 0.5
VIEWERS = 4


def record(root: Path) -> int:
    """Make an archive of a minute that is over. @return: where it begins, UTC seconds."""
    begin = int(time.time()) // 3600 * 3600 - 3600
    track = h264_track()
    frames = video_frames(2, gop=50, start=0, bitrate=RATE * 1_000_000)
    store = Store(str(root))
    store.open()
    try:
        for place in range(SECONDS // 2):
            start = (begin + 2 * place) * TICKS_PER_SECOND
            opening = SegmentOpening(start // (2 * TICKS_PER_SECOND), start, False, True, 0, (track,))
            builder = SegmentBuilder(opening)
            builder.extend([evolve(frame, dts=frame.dts + start) for frame in frames])
            segment = builder.close(2 * TICKS_PER_SECOND)
            run = RunInfo(7, begin * TICKS_PER_SECOND, bytes(16), ())
            store.stream(LARGE).append([Recorded(segment, run, False)])
    finally:
        store.close()
    return begin


class Download(threading.Thread):
    """Takes a file again and again, as fast as it comes, until it is told to end.

    @ivar size: bytes taken. @ivar trouble: why it could not go on.
    """

    def __init__(self, port: int, path: str, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.size = 0
        self.trouble = ""
        self._where = port, path
        self._over = over

    @override
    def run(self) -> None:
        while not self._over.is_set() and not self.trouble:
            with HttpStream(*self._where) as stream:
                if stream.status != 200:
                    self.trouble = stream.head
                while not self._over.is_set() and (piece := stream.read(1 << 20)):
                    self.size += len(piece)


class BesideLive(StageCase):
    """An origin with a large archive and a live stream, and an edge that records nothing."""

    edge: ClassVar[Node]
    begin: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        root = stage.folder / "archive"
        cls.begin = record(root)
        origin = stage.node("origin", f"template live {{ prefix live; input publish://; dvr {root} 7d; }}")
        cls.edge = stage.edge("edge", origin)
        stage.publish(origin, LIVE)
        cls.edge.wait_alive(LIVE)

    def test_downloads(self) -> None:
        """As MPEG-TS and as MP4, both at once: hundreds of megabytes go over the wire beside the stream."""
        target = Target(proto="tshttp", host="127.0.0.1", port=self.edge.http, path=f"/{LIVE}/mpegts")
        over = threading.Event()
        files = [f"archive-{self.begin}-{SECONDS}.ts", f"archive-{self.begin}-{SECONDS}.mp4?fragmented=true"]
        downloads = [Download(self.edge.http, f"/{LARGE}/{file}", over) for file in files]
        with Audience(target, VIEWERS, processes=1) as audience, Delays() as delays:
            wait_until(audience.filled, 20.0, "everybody has media")
            audience.mark()
            delays.mark()
            for download in downloads:
                download.start()
            time.sleep(5.0)
            window = audience.report()
            taken = [download.size for download in downloads]
            over.set()
        for download in downloads:
            download.join(10)
            self.assertEqual(download.trouble, "")
        self.assertGreater(min(taken), 50_000_000, "a large answer was on the wire")
        self.assertEqual(window.closed, 0, window.describe())
        self.assertLess(max(window.gaps), GAP + delays.allowance, window.describe())
