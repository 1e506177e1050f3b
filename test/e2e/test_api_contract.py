"""The API does what its document says: schemathesis asks a node with streams, viewers and archives for
whatever the document allows and forbids, and judges the answers by it."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from typing import Any, ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.nodes import ROOT, Node
from test.e2e.shared import Stage, StageCase

BASE = "/streamer/api/v3/"
DOCUMENT = BASE + "openapi.json"
PASSWORD = "no-guess-of-a-machine"
#: Requests of each kind for each endpoint beside those that the document itself suggests.
EXAMPLES = 5
#: Every request comes from another address: wrong passwords are part of the test.
HOOKS = """
import itertools
import schemathesis
NUMBERS = itertools.count(1)
@schemathesis.hook
def before_call(context, case, kwargs):
    number = next(NUMBERS)
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    case.headers = {**(case.headers or {}), "X-Forwarded-For": address}
"""
BODY = f"""edit_auth admin {PASSWORD}; forwarded_for 127.0.0.1;
include kept.conf;
stream gone publish://;
# what stays as it is
"""
KEEP = "# what stays as it is"
#: What is in a file of its own cannot be changed over the API: it is there to the end.
KEPT = """
event_sink file {{ url jsonlog://{folder}/events.log; }}
auth_backend door {{ backend http://127.0.0.1:1/auth; }}
vod films {{ storage {folder}; }}
peer 127.0.0.1:{http} {{ cluster_key {key}; }}
stream empty {{ input publish://; title "<b> &amp;"; }}
template live {{ prefix live; input publish://; segment_duration 1; }}
stream kept {{ input publish://; segment_duration 1; dvr {folder}/archive 1d 99%;
  push m4f://127.0.0.1:{http}/live/pushed; }}
"""


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """C{document}, in which no answer may have a field that is not named there."""
    operations = [each for path in document["paths"].values() for each in path.values()]
    given = {
        content["schema"]["$ref"].rpartition("/")[2]
        for each in operations
        for content in each.get("requestBody", {}).get("content", {}).values()
    }
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema and name not in given:
            schema["additionalProperties"] = False
    return document


class Contract(StageCase):
    """A node that has some of everything."""

    node: ClassVar[Node]
    expected_alarms = ()

    @classmethod
    @override
    def build(cls, stage: Stage) -> None:
        if importlib.util.find_spec("schemathesis") is None:
            raise SkipTest("schemathesis is not installed")
        above = stage.node("above")
        kept = KEPT.format(folder=stage.folder, http=above.http, key=above.key)
        (stage.folder / "kept.conf").write_text(kept)
        cls.node = stage.edge("node", above, body=BODY)
        stage.publish(above, "live/far")
        stage.publish(cls.node, "kept")
        cls.node.wait_alive("kept")
        cls.node.get("/kept/index.m3u8?token=one", headers={"User-Agent": "<i>", "Referer": "http://e/?a=1"})

    def test_document(self) -> None:
        """No 5xx; no status, content type or field that is not in the document; nothing that should be
        refused is taken; no password that is not asked for."""
        folder = self.stage.folder
        (folder / "api_hooks.py").write_text(HOOKS)
        told = strict(self.node.get(DOCUMENT).json())
        (folder / "document.json").write_text(json.dumps(told))
        began = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"),
                *("document.json", f"--url=http://127.0.0.1:{self.node.http}/", f"--auth=admin:{PASSWORD}"),
                *("--phases=coverage,fuzzing", f"--max-examples={EXAMPLES}", "--seed=1"),
                # What a cursor or a range means to the node is beyond a schema: valid ones may be refused.
                *("--checks=all", "--exclude-checks=positive_data_acceptance", "--request-timeout=10"),
                # Its answer has no end.
                "--exclude-path=/streamer/api/v3/events/stream",
                # Sources that a machine makes up are asked for archives and cannot be: 503, rightly.
                "--exclude-operation-id=put_config_sources_key",
                *("--continue-on-failure", "--no-color", "--generation-database=none"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "api_hooks", "PYTHONPATH": f"{folder}:{ROOT}"},
            timeout=120,
        )
        output = (done.stdout + done.stderr).decode(errors="replace")
        self.assertEqual(done.returncode, 0, output[:20_000])
        cases = re.search(r"(\d+) generated", output)
        self.assertGreater(int(cases[1]) if cases else 0, 500, output[-3000:])
        self.assertLess(time.monotonic() - began, 60.0)
        # It stopped streams and sent viewers away, as it was allowed to; nothing else is lost.
        self.assertLessEqual({"empty", "kept"}, self.node.streams().keys())

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask as the editor."""
        connection = http.client.HTTPConnection("127.0.0.1", self.node.http, timeout=10.0)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {PASSWORD}"}
            connection.request(method, BASE + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            told = answer.read()
            return answer.status, json.loads(told) if told else None
        finally:
            connection.close()

    def test_edited(self) -> None:
        """A stream is made, changed and taken away by who has the password, and is so at once."""
        name = "edited/one"
        before = self.node.config.read_text()
        status, told = self.ask("PUT", f"streams/{name}", {"inputs": [{"url": "publish://"}], "title": "One"})
        self.assertEqual((status, told["options"]["input"]), (200, "publish://"))
        self.assertEqual(self.node.streams()[name]["title"], "One")
        status, _ = self.ask("PUT", f"config/streams/{name}", {"options": {"title": "A; B"}})
        self.assertEqual((status, self.ask("GET", f"streams/{name}")[1]["title"]), (200, "A; B"))
        status, told = self.ask("PUT", f"config/streams/{name}", {"options": {"segment_duration": 0}})
        lines = self.node.config.read_text().splitlines()
        self.assertEqual((status, told["errors"][0]["meta"]["line"]), (400, len(lines)))
        self.assertIn(KEEP, lines)
        self.assertEqual(self.ask("DELETE", f"streams/{name}")[0], 204)
        self.assertNotIn(name, self.node.streams())
        self.assertEqual(self.node.config.read_text(), before)

    def test_long_text(self) -> None:
        """A configuration of 1 MiB is checked."""
        status, told = self.ask("GET", "config/file")
        self.assertEqual(status, 200)
        text = told["text"] + "# a long line of a comment\n" * 38_000
        self.assertGreater(len(text), 1_000_000)
        status, told = self.ask("POST", "config/file", {"text": text + "nonsense;"})
        self.assertEqual((status, told["errors"][0]["line"]), (200, text.count("\n") + 1))
