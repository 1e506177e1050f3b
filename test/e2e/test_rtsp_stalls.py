"""RTSP players that stop reading, vanish or drop, by the thousand, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import ClassVar

from typing_extensions import override

from test.e2e.canary import Canary
from test.e2e.nodes import Node, free_ports, wait_for_port, wait_until
from test.e2e.samples import Sample
from test.e2e.shared import LIVE, Stage, StageCase

STREAM = "live/fast"
#: Fast enough that one who does not read is soon behind.
FAST = Sample(seconds=8, video_kbps=4_000)
CYCLES = 1_000
#: What a thousand players that came and went may leave behind, bytes.
GROWTH = 24 << 20
TCP = "RTP/AVP/TCP;unicast;interleaved=0-1"


class Player:
    """A player that speaks as little as it can."""

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", port))
        self.session = ""
        self.sequence = 0

    def text(self, method: str, track: str = "", transport: str = "") -> bytes:
        """A request."""
        self.sequence += 1
        lines = [f"{method} rtsp://127.0.0.1/{STREAM}{track} RTSP/1.0", f"CSeq: {self.sequence}"]
        lines += [f"Session: {self.session}"] if self.session else []
        lines += [f"Transport: {transport}"] if transport else []
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def set_up(self, transport: str) -> str:
        """SETUP of the video; the answer."""
        self.socket.sendall(self.text("SETUP", "/trackID=1", transport))
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = self.socket.recv(4096)
            assert piece, answer
            answer += piece
        text = answer.decode()
        assert text.startswith("RTSP/1.0 200 "), text
        self.session = text.partition("Session: ")[2].partition(";")[0]
        return text

    def play(self) -> None:
        """PLAY; the answer and the media come when they come."""
        self.socket.sendall(self.text("PLAY"))

    def drop(self) -> None:
        """Hang up at once: what is on its way is reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Stalls(StageCase):
    """One node that serves RTSP."""

    node: ClassVar[Node]
    port: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        [cls.port] = free_ports(1)
        cls.node = stage.node("node", f"rtsp 127.0.0.1:{cls.port};\n{LIVE}")
        stage.publish(cls.node, STREAM, FAST)
        cls.node.wait_alive(STREAM)
        wait_for_port(cls.port, 5.0)

    def told(self, fact: str) -> int:
        """A number of the RTSP viewers of the stream."""
        play = self.node.streams()[STREAM]["stats"].get("play", {}).get("rtsp", {})
        return int(play.get(fact, 0))

    def test_one_that_stops_reading(self) -> None:
        """It is ended within its bounds (S13), whoever plays beside it loses nothing."""
        dropped = self.told("dropped")
        with Canary(self.node, STREAM, self.stage.folder):
            player = Player(self.port, receive_buffer=16_384)
            self.addCleanup(player.socket.close)
            player.set_up(TCP)
            player.play()
            self.assertTrue(player.socket.recv(1).startswith(b"R"))
            wait_until(lambda: self.told("dropped") > dropped, 16.0, "it is ended")
        player.socket.settimeout(2)
        with self.assertRaises(ConnectionResetError):
            while player.socket.recv(65_536):
                pass

    def test_a_player_over_udp_that_hangs_up(self) -> None:
        """Nothing is sent to its ports any more (S10)."""
        media = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(media.close)
        media.bind(("127.0.0.1", 0))
        media.settimeout(3)
        first = int(media.getsockname()[1])
        player = Player(self.port)
        player.set_up(f"RTP/AVP;unicast;client_port={first}-{first + 1}")
        player.play()
        self.assertTrue(media.recv(4096))
        player.drop()
        wait_until(lambda: not self.told("online_clients"), 5.0, "the viewer is gone")
        media.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                media.recv(65_536)
        time.sleep(0.3)
        self.assertRaises(BlockingIOError, media.recv, 65_536)

    def test_a_thousand_that_drop(self) -> None:
        """S05: in the midst of SETUP, PLAY and of a frame, over TCP and UDP: nothing is left of them."""
        [client] = free_ports(1)
        udp = f"RTP/AVP;unicast;client_port={client & ~1}-{client | 1}"

        def cycles(count: int) -> None:
            for index in range(count):
                player = Player(self.port)
                player.set_up(udp if index % 3 == 2 else TCP)
                if index % 4:
                    player.play()
                if index % 4 > 1:
                    player.socket.recv(1 + index % 1000)
                player.drop()

        with Canary(self.node, STREAM, self.stage.folder):
            cycles(100)
            wait_until(lambda: not self.told("online_clients"), 5.0, "the first ones are gone")
            memory, descriptors, played = self.node.rss(), self.node.descriptors(), self.told("total_clients")
            cycles(CYCLES)
            wait_until(lambda: not self.told("online_clients"), 5.0, "all are gone")
            wait_until(lambda: self.node.descriptors() <= descriptors + 4, 5.0, "their sockets are closed")
            self.assertGreaterEqual(self.told("total_clients") - played, CYCLES // 2)
            self.assertLess(self.node.rss() - memory, GROWTH)
