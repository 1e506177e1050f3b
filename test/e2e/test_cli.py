"""Starting with mistakes: the exit code and one message that says what is wrong and where."""

from __future__ import annotations

import socket
import subprocess
from typing import ClassVar

from typing_extensions import override

from test.e2e.nodes import ROOT, TWISTD, Node
from test.e2e.shared import LIVE, Stage, StageCase


class Start(StageCase):
    """Nodes that do not get far."""

    spare: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.spare = stage.prepare("spare")

    def refused(self, body: str, pattern: str) -> str:
        """Start with C{body}: exit code 1, output that matches C{pattern}, no traceback."""
        self.spare.write_config(body)
        code, output = self.spare.run_to_end()
        self.assertEqual(code, 1, output)
        self.assertRegex(output, pattern)
        self.assertNotIn("Traceback", output)
        return output

    def test_unknown_word(self) -> None:
        """File, line and column of a word that does not exist."""
        self.refused("\n  inptu publish://;", r"spare\.conf:7:3")

    def test_syntax_error(self) -> None:
        """File, line and column of a brace that never closes."""
        self.refused("template live { prefix live;", r"spare\.conf:\d+:\d+")

    def test_bad_value(self) -> None:
        """A number that is none."""
        self.refused(
            "template live { prefix live; input publish://; segment_duration soon; }", r"spare\.conf:6:\d+"
        )

    def test_key_is_not_shown(self) -> None:
        """A mistake beside a key does not print the key."""
        output = self.refused(
            "source 127.0.0.1:1 { cluster_key verysecretkey123; nonsense; }", r"spare\.conf:6:\d+"
        )
        self.assertNotIn("verysecretkey123", output)

    def test_missing_file(self) -> None:
        """A file that is not there."""
        command = [*TWISTD, "restreamer", "--config", "/nonexistent/restreamer.conf"]
        done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=20)
        output = (done.stdout + done.stderr).decode()
        self.assertEqual(done.returncode, 1, output)
        self.assertIn("/nonexistent/restreamer.conf", output)
        self.assertNotIn("Traceback", output)

    def test_port_in_use(self) -> None:
        """A port somebody else has: named in the message, exit code not 0."""
        self.spare.write_config(LIVE)
        with socket.socket() as other:
            other.bind(("127.0.0.1", self.spare.http))
            other.listen()
            code, output = self.spare.run_to_end()
        self.assertNotEqual(code, 0, output)
        self.assertRegex(output, rf"{self.spare.http}")
        self.assertRegex(output.lower(), "in use|cannot listen|couldn't listen")
        self.assertNotIn("Traceback", output)

    def test_stops_at_sigterm(self) -> None:
        """SIGTERM ends a node with a publisher on it within five seconds, cleanly."""
        node = self.stage.node("brief")
        with self.stage.publish(node, "live/brief"):
            node.wait_alive("live/brief")
            self.assertIn(node.stop(5.0), (0, -15))
        node.assert_quiet()
