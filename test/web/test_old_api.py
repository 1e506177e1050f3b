"""The old calls, as exporters and monitoring scripts make them, and what those take out of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.viewer_facts import SessionFacts
from restreamer.web.api import NodeApi, ServerFacts, ServerStats, StreamInfo
from restreamer.web.old_api import OldApi
from test.web.v3.calls import VIEWER, Asker

TRACK = {"track_id": "v1", "content": "video", "codec": "avc1.64001F", "bitrate": 2000, "width": 640}


class Streams:
    """One stream that runs, and one that does not."""

    def names(self) -> Sequence[str]:
        return ["live/b", "a"]

    def info(self, name: str) -> StreamInfo | None:
        if name == "a":
            return {"name": "a", "title": "", "static": True, "stats": {"alive": False, "status": "waiting"}}
        if name != "live/b":
            return None
        return {
            "name": "live/b",
            "title": "B",
            "static": True,
            "inputs": [
                {"url": "udp://x", "priority": 1, "stats": {"active": True, "state": "feeding", "retries": 4}}
            ],
            "stats": {
                "alive": True,
                "status": "running",
                "bitrate": 2100,
                "online_clients": 7,
                "ts_delay": 900,
                "lifetime": 60_000,
                "media_info": {"tracks": [TRACK]},
            },
        }


class Node:
    """Figures."""

    def server(self) -> ServerStats:
        return {
            "total_clients": 7,
            "total_streams": 2,
            "online_streams": 1,
            "input_kbit": 5,
            "output_kbit": 6,
        }

    def _none(self) -> Sequence[Any]:
        return ()

    sources = peers = balancers = pushes = _none


class OldCalls(SynchronousTestCase):
    """Fixture list: path to what is read out of it."""

    @override
    def setUp(self) -> None:
        viewer = SessionFacts(
            session_id="ab" * 16,
            name="live/b",
            proto="hls",
            ip="10.0.0.1",
            opened_at=5_000,
            updated_at=9_000,
            bytes=100,
            user_id="u",
            past=True,
        )
        publisher = SessionFacts(
            session_id="cd" * 16,
            name="a",
            proto="rtmp",
            ip="::1",
            opened_at=0,
            updated_at=0,
            kind="publish",
        )
        facts = ServerFacts(version="1.2", started_at=0, now=lambda: 61.0, ready=lambda: True)
        api = OldApi(
            Streams(),
            NodeApi(Node(), lambda: 0.0, hostname="host", load=lambda: (12, 34)),
            facts,
            lambda: [viewer, publisher],
        )
        self.asker = Asker(api.endpoints())

    def get(self, path: str, status: int = 200) -> Any:
        """A call as a monitoring tool makes it."""
        answer = self.asker.ask("GET", path, headers=VIEWER)
        self.assertEqual(answer.status, status, path)
        return answer.json

    def test_server(self) -> None:
        told = self.get("/flussonic/api/server")
        wanted = {
            "event": "server.info",
            "version": "1.2",
            "hostname": "host",
            "uptime": 61,
            "total_clients": 7,
            "total_streams": 2,
            "online_streams": 1,
            "input_kbit": 5,
            "output_kbit": 6,
            "cpu_usage": 12,
            "memory_usage": 34,
        }
        self.assertEqual({key: told[key] for key in wanted}, wanted)

    def test_media(self) -> None:
        told = {each["value"]["name"]: each for each in self.get("/flussonic/api/media")}
        self.assertEqual({each["entry"] for each in told.values()}, {"stream"})
        one = told["live/b"]["value"]
        self.assertEqual(one["urls"], [{"value": "udp://x", "options": []}])
        self.assertEqual(one["options"]["title"], "B")
        stats = one["stats"]
        self.assertEqual(
            (
                stats["alive"],
                stats["bitrate"],
                stats["client_count"],
                stats["retry_count"],
                stats["ts_delay"],
            ),
            (True, 2100, 7, 4, 900),
        )
        self.assertEqual(len(stats["media_info"]["tracks"]), 1)
        self.assertFalse(told["a"]["value"]["stats"]["alive"])
        self.assertEqual(len(self.get("/flussonic/api/media?name=a,none")), 1)

    def test_streams(self) -> None:
        told = self.get("/flussonic/api/streams")
        self.assertEqual(told["event"], "stream.list")
        self.assertEqual([each["name"] for each in told["streams"]], ["a", "live/b"])

    def test_sessions(self) -> None:
        told = self.get("/flussonic/api/sessions")
        self.assertEqual(told["event"], "user.list")
        (one,) = told["sessions"]
        self.assertEqual(
            (one["id"], one["ip"], one["name"], one["type"], one["start_at"], one["duration"], one["bytes"]),
            ("ab" * 16, "10.0.0.1", "live/b", "hls_dvr", 5, 4, 100),
        )
        self.assertEqual(self.get("/flussonic/api/sessions?name=a")["sessions"], [])

    def test_who_sees_viewers(self) -> None:
        self.assertEqual(self.asker.ask("GET", "/flussonic/api/sessions").status, 401)

    def test_media_info(self) -> None:
        self.assertEqual(self.get("/flussonic/api/media_info/live/b")["tracks"], [TRACK])
        self.get("/flussonic/api/media_info/none", 404)

    def test_health(self) -> None:
        self.assertIs(self.get("/flussonic/api/stream_health/live/b"), True)
        self.assertIs(self.get("/flussonic/api/stream_health/a", 424), False)
        self.get("/flussonic/api/stream_health/none", 404)
