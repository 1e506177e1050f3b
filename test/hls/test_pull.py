"""A stream pulled from playlists: what comes out, when, and what servers can do wrong (row L06)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.hls.pull import HlsPull
from restreamer.hls.pull_pace import Pace
from restreamer.hls.pull_reader import SegmentReader
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.mp4.fragment import fragment, init_segment
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.sources.pull import PullTarget
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from test.mpegts.test_demux import facts
from test.tsio.servers import Servers
from test.tsio.sinks import KeepingSink

VIDEO, AUDIO = h264_track(), aac_track()


def segments(count: int, start: int = START) -> list[list[Frame]]:
    """Frames of C{count} segments of 2 s."""
    frames = make_frames(2.0 * count, start=start)
    cut = [start + number * 2 * TICKS_PER_SECOND for number in range(count + 1)]
    return [[f for f in frames if a <= f.dts < b] for a, b in pairwise(cut)]


class Origin:
    """Answers what is asked of it. C{down}: paths that answer 404."""

    def __init__(self, net: Servers) -> None:
        self.net = net
        self.files: dict[str, bytes] = {}
        self.down: set[str] = set()
        self.asked: list[str] = []

    def serve(self) -> None:
        """Answer every request that waits."""
        for connection in self.net.connections:
            if not connection.side.aborted and not connection.answered:
                path = connection.target
                connection.answered = True
                self.asked.append(path)
                if path in self.down or path not in self.files:
                    connection.answer(b"", status="404 Not Found")
                else:
                    connection.answer(self.files[path])

    def playlist(self, path: str, names: list[str], first: int = 0, *more: str, ended: bool = False) -> None:
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", f"#EXT-X-MEDIA-SEQUENCE:{first}", *more]
        for name in names:
            lines += [
                *(["#EXT-X-DISCONTINUITY"] if name.startswith("!") else []),
                "#EXTINF:2.0,",
                name.lstrip("!"),
            ]
        self.files[path] = "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""]).encode()


class Pulls(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.net = Servers()
        self.origin = Origin(self.net)
        self.sink = KeepingSink()
        self.lost: list[str] = []

    def pull(self, path: str = "/live.m3u8", **more: Any) -> HlsPull:
        target = PullTarget(shown="hls://h", scheme="hls", host="h", port=80, path=path, **more)
        pulling = HlsPull(target, self.sink, self.lost.append, self.net.clock, self.net.connect)
        self.addCleanup(pulling.stop)
        return pulling

    def run_for(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.origin.serve()
            self.net.clock.advance(0.02)

    def ts(self, count: int, start: int = START, name: str = "s") -> list[list[Frame]]:
        cut = segments(count, start)
        for number, frames in enumerate(cut):
            self.origin.files[f"/{name}{number}.ts"] = mux_segment((VIDEO, AUDIO), frames)
        return cut

    def assert_lost(self, reason: str) -> None:
        self.assertEqual((len(self.lost), len(self.sink.ends)), (1, 1), self.lost)
        self.assertIn(reason, self.lost[0])
        self.assertEqual(self.net.clock.getDelayedCalls(), [])

    def test_not_out_of_tls(self) -> None:
        """What an encrypted playlist names in the clear is not got."""
        self.origin.playlist("/live.m3u8", [f"http://h/s{n}.ts" for n in range(4)], ended=True)
        self.origin.files["/all.m3u8"] = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://h/live.m3u8\n"
        for path, reason in (("/live.m3u8", "segments cannot be had"), ("/all.m3u8", "out of TLS")):
            with self.subTest(path):
                self.lost.clear()
                self.sink.ends.clear()
                self.origin.asked.clear()
                self.pull(path, tls=True)
                self.run_for(3)
                self.assert_lost(reason)
                self.assertEqual(self.origin.asked, [path])

    def test_transport_streams_in_real_time(self) -> None:
        cut = self.ts(4)
        self.origin.playlist("/live.m3u8", [f"s{n}.ts" for n in range(4)], ended=True)
        self.pull()
        self.run_for(2.0)
        early = len(self.sink.frames)
        self.assertTrue(80 <= early <= 220, early)
        self.run_for(8)
        self.assertEqual(facts(self.sink.frames), facts([f for frames in cut for f in frames]))
        self.assertEqual(len(self.sink.tables), 1)
        self.assert_lost("the playlist ended")

    def test_live(self) -> None:
        cut = self.ts(12)
        self.pull()
        for newest in range(4, 12):
            self.origin.playlist("/live.m3u8", [f"s{n}.ts" for n in range(newest - 4, newest)], newest - 4)
            self.run_for(2.0)
        got = [frame for frame in self.sink.frames if frame.track_id == 1]
        there = [frame for frames in cut[1:] for frame in frames if frame.track_id == 1]
        self.assertEqual(facts(got), facts(there[: len(got)]))
        self.assertGreater(len(got), 300)
        self.assertEqual(len(self.sink.tables), 1)
        asked = [path for path in self.origin.asked if path.endswith(".ts")]
        self.assertEqual(len(asked), len(set(asked)))
        self.run_for(30)
        self.assert_lost("nothing new")

    def test_cmaf_with_audio_of_its_own(self) -> None:
        other = evolve(AUDIO, track_id=1, language="fra")
        cut = segments(4)
        self.origin.files["/v/init.mp4"] = init_segment(VIDEO)
        self.origin.files["/a/init.mp4"] = init_segment(other)
        for number, frames in enumerate(cut):
            end = START + (number + 1) * 2 * TICKS_PER_SECOND
            pictures = [f for f in frames if f.track_id == 1]
            sounds = [Frame(1, f.dts, 0, True, f.data) for f in frames if f.track_id == 2]
            self.origin.files[f"/v/{number}.m4s"] = fragment(VIDEO, pictures, number, end)
            self.origin.files[f"/a/{number}.m4s"] = fragment(other, sounds, number, end)
        names = [f"{number}.m4s" for number in range(4)]
        for folder in "va":
            self.origin.playlist(f"/{folder}/l.m3u8", names, 0, '#EXT-X-MAP:URI="init.mp4"', ended=True)
        self.origin.files["/live.m3u8"] = (
            b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",URI="a/l.m3u8"\n'
            b'#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\nv/l.m3u8\n'
        )
        self.pull()
        self.run_for(12)
        self.assertEqual(len(self.sink.tables), 1)
        self.assertEqual(
            [(t.track_id, t.codec, t.language) for t in self.sink.tables[0]],
            [(1, "avc1", "und"), (17, "mp4a", "fra")],
        )
        renamed = [Frame(17 if f.track_id == 2 else 1, f.dts, f.cts, f.key, f.data) for s in cut for f in s]
        unwrapped = facts(self.sink.frames)
        self.assertEqual(unwrapped, facts(renamed))
        times = [frame.dts for frame in self.sink.frames]
        self.assertEqual(times, sorted(times))
        self.assert_lost("the playlist ended")

    def test_a_discontinuity(self) -> None:
        first, second = self.ts(2), self.ts(2, START + 500 * TICKS_PER_SECOND, "t")
        self.origin.playlist("/live.m3u8", ["s0.ts", "s1.ts", "!t0.ts", "t1.ts"], ended=True)
        self.pull()
        self.run_for(12)
        self.assertEqual(
            facts(self.sink.frames), facts([f for cut in (first, second) for s in cut for f in s])
        )
        self.assert_lost("the playlist ended")

    def test_segments_that_are_gone(self) -> None:
        self.ts(5)
        self.origin.down = {"/s1.ts", "/s2.ts"}
        self.origin.playlist("/live.m3u8", [f"s{n}.ts" for n in range(5)], ended=True)
        self.pull()
        self.run_for(14)
        self.assertEqual(len([f for f in self.sink.frames if f.track_id == 1]), 150)
        self.assert_lost("the playlist ended")

    def test_segments_that_are_none(self) -> None:
        for body in (b"<html>", b"", b"\x47" * 300_000, b"\x00\x00\x00\x05moof"):
            self.setUp()
            for number in range(4):
                self.origin.files[f"/s{number}.ts"] = body
            self.origin.playlist("/live.m3u8", [f"s{n}.ts" for n in range(4)])
            self.pull()
            self.run_for(30)
            self.assertEqual(len(self.lost), 1, body[:10])

    def test_a_server_that_begins_anew(self) -> None:
        self.ts(4)
        self.origin.playlist("/live.m3u8", [f"s{n}.ts" for n in range(4)], 1000)
        self.pull()
        self.run_for(6)
        before = len(self.sink.frames)
        self.ts(4, START + 90 * TICKS_PER_SECOND, "n")
        self.origin.playlist("/live.m3u8", [f"n{n}.ts" for n in range(4)], 1)
        self.run_for(12)
        self.assertGreater(len(self.sink.frames), before + 300)

    def test_bad_playlists(self) -> None:
        for body, reason in (
            (b"<html>", "EXTM3U"),
            (b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=AES-128\n", "encrypted"),
            (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///etc/passwd\n", "HTTP"),
            (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlive.m3u8\n", "within another"),
            (b"#EXTM3U\n" + b"x" * 2_000_000, "bytes"),
        ):
            self.setUp()
            self.origin.files["/live.m3u8"] = body
            self.pull()
            self.run_for(3)
            self.assert_lost(reason)

    def test_segments_elsewhere(self) -> None:
        """Other hosts are right, other schemes are not."""
        self.ts(3)
        self.origin.playlist(
            "/live.m3u8", ["http://cdn/s0.ts", "http://cdn/s1.ts", "http://cdn/s2.ts"], ended=True
        )
        self.pull(user="u", password="p")
        self.run_for(10)
        self.assert_lost("the playlist ended")
        elsewhere = [c for c in self.net.connections if c.place[0] == "cdn"]
        self.assertEqual(len(elsewhere), 3)
        self.assertTrue(all("Authorization" not in c.request for c in elsewhere))
        self.setUp()
        self.origin.playlist("/live.m3u8", ["file:///etc/passwd"] * 3, ended=True)
        self.pull()
        self.run_for(3)
        self.assert_lost("segments cannot be had")

    def test_a_list_that_grows_faster_than_time(self) -> None:
        """Only its newest segments wait, and it is not loaded more often than twice a second."""
        self.ts(1)
        pulling = self.pull()
        for newest in range(1000, 60_000, 1000):
            self.origin.playlist("/live.m3u8", ["s0.ts"] * 1000, newest)
            text = self.origin.files["/live.m3u8"]
            self.origin.files["/live.m3u8"] = text.replace(b"TARGETDURATION:2", b"TARGETDURATION:0.1")
            self.run_for(0.1)
        self.assertLessEqual(self.origin.asked.count("/live.m3u8"), 14)
        waiting = [len(each._waiting) for each in pulling._lists]
        self.assertLessEqual(max(waiting), 100)

    def test_clips_that_all_begin_alike(self) -> None:
        """They are fetched as they are played, not all at once."""
        self.ts(1)
        self.origin.playlist("/live.m3u8", ["!s0.ts"] * 300, ended=True)
        self.pull()
        self.run_for(6)
        self.assertLessEqual(self.origin.asked.count("/s0.ts"), 8)

    def test_no_answer(self) -> None:
        self.net.hung.add("h")
        self.pull()
        self.run_for(11)
        self.assert_lost("in time")

    def test_stopped(self) -> None:
        self.ts(4)
        self.origin.playlist("/live.m3u8", [f"s{n}.ts" for n in range(4)])
        for seconds in (0.0, 0.02, 0.04, 0.1, 3.0):
            self.sink = KeepingSink()
            pulling = self.pull()
            self.run_for(seconds)
            pulling.stop()
            pulling.stop()
            self.assertEqual((self.sink.ends, self.lost), (["stopped"], []))
            self.assertEqual(self.net.clock.getDelayedCalls(), [])


class Languages(SynchronousTestCase):
    def test_only_what_a_track_can_carry(self) -> None:
        """Three letters of another alphabet would make every segment one that M4F cannot hold."""
        for told, kept in (("deu", "deu"), ("日本語", ""), ("de", ""), ("d-u", "")):
            self.assertEqual(SegmentReader(1, told)._language, kept)


class Pacing(SynchronousTestCase):
    def test_what_is_late_moves_what_follows(self) -> None:
        pace = Pace(1)
        first, second = segments(2)
        pace.add(0, first)
        got = [len(pace.due(now / 10)) for now in range(25)]
        self.assertEqual(sum(got), len(first))
        self.assertLessEqual(max(got), 12)
        pace.add(0, second)
        got = [len(pace.due(5.0 + now / 10)) for now in range(25)]
        self.assertEqual(sum(got), len(second))
        self.assertLessEqual(max(got), 12)

    def test_a_queue_that_stays_empty_is_not_waited_for_for_ever(self) -> None:
        pace = Pace(2)
        pace.add(0, segments(1)[0])
        self.assertEqual(pace.due(0.0), [])
        self.assertEqual(pace.due(1.9), [])
        self.assertGreater(len(pace.due(2.1)), 0)
