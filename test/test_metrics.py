"""What Prometheus is told."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from restreamer.metrics import Metrics, MetricSources
from restreamer.web.api import ServerStats, SourceInfo, StreamInfo
from test.web.v3.calls import VIEWER, Asker


class Streams:
    """Two streams."""

    def names(self) -> Sequence[str]:
        return ["b", "a", "gone"]

    def info(self, name: str) -> StreamInfo | None:
        if name == "gone":
            return None
        if name == "b":
            return {"name": "b", "stats": {"alive": False, "status": "waiting"}}
        return {
            "name": 'a"\n',
            "inputs": [
                {
                    "url": "udp://x",
                    "priority": 1,
                    "stats": {
                        "active": True,
                        "state": "feeding",
                        "errors": 3,
                        "counters": {"errors_ts_cc": 7},
                    },
                }
            ],
            "stats": {
                "alive": True,
                "bitrate": 2000,
                "ts_delay": 1500,
                "bytes_in": 10,
                "input_switches": 2,
                "dvr_info": {"lag": 0.5},
                "play": {"mpegts": {"total_clients": 5, "skips": 1, "dropped": 0, "bytes": 99}},
            },
        }


class Node:
    """One source."""

    def server(self) -> ServerStats:
        return {
            "total_streams": 2,
            "bytes_out": 77,
            "dvr": {
                "alarms": ["/a: full"],
                "volumes": 1,
                "write_kbit": 0,
                "read_kbit": 0,
                "bytes_written": 5,
                "segments_dropped": 6,
                "reads": {"ram": {"segments": 1, "bytes": 2, "kbit": 0}},
            },
        }

    def sources(self) -> Sequence[SourceInfo]:
        return [{"url": "m4f://h:1", "position": 0, "stats": {"connected": True, "ping": 1.5}}]

    def peers(self) -> Sequence[Any]:
        return []

    def balancers(self) -> Sequence[Any]:
        return []

    def pushes(self) -> Sequence[Any]:
        return [{"name": "a", "url": "rtmp://h/a", "stats": {"status": "error", "connected": False}}]


@define
class Loop:
    """A reactor that is a bit late."""

    late: float = 0.25
    worst: float = 1.0


def metrics() -> Metrics:
    """The figures of a node."""
    return Metrics(
        MetricSources(
            version="1.2",
            streams=Streams(),
            node=Node(),
            loop=Loop(),
            resident=lambda: 1000,
            sessions=lambda: {("a", "hls"): 4},
            decisions=lambda: {"allow": 9},
            sent=lambda: {"hls": 5},
            extra=lambda: {"journal_waiting_rows": ("Rows that wait.", 3)},
            faults=lambda: 2,
        )
    )


class MetricTests(SynchronousTestCase):
    """As a strict reader reads it."""

    def test_figures(self) -> None:
        made = metrics()
        made.auth_seconds.labels("allow").observe(0.02)
        found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for family in text_string_to_metric_families(made.text().decode()):
            for sample in family.samples:
                found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        odd = ("name", 'a"\n')
        for name, labels, value in (
            ("restreamer_info", (("version", "1.2"),), 1),
            ("restreamer_streams", (), 2),
            ("restreamer_sent_bytes_total", (), 77),
            ("restreamer_loop_lag_seconds", (), 0.25),
            ("restreamer_faults_total", (), 2),
            ("restreamer_resident_memory_bytes", (), 1000),
            ("restreamer_stream_alive", (odd,), 1),
            ("restreamer_stream_alive", (("name", "b"),), 0),
            ("restreamer_stream_bitrate_bits", (odd,), 2_000_000),
            ("restreamer_stream_delay_seconds", (odd,), 1.5),
            ("restreamer_stream_dvr_lag_seconds", (odd,), 0.5),
            ("restreamer_stream_input_switches_total", (odd,), 2),
            ("restreamer_input_active", (odd, ("priority", "1")), 1),
            ("restreamer_input_events_total", (("counter", "errors_ts_cc"), odd, ("priority", "1")), 7),
            ("restreamer_feed_jumps_total", (("container", "mpegts"), odd), 1),
            ("restreamer_source_connected", (("source", "m4f://h:1"),), 1),
            ("restreamer_source_ping_seconds", (("source", "m4f://h:1"),), 0.0015),
            ("restreamer_push_connected", (("name", "a"), ("url", "rtmp://h/a")), 0),
            ("restreamer_dvr_alarms", (), 1),
            ("restreamer_dvr_read_bytes_total", (("place", "ram"),), 2),
            ("restreamer_sessions", (("name", "a"), ("proto", "hls")), 4),
            ("restreamer_session_bytes_total", (("proto", "hls"),), 5),
            ("restreamer_auth_decisions_total", (("decision", "allow"),), 9),
            ("restreamer_auth_seconds_count", (("verdict", "allow"),), 1),
            ("restreamer_journal_waiting_rows", (), 3),
        ):
            with self.subTest(name):
                self.assertEqual(found[name, labels], value)
        # What is not known is left out, not told as zero.
        self.assertNotIn(("restreamer_stream_bitrate_bits", (("name", "b"),)), found)

    def test_served(self) -> None:
        asker = Asker([metrics().endpoint()])
        self.assertEqual(asker.ask("GET", "/metrics").status, 401)
        told = asker.ask("GET", "/metrics", headers=VIEWER)
        self.assertEqual(told.status, 200)
        self.assertTrue(told.headers["content-type"].startswith("text/plain"))


class DashboardTests(SynchronousTestCase):
    """The dashboard in docs/."""

    def test_it_asks_for_what_there_is(self) -> None:
        told = metrics().text().decode()
        there = {sample.name for family in text_string_to_metric_families(told) for sample in family.samples}
        # What has no sample above: told of streams from other nodes, and once a backend has answered.
        there |= {"restreamer_stream_hop_lag_seconds", "restreamer_auth_seconds_bucket"}
        dashboard = Path(__file__).parents[1] / "docs" / "grafana-dashboard.json"
        panels = json.loads(dashboard.read_text("utf-8"))["panels"]
        asked = {
            name
            for panel in panels
            for target in panel["targets"]
            for name in re.findall(r"restreamer_[a-z_]+", target["expr"])
        }
        self.assertEqual(asked - there, set())
        self.assertGreater(len(asked), 20)
