"""The configuration file over the API, on a real file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.config_file import ChangedElsewhereError, ConfigFile
from restreamer.web.v3.configuring import configuring_endpoints
from test.web.v3.calls import EDITOR, VIEWER, Asker, Told

GOOD = "# mine\nhttp 8080;\nedit_auth admin the-edit-password;\nstream a { input publish://; title A; }\n"


def at_once(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """A thread that is always ready."""
    try:
        return succeed(call(*args))
    except Exception:
        return fail()


class FileTests(SynchronousTestCase):
    """Read, check, write."""

    @override
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "restreamer.conf"
        self.path.write_text(GOOD)
        self.path.chmod(0o640)
        self.works = True
        self.reloads = 0
        self.changed: list[str] = []
        file = ConfigFile(str(self.path), at_once, self.reload)
        self.asker = Asker(configuring_endpoints(file, ChangedElsewhereError, self.changed.append))

    async def reload(self) -> bool:
        self.reloads += 1
        return self.works

    def ask(self, method: str, body: Any = None, status: int = 200) -> Any:
        """Ask as the editor."""
        told: Told = self.asker.ask(method, "/config/file", body, headers=EDITOR)
        self.assertEqual(told.status, status, told.body)
        return told.json

    def test_read(self) -> None:
        told = self.ask("GET")
        self.assertEqual((told["text"], told["path"]), (GOOD, str(self.path)))
        self.assertEqual(self.asker.ask("GET", "/config/file", headers=VIEWER).status, 403)
        self.path.write_bytes(b"\xff")
        self.ask("GET", status=503)
        self.path.unlink()
        self.ask("GET", status=503)

    def test_checked(self) -> None:
        told = self.ask("POST", {"text": "http 8080;\nstreem a { }\n"})
        (error,) = told["errors"]
        self.assertEqual((error["line"], error["column"]), (2, 1))
        self.assertIn("stream", error["text"])
        self.assertNotIn(".check", error["text"])
        self.assertEqual(self.ask("POST", {"text": GOOD})["errors"], [])
        self.assertEqual(self.ask("POST", {"text": "http 8080;\nsrt 9000;\n"})["warnings"][0]["line"], 2)
        self.assertEqual([each.name for each in self.path.parent.iterdir()], ["restreamer.conf"])
        self.assertEqual(self.reloads, 0)

    def test_written(self) -> None:
        revision = self.ask("GET")["revision"]
        text = GOOD + "stream b { input publish://; }\n"
        told = self.ask("PUT", {"text": text, "revision": revision})
        self.assertEqual((told["errors"], self.reloads, self.changed), ([], 1, ["edit"]))
        self.assertEqual(self.path.read_text(), text)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o640)
        self.assertEqual(self.ask("GET")["revision"], told["revision"])
        self.assertEqual((self.path.parent / "restreamer.conf~").read_text(), GOOD)
        self.ask("PUT", {"text": GOOD, "revision": revision}, 409)
        self.assertEqual(self.path.read_text(), text)

    def test_a_link_stays_one(self) -> None:
        """A file that is kept elsewhere is replaced there; what points at it goes on to."""
        kept = self.path.with_name("kept.conf")
        self.path.rename(kept)
        self.path.symlink_to(kept.name)
        text = GOOD + "stream b { input publish://; }\n"
        told = self.ask("PUT", {"text": text, "revision": self.ask("GET")["revision"]})
        self.assertEqual((told["errors"], self.path.is_symlink(), kept.read_text()), ([], True, text))
        self.works = False
        self.ask("PUT", {"text": GOOD, "revision": told["revision"]})
        self.assertEqual((self.path.is_symlink(), kept.read_text()), (True, text))

    def test_wrong_ones_change_nothing(self) -> None:
        revision = self.ask("GET")["revision"]
        told = self.ask("PUT", {"text": "http 99999999;", "revision": revision})
        self.assertEqual((told["errors"][0]["line"], self.reloads), (1, 0))
        self.assertEqual(self.path.read_text(), GOOD)

    def test_nothing_of_other_files_is_told(self) -> None:
        """Who includes a file that is no configuration learns that, and not what stands in it."""
        secret = self.path.with_name("secret")
        secret.write_text("root:x:0:0:kept-to-ourselves\n")
        told = self.ask("POST", {"text": f"include {secret.resolve()};\n" + GOOD})
        (error,) = told["errors"]
        self.assertNotIn("kept-to", error["text"])
        self.assertNotIn("root", error["text"])
        self.assertIn("secret:", error["text"])

    def test_the_branch_it_sits_on(self) -> None:
        """What would leave no API, or nobody who may use it, is refused here: an empty text is one such."""
        revision = self.ask("GET")["revision"]
        for text, wrong in (
            ("", ["http", "edit_auth"]),
            ("http 8080;", ["edit_auth"]),
            ("rtmp 1935;\nedit_auth admin the-edit-password;", ["http"]),
            ("http 8080 { api false; }\nedit_auth admin the-edit-password;", ["http"]),
        ):
            for method, more in (("POST", {}), ("PUT", {"revision": revision})):
                told = self.ask(method, {"text": text, **more})
                self.assertEqual(len(told["errors"]), len(wrong), (text, told))
                for error, word in zip(told["errors"], wrong, strict=True):
                    self.assertIn(word, error["text"])
        self.assertEqual((self.path.read_text(), self.reloads), (GOOD, 0))

    def test_one_that_cannot_be_put_into_force(self) -> None:
        """A port that is taken: the old file is back."""
        self.works = False
        revision = self.ask("GET")["revision"]
        told = self.ask("PUT", {"text": GOOD + "# more\n", "revision": revision})
        self.assertIn("log", told["errors"][0]["text"])
        self.assertEqual((self.path.read_text(), self.changed), (GOOD, []))

    def test_too_long(self) -> None:
        told = self.ask("POST", {"text": "# " + "x" * 20_000_000})
        self.assertIn("longer", told["errors"][0]["text"])

    def test_a_folder_nobody_may_write_to(self) -> None:
        revision = self.ask("GET")["revision"]
        self.path.unlink()
        self.path.parent.rmdir()
        self.ask("PUT", {"text": GOOD, "revision": revision}, 503)
