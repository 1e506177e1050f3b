"""Every playlist that is given out, whatever a publisher does: what may never change or go back, and what low
latency promises (RFC 8216bis sections 4.4.3, 4.4.4 and 6.2.5)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from restreamer.hls.routes import hls_routes
from restreamer.http1.reply import HttpRequest
from restreamer.live.stream import Stream
from restreamer.media.frame import Frame
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.seams import OpenRequest
from restreamer.testing.media import make_frames
from test.live.rig import AUDIO, AV, SECOND, Origin

_FILES = ("video.m3u8", "tracks-v1/mono.fmp4.m3u8", "tracks-v1/mono.ll.m3u8", "tracks-a1/mono.ll.m3u8")


class _Point:
    def __init__(self) -> None:
        self.stream: Stream | None = None

    async def watch(self, request: OpenRequest) -> Stream:
        """The stream of now."""
        assert self.stream is not None
        return self.stream


def _tag(text: str, name: str) -> int:
    found = re.search(rf"^#{name}:(\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _seconds(text: str, name: str) -> float:
    found = re.search(rf"[:,]{name}=([0-9.]+)", text)
    assert found is not None, (name, text)
    return float(found[1])


class Emitted:
    """All playlists of one name, one after the other, over the streams that have it."""

    def __init__(self, files: Sequence[str] = _FILES) -> None:
        self.point = _Point()
        self.route = hls_routes(self.point, mux_segment, Clock())
        self.files = files
        self.before: dict[str, str] = {}
        self.given = self.deltas = 0

    def text(self, file: str, query: str = "") -> str:
        outcome = self.route(HttpRequest(method="GET", path=f"/x/{file}", query=query))
        assert isinstance(outcome, Awaitable)

        async def wait() -> Any:
            return await outcome

        found: list[Any] = []
        _ = Deferred.fromCoroutine(wait()).addBoth(found.append)
        assert found[0].status == 200, found
        return str(found[0].body.decode())

    def look(self, stream: Stream) -> None:
        """Ask for each of them, as it is now, and compare it with itself and with the one before."""
        if stream.window.last is None:
            return
        self.point.stream = stream
        said = {
            tuple(re.findall("#EXT-X-(?:SERVER-CONTROL|PART-INF|TARGETDURATION).*", self.text(file)))
            for file in self.files
            if ".ll." in file
        }
        assert len(said) <= 1, ("renditions differ (section 6.2.4)", said)
        for file in self.files:
            text = self.text(file)
            self.alone(text)
            if ".ll." in file:
                delta = self.text(file, "_HLS_skip=YES")
                self.low_latency(text, delta)
                self.deltas += delta != text
            self.given += 1
            before = self.before.get(file, text)
            target = _tag(text, "EXT-X-TARGETDURATION")
            assert target == _tag(before, "EXT-X-TARGETDURATION"), (before, text)
            for name in ("EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE"):
                assert _tag(text, name) >= _tag(before, name), (name, before, text)
            self.before[file] = text

    @staticmethod
    def alone(text: str) -> None:
        """The target duration does not lie (section 4.4.3.1)."""
        target = _tag(text, "EXT-X-TARGETDURATION")
        for duration in re.findall(r"#EXTINF:([0-9.]+),", text):
            assert int(float(duration) + 0.5) <= target, text

    @staticmethod
    def low_latency(text: str, delta: str) -> None:
        """What is promised to players that follow closely (sections 4.4.3.7, 4.4.3.8 and 6.2.5.1)."""
        target = _tag(text, "EXT-X-TARGETDURATION")
        part = _seconds(text, "PART-TARGET")
        assert "CAN-BLOCK-RELOAD=YES" in text
        assert _seconds(text, "HOLD-BACK") >= 3 * target, text
        assert _seconds(text, "PART-HOLD-BACK") >= 3 * part - 1e-6, text
        assert _seconds(text, "CAN-SKIP-UNTIL") >= 6 * target, text
        for duration in re.findall(r"#EXT-X-PART:DURATION=([0-9.]+)", text):
            assert float(duration) <= part, text
        skipped = _tag(delta.replace("SKIP:SKIPPED-SEGMENTS=", "SKIP:"), "EXT-X-SKIP")
        if not skipped:
            assert delta == text
            return
        # Who has the older playlist puts both together, and nothing within the boundary was left out.
        lines, kept = text.splitlines(), delta.splitlines()
        uris = [index for index, line in enumerate(lines) if not line.startswith("#")]
        behind = lines[uris[skipped - 1] + 1 :]
        assert kept[-len(behind) :] == behind, (text, delta)
        rest = sum(float(each) for each in re.findall(r"#EXTINF:([0-9.]+),", "\n".join(behind)))
        open_parts = re.split(r"^[^#].*$", text, flags=re.MULTILINE)[-1]
        rest += sum(float(each) for each in re.findall(r"#EXT-X-PART:DURATION=([0-9.]+)", open_parts))
        assert rest > 6 * target - 0.1, rest


def _keyframes(seconds: float, gop: int) -> list[Frame]:
    """Pictures and sound with a keyframe every C{gop} pictures; 0: the first one alone."""
    return make_frames(seconds, gop=gop or 100_000, start=0, video_bitrate=20_000)


class RowTests(SynchronousTestCase):
    """Rows L01 and L02."""

    def test_any_keyframe_distance(self) -> None:
        """L01: keyframes at each picture, once a minute, or never: no segment is longer than was said."""
        for gop in (1, 1500, 0):
            origin = Origin(segment_duration=2 * SECOND, part_duration=SECOND // 5, segment_count=20)
            ingest, emitted = origin.publish(), Emitted()
            frames = _keyframes(70.0 if gop == 1500 else 20.0, gop)
            for at in range(0, len(frames), 200):
                origin.play(ingest, frames[at : at + 200])
                emitted.look(origin.stream)
            self.assertGreater(len(origin.closed), 5)
            self.assertGreater(emitted.given, 20)
            self.assertEqual(emitted.deltas > 0, gop == 1500)

    def test_parts_of_which_some_hold_one_track(self) -> None:
        """Renditions agree about the longest part, though not all of them have it (section 6.2.4)."""
        origin = Origin(segment_duration=2 * SECOND, part_duration=SECOND // 2, segment_count=5)
        ingest, emitted = origin.publish(), Emitted()
        sound = [
            each for each in _keyframes(14.0, 25) if each.track_id == 1 or each.dts % (2 * SECOND) < 30_000
        ]
        frames = [each for each in sound if each.track_id == 2 or not 3.15 < each.dts / SECOND < 3.75]
        for at in range(0, len(frames), 20):
            origin.play(ingest, frames[at : at + 20])
            emitted.look(origin.stream)

    def test_one_kind_of_track(self) -> None:
        """L03: sound alone, and pictures alone."""
        for tracks, files, kept in ((AUDIO, _FILES[3:], 2), (AV[:1], _FILES[:3], 1)):
            origin = Origin(segment_duration=2 * SECOND, part_duration=SECOND // 5, tracks=tracks)
            ingest, emitted = origin.publish(), Emitted(files)
            track_id = tracks[0].track_id
            frames = [
                Frame(track_id, each.dts, each.cts, each.key, each.data)
                for each in _keyframes(9.0, 25)
                if each.track_id == kept
            ]
            for at in range(0, len(frames), 100):
                origin.play(ingest, frames[at : at + 100])
                emitted.look(origin.stream)
            self.assertGreater(len(origin.closed), 2)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("goes on", "comes back", "expires", "jumps", "jumps back")),
                st.integers(1, 9),
                st.sampled_from((5, 25, 60, 0)),
            ),
            min_size=1,
            max_size=6,
        )
    )
    @settings(deadline=None, max_examples=25, derandomize=True)
    def test_nothing_goes_back(self, trace: list[tuple[str, int, int]]) -> None:
        """L02: over pauses, restarts, other streams of the name and encoders whose clock jumps."""
        origin = Origin(segment_duration=2 * SECOND, part_duration=SECOND // 5, segment_count=5)
        ingest, emitted, base = origin.publish(), Emitted(), 0
        for what, seconds, gop in trace:
            if what in ("comes back", "expires"):
                ingest.end("gone")
                origin.now.ticks += seconds * SECOND
                if what == "expires":
                    origin.new_stream()
                ingest = origin.publish()
            base += {"jumps": 700, "jumps back": -300}.get(what, 0) * SECOND
            frames = [
                Frame(each.track_id, each.dts + base, each.cts, each.key, each.data)
                for each in _keyframes(float(seconds), gop)
            ]
            base += seconds * SECOND
            for at in range(0, len(frames), 60):
                origin.play(ingest, frames[at : at + 60])
                emitted.look(origin.stream)
