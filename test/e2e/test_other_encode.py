"""Two sources with different encodes under one name: one marked switch at a keyframe, and players play on."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from typing_extensions import override

from restreamer.testing.ts_reader import read_ts
from test.e2e.browser import Browser
from test.e2e.crowd import Crowd
from test.e2e.nodes import Node, wait_until
from test.e2e.players import decode
from test.e2e.playlists import Playlist, check_reload, fetch, wait_segments
from test.e2e.samples import Sample
from test.e2e.shared import Stage, StageCase

STREAM = "live/other"
#: Another size, another GOP, another tone than the usual sample.
OTHER = Sample(size="480x270", gop=50, video_kbps=300, tone=880)


class OtherEncode(StageCase):
    """Origins one and two have a stream of one name and different content; edge E sources one first."""

    one: ClassVar[Node]
    two: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.one = stage.node("one")
        cls.two = stage.node("two")
        cls.edge = stage.edge("edge", cls.one, cls.two)
        stage.publish(cls.one, STREAM)
        cls.edge.wait_alive(STREAM, 20.0)
        stage.publish(cls.two, STREAM, OTHER)
        cls.two.wait_alive(STREAM, 20.0)

    def uses(self, node: Node, seconds: float = 30.0) -> None:
        """Wait until the edge takes the stream from C{node}."""
        address = f"127.0.0.1:{node.http}"
        wait_until(
            lambda: self.edge.streams().get(STREAM, {}).get("stats", {}).get("source_id") == address,
            seconds,
            f"the edge takes the stream from {node.name}",
        )

    def watch(self, seen: list[Playlist]) -> bool:
        """Fetch the playlist once more and hold it against the one before; whether the splice is closed."""
        now = fetch(self.edge, STREAM)
        if seen:
            check_reload(seen[-1], now)
        seen.append(now)
        marks = [segment.number for segment in now.segments if segment.discontinuity]
        return bool(marks) and now.segments[-1].number >= marks[0] + 1

    def test_switch(self) -> None:
        """Killed source: exactly one discontinuity, numbers rise, true times, decoders and browsers go on."""
        self.uses(self.one, 20.0)
        wait_segments(self.edge, STREAM, 3)
        seen: list[Playlist] = [fetch(self.edge, STREAM)]
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{self.edge.http}/{STREAM}/embed.html")
            browser.wait_advance(2.0, 25.0)
            with Crowd([self.edge], [STREAM], self.stage.folder) as crowd:
                self.one.kill()
                self.uses(self.two)
                wait_until(lambda: self.watch(seen), 30.0, "the playlist lists the splice")
            marks = {each.number for playlist in seen for each in playlist.segments if each.discontinuity}
            gaps = {each.number for playlist in seen for each in playlist.segments if each.gap}
            self.assertEqual((len(marks), gaps), (1, set()), seen[-1].text)
            newest = seen[-1].segments[-1]
            assert newest.time is not None
            late = datetime.now(UTC) - newest.time - timedelta(seconds=newest.duration)
            self.assertLess(abs(late.total_seconds()), 5.0)
            self.live_viewer(crowd)
            played = decode(self.edge.url(STREAM, "hls"), 4.0, extra=["-live_start_index", "0"])
            self.assertEqual((played.code, played.complaints), (0, ""))
            browser.wait_advance(6.0, 40.0)

    def live_viewer(self, crowd: Crowd) -> None:
        """The continuous viewer: one declared break, DTS rise in every track, it decodes."""
        reader = crowd.readers["edge", STREAM]
        data = bytes(reader.data[: len(reader.data) - len(reader.data) % 188])
        frames = read_ts(data)
        for pid in frames.streams:
            times = [pes.dts for pes in frames.of(pid)]
            self.assertEqual(times, sorted(set(times)))
            steps = [later - before for before, later in itertools.pairwise(times)]
            self.assertLess(max(steps), 3 * 90_000, "a hole of more than a GOP and its detection")
        self.assertTrue(frames.marks, "the break is declared")
        path = self.stage.folder / "other.ts"
        path.write_bytes(data)
        result = decode(str(path), 0)
        self.assertEqual((result.code, result.complaints), (0, ""))
