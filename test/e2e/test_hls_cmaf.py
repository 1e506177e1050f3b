"""HLS with CMAF and with low latency, from an origin and from its edge."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.certificates import Authority
from test.e2e.nodes import ROOT, Node, free_ports, get, wait_for_port, wait_until
from test.e2e.playlists import wait_segments
from test.e2e.publishers import Publisher
from test.e2e.samples import FFMPEG
from test.e2e.shared import Stage, StageCase

_HINT = re.compile(r'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="(\d+)\.(\d+)\.m4s"')
_URI = re.compile(r'URI="([^"./]+\.(?:\d+\.)?(?:m4s|mp4))"')
_SEGMENT = re.compile(r"^(\d+)\.m4s$", re.MULTILINE)
_TRACKS = ("v1", "a1")


def low_latency(node: Node, track: str, query: str = "") -> str:
    """The low-latency playlist of a track."""
    answer = node.get(f"/live/ll/tracks-{track}/mono.ll.m3u8{query}", timeout=20.0)
    assert answer.status == 200, (answer.status, answer.body)
    return answer.body.decode()


def packets(command: list[str]) -> list[tuple[str, ...]]:
    """Stream, duration, size and MD5 of each packet, and its time from the first one."""
    done = subprocess.run(
        [FFMPEG or "ffmpeg", "-v", "error", "-copyts", *command, "-c", "copy", "-f", "framemd5", "-"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=40.0, check=True,
    )  # fmt: skip
    rows = [
        [part.strip() for part in line.split(",")]
        for line in done.stdout.decode().splitlines()
        if not line.startswith("#")
    ]
    return [(row[4], row[5]) for row in rows]


class CmafTests(StageCase):
    origin: ClassVar[Node]
    edge: ClassVar[Node]
    publisher: ClassVar[Publisher]

    @classmethod
    @override
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin")
        cls.edge = stage.edge("edge", cls.origin)
        cls.publisher = stage.publish(cls.origin, "live/ll", copy=stage.folder / "sent.flv")
        wait_segments(cls.origin, "live/ll", 3)
        wait_segments(cls.edge, "live/ll", 3)

    def test_nodes_answer_alike(self) -> None:
        """Every init segment, segment and part, and every line of the playlists."""
        for track in _TRACKS:
            texts = [low_latency(node, track) for node in (self.origin, self.edge, self.origin)]
            lines = [set(text.splitlines()) for text in texts]
            # Between the first and the third the origin went on; the edge lies between them.
            numbers = _SEGMENT.findall(texts[1])
            self.assertTrue(set(numbers) & set(_SEGMENT.findall(texts[0])))
            head = "#EXT-X-(?:HINT|PRELOAD|RENDITION|MEDIA-SEQ|PART-INF)"
            strangers = {line for line in lines[1] - lines[0] - lines[2] if not re.match(head, line)}
            self.assertEqual(strangers, set())
            files = [uri for uri in _URI.findall(texts[0]) if f'HINT:TYPE=PART,URI="{uri}"' not in texts[0]]
            files += [f"{number}.m4s" for number in numbers]
            self.assertGreater(len(files), 20)
            bodies: dict[str, bytes] = {}
            for file in files:
                answers = [node.get(f"/live/ll/tracks-{track}/{file}") for node in (self.origin, self.edge)]
                self.assertEqual([answer.status for answer in answers], [200, 200], file)
                self.assertEqual(answers[0].body, answers[1].body, file)
                bodies[file] = answers[0].body
            whole = next(number for number in reversed(numbers) if f"{number}.0.m4s" in bodies)
            parts = [file for file in bodies if file.startswith(f"{whole}.") and file.count(".") == 2]
            self.assertEqual(b"".join(bodies[part] for part in parts), bodies[f"{whole}.m4s"])

    def test_frames_are_the_published_ones(self) -> None:
        """What a player gets from the edge are the publisher's access units, none lost, none twice."""
        text = low_latency(self.edge, "v1")
        init = re.findall(r'MAP:URI="([^"]+)"', text)[0]
        for track, kind in (("v1", "v"), ("a1", "a")):
            text = low_latency(self.edge, track)
            init = re.findall(r'MAP:URI="([^"]+)"', text)[0]
            files = [init, *[f"{number}.m4s" for number in _SEGMENT.findall(text)]]
            path = self.stage.folder / f"{track}.mp4"
            path.write_bytes(
                b"".join(self.edge.get(f"/live/ll/tracks-{track}/{file}").body for file in files)
            )
            got = packets(["-i", str(path)])
            sent = packets(["-i", str(self.stage.folder / "sent.flv"), "-map", f"0:{kind}"])
            self.assertGreater(len(got), 100)
            begin = next((at for at in range(len(sent)) if sent[at : at + 40] == got[:40]), None)
            assert begin is not None, f"{track}: what came is not what was sent"
            self.assertEqual(got, sent[begin : begin + len(got)])

    def test_reload_is_held_and_early(self) -> None:
        """An edge gives a playlist as soon as the part is there, well under a second after its frames."""
        for _ in range(4):
            number, part = map(int, _HINT.findall(low_latency(self.edge, "v1"))[0])
            text = low_latency(self.edge, "v1", f"?_HLS_msn={number}&_HLS_part={part}")
            now = time.time()
            if f'"{number}.{part}.m4s"' not in text:
                continue  # the segment ended before that part
            shown = 0.0
            for line in text.splitlines():
                if line.startswith("#EXT-X-PROGRAM-DATE-TIME:"):
                    shown = datetime.fromisoformat(line.partition(":")[2].replace("Z", "+00:00")).timestamp()
                elif line.startswith("#EXT-X-PART:"):
                    shown += float(line.partition("DURATION=")[2].partition(",")[0])
                elif line.startswith("#EXTINF"):
                    shown = 0.0
            self.assertTrue(-0.5 < now - shown < 1.0, now - shown)

    def test_hinted_part(self) -> None:
        number, part = _HINT.findall(low_latency(self.edge, "a1"))[0]
        answer = self.edge.get(f"/live/ll/tracks-a1/{number}.{part}.m4s", timeout=20.0)
        if answer.status == 404:  # the segment ended before that part
            answer = self.edge.get(f"/live/ll/tracks-a1/{int(number) + 1}.0.m4s", timeout=20.0)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-type"], "audio/mp4")
        again = self.origin.get(f"/live/ll/tracks-a1/{number}.{part}.m4s", timeout=20.0)
        if again.status == 200 and answer.status == 200:
            self.assertEqual(len(again.body) > 100, True)

    def test_open_segment_in_chunks(self) -> None:
        """What low-latency DASH asks for: the segment that is being made."""
        number = int(_HINT.findall(low_latency(self.edge, "v1"))[0][0])
        growing = self.edge.get(f"/live/ll/tracks-v1/{number}.m4s", timeout=20.0)
        self.assertEqual(growing.status, 200)
        whole = self.origin.get(f"/live/ll/tracks-v1/{number}.m4s", timeout=20.0)
        self.assertEqual(growing.body, whole.body)

    def test_players(self) -> None:
        for file in ("index.fmp4.m3u8", "index.ll.m3u8", "index.ts.m3u8", "index.fmp4.m3u8?filter.tracks=v1"):
            done = subprocess.run(
                [FFMPEG or "ffmpeg", "-v", "error", "-nostats", "-progress", "-", "-t", "3",
                 "-i", f"http://127.0.0.1:{self.edge.http}/live/ll/{file}", "-f", "null", "-"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=40.0,
            )  # fmt: skip
            frames = re.findall(r"frame=(\d+)", done.stdout.decode())
            self.assertGreaterEqual(int(frames[-1]), 60, (file, done.stderr))

    def test_behind_nginx_over_http2(self) -> None:
        """The configuration of the documentation."""
        if shutil.which("nginx") is None or shutil.which("curl") is None:
            raise SkipTest("nginx or curl is not installed")
        page = (ROOT / "docs" / "hls.md").read_text()
        text = page.partition("```nginx\n")[2].partition("```")[0]
        (port,) = free_ports(1)
        folder = self.stage.folder / "nginx"
        folder.mkdir()
        files = Authority(folder).issue("nginx", "127.0.0.1")
        changes: Mapping[str, str] = {
            "127.0.0.1:8080": f"127.0.0.1:{self.edge.http}",
            "listen 443 ssl http2": f"listen 127.0.0.1:{port} ssl http2",
            "/etc/restreamer/cert.pem": files.certificate,
            "/etc/restreamer/key.pem": files.key,
            "http {\n": f"http {{\n  access_log off;\n  proxy_temp_path {folder}/proxy;\n"
            f"  client_body_temp_path {folder}/body;\n  fastcgi_temp_path {folder}/fastcgi;\n"
            f"  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n",
        }
        for old, new in changes.items():
            self.assertIn(old, text)
            text = text.replace(old, new)
        config = folder / "nginx.conf"
        log = folder / "error.log"
        config.write_text(
            f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {log} error;\n{text}"
        )
        server = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port, 10.0)
            number, part = _HINT.findall(low_latency(self.edge, "v1"))[0]
            base = f"https://127.0.0.1:{port}/live/ll/tracks-v1"
            for url in (
                f"{base}/mono.ll.m3u8?_HLS_msn={number}&_HLS_part={part}",
                f"{base}/{int(number) - 1}.m4s",
                f"{base}/{int(number) - 1}.0.m4s",
                f"{base}/{number}.m4s",
            ):
                done = subprocess.run(
                    ["curl", "-sk", "--http2", "--max-time", "20", "-o", str(folder / "answer"),
                     "-w", "%{http_version} %{http_code}", url],
                    capture_output=True, timeout=30.0,
                )  # fmt: skip
                self.assertEqual(done.stdout.decode(), "2 200", url)
            self.assertEqual(
                (folder / "answer").read_bytes(),
                wait_until(
                    lambda: get(self.edge.http, f"/live/ll/tracks-v1/{number}.m4s").body, 5.0, "the segment"
                ),
            )
        finally:
            server.terminate()
            server.wait(10)
