"""Every protocol and every answer of a backend, for who is new and for who is in: what comes of it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar, Final

from attrs import evolve
from typing_extensions import override

from test.e2e.auth_backend import ANSWERS, AuthBackend, allow
from test.e2e.nodes import ROOT, Node, free_ports, get, wait_until
from test.e2e.rtmp_wire import RefusalError, WireClient
from test.e2e.shared import Stage, StageCase

STREAM = "live/table"
#: What a backend may do, and whether who is new is let in. C{refused}: nobody listens.
NEW: Final = {
    "200": "yes",
    "302": "elsewhere",
    "403": "no",
    "404": "no",
    "500": "no",
    "garbage": "no",
    "hang": "no",
    "refused": "no",
}
#: The same for who is in when it is asked about again. A backend that answers others has something against
#: who is not answered about; one that answers nobody says nothing.
UPDATE: Final = {
    "200": "yes",
    "302": "no",
    "403": "no",
    "404": "no",
    "500": "yes",
    "hang": "no",
    "garbage": "no",
    "refused": "yes",
}
FILES: Final = (
    *("index.m3u8", "index.ll.m3u8", "index.fmp4.m3u8", "index.mpd"),
    *(
        "mpegts",
        "live.flv",
        "archive-{at}-3.m3u8",
        "archive-{at}-3.ts",
        "archive-{at}-3.mp4",
        "rewind-20.m3u8",
    ),
)


class Outcomes(StageCase):
    """A node that records, with a film, whose backend is scripted."""

    expected_alarms = (r"backend",)
    node: ClassVar[Node]
    backend: ClassVar[AuthBackend]
    rtsp: ClassVar[int]
    at: ClassVar[int]
    tokens: ClassVar[itertools.count[int]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        backend = cls.backend = AuthBackend()
        stage.stack.callback(backend.close)
        cls.tokens = itertools.count()
        (cls.rtsp,) = free_ports(1)
        rules = f"on_play {backend.url}; on_publish {backend.url}; auth_grace 60;"
        cls.node = stage.node(
            "node",
            f"rtsp 127.0.0.1:{cls.rtsp};\n"
            "template live { prefix live; input publish://; segment_duration 1; chunk_duration 200; "
            f"{rules} dvr {stage.folder / 'archive'} 1d; }}\n"
            f"vod films {{ storage {ROOT / 'restreamer' / 'demo'}; on_play {backend.url}; }}",
        )
        backend.script("publisher", allow())
        stage.publish(cls.node, f"{STREAM}?token=publisher")
        cls.node.wait_alive(STREAM, 20.0)
        cls.at = int(time.time()) + 1
        wait_until(lambda: cls.page("rewind-20.m3u8", cls.token("200")) == 200, 20.0, "a recording")
        wait_until(lambda: time.time() > cls.at + 5, 10.0, "enough of it")

    @classmethod
    def token(cls, answer: str) -> str:
        """One that nobody had."""
        return f"{answer}-{next(cls.tokens)}"

    @classmethod
    def page(cls, file: str, token: str, name: str = STREAM) -> int:
        """Status of a file, of which as little as possible is read."""
        connection = http.client.HTTPConnection("127.0.0.1", cls.node.http, timeout=15)
        try:
            connection.request("GET", f"/{name}/{file.format(at=cls.at)}?token={token}")
            reply = connection.getresponse()
            if reply.status != 200:
                body = reply.read()
                assert len(body) < 200, (file, token, body[:100])
            return reply.status
        finally:
            connection.close()

    @classmethod
    def play_rtmp(cls, token: str) -> int:
        """200: frames come; 403: refused in RTMP's words; 302: sent elsewhere."""
        client = WireClient.connect(cls.node.rtmp, "live", 15.0)
        try:
            client.play(f"{STREAM.partition('/')[2]}?token={token}")
            client.expect(b"NetStream.Play.Start")
        except RefusalError as refused:
            told = bytes(client.got)
            with contextlib.suppress(ConnectionError):
                while piece := client.sock.recv(65_536):
                    told += piece
            # Statuses alone: media would begin with metadata, and a keyframe is larger.
            assert len(told) < 1500 and b"onMetaData" not in told, (token, told[:300])
            return 302 if "elsewhere" in str(refused) else 403
        finally:
            client.close()
        return 200

    @classmethod
    def ask_rtsp(cls, method: str, token: str, name: str = STREAM) -> int:
        """The status of a request."""
        body = ""
        if method == "ANNOUNCE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n"
                "a=rtpmap:0 PCMU/8000\r\na=control:1\r\n"
            )
        kind = "Content-Type: application/sdp\r\n" if body else ""
        with socket.create_connection(("127.0.0.1", cls.rtsp), 15.0) as wire:
            wire.settimeout(15.0)
            wire.sendall(
                f"{method} rtsp://127.0.0.1:{cls.rtsp}/{name}?token={token} RTSP/1.0\r\nCSeq: 1\r\n{kind}"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            told = wire.recv(4096).decode("latin-1")
        assert "m=" not in told or told.startswith("RTSP/1.0 200"), told
        return int(told.split()[1])

    @classmethod
    def watch_rtsp(cls, token: str) -> socket.socket:
        """A player that is played to, over its own connection."""
        wire = socket.create_connection(("127.0.0.1", cls.rtsp), 10.0)
        url, session, sequence = f"rtsp://127.0.0.1:{cls.rtsp}/{STREAM}?token={token}", "", 0

        def ask(method: str, target: str, more: str = "") -> str:
            nonlocal sequence
            sequence += 1
            wire.sendall(f"{method} {target} RTSP/1.0\r\nCSeq: {sequence}\r\n{session}{more}\r\n".encode())
            told = b""
            while b"\r\n\r\n" not in told:
                piece = wire.recv(1)
                assert piece, told
                told += piece
            answer = told.decode("latin-1")
            assert answer.startswith("RTSP/1.0 200 "), answer
            size = re.search(r"(?i)content-length: *(\d+)", answer)
            left = int(size[1]) if size else 0
            while left:
                piece = wire.recv(left)
                assert piece, told
                left -= len(piece)
                answer += piece.decode("latin-1")
            return answer

        told = ask("DESCRIBE", url, "Accept: application/sdp\r\n")
        base = re.search(r"(?i)content-base: *(\S+)", told)
        control = re.findall(r"a=control:(\S+)", told)[-1]
        track = control if "://" in control else (base[1] if base else url + "/") + control
        told = ask("SETUP", track, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
        session = "Session: " + told.partition("Session: ")[2].partition("\r")[0].partition(";")[0] + "\r\n"
        ask("PLAY", url)
        return wire

    @classmethod
    def publish_rtmp(cls, token: str) -> int:
        client = WireClient.connect(cls.node.rtmp, "live", 15.0)
        try:
            client.publish(f"p{token}?token={token}")
        except RefusalError:
            return 403
        finally:
            client.close()
        return 200

    @classmethod
    def publish_http(cls, token: str) -> int:
        """Whether the body is asked for."""
        with socket.create_connection(("127.0.0.1", cls.node.http), 15.0) as wire:
            wire.settimeout(5.0)
            wire.sendall(
                f"POST /live/h{token}/mpegts?token={token} HTTP/1.1\r\nHost: x\r\n"
                "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            status = int(wire.recv(4096).decode("latin-1").split()[1])
            return 200 if status == 100 else status

    def ways(self) -> dict[str, Callable[[str], int]]:
        """All there are to be let in or not."""
        found: dict[str, Callable[[str], int]] = {file: partial(self.page, file) for file in FILES}
        found["film"] = lambda token: self.page("index.m3u8", token, "films/demo.mp4")
        found["film mpegts"] = lambda token: self.page("mpegts", token, "films/demo.mp4")
        found["rtmp"] = self.play_rtmp
        found["rtsp"] = lambda token: self.ask_rtsp("DESCRIBE", token)
        found["publish rtmp"] = self.publish_rtmp
        found["publish rtsp"] = lambda token: self.ask_rtsp("ANNOUNCE", token, f"live/r{token}")
        found["publish http"] = self.publish_http
        return found

    def test_who_is_new(self) -> None:
        """Only 200 lets in; each protocol refuses in its own words."""
        ways = self.ways()
        for answer, outcome in NEW.items():
            if answer == "refused":
                self.backend.refuse()
                self.addCleanup(self.backend.start)
            with ThreadPoolExecutor(len(ways)) as pool:
                asked = {way: pool.submit(ask, self.token(answer)) for way, ask in ways.items()}
            for way, told in asked.items():
                wanted = {"yes": 200, "no": 403, "elsewhere": 302}[outcome]
                if outcome == "elsewhere" and (way.startswith("publish") or way == "rtsp"):
                    # No publisher goes elsewhere, and no player of RTSP to an address of HTTP.
                    wanted = 403
                self.assertEqual(told.result(), wanted, (answer, way))
            if answer in ("hang", "garbage"):
                self.recovered()

    def recovered(self) -> None:
        """A backend that did not answer is asked again after a moment."""
        wait_until(lambda: self.page("index.m3u8", self.token("200")) == 200, 15.0, "the backend is asked")

    def test_who_is_in(self) -> None:
        """Asked about again: who may not any more is cut, on each protocol; no decision changes nothing."""
        for answer, outcome in UPDATE.items():
            token = self.token("200")
            self.backend.script(token, allow(X_AuthDuration=1))
            goes_on = self.watched(token)
            self.assertTrue(all(goes_on().values()), answer)
            if answer == "refused":
                self.backend.refuse()
            else:
                later = ANSWERS[answer]
                if answer == "200":
                    later = evolve(later, headers=(("X-AuthDuration", "1"),))
                self.backend.script(token, later)
            if outcome == "no":
                self.wait_cut(goes_on, answer)
            else:
                until = time.monotonic() + 3.0
                while time.monotonic() < until:
                    self.assertTrue(all(goes_on().values()), (answer, goes_on()))
                    time.sleep(0.2)
            if answer == "refused":
                self.backend.start()
            if answer == "refused":
                self.recovered()

    def wait_cut(self, goes_on: Callable[[], dict[str, bool]], answer: str) -> None:
        """Wait until nobody watches any more; others are answered meanwhile."""

        def cut() -> bool:
            _ = self.page("index.m3u8", self.token("200"))
            return not any(goes_on().values())

        wait_until(cut, 15.0, f"{answer}: all are cut")

    def watched(self, token: str) -> Callable[[], dict[str, bool]]:
        """Begin to watch by several protocols; gives who still does."""
        connections: dict[str, socket.socket] = {}
        for file in ("mpegts", "live.flv"):
            wire = socket.create_connection(("127.0.0.1", self.node.http), 10.0)
            wire.sendall(f"GET /{STREAM}/{file}?token={token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connections[file] = wire
        rtmp = WireClient.connect(self.node.rtmp, "live", 10.0)
        rtmp.play(f"{STREAM.partition('/')[2]}?token={token}")
        rtmp.expect(b"NetStream.Play.Start")
        for wire in connections.values():
            self.addCleanup(wire.close)
            self.assertIn(b"200", wire.recv(100))
        connections["rtsp"] = self.watch_rtsp(token)
        self.addCleanup(connections["rtsp"].close)
        self.addCleanup(rtmp.close)
        over: set[str] = set()
        playlist = get(self.node.http, f"/{STREAM}/index.m3u8?token={token}").body.decode()
        (segment, *_) = re.findall(r"^[^#\n]+$", playlist, re.MULTILINE)

        def alive(name: str, wire: socket.socket) -> bool:
            wire.settimeout(0.3)
            try:
                while chunk := wire.recv(1 << 20):
                    if len(chunk) < 1 << 16:
                        return True
            except TimeoutError:
                return True
            except OSError:
                pass
            over.add(name)
            return False

        def goes_on() -> dict[str, bool]:
            told = {name: name not in over and alive(name, wire) for name, wire in connections.items()}
            told["rtmp"] = "rtmp" not in over and alive("rtmp", rtmp.sock)
            for file in ("index.m3u8", "index.ll.m3u8", "index.mpd"):
                told[file] = get(self.node.http, f"/{STREAM}/{file}?token={token}").status == 200
            told["segment"] = get(self.node.http, f"/{STREAM}/{segment}").status in (200, 404)
            return told

        return goes_on
