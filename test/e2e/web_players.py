"""Libraries that play in browsers, many videos on one page: hls.js and dash.js as the player page has them,
others from npm."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest
from urllib.parse import urlencode

from attrs import frozen

from test.e2e.browser import Browser
from test.e2e.matrix import Folder
from test.e2e.nodes import ROOT, wait_until
from test.e2e.samples import cache_folder

#: Frames and seconds of its own time that a video has to show.
PICTURES = 40
ADVANCE = 2.0

_PAGE: Final = """<!doctype html><meta charset="utf-8"><body>
<script src="hls.min.js"></script><script src="dash.mediaplayer.min.js"></script>
<script src="mpegts.js"></script><script src="shaka.js"></script>
<script>
"use strict";
const shown = [];
const ways = {
  hls(video, url, trouble) {
    const hls = new Hls({ lowLatencyMode: url.includes(".ll.") });
    hls.on(Hls.Events.ERROR, (_, data) => {
      const bad = data.fatal || /bufferAppend|fragParsing|Codec/.test(data.details);
      if (bad) trouble(`${data.details} ${data.error}`);
    });
    hls.loadSource(url);
    hls.attachMedia(video);
  },
  dash(video, url, trouble) {
    const player = dashjs.MediaPlayer().create();
    player.updateSettings({ debug: { logLevel: 1 } });
    // A file that a player of the newest parts asks for before it is begun is no trouble.
    player.on("error", ({ error }) => { if (error.code < 25 || error.code > 28) trouble(error.message); });
    player.on("playbackError", (event) => trouble(String(event.error)));
    player.initialize(video, url, true);
  },
  shaka(video, url, trouble) {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    const told = (error) => { if (error.severity !== 1) trouble(`${error.code} ${error.data}`); };
    player.addEventListener("error", (event) => told(event.detail));
    player.attach(video).then(() => player.load(url)).then(() => video.play()).catch(told);
  },
  mpegts(video, url, trouble) {
    const type = url.endsWith("flv") ? "flv" : "mpegts";
    const player = mpegts.createPlayer({ type, url, isLive: true });
    player.on(mpegts.Events.ERROR, (...what) => trouble(what.slice(0, 2).join(" ")));
    player.attachMediaElement(video);
    player.load();
    player.play();
  },
};
for (const [way, url] of new URLSearchParams(location.search)) {
  const video = document.createElement("video");
  video.muted = video.autoplay = true;
  video.width = 160;
  document.body.append(video);
  const entry = { way, url, video, troubles: [], begin: NaN };
  video.addEventListener("error", () => entry.troubles.push(video.error.message));
  video.addEventListener("playing", () => { entry.begin = video.currentTime; }, { once: true });
  shown.push(entry);
  try {
    ways[way](video, url, (text) => entry.troubles.push(text));
  } catch (error) {
    entry.troubles.push(String(error));
  }
}
</script>
"""
_LOOK: Final = """
return shown.map(({ way, url, video, troubles, begin }) => ({
  what: `${way} ${url}`, troubles, went: video.currentTime - begin,
  frames: video.getVideoPlaybackQuality().totalVideoFrames }));
"""


@frozen
class Package:
    """A package of npm. @ivar integrity: SHA-512 of its archive, base64. @ivar file: what we take of it."""

    name: str
    version: str
    integrity: str
    file: str

    def fetch(self) -> Path:
        """The file, from the cache or else through npm.

        @raise SkipTest: it cannot be had.
        @raise AssertionError: what came is not what was pinned.
        """
        path = cache_folder() / f"{self.name}-{self.version}.js"
        if path.exists():
            return path
        npm = shutil.which("npm")
        if npm is None:
            raise SkipTest(f"npm is not installed, which would fetch {self.name}")
        with tempfile.TemporaryDirectory() as folder:
            command = [npm, "pack", "--silent", "--pack-destination", folder, f"{self.name}@{self.version}"]
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
            except subprocess.TimeoutExpired:
                raise SkipTest(f"npm does not fetch {self.name} in time") from None
            archives = list(Path(folder).glob("*.tgz"))
            if done.returncode or not archives:
                raise SkipTest(f"npm cannot fetch {self.name}: {done.stderr.decode(errors='replace')[-300:]}")
            digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
            if digest != self.integrity:
                raise AssertionError(f"{self.name} {self.version} is not the one that was pinned: {digest}")
            with tarfile.open(archives[0]) as archive:
                member = archive.extractfile(f"package/{self.file}")
                assert member is not None
                unfinished = path.with_name(f"{path.name}.{os.getpid()}")
                unfinished.write_bytes(member.read())
                unfinished.rename(path)
        return path


MPEGTS: Final = Package(
    "mpegts.js",
    "1.8.2",
    "cZYMa5muASH55wrS6JK5IGkUqnCA96c0f+WdnW91jIK9s/N6NzjmTQDJNYg9A5u/G2Q5nj2b3w1Zwzze/9guxA==",
    "dist/mpegts.js",
)
SHAKA: Final = Package(
    "shaka-player",
    "5.2.12",
    "vEsuVDI3+oLh+yqpjXexQZlg2XMUBI0VrqatDuKWacPaxAud6Uph5uCowUPLhUgNG5XKWCpoM4l1r8qYzWH+zg==",
    "dist/shaka-player.compiled.js",
)


def watch(folder: Path, ways: Sequence[tuple[str, str]], seconds: float) -> None:
    """Play all of C{ways} (library and URL) on one page until each went on.

    @param folder: a new one, for the page.
    @raise SkipTest: no browser, or a library cannot be had.
    @raise AssertionError: one did not, or complained.
    """
    libraries = {way for way, _ in ways}
    files = {name: ROOT / "restreamer" / "web" / "pages" / name for name in _BUNDLED}
    if "mpegts" in libraries:
        files["mpegts.js"] = MPEGTS.fetch()
    if "shaka" in libraries:
        files["shaka.js"] = SHAKA.fetch()
    with Browser.open_or_skip() as browser:
        server = Folder(folder)
        try:
            (folder / "index.html").write_text(_PAGE)
            for name in (*_BUNDLED, "mpegts.js", "shaka.js"):
                (folder / name).write_bytes(files[name].read_bytes() if name in files else b"")
            browser.go(f"http://127.0.0.1:{server.port}/index.html?{urlencode(ways)}")
            _judge(browser, seconds)
        finally:
            server.close()


_BUNDLED: Final = ("hls.min.js", "dash.mediaplayer.min.js")


def _judge(browser: Browser, seconds: float) -> None:
    seen: list[dict[str, Any]] = []

    def over() -> bool:
        seen[:] = browser.run(_LOOK)
        went = all((one["went"] or 0) >= ADVANCE and one["frames"] >= PICTURES for one in seen)
        return went or any(one["troubles"] for one in seen)

    try:
        wait_until(over, seconds, "all go on")
    except AssertionError as late:
        raise AssertionError(f"{late}: {seen}") from None
    troubles = [one for one in seen if one["troubles"]]
    if troubles:
        raise AssertionError(f"players complain: {troubles}")
