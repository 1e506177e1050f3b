"""DASH of every codec that CMAF carries, over an edge: the samples of the file, codecs that a browser plays,
and languages."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from test.dash.rig import Shown
from test.e2e.browser import Browser
from test.e2e.codec_samples import CodecSample, make
from test.e2e.nodes import Node
from test.e2e.players import probe_packets
from test.e2e.shared import Stage, StageCase
from test.e2e.test_dash import file_of, wait_listed

SAMPLES = {
    "vp9": CodecSample(video="vp9", audio=("opus", "ac3"), languages=("eng", "deu")),
    "hevc": CodecSample(video="hevc", audio=("eac3",)),
    "av1": CodecSample(video="av1", audio=("mp3",)),
}
#: What C{codecs} begins with, by track.
CODECS = {
    "vp9": {"v1": "vp09.", "a1": "opus", "a2": "ac-3"},
    "hevc": {"v1": "hvc1.", "a1": "ec-3"},
    "av1": {"v1": "av01.", "a1": "mp4a."},
}


class Codecs(StageCase):
    """Files that an origin plays as live streams."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]
    files: ClassVar[dict[str, Path]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.files = {name: make(sample) for name, sample in SAMPLES.items()}
        body = [f"vod c {{ storage {next(iter(cls.files.values())).parent}; }}"]
        for name, path in cls.files.items():
            options = "segment_duration 2; segment_count 6; chunk_duration 250;"
            body.append(f"stream {name} {{ input file://c/{path.name}; {options} }}")
        cls.origin = stage.node("origin", "\n".join(body))
        cls.edge = stage.edge("edge", cls.origin)
        for name in SAMPLES:
            cls.edge.wait_alive(name)

    def packets(self, node: Node, stream: str, each: Shown, count: int) -> list[str]:
        """Digests of the samples of the newest C{count} segments."""
        data = file_of(node, each.init, stream)
        for number, _, _ in each.lines[-count:]:
            path = each.media.replace("$RepresentationID$", each.name).replace("$Number$", str(number))
            data += file_of(node, path, stream)
        whole = self.stage.folder / f"{stream}-{each.name}.mp4"
        whole.write_bytes(data)
        return [packet.digest for packet in probe_packets(str(whole))]

    def test_samples_are_those_of_the_file(self) -> None:
        """In the file's order, which begins again at its end, and none is missing."""
        for stream, path in self.files.items():
            found = wait_listed(self.edge, stream, 3)
            self.assertEqual([each.name for each in found], list(CODECS[stream]))
            for each in found:
                self.assertTrue((each.facts["codecs"] or "").startswith(CODECS[stream][each.name]), each)
                specifier = f"{each.name[0]}:{int(each.name[1:]) - 1}"
                sent = [
                    packet.digest for packet in probe_packets(str(path), extra=("-select_streams", specifier))
                ]
                seen = self.packets(self.edge, stream, each, 3)
                self.assertGreater(len(seen), 100)
                begins = [index for index, digest in enumerate(sent) if digest == seen[0]]
                rounds = sent * (len(seen) // len(sent) + 2)
                self.assertTrue(
                    any(rounds[at : at + len(seen)] == seen for at in begins), f"{stream} {each.name}"
                )

    def test_languages(self) -> None:
        """Each sound with its own."""
        told = {each.name: each.facts.get("lang") for each in wait_listed(self.edge, "vp9", 1)}
        self.assertEqual(told, {"v1": None, "a1": "eng", "a2": "deu"})

    def test_browser(self) -> None:
        """dash.js plays AV1 and VP9."""
        with Browser.open_or_skip() as browser:
            for stream in ("vp9", "av1"):
                wait_listed(self.edge, stream, 3)
                browser.go(f"http://127.0.0.1:{self.edge.http}/{stream}/embed.html?proto=dash")
                browser.wait_advance(2.0, 25.0)
