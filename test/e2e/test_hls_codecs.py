"""Every codec that CMAF carries, from a file through an origin and an edge: each packet as it was."""

from __future__ import annotations

import re
import shutil
from typing import ClassVar

from typing_extensions import override

from test.e2e.codec_samples import CodecSample, make
from test.e2e.nodes import Node, wait_until
from test.e2e.shared import Stage, StageCase
from test.e2e.test_hls_cmaf import packets

SAMPLES = {
    "hevc": CodecSample(video="hevc", audio=("aac", "ac3"), languages=("eng", "deu")),
    "av1": CodecSample(video="av1", audio=("opus",)),
    "vp9": CodecSample(video="vp9", audio=("opus51",)),
    "avc": CodecSample(video="h264", audio=("mp3", "eac3", "aac")),
}
CODECS = {
    "hevc": ["hvc1.1.6.L60.90,mp4a.40.2", "hvc1.1.6.L60.90,ac-3"],
    "av1": ["av01.0.00M.08,opus"],
    "vp9": ["vp09.00.11.08,opus"],
    "avc": ["avc1.4D400C,mp4a.40.2", "avc1.4D400C,mp4a.40.34", "avc1.4D400C,ec-3"],
}


class CodecTests(StageCase):
    origin: ClassVar[Node]
    edge: ClassVar[Node]

    @classmethod
    @override
    def build(cls, stage: Stage) -> None:
        films = stage.folder / "films"
        films.mkdir()
        body = [f"vod films {{ storage {films}; }}"]
        for name, sample in SAMPLES.items():
            shutil.copy(make(sample), films / f"{name}.mp4")
            body.append(
                f"stream {name} {{ input file://films/{name}.mp4; segment_duration 2; segment_count 6; }}"
            )
        cls.origin = stage.node("origin", "\n".join(body))
        cls.edge = stage.edge("edge", cls.origin)
        for name in SAMPLES:
            for node in (cls.origin, cls.edge):
                path = f"/{name}/tracks-v1/mono.fmp4.m3u8"
                wait_until(
                    lambda node=node, path=path: node.get(path, timeout=15.0).body.count(b".m4s") >= 3,  # type: ignore[misc]
                    30.0,
                    f"three segments of {name} on {node.name}",
                )

    def text(self, node: Node, path: str) -> str:
        answer = node.get(path, timeout=20.0)
        self.assertEqual(answer.status, 200, (path, answer.body))
        return answer.body.decode()

    def test_masters(self) -> None:
        for name, wanted in CODECS.items():
            text = self.text(self.edge, f"/{name}/index.fmp4.m3u8")
            found = re.findall(r'CODECS="([^"]*)"', text)
            self.assertEqual([each.lower() for each in found], [each.lower() for each in wanted], name)
            suitable = self.text(self.edge, f"/{name}/index.m3u8")
            self.assertEqual("mono.fmp4" in suitable, name != "avc", name)
        hevc = self.text(self.edge, "/hevc/index.ll.m3u8")
        self.assertIn('LANGUAGE="eng"', hevc)
        self.assertIn('LANGUAGE="deu"', hevc)

    def test_packets(self) -> None:
        """Of each track; a file that is played again and again gives its packets again and again."""
        for name, sample in SAMPLES.items():
            for place, track in enumerate(["v1", *[f"a{n}" for n in range(1, len(sample.audio) + 1)]]):
                bodies: list[list[bytes]] = []
                for node in (self.edge, self.origin):
                    if not bodies:
                        text = self.text(node, f"/{name}/tracks-{track}/mono.fmp4.m3u8")
                        files = [*re.findall(r'MAP:URI="([^"]+)"', text), *re.findall(r"\d+\.m4s", text)]
                    bodies.append([node.get(f"/{name}/tracks-{track}/{file}").body for file in files])
                self.assertEqual(bodies[0], bodies[1], (name, track))
                path = self.stage.folder / f"{name}-{track}.mp4"
                path.write_bytes(b"".join(bodies[0]))
                got = packets(["-i", str(path)])
                sent = packets(["-i", str(make(sample)), "-map", f"0:{place}"])
                self.assertGreater(len(got), 50)
                begin = sent.index(got[0])
                around = sent * (len(got) // len(sent) + 2)
                self.assertEqual(got, around[begin : begin + len(got)], (name, track))
