"""MPEG-TS published as C{docs/mpegts.md} has it: a file by curl, ffmpeg, and either behind nginx."""

from __future__ import annotations

import shutil
import subprocess
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.codec_samples import CodecSample, make
from test.e2e.nodes import ROOT, Node, free_ports, wait_for_port
from test.e2e.shared import Stage, StageCase
from test.e2e.test_transport_streams import Sender

SAMPLE = CodecSample(video="h264", audio=("aac",), suffix="ts", seconds=6)
BODY = "template live { prefix live; input publish://; password secret; segment_duration 1; }"


class PublishedFiles(StageCase):
    """One node, and nginx before it."""

    node: ClassVar[Node]
    proxy: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        if shutil.which("nginx") is None or shutil.which("curl") is None:
            raise SkipTest("nginx or curl is not installed")
        cls.node = stage.node("node", BODY)
        (cls.proxy,) = free_ports(1)
        folder = stage.folder / "nginx"
        folder.mkdir()
        page = (ROOT / "docs" / "mpegts.md").read_text()
        location = page.partition("```nginx\n")[2].partition("```")[0]
        assert "127.0.0.1:8080" in location
        location = location.replace("127.0.0.1:8080", f"127.0.0.1:{cls.node.http}")
        places = "".join(
            f"  {word}_temp_path {folder}/{word};\n"
            for word in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = folder / "nginx.conf"
        config.write_text(
            f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log error;\n"
            f"events {{}}\nhttp {{\n  access_log off;\n{places}"
            f"  server {{\n    listen 127.0.0.1:{cls.proxy};\n{location}  }}\n}}\n"
        )
        server = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
        stage.stack.callback(server.wait, 10)
        stage.stack.callback(server.terminate)
        wait_for_port(cls.proxy, 5.0)

    def uploaded(self, port: int, name: str) -> None:
        """A file that curl sends plays while it is sent, and is answered at its end."""
        url = f"http://127.0.0.1:{port}/live/{name}/mpegts?password=secret"
        curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-T", str(make(SAMPLE)), url]
        with subprocess.Popen(curl, stdout=subprocess.PIPE) as process:
            self.addCleanup(process.kill)
            self.node.wait_alive(f"live/{name}", 10)
            output, _ = process.communicate(timeout=20)
        self.assertEqual(output, b"200")

    def test_curl(self) -> None:
        self.uploaded(self.node.http, "curl")

    def test_curl_behind_nginx(self) -> None:
        self.uploaded(self.proxy, "proxied")

    def test_ffmpeg_behind_nginx(self) -> None:
        """A body without a length."""
        url = f"http://127.0.0.1:{self.proxy}/live/endless/mpegts?password=secret"
        sender = Sender(SAMPLE, url, "-method", "POST")
        self.addCleanup(sender.stop)
        self.node.wait_alive("live/endless", 10)

    def test_wrong_password_behind_nginx(self) -> None:
        url = f"http://127.0.0.1:{self.proxy}/live/x/mpegts?password=wrong"
        curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-T", str(make(SAMPLE)), url]
        self.assertEqual(subprocess.run(curl, capture_output=True, timeout=20).stdout, b"403")
