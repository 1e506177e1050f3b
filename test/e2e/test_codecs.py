"""Files of every codec that MPEG-TS carries, live and on request, through an origin and an edge."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from test.e2e.codec_samples import CodecSample, make
from test.e2e.elementary import elementary_digests, is_run_of
from test.e2e.nodes import Node, wait_until
from test.e2e.players import decode, record_ts
from test.e2e.playlists import fetch, segment_bytes
from test.e2e.samples import FFPROBE
from test.e2e.shared import Stage, StageCase

#: Without edit lists, so that ffmpeg reads from the file what the other side gets.
PLAIN = ("-use_editlist", "0", "-movflags", "+faststart")
MANY = CodecSample(
    video="hevc",
    audio=("aac", "ac3", "eac351", "opus51"),
    languages=("eng", "deu", "fra", "spa"),
    options=PLAIN,
)
BROADCAST = CodecSample(video="mpeg2", audio=("mp2",), languages=("ita",), options=PLAIN)
PLAIN_FILE = CodecSample(video="h264", audio=("mp3",), options=PLAIN)
SOUND = CodecSample(audio=("opus",), options=PLAIN)
MODERN = CodecSample(video="av1", audio=("opus",), languages=("eng",), options=PLAIN)
OPEN = CodecSample(video="vp9", audio=("opus",), options=PLAIN)
SAMPLES = {"many": MANY, "broadcast": BROADCAST, "plain": PLAIN_FILE, "sound": SOUND}
#: What only fragmented MP4 carries, and one that MPEG-TS has too.
FRAGMENTED = {"modern": MODERN, "open": OPEN, "many": MANY}
#: Names of ffmpeg.
CODECS = {"eac351": "eac3", "opus51": "opus", "mpeg2": "mpeg2video"}


def tracks_of(sample: CodecSample) -> list[tuple[str, str]]:
    """(ffmpeg's stream specifier, ffmpeg's codec) of each track."""
    video = [("v:0", CODECS.get(sample.video, sample.video))] if sample.video else []
    audio = [(f"a:{index}", CODECS.get(name, name)) for index, name in enumerate(sample.audio)]
    return video + audio


def answered(node: Node, path: str) -> None:
    """Wait until C{path} is there."""
    wait_until(lambda: node.get(path).status == 200, 15, f"{path} on {node.name}")


class CodecFiles(StageCase):
    """The origin has the files and plays them as live streams too; the edge restreams it."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]
    files: ClassVar[dict[str, Path]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        folder = stage.folder / "films"
        folder.mkdir()
        cls.files = {}
        for name, sample in (SAMPLES | FRAGMENTED).items():
            cls.files[name] = folder / f"{name}.mp4"
            cls.files[name].write_bytes(make(sample).read_bytes())
        live = "\n".join(
            f"stream live-{name} {{ input file://films/{name}.mp4; segment_duration 2; }}"
            for name in SAMPLES | FRAGMENTED
        )
        cls.origin = stage.node("origin", f"vod films {{ storage {folder}; }}\n{live}")
        cls.edge = stage.edge("edge", cls.origin)
        for name in SAMPLES:
            for node in (cls.origin, cls.edge):
                answered(node, f"/films/{name}.mp4/index.m3u8")

    def test_segments_of_files(self) -> None:
        """Byte-equal on both nodes; every packet of every track is the file's."""
        for name, sample in SAMPLES.items():
            path = f"films/{name}.mp4"
            bodies = []
            for node in (self.origin, self.edge):
                playlist = fetch(node, path, "index.ts.m3u8")
                bodies.append(b"".join(segment_bytes(node, path, each) for each in playlist.segments))
            self.assertEqual(bodies[0], bodies[1], name)
            whole = self.stage.folder / f"{name}.ts"
            whole.write_bytes(bodies[1])
            for track, codec in tracks_of(sample):
                through = elementary_digests(whole, track, codec)
                there = elementary_digests(self.files[name], track, codec)
                self.assertEqual(through, there, f"{name} {track} {codec}")
            seen = decode(str(whole), 0)
            self.assertEqual(seen.complaints, "", name)

    def test_live_streams_of_files(self) -> None:
        """HTTP MPEG-TS from the edge: a run of the file's packets, for every track."""
        for name, sample in SAMPLES.items():
            recorded = record_ts(self.edge.http, f"live-{name}", 2.0, self.stage.folder / f"live-{name}.ts")
            for track, codec in tracks_of(sample):
                through = elementary_digests(recorded, track, codec)[:-1]
                there = elementary_digests(self.files[name], track, codec)
                self.assertGreater(len(through), 20, f"{name} {track}")
                self.assertTrue(is_run_of(through, there), f"{name} {track} {codec}")

    def test_live_fragments_of_files(self) -> None:
        """HLS with fragmented MP4 from the edge: a run of the file's packets, for every track."""
        for name, sample in FRAGMENTED.items():
            path = f"/live-{name}/index.fmp4.m3u8"
            for node in (self.origin, self.edge):
                answered(node, path)
            for track, codec in tracks_of(sample):
                kind, place = track.split(":")
                alone = f"/live-{name}/tracks-{kind}{int(place) + 1}/mono.fmp4.m3u8"
                url = f"http://127.0.0.1:{self.edge.http}{alone}"
                through = elementary_digests(url, f"{kind}:0", codec, seconds=2.0)[:-1]
                there = elementary_digests(self.files[name], track, codec)
                self.assertGreater(len(through), 20, f"{name} {track}")
                self.assertTrue(is_run_of(through, there), f"{name} {track} {codec}")

    def test_languages_and_codecs(self) -> None:
        """What a player is told by the program map, and by the API."""
        recorded = record_ts(self.edge.http, "live-many", 1.0, self.stage.folder / "many-live.ts")
        command = [FFPROBE or "ffprobe", "-v", "error", "-show_streams", "-of", "json", str(recorded)]
        streams = json.loads(subprocess.run(command, capture_output=True, timeout=30, check=True).stdout)[
            "streams"
        ]
        told = [(s["codec_name"], s.get("channels", 0), s.get("tags", {}).get("language")) for s in streams]
        self.assertEqual(
            told,
            [("hevc", 0, None), ("aac", 2, "eng"), ("ac3", 2, "deu"), ("eac3", 6, "fra"), ("opus", 6, "spa")],
        )
