"""Players of others on an edge, those that are installed: each must show pictures."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.matrix import Pair
from test.e2e.nodes import Node, free_ports, wait_until
from test.e2e.players import decode
from test.e2e.rtmp_wire import VIDEO, read_flv
from test.e2e.shared import Stage, StageCase
from test.e2e.web_players import watch

#: Pictures a player shows in time: 25 come a second.
PICTURES = 60
SECONDS = 20.0
STREAM = "live/film"


class Players(StageCase):
    """One film as a stream of the origin, played from the edge."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]
    rtsp: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        films = stage.folder / "films"
        films.mkdir()
        (films / "film.mp4").write_bytes(Pair("h264", "aac").file().read_bytes())
        settings = "segment_duration 1; segment_count 6; chunk_duration 200;"
        body = (
            f"vod films {{ storage {films}; }}\nstream {STREAM} {{ input file://films/film.mp4; {settings} }}"
        )
        cls.origin = stage.node("origin", body)
        (cls.rtsp,) = free_ports(1)
        cls.edge = stage.edge("edge", cls.origin, body=f"rtsp 127.0.0.1:{cls.rtsp};")
        wait_until(
            lambda: cls.edge.get(f"/{STREAM}/index.mpd").body.count(b"<S ") >= 8, 20.0, "segments on the edge"
        )

    def url(self, file: str) -> str:
        """A file of the stream."""
        return f"http://127.0.0.1:{self.edge.http}/{STREAM}/{file}"

    def test_ffmpeg(self) -> None:
        """Every way out is decoded without a complaint, RTSP also tunnelled over HTTP."""
        rtsp = f"rtsp://127.0.0.1:{self.rtsp}/{STREAM}"
        files = ("index.ts.m3u8", "index.fmp4.m3u8", "index.ll.m3u8", "index.mpd", "mpegts", "live.flv")
        ways: list[tuple[str, tuple[str, ...]]] = [(self.url(file), ()) for file in files]
        ways.append((self.edge.url(STREAM, "rtmp"), ()))
        ways += [(rtsp, ("-rtsp_transport", transport)) for transport in ("tcp", "udp", "http")]
        with ThreadPoolExecutor(5) as pool:
            for (url, extra), first in zip(
                ways, pool.map(lambda way: decode(way[0], 3.0, extra=way[1]), ways), strict=True
            ):
                # On a busy machine ffmpeg's DASH reader now and then takes a segment twice, and complains of
                # its times: what is wrong with the stream is wrong again.
                seen = decode(url, 3.0, extra=extra) if first.complaints else first
                self.assertEqual(seen.complaints, "", (url, extra))
                self.assertGreater(seen.frames, PICTURES, (url, extra))

    def gstreamer(self, element: str, *urls: str) -> None:
        """Play each of C{urls} at the same time."""
        launch = shutil.which("gst-launch-1.0")
        if launch is None:
            raise SkipTest("GStreamer is not installed")
        if subprocess.run(["gst-inspect-1.0", "avdec_h264"], capture_output=True, check=False).returncode:
            raise SkipTest("GStreamer has no decoder of H.264")
        with ThreadPoolExecutor(len(urls)) as pool:
            for url, shown in zip(
                urls, pool.map(lambda url: _rendered(launch, element, url), urls), strict=True
            ):
                self.assertGreaterEqual(shown, PICTURES, f"{element} {url}")

    def test_gstreamer(self) -> None:
        """The older elements: hlsdemux, rtspsrc by TCP, UDP and HTTP, rtmpsrc, what sends without an end."""
        rtsp = f"127.0.0.1:{self.rtsp}/{STREAM}"
        self.gstreamer(
            "playbin",
            self.url("index.ts.m3u8"),
            self.url("mpegts"),
            self.url("live.flv"),
            f"rtspt://{rtsp}",
            f"rtsp://{rtsp}",
            f"rtsph://{rtsp}",
            self.edge.url(STREAM, "rtmp"),
        )

    def test_gstreamer_adaptive(self) -> None:
        """hlsdemux2, with every form of HLS."""
        inspect = shutil.which("gst-inspect-1.0")
        if (
            inspect is None
            or subprocess.run([inspect, "hlsdemux2"], capture_output=True, check=False).returncode
        ):
            raise SkipTest("hlsdemux2 of GStreamer is not installed")
        files = ("index.ts.m3u8", "index.fmp4.m3u8", "index.ll.m3u8")
        self.gstreamer("playbin3", *(self.url(file) for file in files))

    def browser(self, name: str, *ways: tuple[str, str]) -> None:
        """Play files of the stream by libraries, all on one page."""
        watch(self.stage.folder / name, [(library, self.url(file)) for library, file in ways], SECONDS)

    def test_browser_own_libraries(self) -> None:
        """hls.js and dash.js as the player page brings them."""
        self.browser(
            "own",
            ("hls", "index.ts.m3u8"),
            ("hls", "index.fmp4.m3u8"),
            ("hls", "index.ll.m3u8"),
            ("dash", "index.mpd"),
            ("dash", "index.ll.mpd"),
        )

    def test_browser_mpegts_js(self) -> None:
        """What has no end."""
        self.browser("endless", ("mpegts", "mpegts"), ("mpegts", "live.flv"))

    def test_browser_shaka(self) -> None:
        """Shaka Player, by DASH and HLS."""
        self.browser(
            "shaka", ("shaka", "index.mpd"), ("shaka", "index.ts.m3u8"), ("shaka", "index.fmp4.m3u8")
        )

    def test_rtmpdump(self) -> None:
        """rtmpdump writes a file of whole pictures."""
        rtmpdump = shutil.which("rtmpdump")
        if rtmpdump is None:
            raise SkipTest("rtmpdump is not installed")
        file = self.stage.folder / "dumped.flv"
        with subprocess.Popen(
            [rtmpdump, "-q", "-r", self.edge.url(STREAM, "rtmp"), "--live", "-o", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as player:
            try:
                wait_until(
                    lambda: file.exists() and sum(tag.kind == VIDEO for tag in read_flv(file)) > PICTURES,
                    SECONDS,
                    "rtmpdump writes pictures",
                )
            finally:
                player.kill()


def _rendered(launch: str, element: str, url: str) -> int:
    """How many pictures GStreamer showed, L{PICTURES} or what there were in time."""
    sink = "fpsdisplaysink video-sink=fakesink text-overlay=false sync=true"
    command = [launch, "-v", element, f"uri={url}", f"video-sink={sink}", "audio-sink=fakesink sync=true"]
    player = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shown = 0
    late = threading.Timer(SECONDS, player.kill)
    late.start()
    try:
        assert player.stdout is not None
        for line in player.stdout:
            found = re.search(r"rendered: (\d+)", line)
            shown = int(found[1]) if found else shown
            if shown >= PICTURES:
                break
    finally:
        late.cancel()
        player.kill()
        player.communicate(timeout=10)
    return shown
