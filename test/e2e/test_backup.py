"""What is shown when nothing feeds a stream: its backup, soon, round and round, and left at a keyframe."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.browser import CELLS, Browser
from test.e2e.crowd import Crowd
from test.e2e.nodes import Node, wait_until
from test.e2e.players import decode
from test.e2e.playlists import Playlist, check_reload, fetch, wait_segments
from test.e2e.publishers import Publisher
from test.e2e.samples import FFMPEG, Sample, make
from test.e2e.shared import Stage, StageCase, source_of

STREAM = "main"
BLANK = Sample(seconds=3, size="320x180", gop=25, video_kbps=100, tone=220)
#: Longest silence of a viewer: the timeout of the backup and what it takes to open the file.
SILENCE = 3.0


def _mp4(sample: Sample, folder: Path, name: str) -> Path:
    """The sample as an MP4 file with its tables at the end, as most tools write it."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    command = [FFMPEG or "ffmpeg", "-v", "error", "-y", "-i", str(make(sample)), "-c", "copy", str(path)]
    subprocess.run(command, check=True, timeout=30)
    return path


class Backup(StageCase):
    """Origins with a backup each, and an edge with one of its own."""

    one: ClassVar[Node]
    two: ClassVar[Node]
    edge: ClassVar[Node]
    first: ClassVar[Publisher]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        folder = stage.folder / "films"
        _mp4(BLANK, folder, "blank.mp4")
        vod = f"vod films {{ storage {folder}; }}\n"
        stream = (
            f"stream {STREAM} {{ input publish://; backup films/blank.mp4 timeout=2; "
            "segment_duration 2; segment_count 6; }"
        )
        cls.one = stage.node("one", vod + stream)
        cls.two = stage.node("two", vod + stream)
        sources = "\n".join(
            source_of(node).replace("segment_count 6;", "segment_count 6; backup films/blank.mp4 timeout=2;")
            for node in (cls.one, cls.two)
        )
        cls.edge = stage.node("edge", vod + sources)
        cls.first = stage.publish(cls.one, STREAM)
        stage.publish(cls.two, STREAM)
        cls.edge.wait_alive(STREAM, 20.0)

    def stats(self, node: Node) -> dict[str, Any]:
        """What the API says of the stream."""
        stats: dict[str, Any] = node.streams().get(STREAM, {}).get("stats", {})
        return stats

    def shows_backup(self, node: Node, backup: bool, seconds: float = 30.0) -> None:
        """Wait until the API says so."""
        wait_until(
            lambda: self.stats(node).get("alive") and self.stats(node).get("backup_running") is backup,
            seconds,
            f"{node.name} shows its backup: {backup}",
        )

    def fed_by(self, node: Node, seconds: float = 40.0) -> None:
        """Wait until the edge takes the stream from C{node}."""
        address = f"127.0.0.1:{node.http}"
        wait_until(
            lambda: self.stats(self.edge).get("source_id") == address, seconds, f"the edge uses {node.name}"
        )

    def test_publisher_leaves_and_returns(self) -> None:
        """The backup follows within its timeout, loops, and is left at a keyframe; viewers stay; the edge
        goes to the other origin meanwhile, which is live."""
        self.shows_backup(self.one, False)
        self.fed_by(self.one)
        wait_segments(self.one, STREAM, 2)
        seen: list[Playlist] = [fetch(self.one, STREAM)]

        def watch(breaks: int) -> bool:
            """Fetch the playlist once more; whether so many discontinuities were listed by now."""
            now = fetch(self.one, STREAM)
            check_reload(seen[-1], now)
            seen.append(now)
            marks = {each.number for playlist in seen for each in playlist.segments if each.discontinuity}
            return len(marks) >= breaks

        with Crowd([self.one, self.edge], [STREAM], self.stage.folder) as crowd:
            self.first.stop()
            self.shows_backup(self.one, True)
            crowd.assert_silence(self.one, SILENCE)
            self.fed_by(self.two)
            self.assertFalse(self.stats(self.edge)["backup_running"])
            start = len(crowd.readers["one", STREAM].data)
            # More than one round of the file.
            wait_until(lambda: len(crowd.readers["one", STREAM].data) > start + 60_000, 30.0, "it loops")
            wait_until(lambda: watch(1), 30.0, "the switch to the backup is listed")
            type(self).first = self.stage.publish(self.one, STREAM)
            self.shows_backup(self.one, False)
            wait_until(lambda: watch(2), 30.0, "the switch back is listed")
            self.fed_by(self.one)
            crowd.assert_silence(self.edge, SILENCE)
        reader = crowd.readers["one", STREAM]
        self.assertFalse(reader.ended)
        path = self.stage.folder / "backup.ts"
        path.write_bytes(reader.data[: len(reader.data) - len(reader.data) % 188])
        result = decode(str(path), 0)
        self.assertEqual((result.code, result.complaints), (0, ""))

    def test_sources_all_die(self) -> None:
        """The edge shows its own backup within the timeout, and leaves it when a source returns."""
        self.fed_by(self.one)
        self.shows_backup(self.edge, False)
        with Crowd([self.edge], [STREAM], self.stage.folder) as crowd:
            self.one.kill()
            self.two.kill()
            self.addCleanup(self.revive)
            self.shows_backup(self.edge, True)
            self.assertNotIn("source_id", self.stats(self.edge), "what is shown comes from no source")
            crowd.assert_silence(self.edge, SILENCE)
            self.page_says_backup()
            self.two.up()
            self.stage.publish(self.two, STREAM)
            self.shows_backup(self.edge, False, 30.0)
        self.assertFalse(crowd.readers["edge", STREAM].ended)

    def page_says_backup(self) -> None:
        """The edge's status page names no source for what comes from none."""
        try:
            browser = Browser.open_or_skip()
        except SkipTest:
            return
        with browser:
            browser.go(f"http://127.0.0.1:{self.edge.http}/")

            def shown() -> list[list[str]]:
                return [cells for cells in browser.run(CELLS) if cells[0] == STREAM]

            (stream,) = wait_until(shown, 20.0, "the stream is on the page")
        self.assertEqual(stream[1:3], ["running", "backup"])

    def revive(self) -> None:
        """Start again what a test killed."""
        for node in (self.one, self.two):
            if node.process is not None and node.process.poll() is not None:
                node.up()
        if self.first.process is None or not self.first.running:
            type(self).first = self.stage.publish(self.one, STREAM)
