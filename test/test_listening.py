"""A node whose listeners, inputs and pushes change as it runs; what C{protocols} closes, on every path."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from twisted.internet.threads import deferToThread
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.node import Node
from test.certificates import Authority
from test.test_node import HOST, NodeCase, dial, free_port, pause, until

FILE = "input file://media/demo.mp4; segment_duration 1;"
OPTIONS = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"
#: C0 and C1 of RTMP.
HELLO = b"\x03" + bytes(1536)


class ListeningCase(NodeCase):
    """Nodes with one file that plays."""

    def running(self, node: Node, name: str) -> bool:
        """Whether C{name} runs."""
        entry = node.core.registry.find(name)
        return entry is not None and entry.stream.running

    async def http_status(self, path: str) -> int:
        """The status of C{GET path}."""
        client = await dial(
            self.http, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        await client.until(b"\r\n\r\n")
        assert client.transport is not None
        client.transport.loseConnection()
        await client.gone
        return int(client.received.split(b" ", 2)[1])

    async def rtsp_status(self, port: int, path: str) -> int:
        """The status of C{DESCRIBE path}."""
        client = await dial(port, f"DESCRIBE rtsp://{HOST}:{port}{path} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        await client.until(b"\r\n\r\n")
        assert client.transport is not None
        client.transport.loseConnection()
        await client.gone
        return int(client.received.split(b" ", 2)[1])


class ChangeTests(ListeningCase):
    """Going over to another configuration."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(Path(os.path.abspath(self.folder)))
        files = self.authority.issue("node", HOST)
        self.tls = f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key};\n"

    def over_tls(self, port: int, request: bytes) -> bytes:
        """The first bytes of the answer (blocks)."""
        context = ssl.create_default_context(cafile=self.authority.path)
        with (
            socket.create_connection((HOST, port), 5) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            connection.sendall(request)
            return connection.recv(8)

    async def test_listeners(self) -> None:
        """Those of RTSP, RTSPS and RTMPS come, move and go; RTMP stays."""
        node = self.node()
        rtmp, idle = f"rtmp {HOST}:{self.rtmp};", await dial(self.rtmp)
        rtsp, rtsps, rtmps, moved = (free_port() for _ in range(4))
        more = f"{rtmp} rtsp {HOST}:{rtsp}; rtsps {HOST}:{rtsps}; rtmps {HOST}:{rtmps}; {self.tls}"
        node.apply(self.config("", rtmp=more).configuration)
        client = await dial(rtsp, OPTIONS)
        await client.until(b"RTSP/1.0 200")
        self.assertEqual(await deferToThread(self.over_tls, rtsps, OPTIONS), b"RTSP/1.0")
        self.assertEqual((await deferToThread(self.over_tls, rtmps, HELLO))[:1], b"\x03")
        less = f"{rtmp} rtsp {HOST}:{moved}; rtsps {HOST}:{rtsps}; {self.tls}"
        node.apply(self.config("", rtmp=less).configuration)
        await pause(0)
        self.assert_free(rtsp, rtmps)
        again = await dial(moved, OPTIONS)
        await again.until(b"RTSP/1.0 200")
        self.assertEqual(await deferToThread(self.over_tls, rtsps, OPTIONS), b"RTSP/1.0")
        node.apply(self.config("").configuration)
        await pause(0)
        self.assert_free(rtsp, rtmps, moved, rtsps)
        self.assertFalse(idle.gone.called)

    async def test_inputs(self) -> None:
        """A stream goes from one protocol to another, and its input is gone when it is taken out."""
        rtsp = free_port()
        listen = f"rtmp {HOST}:{self.rtmp}; rtsp {HOST}:{rtsp};"
        film = f"stream film {{ {FILE} }}\n"
        node = self.node(film)
        await until(lambda: self.running(node, "film"))
        for url in (f"rtsp://{HOST}:{rtsp}/film", f"tshttp://{HOST}:{self.http}/film/mpegts"):
            body = f"{film}stream copy {{ input {url}; segment_duration 1; }}"
            node.apply(self.config(body, rtmp=listen).configuration)
            await until(lambda: self.running(node, "copy"))
            (facts,) = node.core._inputs_of("copy")
            self.assertEqual(facts.url, url)
            entry = node.core.registry.find("film")
            assert entry is not None
            playout = entry.playout
            await until(lambda shown=playout: shown.viewers == 1)
        node.apply(self.config(film, rtmp=listen).configuration)
        await until(lambda: not self.running(node, "copy") and playout.viewers == 0)

    async def test_pushes(self) -> None:
        """Another option, another place, no push: each counts from the reload on, and the stream goes on."""
        receivers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for each in receivers:
            self.addCleanup(each.close)
            each.setblocking(False)
            each.bind((HOST, 0))
        first, second = (each.getsockname()[1] for each in receivers)

        def took(at: int) -> bytes:
            got = bytearray()
            while True:
                try:
                    got += receivers[at].recv(2000)
                except BlockingIOError:
                    return bytes(got)

        async def program(at: int) -> int:
            """The number of the program that comes now."""
            took(at)
            got = bytearray()

            def table() -> int:
                got.extend(took(at))
                for begin in range(0, len(got), 188):
                    if got[begin + 1] & 0x5F == 0x40 and got[begin + 2] == 0:
                        return int.from_bytes(got[begin + 13 : begin + 15], "big")
                return 0

            await until(table)
            return table()

        node = self.node(f"stream film {{ {FILE} push udp://{HOST}:{first} pnr=7; }}")
        self.assertEqual(await program(0), 7)
        entry = node.core.registry.find("film")
        assert entry is not None
        run = entry.stream.run
        node.apply(self.config(f"stream film {{ {FILE} push udp://{HOST}:{first} pnr=9; }}").configuration)
        self.assertEqual(await program(0), 9)
        node.apply(self.config(f"stream film {{ {FILE} push udp://{HOST}:{second} pnr=9; }}").configuration)
        self.assertEqual(await program(1), 9)
        took(0)
        self.assertEqual(await program(1), 9)
        self.assertEqual(took(0), b"")
        node.apply(self.config(f"stream film {{ {FILE} }}").configuration)
        took(1)
        self.assertEqual(node.core.neighbours.push_facts("film"), [])
        self.assertIs(entry.stream.run, run)


class ProtocolTests(ListeningCase):
    """The C{protocols} of a stream: what it does not name is refused wherever it could be had."""

    #: Paths of HTTP behind the name, and the words that open each.
    PATHS = (
        ("/index.m3u8", "hls"),
        ("/index.ll.m3u8", "hls"),
        ("/index.ts.m3u8", "hls"),
        ("/tracks-v1/mono.fmp4.m3u8", "hls"),
        ("/index.mpd", "dash"),
        ("/tracks-v1/1.m4s", "hls dash"),
        ("/tracks-v1/init-01234567.mp4", "hls dash"),
        ("/mpegts", "mpegts"),
        ("/live.flv", "flv"),
        (".flv", "flv"),
    )

    async def test_archives_for_nodes(self) -> None:
        """What other nodes do not get live they do not get later: it is not there for them."""
        node = self.node()
        root = os.path.abspath(self.mktemp())
        body = "\n".join(
            f"stream {name} {{ {FILE} dvr {root} 1d; protocols {words}; }}"
            for name, words in (("open", "-rtmp"), ("shut", "-m4f"), ("other", "hls"))
        )
        node.apply(self.config(body).configuration)
        for name in ("open", "shut", "other"):
            archive = node.core.archive.archive

            def written(name: str = name) -> bool:
                status = node.core.archive.disks.all()[0].writer.stream_status(name)
                return status is not None and status.written > 0

            await until(written)
            own = await archive.holdings(name)
            asked = node.core.files.archives
            assert asked is not None
            reader = asked(())
            (hour, *_) = own.hours
            (row, *_) = await archive.hour(name, hour)
            if name == "open":
                self.assertTrue((await reader.holdings(name)).spans)
                self.assertTrue(len(await reader.hour(name, hour)))
                self.assertEqual((await reader.segment(name, row)).number, row.number)
                continue
            for refused in (reader.holdings(name), reader.hour(name, hour), reader.segment(name, row)):
                with self.assertRaises(Refused) as caught:
                    await refused
                self.assertIs(caught.exception.reason, Reason.NOT_FOUND, name)

    async def test_every_path(self) -> None:
        """403 where the word is absent, anything else where it is there."""
        rtsp = free_port()
        words = ("hls", "dash", "mpegts", "flv", "rtsp", "m4f")
        body = "\n".join(f"stream {word} {{ {FILE} protocols {word}; }}" for word in words)
        node = self.node()
        listen = f"rtmp {HOST}:{self.rtmp}; rtsp {HOST}:{rtsp};"
        node.apply(self.config(body, rtmp=listen).configuration)
        for word in words:
            await until(lambda name=word: self.running(node, name))
        for word in words:
            for path, opened in self.PATHS:
                status = await self.http_status(f"/{word}{path}")
                self.assertEqual(status != 403, word in opened.split(), (word, path, status))
            status = await self.rtsp_status(rtsp, f"/{word}")
            self.assertEqual(status, 200 if word == "rtsp" else 403, word)
