"""Kinds of media other than the usual: audio alone, video alone, MP3, parameters that change, two publishers
of one name."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from typing_extensions import override

from test.e2e.canary import Canary
from test.e2e.nodes import Node, wait_until
from test.e2e.players import decode, probe_packets, record_ts
from test.e2e.playlists import Playlist, check_reload, fetch, segment_bytes, wait_segments
from test.e2e.publishers import Publisher
from test.e2e.rtmp_wire import PacedPublisher, RefusalError, Tag, WireClient, read_flv
from test.e2e.samples import AUDIO_ONLY, BFRAMES, FFPROBE, MP3, SMALLER, SPARSE_KEYS, VIDEO_ONLY, make
from test.e2e.shared import Stage, StageCase


class Media(StageCase):
    """An origin and an edge; streams of several kinds are published at once."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin")
        cls.edge = stage.edge("edge", cls.origin)
        for name, sample in {"audio": AUDIO_ONLY, "video": VIDEO_ONLY, "mp3": MP3}.items():
            stage.publish(cls.origin, f"live/{name}", sample)
        for name in ("audio", "video", "mp3"):
            cls.edge.wait_alive(f"live/{name}")

    def plays(self, stream: str, kinds: set[str]) -> None:
        """C{stream} decodes on the edge over all protocols and has tracks of C{kinds} only."""
        wait_segments(self.edge, stream, 3)
        with ThreadPoolExecutor(3) as pool:
            urls = [self.edge.url(stream, proto) for proto in ("tshttp", "rtmp", "hls")]
            for url, result in zip(urls, pool.map(lambda url: decode(url, 3.0), urls), strict=True):
                self.assertEqual(result.complaints, "", url)
        path = record_ts(self.edge.http, stream, 2.0, self.stage.folder / f"{stream.replace('/', '-')}.ts")
        self.assertEqual({packet.kind for packet in probe_packets(str(path))}, kinds)
        for segment in fetch(self.edge, stream).segments:
            if not segment.gap:
                self.assertEqual(
                    segment_bytes(self.edge, stream, segment), segment_bytes(self.origin, stream, segment)
                )

    def test_audio_only(self) -> None:
        """Segments of audio alone end at the line of the grid, so they last as long as they should."""
        self.plays("live/audio", {"audio"})
        for segment in fetch(self.edge, "live/audio").segments[1:]:
            self.assertLess(abs(segment.duration - 2.0), 0.05)

    def test_video_only(self) -> None:
        """Video with no sound."""
        self.plays("live/video", {"video"})

    def test_mp3(self) -> None:
        """H.264 with MP3, named as such in the transport stream."""
        self.plays("live/mp3", {"audio", "video"})
        path = record_ts(self.edge.http, "live/mp3", 2.0, self.stage.folder / "mp3.ts")
        self.assertIn("mp3", codecs(str(path)))

    def test_keyframes_as_rare_as_segments(self) -> None:
        """With one keyframe per segment duration each segment begins with it, whatever the phase."""
        names = [f"live/phase{i}" for i in range(8)]
        publishers = []
        for name in names:
            publishers.append(self.stage.publish(self.origin, name, SPARSE_KEYS))
            time.sleep(0.25)
        for name in names:
            playlist = wait_segments(self.origin, name, 4)
            durations = [segment.duration for segment in playlist.segments[1:]]
            self.assertEqual(set(durations), {2.0}, f"{name}\n{playlist.text}")
        for publisher in publishers:
            publisher.stop()

    def test_parameters_change_between_publishes(self) -> None:
        """The same name published again in another size: a marked break, then segments of the new size;
        numbers rise."""
        stream = "live/change"
        with Publisher(self.origin.url(stream, "rtmp"), BFRAMES):
            self.edge.wait_alive(stream)
            before = wait_segments(self.edge, stream, 3)
        with Publisher(self.origin.url(stream, "rtmp"), SMALLER):
            after = wait_segments(self.edge, stream, 3, beyond=before.numbers[-1])
            self.check_change(stream, before, after)

    def test_parameters_change_in_a_publish(self) -> None:
        """One connection that begins with one size and goes on with another (R21, C04)."""
        stream = "live/switch"
        client = WireClient.connect(self.origin.rtmp, "live")
        self.addCleanup(client.close)
        client.publish("switch")
        first = [tag for tag in read_flv(make(BFRAMES)) if tag.timestamp < 6_000]
        second = [
            Tag(tag.kind, tag.timestamp + 6_000, tag.body)
            for tag in read_flv(make(SMALLER))
            if tag.timestamp < 14_000
        ]
        paced = PacedPublisher(client, iter([*first, *second]))
        paced.run_for(5.5)
        before = wait_segments(self.edge, stream, 1, seconds=5.0)
        paced.run_for(9.0)
        after = fetch(self.edge, stream)
        self.check_change(stream, before, after)

    def check_change(self, stream: str, before: Playlist, after: Playlist) -> None:
        """A break is marked where the size changes, and the newest segment plays by itself in the new
        size."""
        check_reload(before, after)
        marked = any(segment.discontinuity for segment in after.segments)
        self.assertTrue(marked or after.discontinuity_sequence > before.discontinuity_sequence, after.text)
        newest = after.segments[-1]
        for node in (self.origin, self.edge):
            path = self.stage.folder / f"changed-{node.name}.ts"
            path.write_bytes(segment_bytes(node, stream, newest))
            self.assertEqual(decode(str(path), 0).complaints, "")
            self.assertIn("320", codecs(str(path)))

    def test_second_publisher_is_refused(self) -> None:
        """A name that is published takes no second publisher; the first one's viewers notice nothing
        (R19)."""
        stream = "live/busy"
        with Publisher(self.origin.url(stream, "rtmp"), BFRAMES) as first:
            self.origin.wait_alive(stream)
            with Canary(self.origin, stream, self.stage.folder):
                client = WireClient.connect(self.origin.rtmp, "live")
                with self.assertRaises(RefusalError):
                    client.publish("busy")
                client.close()
                second = Publisher(self.origin.url(stream, "rtmp"), SMALLER).start()
                code, _ = second.ended(10.0)
                self.assertNotEqual(code, 0)
            self.assertTrue(first.running)

    def test_edge_takes_no_publish_of_a_remote_name(self) -> None:
        """A name without a template is refused on the edge."""
        client = WireClient.connect(self.edge.rtmp, "live")
        self.addCleanup(client.close)
        with self.assertRaises(RefusalError):
            client.publish("video")

    def test_publisher_that_vanishes(self) -> None:
        """A publisher that ends with no goodbye frees its name for the next one within two seconds (R20)."""
        client = WireClient.connect(self.origin.rtmp, "live")
        client.publish("vanish")
        PacedPublisher(client, iter(read_flv(make(BFRAMES)))).run_for(0.5)
        client.close(reset=True)
        began = time.monotonic()

        def granted() -> bool:
            again = WireClient.connect(self.origin.rtmp, "live")
            try:
                again.publish("vanish")
            except RefusalError:
                return False
            finally:
                again.close()
            return True

        wait_until(granted, 5.0, "the name is free again")
        self.assertLess(time.monotonic() - began, 2.0)


def codecs(path: str) -> str:
    """Codec names and sizes of a file's tracks."""
    command = [
        FFPROBE or "ffprobe",
        "-v",
        "error",
        "-show_entries",
        "stream=codec_name,width,height",
        "-of",
        "csv",
        path,
    ]
    return subprocess.run(command, capture_output=True, timeout=20, check=True).stdout.decode()
