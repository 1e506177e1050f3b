"""The page of operators in a browser: a stream appears and plays, a viewer is kicked, a source dies."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from test.e2e.browser import CELLS, Browser
from test.e2e.nodes import Node, wait_until
from test.e2e.shared import Stage, StageCase

LOGIN = "edit_auth admin operators-only;"
QUICK = "template live { prefix live; input publish://; segment_duration 1; segment_count 6; }"
NAME = "live/news"
TABS = ("streams", "sessions", "cluster", "archive", "traffic", "events", "config")
#: Where pictures of the pages are left; none are taken without it.
PICTURES = os.environ.get("RESTREAMER_TEST_PICTURES", "")
#: Keeps what the page complains of: its own errors and what its policy forbids.
WATCH = """
self.complaints = [];
addEventListener('error', (event) => complaints.push(String(event.message)));
addEventListener('unhandledrejection', (event) => complaints.push(String(event.reason)));
addEventListener('securitypolicyviolation',
  (event) => complaints.push(event.violatedDirective + ' ' + event.blockedURI));
"""


class Admin(Browser):
    """A browser at the page of operators."""

    def command(self, method: str, **values: object) -> Any:
        """A command of the DevTools protocol."""
        return self.call(
            "POST", f"/session/{self.session}/goog/cdp/execute", {"cmd": method, "params": values}
        )

    def enter(self, node: Node) -> None:
        """Give the password as a person would, and open the page."""
        self.command("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.go(f"http://admin:operators-only@127.0.0.1:{node.http}/streamer/api/v3/sessions")
        self.go(f"http://127.0.0.1:{node.http}/admin")

    def tab(self, hash_: str) -> None:
        """Go to one of its pages."""
        self.run(f"location.hash = {hash_!r}")

    def text(self) -> str:
        """What stands on it."""
        found: str = self.run("return document.getElementById('main').innerText")
        return found

    def wait_text(self, words: str, seconds: float = 10.0) -> None:
        """Wait until C{words} stand on it.

        @raise AssertionError: they do not.
        """
        try:
            wait_until(lambda: words in self.text(), seconds, f"the page says {words!r}")
        except AssertionError as late:
            raise AssertionError(f"{late}; it says {self.text()[:1500]!r}, {self.complaints()}") from None

    def complaints(self) -> list[str]:
        """What it complained of."""
        found: list[str] = self.run("return self.complaints || []")
        return found

    def window(self, width: int, height: int, scheme: str = "light") -> None:
        """Give the page a size and colours."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.command(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def picture(self, name: str) -> None:
        """Keep a picture of the page, if they are wanted."""
        if PICTURES:
            data = self.command("Page.captureScreenshot", format="png")["data"]
            (Path(PICTURES) / f"{name}.png").write_bytes(base64.b64decode(data))


class AdminPage(StageCase):
    """An edge with two sources that have the same stream."""

    first: ClassVar[Node]
    second: ClassVar[Node]
    edge: ClassVar[Node]
    browser: ClassVar[Admin]
    expected_alarms = ()

    @classmethod
    @override
    def build(cls, stage: Stage) -> None:
        browser = Admin.open_or_skip()
        stage.stack.callback(browser.close)
        assert isinstance(browser, Admin)
        cls.browser = browser
        cls.first = stage.node("first", QUICK)
        cls.second = stage.node("second", QUICK)
        cls.edge = stage.edge("edge", cls.first, cls.second, body=LOGIN)

    def test_operator(self) -> None:
        """What an operator does in a bad hour, from the first look to the switch on the map."""
        page = self.browser
        page.window(1280, 800)
        page.enter(self.edge)
        page.wait_text("There are no streams")
        self.stage.publish(self.first, NAME)
        self.stage.publish(self.second, NAME)
        page.wait_text(NAME, 15.0)
        page.wait_text("running", 15.0)
        page.picture("admin-streams")
        self._play(page)
        self._kick(page)
        self._switch(page)
        self._tour(page)
        self._mistake(page)
        self._restart(page)
        self.assertEqual(page.complaints(), [])

    def _play(self, page: Admin) -> None:
        page.tab(f"#/stream/{NAME}")
        playing = """
            const frame = document.querySelector('iframe.preview');
            const video = frame && frame.contentDocument.querySelector('video');
            return video ? video.currentTime : 0;
        """
        begin = wait_until(lambda: page.run(playing), 15.0, "the preview plays")
        wait_until(lambda: page.run(playing) > begin + 1, 10.0, "the preview goes on")
        self._urls(page)
        page.picture("admin-stream")

    def _urls(self, page: Admin) -> None:
        """Only what can be opened is offered, with the port it is really at."""
        told = page.run(
            "return [...document.querySelectorAll('.urls label')].map((each) => each.firstChild.data)"
        )
        shown = page.run("return [...document.querySelectorAll('.urls input')].map((each) => each.value)")
        urls = dict(zip(told, shown, strict=True))
        self.assertEqual(urls["RTMP"], f"rtmp://127.0.0.1:{self.edge.rtmp}/{NAME}")
        self.assertEqual(urls["HLS"], f"http://127.0.0.1:{self.edge.http}/{NAME}/index.m3u8")
        self.assertEqual(urls.keys() & {"RTSP", "RTMPS", "RTSPS"}, set())
        for kind in ("HLS", "LL-HLS", "DASH", "Page"):
            self.assertEqual(self.edge.get(urls[kind].partition(str(self.edge.http))[2]).status, 200, kind)

    def _kick(self, page: Admin) -> None:
        hostile = "<img src=x onerror=complaints.push('run')>"
        self.edge.get(f"/{NAME}/index.m3u8?token=other", headers={"User-Agent": hostile})
        page.tab("#/sessions")
        page.wait_text("127.0.0.1", 10.0)
        page.wait_text("<img src=x", 10.0)
        self.assertEqual(page.run("return document.querySelectorAll('main img').length"), 0)
        page.picture("admin-viewers")
        rows = len(page.run(CELLS))
        page.run("document.querySelector('td button.danger').click()")
        wait_until(lambda: len(page.run(CELLS)) < rows, 10.0, "the session is gone from the list")
        self.assertIn("was sent away", page.run("return document.getElementById('said').textContent"))

    def _switch(self, page: Admin) -> None:
        page.tab("#/cluster")
        page.wait_text(f"127.0.0.1:{self.first.http}")
        wait_until(lambda: self._pulled(page), 10.0, "the map says where the stream comes from")
        before = self._pulled(page)
        lost, stays = (
            (self.first, self.second) if str(self.first.http) in before else (self.second, self.first)
        )
        page.picture("admin-cluster")
        lost.kill()
        bad = "return document.querySelectorAll('#map .node.lost').length"
        wait_until(lambda: page.run(bad) == 1, 10.0, "the map shows the lost source")
        wait_until(
            lambda: str(stays.http) in self._pulled(page), 10.0, "the stream comes from the other source"
        )
        page.picture("admin-cluster-lost")

    def _pulled(self, page: Admin) -> str:
        rows = [row for row in page.run(CELLS) if row[0] == NAME]
        return str(rows[0][1]) if rows else ""

    def _tour(self, page: Admin) -> None:
        for tab in TABS:
            for width, scheme in ((390, "dark"), (1280, "light")):
                page.window(width, 800, scheme)
                page.tab(f"#/{tab}")
                wait_until(lambda: "Loading" not in page.text() and page.text(), 10.0, f"{tab} is there")
                broad = page.run("return document.documentElement.scrollWidth - innerWidth")
                self.assertLessEqual(broad, 0, f"{tab} is wider than {width} pixels")
                page.picture(f"admin-{tab}-{width}-{scheme}")

    def _mistake(self, page: Admin) -> None:
        page.tab("#/streams")
        page.wait_text(NAME)
        page.tab("#/config")
        page.wait_text("Save and apply")
        page.run("document.querySelector('textarea').value += 'nonsense 1;\\n'")
        page.run(
            "[...document.querySelectorAll('button')].find((each) => each.textContent === 'Check').click()"
        )
        page.wait_text("line ")
        at = page.run("return document.querySelector('textarea').selectionStart")
        text = page.run("return document.querySelector('textarea').value")
        self.assertTrue(text[at:].startswith("nonsense"), text[at:])
        self.assertTrue(page.run("return document.querySelector('.editor .bar button + button').disabled"))
        page.picture("admin-config-error")

    def _restart(self, page: Admin) -> None:
        page.tab("#/events")
        page.wait_text("server_started")
        begun = page.text()
        self.edge.stop()
        self.edge.up()
        wait_until(lambda: page.text() != begun and "server_started" in page.text(), 12.0, "it comes back")
        pulse = "return document.getElementById('pulse').textContent"
        wait_until(lambda: "1 of 1 stream ·" in page.run(pulse), 10.0, "the pulse goes on")
        self.assertNotIn("play_closed", page.text(), "events of the life before are gone")
