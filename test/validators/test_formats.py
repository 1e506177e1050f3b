"""Files, playlists and packets of an edge, for three pairs of codecs, before judges of others."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from bench.servers import TUNING
from restreamer.testing.ts_reader import read_ts
from test.dash.schema import checked
from test.e2e.codec_samples import CodecSample, make
from test.e2e.matrix import media_playlists
from test.e2e.nodes import ROOT, Node, free_ports, wait_until
from test.e2e.players import decode, record_ts
from test.e2e.playlists import resolve
from test.e2e.samples import FFMPEG, FFPROBE
from test.e2e.shared import Stage, StageCase, source_of
from test.validators.tools import Capture, node_says

PLAIN = ("-use_editlist", "0", "-movflags", "+faststart")
FILMS = {
    "old": CodecSample(
        video="h264", audio=("aac", "aac"), languages=("eng", "deu"), seconds=20, options=PLAIN
    ),
    "new": CodecSample(video="hevc", audio=("aac", "ac3"), seconds=20, options=PLAIN),
    "web": CodecSample(video="vp9", audio=("opus",), seconds=20, options=PLAIN),
}
_PLAYLISTS = ("index.m3u8", "index.ts.m3u8", "index.fmp4.m3u8", "index.ll.m3u8")


class Formats(StageCase):
    """Films as streams of an origin, judged on its edge."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]
    rtsp: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        folder = stage.folder / "films"
        folder.mkdir()
        for name, sample in FILMS.items():
            (folder / f"{name}.mp4").write_bytes(make(sample).read_bytes())
        streams = "\n".join(
            f"stream {name} {{ input file://films/{name}.mp4; segment_duration 1; segment_count 4; }}"
            for name in FILMS
        )
        cls.origin = stage.node("origin", f"vod films {{ storage {folder}; }}\n{streams}")
        (cls.rtsp,) = free_ports(1)
        cls.edge = stage.node(
            "edge",
            f"{source_of(cls.origin)}\nrtsp 127.0.0.1:{cls.rtsp};",
            environment={"PYTHONPATH": f"{TUNING}{os.pathsep}{ROOT}", "BENCH_DATAGRAMS": "1"},
        )
        for name in FILMS:
            wait_until(
                lambda name=name: cls.listed(name, "index.mpd").count("<S ") >= 4,  # type: ignore[misc]
                20.0,
                f"{name} has segments",
            )

    @classmethod
    def body(cls, path: str) -> bytes:
        """A file of the edge."""
        answer = cls.edge.get(path)
        if answer.status != 200:
            raise AssertionError(f"{path} answered {answer.status} {answer.body[:200]!r}")
        return answer.body

    @classmethod
    def listed(cls, stream: str, file: str) -> str:
        """A manifest or playlist; empty while there is none."""
        answer = cls.edge.get(f"/{stream}/{file}")
        return answer.body.decode() if answer.status == 200 else ""

    def playlists(self) -> dict[str, str]:
        """Every playlist there is, by path: masters, and what they lead to."""
        found: dict[str, str] = {}
        for name in FILMS:
            for file in _PLAYLISTS:
                if name == "web" and file == "index.ts.m3u8":
                    continue
                path = f"/{name}/{file}"
                found[path] = self.body(path).decode()
                found |= media_playlists(self.edge, path)
        return found

    def files(self, stream: str) -> dict[str, bytes]:
        """The CMAF files of each track, put together, by the track's name."""
        found = {}
        for path, text in media_playlists(self.edge, f"/{stream}/index.fmp4.m3u8").items():
            (init,) = set(re.findall(r'#EXT-X-MAP:URI="([^"]+)"', text))
            segments = [line for line in text.splitlines() if line.endswith(".m4s")]
            name = re.search(r"tracks-(\w+)", path)
            whole = b"".join(self.body(resolve(path, uri)) for uri in (init, *segments))
            found[name[1] if name else "all"] = whole
        return found

    def test_playlists_by_m3u8(self) -> None:
        """The m3u8 package, strict: every tag is known and well-formed."""
        try:
            m3u8 = import_module("m3u8")
            strict = import_module("m3u8.parser").parse
        except ImportError:
            raise SkipTest("the m3u8 package is not installed") from None
        for path, text in self.playlists().items():
            strict(text, strict=True)
            found = m3u8.loads(text, uri=f"http://h{path}")
            self.assertNotEqual(found.is_variant, bool(found.segments), path)
            if found.segments:
                self.assertLessEqual(
                    max(round(each.duration or 0) for each in found.segments), found.target_duration
                )

    def test_playlists_by_hls_parser(self) -> None:
        """hls-parser of npm in strict mode, which knows the rules between tags."""
        for path, text in self.playlists().items():
            file = self.stage.folder / "judged.m3u8"
            file.write_text(text)
            script = (
                "it.setOptions({strictMode: true});"
                "const found = it.parse(fs.readFileSync(process.argv[1], 'utf8'));"
                "console.log(JSON.stringify({master: found.isMasterPlaylist,"
                " count: (found.variants || found.segments).length}));"
            )
            try:
                told = node_says("hls-parser", script, str(file))
            except AssertionError as failure:
                raise AssertionError(f"{path}: {failure}\n{text}") from failure
            self.assertGreater(told["count"], 0, path)

    def test_manifests(self) -> None:
        """Both manifests hold to the schema of ISO/IEC 23009-1."""
        for name in FILMS:
            for file in ("index.mpd", "index.ll.mpd"):
                checked(self.listed(name, file))

    def test_transport_streams(self) -> None:
        """Segments one after the other, and the endless stream: a strict reader, ffprobe, decoders."""
        for name in ("old", "new"):
            ((path, text),) = list(media_playlists(self.edge, f"/{name}/index.ts.m3u8").items())[:1]
            uris = [line for line in text.splitlines() if line.endswith(".ts") and "gap" not in line]
            segments = [self.body(resolve(path, uri)) for uri in uris]
            for segment in segments:
                read_ts(segment)
            whole = self.stage.folder / f"{name}.ts"
            whole.write_bytes(b"".join(segments))
            endless = record_ts(self.edge.http, name, 2.0, self.stage.folder / f"{name}-endless.ts")
            for file in (whole, endless):
                read_ts(file.read_bytes())
                self.assertEqual(self.complaints(file), "", file.name)
            self.assertEqual(decode(str(whole), 0).complaints, "")

    def complaints(self, file: Path) -> str:
        """What ffprobe finds wrong with a file."""
        command = [FFPROBE or "ffprobe", "-v", "warning", "-show_packets", "-of", "compact", str(file)]
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
        lines = done.stderr.decode(errors="replace").splitlines()
        # The rest of a picture or sound that a recording cut through.
        return "\n".join(line for line in lines if "incomplete" not in line.lower() and "corrupt" not in line)

    def test_transport_streams_by_mux_js(self) -> None:
        """The inspector of mux.js finds picture and sound with times."""
        file = record_ts(self.edge.http, "old", 3.0, self.stage.folder / "muxjs.ts")
        script = (
            "const found = it.mp2t.tools.inspect(new Uint8Array(fs.readFileSync(process.argv[1])));"
            "console.log(JSON.stringify(found, (key, value) => key === 'packet' ? undefined : value));"
        )
        told = node_says("mux.js", script, str(file))
        for kind in ("video", "audio"):
            first, last = told[kind][0], told[kind][-1]
            self.assertEqual(first["type"], kind)
            self.assertGreater(last["dts"] - first["dts"], 90_000, kind)

    def test_cmaf(self) -> None:
        """ffprobe reads each track with no word; each fragment has its boxes in their order."""
        for stream in FILMS:
            for name, data in self.files(stream).items():
                file = self.stage.folder / f"{stream}-{name}.mp4"
                file.write_bytes(data)
                self.assertEqual(self.complaints(file), "", file.name)
                self.assertRegex(_boxes(data), r"^ftyp moov (?:(?:styp )?(?:prft )?(?:moof mdat ?)+)+$")

    def test_cmaf_by_mux_js(self) -> None:
        """The inspector of mux.js reads every box that a fragment needs."""
        for stream in FILMS:
            for name, data in self.files(stream).items():
                file = self.stage.folder / f"{stream}-{name}-js.mp4"
                file.write_bytes(data)
                script = (
                    "const found = it.mp4.tools.inspect(new Uint8Array(fs.readFileSync(process.argv[1])));"
                    "const names = box => [box.type, (box.boxes || []).map(names)];"
                    "console.log(JSON.stringify(found.map(names)));"
                )
                told = json.dumps(node_says("mux.js", script, str(file)))
                for kind in ("trex", "stsd", "mfhd", "tfhd", "tfdt", "trun"):
                    self.assertIn(f'"{kind}"', told, f"{stream} {name}")

    def test_masters_by_ffmpeg(self) -> None:
        """ffmpeg decodes what each master playlist leads to."""
        for stream in FILMS:
            url = f"http://127.0.0.1:{self.edge.http}/{stream}/index.fmp4.m3u8"
            seen = decode(url, 2.0)
            self.assertGreater(seen.frames, 40)
            self.assertEqual(seen.complaints, "", url)

    def test_rtp_by_tshark(self) -> None:
        """Over UDP: nothing malformed, no number missing or twice, sound frame after frame, reports."""
        for stream, step in (("old", 1024), ("web", 960)):
            capture = Capture(self.stage.folder / f"{stream}.pcap", f"udp or tcp port {self.rtsp}")
            self.addCleanup(capture.end)
            command = [FFMPEG or "ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "udp", "-i"]
            command += [
                f"rtsp://127.0.0.1:{self.rtsp}/{stream}",
                "-t",
                "3",
                "-map",
                "0",
                "-c",
                "copy",
                "-copyinkf",
            ]
            subprocess.run([*command, "-f", "null", "-"], timeout=30, check=False, capture_output=True)
            capture.end()
            rtsp = (f"tcp.port=={self.rtsp},rtsp",)
            self.assertEqual(capture.fields("udp && _ws.malformed", "frame.number", decode=rtsp), [])
            packets = capture.fields(
                "rtp && udp.length > 20", "rtp.ssrc", "rtp.seq", "rtp.timestamp", "rtp.p_type", decode=rtsp
            )
            kinds = {ssrc: kind for ssrc, _, _, kind in packets}
            self.assertGreaterEqual(len(kinds), 2, stream)
            for ssrc in kinds:
                numbers = [int(seq) for own, seq, _, _ in packets if own == ssrc]
                self.assertEqual(numbers, [(numbers[0] + at) & 0xFFFF for at in range(len(numbers))], stream)
            sounds = [ssrc for ssrc in kinds if _steps(packets, ssrc) == {step}]
            self.assertTrue(sounds, f"{stream}: {[_steps(packets, ssrc) for ssrc in kinds]}")
            reports = capture.fields("rtcp.pt == 200", "rtcp.senderssrc", decode=rtsp)
            self.assertTrue({each[0] for each in reports} >= set(kinds), (reports, kinds))


def _steps(packets: list[list[str]], ssrc: str) -> set[int]:
    """Distances of the RTP times of one source."""
    times = [int(time) for own, _, time, _ in packets if own == ssrc]
    return {(later - one) & 0xFFFFFFFF for one, later in itertools.pairwise(times)}


def _boxes(data: bytes) -> str:
    """The kinds of the boxes of a file."""
    kinds, at = [], 0
    while at + 8 <= len(data):
        kinds.append(data[at + 4 : at + 8].decode("latin-1"))
        at += int.from_bytes(data[at : at + 4], "big")
    return " ".join(kinds)
