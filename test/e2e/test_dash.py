"""DASH and chosen tracks, from an origin and an edge: manifests that agree, files that are what they list,
and players that play them."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest
from urllib.parse import quote

from typing_extensions import override

from test.dash.rig import Shown, shown
from test.dash.schema import checked
from test.e2e.browser import Browser
from test.e2e.nodes import Node, get, wait_until
from test.e2e.players import Packet, decode, probe_packets
from test.e2e.publishers import Publisher
from test.e2e.rtmp_wire import whole_tags
from test.e2e.shared import LIVE, Stage, StageCase

STREAM = "live/dash"
BODY = LIVE.replace("segment_count 6;", "segment_count 6; chunk_duration 250;")


def manifest(node: Node, stream: str = STREAM, file: str = "index.mpd", query: str = "") -> str:
    """The manifest of C{stream}, which is there and holds to the schema."""
    answer = node.get(f"/{stream}/{file}?{query}")
    if answer.status != 200:
        raise AssertionError(f"{node.name}: {file} answered {answer.status} {answer.body[:200]!r}")
    text = answer.body.decode()
    checked(text)
    return text


def lines(parts: list[Shown]) -> dict[tuple[str, int], tuple[object, ...]]:
    """What is said of each segment, by track and number."""
    return {
        (each.name, number): (each.period, each.start, each.offset, each.init, each.media, start, duration)
        for each in parts
        for number, start, duration in each.lines
    }


def wait_listed(node: Node, stream: str, count: int, seconds: float = 20.0) -> list[Shown]:
    """The manifest's representations, once one of them lists C{count} segments."""

    def found() -> list[Shown] | None:
        parts = shown(manifest(node, stream))
        return parts if any(len(each.lines) >= count for each in parts) else None

    return wait_until(found, seconds, f"{node.name} lists {count} segments of {stream}")


def file_of(node: Node, path: str, stream: str = STREAM) -> bytes:
    """A file of the stream."""
    answer = node.get(f"/{stream}/{path}")
    if answer.status != 200:
        raise AssertionError(f"{node.name}: {path} answered {answer.status}")
    return answer.body


class Dash(StageCase):
    """One stream, published on the origin."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]
    copy: ClassVar[Path]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin", BODY)
        cls.edge = stage.edge("edge", cls.origin)
        cls.copy = stage.folder / "published.flv"
        stage.publish(cls.origin, STREAM, copy=cls.copy)
        cls.origin.wait_alive(STREAM)
        cls.edge.wait_alive(STREAM)
        wait_listed(cls.edge, STREAM, 3)

    def segment(self, node: Node, each: Shown, number: int) -> bytes:
        """The bytes of one segment."""
        path = each.media.replace("$RepresentationID$", each.name).replace("$Number$", str(number))
        return file_of(node, path)

    def test_nodes_say_the_same(self) -> None:
        """Of every segment that both list; and files of both are equal, byte for byte."""
        wait_listed(self.edge, STREAM, 4)
        ours, theirs = (shown(manifest(node)) for node in (self.origin, self.edge))
        mine, its = lines(ours), lines(theirs)
        both = set(mine) & set(its)
        self.assertGreaterEqual(len(both), 4)
        for key in both:
            self.assertEqual(mine[key], its[key])
        for each in theirs:
            self.assertEqual(file_of(self.origin, each.init), file_of(self.edge, each.init))
            for number, _, _ in each.lines[-3:]:
                self.assertEqual(
                    self.segment(self.origin, each, number), self.segment(self.edge, each, number)
                )

    def test_files_are_what_was_listed_and_published(self) -> None:
        """Each segment of the edge is read by itself: it lies where its line says, to the tick, and its
        samples are the publisher's, none missing between the first and the last."""
        digests: dict[str, list[str]] = {}
        for each in shown(manifest(self.edge)):
            init = file_of(self.edge, each.init)
            packets: list[Packet] = []
            for number, start, duration in each.lines[-3:]:
                path = self.stage.folder / f"{each.name}-{number}.mp4"
                path.write_bytes(init + self.segment(self.edge, each, number))
                found = probe_packets(str(path))
                self.assertEqual(min(packet.pts for packet in found), start, (each.name, number))
                step = found[-1].dts - found[-2].dts
                self.assertLessEqual(abs(found[-1].dts + step - found[0].dts - duration), 90)
                packets += found
            self.assertEqual(packets[0].key, True)
            digests["video" if each.name == "v1" else "audio"] = [packet.digest for packet in packets]
        whole = self.stage.folder / "so-far.flv"
        whole.write_bytes(whole_tags(self.copy.read_bytes()))
        published = probe_packets(str(whole))
        for kind, seen in digests.items():
            sent = [packet.digest for packet in published if packet.kind == kind]
            begins = [index for index, digest in enumerate(sent) if digest == seen[0]]
            self.assertTrue(
                any(sent[at : at + len(seen)] == seen for at in begins),
                f"{kind}: {len(seen)} samples are not what was published",
            )

    def test_open_segment_comes_in_chunks(self) -> None:
        """While it is made, on the edge; and it ends as the bytes it has for ever."""
        text = manifest(self.edge, file="index.ll.mpd")
        video = next(each for each in shown(text) if each.name == "v1")
        self.assertEqual(video.facts["availabilityTimeComplete"], "false")
        length = int(video.facts["duration"] or "")
        begin = int(video.facts["startNumber"] or "")

        def opened() -> tuple[http.client.HTTPResponse, http.client.HTTPConnection, str] | None:
            number = begin + int((time.time() * 90_000 - video.offset) // length)
            path = f"tracks-v1/{number}.m4s"
            connection = http.client.HTTPConnection("127.0.0.1", self.edge.http, timeout=10)
            connection.request("GET", f"/{STREAM}/{path}")
            reply = connection.getresponse()
            if reply.getheader("Transfer-Encoding") == "chunked":
                return reply, connection, path
            connection.close()
            return None

        reply, connection, path = wait_until(opened, 10.0, "a segment is being made")
        self.addCleanup(connection.close)
        first = reply.read1(1 << 20)
        self.assertEqual(first[4:8], b"moof")
        began = time.monotonic()
        body = first + reply.read()
        self.assertGreater(time.monotonic() - began, 0.1)
        self.assertGreater(len(re.findall(b"moof", body)), 2)
        for node in (self.origin, self.edge):
            self.assertEqual(file_of(node, path), body, node.name)

    def test_ffmpeg(self) -> None:
        """ffmpeg's DASH reader, on both nodes."""
        for node in (self.origin, self.edge):
            result = decode(f"http://127.0.0.1:{node.http}/{STREAM}/index.mpd", 4.0)
            self.assertEqual(result.complaints, "", node.name)
            self.assertGreater(result.frames, 80)

    def test_gstreamer(self) -> None:
        """dashdemux plays the manifest that gives numbers a place in time."""
        launch = shutil.which("gst-launch-1.0")
        if (
            launch is None
            or "dashdemux"
            not in subprocess.run(
                ["gst-inspect-1.0", "dash"], capture_output=True, text=True, check=False
            ).stdout
        ):
            raise SkipTest("GStreamer and its dashdemux are not installed")
        url = f"http://127.0.0.1:{self.edge.http}/{STREAM}/index.ll.mpd"
        sink = "fpsdisplaysink video-sink=fakesink text-overlay=false sync=true"
        player = subprocess.Popen(
            [launch, "-v", "playbin", f"uri={url}", f"video-sink={sink}", "audio-sink=fakesink sync=true"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert player.stdout is not None
            deadline = time.monotonic() + 20
            rendered = 0
            for line in player.stdout:
                found = re.search(r"rendered: (\d+)", line)
                rendered = int(found[1]) if found else rendered
                if rendered > 50 or time.monotonic() > deadline:
                    break
            self.assertGreater(rendered, 50)
        finally:
            player.send_signal(signal.SIGKILL)
            player.communicate(timeout=10)

    def test_chosen_tracks(self) -> None:
        """The same for DASH and for endless MPEG-TS, on the edge."""
        self.assertEqual([each.name for each in shown(manifest(self.edge, query="filter.tracks=a1"))], ["a1"])
        path = self.stage.folder / "chosen.ts"
        url = f"http://127.0.0.1:{self.edge.http}/{STREAM}/mpegts?filter.tracks="
        for wanted, kind in (("a1", "audio"), ("v1", "video")):
            with path.open("wb") as file:
                subprocess.run(
                    ["curl", "-s", "--max-time", "3", url + wanted], stdout=file, check=False, timeout=10
                )
            data = path.read_bytes()
            path.write_bytes(data[: len(data) - len(data) % 188])
            self.assertEqual({packet.kind for packet in probe_packets(str(path))}, {kind})
        for asked in ("index.mpd", "mpegts"):
            for wanted, status in (("v2", 404), ("x", 400)):
                answer = get(self.edge.http, f"/{STREAM}/{asked}?filter.tracks={wanted}")
                self.assertEqual(answer.status, status, f"{asked} {wanted}")

    def test_player_page(self) -> None:
        """Plays each way on the edge, chooses LL-HLS by itself, and shows how far it is behind."""
        with Browser.open_or_skip() as browser:
            for proto, most in (("dash", 12.0), ("ll-dash", 4.0), ("", 4.0)):
                browser.go(f"http://127.0.0.1:{self.edge.http}/{STREAM}/embed.html?proto={proto}")
                browser.wait_advance(2.0, 25.0)
                self.assertEqual(browser.run("return document.body.dataset.proto"), proto or "ll-hls")
                told = wait_until(
                    lambda: browser.run("return document.getElementById('delay').textContent"),
                    10.0,
                    "the page says how far it is behind",
                )
                found = re.fullmatch(r"(-?[\d.]+) s behind", told)
                assert found is not None, told
                self.assertTrue(0 < float(found[1]) < most, told)


class Periods(StageCase):
    """Streams that break."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin", BODY)
        cls.edge = stage.edge("edge", cls.origin)

    def test_published_again(self) -> None:
        """A second period, the same on both nodes; the browser goes on over the break."""
        stream = "live/again"
        with Publisher(self.origin.url(stream, "rtmp")):
            self.edge.wait_alive(stream)
            wait_listed(self.edge, stream, 2)
        second = Publisher(self.origin.url(stream, "rtmp")).start()
        self.addCleanup(second.stop)

        def two_periods() -> list[Shown] | None:
            parts = shown(manifest(self.edge, stream))
            return parts if len({each.period for each in parts}) == 2 else None

        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{self.edge.http}/{quote(stream)}/embed.html?proto=dash")
            theirs = lines(wait_until(two_periods, 20.0, "two periods"))
            ours = lines(shown(manifest(self.origin, stream)))
            for key in set(ours) & set(theirs):
                self.assertEqual(ours[key], theirs[key])
            self.assertGreater(len(set(ours) & set(theirs)), 3)
            browser.wait_advance(6.0, 30.0)
