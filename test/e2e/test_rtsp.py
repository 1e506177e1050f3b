"""RTSP between real programs: ffmpeg and GStreamer publish and play, nodes pull, an edge serves the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.codec_samples import CodecSample, make
from test.e2e.nodes import Node, free_ports, get, wait_for_port
from test.e2e.samples import FFMPEG
from test.e2e.shared import Stage, StageCase

GST = shutil.which("gst-launch-1.0")
SAMPLE = CodecSample(video="h264", audio=("aac",), seconds=14, gop=25)
HEVC = CodecSample(video="hevc", audio=("opus",), seconds=14, gop=25, suffix="mkv")
GRANT = (
    "template live { prefix live; input publish://; segment_duration 2; }\n"
    "template locked { prefix locked; input publish://; password s3cret; segment_duration 2; }\n"
)


def hashes(text: str) -> list[str]:
    """The hash of each frame that a framemd5 names."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [line.split(",")[5].strip() for line in lines]


class Client:
    """A program that runs beside the test."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def result(self, seconds: float = 25.0) -> tuple[str, str]:
        """What it wrote, when it has ended."""
        try:
            return self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def ffmpeg(*arguments: str) -> Client:
    """ffmpeg with what every call has."""
    return Client(FFMPEG or "ffmpeg", "-hide_banner", "-nostdin", "-v", "error", *arguments)


def player(url: str, transport: str, what: str, seconds: float = 2.5) -> Client:
    """Frame hashes of C{what}: C{v} decoded, C{a} as sent."""
    return ffmpeg(
        *("-rtsp_transport", transport, "-i", url, "-t", str(seconds), "-map", f"0:{what}"),
        *(("-c", "copy") if what == "a" else ()),
        *("-f", "framemd5", "-"),
    )


class Rtsp(StageCase):
    """An origin that takes publishers, an edge of it, a node that pulls from the edge."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]
    ports: ClassVar[list[int]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        if FFMPEG is None:
            raise SkipTest("ffmpeg is not installed")
        cls.ports = ports = free_ports(3)
        cls.origin = stage.node("origin", f"rtsp 127.0.0.1:{ports[0]};\n{GRANT}")
        pulled = "\n".join(
            f"ondemand {name} {{ input {scheme}://127.0.0.1:{ports[1]}/live/pulled; segment_duration 2; }}"
            for name, scheme in (("bytcp", "rtsp"), ("byudp", "rtsp-udp"))
        )
        cls.edge = stage.edge("edge", cls.origin, body=f"rtsp 127.0.0.1:{ports[1]};")
        cls.puller = stage.node("puller", f"rtsp 127.0.0.1:{ports[2]};\n{pulled}")
        for port in ports:
            wait_for_port(port, 5.0)

    puller: ClassVar[Node]

    def url(self, index: int, name: str, login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{self.ports[index]}/{name}"

    def publish(self, path: Path, name: str, transport: str, login: str = "") -> Client:
        client = ffmpeg(
            *("-re", "-i", str(path), "-map", "0", "-c", "copy", "-f", "rtsp"),
            *("-rtsp_transport", transport, self.url(0, name, login)),
        )
        self.addCleanup(client.stop)
        return client

    def assert_same(self, path: Path, players: dict[str, tuple[Client, str]]) -> None:
        """What each player got is a run of the file's frames, without gap."""
        source = {
            what: hashes(
                ffmpeg("-i", str(path), "-map", f"0:{what}", *copy, "-f", "framemd5", "-").result()[0]
            )
            for what, copy in (("v", ()), ("a", ("-c", "copy")))
        }
        for name, (client, what) in players.items():
            out, trouble = client.result()
            got = hashes(out)
            self.assertGreater(len(got), 40, f"{name}: {trouble}")
            self.assertIn(got[0], source[what], name)
            begin = source[what].index(got[0])
            self.assertEqual(got, source[what][begin : begin + len(got)], name)

    def test_published_over_tcp(self) -> None:
        path = make(SAMPLE)
        self.publish(path, "live/tcp", "tcp")
        self.origin.wait_alive("live/tcp")
        self.assert_same(
            path,
            {
                "origin, UDP": (player(self.url(0, "live/tcp"), "udp", "v"), "v"),
                "origin, sound": (player(self.url(0, "live/tcp"), "tcp", "a"), "a"),
                "edge, TCP": (player(self.url(1, "live/tcp"), "tcp", "v"), "v"),
                "edge, sound": (player(self.url(1, "live/tcp?filter.tracks=a1"), "udp", "a"), "a"),
            },
        )

    def test_published_over_udp_with_a_password(self) -> None:
        path = make(HEVC)
        refused = self.publish(path, "locked/udp", "udp", "u:other@")
        self.assertIn("401", refused.result()[1])
        self.publish(path, "locked/udp", "udp", "u:s3cret@")
        self.origin.wait_alive("locked/udp")
        self.assert_same(
            path,
            {
                "origin, TCP": (player(self.url(0, "locked/udp"), "tcp", "v"), "v"),
                "edge, sound": (player(self.url(1, "locked/udp"), "tcp", "a"), "a"),
            },
        )

    def test_pulled(self) -> None:
        """Origin, edge by M4F, and a third node that pulls from the edge by RTSP."""
        path = make(SAMPLE)
        self.publish(path, "live/pulled", "tcp")
        self.edge.wait_alive("live/pulled")
        for name in ("bytcp", "byudp"):
            answer = get(self.puller.http, f"/{name}/index.m3u8")
            self.assertEqual(answer.status, 200, f"{name}: {answer.body[:200]!r}")
        self.assert_same(
            path,
            {
                "TCP": (player(self.url(2, "bytcp"), "tcp", "v", 2.0), "v"),
                "UDP": (player(self.url(2, "byudp"), "tcp", "v", 2.0), "v"),
                "UDP, sound": (player(self.url(2, "byudp"), "tcp", "a", 2.0), "a"),
            },
        )
        self.puller.assert_quiet()

    def test_gstreamer(self) -> None:
        """AAC as MP4A-LATM, clients of another family at both ends."""
        if (
            GST is None
            or subprocess.run(["gst-inspect-1.0", "rtspclientsink"], capture_output=True).returncode
        ):
            raise SkipTest("GStreamer with its RTSP elements is not installed")
        video = (
            "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=25/1 ! "
            "x264enc tune=zerolatency key-int-max=25 ! video/x-h264,profile=high ! "
            "h264parse ! queue ! s.sink_0"
        )
        audio = (
            "audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse ! "
            "queue ! s.sink_1"
        )
        sink = f"rtspclientsink name=s location={self.url(0, 'live/gst')} protocols=tcp latency=100"
        sender = Client(GST, "-q", *f"{sink} {video} {audio}".split())
        self.addCleanup(sender.stop)
        self.origin.wait_alive("live/gst", 15.0)
        # Over UDP first, as its own source asks.
        receiver = Client(
            GST,
            *f"rtspsrc location={self.url(1, 'live/gst')} name=r".split(),
            *("r.", "!", "application/x-rtp,media=video", "!", "rtph264depay", "!", "h264parse", "!"),
            *("fakesink", "num-buffers=60"),
        )
        self.addCleanup(receiver.stop)
        _, trouble = receiver.result(20.0)
        ends = "\n".join(each.log_text()[-1500:] for each in (self.origin, self.edge))
        self.assertEqual(receiver.process.returncode, 0, f"{trouble}; the logs end:\n{ends}")
        got = player(self.url(1, "live/gst"), "tcp", "a", 1.5)
        self.assertGreater(len(hashes(got.result()[0])), 50)
