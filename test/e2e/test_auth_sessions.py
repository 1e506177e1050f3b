"""Sessions where they were not made, and many viewers whose backend dies, on a real node."""

from __future__ import annotations

import http.client
import re
import time
from functools import partial
from typing import ClassVar, Final

from typing_extensions import override

from test.e2e.auth_backend import Answered, Asked, AuthBackend, allow
from test.e2e.nodes import Node, free_ports, wait_until
from test.e2e.rtmp_wire import RefusalError, WireClient
from test.e2e.shared import Stage, StageCase

STREAM: Final = "live/one"
OTHER: Final = "live/two"
VIEWERS: Final = 300


class Sessions(StageCase):
    """A node with two streams, whose backend is scripted."""

    expected_alarms = (r"backend",)
    node: ClassVar[Node]
    backend: ClassVar[AuthBackend]
    rtsp: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        backend = cls.backend = AuthBackend()
        stage.stack.callback(backend.close)
        (cls.rtsp,) = free_ports(1)
        cls.node = stage.node(
            "node",
            f"rtsp 127.0.0.1:{cls.rtsp};\n"
            f"template live {{ prefix live; input publish://; segment_duration 1; on_play {backend.url}; }}",
        )
        for name in (STREAM, OTHER):
            stage.publish(cls.node, name)
        for name in (STREAM, OTHER):
            cls.node.wait_alive(name, 20.0)
            backend.script("first", allow())
            path = f"/{name}/index.m3u8?token=first"
            wait_until(partial(cls.begun, path), 20.0, "segments")

    @classmethod
    def begun(cls, path: str) -> bool:
        """Whether there is something to play."""
        return cls.page(path)[0] == 200

    @classmethod
    def page(cls, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
        """Status and body, asked for from the address C{host}."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", cls.node.http, timeout=15, source_address=(host, 0)
        )
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode("latin-1")
        finally:
            connection.close()

    def test_elsewhere(self) -> None:
        """What one session may, nobody else may by it: each other use is asked about, or refused (A02)."""
        token = "moved"
        once = [True]

        def answer(asked: Asked) -> Answered:
            return allow() if once and once.pop() else Answered(status=403)

        self.backend.script(token, answer)
        status, text = self.page(f"/{STREAM}/index.m3u8?token={token}")
        self.assertEqual(status, 200)
        (*_, segment) = re.findall(r"^[^#\n]+$", text, re.MULTILINE)
        self.assertIn(token, segment)
        self.assertEqual(self.page(f"/{STREAM}/{segment}")[0], 200)
        self.assertEqual(self.page(f"/{STREAM}/{segment}", "127.0.0.2")[0], 403)
        self.assertEqual(self.page(f"/{OTHER}/{segment}")[0], 403)
        self.assertEqual(len(self.backend.of(token)), 1)
        self.assertEqual(self.page(f"/{STREAM}/index.m3u8?token={token}", "127.0.0.2")[0], 403)
        self.assertEqual(self.page(f"/{OTHER}/index.m3u8?token={token}")[0], 403)
        self.assertEqual(self.page(f"/{STREAM}/mpegts?token={token}")[0], 403)
        client = WireClient.connect(self.node.rtmp, "live", 15.0)
        self.addCleanup(client.close)
        with self.assertRaises(RefusalError):
            client.play(f"one?token={token}")
            client.expect(b"NetStream.Play.Start")
        asked = {
            (each.fields["proto"], each.fields["name"], each.fields["ip"]) for each in self.backend.of(token)
        }
        self.assertEqual(len(asked), len(self.backend.of(token)))
        self.assertEqual(len(asked), 5)
        # Nothing of that did harm to who is in.
        self.assertEqual(self.page(f"/{STREAM}/index.m3u8?token={token}")[0], 200)

    def test_revoked(self) -> None:
        """A permission that is taken back ends with the next question, for segments too (A02)."""
        token = "revoked"
        self.backend.script(token, allow(X_AuthDuration=1))
        _, text = self.page(f"/{STREAM}/index.m3u8?token={token}")
        (*_, segment) = re.findall(r"^[^#\n]+$", text, re.MULTILINE)
        self.assertEqual(self.page(f"/{STREAM}/{segment}")[0], 200)
        self.backend.script(token, Answered(status=403))
        wait_until(lambda: self.page(f"/{STREAM}/{segment}")[0] == 403, 5.0, "the segment is refused")
        self.assertEqual(self.page(f"/{STREAM}/index.m3u8?token={token}")[0], 403)

    def test_many_and_a_dead_backend(self) -> None:
        """Viewers whose permissions run out again and again: none is cut, the backend has peace (A04)."""
        dead = [False]
        gone = Answered(mode="close")

        def answer(asked: Asked) -> Answered:
            return gone if dead[0] else allow(X_AuthDuration=1)

        tokens = [f"many{number}" for number in range(VIEWERS)]
        for token in [*tokens, "late"]:
            self.backend.script(token, answer)
        connection = http.client.HTTPConnection("127.0.0.1", self.node.http, timeout=15)
        self.addCleanup(connection.close)

        def visit(token: str) -> int:
            connection.request("GET", f"/{STREAM}/index.m3u8?token={token}")
            reply = connection.getresponse()
            reply.read()
            if reply.will_close:
                connection.close()
            return reply.status

        self.assertEqual({visit(token) for token in tokens}, {200})
        dead[0] = True
        before = len(self.backend.asked)
        began = time.monotonic()
        while time.monotonic() < began + 4.0:
            self.assertEqual({visit(token) for token in tokens}, {200})
        asked = len(self.backend.asked) - before
        # Those under way when it died, and a probe a second.
        self.assertLess(asked, 64 + 5 + 8 + 1)
        self.assertEqual(visit("late"), 403)
        dead[0] = False
        wait_until(lambda: visit("late") == 200, 10.0, "the backend is asked again")
        self.assertEqual({visit(token) for token in tokens}, {200})
