"""MPEG-TS published by HTTP and UDP, pulled by HTTP, HLS and UDP, pushed by UDP; on origin and edge."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from restreamer.testing.ts_reader import TsReader
from test.e2e.codec_samples import CodecSample, make
from test.e2e.elementary import elementary_digests, is_run_of
from test.e2e.machine import Delays
from test.e2e.nodes import Node, free_ports, wait_until
from test.e2e.players import record_ts
from test.e2e.samples import FFMPEG
from test.e2e.shared import Stage, StageCase

PLAIN = ("-use_editlist", "0", "-movflags", "+faststart")
CAM = CodecSample(video="h264", audio=("aac", "ac3"), languages=("eng", "deu"), options=PLAIN)
SIMPLE = CodecSample(video="h264", audio=("aac",), options=PLAIN)
RICH = CodecSample(video="hevc", audio=("opus", "mp3"), options=PLAIN)
BROADCAST = CodecSample(video="mpeg2", audio=("mp2", "eac3"), options=PLAIN)
CODECS = {"mpeg2": "mpeg2video"}
#: The kernel tells when a datagram came, whenever its receiver is woken (socket(7); absent in Python 3.11).
SO_TIMESTAMPNS = 35
#: What a receiver may ask of the clock: seconds from PCR to PCR, and of jitter.
PCR_SPACING = 0.040
PCR_JITTER = 0.000_5


class Sender:
    """An ffmpeg that sends a sample as MPEG-TS, round and round."""

    def __init__(self, sample: CodecSample, url: str, *options: str) -> None:
        command = [FFMPEG or "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-re"]
        command += ["-stream_loop", "-1", "-i", str(make(sample)), "-map", "0", "-c", "copy"]
        command += ["-f", "mpegts", *options, url]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        if self.process.stderr is not None:
            self.process.stderr.close()


def udp_receiver() -> socket.socket:
    receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    receiving.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    receiving.bind(("127.0.0.1", 0))
    receiving.settimeout(5)
    return receiving


def stamped_datagram(receiving: socket.socket) -> tuple[float, bytes]:
    """When the next datagram came, in seconds, and what it is."""
    datagram, about, _, _ = receiving.recvmsg(2000, 64)
    seconds, nanoseconds = struct.unpack("qq", about[0][2])
    return seconds + nanoseconds / 1e9, datagram


class TransportStreams(StageCase):
    """Publishers send to the origin; a second node pulls from it in every way; the edge restreams both."""

    origin: ClassVar[Node]
    second: ClassVar[Node]
    edge: ClassVar[Node]
    receivers: ClassVar[list[socket.socket]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        (udp_port,) = free_ports(1)
        live = "segment_duration 1; segment_count 8;"
        cls.origin = stage.node(
            "origin",
            f"template pub {{ prefix pub; input publish://; {live} }}\n"
            f"stream air {{ input udp://127.0.0.1:{udp_port}; {live} }}\n",
        )
        cls.receivers = [udp_receiver(), udp_receiver()]
        for receiver in cls.receivers:
            stage.stack.callback(receiver.close)
        ports = [receiver.getsockname()[1] for receiver in cls.receivers]
        place = f"127.0.0.1:{cls.origin.http}"
        for sample, name in ((CAM, "pub/cam"), (SIMPLE, "pub/simple"), (RICH, "pub/rich")):
            sender = Sender(sample, f"http://{place}/{name}/mpegts", "-method", "POST")
            stage.stack.callback(sender.stop)
        stage.stack.callback(Sender(BROADCAST, f"udp://127.0.0.1:{udp_port}?pkt_size=1316").stop)
        for name in ("pub/cam", "pub/simple", "pub/rich", "air"):
            cls.origin.wait_alive(name, 15)
        cls.second = stage.node(
            "second",
            f"stream by-http {{ input tshttp://{place}/pub/cam/mpegts; {live}"
            f" push udp://127.0.0.1:{ports[0]}; }}\n"
            f"stream air-by-http {{ input http://{place}/air/mpegts; {live} }}\n"
            f"stream by-hls {{ input hls://{place}/pub/simple/index.ts.m3u8; {live}"
            f" push udp://127.0.0.1:{ports[1]} bitrate=2500 pids=pmt:100,v1:101,a1:102 pnr=7 service=S; }}\n"
            f"stream by-cmaf {{ input hls://{place}/pub/rich/index.fmp4.m3u8; {live} }}\n",
        )
        cls.edge = stage.edge("edge", cls.origin, cls.second)

    def check(self, node: Node, name: str, sample: CodecSample) -> None:
        """Every track as HTTP MPEG-TS from C{node}: packets of the sample, none missing."""
        self.check_file(self.record(node, name), sample, name)

    def record(self, node: Node, name: str) -> Path:
        node.wait_alive(name, 30)
        return record_ts(node.http, name, 2.0, self.stage.folder / f"{node.name}-{name.replace('/', '-')}.ts")

    def check_file(self, recorded: Path, sample: CodecSample, name: str) -> None:
        source = make(sample)
        tracks = [("v:0", CODECS.get(sample.video, sample.video))]
        tracks += [(f"a:{index}", codec) for index, codec in enumerate(sample.audio)]
        for track, codec in tracks:
            through = elementary_digests(recorded, track, codec)[:-1]
            there = elementary_digests(source, track, codec)
            self.assertGreater(len(through), 20, f"{name} {track}")
            places = [there.index(digest) if digest in there else -1 for digest in through]
            self.assertTrue(is_run_of(through, there), f"{name} {track} {codec}: {places}")

    def test_published_by_http(self) -> None:
        for node in (self.origin, self.edge):
            self.check(node, "pub/cam", CAM)
            self.check(node, "pub/rich", RICH)

    def test_received_by_udp(self) -> None:
        for node in (self.origin, self.edge):
            self.check(node, "air", BROADCAST)

    def test_pulled_by_http(self) -> None:
        for node in (self.second, self.edge):
            self.check(node, "by-http", CAM)
            self.check(node, "air-by-http", BROADCAST)

    def test_pulled_from_playlists(self) -> None:
        for node in (self.second, self.edge):
            self.check(node, "by-hls", SIMPLE)
            self.check(node, "by-cmaf", RICH)

    def test_no_discontinuity_where_there_is_none(self) -> None:
        """A pull goes on from segment to segment as one stream."""
        for name in ("air-by-http", "by-hls", "by-cmaf"):
            self.second.wait_alive(name, 30)

            def listed(name: str = name) -> str:
                text = self.second.get(f"/{name}/tracks-v1a1/mono.ts.m3u8").body.decode()
                return text if text.count("#EXTINF") >= 4 else ""

            self.assertNotIn("DISCONTINUITY\n", wait_until(listed, 25, f"segments of {name}"), name)

    def test_pushed_by_udp(self) -> None:
        for receiver, name, sample in zip(self.receivers, ("by-http", "by-hls"), (CAM, SIMPLE), strict=True):
            self.second.wait_alive(name, 30)
            got: list[tuple[float, bytes]] = []
            receiver.setblocking(False)
            while True:
                try:
                    receiver.recv(2000)
                except BlockingIOError:
                    break
            receiver.settimeout(5)
            end = time.monotonic() + 4
            with Delays() as delays:
                while time.monotonic() < end:
                    got.append(stamped_datagram(receiver))
            data = b"".join(datagram for _, datagram in got)
            recorded = self.stage.folder / f"pushed-{name}.ts"
            recorded.write_bytes(data)
            self.check_file(recorded, sample, name)
            clocks = _clocks(got)
            gaps = sorted(after[0] - before[0] for before, after in pairwise(clocks))
            self.assertLess(gaps[-1], PCR_SPACING + delays.longest, name)
            off = [pcr - now for now, pcr in clocks]
            middle = sorted(off)[len(off) // 2]
            jitter = sorted(abs(each - middle) for each in off)
            self.assertLess(
                jitter[(len(jitter) - 1) * 99 // 100], PCR_JITTER + delays.longest, f"{name}: {jitter}"
            )
            if name == "by-hls":
                self.assertAlmostEqual(len(data) * 8 / 4 / 2_500_000, 1.0, 1)
                self.assertEqual({len(datagram) for _, datagram in got}, {1316})
                reader = TsReader(pcr_lead_required=False).feed(_from_table(data))
                self.assertEqual((set(reader.streams), reader.service[1]), ({101, 102}, "S"))

    def test_refused(self) -> None:
        place = f"http://127.0.0.1:{self.origin.http}"
        sender = Sender(SIMPLE, f"{place}/elsewhere/mpegts", "-method", "POST")
        try:
            self.assertNotEqual(sender.process.wait(10), 0)
        finally:
            sender.stop()
        busy = Sender(SIMPLE, f"{place}/pub/cam/mpegts", "-method", "POST")
        try:
            wait_until(lambda: busy.process.poll() is not None, 10, "the second publisher is refused")
        finally:
            busy.stop()
        self.assertTrue(self.origin.alive("pub/cam"))


def _from_table(data: bytes) -> bytes:
    """From the first PAT on, without what belongs to PES packets that began before it."""
    kept = bytearray()
    begun: set[int] = set()
    for at in range(0, len(data), 188):
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        if data[at + 1] & 0x40 and (begun or not pid):
            begun.add(pid)
        if pid in begun:
            kept += data[at : at + 188]
    return bytes(kept)


def _clocks(got: list[tuple[float, bytes]]) -> list[tuple[float, float]]:
    """(arrival, PCR) in seconds."""
    found = []
    for now, datagram in got:
        row = datagram[:188]
        if row[3] & 0x20 and row[4] >= 7 and row[5] & 0x10:
            base = int.from_bytes(row[6:10], "big") << 1 | row[10] >> 7
            found.append((now, (base * 300 + ((row[10] & 1) << 8 | row[11])) / 27e6))
    return found
