"""The player page in a browser: what it says when there is nothing to play, and how it goes on by itself."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.browser import Browser
from test.e2e.codec_samples import CodecSample, make
from test.e2e.matrix import Sender, send
from test.e2e.nodes import ROOT, Node, free_ports, wait_until
from test.e2e.playlists import wait_segments
from test.e2e.shared import Stage, StageCase

FILM = f"""
vod demo {{ storage {ROOT / "restreamer" / "demo"}; }}
stream NAME {{ input file://demo/demo.mp4; segment_duration 2; segment_count 6; OPTIONS }}
"""
QUICK = """
template live {
  prefix live; input publish://; segment_duration 1; segment_count 6; chunk_duration 200; source_timeout 3;
}
"""
PAGES = ROOT / "restreamer" / "web" / "pages"
NOTE = "return document.getElementById('note').textContent"
#: What C{playWithHls} does about fatal media errors of hls.js with C{details}.
FAKE_HLS = """
const said = [];
let told = null;
self.Hls = class {
  static isSupported() { return true; }
  static Events = { ERROR: 'error' };
  static ErrorTypes = { MEDIA_ERROR: 'media', NETWORK_ERROR: 'network' };
  static ErrorDetails = {
    MANIFEST_INCOMPATIBLE_CODECS_ERROR: 'manifestIncompatibleCodecsError',
    BUFFER_ADD_CODEC_ERROR: 'bufferAddCodecError',
    BUFFER_INCOMPATIBLE_CODECS_ERROR: 'bufferIncompatibleCodecsError',
  };
  on(name, listener) { told = listener; }
  loadSource() {}
  attachMedia() {}
  recoverMediaError() { said.push('mended'); }
};
playWithHls(document.createElement('video'), 'http://x/index.m3u8', ({ why }) => said.push(why));
for (const detail of details) told('error', { fatal: true, type: 'media', details: detail });
return said;
"""

#: The page's video leaps on and on with nothing to show, while the stream goes on by 20 s each second.
LEAPING = """
self.told = [];
Object.defineProperty(video, 'currentTime', { get: () => performance.now() });
Object.defineProperty(video, 'paused', { get: () => false });
Object.defineProperty(video, 'readyState', { get: () => video.HAVE_METADATA });
document.body.dataset.proto = 'll-hls';
current = {
  stand: null, moment: () => NaN, edge: () => performance.now() / 50,
  nudge: () => self.told.push('nudged'), ended: ({ why }) => self.told.push(why),
};
"""

#: The page's video stands at the end of the first of two parts that are held.
AT_A_HOLE = """
self.leaps = [];
let at = 9.6;
const leap = (to) => { self.leaps.push(to); at = to; };
Object.defineProperty(video, 'currentTime', { get: () => at, set: leap });
Object.defineProperty(video, 'paused', { get: () => false });
Object.defineProperty(video, 'readyState', { get: () => video.HAVE_CURRENT_DATA });
const parts = [[5, 9.7], [11.2, 12.2]];
Object.defineProperty(video, 'buffered', { get: () => ({
  length: parts.length, start: (index) => parts[index][0], end: (index) => parts[index][1],
}) });
document.body.dataset.proto = 'll-hls';
current = { stand: null, moment: () => NaN, edge: () => 12, ended: () => {} };
"""


def wait_note(browser: Browser, words: str, seconds: float) -> str:
    """Wait until the page says C{words}: all that it says.

    @raise AssertionError: it says other things.
    """
    said: list[str] = []

    def found() -> str | None:
        said.append(browser.run(NOTE))
        return said[-1] if re.search(words, said[-1]) else None

    try:
        return wait_until(found, seconds, f"the page says {words!r}")
    except AssertionError as late:
        raise AssertionError(f"{late}; it said {list(dict.fromkeys(said))}") from None


class NotThere(StageCase):
    def test_misspelt_name(self) -> None:
        """The page is the same for every name, but says when there is no such stream."""
        node = self.stage.node("none", "")
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{node.http}/live/mispelt/embed.html")
            wait_note(browser, "no such stream", 20.0)


class OtherHost(StageCase):
    def test_stream_of_a_peer(self) -> None:
        """The playlist is redirected to the peer, which has another address."""
        has = self.stage.node("has", FILM.replace("NAME", "p").replace("OPTIONS", ""))
        page = self.stage.node("page", f"peer 127.0.0.1:{has.http} {{ public localhost:{has.http}; }}")
        wait_segments(has, "p", 2)
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{page.http}/p/embed.html")
            browser.wait_advance(2.0, 25.0)

    def test_url_prefix(self) -> None:
        """The segments come from the prefix's host."""
        node = self.stage.prepare("prefixed")
        options = f"url_prefix http://localhost:{node.http};"
        node.write_config(FILM.replace("NAME", "b").replace("OPTIONS", options))
        node.up()
        wait_segments(node, "b", 2)
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{node.http}/b/embed.html")
            browser.wait_advance(2.0, 25.0)


class Codecs(StageCase):
    """Codecs that come and go; MPEG-TS by HTTP carries them all."""

    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("codecs", QUICK)

    def publish(self, stream: str, video: str, audio: str) -> Sender:
        """Send one pair of codecs to C{stream}."""
        file = make(CodecSample(video=video, audio=(audio,), suffix="ts", seconds=40))
        url = f"http://127.0.0.1:{self.node.http}/{stream}/mpegts"
        sender = send(file, self.stage.folder / f"{video}.log", "-f", "mpegts", "-method", "POST", url)
        self.addCleanup(sender.close)
        return sender

    def need_lack(self, browser: Browser, *names: str) -> None:
        """@raise SkipTest: this browser plays one of the codecs."""
        for name in names:
            if browser.run(f"return codecs.playable({name!r})"):
                raise SkipTest(f"this browser plays {name}")

    def test_codecs_change(self) -> None:
        """The page names those that the browser lacks, plays when others come, and names them again."""
        page = f"http://127.0.0.1:{self.node.http}/live/c/embed.html"
        with Browser.open_or_skip() as browser:
            browser.go(page)
            self.need_lack(browser, "hvc1.1.6.L60.90", "ac-3")
            foreign = self.publish("live/c", "hevc", "ac3")
            said = wait_note(browser, "cannot play", 25.0)
            self.assertIn("HEVC (H.265) video, AC-3 audio", said)
            foreign.close()
            known = self.publish("live/c", "h264", "aac")
            browser.wait_advance(2.0, 25.0)
            self.assertEqual(browser.run(NOTE), "")
            known.close()
            wait_note(browser, "Waiting|no such", 25.0)
            self.publish("live/c", "h264", "aac")
            browser.wait_advance(2.0, 25.0)
            self.assertEqual(browser.run(NOTE), "")

    def test_sound_alone_is_lacking(self) -> None:
        """Then the picture is shown, without it, and the page says so."""
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{self.node.http}/live/s/embed.html")
            self.need_lack(browser, "ac-3")
            self.publish("live/s", "h264", "ac3")
            self.assertIn("AC-3 audio", wait_note(browser, "No sound", 25.0))
            browser.wait_advance(2.0, 25.0)


class Answers(http.server.BaseHTTPRequestHandler):
    """The page, and one status for everything else."""

    status: ClassVar[int] = 404

    def do_GET(self) -> None:
        """A file of the page or the status."""
        file = PAGES / Path(self.path).name
        found = file.is_file()
        body = file.read_bytes() if found else b""
        kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
        self.send_response(200 if found else self.status)
        self.send_header("Content-Type", kinds.get(file.suffix, "text/plain"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


class Refusals(StageCase):
    """Servers that do not serve."""

    def serve(self, port: int) -> http.server.ThreadingHTTPServer:
        """Begin to answer."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answers)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        return server

    @contextlib.contextmanager
    def page(self) -> Iterator[Browser]:
        """A browser on the page of a stream that is not there."""
        server = self.serve(0)
        try:
            with Browser.open_or_skip() as browser:
                browser.go(f"http://127.0.0.1:{server.server_address[1]}/live/x/embed.html")
                yield browser
        finally:
            server.shutdown()
            server.server_close()

    def test_each_is_told_apart(self) -> None:
        """Refused, broken, away, and back without the stream: each is said, without a reload."""
        (port,) = free_ports(1)
        Answers.status = 403
        server = self.serve(port)
        try:
            with Browser.open_or_skip() as browser:
                browser.go(f"http://127.0.0.1:{port}/live/x/embed.html")
                wait_note(browser, "may not watch", 10.0)
                Answers.status = 503
                wait_note(browser, r"cannot serve .*\(503\)", 15.0)
                server.shutdown()
                server.server_close()
                wait_note(browser, "cannot be reached", 15.0)
                Answers.status = 404
                server = self.serve(port)
                wait_note(browser, "no such stream", 20.0)
        finally:
            server.shutdown()
            server.server_close()

    def test_media_errors(self) -> None:
        """hls.js may mend one, then another player has its turn; codecs that are lacking are never mended."""
        with self.page() as browser:
            for details, said in (
                (["bufferAppendError"], ["mended"]),
                (["bufferAppendError", "bufferAppendError"], ["mended", "media"]),
                (["manifestIncompatibleCodecsError"], ["codecs"]),
                (["bufferAddCodecError"], ["codecs"]),
            ):
                self.assertEqual(browser.run(f"const details = {details!r}; {FAKE_HLS}"), said)

    def test_leaps_are_no_playing(self) -> None:
        """A player that leaps after the stream with no picture is nudged, once, then given up as stuck."""
        with self.page() as browser:
            browser.run(LEAPING)
            wait_until(lambda: "stuck" in browser.run("return self.told"), 15.0, "the player is given up")
            self.assertEqual(browser.run("return self.told")[:2], ["nudged", "stuck"])

    def test_holes(self) -> None:
        """A picture that stands at a hole is brought to what is held behind it, once."""
        with self.page() as browser:
            browser.run(AT_A_HOLE)
            wait_until(lambda: browser.run("return self.leaps.length"), 10.0, "it leaps")
            self.assertEqual(browser.run("return self.leaps"), [11.25])

    def test_names(self) -> None:
        """What the page makes of lists of codecs."""
        with self.page() as browser:
            playlist = '#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="hvc1.1.6.L60.90,ac-3"'
            others = '<Representation codecs="opus"> {"codec":"mp4v.61"} {"codec": "ac-3"}'
            said = browser.run(f"return codecs.said({playlist + others!r})")
            self.assertEqual(said, ["hvc1.1.6.L60.90", "ac-3", "opus", "mp4v.61"])
            for found, has, lack in (
                ([], [], ([], [], False)),
                (["avc1.64001E", "mp4a.40.2"], ["avc1.64001E", "mp4a.40.2"], ([], [], False)),
                (["hvc1.1", "hev1.1", "ac-3"], [], (["HEVC (H.265) video"], ["AC-3 audio"], True)),
                (["hvc1.1", "mp4a.40.2"], ["mp4a.40.2"], (["HEVC (H.265) video"], [], False)),
                (["avc1.4D", "mp4a.40.33", "opus"], ["avc1.4D", "opus"], ([], [], False)),
                (["strange"], ["strange"], ([], [], False)),
            ):
                lacking = browser.run(f"return codecs.lacking({found!r}, (codec) => {has!r}.includes(codec))")
                self.assertEqual([lacking[key] for key in ("video", "audio", "nothing")], [*lack], found)
