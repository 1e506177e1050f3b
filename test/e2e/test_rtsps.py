"""RTSPS with a self-made certificate: a publisher, players, C{input rtsps://}, an edge of the puller."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from test.certificates import Authority
from test.e2e.codec_samples import CodecSample, make, newer_ffmpeg
from test.e2e.elementary import elementary_digests, is_run_of
from test.e2e.nodes import Node, free_ports
from test.e2e.samples import FFMPEG
from test.e2e.shared import LIVE, Stage, StageCase

SAMPLE = CodecSample(video="h264", audio=("aac",), suffix="mkv")
TCP = ("-rtsp_transport", "tcp")
STREAM = "live/cam"


class RtspsTests(StageCase):
    """A node that takes publishers over TLS; a second one pulls from it; a third one knows no authority."""

    server: ClassVar[Node]
    puller: ClassVar[Node]
    edge: ClassVar[Node]
    stranger: ClassVar[Node]
    authority: ClassVar[Authority]
    ports: ClassVar[list[int]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.authority = authority = Authority(stage.folder)
        files = authority.issue("server", "127.0.0.1", "localhost")
        cls.ports = rtsps, rtsp = free_ports(2)
        tls = f"ssl_certificate {files.certificate};\nssl_certificate_key {files.key};\n"
        cls.server = stage.node("server", f"rtsps 127.0.0.1:{rtsps};\n{tls}{LIVE}")
        pull = f"stream pulled {{ input rtsps://localhost:{rtsps}/{STREAM}; segment_duration 2; }}"
        cls.puller = stage.node("puller", f"ssl_ca {authority.path};\nrtsp 127.0.0.1:{rtsp};\n{pull}")
        cls.stranger = stage.node("stranger", pull)
        cls.edge = stage.edge("edge", cls.puller)
        cls.publish(stage, f"rtsps://127.0.0.1:{rtsps}/{STREAM}", make(SAMPLE))
        cls.server.wait_alive(STREAM)

    @staticmethod
    def publish(stage: Stage, url: str, path: Path) -> None:
        """ffmpeg sends C{path} again and again until the stage ends."""
        command = [
            FFMPEG or "ffmpeg",
            "-v",
            "error",
            "-nostdin",
            "-re",
            "-stream_loop",
            "-1",
            "-i",
            str(path),
        ]
        command += ["-map", "0", "-c", "copy", "-f", "rtsp", *TCP, url]
        publisher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stage.stack.callback(publisher.wait, 10)
        stage.stack.callback(publisher.terminate)

    def check(self, url: str, options: tuple[str, ...] = ()) -> None:
        """What C{url} plays is a run of the sample's packets."""
        for track, codec in (("v:0", "h264"), ("a:0", "aac")):
            through = elementary_digests(url, track, codec, seconds=1.2, options=options)
            self.assertGreater(len(through), 20)
            self.assertTrue(is_run_of(through, elementary_digests(make(SAMPLE), track, codec)), track)

    def test_publish_and_play(self) -> None:
        """ffmpeg does both over TLS; newer ones believe no certificate that they cannot check."""
        trust = ("-ca_file", self.authority.path) if newer_ffmpeg() else ()
        self.check(f"rtsps://127.0.0.1:{self.ports[0]}/{STREAM}", trust)

    def test_pull(self) -> None:
        """The second node has the packets, and so has its edge."""
        self.puller.wait_alive("pulled", 40.0)
        self.check(f"rtsp://127.0.0.1:{self.ports[1]}/pulled", TCP)
        self.edge.wait_alive("pulled", 40.0)
        self.check(f"http://127.0.0.1:{self.edge.http}/pulled/live.flv")

    def test_no_datagrams(self) -> None:
        """Media do not leave the encrypted connection."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        port = self.ports[0]
        url = f"rtsps://localhost:{port}/{STREAM}"
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            for udp, status in (("RTP/AVP;unicast;client_port=5000-5001", 461), ("RTP/AVP/TCP", 200)):
                connection.sendall(
                    f"SETUP {url}/trackID=1 RTSP/1.0\r\nCSeq: 1\r\nTransport: {udp}\r\n\r\n".encode()
                )
                answer = connection.recv(4096).decode()
                self.assertTrue(answer.startswith(f"RTSP/1.0 {status} "), answer)

    def test_untrusted(self) -> None:
        """A node that does not know the authority takes nothing, and says why."""
        self.stranger.wait_log("certificate", 10.0)
        self.assertFalse(self.stranger.alive("pulled"))
