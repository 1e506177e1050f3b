"""A stream is recorded, outlives a crash of the node, and is known to an edge that records nothing."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any, ClassVar

from typing_extensions import override

from test.e2e.nodes import Answer, Node, get, wait_until
from test.e2e.publishers import Publisher
from test.e2e.shared import Stage, StageCase

STREAM = "live/kept"
PASSWORD = "change-the-locks"
LOCKS = f"/streamer/api/v3/streams/{STREAM}/dvr/locks"


def send(port: int, method: str, path: str, body: object) -> Answer:
    """One request with a JSON body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {PASSWORD}"}
        connection.request(method, path, json.dumps(body), headers)
        reply = connection.getresponse()
        return Answer(reply.status, {}, reply.read())
    finally:
        connection.close()


def ranges(node: Node, query: str = "?from=0&to=now") -> list[dict[str, int]]:
    """What a node says can be played."""
    answer = get(node.http, f"/{STREAM}/recording_status.json{query}")
    if answer.status != 200:
        return []
    (told,) = answer.json()
    found: list[dict[str, int]] = told["ranges"]
    return found


class Recording(StageCase):
    """An origin that records, and an edge that does not."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]
    publisher: ClassVar[Publisher]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        root = stage.folder / "archive"
        body = f"template live {{ prefix live; input publish://; segment_duration 1; dvr {root} 1d 99%; }}"
        cls.origin = stage.node("origin", f"edit_auth admin {PASSWORD};\n{body}")
        cls.edge = stage.edge("edge", cls.origin)
        cls.publisher = stage.publish(cls.origin, STREAM)

    def info(self) -> dict[str, Any]:
        """What the API tells of the archive."""
        stats = get(self.origin.http, f"/streamer/api/v3/streams/{STREAM}").json()["stats"]
        found: dict[str, Any] = stats["dvr_info"]
        return found

    def test_recorded(self) -> None:
        """The range grows and survives a kill with a gap; the edge says the same; a range can be locked."""
        wait_until(
            lambda: sum(each["duration"] for each in ranges(self.origin)) >= 4, 15.0, "4 s are recorded"
        )
        self.assertEqual(self.info()["status"], "recording")
        (before,) = ranges(self.origin)
        edge = wait_until(lambda: ranges(self.edge), 5.0, "the edge knows it")
        self.assertEqual(edge[0]["from"], before["from"])
        answer = send(self.origin.http, "POST", LOCKS, {"from": before["from"], "duration": 2})
        self.assertEqual(answer.status, 200, answer.body)

        self.origin.kill()
        self.publisher.stop()
        time.sleep(1.0)
        self.origin.start()
        self.origin.wait_ready()
        (after,) = wait_until(lambda: ranges(self.origin), 5.0, "the archive is there again")
        self.assertEqual(after["from"], before["from"])
        # What was listed before was in memory for a second at most.
        self.assertGreaterEqual(after["duration"], before["duration"] - 2)
        locked = get(self.origin.http, LOCKS).json()["locks"]
        self.assertEqual(
            locked, [{"opened_at": after["from"] * 1000, "closed_at": after["from"] * 1000 + 2000}]
        )

        type(self).publisher = self.stage.publish(self.origin, STREAM)
        two = wait_until(
            lambda: found if len(found := ranges(self.origin)) == 2 else None,
            10.0,
            "recording goes on after a gap",
        )
        # Whole seconds: a gap between may be rounded away.
        self.assertGreaterEqual(two[1]["from"], two[0]["from"] + two[0]["duration"])
        wait_until(lambda: len(ranges(self.edge)) == 2, 8.0, "the edge shows the gap")
        self.check_played(two[0])

        def written() -> bool:
            (volume,) = get(self.origin.http, "/streamer/api/v3/dvrs").json()["dvrs"]
            return bool(volume["status"] == "working" and volume["bytes_written"])

        wait_until(written, 5.0, "the volume works")

    def check_played(self, recorded: dict[str, int]) -> None:
        """The edge plays the same bytes as the origin from before the crash."""
        path = f"/{STREAM}/archive-{recorded['from']}-{recorded['duration']}.m3u8"
        segments = []
        for node in (self.origin, self.edge):
            playlist = get(node.http, path)
            self.assertEqual(playlist.status, 200, playlist.body)
            names = [line for line in playlist.body.decode().splitlines() if line.endswith(".ts")]
            segments.append({name: get(node.http, f"/{STREAM}/{name}").body for name in names})
        kept, seen = segments
        # The edge may have a segment of which the origin's disk had not heard yet.
        self.assertLessEqual(kept.keys(), seen.keys())
        self.assertTrue(all(body == seen[name] for name, body in kept.items()), "the same bytes")
        self.assertTrue(all(len(body) > 1000 and body[0] == 0x47 for body in kept.values()))
