"""Files on request on three nodes in a row: the one that has them, an edge, and an edge of the edge."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import time
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from typing_extensions import override

from test.e2e.nodes import Answer, Node, get, wait_until
from test.e2e.players import HttpStream, Packet, assert_unbroken, decode, probe_packets
from test.e2e.playlists import Playlist, fetch, segment_bytes
from test.e2e.samples import BFRAMES, FFMPEG, MP3, Sample, make
from test.e2e.shared import Stage, StageCase

#: Long enough to be paced, short enough to be played whole.
FILM = Sample(seconds=14, gop=50)
NAMES = ("films/bframes.mp4", "films/moov-first.mp4", "films/mp3.mp4", "films/sub/Ein schöner Film.mp4")


def remux(sample: Sample, to: Path, *options: str) -> None:
    """The sample as an MP4 file."""
    command = [FFMPEG or "ffmpeg", "-v", "error", "-y", *options, "-i", str(make(sample)), "-c", "copy"]
    flags = ["-movflags", "+faststart"] if "first" in to.name else []
    subprocess.run([*command, *flags, str(to)], check=True, timeout=60)


def url(name: str, ending: str) -> str:
    """A request target."""
    return f"/{quote(name)}/{ending}"


class Files(StageCase):
    """A has the files, B is its edge, C the edge of B."""

    a: ClassVar[Node]
    nodes: ClassVar[list[Node]]
    folder: ClassVar[Path]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.folder = folder = stage.folder / "films"
        (folder / "sub").mkdir(parents=True)
        remux(FILM, folder / "bframes.mp4")
        remux(FILM, folder / "moov-first.mp4")
        remux(MP3, folder / "mp3.mp4")
        # Cut in front of a keyframe's successor: ffmpeg then writes an edit list.
        remux(BFRAMES, folder / "sub" / "Ein schöner Film.mp4", "-ss", "2.3")
        whole = (folder / "moov-first.mp4").read_bytes()
        (folder / "torn.mp4").write_bytes(whole[: len(whole) // 2])
        (folder / "text.mp4").write_text("this is not a film\n" * 100)
        (folder / "empty.mp4").write_bytes(b"")
        outside = stage.folder / "outside.mp4"
        outside.write_bytes(whole)
        (folder / "link.mp4").symlink_to(outside)
        (folder / "links").symlink_to(stage.folder)
        os.mkfifo(folder / "fifo.mp4")
        cls.a = a = stage.node("a", f"vod films {{ storage {folder}; }}")
        b = stage.edge("b", a)
        c = stage.edge("c", b)
        cls.nodes = [a, b, c]
        for node in cls.nodes:
            wait_until(lambda node=node: node.get(url(NAMES[0], "index.m3u8")).status == 200, 10, node.name)  # type: ignore[misc]

    def fetch(self, node: Node, name: str) -> Playlist:
        """The playlist of a file."""
        return fetch(node, quote(name))

    def test_playlists_and_segments_are_the_same_everywhere(self) -> None:
        """Text of playlists, SHA-256 and ETag of segments; the playlist is a whole file's."""
        for name in NAMES:
            answers = [node.get(url(name, "index.m3u8")) for node in self.nodes]
            self.assertEqual({answer.status for answer in answers}, {200}, name)
            self.assertEqual(len({answer.body for answer in answers}), 1, name)
            lists = [self.fetch(node, name) for node in self.nodes]
            text = lists[0].text
            self.assertIn("#EXT-X-PLAYLIST-TYPE:VOD\n", text)
            self.assertTrue(text.endswith("#EXT-X-ENDLIST\n"), text)
            self.assertNotIn("PROGRAM-DATE-TIME", text)
            # The last node is asked first, backwards: what comes does not depend on who asks for what.
            for segment in reversed(lists[0].segments):
                target = url(name, segment.uri)
                got = [node.get(target) for node in reversed(self.nodes)]
                self.assertEqual({answer.status for answer in got}, {200}, target)
                self.assertEqual(len({hashlib.sha256(answer.body).digest() for answer in got}), 1, target)
                self.assertEqual(len({answer.headers["etag"] for answer in got}), 1, target)
                self.assertIn("immutable", got[0].headers["cache-control"])

    def test_the_durations_are_those_of_the_file(self) -> None:
        """The sum of EXTINF is the length of the film, to what sound and picture differ by."""
        lasts = sum(segment.duration for segment in self.fetch(self.nodes[2], NAMES[0]).segments)
        self.assertLess(abs(lasts - FILM.seconds), 0.2)

    def test_players_decode_hls_from_every_node(self) -> None:
        """ffmpeg decodes every picture of every file, without a complaint."""
        for node in self.nodes:
            for name in NAMES[:3]:
                seconds = MP3.seconds if "mp3" in name else FILM.seconds
                seen = decode(f"http://127.0.0.1:{node.http}{url(name, 'index.m3u8')}", 0)
                self.assertEqual((seen.complaints, seen.frames), ("", seconds * 25), f"{name} on {node.name}")

    def test_the_same_frames_as_in_the_file(self) -> None:
        """Through two hops: as many packets of each kind, one after the other."""
        through = probe_packets(f"http://127.0.0.1:{self.nodes[2].http}{url(NAMES[0], 'index.m3u8')}")
        there = probe_packets(str(self.folder / "bframes.mp4"))
        for kind in ("video", "audio"):
            self.assertEqual(count(through, kind), count(there, kind), kind)
        assert_unbroken(through)

    def test_http_ts_ends_and_is_the_segments_in_a_row(self) -> None:
        """The body of C{/mpegts} is what HLS gives, at about real time, on every node at once."""
        name = NAMES[1]
        segments = self.fetch(self.a, name).segments
        wanted = b"".join(segment_bytes(self.a, quote(name), segment) for segment in segments)
        began = time.monotonic()
        bodies = [HttpStream(node.http, url(name, "mpegts")) for node in self.nodes]
        for body in bodies:
            with body:
                data = bytearray()
                while piece := body.read():
                    data += piece
                self.assertEqual(body.status, 200)
                self.assertEqual(hashlib.sha256(data).digest(), hashlib.sha256(wanted).digest())
                (self.stage.folder / "body.ts").write_bytes(data)
        took = time.monotonic() - began
        seen = decode(str(self.stage.folder / "body.ts"), 0)
        self.assertEqual((seen.complaints, seen.frames), ("", FILM.seconds * 25))
        self.assertTrue(FILM.seconds - 12 < took < FILM.seconds, f"a film of {FILM.seconds} s took {took} s")

    def test_what_is_no_film_is_refused(self) -> None:
        """Damaged files are refused with a reason, everything outside the folder is not there (row A13)."""
        for node in self.nodes:
            for name, status in (
                ("films/none.mp4", 404),
                ("films/link.mp4", 404),
                ("films/links/outside.mp4", 404),
                ("films/fifo.mp4", 404),
                ("films/sub", 404),
                ("films/text.mp4", 415),
                ("films/empty.mp4", 415),
                ("films/torn.mp4", 415),
            ):
                for ending in ("index.m3u8", "mpegts", "0-0123456789abcdef.ts"):
                    answer = node.get(url(name, ending))
                    self.assertEqual(answer.status, status, f"{name} {ending} on {node.name}")
            for path in (
                "/films/../films.conf/index.m3u8",
                "/films/%2e%2e/outside.mp4/index.m3u8",
                "/films//bframes.mp4/index.m3u8",
                "/films/sub%5c..%5c..%5coutside.mp4/mpegts",
                "/films/%00/index.m3u8",
            ):
                self.assertIn(raw(node, path).status, (400, 404), f"{path} on {node.name}")
            self.assertEqual(self.fetch(node, NAMES[0]).sequence, 0)

    def test_heads_ranges_and_other_methods(self) -> None:
        """As for live HLS."""
        name = NAMES[0]
        for node in self.nodes:
            first = self.fetch(node, name).segments[0]
            target = url(name, first.uri)
            whole = node.get(target)
            head = node.get(target, method="HEAD")
            self.assertEqual((head.status, head.body), (200, b""))
            self.assertEqual(head.headers["content-length"], str(len(whole.body)))
            part = node.get(target, headers={"Range": "bytes=188-375"})
            self.assertEqual((part.status, part.body), (206, whole.body[188:376]))
            same = node.get(target, headers={"If-None-Match": whole.headers["etag"]})
            self.assertEqual(same.status, 304)
            self.assertEqual(whole.headers["access-control-allow-origin"], "*")
            self.assertEqual(node.get(target, method="OPTIONS").status, 204)
            self.assertEqual(node.get(target, method="DELETE").status, 405)
            self.assertEqual(node.get(url(name, "mpegts"), method="HEAD").status, 200)
            unknown = first.uri.replace("0-", "999-", 1)
            self.assertEqual(node.get(url(name, unknown)).status, 404)
            tokens = node.get(url(name, "index.m3u8?token=secret")).body.decode()
            self.assertEqual(tokens.count(".ts?token=secret\n"), len(self.fetch(node, name).segments))

    def test_a_replaced_file_has_other_segments(self) -> None:
        """The playlist follows within seconds; segments of the old one are gone, not wrong."""
        name = "films/replaced.mp4"
        remux(Sample(seconds=4, audio=""), self.folder / "replaced.mp4")
        before = [self.fetch(node, name).segments[0].uri for node in self.nodes]
        fresh = self.folder / "fresh.mp4"
        remux(Sample(seconds=6, audio=""), fresh)
        fresh.rename(self.folder / "replaced.mp4")
        for node in self.nodes:
            wait_until(
                lambda node=node: self.fetch(node, name).segments[0].uri != before[0],  # type: ignore[misc]
                20.0,
                f"{node.name} lists the new file",
            )
        self.assertEqual(len(set(before)), 1)
        self.assertEqual(len({self.fetch(node, name).text for node in self.nodes}), 1)


class SourceGone(StageCase):
    """The only source of a location ends."""

    expected_alarms = ("no .*link to",)

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        folder = stage.folder / "films"
        folder.mkdir()
        remux(FILM, folder / "film.mp4")
        cls.a = stage.node("a", f"vod films {{ storage {folder}; }}")
        cls.b = stage.edge("b", cls.a)

    a: ClassVar[Node]
    b: ClassVar[Node]

    def test_what_is_held_is_served_and_the_rest_is_503(self) -> None:
        """A file nobody can tell of is answered with 503 and Retry-After; the source's return mends it."""
        target = url("films/film.mp4", "index.m3u8")
        wait_until(lambda: self.b.get(target).status == 200, 10, "the edge serves the film")
        first, last, *_ = fetch(self.b, "films/film.mp4").segments
        segment_bytes(self.b, "films/film.mp4", first)
        self.a.kill()
        self.b.wait_log("source .* lost")
        lost = self.b.get(url("films/other.mp4", "index.m3u8"), timeout=15)
        self.assertEqual((lost.status, "retry-after" in lost.headers), (503, True), lost)
        self.assertEqual(self.b.get(url("films/film.mp4", first.uri)).status, 200)
        self.assertEqual(self.b.get(url("films/film.mp4", last.uri), timeout=15).status, 503)
        self.a.up()
        wait_until(lambda: self.b.get(url("films/film.mp4", last.uri)).status == 200, 20, "it is mended")


def count(packets: list[Packet], kind: str) -> int:
    """How many packets are of C{kind}."""
    return sum(packet.kind == kind for packet in packets)


def raw(node: Node, path: str) -> Answer:
    """A request with the target as it is."""
    try:
        return get(node.http, path)
    except http.client.HTTPException as error:
        raise AssertionError(f"{path}: {error!r}") from error
