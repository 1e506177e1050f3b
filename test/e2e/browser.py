"""Chromium without a screen, driven through chromedriver's WebDriver interface (plain JSON over HTTP)."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any
from unittest import SkipTest

from test.e2e.nodes import free_ports, wait_for_port, wait_until

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--mute-audio",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
)

#: What a page's video element says; null while there is none.
LOOK = """
const video = document.querySelector('video');
if (!video) return null;
const quality = video.getVideoPlaybackQuality ? video.getVideoPlaybackQuality() : {};
return {time: video.currentTime, frames: quality.totalVideoFrames || 0, paused: video.paused, ready:
video.readyState,
        width: video.videoWidth, error: video.error && video.error.message,
        held: video.buffered.length ? video.buffered.end(video.buffered.length - 1) : 0};
"""
#: The texts of all cells of the page's tables, row by row.
CELLS = """
return [...document.querySelectorAll('tbody tr')]
  .map((row) => [...row.cells].map((cell) => cell.textContent));
"""


class Browser:
    """One headless browser with one page."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.profile = tempfile.TemporaryDirectory(prefix="e2e-chromium-", ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={self.port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.session = ""
        try:
            wait_for_port(self.port, 15.0)
            options = {"args": [*FLAGS, f"--user-data-dir={self.profile.name}"]}
            binary = shutil.which("chromium") or shutil.which("chromium-browser")
            if binary:
                options["binary"] = binary  # type: ignore[assignment]
            wanted = {
                "capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
            }
            self.session = self.call("POST", "/session", wanted)["sessionId"]
        except BaseException:
            self.close()
            raise

    @classmethod
    def open_or_skip(cls) -> Browser:
        """A browser.

        @raise SkipTest: there is none.
        """
        if not shutil.which("chromedriver") or not (
            shutil.which("chromium") or shutil.which("chromium-browser")
        ):
            raise SkipTest("chromium and chromedriver are not installed")
        try:
            return cls()
        except AssertionError as error:
            if "session not created" not in str(error):
                raise
            # Chromium itself cannot run here (no shared memory, no user namespaces…): not our page's fault.
            raise SkipTest(f"chromium does not start on this machine: {error}") from None

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One WebDriver command: the C{value} of its answer."""
        data = json.dumps(body if body is not None else {}).encode() if method == "POST" else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=40) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"chromedriver: {error.read()[:500]!r}") from None

    def go(self, url: str) -> None:
        """Load a page."""
        self.call("POST", f"/session/{self.session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """The value of a script on the page."""
        return self.call("POST", f"/session/{self.session}/execute/sync", {"script": script, "args": []})

    def look(self) -> dict[str, Any]:
        """State of the page's video element.

        @raise AssertionError: the page has none.
        """
        state = self.run(LOOK)
        if state is None:
            page = self.run("return document.documentElement.outerHTML")
            raise AssertionError(f"no video element on the page: {page[:1500]}")
        found: dict[str, Any] = state
        return found

    def wait_advance(self, amount: float, seconds: float) -> dict[str, Any]:
        """Wait until the video, once it shows pictures, went on by C{amount} seconds of its own time and
        showed new ones.

        A player's leap to where it begins is no playing, so nothing is counted before the first picture.
        """

        def began() -> dict[str, Any] | None:
            now = self.look()
            return now if now["frames"] else None

        until = time.monotonic() + seconds
        try:
            start = wait_until(began, seconds, "the video shows a picture")
        except AssertionError as late:
            raise AssertionError(f"{late}; now {self.look()}") from None
        return self._wait_time(start["time"] + amount, start["frames"] + 10, until - time.monotonic())

    def wait_beyond(self, amount: float, seconds: float) -> dict[str, Any]:
        """Wait until the video is C{amount} seconds past everything that the browser holds of it now."""
        now = self.look()
        return self._wait_time(now["held"] + amount, now["frames"] + 10, seconds)

    def _wait_time(self, goal: float, frames: int, seconds: float) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            now = self.look()
            return now if now["time"] >= goal and now["frames"] > frames else None

        try:
            return wait_until(reached, seconds, f"the video goes on to {goal} s")
        except AssertionError as late:
            raise AssertionError(f"{late}; now {self.look()}") from None

    def close(self) -> None:
        """End browser and driver."""
        if self.session:
            try:
                self.call("DELETE", f"/session/{self.session}")
            except (AssertionError, OSError):
                pass
        self.driver.terminate()
        try:
            self.driver.wait(10)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait(10)
        self.profile.cleanup()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
