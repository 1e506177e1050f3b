"""Every kind of secret that a node can be given, in good and bad use: none is in a log, an answer of the API,
a label of metrics or an event."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import quote

from typing_extensions import override

from test.e2e.auth_backend import AuthBackend, allow
from test.e2e.nodes import ROOT, Node, free_ports, get, wait_until
from test.e2e.samples import FFMPEG
from test.e2e.shared import Stage, StageCase

#: In every secret of this file, and in nothing else.
MARK = "hushhush"
FILM = "film"
VIEW = f"{MARK}-view-auth"
EDIT = f"{MARK}-edit-auth"
CLUSTER = f"{MARK}-cluster-key"
PUBLISH = f"{MARK}-publisher"
DOCUMENT = "/streamer/api/v3/openapi.json"
#: Beside all that the document names.
PAGES = ("/metrics", "/streamer/api/v3/monitoring/metrics", "/admin/", DOCUMENT)

BLOCKS = ("streams", "templates", "sources")
#: What editors alone are told as it is written.
FILES = ("/streamer/api/v3/config/file", *[f"/streamer/api/v3/config/{kind}" for kind in BLOCKS])


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


class _Sink(BaseHTTPRequestHandler):
    """Takes events by HTTP. @cvar bodies: all that came. @cvar logins: with these."""

    bodies: ClassVar[list[str]] = []
    logins: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        self.logins.add(self.headers["Authorization"])
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, format: str, *values: object) -> None:
        pass


class Secrets(StageCase):
    """An origin with one of each, an edge of it, and one that has the wrong key."""

    # What cannot be reached, is refused or is wrong, as it should be.
    expected_alarms = (r"journal", r"reload failed", r"object store")
    origin: ClassVar[Node]
    edge: ClassVar[Node]
    stranger: ClassVar[Node]
    backend: ClassVar[AuthBackend]
    rtsp: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        backend = cls.backend = AuthBackend()
        stage.stack.callback(backend.close)
        backend.default = allow(X_UserId="somebody")
        sink = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        stage.stack.callback(sink.server_close)
        stage.stack.callback(sink.shutdown)
        cls.rtsp, dead = free_ports(2)
        live = f"http://127.0.0.1:{backend.port}/auth?key={MARK}-query"
        gone = f"http://127.0.0.1:{dead}/auth?key={MARK}-query"
        near = f"http://site:{MARK}-sink@127.0.0.1:{sink.server_port}/events?key={MARK}-sink-query"
        demo = ROOT / "restreamer" / "demo"
        film = "input file://demo/demo.mp4; segment_duration 1;"
        body = f"""
        rtsp 127.0.0.1:{cls.rtsp}; view_auth viewer {VIEW}; edit_auth editor {EDIT}; auth_token ticket;
        session_log postgresql://writer:{MARK}-sql@127.0.0.1:{dead}/db?password={MARK}-sql-query;
        event_sink far {{ url http://site:{MARK}-sink@127.0.0.1:{dead}/events?key={MARK}-sink-query; }}
        event_sink near {{ url {near}; }}
        event_sink file {{ url jsonlog://{stage.folder}/events.log; }}
        auth_backend door {{ deny token {MARK}-denied; backend {live}; backend {gone}; }}
        vod demo {{ storage {demo}; }}
        stream {FILM} {{ {film} on_play {live}; }}
        stream far {{ {film} on_play {gone}; }}
        stream ruled {{ {film} on_play auth://door; }}
        stream signed {{ {film} on_play securetoken://{MARK}-signing; }}
        stream open {{ {film} push rtmp://127.0.0.1:{dead}/live/{MARK}-stream-key;
          push rtmp://user:{MARK}-push@127.0.0.1:{dead}/live/{MARK}-stream-key?token={MARK}-push-query; }}
        stream recorded {{ {film} dvr {stage.folder}/archive 1d 99%
          copy=s3://{MARK}-access:{MARK}-s3@127.0.0.1:{dead}/bucket; }}
        stream rtspin {{ input rtsp://cam:{MARK}-camera@127.0.0.1:{dead}/x?token={MARK}-camera-query; }}
        stream rtmpin {{ input rtmp://127.0.0.1:{dead}/live/{MARK}-stream-key; }}
        stream httpin {{ input tshttp://u:{MARK}-input@127.0.0.1:{dead}/x?token={MARK}-input-query;
          input hls://u:{MARK}-input@127.0.0.1:{dead}/x.m3u8?token={MARK}-input-query; }}
        stream locked {{ input publish://; password {PUBLISH}; }}
        stream published {{ input publish://; on_publish {live}; }}
        """
        cls.origin = stage.node("origin", body, key=CLUSTER)
        logins = f"auth_token ticket; view_auth viewer {VIEW}; edit_auth editor {EDIT};"
        source = f"{logins} source 127.0.0.1:{cls.origin.http} {{ %s }}"
        cls.edge = stage.node("edge", source % f"cluster_key {CLUSTER}; on_play {live};", key="")
        cls.stranger = stage.node("stranger", source % f"cluster_key {MARK}-wrong-key;", key="")
        wait_until(lambda: cls.playlist(cls.origin, "open").startswith(b"#EXTM3U"), 20.0, "a playlist")
        wait_until(
            lambda: cls.playlist(cls.edge, FILM, "a").startswith(b"#EXTM3U"), 20.0, "an edge's playlist"
        )

    @staticmethod
    def playlist(node: Node, name: str, token: str = "") -> bytes:
        """The playlist of a stream; empty when it is refused."""
        answer = node.get(f"/{name}/index.m3u8" + (f"?token={MARK}-token-{token}" if token else ""))
        return answer.body if answer.status == 200 else b""

    def told(self, node: Node) -> list[tuple[str, str]]:
        """All that a node tells by GET, to each of those who may ask: what was asked, and the answer."""
        document = node.get(DOCUMENT, headers=basic("editor", EDIT)).json()
        paths = [
            path.replace("{name}", name).replace("vods/{key}", "vods/demo").replace("{key}", "door")
            for path, methods in document["paths"].items()
            if "get" in methods and not path.endswith("/stream")
            for name in ((FILM, "open", "recorded", "httpin", "locked") if "{name}" in path else ("",))
        ]
        found = []
        for who, headers in (
            ("nobody", {}),
            ("viewer", basic("viewer", VIEW)),
            ("editor", basic("editor", EDIT)),
        ):
            for path in [*paths, *PAGES]:
                answer = get(node.http, path, headers=headers, timeout=10.0)
                if who == "editor" and path.startswith(FILES):
                    continue  # the text of the file, to who may write it
                if who == "editor":
                    # Nothing was kept back but what cannot be had without a parameter, or at all.
                    self.assertNotIn(answer.status, (401, 403, 429), path)
                found.append(
                    (f"{who} on {node.name}: {path} {answer.status}", f"{answer.headers}{answer.body!r}")
                )
        return found

    def assert_silent(self, *told: tuple[str, str]) -> None:
        """Fail when something has a secret, and say where."""
        leaks = []
        for where, text in told:
            at = text.find(MARK)
            if at >= 0:
                leaks.append(f"{where}: …{text[max(0, at - 200) : at + 60]}…")
        self.assertEqual(leaks, [], "\n".join(leaks))

    def publish(self, url: str) -> None:
        """Try to publish for a moment, with what C{url} has."""
        source = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25", "-t", "1"]
        source += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"]
        form = ["-f", "rtsp"] if url.startswith("rtsp:") else ["-f", "flv"]
        subprocess.run(
            [FFMPEG or "ffmpeg", "-v", "error", "-re", *source, *form, url],
            capture_output=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )

    def raw(self, port: int, *lines: str) -> None:
        """Send what is no request, or one that nobody answers, and read what comes."""
        with socket.create_connection(("127.0.0.1", port), 5.0) as connection:
            connection.settimeout(1.0)
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            try:
                while connection.recv(65_536):
                    pass
            except OSError:
                pass

    def watch(self) -> None:
        """Play with tokens of every place, let in and not."""
        for node in (self.origin, self.edge):
            for name in (FILM, "far", "ruled", "signed", "nothing"):
                for query in (
                    f"token={MARK}-query-token",
                    f"ticket={MARK}-ticket",
                    f"password={MARK}-password&cluster_key={MARK}-cluster&key={MARK}-key",
                    f"token={MARK}-denied",
                    f"token={quote(MARK + ' %')}",
                ):
                    for file in ("index.m3u8", "video.m3u8", "index.mpd", "1.m4s", "recording_status.json"):
                        node.get(f"/{name}/{file}?{query}")
                node.get(f"/{name}/index.m3u8", headers={"X-Playback-Session-Id": f"{MARK}-playback"})
                page = f"http://site.example/watch?token={MARK}-page&ticket={MARK}-page"
                node.get(f"/{name}/index.m3u8?token=of-a-page", headers={"Referer": page})
            for head in ("GET", "NONSENSE", "GET GET"):
                self.raw(
                    node.http, f"{head} /{FILM}/mpegts?token={MARK}-raw HTTP/1.1", "Host: x", "Bad Field"
                )
            self.raw(node.http, f"GET /m4f HTTP/1.1\r\nHost: x\r\nAuthorization: {MARK}-m4f")
            for path in ("/streamer/api/v3/streams", "/streamer/api/v3/sessions"):
                for wrong in (
                    basic("editor", f"{MARK}-wrong"),
                    {"Authorization": f"Bearer {MARK}-wrong"},
                    {"Authorization": f"{MARK}-wrong"},
                ):
                    node.get(path, headers=wrong)

    def test_nothing_is_told(self) -> None:
        """See the module."""
        self.watch()
        origin = self.origin
        rtmp, rtsp = f"rtmp://127.0.0.1:{origin.rtmp}", f"127.0.0.1:{self.rtsp}"
        for url in (
            f"{rtmp}/static/locked?password={PUBLISH}",
            f"{rtmp}/static/locked?password={MARK}-wrong",
            f"{rtmp}/static/published?token={MARK}-publisher-token",
            f"rtsp://u:{MARK}-rtsp@{rtsp}/locked?password={MARK}-wrong",
        ):
            self.publish(url)
        self.raw(self.rtsp, f"DESCRIBE rtsp://u:{MARK}@{rtsp}/{FILM}?token={MARK} RTSP/1.0", "CSeq: 1")
        self.raw(self.rtsp, f"DESCRIBE rtsp://{rtsp}/{FILM}?token={MARK} NONSENSE", f"CSeq: {MARK}")
        for wrong in (
            f"cluster_key {MARK} {MARK};",
            f"stream s {{ on_play http://u:{MARK}@h/?k={MARK} x; }}",
            f"session_log postgres://u:{MARK}@h/d;",
            f"stream s {{ dvr /d 1d copy=s3://k:{MARK}@; }}",
            f"event_sink x {{ url ftp://u:{MARK}@h/; }}",
        ):
            text = {"text": origin.config.read_text() + wrong}
            answer = self.post(origin, "/streamer/api/v3/config/file", text)
            self.assertIn("expected", answer[1], wrong)
            self.assert_silent((f"check of {wrong[:20]}", answer[1]))
        kept = origin.config.read_text()
        size = len(origin.log_text())
        origin.config.write_text(kept + f"cluster_key {MARK} {MARK};\n")
        origin.reload()
        origin.wait_log("cluster_key", since=size)
        origin.config.write_text(kept)
        editor = basic("editor", EDIT)
        for each in origin.get("/streamer/api/v3/sessions", headers=editor).json()["sessions"]:
            origin.get(f"/streamer/api/v3/sessions/{each['id']}", method="DELETE", headers=editor)
        wait_until(lambda: (self.stage.folder / "events.log").exists(), 10.0, "events")
        for node in (origin, self.edge, self.stranger):
            self.assert_silent(*self.told(node))
        wait_until(lambda: "play_closed" in "".join(_Sink.bodies), 20.0, "events by HTTP")
        self.assertEqual(_Sink.logins, {basic("site", f"{MARK}-sink")["Authorization"]})
        self.assert_silent(
            *[(node.name, node.log_text()) for node in (origin, self.edge, self.stranger)],
            ("events.log", (self.stage.folder / "events.log").read_text()),
            ("events by HTTP", "".join(_Sink.bodies)),
            *[(str(pid), _words_of(pid)) for pid in (origin.pid, self.edge.pid)],
        )

    def post(self, node: Node, path: str, body: Any) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=10.0)
        try:
            headers = {"Content-Type": "application/json", **basic("editor", EDIT)}
            connection.request("POST", path, json.dumps(body), headers)
            reply = connection.getresponse()
            return reply.status, f"{reply.getheaders()}{reply.read()!r}"
        finally:
            connection.close()


def _words_of(pid: int) -> str:
    """What everybody on the machine sees of a process."""
    with open(f"/proc/{pid}/cmdline", "rb") as words:
        return words.read().decode(errors="replace")
