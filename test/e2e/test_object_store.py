"""An archive in an object store: copied, verified, deleted here, played from there by a node and its edge."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve
from typing_extensions import override

from restreamer.dvr.ages import CLOCK
from restreamer.dvr.recorded import Recorded
from restreamer.dvr.store import Store
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder, SegmentOpening
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import h264_track, video_frames
from test.dvr.hostile_store import HostileStore, says
from test.dvr.object_server import MISSING, ObjectServer
from test.e2e.nodes import Answer, Node, wait_until
from test.e2e.shared import Stage, StageCase

STREAM = "live/old"
SECRET = "hunter2hunter2"
SEGMENT = 2
COUNT = 6
#: Hours ago of what is recorded: the first is over its depth in the store, the others are not.
HOURS = (7, 5, 4)
DEPTH = 6


def record(root: Path) -> list[int]:
    """Some segments at the begin of each of these hours. @return: where these begin, UTC seconds."""
    begins = [int(time.time()) // 3600 * 3600 - 3600 * ago for ago in HOURS]
    track = h264_track()
    frames = video_frames(SEGMENT, gop=50, start=0, bitrate=500_000)
    store = Store(str(root))
    store.open()
    try:
        stream = store.stream(STREAM)
        for begin in begins:
            for place in range(COUNT):
                start = (begin + SEGMENT * place) * TICKS_PER_SECOND
                number = start // (SEGMENT * TICKS_PER_SECOND)
                builder = SegmentBuilder(SegmentOpening(number, start, False, True, 0, (track,)))
                builder.extend([evolve(frame, dts=frame.dts + start) for frame in frames])
                run = RunInfo(7, begin * TICKS_PER_SECOND, bytes(16), ())
                stream.append([Recorded(builder.close(SEGMENT * TICKS_PER_SECOND), run, False)])
        stream.seal(int(time.time()) * TICKS_PER_SECOND)
    finally:
        store.close()
    # The node that recorded it was there until now: its clock is believed.
    (root / CLOCK).write_text(json.dumps({"utc": int(time.time())}))
    return begins


def body(endpoint: str) -> str:
    """A node that records to an object store."""
    address = endpoint.partition("://")[2]
    return (
        "template live { prefix live; input publish://; "
        f"dvr s3://key:{SECRET}@{address}/archive/node {DEPTH}h 99%; }}"
    )


class ObjectStoreCase(StageCase):
    """With an object store."""

    if MISSING:
        skip = MISSING

    expected_alarms = ("object store ",)

    def copies(self, node: Node) -> dict[str, Any]:
        """How it goes with the object store, as the API tells."""
        (told,) = node.get("/streamer/api/v3/dvrs").json()["copies"]
        found: dict[str, Any] = told
        return found

    @override
    def listen_for_alarms(self) -> None:
        super().listen_for_alarms()
        for node in self.stage.nodes:
            self.assertNotIn(SECRET, node.log_text())


class Copying(ObjectStoreCase):
    """A node whose archive was recorded hours ago, and an edge of it."""

    server: ClassVar[ObjectServer]
    origin: ClassVar[Node]
    edge: ClassVar[Node]
    begins: ClassVar[list[int]]
    spool: ClassVar[Path]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.server = ObjectServer.start()
        stage.stack.callback(cls.server.stop)
        config = cls.server.config("archive")
        cls.origin = stage.prepare("origin", body(config.endpoint))
        cls.spool = stage.folder / "origin.state" / "dvr"
        cls.begins = record(cls.spool)
        cls.origin.up()

    def segments(self, node: Node, begin: int) -> dict[str, Answer]:
        """What a list of an hour lists."""
        playlist = node.get(f"/{STREAM}/archive-{begin}-{SEGMENT * COUNT}.m3u8")
        self.assertEqual(playlist.status, 200, playlist.body)
        names = [line for line in playlist.body.decode().splitlines() if line.endswith(".ts")]
        return {name: node.get(f"/{STREAM}/{name}") for name in names}

    def test_copied_played_and_away(self) -> None:
        """The life of an hour."""
        _, first, second = self.begins
        kept = {begin: self.segments(self.origin, begin) for begin in (first, second)}
        for answers in kept.values():
            self.assertEqual([each.status for each in answers.values()], [200] * COUNT)

        wait_until(lambda: not list(self.spool.rglob("*.m4f")), 30.0, "it was copied and went from the disk")
        told = self.copies(self.origin)
        self.assertEqual((told["hours_copied"], told["pending"], told.get("error")), (len(HOURS), 0, None))

        # Nothing in memory now.
        self.origin.kill()
        self.origin.up()
        type(self).edge = self.stage.edge("edge", self.origin)
        for node in (self.edge, self.origin):
            played = self.segments(node, first)
            self.assertEqual(played.keys(), kept[first].keys())
            same = [played[name].body == kept[first][name].body for name in played]
            self.assertTrue(all(same), f"{node.name}: {same}")
        reads = self.origin.get("/streamer/api/v3/config/stats").json()["dvr"]["reads"]
        self.assertGreaterEqual(reads["s3"]["segments"], COUNT)
        # Older than the depth: deleted in the store.
        gone = self.origin.get(f"/{STREAM}/archive-{self.begins[0]}-{SEGMENT * COUNT}.m3u8")
        self.assertEqual(gone.status, 404, gone.body)

        # Both know what there is, and nobody has it any more.
        self.assertEqual(self.origin.get(f"/{STREAM}/archive-{second}-{SEGMENT * COUNT}.m3u8").status, 200)
        self.server.stop()
        self.check_away(second, next(iter(kept[second])))

    def check_away(self, begin: int, segment: str) -> None:
        """The store is away: later, and never a part of a file."""
        answer = self.origin.get(f"/{STREAM}/{segment}")
        self.assertEqual(answer.status, 503)
        self.assertIn("retry-after", answer.headers)
        try:
            answer = self.origin.get(f"/{STREAM}/archive-{begin}-{SEGMENT * COUNT}.ts", timeout=2.0)
        except (OSError, http.client.HTTPException):
            # It had begun, and waits for the store or breaks off; it does not end as if that were all.
            pass
        else:
            self.assertEqual(answer.status, 503)
        self.assertIn("cannot be reached", self.copies(self.origin)["error"])


class WrongSecret(ObjectStoreCase):
    """A store that does not take the secret."""

    server: ClassVar[HostileStore]
    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        text = b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>"
        cls.server = HostileStore(says("403 Forbidden", text, "Content-Type: application/xml"))
        stage.stack.callback(cls.server.stop)
        cls.node = stage.prepare("node", body(cls.server.config().endpoint))
        record(stage.folder / "node.state" / "dvr")
        cls.node.up()

    def test_told(self) -> None:
        """An alarm says what is wrong; what is on the disk plays, and stays there."""
        told = wait_until(lambda: self.copies(self.node).get("error"), 10.0, "an alarm")
        self.assertEqual(told, "the secret is wrong")
        line = self.node.wait_log("object store .*the secret is wrong")
        self.assertNotIn(SECRET, line)
        begin = int(time.time()) // 3600 * 3600 - 3600 * HOURS[-1]
        playlist = self.node.get(f"/{STREAM}/archive-{begin}-{SEGMENT * COUNT}.m3u8")
        self.assertEqual((playlist.status, playlist.body.count(b".ts\n")), (200, COUNT))
        for path in ("dvrs", "config/stats", "streams", "monitoring/metrics"):
            self.assertNotIn(SECRET.encode(), self.node.get(f"/streamer/api/v3/{path}").body)
