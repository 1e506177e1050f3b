"""Crowds that never read, secrets in logs, and publishers that are not like the others."""

from __future__ import annotations

import resource
import socket
import subprocess
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.canary import Canary
from test.e2e.nodes import Node, wait_until
from test.e2e.players import decode
from test.e2e.rtmp_wire import HANDSHAKE, command, connect_bytes, hello, play_bytes
from test.e2e.samples import FFMPEG
from test.e2e.shared import Stage, StageCase

STREAM = "live/target"
PASSWORD = "correct-horse-battery"
TOKEN = "viewer-token-4711"
BODY = (
    "template live { prefix live; input publish://; segment_duration 2; segment_count 6; }\n"
    f"stream locked {{ input publish://; password {PASSWORD}; segment_duration 2; }}"
)
#: Readers that never read, by HTTP and by RTMP, and what they may cost together.
READERS = 800
PLAYERS = 200
GROWTH = 64 << 20

#: Encoder arguments of publishers that real life has.
ODD = {
    "vfr60": "-f lavfi -i testsrc2=s=320x180:r=60 -vf select='not(eq(mod(n\\,7)\\,3))' -fps_mode vfr "
    "-c:v libx264 -preset ultrafast -g 30 -pix_fmt yuv420p -an",
    "intra": "-f lavfi -i testsrc2=s=320x180:r=25 -c:v libx264 -preset ultrafast -g 1 -pix_fmt yuv420p -an",
    "opengop": "-f lavfi -i testsrc2=s=320x180:r=25 -c:v libx264 -preset veryfast -bf 3 -g 25 "
    "-x264-params open-gop=1:b-pyramid=normal -pix_fmt yuv420p -an",
    "mono8k": "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=r=8000 -c:v libx264 -preset ultrafast "
    "-g 25 -pix_fmt yuv420p -c:a aac -ar 8000 -ac 1",
    "interlaced": "-f lavfi -i testsrc2=s=320x240:r=25 -c:v libx264 -preset ultrafast -g 25 "
    "-flags +ilme+ildct -pix_fmt yuv420p -an",
}


class Hostile(StageCase):
    """One node with a stream that must go on."""

    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("node", BODY)
        stage.publish(cls.node, STREAM)
        cls.node.wait_alive(STREAM)

    def test_readers_that_never_read(self) -> None:
        """A thousand viewers with tiny buffers that never read, by HTTP and by RTMP: memory is bounded, all
        are let go, and who reads notices nothing (H06, R27)."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit[1] < 3000:
            raise SkipTest(f"only {limit[1]} files can be open here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], 3000), limit[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        before = self.node.rss()
        descriptors = self.node.descriptors()
        get = f"GET /{STREAM}/mpegts HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        app, _, key = STREAM.partition("/")
        url = f"rtmp://127.0.0.1:{self.node.rtmp}/{app}"
        play = hello() + bytes(HANDSHAKE) + connect_bytes(app, url) + command("createStream", 2, None)
        play += play_bytes(key)
        with Canary(self.node, STREAM, self.stage.folder):
            for port, request in [(self.node.http, get)] * READERS + [(self.node.rtmp, play)] * PLAYERS:
                reader = socket.socket()
                self.addCleanup(reader.close)
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                reader.connect(("127.0.0.1", port))
                reader.sendall(request)
            wait_until(
                lambda: self.viewers() >= READERS + PLAYERS, 15, "all of them are viewers of the stream"
            )
            self.assertLess(self.node.rss() - before, GROWTH)
            wait_until(lambda: self.node.descriptors() < descriptors + 20, 30, "the readers are let go")
        self.assertLess(self.node.rss() - before, GROWTH)

    def viewers(self) -> int:
        """Viewers of endless answers."""
        return int(self.node.streams()[STREAM]["stats"]["online_clients"])

    def test_secrets_stay_out_of_logs(self) -> None:
        """Passwords, tokens and keys are in no log line and no API answer."""
        for key in (f"locked?password={PASSWORD}", "locked?password=wrong-" + PASSWORD):
            command = [
                FFMPEG or "ffmpeg",
                "-v",
                "error",
                "-re",
                "-f",
                "lavfi",
                "-i",
                "testsrc2=s=160x90:r=25",
            ]
            command += ["-t", "2", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-f", "flv"]
            url = f"rtmp://127.0.0.1:{self.node.rtmp}/static/{key}"
            subprocess.run([*command, url], capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
        for path in ("index.m3u8", "video.m3u8", "nothing"):
            self.node.get(f"/{STREAM}/{path}?token={TOKEN}")
        told = self.node.get("/streamer/api/v3/streams").body.decode() + self.node.log_text()
        self.assertIn("locked", told)
        for secret in (PASSWORD, TOKEN, "cluster_key "):
            self.assertNotIn(secret, told)

    def test_odd_publishers(self) -> None:
        """Open GOPs, every frame a keyframe, varying frame rate, interlaced, 8 kHz mono: all decode."""
        sending = []
        for name, arguments in ODD.items():
            url = f"rtmp://127.0.0.1:{self.node.rtmp}/live/{name}"
            shell = f"exec {FFMPEG or 'ffmpeg'} -v error -nostdin -re {arguments} -t 25 -f flv {url}"
            process = subprocess.Popen(shell, shell=True, stdin=subprocess.DEVNULL)
            self.addCleanup(process.wait, 10)
            self.addCleanup(process.terminate)
            sending.append(name)
        for name in sending:
            self.node.wait_alive(f"live/{name}", 15.0)
        for name in sending:
            found = decode(f"http://127.0.0.1:{self.node.http}/live/{name}/index.m3u8", 3.0)
            self.assertEqual(found.complaints, "", name)
            self.assertGreater(found.frames, 20, name)
