"""Enhanced RTMP in, RTMP and HTTP-FLV out, through an origin and an edge: every packet is the publisher's."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.codec_samples import CodecSample, make, newer_ffmpeg
from test.e2e.elementary import elementary_digests
from test.e2e.nodes import Node
from test.e2e.samples import FFMPEG
from test.e2e.shared import LIVE, Stage, StageCase

SAMPLES = {
    "hevc": CodecSample(video="hevc", audio=("aac",), suffix="mkv"),
    "av1": CodecSample(video="av1", audio=("opus",), suffix="mkv"),
    "vp9": CodecSample(video="vp9", audio=("ac3",), suffix="mkv"),
    "many": CodecSample(video="h264", audio=("aac", "eac3", "opus"), suffix="mkv"),
}
#: Of media that are compared.
SECONDS = 1.2
TIMEOUT = ("-rw_timeout", "8000000")


def tracks_of(name: str) -> list[tuple[str, str]]:
    """(ffmpeg's stream specifier, ffmpeg's codec) of each track of a sample."""
    sample = SAMPLES[name]
    return [("v:0", sample.video), *((f"a:{index}", codec) for index, codec in enumerate(sample.audio))]


def is_looped_run(part: list[str], whole: list[str]) -> bool:
    """Whether C{part} stands in C{whole}, which ffmpeg sends again and again.

    Where it begins anew it may leave out a packet or two of a sound that began before 0.
    """
    slack = 3
    for begin in (at for at, digest in enumerate(whole) if digest == part[0]):
        at = begin
        for digest in part[1:]:
            at += 1
            if at < len(whole) and whole[at] == digest:
                continue
            if at < len(whole) - slack or digest not in whole[:slack]:
                break
            at = whole.index(digest)
        else:
            return True
    return False


class CodecTests(StageCase):
    """An origin that takes publishers, an edge, and a node that pulls from the edge by RTMP."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]
    puller: ClassVar[Node]
    files: ClassVar[dict[str, Path]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        ffmpeg = newer_ffmpeg()
        if ffmpeg is None:
            raise SkipTest("no ffmpeg with Enhanced RTMP is installed")
        cls.files = {name: make(sample) for name, sample in SAMPLES.items()}
        cls.origin = stage.node("origin", LIVE)
        cls.edge = stage.edge("edge", cls.origin)
        cls.puller = stage.node(
            "puller",
            "\n".join(
                f"stream {name} {{ input rtmp://127.0.0.1:{cls.edge.rtmp}/live/{name}; segment_duration 2; }}"
                for name in SAMPLES
            ),
        )
        for name, path in cls.files.items():
            command = [ffmpeg, "-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", str(path)]
            command += ["-map", "0", "-c", "copy", "-f", "flv", cls.origin.url(f"live/{name}", "rtmp")]
            publisher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stage.stack.callback(publisher.wait, 10)
            stage.stack.callback(publisher.terminate)
        for name in SAMPLES:
            cls.origin.wait_alive(f"live/{name}")
            cls.edge.wait_alive(f"live/{name}")

    def check(self, url: str, name: str, chosen: tuple[int, ...] = (0, 1)) -> None:
        """What C{url} plays is a run of the sample's packets, in the tracks of these places."""
        tracks = tracks_of(name)
        seen = {"v": 0, "a": 0}
        wanted = []
        for place in chosen:
            track, codec = tracks[place]
            wanted.append((f"{track[0]}:{seen[track[0]]}", track, codec))
            seen[track[0]] += 1

        def digests(of: tuple[str, str, str]) -> list[str]:
            return elementary_digests(url, of[0], of[2], seconds=SECONDS, options=TIMEOUT)

        with ThreadPoolExecutor(len(wanted)) as pool:
            for (_, track, codec), through in zip(wanted, pool.map(digests, wanted), strict=True):
                self.assertGreater(len(through), 20, f"{url} {track}")
                there = elementary_digests(self.files[name], track, codec)
                self.assertTrue(is_looped_run(through, there), f"{url} {track} {codec}")

    def test_rtmp(self) -> None:
        """Players that name the codecs they read get them, on both nodes."""
        for node in (self.origin, self.edge):
            for name in ("hevc", "av1", "vp9"):
                self.check(node.url(f"live/{name}", "rtmp") + "?fourcc=*", name)

    def test_http_flv(self) -> None:
        """Both addresses; the edge."""
        for name in ("hevc", "av1", "vp9", "many"):
            self.check(f"http://127.0.0.1:{self.edge.http}/live/{name}/live.flv", name)
        self.check(f"http://127.0.0.1:{self.edge.http}/live/hevc.flv", "hevc")

    def test_chosen_tracks(self) -> None:
        """filter.tracks: another audio track, and several of them."""
        base = f"http://127.0.0.1:{self.edge.http}/live/many.flv?filter.tracks="
        self.check(base + "v1a3", "many", (0, 3))
        # A reader knows Opus by its header, and E-AC-3 later by its first frame.
        self.check(base + "v1a1a2a3", "many", (0, 1, 3, 2))
        self.check(self.edge.url("live/many", "rtmp") + "?fourcc=*&filter.tracks=a2a3", "many", (3, 2))

    def test_legacy_players(self) -> None:
        """Who announces nothing gets what he can read, or a plain refusal."""
        url = self.edge.url("live/hevc", "rtmp")
        there = elementary_digests(self.files["hevc"], "a:0", "aac")
        self.assertTrue(
            is_looped_run(elementary_digests(url, "a:0", "aac", seconds=1, options=TIMEOUT), there)
        )
        self.assertRaises(AssertionError, elementary_digests, url, "v:0", "hevc", seconds=1, options=TIMEOUT)
        url = self.edge.url("live/vp9", "rtmp")
        refused = subprocess.run(
            [
                FFMPEG or "ffmpeg",
                "-v",
                "error",
                *TIMEOUT,
                "-i",
                url,
                "-f",
                "null",
                "-",
            ],
            capture_output=True,
            timeout=20,
        )
        self.assertIn(b"can carry none of the tracks", refused.stderr)
        self.edge.wait_log("left out of rtmp")

    def test_pull(self) -> None:
        """A third node pulls all tracks from the edge by RTMP, and serves them."""
        for name in SAMPLES:
            self.puller.wait_alive(name)
            url = f"http://127.0.0.1:{self.puller.http}/{name}.flv"
            if name == "many":
                self.check(url + "?filter.tracks=v1a1a2a3", name, (0, 1, 3, 2))
            else:
                self.check(url, name)
