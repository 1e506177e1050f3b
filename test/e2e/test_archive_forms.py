"""Every form of an archive: on the node that recorded it, an edge that records nothing, and one behind it."""

from __future__ import annotations

import re
import time
from typing import ClassVar

from typing_extensions import override

from test.e2e.elementary import elementary_digests, is_run_of
from test.e2e.nodes import Node, get, wait_until
from test.e2e.players import decode
from test.e2e.publishers import Publisher
from test.e2e.samples import make
from test.e2e.shared import Stage, StageCase

STREAM = "live/past"
#: Seconds of the past that are looked at.
SECONDS = 8
#: Closed ranges: their answers never change.
CLOSED = (
    "archive-{0}-{1}.m3u8",
    "video-{0}-{1}.m3u8",
    "index-{0}-{1}.m3u8",
    "archive-{0}-{1}.ts.m3u8",
    "archive-{0}-{1}.fmp4.m3u8",
    "archive-{0}-{1}.mpd",
    "archive-{0}-{1}.ts",
    "archive-{0}-{1}.mp4",
    "archive-{0}-{1}.m3u8?filter.tracks=a1",
    "index.m3u8?utc={0}&lutc={2}",
    "video.m3u8?utc={0}&lutc={2}",
)
#: Lists that grow or slide.
MOVING = (
    "archive-{0}-now.m3u8",
    "video-{0}-now.m3u8",
    "archive-{0}-now.mpd",
    "rewind-20.m3u8",
    "rewind-20.mpd",
    "timeshift_rel-5.m3u8",
    "mono-timeshift_rel-5.m3u8",
    "timeshift_abs-{0}.m3u8",
    "video-timeshift_abs-{0}.m3u8",
)


class Forms(StageCase):
    """An origin that records, an edge, and an edge of the edge."""

    nodes: ClassVar[list[Node]]
    publisher: ClassVar[Publisher]
    start: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        root = stage.folder / "forms"
        body = f"template live {{ prefix live; input publish://; segment_duration 1; dvr {root} 1d; }}"
        origin = stage.node("origin", body)
        edge = stage.edge("edge", origin)
        cls.nodes = [origin, edge, stage.edge("far", edge)]
        cls.publisher = stage.publish(origin, STREAM)
        cls.start = 0

    @override
    def setUp(self) -> None:
        super().setUp()
        if not self.start:
            type(self).start = wait_until(self.recorded, 40.0, "enough is recorded, and has left the windows")

    def recorded(self) -> int:
        """A moment with enough behind it that no window holds; 0: not yet."""
        answer = get(self.nodes[0].http, f"/{STREAM}/recording_status.json")
        if answer.status != 200:
            return 0
        (told,) = answer.json()
        held = (told["ranges"] or [{"from": 0, "duration": 0}])[0]
        return int(held["from"]) + 1 if held["duration"] > SECONDS + 12 else 0

    def path(self, form: str) -> str:
        return f"/{STREAM}/" + form.format(self.start, SECONDS, self.start + SECONDS)

    def test_closed(self) -> None:
        """The same answer everywhere, and the same bytes for everything that it lists."""
        listed: set[str] = set()
        for form in CLOSED:
            answers = [get(node.http, self.path(form), timeout=10.0) for node in self.nodes]
            self.assertEqual({each.status for each in answers}, {200}, form)
            self.assertEqual(len({each.body for each in answers}), 1, form)
            if ".m3u8" in form:
                listed |= self.files(answers[0].body.decode())
        self.assertGreater(len(listed), 3 * SECONDS)
        for path in sorted(listed):
            bodies = {get(node.http, path, timeout=10.0).body for node in self.nodes}
            self.assertEqual(len(bodies), 1, path)

    def files(self, text: str) -> set[str]:
        """Paths of the segments and init segments of a playlist and of those that it names."""
        found = set()
        for line in text.splitlines():
            uris = [line] if line and not line.startswith("#") else re.findall(r'URI="([^"]+)"', line)
            for uri in uris:
                path = f"/{STREAM}/{uri}"
                if uri.split("?")[0].endswith(".m3u8"):
                    folder = uri.rpartition("/")[0]
                    for file in self.files(get(self.nodes[0].http, path).body.decode()):
                        inside = file.removeprefix(f"/{STREAM}/")
                        while inside.startswith("../"):
                            inside, folder = inside[3:], folder.rpartition("/")[0]
                        found.add(f"/{STREAM}/{folder}/{inside}" if folder else f"/{STREAM}/{inside}")
                else:
                    found.add(path)
        return found

    def test_moving(self) -> None:
        """All nodes answer; what they list of one segment is the same."""
        for form in MOVING:
            texts = []
            for node in self.nodes:
                answer = get(node.http, self.path(form), timeout=10.0)
                self.assertEqual(answer.status, 200, (form, answer.body))
                texts.append(answer.body.decode())
            if "#EXTINF" not in texts[0]:
                continue
            lists = [set(re.findall(r"(#EXTINF:[^\n]+\n[^\n]+)", text)) for text in texts]
            self.assertGreater(len(lists[0] & lists[1] & lists[2]), 2, form)

    def test_decodes(self) -> None:
        """What was published comes out, packet by packet, with nothing to complain of."""
        published = elementary_digests(make(self.publisher.sample), "v:0", "h264")
        for node in self.nodes:
            for form in ("archive-{0}-{1}.m3u8", "archive-{0}-{1}.fmp4.m3u8", "archive-{0}-{1}.mp4"):
                url = f"http://127.0.0.1:{node.http}{self.path(form)}"
                seen = elementary_digests(url, "v:0", "h264")
                self.assertGreater(len(seen), (SECONDS - 2) * 25, form)
                self.assertTrue(is_run_of(seen, published + published), (node.name, form))
                self.assertEqual(decode(url, SECONDS).complaints, "", form)

    def test_absurd(self) -> None:
        """A clear refusal at once, whatever is asked for (H14)."""
        begun = time.monotonic()
        for times in (
            "-5-10",
            "nan-10",
            "1e9-10",
            f"{10**30}-10",
            f"{self.start}-0",
            f"{self.start}--1",
            f"{self.start}-{10**12}",
            f"{self.start + 10**7}-10",
            "../../etc/passwd-10",
            "%2e%2e%2fx-10",
        ):
            for end in ("m3u8", "mpd", "ts", "mp4"):
                answer = get(self.nodes[1].http, f"/{STREAM}/archive-{times}.{end}")
                self.assertIn(answer.status, (400, 404), (times, end))
        self.assertEqual(get(self.nodes[1].http, f"/{STREAM}/archive-1000-10.m3u8").status, 404)
        self.assertLess(time.monotonic() - begun, 5.0)
