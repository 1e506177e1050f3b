"""What the API tells: of streams and their inputs, of sources, of the node."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.facts import BalancerFacts, InputFacts, PeerFacts, PusherFacts, PushFacts, SourceFacts
from restreamer.media.timebase import TICKS_PER_MS
from restreamer.stats import SAMPLE_SECONDS, NodeStats
from restreamer.web.api import NodeApi, ServerFacts
from restreamer.web.api_error import ApiError
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


class Neighbourhood:
    """What other nodes are to this one."""

    def __init__(self) -> None:
        self.peers: list[PeerFacts] = []
        self.balancers: list[BalancerFacts] = []
        self.pushes: list[PushFacts] = []
        self.pusher: PusherFacts | None = None

    def peer_facts(self) -> list[PeerFacts]:
        return self.peers

    def balancer_facts(self) -> list[BalancerFacts]:
        return self.balancers

    def push_facts(self, name: str | None = None) -> list[PushFacts]:
        return [push for push in self.pushes if name in (None, push.stream)]

    def pusher_of(self, name: str) -> PusherFacts | None:
        return self.pusher


class StatsCase(RegistryCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        self.inputs: tuple[InputFacts, ...] = ()
        self.sources: list[SourceFacts] = []
        self.sent = 0
        self.remote = Remote()
        self.neighbours = Neighbourhood()
        self.stats = NodeStats(
            self.registry,
            self.remote,
            lambda: {"conf": ("T", True)},
            Now(),
            inputs_of=lambda name: self.inputs,
            switches_of=lambda name: 2,
            sent=lambda: self.sent,
            node_id=NODE,
            neighbours=self.neighbours,
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

    def test_counters(self) -> None:
        self.feed("a")
        self.inputs = (evolve(SECOND, counters={"errors_ts_cc": 3, "ts_pmt_changes": 1}),)
        self.assertEqual(
            self.told()["inputs"][0]["stats"]["counters"], {"errors_ts_cc": 3, "ts_pmt_changes": 1}
        )

    def test_a_publisher_that_is_ahead(self) -> None:
        """Its frames are of a time that is still to come: the sign says so."""
        self.feed("a")
        self.inputs = (evolve(SECOND, lag=-104 * TICKS_PER_MS),)
        self.assertEqual(self.told()["stats"]["lag"], -104)

    def test_backup(self) -> None:
        self.feed("a")
        self.remote.address = "a:80"
        self.inputs = (FIRST, evolve(BACKUP, state="feeding"))
        stats = self.told()["stats"]
        self.assertIs(stats["backup_running"], True)
        self.assertIs(stats["remote"], True)
        self.assertNotIn("source_id", stats, "the film comes from no source")
        self.inputs = (evolve(FIRST, state="feeding"), BACKUP)
        self.assertEqual(self.told()["stats"]["source_id"], "a:80")

    def test_without_inputs(self) -> None:
        self.feed("a")
        told = self.told()
        self.assertNotIn("inputs", told)
        self.assertNotIn("lag", told["stats"])

    def test_a_configured_stream_that_never_ran(self) -> None:
        self.inputs = (evolve(FIRST, state="trying", switches=0, lag=None),)
        told = self.told("conf")
        self.assertEqual(told["stats"]["num_sec_on_primary_input"], 61)
        self.assertEqual((told["stats"]["bytes_in"], told["stats"]["online_clients"]), (0, 0))
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
        self.sources = [evolve(each, connected=False) for each in self.sources]
        (told,) = self.stats.sources()
        self.assertEqual((told["stats"]["input_kbit"], told["stats"]["output_kbit"]), (0, 0))
        self.sources = []
        self.clock.advance(SAMPLE_SECONDS)
        self.assertEqual(self.stats._of_sources, {})

    def test_collection(self) -> None:
        api = NodeApi(self.stats, lambda: 0.0)
        self.sources = [SOURCE]
        page = api.collection("sources", {"limit": "5"})
        self.assertEqual((page["estimated_count"], page["next"], page["prev"]), (1, None, None))
        for key in ("a:80", "m4f://a:80"):
            self.assertEqual(api.item("sources", key), page["sources"][0])
        for key in ("", "a", "m4fs://a:80", "m4f://a:80/"):
            self.assertEqual(self.assertRaises(ApiError, api.item, "sources", key).status, 404)
        self.assertEqual(self.assertRaises(ApiError, api.collection, "nothing", {}).status, 404)


class NeighbourTests(StatsCase):
    def test_peers(self) -> None:
        up = PeerFacts(
            address="p:80",
            proto="m4fs",
            public="https://p",
            connected=True,
            node_id=NODE,
            since=90_000,
            bytes_in=7,
            bytes_out=8,
            listed=5,
            running=3,
            losses=1,
            last_error="silent for 1.8 s",
            round_trip=0.002,
            clients=40,
            bitrate_out=9_000_000,
            sent=12,
        )
        down = PeerFacts(address="q:80", since=180_000, clients=40, last_error="Connection refused")
        self.neighbours.peers = [up, down, PeerFacts(address="r:80")]
        first, second, third = self.stats.peers()
        self.assertEqual((first["url"], first["public"]), ("m4fs://p:80", "https://p"))
        self.assertEqual(
            first["stats"],
            {
                "status": "running",
                "connected": True,
                "server_id": NODE.hex(),
                "opened_at": 1000,
                "bytes_in": 7,
                "bytes_out": 8,
                "total_streams": 5,
                "online_streams": 3,
                "total_clients": 40,
                "output_kbit": 9000,
                "redirected_clients": 12,
                "errors_connection_lost": 1,
                "last_error": "silent for 1.8 s",
                "ping": 2.0,
            },
        )
        self.assertEqual(second["stats"]["closed_at"], 2000)
        self.assertEqual((second["stats"]["status"], second["stats"]["connected"]), ("error", False))
        self.assertNotIn("total_clients", second["stats"], "what it said once is not true for ever")
        self.assertEqual(third["stats"].keys() & {"opened_at", "closed_at", "last_error", "ping"}, set())
        api = NodeApi(self.stats, lambda: 0.0)
        self.assertEqual(api.collection("peers", {})["peers"], [first, second, third])
        self.assertEqual(api.item("peers", "q:80"), second)

    def test_balancers(self) -> None:
        peers = (("p:80", True, 5_000_000), ("q:80", False, 0))
        self.neighbours.balancers = [BalancerFacts(name="lb", mode="usage", peers=peers)]
        api = NodeApi(self.stats, lambda: 0.0)
        told = {
            "name": "lb",
            "mode": "usage",
            "peers": [
                {"peer": "p:80", "connected": True, "max_bitrate": 5000},
                {"peer": "q:80", "connected": False},
            ],
        }
        self.assertEqual(api.collection("balancers", {})["balancers"], [told])
        self.assertEqual(api.item("balancers", "lb"), told)

    def test_pushes(self) -> None:
        url = "m4f://p:80/live/x"
        taken = PushFacts(
            stream="a",
            url=url,
            connected=True,
            wanted=True,
            node_id=NODE,
            since=90_000,
            bytes_in=1,
            bytes_out=2,
            takings=3,
        )
        refused = PushFacts(stream="b", url=url, wanted=True, last_error="refused: no (403)", since=180_000)
        waits = PushFacts(stream="c", url=url, last_error="ended: it stopped")
        self.neighbours.pushes = [taken, refused, waits]
        first, second, third = self.stats.pushes()
        self.assertEqual((first["name"], first["url"]), ("a", url))
        self.assertEqual(
            first["stats"],
            {
                "status": "running",
                "connected": True,
                "server_id": NODE.hex(),
                "opened_at": 1000,
                "bytes": 2,
                "bytes_in": 1,
                "retries": 2,
            },
        )
        self.assertEqual((second["stats"]["status"], second["stats"]["closed_at"]), ("error", 2000))
        self.assertEqual(second["stats"]["last_error"], "refused: no (403)")
        self.assertEqual(third["stats"]["status"], "waiting")
        self.feed("a")
        self.assertEqual(self.told()["stats"]["pushes"], [first])
        self.assertEqual(self.told("conf")["stats"].get("pushes"), None)

    def test_a_stream_that_is_pushed_here(self) -> None:
        self.feed("a")
        self.assertNotIn("pushed_from", self.told()["stats"])
        self.neighbours.pusher = PusherFacts(
            node_id=NODE, address="192.0.2.7", stream="cam", since=90_000, frames=5, bytes=6
        )
        self.assertEqual(
            self.told()["stats"]["pushed_from"],
            {
                "server_id": NODE.hex(),
                "address": "192.0.2.7",
                "name": "cam",
                "opened_at": 1000,
                "frames": 5,
                "bytes": 6,
            },
        )


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
                "listeners": (),
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
