"""What the API tells: of streams and their inputs, of sources, of the node."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.facts import InputFacts, SourceFacts
from restreamer.media.timebase import TICKS_PER_MS
from restreamer.stats import SAMPLE_SECONDS, NodeStats
from restreamer.web.api import ApiError, NodeApi, ServerFacts
from test.live.rig import NODE, D, Now
from test.live.test_registry import RegistryCase

FIRST = InputFacts(
    url="m4f://a:80/x",
    proto="m4f",
    state="standby",
    priority=0,
    switches=2,
    frames=10,
    bytes=1000,
    since=90_000,
    seconds=61.5,
    retries=3,
    errors=2,
    last_error="silent for 1.8 s",
    lag=900,
)
SECOND = InputFacts(
    url="m4f://b:80/x", proto="m4f", state="feeding", switches=1, seconds=9.9, lag=30 * TICKS_PER_MS
)
BACKUP = InputFacts(url="file://vod/x.mp4", proto="backup", state="idle")
SOURCE = SourceFacts(
    address="a:80",
    connected=True,
    node_id=b"\x01" * 16,
    since=90_000,
    bytes_in=5_000,
    bytes_out=100,
    listed=12,
    pulled=3,
    standbys=2,
    losses=1,
    last_error="silent for 1.8 s",
    round_trip=0.0123456,
)


class Remote:
    """Feeds nothing, or all from one source."""

    def __init__(self) -> None:
        self.address: str | None = None

    def source_of(self, name: str) -> str | None:
        return self.address

    def missing(self) -> tuple[str, ...]:
        return ()


class StatsCase(RegistryCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        self.inputs: tuple[InputFacts, ...] = ()
        self.sources: list[SourceFacts] = []
        self.sent = 0
        self.remote = Remote()
        self.stats = NodeStats(
            self.registry,
            self.remote,
            lambda: {"conf": ("T", True)},
            Now(),
            inputs_of=lambda name: self.inputs,
            switches_of=lambda name: 2,
            sent=lambda: self.sent,
            node_id=NODE,
        )
        self.stats.tell_sources(lambda: self.sources)

    def told(self, name: str = "a") -> Any:
        info = self.stats.info(name)
        assert info is not None
        return info


class StreamTests(StatsCase):
    def test_inputs(self) -> None:
        self.feed("a")
        self.inputs = (FIRST, SECOND, BACKUP)
        told = self.told()
        self.assertEqual([each["url"] for each in told["inputs"]], [each.url for each in self.inputs])
        self.assertEqual(
            told["inputs"][0]["stats"],
            {
                "active": False,
                "state": "standby",
                "proto": "m4f",
                "opened_at": 1000,
                "input_switches": 2,
                "bytes": 1000,
                "frames": 10,
                "retries": 3,
                "errors": 2,
                "last_error": "silent for 1.8 s",
                "lag": 10,
            },
        )
        self.assertTrue(told["inputs"][1]["stats"]["active"])
        stats = told["stats"]
        self.assertEqual(stats["input_switches"], 2)
        self.assertEqual((stats["num_sec_on_primary_input"], stats["num_sec_on_secondary_input"]), (61, 9))
        self.assertEqual((stats["lag"], stats["backup_running"]), (30, False))
        self.assertEqual(stats["valid_secondary_inputs"], 0)

    def test_a_publisher_that_is_ahead(self) -> None:
        """Its frames are of a time that is still to come: the sign says so."""
        self.feed("a")
        self.inputs = (evolve(SECOND, lag=-104 * TICKS_PER_MS),)
        self.assertEqual(self.told()["stats"]["lag"], -104)

    def test_backup(self) -> None:
        self.feed("a")
        self.inputs = (FIRST, evolve(BACKUP, state="feeding"))
        self.assertIs(self.told()["stats"]["backup_running"], True)

    def test_without_inputs(self) -> None:
        self.feed("a")
        told = self.told()
        self.assertNotIn("inputs", told)
        self.assertNotIn("lag", told["stats"])

    def test_a_configured_stream_that_never_ran(self) -> None:
        self.inputs = (evolve(FIRST, state="trying", switches=0, lag=None),)
        told = self.told("conf")
        self.assertEqual(told["stats"]["num_sec_on_primary_input"], 61)
        self.assertIs(self.stats.info("nobody"), None)


class SourceTests(StatsCase):
    def test_a_source(self) -> None:
        self.sources = [SOURCE, SourceFacts(address="[::1]:81", proto="m4fs", position=1)]
        first, second = self.stats.sources()
        self.assertEqual((first["url"], first["position"]), ("m4f://a:80", 0))
        self.assertEqual(
            first["stats"],
            {
                "status": "running",
                "connected": True,
                "server_id": "01" * 16,
                "opened_at": 1000,
                "bytes_in": 5_000,
                "bytes_out": 100,
                "total_streams": 12,
                "online_streams": 3,
                "standby_streams": 2,
                "errors_connection_lost": 1,
                "last_error": "silent for 1.8 s",
                "ping": 12.346,
            },
        )
        self.assertEqual((second["url"], second["stats"]["status"]), ("m4fs://[::1]:81", "error"))

    def test_lost(self) -> None:
        self.sources = [evolve(SOURCE, connected=False, round_trip=None)]
        (told,) = self.stats.sources()
        self.assertEqual(told["stats"]["closed_at"], 1000)
        self.assertNotIn("opened_at", told["stats"])
        self.assertNotIn("ping", told["stats"])

    def test_rates(self) -> None:
        self.stats.start(self.clock)
        self.addCleanup(self.stats.stop)
        for step in range(10):
            self.sources = [evolve(SOURCE, bytes_in=1_000_000 * step, bytes_out=1000 * step)]
            self.clock.advance(SAMPLE_SECONDS)
        (told,) = self.stats.sources()
        self.assertEqual((told["stats"]["input_kbit"], told["stats"]["output_kbit"]), (4000, 4))
        self.sources = []
        self.clock.advance(SAMPLE_SECONDS)
        self.assertEqual(self.stats._of_sources, {})

    def test_collection(self) -> None:
        api = NodeApi(self.stats, lambda: 0.0)
        self.sources = [SOURCE]
        page = api.sources()
        self.assertEqual((page["estimated_count"], page["next"], page["prev"]), (1, None, None))
        for key in ("a:80", "m4f://a:80"):
            self.assertEqual(api.source(key), page["sources"][0])
        for key in ("", "a", "m4fs://a:80", "m4f://a:80/"):
            self.assertEqual(self.assertRaises(ApiError, api.source, key).status, 404)


class ServerTests(StatsCase):
    def test_node(self) -> None:
        self.stats.start(self.clock)
        writer = self.feed("a")
        self.sent = 1_000_000
        self.clock.advance(SAMPLE_SECONDS)
        facts = ServerFacts(version="1.2", started_at=500, now=lambda: 7.5, ready=lambda: True)
        told = NodeApi(self.stats, lambda: 0.0).stats(facts)
        self.assertEqual(
            told,
            {
                "id": NODE.hex(),
                "now": 7500,
                "started_at": 500,
                "uptime": 7,
                "server_version": "1.2",
                "build": 0,
                "streamer_status": "running",
                "total_clients": 0,
                "total_streams": 2,
                "online_streams": 1,
                "bytes_in": 1,
                "bytes_out": 1_000_000,
                "input_kbit": 0,
                "output_kbit": 4000,
            },
        )
        writer.close(D)
        self.stats.stop()
        self.assertEqual([call for call in self.clock.getDelayedCalls() if "_sample" in str(call)], [])


class IdleTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """Without sources there is nothing to tell of them, and stopping what never began is harmless."""
        registry: Any = []
        stats = NodeStats(registry, Remote(), dict, Now())
        stats.stop()
        self.assertEqual(stats.sources(), [])
        self.assertEqual(Clock().getDelayedCalls(), [])
