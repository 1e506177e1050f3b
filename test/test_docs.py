"""What the documents say against what the program does. (Links between them: C{test.test_packaging}.)"""

from __future__ import annotations

import configparser
import io
import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import getChildForRequest
from twisted.web.test.requesthelper import DummyRequest
from typing_extensions import override

from restreamer import pressure
from restreamer.cli import main as command
from restreamer.cluster import link_protocol, link_route
from restreamer.cluster.catalogue import MAX_PATH
from restreamer.cluster.link_route import link_route as link_route_of
from restreamer.config.load import parse
from restreamer.config.words import SERVED
from restreamer.dash.routes import dash_routes
from restreamer.dvr.locks import Ranges
from restreamer.dvr.seams import Holdings
from restreamer.errors import Reason
from restreamer.flv.http_play import flv_route
from restreamer.hls.routes import hls_routes
from restreamer.hls.service import ReloadLimits
from restreamer.http1.parse import MAX_FIELDS, MAX_HEAD
from restreamer.http1.refusal import STATUS_OF_REASON
from restreamer.http1.reply import FullReply, HttpRequest, Route
from restreamer.live import feed, ingest, run_cutter, timeline, window
from restreamer.live.choices import MAX_CHOICES
from restreamer.live.feed import FeedLimits
from restreamer.live.registry import MAX_PUBLISHED, MAX_STREAMS
from restreamer.live.stream import Stream
from restreamer.m4f.records import MAX_LISTED
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.mpegts import ts_input
from restreamer.mpegts.http_play import mpegts_route
from restreamer.rtmp.limits import ServiceLimits
from restreamer.rtsp.limits import ServiceLimits as RtspLimits
from restreamer.seams import OpenRequest, Playable
from restreamer.viewers.gate import PasswordGate
from restreamer.viewers.waiting import MAX_REFUSED, MAX_STARTING, MAX_WAITING, REFUSED_SECONDS
from restreamer.web.api import (
    InputInfo,
    InputStats,
    NodeApi,
    ServerFacts,
    ServerStats,
    SourceInfo,
    SourceStats,
    StreamApi,
    StreamInfo,
    StreamStats,
)
from restreamer.web.dvr_api import DvrApi
from restreamer.web.dvr_info import CacheInfo, CopyInfo, ReadInfo, VolumeInfo, read_info
from restreamer.web.limits import FrontLimits
from restreamer.web.neighbour_info import BalancerInfo, PeerInfo, PeerStats, PushInfo
from restreamer.web.old_api import OldApi
from restreamer.web.recording_status import recording_status_route
from restreamer.web.site import NotFound, make_site
from restreamer.web.v3.authority import Authority, Login
from restreamer.web.v3.blocks import BlocksApi, block_endpoints
from restreamer.web.v3.configured import configured_endpoints
from restreamer.web.v3.configuring import configuring_endpoints
from restreamer.web.v3.endpoint import Routes
from restreamer.web.v3.listing import DEFAULT_LIMIT, MAX_LIMIT
from restreamer.web.v3.openapi import openapi_endpoint
from restreamer.web.v3.reading import archive_endpoints, node_endpoints, probe_endpoints, stream_endpoints
from restreamer.web.v3.viewing import ViewingApi, viewing_endpoints

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MIB = 1024 * 1024
_FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```")


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def section(page: str, title: str) -> str:
    match = re.search(rf"(?ms)^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", page)
    assert match is not None, title
    return match[1]


def rows(table: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in C{table}, heads left out."""
    for line in table.splitlines():
        if line.startswith("|") and not re.match(r"\|[-| ]+\|$", line):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def named(cell: str) -> set[str]:
    """The last parts of the field names in a cell."""
    return {word.rpartition(".")[2] for word in re.findall(r"`([a-z_.\[\]]+)`", cell)}


def configurations() -> Iterator[tuple[str, str]]:
    """(page, text) of each example that is a configuration."""
    for path in PAGES:
        if path.name == "config.md":
            continue  # test.config.test_shipped
        for language, body in _FENCE.findall(path.read_text("utf-8")):
            first = body.split(maxsplit=1)[0].rstrip(";") if body.strip() else ""
            if language == "conf" or (not language and first in SERVED["file"]):
                yield path.name, body


class Everything:
    """A play and watch point nobody gets an answer from: only whether a route asks it counts."""

    def watch(self, request: OpenRequest) -> Awaitable[Stream]:
        raise NotImplementedError

    def play(self, request: OpenRequest) -> Awaitable[Playable]:
        raise NotImplementedError


def pack(tracks: Tracks, frames: Sequence[Frame], *, title: str = "", discontinuity: bool = False) -> bytes:
    raise NotImplementedError


class FreshRequest(DummyRequest):
    """A request of somebody who has nothing cached, on the node's machine."""

    content = BytesIO()
    path = b""

    @override
    def getClientAddress(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)

    @override
    def setETag(self, tag: bytes) -> None:
        """Say that C{tag} is not held."""


class OneStream:
    """A directory with the stream C{live/cam1}."""

    def names(self) -> Sequence[str]:
        return ["live/cam1"]

    def info(self, name: str) -> StreamInfo | None:
        return StreamInfo(name=name, stats=StreamStats()) if name == "live/cam1" else None


class OneSource:
    """A node with the source and peer C{a:80}, and a balancer."""

    def sources(self) -> Sequence[SourceInfo]:
        return [SourceInfo(url="m4f://a:80", position=0, stats=SourceStats())]

    def peers(self) -> Sequence[PeerInfo]:
        return [PeerInfo(url="m4f://a:80", public="http://a", stats=PeerStats())]

    def balancers(self) -> Sequence[BalancerInfo]:
        return [BalancerInfo(name="live/cam1", mode="clients", peers=[])]

    def pushes(self) -> Sequence[PushInfo]:
        return []

    def server(self) -> ServerStats:
        return ServerStats()


class OneArchive:
    """Something of every stream."""

    def volumes(self) -> Sequence[VolumeInfo]:
        return []

    def cached(self) -> Sequence[CacheInfo]:
        return []

    def copied(self) -> Sequence[CopyInfo]:
        return []

    def reads(self) -> Mapping[str, ReadInfo]:
        return {"ram": read_info(2, 4000, 400.0)}

    async def holdings(self, name: str) -> Holdings:
        return Holdings(hours=(), spans=(), size=0)

    async def locks(self, name: str) -> Ranges:
        return ()

    async def lock(self, name: str, start: int, end: int) -> Ranges:
        return ()

    async def unlock(self, name: str, start: int, end: int) -> Ranges:
        return ()


async def nothing(name: str) -> Any:
    raise NotImplementedError


class HttpPathTests(SynchronousTestCase):
    """The table at the top of http-api.md."""

    @override
    def setUp(self) -> None:
        clock: Any = Clock()
        point = Everything()
        gate = PasswordGate(lambda name: "")
        self.routes: list[Route] = [
            link_route_of(b"n" * 16, lambda: [b"k" * 32], lambda: b"o" * 16, self.no_handler, clock),
            hls_routes(point, pack, clock),
            mpegts_route(point),
            flv_route(point),
            dash_routes(point, lambda: 0),
            recording_status_route(nothing, nothing, lambda name: True, gate, lambda: 0),
        ]
        facts = ServerFacts(version="0", started_at=0, now=clock.seconds, ready=lambda: True)
        node = NodeApi(OneSource(), clock.seconds)
        endpoints = [
            *stream_endpoints(StreamApi(OneStream(), clock.seconds)),
            *node_endpoints(node, facts),
            *archive_endpoints(DvrApi(OneArchive(), clock.seconds)),
            *probe_endpoints(facts),
        ]
        self.endpoints = endpoints
        self.site = make_site(endpoints, Authority(clock, edit=Login("admin", "a-password")), clock)
        page = text("http-api.md")
        table = [row for row in rows(page.partition("\n## ")[0]) if row[0].startswith("`")]
        self.table = [(row[0].strip("`"), row[1]) for row in table]

    def no_handler(self, event: object) -> Any:
        raise NotImplementedError

    def sample(self, path: str) -> str:
        for word, value in (
            ("/NAME", "/live/cam1"),
            ("YYYY/MM/DD/HH/MM/SS", "2026/11/22/14/16/05"),
            ("-DURATION", "-06000"),
            ("NUMBER", "359071392"),
            ("FILE", "status.js"),
            ("HOST:PORT", "a:80"),
            ("/KEY", "/a:80"),
            ("/ID", "/" + "0" * 32),
        ):
            path = path.replace(word, value)
        self.assertNotRegex(path, "[A-Z]")
        return path

    def routed(self, method: str, path: str) -> Any:
        """What the front's routes make of a request: an answer, or None when it is the site's."""
        request = HttpRequest(method=method, path=path)
        for route in self.routes:
            try:
                reply = route(request)
            except NotImplementedError:
                return "asked for the stream"
            if reply is not None:
                if hasattr(reply, "close"):
                    reply.close()
                return reply
        return None

    def served(self, method: str, path: str) -> int:
        """Status of the site's answer."""
        request = FreshRequest([part.encode() for part in path[1:].split("/")])
        request.method = method.encode()
        request.path = request.uri = path.encode()
        found = getChildForRequest(self.site.resource, request)
        if isinstance(found, NotFound):
            return 404
        found.render(request)
        return int(request.responseCode or 200)

    def test_every_endpoint(self) -> None:
        """The table has all endpoints of the API with their methods, and no others."""
        nothing: Any = None
        viewing = ViewingApi(nothing, nothing, nothing, nothing, nothing)
        endpoints = [
            *self.endpoints,
            *viewing_endpoints(viewing),
            *configuring_endpoints(nothing, ValueError, nothing),
            *configured_endpoints(nothing, nothing, nothing, nothing),
            *block_endpoints(BlocksApi(nothing, ValueError, ValueError, nothing, nothing)),
            *OldApi(nothing, nothing, nothing, nothing).endpoints(),
        ]
        endpoints.append(openapi_endpoint(endpoints))
        routes = Routes(endpoints)
        told: set[tuple[str, str]] = set()
        for path, methods in self.table:
            if not path.startswith(("/streamer/", "/monitoring/", "/flussonic/")) or path.endswith("/stop"):
                continue
            for method in methods.split(", "):
                endpoint, _ = routes.find(method, self.sample(path))
                told.add((endpoint.method, endpoint.full_path))
        # The old calls share one row, and balancers and pushes their description.
        there = {
            (each.method, each.full_path)
            for each in endpoints
            if not each.full_path.startswith("/flussonic/")
        }
        self.assertEqual(there - told, set())

    def test_every_path_is_answered(self) -> None:
        self.assertTrue(len(self.table) >= 15)
        for path, methods in self.table:
            sample = self.sample(path)
            if sample.startswith(("/streamer/", "/flussonic/", "/metrics")) and "/dvr/" not in sample:
                continue  # see test_every_endpoint
            with self.subTest(sample):
                if self.routed("GET", sample) is None:
                    self.assertEqual(methods.partition(", POST")[0], "GET, HEAD")
                    self.assertEqual([self.served(each, sample) for each in ("GET", "HEAD")], [200, 200])
                    self.assertEqual(self.served("POST", sample), 401 if "POST" in methods else 405)

    def test_methods_of_media(self) -> None:
        for path, methods in self.table:
            sample = self.sample(path)
            reply = self.routed("DELETE", sample)
            if reply is not None and "Upgrade" not in methods:
                with self.subTest(sample):
                    assert isinstance(reply, FullReply)
                    self.assertEqual(reply.status, 405)
                    self.assertIn(f"Allow: {methods}\r\n".encode(), reply.headers)

    def test_other_paths_are_not(self) -> None:
        for path in (
            "/live/cam1/other.m3u8",
            "/live/cam1/x.ts",
            "/streamer/api/v3/other",
            "/-/x",
            "/live/cam1/",
        ):
            with self.subTest(path):
                self.assertIs(self.routed("GET", path), None)
                self.assertEqual(self.served("GET", path), 404)


class HttpFieldTests(SynchronousTestCase):
    def test_fields_of_a_stream(self) -> None:
        words = set(re.findall(r"`([a-z_.*]+)`", section(text("http-api.md"), "One stream")))
        stats = {word.split(".")[1] for word in words if word.startswith("stats.")}
        self.assertEqual(stats - set(StreamStats.__annotations__), set())
        self.assertEqual(set(StreamInfo.__annotations__) - words, set())
        page = section(text("http-api.md"), "One stream")
        of_inputs = {word for row in rows(page) if row[0].startswith("`inputs[]") for word in named(row[0])}
        self.assertEqual(of_inputs, {*InputInfo.__annotations__, *InputStats.__annotations__} - {"stats"})
        # Reserved by the shape, and told by nobody yet.
        silent = {"output_bandwidth", "last_access_at", "last_running_at"}
        self.assertEqual(set(StreamStats.__annotations__) - stats, silent)

    def test_fields_of_nodes(self) -> None:
        for title, kinds in (
            ("Sources", (SourceInfo, SourceStats)),
            ("The node", (ServerStats,)),
        ):
            page = section(text("http-api.md"), title)
            told = {word for row in rows(page) if row[0].startswith("`") for word in named(" ".join(row))}
            fields = {word for kind in kinds for word in kind.__annotations__}
            self.assertEqual(fields - {"stats"} - told, set(), title)

    def test_statuses(self) -> None:
        table = section(text("http-api.md"), "What holds for all")
        told = {int(status) for row in rows(table) for status in re.findall(r"\b[45]\d\d\b", row[0])}
        of_plays = {
            STATUS_OF_REASON[each] for each in Reason if each not in (Reason.BUSY, Reason.UNSUPPORTED)
        }
        self.assertEqual(of_plays - told, set())

    def test_pages_of_the_list(self) -> None:
        table = section(text("http-api.md"), "List of streams")
        self.assertIn(f"| `limit` | {DEFAULT_LIMIT} | entries of a page, 1 to {MAX_LIMIT} |", table)


class ConfigurationTests(SynchronousTestCase):
    def test_examples(self) -> None:
        found = list(configurations())
        self.assertTrue(len(found) >= 4)
        for name, body in found:
            with self.subTest(name, body=body):
                warned = {each.word for each in parse(body).warnings}
                self.assertEqual(warned - {"cluster_key", "on_play"}, set())


class LimitTests(SynchronousTestCase):
    """The table of limits in operations.md."""

    def test_limits(self) -> None:
        http, rtmp, viewer = FrontLimits(), ServiceLimits(), FeedLimits()
        waits = ReloadLimits()
        told = {row[0]: row[1] for row in rows(section(text("operations.md"), "Limits"))}
        told.pop("what")
        of_address = "not from this machine itself"
        expected = {
            "streams of a node; published ones; starting at once": (
                f"{MAX_STREAMS:,}; {MAX_PUBLISHED:,}; {MAX_STARTING}"
            ),
            "memory of the process": (
                f"above {pressure.CROWDED_SHARE:.0%} of the machine's, of its control group's, "
                f"or of `ulimit -v`, no new RTMP and MPEG-TS viewers are taken, "
                f"above {pressure.FULL_SHARE:.0%} those behind are dropped, and the log says so"
            ).replace("%", " %"),
            "a timer that comes late": (
                f"above {pressure.LATE_SECONDS * 1000:.0f} ms a line in the log, "
                f"at most one every {pressure.QUIET_SECONDS:.0f} s; {pressure.OVERLOAD_SECONDS:.0f} s late "
                f"{('', 'once', 'twice', 'three times')[pressure.OVERLOAD_LOOKS]} in a row: no new RTMP and "
                "MPEG-TS viewers until it is in time as often"
            ),
            "failed authorisations of one address on `/m4f`": (
                f"{link_route.MAX_FAILURES} in {link_route.FAILURE_SECONDS:.0f} s, then it has "
                f"{link_route.MAX_SLOW} attempts at once, whose failure it learns after "
                f"{link_route.SLOW_SECONDS:.0f} s; more are answered with 429 (not this machine itself)"
            ),
            "closed segments held of one stream": f"{window.MAX_WINDOW_BYTES // MIB} MiB, but three at least",
            "connections of an HTTP port; from one address": (
                f"{http.connections:,}; {http.per_address} ({of_address})"
            ),
            "connections of all RTMP ports; from one address": (
                f"{rtmp.connections:,}; {rtmp.per_address} ({of_address})"
            ),
            "RTMP handshake; publish or play after it": (
                f"{rtmp.handshake_seconds:.0f} s; {rtmp.request_seconds:.0f} s"
            ),
            "a publisher that sends nothing": f"lost after {rtmp.idle_seconds:.0f} s",
            "refused publishes of one address": f"{rtmp.failures} in {rtmp.failure_window:.0f} s",
            "a publisher ahead of real time": (
                f"slowed down from {timeline.LEAD_LIMIT // TICKS_PER_SECOND} s on"
            ),
            "what one RTMP publisher sends": (
                f"{rtmp.publisher_rate * 8 // 1_000_000} Mbit/s beyond {rtmp.publisher_burst // MIB} MiB "
                f"at once, a media message counting {rtmp.message_bytes // 1024} KiB more than it has"
            ),
            "what one RTSP publisher sends, or server that is pulled": (
                f"the same, each packet and each frame counting {RtspLimits().packet_bytes // 1024} KiB more"
            ),
            "what one sender of MPEG-TS sends": (
                f"the same, each read or datagram counting {ts_input.READ_BYTES} bytes more, "
                f"each frame {ts_input.FRAME_BYTES // 1024} KiB"
            ),
            "tracks or clock of a stream that change": (
                f"{ingest.MANY_CHANGES} times at once, then once for each `segment_duration`; "
                "frames of further tracks are dropped, further jumps are not marked"
            ),
            "a viewer behind": (
                f"moved on after {viewer.max_seconds:.0f} s or {viewer.max_bytes // MIB} MiB; "
                f"dropped at the second time in {feed.SKIP_WINDOW:.0f} s"
            ),
            "a viewer that takes nothing": f"dropped after {feed.STALL_SECONDS:.0f} s",
            "an HTTP request head": f"{MAX_HEAD // 1024} KiB, {MAX_FIELDS} fields, {http.head_timeout:.0f} s",
            "an idle HTTP connection": f"closed after {http.idle_timeout:.0f} s",
            "requests that wait for a stream": f"{MAX_WAITING:,}, each 10 s",
            "requests that wait for a part or segment; from one address": (
                f"{waits.waiting:,}, each 3 target durations; {waits.per_address:,} ({of_address})"
            ),
            "choices of tracks kept rendered of one stream, besides everything and single tracks": (
                f"{MAX_CHOICES} playlists, {MAX_CHOICES} manifests; "
                f"MPEG-TS of a segment: {window.MAX_PACKAGES}"
            ),
            "names that were refused lately": f"{MAX_REFUSED:,}, each {REFUSED_SECONDS:.0f} s",
            "a link that is silent": f"lost after {link_protocol.SOURCE_IDLE_SECONDS} s",
            "streams one source may list": (
                f"{MAX_LISTED:,}: the first ones; when one goes, the first that was left out comes"
            ),
            "nodes in a row": f"{MAX_PATH}",
            "one frame; one segment": (
                f"{ingest.MAX_FRAME_BYTES // MIB} MiB; {run_cutter.MAX_SEGMENT_BYTES // MIB} MiB"
            ),
        }
        self.assertEqual(feed.MAX_SKIPS, 2)
        self.assertEqual(told, expected)

    def test_cadence(self) -> None:
        page = " ".join(section(text("architecture.md"), "Fan-out").split())
        (few, now), (more, soon), (many, later), (_, last) = feed.CADENCES
        self.assertEqual(now, 0.0)
        self.assertIn(f"Up to {few:,} viewers, every batch of frames is sent at once", page)
        self.assertIn(
            f"up to {more:,} every {soon * 1000:.0f} ms; up to {many:,} every {later * 1000:.0f} ms", page
        )
        self.assertIn(f"every {last * 1000:.0f} ms", page)


class UnitTests(SynchronousTestCase):
    """The systemd unit."""

    @override
    def setUp(self) -> None:
        self.lines = (ROOT / "conf" / "restreamer.service").read_text("utf-8").splitlines()
        unit = configparser.RawConfigParser(strict=False)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string("\n".join(self.lines))
        self.service = unit["Service"]

    def test_reload_and_state(self) -> None:
        self.assertIn("ExecReload=/bin/kill -HUP $MAINPID", self.lines)
        self.assertTrue(int(self.service["LimitNOFILE"]) >= 65536)
        self.assertEqual(self.service["StateDirectory"], "restreamer")
        self.assertEqual(self.service["NoNewPrivileges"], "yes")
        self.assertEqual(self.service["ProtectSystem"], "strict")

    def test_checks_what_it_runs(self) -> None:
        checks = [line for line in self.lines if " check " in line]
        self.assertEqual(len(checks), 2)
        run = self.service["ExecStart"].split()
        out = io.StringIO()
        for line in checks:
            program, word, path = line.partition("=")[2].split()
            self.assertEqual(Path(program).parent, Path(run[0]).parent)
            self.assertEqual(path, run[-1])
            self.assertEqual(command([word, str(ROOT / "conf" / "restreamer.conf")], out, out), 0)
