"""What is counted of inputs, from the packets that are missing to what the API tells: on a real node."""

from __future__ import annotations

import json
import socket
from typing import Any

from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.node import Node
from restreamer.testing.media import aac_track, h264_track, make_frames
from test.test_node import HOST, NodeCase, dial, pause, until
from test.tsio.test_udp_pull import free_port

STREAM = mux_segment((h264_track(), aac_track()), make_frames(3.0))
ROWS = [STREAM[at : at + 188] for at in range(0, len(STREAM), 188)]
VIDEO = [
    at
    for at, row in enumerate(ROWS)
    if (row[1] & 0x1F) << 8 | row[2] == 0x101 and row[3] & 0x10 and not row[1] & 0x40
]
#: Packets that are left out, far from each other.
LOST = frozenset(VIDEO[len(VIDEO) * part // 8] for part in (2, 4, 6))
DAMAGED = b"".join(row for at, row in enumerate(ROWS) if at not in LOST)


class InputCounters(NodeCase):
    async def told(self, name: str) -> list[Any]:
        """The inputs of C{name}, as the API tells them."""
        path = f"/streamer/api/v3/streams/{name}"
        client = await dial(self.http, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await client.gone
        inputs = json.loads(bytes(client.received).partition(b"\r\n\r\n")[2]).get("inputs", [])
        assert isinstance(inputs, list)
        return inputs

    async def counted(self, node: Node, name: str, key: str, at_least: int) -> Any:
        """The statistics of the only input, once C{key} was counted so often."""
        await until(lambda: any(each.counters.get(key, 0) >= at_least for each in node.core._inputs_of(name)))
        (told,) = await self.told(name)
        return told["stats"]

    async def test_published_by_http(self) -> None:
        """A publish alone is an input too, while it lasts."""
        node = self.node("stream cam { input publish://; }")
        self.assertEqual(await self.told("cam"), [])
        head = f"POST /cam/mpegts HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DAMAGED) + 100_000}\r\n\r\n"
        client = await dial(self.http, head.encode() + DAMAGED[:-188] + b"\x00" * 1000)
        stats = await self.counted(node, "cam", "errors_ts_cc", len(LOST))
        counters = stats["counters"]
        self.assertEqual(counters["errors_ts_cc"], len(LOST))
        self.assertEqual(counters["errors_broken_payload"], len(LOST))
        self.assertEqual((stats["proto"], stats["state"], stats["active"]), ("publish", "feeding", True))
        self.assertGreater(stats["frames"], 100)
        self.assertGreater(stats["bytes"], 10_000)
        assert client.transport is not None
        client.transport.loseConnection()
        await client.gone
        await until(lambda: not node.core._inputs_of("cam"))

    async def test_received_by_udp(self) -> None:
        """Counts of a pull go on over its attempts."""
        port = free_port()
        node = self.node(f"stream air {{ input udp://{HOST}:{port}; }}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            for at in range(0, len(DAMAGED), 1316):
                sending.sendto(DAMAGED[at : at + 1316], (HOST, port))
                if at // 1316 % 16 == 15:
                    await pause(0.001)
            stats = await self.counted(node, "air", "errors_ts_cc", len(LOST))
            self.assertEqual(stats["counters"]["errors_ts_cc"], len(LOST))
            self.assertEqual(stats["counters"]["errors_desync"], 0)
            self.assertEqual((stats["proto"], stats["errors"]), ("udp", 0))
            self.assertGreater(stats["frames"], 100)
            for _ in range(210):
                sending.sendto(b"no packets at all" * 60, (HOST, port))
            await until(lambda: node.core._inputs_of("air")[0].errors == 1)
        (told,) = await self.told("air")
        self.assertEqual(told["stats"]["counters"]["errors_ts_cc"], len(LOST))
        self.assertEqual(told["stats"]["counters"]["errors_desync"], 1)
        self.assertIn("no packets", told["stats"]["last_error"])
