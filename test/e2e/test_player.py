"""The player page, when what it plays lies on another host than the page."""

from __future__ import annotations

from test.e2e.browser import Browser
from test.e2e.nodes import ROOT, wait_until
from test.e2e.playlists import wait_segments
from test.e2e.shared import StageCase

FILM = f"""
vod demo {{ storage {ROOT / "restreamer" / "demo"}; }}
stream NAME {{ input file://demo/demo.mp4; segment_duration 2; segment_count 6; OPTIONS }}
"""


class NotThere(StageCase):
    def test_misspelt_name(self) -> None:
        """The page is the same for every name, but says when there is no such stream."""
        node = self.stage.node("none", "")
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{node.http}/live/mispelt/embed.html")
            note = "return document.getElementById('note').textContent"
            wait_until(lambda: "no such stream" in browser.run(note), 20.0, "the page says so")


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
