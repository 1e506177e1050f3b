"""The origin dies under load and comes back: edges and players go on."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from bench.viewers import Audience, Target
from test.e2e.browser import Browser
from test.e2e.machine import stretch
from test.e2e.nodes import Node, wait_until
from test.e2e.players import HttpStream, decode
from test.e2e.playlists import Playlist, check_reload, fetch, parse, wait_segments
from test.e2e.pollers import Pollers, fixed, is_playlist, player
from test.e2e.publishers import Publisher
from test.e2e.samples import BFRAMES, byte_rate
from test.e2e.shared import Stage, StageCase

STREAM = "live/phoenix"
#: Viewers of the edge by protocol, while the origin dies; of HLS: clients of the playlist alone, and players.
HTTP_VIEWERS = 150
RTMP_VIEWERS = 50
POLLERS = 25
PLAYERS = 25
#: How long the origin is dead, seconds: this is the fault.
DEAD = 1.0
#: Viewers of the origin itself.
ORIGIN_VIEWERS = 50


def connections_to(port: int) -> int:
    """Connections of this machine to C{port} on it, as their clients have them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


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
        self.watch_for(DEAD, watch)
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
            returned, got = time.monotonic(), 0
            while time.monotonic() - returned < 25.0 and got < 400_000:
                piece = viewer.read()
                self.assertNotEqual(piece, b"", "the edge closed the viewer's connection")
                got += len(piece)
            self.assertGreater(got, 200_000)

    def test_crowd_stays(self) -> None:
        """Hundreds watch at the edge while the origin dies and returns: nobody is sent away, each gets media
        again at its full rate, and no playlist that anybody was given falls back."""
        http = Target(proto="tshttp", host="127.0.0.1", port=self.edge.http, path=f"/{STREAM}/mpegts")
        rtmp = Target(proto="rtmp", host="127.0.0.1", port=self.edge.rtmp, path=STREAM)
        near = Target(proto="tshttp", host="127.0.0.1", port=self.origin.http, path=f"/{STREAM}/mpegts")
        polls = [fixed(f"/{STREAM}/index.m3u8")] * POLLERS
        polls += [player(f"/{STREAM}/index.m3u8") for _ in range(PLAYERS)]
        wait_segments(self.edge, STREAM, 2)
        with contextlib.ExitStack() as stack:
            crowds = [
                stack.enter_context(Audience(http, HTTP_VIEWERS, processes=1)),
                stack.enter_context(Audience(rtmp, RTMP_VIEWERS, processes=1)),
            ]
            # The origin's own viewers cannot stay: they are there so that it dies at work.
            stack.enter_context(Audience(near, ORIGIN_VIEWERS, processes=1))
            pollers = stack.enter_context(Pollers(self.edge.http, polls, 0.5))
            for crowd in crowds:
                wait_until(crowd.filled, 20.0, "everybody has media")
            for crowd, count in zip(crowds, (HTTP_VIEWERS, RTMP_VIEWERS), strict=True):
                window = crowd.report()
                self.assertEqual((len(window.first), window.closed), (count, 0), window.describe())
            last = fetch(self.edge, STREAM).numbers[-1]
            self.crash_and_return([])
            wait_segments(self.edge, STREAM, 1, beyond=last)
            for crowd in crowds:
                crowd.mark()
            # The time that is judged: as much media as the encoder sends in it.
            time.sleep(4.0)
            for crowd, count in zip(crowds, (HTTP_VIEWERS, RTMP_VIEWERS), strict=True):
                window = crowd.report()
                self.assertEqual(window.closed, 0, window.describe())
                self.assertEqual(window.ok(0.85 * byte_rate(BFRAMES)), count, window.describe())
            wait_segments(self.edge, STREAM, 3, beyond=last)
        self.assertEqual([client.closed for client in pollers.clients if client.closed], [])
        self.assertEqual(set(pollers.statuses()), {200})
        given = [
            [answer.body for _, answer in client.answers if is_playlist(answer)] for client in pollers.clients
        ]
        playlists = {body: parse(body.decode()) for body in set(itertools.chain(*given))}
        for old, new in {step for bodies in given for step in itertools.pairwise(bodies)}:
            check_reload(playlists[old], playlists[new])
        for bodies in given:
            self.assertGreater(playlists[bodies[-1]].numbers[-1], last)
        media = [
            len(answer.body)
            for client in pollers.clients[POLLERS:]
            for _, answer in client.answers
            if not is_playlist(answer)
        ]
        self.assertGreater(len(media), 4 * PLAYERS)
        self.assertGreater(min(media), 10_000, "whole segments")

    def test_crowd_comes_back(self) -> None:
        """The edge is killed and starts again, and all who watched come back in one moment (F11): they are
        served as soon as it is up, at the full rate, and the stream is pulled once for all of them."""
        self.edge.wait_alive(STREAM)
        self.edge.kill()
        began = time.monotonic()
        self.edge.start()
        self.edge.wait_ready()
        self.assertLess(time.monotonic() - began, 5.0 * stretch(), "it is up")
        http = Target(proto="tshttp", host="127.0.0.1", port=self.edge.http, path=f"/{STREAM}/mpegts")
        rtmp = Target(proto="rtmp", host="127.0.0.1", port=self.edge.rtmp, path=STREAM)
        polls = [player(f"/{STREAM}/index.m3u8") for _ in range(5 * PLAYERS)]
        with contextlib.ExitStack() as stack:
            pollers = stack.enter_context(Pollers(self.edge.http, polls, 0.5))
            crowds = [
                stack.enter_context(Audience(target, count, processes=1, per_second=10_000.0))
                for target, count in ((http, 2 * HTTP_VIEWERS), (rtmp, 2 * RTMP_VIEWERS))
            ]
            for crowd in crowds:
                wait_until(crowd.filled, 10.0, "everybody has media")
            wait_until(lambda: all(client.answers for client in pollers.clients), 10.0, "all have a list")
            self.assertEqual(connections_to(self.origin.http), 2, "one for control, one for the media")
            for crowd in crowds:
                crowd.mark()
            # The time that is judged: as much media as the encoder sends in it.
            time.sleep(3.0)
            for crowd in crowds:
                window = crowd.report()
                self.assertEqual(window.closed, 0, window.describe())
                self.assertEqual(window.ok(0.85 * byte_rate(BFRAMES)), crowd.count, window.describe())
        self.assertEqual([client.closed for client in pollers.clients if client.closed], [])
        self.assertEqual(set(pollers.statuses()), {200})

    def test_browser_plays_over_it(self) -> None:
        """hls.js in Chromium on the edge's own page: it plays before, and afterwards past all that it held
        meanwhile, with no reload."""
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{self.edge.http}/{STREAM}/embed.html")
            browser.wait_advance(3.0, 25.0)
            self.crash_and_return([])
            browser.wait_beyond(3.0, 40.0)
