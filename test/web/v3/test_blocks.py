"""Single blocks of the configuration file over the API, on a real file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.config_file import BlockError, ChangedElsewhereError, ConfigFile
from restreamer.web.v3.blocks import BlocksApi, block_endpoints
from test.web.v3.calls import EDITOR, VIEWER, Asker
from test.web.v3.test_configuring import at_once

FILE = """\
http 8080;
edit_auth admin the-edit-password; # mine
include more.conf;
# the first
stream a { input publish://; title A; } # keep
stream b/c publish://;
template t { prefix live; input publish://; }
source 10.0.0.1:8080 { cluster_key abcdefghijklmnop; }
"""
INCLUDED = "stream far { input publish://; }\n"


class BlockTests(SynchronousTestCase):
    """Lists, changes, removals."""

    @override
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "restreamer.conf"
        self.path.write_text(FILE)
        self.path.chmod(0o640)
        (folder / "more.conf").write_text(INCLUDED)
        self.works = True
        self.changed: list[tuple[str, str]] = []
        file = ConfigFile(str(self.path), at_once, self.reload)
        api = BlocksApi(
            file, ChangedElsewhereError, BlockError, lambda *told: self.changed.append(told), lambda: 0.0
        )
        self.asker = Asker(block_endpoints(api))

    async def reload(self) -> bool:
        return self.works

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Ask as the editor."""
        told = self.asker.ask(method, path, body, headers=EDITOR)
        self.assertEqual(told.status, status, told.body)
        return told.json

    def check(self, *replaced: tuple[str, str]) -> None:
        """The file is as it was but for these."""
        text = FILE
        for old, new in replaced:
            self.assertIn(old, text)
            text = text.replace(old, new)
        self.assertEqual(self.path.read_text(), text)

    def test_lists(self) -> None:
        told = self.ask("GET", "/config/streams")
        self.assertEqual([each["name"] for each in told["blocks"]], ["a", "b/c"])
        self.assertEqual(told["blocks"][0]["options"], {"input": "publish://", "title": "A"})
        page = self.ask("GET", "/config/streams?limit=1&select=name")
        self.assertEqual(page["blocks"], [{"name": "a"}])
        page = self.ask("GET", f"/config/streams?limit=1&cursor={page['next']}")
        self.assertEqual([each["name"] for each in page["blocks"]], ["b/c"])
        self.assertEqual(self.ask("GET", "/config/templates/t")["options"]["prefix"], "live")
        self.assertEqual(self.ask("GET", "/config/sources/10.0.0.1:8080")["name"], "10.0.0.1:8080")
        self.ask("GET", "/config/sources/none", status=404)
        self.assertEqual(self.asker.ask("GET", "/config/streams", headers=VIEWER).status, 403)
        self.path.write_text("stream {")
        self.ask("GET", "/config/streams", status=503)

    def test_change(self) -> None:
        told = self.ask(
            "PUT", "/config/streams/a", {"options": {"title": "B; c", "static": False, "segment_duration": 6}}
        )
        self.assertEqual(told["options"]["title"], "B; c")
        new = 'title "B; c"; static false; segment_duration 6; }'
        self.check(("title A; }", new))
        self.assertEqual(self.changed, [("config/streams/a", "edit")])
        self.ask(
            "PUT", "/config/streams/a", {"options": {"title": None, "static": None, "segment_duration": None}}
        )
        self.check((" title A;", ""))
        inputs = ["publish://", ["rtmp://h/a/b", "priority=2"]]
        self.assertEqual(
            self.ask("PUT", "/config/streams/b/c", {"options": {"input": inputs}})["options"]["input"], inputs
        )

    def test_as_a_stream(self) -> None:
        """The words of other servers' API."""
        body = {"inputs": [{"url": "rtmp://h/a/b"}], "title": "N", "static": True}
        told = self.ask("PUT", "/streams/new", body)
        self.assertEqual(told["options"], {"input": "rtmp://h/a/b", "title": "N", "static": "true"})
        self.assertEqual(told["warnings"], [])
        self.ask("PUT", "/streams/new", {"title": None, "inputs": [{"url": "publish://"}]})
        self.assertTrue(
            self.path.read_text().endswith("stream new {\n  input publish://;\n  static true;\n}\n")
        )
        self.ask("DELETE", "/streams/new", status=204)
        self.check()
        self.ask("DELETE", "/streams/new", status=404)

    def test_wrong_ones_change_nothing(self) -> None:
        told = self.ask("PUT", "/config/streams/a", {"options": {"segment_duration": 99}}, 400)
        (error,) = told["errors"]
        self.assertEqual((error["code"], error["meta"]), ("bad_config", {"line": 5, "column": 56}))
        self.ask("PUT", "/config/streams/a", {"options": {"no such": "1"}}, 400)
        self.ask("PUT", "/config/streams/a", {"options": {"title": "\0"}}, 400)
        self.ask("PUT", "/config/streams/a", {"options": {"title": {}}}, 400)
        told = self.ask("PUT", "/config/streams/far", {"options": {"title": "F"}}, 400)
        self.assertIn("more.conf, line 1", told["errors"][0]["title"])
        self.ask("DELETE", "/config/streams/far", status=400)
        self.works = False
        self.ask("PUT", "/config/streams/a", {"options": {"title": "C"}}, 400)
        self.check()
        self.assertEqual(self.changed, [])

    def test_changed_by_another(self) -> None:
        revision = self.ask("GET", "/config/streams/a")["revision"]
        self.ask("PUT", "/config/streams/a", {"options": {"title": "B"}, "revision": revision})
        self.ask("PUT", "/config/streams/a", {"options": {"title": "C"}, "revision": revision}, 409)
        self.ask("DELETE", f"/config/streams/a?revision={revision}", status=409)
        self.check(("title A;", "title B;"))

    def test_sources_and_templates(self) -> None:
        self.ask("PUT", "/config/sources/10.0.0.1:8080", {"options": {"only": ["a", "b"]}})
        self.check(("abcdefghijklmnop; }", "abcdefghijklmnop; only a; only b; }"))
        self.ask("DELETE", "/config/sources/10.0.0.1:8080", status=204)
        self.ask("DELETE", "/config/templates/t", status=204)
        self.assertTrue(self.path.read_text().endswith("stream b/c publish://;\n"))
