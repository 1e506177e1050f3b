"""The origin dies under load and comes back: edges and players go on."""

from __future__ import annotations

import itertools
import time
from typing import ClassVar

from typing_extensions import override

from test.e2e.browser import Browser
from test.e2e.nodes import Node, wait_until
from test.e2e.players import HttpStream, decode
from test.e2e.playlists import Playlist, check_reload, fetch, wait_segments
from test.e2e.publishers import Publisher
from test.e2e.shared import Stage, StageCase

STREAM = "live/phoenix"


class Restart(StageCase):
    """Origin killed with SIGKILL while an edge and viewers watch, then started again on the same ports."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]
    publisher: ClassVar[Publisher]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin")
        cls.edge = stage.edge("edge", cls.origin)
        cls.publisher = stage.publish(cls.origin, STREAM)
        cls.edge.wait_alive(STREAM)
        wait_segments(cls.edge, STREAM, 3)

    def crash_and_return(self, watch: list[Playlist]) -> None:
        """Kill the origin, start it and the publisher again; the edge's playlists meanwhile go to
        C{watch}."""
        self.origin.kill()
        kind = type(self)
        self.addCleanup(self.publisher.stop)
        self.watch_for(1.0, watch)
        self.origin.start()
        self.origin.wait_ready()
        self.publisher.stop()
        kind.publisher = self.stage.publish(self.origin, STREAM)

    def watch_for(self, seconds: float, watch: list[Playlist]) -> None:
        """Collect the edge's playlists; it may have none while its source is away."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look(watch)
            time.sleep(0.1)

    def look(self, watch: list[Playlist]) -> Playlist | None:
        """Add the edge's playlist to C{watch} if it has one now."""
        try:
            playlist = fetch(self.edge, STREAM)
        except AssertionError as failure:
            if "answered 404" in str(failure) or "answered 503" in str(failure):
                return None
            raise
        watch.append(playlist)
        return playlist

    def test_numbers_go_on(self) -> None:
        """MEDIA-SEQUENCE never falls on the edge, new segments have higher numbers, the break is marked, it
        plays again."""
        watch: list[Playlist] = []
        before = fetch(self.edge, STREAM)
        watch.append(before)
        self.crash_and_return(watch)

        def has_new() -> bool:
            playlist = self.look(watch)
            return playlist is not None and len([n for n in playlist.numbers if n > before.numbers[-1]]) >= 3

        wait_until(has_new, 20.0, "three new segments on the edge")
        for old, new in itertools.pairwise(watch):
            check_reload(old, new)
        last = watch[-1]
        fresh = [segment for segment in last.segments if segment.number > before.numbers[-1]]
        marked = any(segment.discontinuity for segment in fresh)
        self.assertTrue(marked or last.discontinuity_sequence > before.discontinuity_sequence, last.text)
        result = decode(self.edge.url(STREAM, "tshttp"), 2.0)
        self.assertEqual(result.complaints, "")
        self.assertGreater(result.frames, 40)
        origin = fetch(self.origin, STREAM)
        lines = {segment.number: segment.lines for segment in origin.segments}
        for segment in fetch(self.edge, STREAM).segments:
            if segment.number in lines and not segment.gap:
                self.assertEqual(segment.lines, lines[segment.number])

    def test_http_viewers_stay(self) -> None:
        """A viewer of HTTP-TS on the edge keeps its connection over the crash and gets media again."""
        with HttpStream(self.edge.http, f"/{STREAM}/mpegts", timeout=25.0) as viewer:
            self.assertEqual(viewer.status, 200)
            viewer.read_for(1.0)
            self.crash_and_return([])
            returned = time.monotonic()
            got, path = bytearray(), self.stage.folder / "over-crash.ts"
            while time.monotonic() - returned < 12.0 and len(got) < 400_000:
                piece = viewer.read()
                self.assertNotEqual(piece, b"", "the edge closed the viewer's connection")
                got += piece
            path.write_bytes(got)
            self.assertGreater(len(got), 200_000)

    def test_browser_plays_over_it(self) -> None:
        """hls.js in Chromium on the edge's own page: currentTime advances before and after, with no
        reload."""
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{self.edge.http}/{STREAM}/embed.html")
            browser.wait_advance(3.0, 25.0)
            self.crash_and_return([])
            browser.wait_advance(4.0, 40.0)
