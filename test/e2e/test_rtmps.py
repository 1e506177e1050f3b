"""RTMPS with a self-made certificate: a publisher and a player, C{push rtmps://} and C{input rtmps://}."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from test.certificates import Authority
from test.e2e.codec_samples import CodecSample, make
from test.e2e.elementary import elementary_digests, is_run_of
from test.e2e.nodes import Node, free_ports, wait_until
from test.e2e.players import decode
from test.e2e.samples import FFMPEG
from test.e2e.shared import LIVE, Stage, StageCase

SAMPLE = CodecSample(video="h264", audio=("aac",), suffix="mkv")
TIMEOUT = ("-rw_timeout", "8000000")


class RtmpsTests(StageCase):
    """A node pushes what is published to it into a second one; a third one pulls it; both over TLS."""

    first: ClassVar[Node]
    second: ClassVar[Node]
    third: ClassVar[Node]
    stranger: ClassVar[Node]
    rtmps: ClassVar[int]
    publisher: ClassVar[subprocess.Popen[bytes]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        authority = Authority(stage.folder)
        files = authority.issue("server", "127.0.0.1", "localhost")
        (cls.rtmps,) = free_ports(1)
        tls = f"ssl_certificate {files.certificate};\nssl_certificate_key {files.key};\n"
        cls.second = stage.node("second", f"rtmps 127.0.0.1:{cls.rtmps};\n{tls}{LIVE}")
        trust = f"ssl_ca {authority.path};\n"
        push = f"push rtmps://127.0.0.1:{cls.rtmps}/live/pushed;"
        cls.first = stage.node(
            "first", f"{trust}stream cam {{ input publish://; {push} segment_duration 2; }}"
        )
        pull = f"input rtmps://localhost:{cls.rtmps}/live/pushed;"
        cls.third = stage.node("third", f"{trust}stream pulled {{ {pull} segment_duration 2; }}")
        cls.stranger = stage.node("stranger", f"stream pulled {{ {pull} segment_duration 2; }}")
        cls.publisher = cls.publish(stage, cls.first.url("cam", "rtmp"), make(SAMPLE))
        cls.second.wait_alive("live/pushed")

    @staticmethod
    def publish(stage: Stage, url: str, path: Path) -> subprocess.Popen[bytes]:
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
        command += ["-map", "0", "-c", "copy", "-f", "flv", url]
        publisher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stage.stack.callback(publisher.wait, 10)
        stage.stack.callback(publisher.terminate)
        return publisher

    def check(self, url: str) -> None:
        """What C{url} plays is a run of the sample's packets."""
        for track, codec in (("v:0", "h264"), ("a:0", "aac")):
            through = elementary_digests(url, track, codec, seconds=1.2, options=TIMEOUT)
            self.assertGreater(len(through), 20)
            self.assertTrue(is_run_of(through, elementary_digests(make(SAMPLE), track, codec)), track)

    def test_push(self) -> None:
        """The second node has the publisher's packets."""
        self.check(self.second.url("live/pushed", "rtmp"))
        self.first.wait_log("cam is pushed to rtmps://")

    def test_pull(self) -> None:
        """So has the third."""
        self.third.wait_alive("pulled", 40.0)
        self.check(f"http://127.0.0.1:{self.third.http}/pulled/live.flv")

    def test_publish_and_play(self) -> None:
        """ffmpeg does both over TLS."""
        self.publish(self.stage, f"rtmps://127.0.0.1:{self.rtmps}/live/direct", make(SAMPLE))
        self.second.wait_alive("live/direct")
        seen = decode(f"rtmps://127.0.0.1:{self.rtmps}/live/direct", 2.0)
        self.assertEqual(seen.complaints, "")
        self.assertGreater(seen.frames, 40)

    def test_untrusted(self) -> None:
        """A node that does not know the authority takes nothing, and says why."""
        self.stranger.wait_log("certificate", 10.0)
        self.assertFalse(self.stranger.alive("pulled"))

    def test_no_key_in_logs(self) -> None:
        """The last part of an address may be a stream key."""
        for node in (self.first, self.third):
            self.assertNotIn("/live/pushed", node.log_text(), node.name)

    def test_push_again(self) -> None:
        """The server was gone for a moment: the push comes back by itself."""
        self.second.stop()
        self.second.up()
        wait_until(lambda: self.second.alive("live/pushed"), 20.0, "pushed again")
