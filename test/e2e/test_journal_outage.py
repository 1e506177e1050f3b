"""Sessions that close while their database is killed: each is in the journal once.

C{JOURNAL_SESSIONS=5000} for the longer run by hand.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from base64 import b64encode
from typing import Any, ClassVar

from sqlalchemy import create_engine, text
from typing_extensions import override

from test.e2e.nodes import ROOT, Node, wait_until
from test.e2e.shared import Stage, StageCase
from test.journal import postgres

NAME = "film"
PASSWORD = "change-it-now"
EDITOR = {"Authorization": "Basic " + b64encode(f"admin:{PASSWORD}".encode()).decode()}
SESSIONS = int(os.environ.get("JOURNAL_SESSIONS", "400"))
#: How long the database is dead, seconds: this is the fault.
DEAD = 2.0


class Outage(StageCase):
    """A node whose journal is in a real PostgreSQL."""

    expected_alarms = (r"journal",)
    node: ClassVar[Node]
    database: ClassVar[postgres.Postgres]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        if postgres.found() is None:
            postgres.shared()
        cls.database = postgres.Postgres()
        stage.stack.callback(cls.database.close)
        cls.database.start()
        demo = "vod demo { storage " + str(ROOT / "restreamer" / "demo") + "; }"
        cls.node = stage.node(
            "node",
            f"{demo} edit_auth admin {PASSWORD}; session_log {cls.database.url};\n"
            f"stream {NAME} {{ input file://demo/demo.mp4; segment_duration 1; }}",
        )
        cls.node.wait_alive(NAME)
        wait_until(lambda: cls.node.get(f"/{NAME}/index.m3u8").status == 200, 20.0, "segments")

    def count(self) -> tuple[int, int]:
        """Rows of our viewers, and ids among them; (-1, -1): the database does not answer."""
        engine = create_engine(self.database.url.replace("postgresql:", "postgresql+psycopg:"))
        try:
            with engine.connect() as connection:
                found = connection.execute(
                    text(
                        "SELECT count(*), count(DISTINCT session_id) FROM sessions WHERE user_agent = 'many'"
                    )
                ).one()
                return int(found[0]), int(found[1])
        except Exception:
            return -1, -1
        finally:
            engine.dispose()

    def asks(self, *requests: tuple[str, str]) -> list[Any]:
        """Statuses of requests on one connection, which is made anew when it is used up."""
        statuses = []
        connection = http.client.HTTPConnection("127.0.0.1", self.node.http, timeout=10)
        for method, path in requests:
            connection.request(method, path, headers={**EDITOR, "User-Agent": "many"})
            reply = connection.getresponse()
            reply.read()
            statuses.append(reply.status)
        connection.close()
        return statuses

    def test_each_once(self) -> None:
        """All of them, whatever the database missed."""
        paths = [("GET", f"/{NAME}/index.m3u8?token=viewer{each}") for each in range(SESSIONS)]
        self.assertEqual(set(self.asks(*paths)), {200})
        ids: set[str] = set()
        cursor = ""
        while True:
            told = self.node.get(
                f"/streamer/api/v3/sessions?name={NAME}&limit=1000{cursor}",
                headers=EDITOR,
            ).json()
            ids.update(each["id"] for each in told["sessions"] if each.get("user_agent") == "many")
            if not told["next"]:
                break
            cursor = f"&cursor={told['next']}"
        self.assertEqual(len(ids), SESSIONS)
        ending = [("DELETE", f"/streamer/api/v3/sessions/{each}") for each in sorted(ids)]
        third = len(ending) // 3

        def outage() -> None:
            self.database.kill()
            time.sleep(DEAD)
            self.database.start()

        self.end_all(ending[:third])
        killer = threading.Thread(target=outage)
        killer.start()
        self.end_all(ending[third : 2 * third])
        killer.join()
        self.end_all(ending[2 * third :])
        wait_until(lambda: self.count()[0] >= SESSIONS, 60.0, f"{SESSIONS} rows, not {self.count()}")
        self.assertEqual(self.count(), (SESSIONS, SESSIONS))

    def end_all(self, requests: list[tuple[str, str]]) -> None:
        """The API takes one request on a connection."""
        for each in requests:
            self.assertEqual(self.asks(each), [204])
