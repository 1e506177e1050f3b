"""Pulls of transport streams over HTTP: what comes through, and every way in which a server can be bad."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.http1.response import MAX_HEAD
from restreamer.mpegts.packet import PacketWriter
from restreamer.mpegts.psi import crc32_mpeg, pat_section
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.sources.http_get import MAX_REDIRECTIONS
from restreamer.sources.pull import PullTarget
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from restreamer.tsio.http_pull import TsHttpPull
from test.tsio.servers import Servers
from test.tsio.sinks import KeepingSink

FRAMES = make_frames(2.0)
STREAM = mux_segment((h264_track(), aac_track()), FRAMES)
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"


class PullCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.net = Servers()
        self.sink = KeepingSink()
        self.lost: list[str] = []

    def pull(self, **more: object) -> TsHttpPull:
        facts = {"path": "/cam/mpegts", "query": "token=t", **more}
        target = PullTarget(shown="tshttp://h/cam", scheme="tshttp", host="h", port=8080, **facts)  # type: ignore[arg-type]
        pulling = TsHttpPull(target, self.sink, self.lost.append, self.net.clock, self.net.connect)
        self.addCleanup(pulling.stop)
        return pulling

    def assert_lost(self, reason: str) -> None:
        """It is over, once, for this reason, and nothing is left."""
        self.assertEqual((len(self.lost), len(self.sink.ends)), (1, 1), self.lost)
        self.assertIn(reason, self.lost[0])
        self.assertEqual(self.net.clock.getDelayedCalls(), [])
        self.assertTrue(all(connection.side.aborted for connection in self.net.connections))


class Pulling(PullCase):
    def test_an_endless_answer(self) -> None:
        self.pull(user="me", password="p:w")
        request = self.net.last.request
        self.assertTrue(request.startswith("GET /cam/mpegts?token=t HTTP/1.1\r\nHost: h:8080\r\n"))
        self.assertIn("Authorization: Basic bWU6cDp3\r\n", request)
        data = ENDLESS + STREAM
        for at in range(0, len(data), 997):
            self.net.last.send(data[at : at + 997])
        self.assertEqual([track.codec for track in self.sink.tables[0]], ["avc1", "mp4a"])
        self.net.last.close()
        self.assertEqual(len(self.sink.frames), len(FRAMES))
        self.assert_lost("ended the stream")

    def test_faster_than_any_stream(self) -> None:
        self.pull()
        self.net.last.send(ENDLESS + STREAM)
        null = b"\x47\x1f\xff\x10" + b"\xff" * 184
        sent = 0
        while self.net.last.side.producerState == "producing" and sent < 100_000_000:
            self.net.last.send(null * 340)
            sent += 188 * 340
        self.assertLess(sent, 34_000_000)

    def test_chunks(self) -> None:
        self.pull()
        self.net.last.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(STREAM), 5000):
            piece = STREAM[at : at + 5000]
            self.net.last.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.assertGreater(len(self.sink.frames), 100)
        self.net.last.send(b"0\r\n\r\n")
        self.assertEqual(len(self.sink.frames), len(FRAMES))
        self.assert_lost("ended the stream")

    def test_redirections(self) -> None:
        self.pull(user="me", password="pw")
        self.net.last.answer(b"", "Location: /other?x=1", status="302 Found")
        self.assertEqual(self.net.last.place, ("h", 8080, False))
        self.assertIn("GET /other?x=1 HTTP", self.net.last.request)
        self.assertIn("Authorization", self.net.last.request)
        self.net.last.answer(b"", "Location: https://b/live", status="307 Temporary Redirect")
        self.assertEqual(self.net.last.place, ("b", 443, True))
        self.assertNotIn("Authorization", self.net.last.request)
        self.net.last.send(ENDLESS + STREAM)
        self.assertGreater(len(self.sink.frames), 100)
        self.assertEqual(self.lost, [])

    def test_stopped(self) -> None:
        pulling = self.pull()
        self.net.last.send(ENDLESS + STREAM[:5000])
        pulling.stop()
        pulling.stop()
        self.net.last.close()
        self.assertEqual((self.lost, self.sink.ends), ([], ["stopped"]))
        self.assertTrue(self.net.last.side.aborted)
        self.assertEqual(self.net.clock.getDelayedCalls(), [])

    def test_the_server_is_held_back(self) -> None:
        self.pull()
        self.net.last.send(ENDLESS + STREAM[:20_000])
        self.sink.wait = 2.0
        self.net.last.send(STREAM[20_000:60_000])
        self.assertEqual(self.net.last.side.producerState, "paused")
        self.net.clock.advance(2.1)
        self.assertEqual(self.net.last.side.producerState, "producing")


class BadServers(PullCase):
    """Row L06: each ends by itself, within a bound; who began the pull tries again with pauses."""

    def test_words_of_a_server(self) -> None:
        """What is shown of them is without our token."""
        self.pull(query="token=hush-hush")
        self.net.last.answer(b"", kind="text/hush-hush")
        self.assert_lost("the server answered with text/***")

    def test_redirections_without_end(self) -> None:
        self.pull()
        for _ in range(MAX_REDIRECTIONS + 1):
            self.net.last.answer(b"", "Location: /again", status="302 Found")
        self.assert_lost("redirections")
        self.assertEqual(len(self.net.connections), MAX_REDIRECTIONS + 1)

    def test_not_out_of_tls(self) -> None:
        """An encrypted pull is not led on in the clear; to another host it may be, encrypted."""
        for where in ("http://h/cam", "http://h:443/cam", "http://other/"):
            with self.subTest(where):
                self.setUp()
                self.pull(tls=True)
                self.net.last.answer(b"", f"Location: {where}", status="302 Found")
                self.assert_lost("out of TLS")
                self.assertEqual(len(self.net.connections), 1)

    def test_redirections_to_elsewhere(self) -> None:
        for where in (
            "file:///etc/passwd",
            "gopher://x/",
            "http://[::1",
            "http://a:99999/",
            "http:// b/",
        ):
            with self.subTest(where):
                self.setUp()
                self.pull()
                self.net.last.answer(b"", f"Location: {where}", status="301 Moved")
                self.assert_lost("URL")

    def test_a_page(self) -> None:
        self.pull()
        self.net.last.answer(b"<html>" * 10, kind="text/html; charset=x")
        self.assert_lost("text/html")

    def test_a_page_that_says_it_is_a_stream(self) -> None:
        self.pull()
        self.net.last.send(ENDLESS)
        for _ in range(40):
            self.net.last.send(b"<html>" * 1000)
        self.assert_lost("no packets")

    def test_other_statuses(self) -> None:
        for status in ("404 Not Found", "500 Oh", "204 Nothing", "302 Found"):
            with self.subTest(status):
                self.setUp()
                self.pull()
                self.net.last.answer(b"", status=status)
                self.assert_lost(status[:3])

    def test_no_connection(self) -> None:
        self.net.dead.add("h")
        self.pull()
        self.assert_lost("cannot connect")

    def test_a_connection_that_hangs(self) -> None:
        self.net.hung.add("h")
        self.pull()
        self.net.clock.advance(9.9)
        self.assertEqual(self.lost, [])
        self.net.clock.advance(0.2)
        self.assert_lost("no answer in time")
        self.assertEqual(self.net.cancelled, 1)

    def test_a_head_that_is_dribbled(self) -> None:
        self.pull()
        for byte in b"HTTP/1.1 200 OK\r\nServer: ":
            self.net.last.send(bytes((byte,)))
            self.net.clock.advance(1)
        self.assert_lost("no answer in time")

    def test_a_head_without_end(self) -> None:
        self.pull()
        self.net.last.send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEAD // 6))
        self.assert_lost("head of more than")

    def test_nothing_behind_the_head(self) -> None:
        self.pull()
        self.net.last.send(ENDLESS)
        self.net.clock.pump([1.0] * 11)
        self.assert_lost("nothing came for 10 s")

    def test_silence_later(self) -> None:
        self.pull()
        self.net.last.send(ENDLESS)
        for at in range(0, 60_000, 10_000):
            self.net.last.send(STREAM[at : at + 10_000])
            self.net.clock.pump([1.0] * 3)
        self.assertEqual(self.lost, [])
        self.net.clock.pump([1.0] * 8)
        self.assert_lost("nothing came for 10 s")

    def test_a_body_that_is_dribbled(self) -> None:
        """One byte a second is never silent, and never a frame: from the beginning, and later."""
        for begun in (0, 60_000):
            with self.subTest(begun):
                self.setUp()
                self.pull()
                self.net.last.send(ENDLESS + STREAM[:begun])
                for at in range(begun, begun + 29):
                    self.net.clock.advance(1)
                    self.net.last.send(STREAM[at : at + 1])
                self.assertEqual(self.lost, [])
                self.net.clock.pump([1.0] * 3)
                self.assert_lost("no frame in 30 s")

    def test_a_chunk_without_end(self) -> None:
        self.pull()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffff\r\n"
        self.net.last.send(head + STREAM[:60_000])
        self.assertGreater(len(self.sink.frames), 2)
        self.net.clock.pump([1.0] * 11)
        self.assert_lost("nothing came for 10 s")

    def test_a_compressed_body(self) -> None:
        self.pull()
        self.net.last.answer(b"\x1f\x8b", "Content-Encoding: gzip")
        self.assert_lost("encoding")

    def test_no_http(self) -> None:
        for data in (
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nbad\r\n\r\n",
            b"\r\n\r\n",
        ):
            with self.subTest(data):
                self.setUp()
                self.pull()
                self.net.last.send(data)
                self.assert_lost("HTTP re")

    def test_interim_answers_without_end(self) -> None:
        self.pull()
        self.net.last.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 6)
        self.assert_lost("interim")

    def test_a_bad_chunk(self) -> None:
        self.pull()
        self.net.last.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        self.assert_lost("chunk")

    def test_the_connection_breaks(self) -> None:
        self.pull()
        self.net.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + STREAM[:50_000])
        self.net.last.close(clean=False)
        self.assert_lost("connection lost")
        self.assertGreater(len(self.sink.frames), 10)

    def test_a_fault_of_ours(self) -> None:
        self.sink.fails = True
        self.pull()
        self.net.last.send(ENDLESS + STREAM)
        self.assert_lost("internal error")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


def _rows(data: bytes) -> list[bytearray]:
    return [bytearray(data[at : at + 188]) for at in range(0, len(data), 188)]


def _table(pid: int, section: bytes) -> bytes:
    return PacketWriter(pid).section(section)


def _many_programs() -> bytes:
    """A PAT of 64 programs that are all told at PIDs of their own, the first at that of the PAT itself."""
    body = b"".join(n.to_bytes(2, "big") + (0xE000 | 0x20 * (n - 1)).to_bytes(2, "big") for n in range(1, 65))
    head = bytes((0,)) + (0xB000 | len(body) + 9).to_bytes(2, "big") + b"\x00\x01\xc1\x00\x00" + body
    return _table(0, head + crc32_mpeg(head).to_bytes(4, "big")) * 5


def _bad_checksums() -> bytes:
    bad = bytearray(pat_section())
    bad[-1] ^= 1
    return _table(0, bytes(bad)) * 20


def _scrambled(data: bytes) -> bytes:
    rows = _rows(data)
    for row in rows:
        if (row[1] & 0x1F) << 8 | row[2] in (0x101, 0x202):
            row[3] |= 0xC0
    return b"".join(rows)


def _long_fields(data: bytes) -> bytes:
    rows = _rows(data)
    for row in rows:
        row[3] |= 0x20
        row[4] = 184 + row[4] % 72
    return b"".join(rows)


def _endless_unit() -> bytes:
    """A PES packet of pictures that tells no length and does not end in 9 MiB."""
    return PacketWriter(0x101).write(bytes.fromhex("000001e0000080800521") + bytes(4), bytes(9 << 20))


def _elsewhen(seconds: int) -> bytes:
    muxed = make_frames(1.0, start=START + seconds * 90_000)
    return mux_segment((h264_track(), aac_track()), muxed)


class TransportStreamFaults(PullCase):
    """Row L04: what is wrong costs what it belongs to; what follows plays, and the pull goes on."""

    FAULTS: Mapping[str, Callable[[], bytes]] = {
        "no sync byte": lambda: bytes(range(0x48, 0x80)) * 2000,
        "noise": lambda: random.Random(4).randbytes(150_000),
        "sync bytes alone": lambda: b"\x47" * 60_000,
        "packets of 204 bytes": lambda: b"".join(bytes(row) + bytes(16) for row in _rows(STREAM)),
        "packets of 192 bytes": lambda: b"".join(bytes(4) + bytes(row) for row in _rows(STREAM)),
        "64 programs": _many_programs,
        "bad checksums": _bad_checksums,
        "a table cut off": lambda: b"\x47\x40\x00\x10\x00\x00\xb3\xff" + bytes(180),
        "a unit without end": _endless_unit,
        "a unit of length 0": lambda: PacketWriter(0x202).write(
            bytes.fromhex("000001c00000"), b"\xff" * 9000
        ),
        "adaptation fields too long": lambda: _long_fields(STREAM),
        "scrambled": lambda: _scrambled(STREAM),
        "a jump of an hour": lambda: _elsewhen(3600),
        "back an hour": lambda: _elsewhen(-3600),
        "the clock wraps": lambda: _elsewhen((1 << 33) // 90_000),
    }

    def test_each(self) -> None:
        for name, make in self.FAULTS.items():
            with self.subTest(name):
                self.setUp()
                self.pull()
                fault = make()
                self.net.last.send(ENDLESS + STREAM)
                for at in range(0, len(fault), 65_536):
                    self.net.last.send(fault[at : at + 65_536])
                self.assertEqual(self.lost, [], name)
                before = len(self.sink.frames)
                # Found again within 1,000 packets: all but what the beginning costs.
                self.net.last.send(STREAM * 2)
                self.assertEqual(self.lost, [], name)
                self.assertGreater(len(self.sink.frames) - before, len(FRAMES), name)
                self.assertLessEqual(len(self.sink.frames) - before, 2 * len(FRAMES) + 2, name)

    def test_not_for_ever(self) -> None:
        """Nothing but noise: it is no transport stream."""
        self.pull()
        self.net.last.send(ENDLESS + STREAM)
        noise = bytes(range(0x48, 0xFF)) * 300
        for _ in range(5):
            self.net.last.send(noise)
        self.assert_lost("no packets")
