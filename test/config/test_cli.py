"""The command line."""

from __future__ import annotations

import io
import os

from twisted.trial.unittest import SynchronousTestCase

from restreamer import __version__
from restreamer.cli import main


class CommandTests(SynchronousTestCase):
    def run_command(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        return main(argv, out, err), out.getvalue(), err.getvalue()

    def write(self, text: str) -> str:
        path: str = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def test_version(self) -> None:
        self.assertEqual(self.run_command("version"), (0, f"restreamer {__version__}\n", ""))

    def test_right(self) -> None:
        path = self.write("http 80;\nstream a publish://;\nstream b { input publish://; hls_scte35 x; }")
        status, out, err = self.run_command("check", path)
        self.assertEqual(status, 0)
        summary = "ok, 2 streams, 0 templates, 0 vods, 0 sources, 1 listener, 1 warning"
        self.assertEqual(out, f"{path}: {summary}\n")
        self.assertEqual(err, f"{path}:3:30: warning: hls_scte35: not served yet, it has no effect\n")

    def test_wrong(self) -> None:
        path = self.write("http 80;\ncluster_key hunter2hunter2; source [::1 { }\n")
        status, out, err = self.run_command("check", path)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(
            err.splitlines(),
            [
                f"{path}:2:36: error: found '[::1'",
                "    cluster_key **************; source [::1 { }",
                "                                       ^~~~",
                "  expected: source HOST[:PORT], an IPv6 address in brackets ([::1]:8081)",
            ],
        )

    def test_absent(self) -> None:
        path = self.mktemp()
        status, out, err = self.run_command("check", path)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, f"error: {path}: cannot be read: No such file or directory\n")

    def test_bad_encoding(self) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"http \xff;")
        status, _, err = self.run_command("check", path)
        self.assertEqual(status, 1)
        self.assertIn(f"{path}:1:6: error: found 'byte 0xff'", err)

    def test_many_warnings_are_cut(self) -> None:
        path = self.write("http 80;" + "pulsedb x;" * 60)
        status, _, err = self.run_command("check", path)
        self.assertEqual(status, 0)
        self.assertEqual(len(err.splitlines()), 51)
        self.assertIn("and 10 more warnings", err)
