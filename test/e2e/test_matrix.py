"""Every way in, to every way out, through an origin and an edge: each packet of the elementary streams is
what was published, none is missing between the first and the last, and their times are what they were.

C{MATRIX=full} takes every pair of codecs that a way in carries and every way out of both nodes. Without it
each way in has one pair; its ways out are all recorded from the edge, and in turns from the origin.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from unittest import SkipTest

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from test.e2e.codec_samples import newer_ffmpeg
from test.e2e.elementary import Packets, place_of, read_packets
from test.e2e.enhanced_publisher import EnhancedPublisher
from test.e2e.matrix import WAYS_OUT, Folder, Pair, Place, Sender, send, ways_for
from test.e2e.nodes import Node, free_ports, wait_until
from test.e2e.samples import FFMPEG, FFPROBE
from test.e2e.shared import Stage

FULL = os.environ.get("MATRIX") == "full"
#: Seconds that are recorded of each way out, and packets of each track that must come within them.
RECORD_SECONDS = 3.0
AT_LEAST = 20
#: Streams that are recorded at the same time.
TOGETHER = 3
#: A millisecond in ticks: what rounding to whole milliseconds may do to the distance of two times.
MS = 90

SETTINGS = "segment_duration 1; segment_count 6; chunk_duration 200;"


@frozen
class WayIn:
    """How something comes in.

    @ivar pairs: of codecs; the first is taken where only one is. @ivar source: the stream's C{input}.
    @ivar begin: starts sending. @ivar rounded: its times are whole milliseconds.
    @ivar apart: ticks its tracks may move against each other.
    """

    pairs: tuple[Pair, ...]
    source: Callable[[Coming], str]
    begin: Callable[[Coming], None]
    rounded: bool = False
    apart: int = 0


@frozen
class Coming:
    """One stream that comes in.

    @ivar port, folder: where it is sent from or to, if the way in needs them. @ivar stage: ends what is
        started. @ivar rtsp: the origin's port.
    """

    name: str
    pair: Pair
    port: int
    folder: Path
    stage: Stage
    origin: list[Node]
    rtsp: int

    @property
    def file(self) -> Path:
        """What is published."""
        return self.pair.file()

    def send(self, *output: str, ffmpeg: str | None = None) -> None:
        """Send it with ffmpeg. @param output: options, then the place."""
        sender: Sender = send(self.file, self.folder / f"{self.name}-sender.log", *output, ffmpeg=ffmpeg)
        self.stage.stack.callback(sender.close)


def _published(_: Coming) -> str:
    return "publish://"


def _rtmp(coming: Coming) -> None:
    coming.send("-f", "flv", f"rtmp://127.0.0.1:{coming.origin[0].rtmp}/{coming.name}")


def _enhanced(coming: Coming) -> None:
    newer = newer_ffmpeg()
    if newer:
        url = f"rtmp://127.0.0.1:{coming.origin[0].rtmp}/{coming.name}"
        coming.send("-f", "flv", url, ffmpeg=newer)
    else:
        publisher = EnhancedPublisher(coming.origin[0].rtmp, coming.name, coming.file).start()
        coming.stage.stack.callback(publisher.close)


def _rtsp(transport: str) -> Callable[[Coming], None]:
    def begin(coming: Coming) -> None:
        url = f"rtsp://127.0.0.1:{coming.rtsp}/{coming.name}"
        newer = newer_ffmpeg() if coming.pair.video == "av1" else None
        # Its VP9 is called a draft.
        coming.send(
            *("-strict", "experimental", "-f", "rtsp", "-rtsp_transport", transport, url), ffmpeg=newer
        )

    return begin


def _udp(coming: Coming) -> None:
    coming.send("-f", "mpegts", f"udp://127.0.0.1:{coming.port}?pkt_size=1316")


def _post(coming: Coming) -> None:
    coming.send("-f", "mpegts", f"http://127.0.0.1:{coming.origin[0].http}/{coming.name}/mpegts")


def _hls_source(coming: Coming) -> str:
    # The folder is served from the start; the playlist comes with the first segment.
    web = Folder(coming.folder / coming.name)
    coming.stage.stack.callback(web.close)
    return f"hls://127.0.0.1:{web.port}/index.m3u8"


def _hls(coming: Coming) -> None:
    kind = "fmp4" if coming.pair.video in ("hevc", "av1", "vp9") else "mpegts"
    place = coming.folder / coming.name / "index.m3u8"
    coming.send("-f", "hls", "-hls_time", "1", "-hls_list_size", "8", "-hls_segment_type", kind, str(place))


def _film(coming: Coming) -> str:
    films = coming.folder / "films"
    films.mkdir(exist_ok=True)
    (films / f"{coming.name}.mp4").write_bytes(coming.file.read_bytes())
    return f"file://films/{coming.name}.mp4"


def _nothing(_: Coming) -> None:
    """The node begins by itself."""


WAYS_IN = {
    "rtmp": WayIn((Pair("h264", "aac"), Pair("h264", "mp3")), _published, _rtmp, rounded=True),
    "ertmp": WayIn(
        (Pair("hevc", "opus"), Pair("av1", "opus"), Pair("vp9", "ac3"), Pair("h264", "eac3")),
        _published,
        _enhanced,
        rounded=True,
    ),
    "rtsp-tcp": WayIn(
        (
            Pair("vp9", "opus"),
            Pair("h264", "aac"),
            Pair("hevc", "mp3"),
            Pair("h264", "ulaw"),
            Pair("av1", "opus"),
        ),
        _published,
        _rtsp("tcp"),
        apart=MS,
    ),
    "rtsp-udp": WayIn(
        (Pair("hevc", "aac"), Pair("h264", "opus"), Pair("h264", "alaw"), Pair("vp9", "opus")),
        _published,
        _rtsp("udp"),
        apart=MS,
    ),
    "ts-udp": WayIn(
        (Pair("h264", "ac3"), Pair("hevc", "aac"), Pair("mpeg2", "mp2"), Pair("h264", "opus")),
        lambda coming: f"udp://127.0.0.1:{coming.port}",
        _udp,
    ),
    "ts-http": WayIn(
        (Pair("mpeg2", "mp2"), Pair("hevc", "eac3"), Pair("h264", "mp3"), Pair("h264", "aac")),
        _published,
        _post,
    ),
    "hls": WayIn((Pair("h264", "aac"), Pair("hevc", "aac"), Pair("av1", "opus")), _hls_source, _hls),
    "file": WayIn(
        (
            Pair("av1", "aac"),
            Pair("hevc", "ac3"),
            Pair("vp9", "opus"),
            Pair("mpeg2", "mp2"),
            Pair("h264", "mp3"),
        ),
        _film,
        _nothing,
    ),
}
#: What a way needs.
MODULES = {"hls": "restreamer.hls.pull"}


def _receiver(port: int) -> socket.socket:
    """A socket that datagrams are sent to."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    receiver.bind(("127.0.0.1", port))
    return receiver


class Matrix(SynchronousTestCase):
    """A few streams at a time, so that a small machine keeps up."""

    @override
    def setUp(self) -> None:
        if FFMPEG is None or FFPROBE is None:
            raise SkipTest("ffmpeg and ffprobe are not installed")

    def test_rtmp(self) -> None:
        """RTMP, old and enhanced."""
        self.check("rtmp", "ertmp")

    def test_rtsp(self) -> None:
        """RTSP by TCP and UDP."""
        self.check("rtsp-tcp", "rtsp-udp")

    def test_transport_streams(self) -> None:
        """MPEG-TS by UDP and HTTP."""
        self.check("ts-udp", "ts-http")

    def test_files(self) -> None:
        """HLS and files."""
        self.check("hls", "file")

    def check(self, *names: str) -> None:
        """All that comes in by C{names}."""
        found = [name for name in names if importlib.util.find_spec(MODULES.get(name, "restreamer"))]
        jobs = [(name, pair) for name in found for pair in WAYS_IN[name].pairs[: None if FULL else 1]]
        faults: list[str] = []
        for at in range(0, len(jobs), TOGETHER):
            faults += self.together(jobs[at : at + TOGETHER])
        if faults:
            self.fail(f"{len(faults)} of the ways through are wrong:\n" + "\n".join(faults))
        if len(found) < len(names):
            raise SkipTest(f"not there: {', '.join(sorted(set(names) - set(found)))} (the others are right)")

    def together(self, jobs: list[tuple[str, Pair]]) -> list[str]:
        """What is wrong with some streams that run at the same time."""
        for _, pair in jobs:
            pair.file()
        stage = Stage()
        with ExitStack() as stack:
            stack.callback(stage.close)
            rtsp = free_ports(2)
            udp = free_ports(3 * len(jobs))
            receivers = [stack.enter_context(_receiver(port)) for port in udp[len(jobs) :]]
            nodes: list[Node] = []
            coming = [
                Coming(
                    f"{name}-{pair.video}-{pair.audio}", pair, udp[index], stage.folder, stage, nodes, rtsp[0]
                )
                for index, (name, pair) in enumerate(jobs)
            ]
            bodies: list[list[str]] = [[f"rtsp 127.0.0.1:{port};"] for port in rtsp]
            (stage.folder / "films").mkdir()
            bodies[0].append(f"vod films {{ storage {stage.folder / 'films'}; }}")
            for index, (each, (name, _)) in enumerate(zip(coming, jobs, strict=True)):
                push = f"push udp://127.0.0.1:{udp[len(jobs) + index]};"
                source = WAYS_IN[name].source(each)
                bodies[0].append(f"stream {each.name} {{ input {source}; {push} {SETTINGS} }}")
            nodes.append(stage.node("origin", "\n".join(bodies[0])))
            for index, each in enumerate(coming):
                push = f"push udp://127.0.0.1:{udp[2 * len(jobs) + index]};"
                source = f"m4f://127.0.0.1:{nodes[0].http}/{each.name}"
                bodies[1].append(f"stream {each.name} {{ input {source}; {push} {SETTINGS} }}")
            nodes.append(stage.node("edge", "\n".join(bodies[1])))
            for each, (name, _) in zip(coming, jobs, strict=True):
                WAYS_IN[name].begin(each)
            places = [
                (
                    name,
                    Place(
                        node=node,
                        rtsp=rtsp[number],
                        udp=receivers[number * len(jobs) + index],
                        stream=each.name,
                        pair=each.pair,
                        folder=stage.folder,
                    ),
                )
                for index, (each, (name, _)) in enumerate(zip(coming, jobs, strict=True))
                for number, node in enumerate(nodes)
            ]
            faults = self.record(places)
            for node in nodes:
                faults += [f"{node.name} logged {line}" for line in node.alarms()]
            return faults

    def record(self, places: list[tuple[str, Place]]) -> list[str]:
        """Record all ways out of C{places} at the same time; what is wrong with them."""
        faults: list[str] = []
        for _, place in places:
            playing = f"/{place.stream}/index.{'fmp4' if place.pair.video in ('av1', 'vp9') else 'ts'}.m3u8"
            try:
                if not any(place.stream in fault for fault in faults):
                    wait_until(lambda: place.node.get(playing).status == 200, 10.0, place.stream)  # noqa: B023
            except AssertionError as failure:
                sender = place.folder / f"{place.stream}-sender.log"
                said = sender.read_text(errors="replace")[-300:] if sender.exists() else ""
                faults.append(f"{place.stream} is not on {place.node.name}: {failure} {said}")
        places = [each for each in places if not any(each[1].stream in fault for fault in faults)]
        time.sleep(1.0)
        with ThreadPoolExecutor(64) as pool:
            waiting = [
                (name, place, way, pool.submit(WAYS_OUT[way].record, place, RECORD_SECONDS))
                for number, (name, place) in enumerate(places)
                for turn, way in enumerate(ways_for(place.pair))
                if FULL or place.node.name == "edge" or (turn + number) % 3 == 0
            ]
            for name, place, way, recording in waiting:
                try:
                    self.compare(name, place, way, recording.result())
                except Exception as failure:  # every fault is told, whatever it is
                    faults.append(f"{place.stream} by {way} of {place.node.name}: {failure}")
        return faults

    def compare(self, name: str, place: Place, way: str, found: dict[str, Packets]) -> None:
        """Judge one recording."""
        comes, goes = WAYS_IN[name], WAYS_OUT[way]
        # One tick: clocks of the sample rate do not fit into 90 kHz exactly.
        tolerance = 1 + MS * (comes.rounded + goes.rounded)
        file = place.pair.file()
        if file.suffix == ".mkv":
            tolerance += MS
        published = read_packets(file, place.pair.codecs)
        wanted = place.pair.carried(goes.codecs)
        if set(found) != set(wanted):
            raise AssertionError(f"tracks {sorted(found)} came, not {sorted(wanted)}")
        shifts = {}
        for track, packets in found.items():
            if len(packets) < AT_LEAST:
                raise AssertionError(f"only {len(packets)} packets of {track}")
            shifts[track] = place_of(packets, published[track], tolerance, track).shift
        apart = float(max(shifts.values()) - min(shifts.values()))
        if apart > tolerance + comes.apart + goes.apart:
            raise AssertionError(f"the tracks moved {apart} ticks against each other")


class Comparison(SynchronousTestCase):
    """The judge of the matrix sees what may go wrong."""

    published: Packets = [(Fraction(3600 * at), f"digest{at}") for at in range(50)]

    def seen(self) -> Packets:
        """A recording without a fault, which began later on another clock."""
        return [(time + 90_000, digest) for time, digest in self.published[20:40] if time is not None]

    def test_right(self) -> None:
        """Also over the place where the file begins again."""
        self.assertEqual(place_of(self.seen(), self.published, 0, "").count, 20)
        self.assertEqual(place_of(self.published[30:] + self.published[:10], self.published, 0, "").count, 30)

    def test_wrong(self) -> None:
        """A packet missing, twice, foreign, out of turn, at another time; nothing at all."""
        right = self.seen()
        time, digest = right[5]
        assert time is not None
        for wrong in (
            right[:5] + right[6:],
            right[:5] + right[5:6] + right[5:],
            [*right[:5], (time, "other"), *right[6:]],
            [*right[:5], right[6], right[5], *right[7:]],
            [*right[:5], (time + 3, digest), *right[6:]],
            [*right[:5], (None, digest), *right[6:]],
            [],
        ):
            self.assertRaises(AssertionError, place_of, wrong, self.published, 2, "")
