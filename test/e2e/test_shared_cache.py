"""nginx with a cache in front of an edge, as shipped: one copy of a segment, and each viewer decided on."""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64encode
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.auth_backend import AuthBackend, allow
from test.e2e.nodes import KEY, ROOT, Answer, Node, free_ports, get, wait_for_port, wait_until
from test.e2e.shared import Stage, StageCase
from test.e2e.test_balancer import private_nginx

STREAM = "live/cached"
PASSWORD = "change-it-now"
EDITOR = {"Authorization": "Basic " + b64encode(f"admin:{PASSWORD}".encode()).decode()}
SHIPPED = ROOT / "conf" / "cluster" / "shared-cache.nginx"


class SharedCache(StageCase):
    """An origin, an edge that asks a backend about viewers, nginx in front of it."""

    edge: ClassVar[Node]
    backend: ClassVar[AuthBackend]
    port: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        if shutil.which("nginx") is None:
            raise SkipTest("nginx is not installed")
        backend = cls.backend = AuthBackend()
        stage.stack.callback(backend.close)
        origin = stage.node("origin")
        rules = f"cluster_key {KEY}; on_play {backend.url};"
        cls.edge = stage.node(
            "edge",
            f"forwarded_for 127.0.0.1; edit_auth admin {PASSWORD};\n"
            f"source 127.0.0.1:{origin.http} {{ {rules} }}",
        )
        stage.publish(origin, STREAM)
        cls.edge.wait_alive(STREAM, 20.0)
        (cls.port,) = free_ports(1)
        text = SHIPPED.read_text()
        for shipped, ours in (
            ("server 127.0.0.1:8080;", f"server 127.0.0.1:{cls.edge.http};"),
            ("listen 80;", f"listen 127.0.0.1:{cls.port};"),
            ("/var/cache/nginx/restreamer", f"{stage.folder}/cache"),
        ):
            assert shipped in text, shipped
            text = text.replace(shipped, ours)
        config = stage.folder / "nginx.conf"
        config.write_text(private_nginx(stage.folder, text, "$uri $upstream_cache_status $status"))
        nginx = subprocess.Popen(["nginx", "-p", str(stage.folder), "-c", str(config)])
        stage.stack.callback(nginx.wait, 10)
        stage.stack.callback(nginx.terminate)
        wait_for_port(cls.port, 10.0)

    def ask(self, path: str, token: str = "") -> Answer:
        return get(self.port, f"/{STREAM}/{path}{'?token=' + token if token else ''}", timeout=15.0)

    def segment(self, token: str) -> str:
        """The path of the newest segment, as the playlist of a viewer has it, without the query."""

        def listed() -> str:
            lines = self.ask("index.m3u8", token).body.decode().splitlines()
            found = [line for line in lines if line and not line.startswith("#")]
            return found[-1] if found else ""

        line = wait_until(listed, 20.0, "a segment")
        self.assertTrue(line.endswith(f"?token={token}"))
        return line.partition("?")[0]

    def log(self) -> list[str]:
        """Lines of nginx on segments."""
        text = (self.stage.folder / "access.log").read_text()
        return [line for line in text.splitlines() if ".ts " in line]

    def test_one_copy_and_each_is_decided(self) -> None:
        """The segment of one viewer is another's, from the cache; who has no session gets nothing of it."""
        for token in ("one", "two"):
            self.backend.script(token, allow())
        path = self.segment("one")
        self.assertEqual(self.segment("two")[:10], path[:10])
        first = self.ask(path, "one")
        second = self.ask(path, "two")
        self.assertEqual((first.status, second.status), (200, 200))
        self.assertEqual(first.body, second.body)
        hits = [line.split()[1] for line in self.log() if path in line]
        self.assertEqual(hits, ["MISS", "HIT"])
        for token in ("", "stranger"):
            self.assertEqual(self.ask(path, token).status, 403)
        self.assertEqual({len(self.backend.of(token)) for token in ("one", "two")}, {1})

    def test_who_is_sent_away_gets_nothing_of_the_cache(self) -> None:
        self.backend.script("leaver", allow())
        path = self.segment("leaver")
        self.assertEqual(self.ask(path, "leaver").status, 200)
        answer = get(self.edge.http, f"/streamer/api/v3/sessions?name={STREAM}&limit=100", headers=EDITOR)
        ids = [each["id"] for each in answer.json()["sessions"]]
        for each in ids:
            get(self.edge.http, f"/streamer/api/v3/sessions/{each}", method="DELETE", headers=EDITOR)
        self.assertEqual(self.ask(path, "leaver").status, 403)
