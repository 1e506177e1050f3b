"""HTTP-TS readers that are slower than the stream: what they are given over a jump is legal, then they are
let go."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from restreamer.testing.ts_reader import TsReader
from test.e2e.canary import Canary
from test.e2e.nodes import Node, wait_until
from test.e2e.players import HttpStream, decode, probe_packets
from test.e2e.samples import Sample, byte_rate
from test.e2e.shared import Stage, StageCase

STREAM = "live/fast"
#: Fast enough that a slow reader is soon behind by more than a viewer may be.
FAST = Sample(seconds=8, video_kbps=10_000)
#: Part of the stream's rate at which a slow reader reads.
PART = 0.1
PACKET = 188
VIDEO_STREAM, AUDIO_STREAM = 0x1B, 0x0F
#: Longest step that is no jump, ticks: where the sample begins again its tracks are not equally long.
SMALL_STEP = 7_200
#: What the log and the window of a stream this fast and two slow readers may cost, bytes.
GROWTH = 64 << 20


class SlowReader(threading.Thread):
    """Reads C{PART} of the stream's rate until told to hurry, then all there is.

    @ivar data: what it read; @ivar ended: why the server closed, None while it has not.
    """

    def __init__(self, node: Node, rate: float) -> None:
        super().__init__(daemon=True)
        self.http = HttpStream(node.http, f"/{STREAM}/mpegts", rcvbuf=16_384)
        assert self.http.status == 200, self.http.head
        self.rate = rate
        self.data = bytearray()
        self.ended: object = None
        self.hurry = threading.Event()
        self.over = threading.Event()

    @override
    def run(self) -> None:
        self.http.sock.settimeout(0.5)
        began = time.monotonic()
        while not self.over.is_set():
            if not self.hurry.is_set():
                self.over.wait(0.02)
                if len(self.data) > (time.monotonic() - began) * self.rate:
                    continue
            try:
                piece = self.http.read(4096 if not self.hurry.is_set() else 65_536)
            except TimeoutError:
                continue
            except ConnectionError as error:
                self.ended = error
                return
            if not piece:
                self.ended = "closed"
                return
            self.data += piece

    def end(self) -> None:
        """Hang up."""
        self.over.set()
        self.join(5)
        self.http.close()


class SlowReaders(StageCase):
    """One node and a stream of 10 Mbit/s."""

    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("node")
        stage.publish(cls.node, STREAM, FAST)
        cls.node.wait_alive(STREAM)

    def told(self) -> tuple[int, int]:
        """Jumps and dropped viewers of HTTP-TS so far."""
        play = self.node.streams()[STREAM]["stats"].get("play", {}).get("mpegts", {})
        return play.get("skips", 0), play.get("dropped", 0)

    def reader(self) -> SlowReader:
        """A slow reader that has begun."""
        reader = SlowReader(self.node, PART * byte_rate(FAST))
        self.addCleanup(reader.end)
        reader.start()
        return reader

    def test_jump_is_legal(self) -> None:
        """Readers at a tenth of the rate jump to a keyframe; what they get over it is legal (H07).

        One that reads faster from then on stays; one that does not is let go at its second jump.
        """
        memory, before = self.node.rss(), self.told()
        with Canary(self.node, STREAM, self.stage.folder):
            mending, stubborn = self.reader(), self.reader()
            wait_until(lambda: self.told()[0] >= before[0] + 2, 25.0, "both jump")
            mending.hurry.set()
            wait_until(lambda: stubborn.ended, 30.0, "the one that stays slow is let go")
            self.assertIsNone(mending.ended)
            skips, dropped = self.told()
            self.assertEqual((skips - before[0], dropped - before[1]), (3, 1))
            self.assertLess(self.node.rss() - memory, GROWTH)
            mending.end()
        self.assertIsInstance(stubborn.ended, ConnectionResetError)
        for name, reader in (("mending", mending), ("stubborn", stubborn)):
            try:
                self.check(self.stage.folder / f"slow-{name}.ts", bytes(reader.data))
            except AssertionError as failure:
                raise AssertionError(f"the {name} reader: {failure}") from failure

    def check(self, path: Path, data: bytes) -> None:
        """C{data} is a legal stream with one jump, and a real decoder takes it without a word."""
        data = data[: last_start(data) * PACKET]
        # Raises for every counter that does not go on and is not declared.
        reader = TsReader().feed(data)
        pids = {kind: pid for pid, kind in reader.streams.items()}
        video, audio = pids[VIDEO_STREAM], pids[AUDIO_STREAM]
        # Each PID is marked once, in packets one behind the other: tables first.
        marked = marks(data)
        begin = marked[0][0]
        self.assertEqual([number for number, _ in marked], list(range(begin, begin + len(marked))))
        self.assertEqual([pid for _, pid in marked][:2], [0, reader.pmt_pid])
        self.assertEqual(sorted(pid for _, pid in marked), sorted(reader.payload_packets))
        # The keyframe comes next, behind nothing but tables.
        key = next(unit for unit in reader.of(video) if unit.at > begin)
        self.assertTrue(key.key, "the first picture after the jump is no keyframe")
        self.assertEqual([unit for unit in reader.of(audio) if begin < unit.at < key.at], [])
        self.assertLess(key.at, begin + 2 * len(marked))
        for pid in (video, audio):
            steps = [later.dts - unit.dts for unit, later in itertools.pairwise(reader.of(pid))]
            jumps = [step for step in steps if not 0 < step <= SMALL_STEP]
            self.assertEqual(len(jumps), 1, f"steps of PID {pid:#x}: {jumps}")
            self.assertGreater(jumps[0], SMALL_STEP)
        path.write_bytes(data)
        # Times as they are: ffmpeg would close up a jump of more than ten seconds by a rule of its own.
        result = decode(str(path), 0, extra=("-copyts",))
        self.assertEqual(result.complaints, "")
        pictures = [packet for packet in probe_packets(str(path)) if packet.kind == "video"]
        # The reader does not count the last one: nothing follows that would end it.
        self.assertIn(len(pictures) - len(reader.of(video)), (0, 1))
        self.assertEqual(result.frames, len(pictures))


def marks(data: bytes) -> list[tuple[int, int]]:
    """(packet number, PID) of every discontinuity_indicator."""
    found = []
    for number in range(len(data) // PACKET):
        at = number * PACKET
        if data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x80:
            found.append((number, (data[at + 1] & 0x1F) << 8 | data[at + 2]))
    return found


def last_start(data: bytes) -> int:
    """The packet with which the last access unit begins: all before it is whole."""
    for number in reversed(range(len(data) // PACKET)):
        at = number * PACKET
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        if data[at + 1] & 0x40 and 0x20 <= pid < 0x1000:
            return number
    return 0
