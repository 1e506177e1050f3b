"""SIGHUP: what changed takes effect, what did not is left alone, a bad file changes nothing."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from test.e2e.canary import Canary
from test.e2e.nodes import Node, wait_until
from test.e2e.playlists import fetch
from test.e2e.publishers import Publisher
from test.e2e.rtmp_wire import RefusalError, WireClient
from test.e2e.shared import LIVE, Stage, StageCase, source_of

STREAM = "live/steady"
MORE = "template more { prefix more; input publish://; segment_duration 2; }"


class Reload(StageCase):
    """One node with a stream and a viewer that stay over all reloads."""

    expected_alarms = (r"\.conf:\d+:\d+", "reload", "configuration")
    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("node")
        stage.publish(cls.node, STREAM)
        cls.node.wait_alive(STREAM)

    @override
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.restore)

    def restore(self) -> None:
        """Back to the configuration every test begins with."""
        if self.node.body != LIVE:
            self.node.write_config(LIVE)
            self.reload()

    def reload(self) -> None:
        """SIGHUP, and wait until the node says that it is done with it."""
        since = len(self.node.log_text())
        self.node.reload()
        self.node.wait_log("reload|configuration|config", 5.0, since)

    def takes(self, name: str) -> bool:
        """Whether the node grants a publish of C{name}."""
        app, _, key = name.rpartition("/")
        client = WireClient.connect(self.node.rtmp, app)
        try:
            client.publish(key)
        except RefusalError:
            return False
        finally:
            client.close()
        return True

    def test_new_template(self) -> None:
        """A template that was added takes publishers; the running stream loses no frame."""
        self.assertFalse(self.takes("more/one"))
        with Canary(self.node, STREAM, self.stage.folder):
            self.node.write_config(f"{LIVE}\n{MORE}")
            self.reload()
            wait_until(lambda: self.takes("more/one"), 5.0, "the new prefix is taken")

    def test_removed_template(self) -> None:
        """A template that is gone takes nobody any more and ends its streams; the others stay."""
        self.node.write_config(f"{LIVE}\n{MORE}")
        self.reload()
        with Publisher(self.node.url("more/two", "rtmp")) as publisher:
            self.node.wait_alive("more/two")
            with Canary(self.node, STREAM, self.stage.folder):
                self.node.write_config(LIVE)
                self.reload()
                wait_until(lambda: not publisher.running, 10.0, "the publisher is put out")
        self.assertFalse(self.takes("more/two"))

    def test_nothing_changed(self) -> None:
        """The same file again: viewers and numbers go on."""
        before = fetch(self.node, STREAM)
        with Canary(self.node, STREAM, self.stage.folder):
            for _ in range(3):
                self.reload()
        after = fetch(self.node, STREAM)
        self.assertGreaterEqual(after.sequence, before.sequence)
        self.assertEqual(after.discontinuity_sequence, before.discontinuity_sequence)

    def test_bad_configuration(self) -> None:
        """A file with a mistake is refused with its place; the old configuration stays in force, whole."""
        since = len(self.node.log_text())
        with Canary(self.node, STREAM, self.stage.folder):
            self.node.write_config(f"{LIVE}\n{MORE}\nstream x {{ inptu publish://; }}")
            self.node.reload()
            self.node.wait_log(r"node\.conf:8:12", 5.0, since)
        self.assertFalse(self.takes("more/one"))
        self.assertTrue(self.takes("live/other"))

    def test_new_source(self) -> None:
        """A source that was added is restreamed, one that was removed is not any more."""
        origin = self.stage.node("source")
        with Publisher(origin.url("live/remote", "rtmp")):
            origin.wait_alive("live/remote")
            self.node.write_config(f"{LIVE}\n{source_of(origin)}")
            self.reload()
            self.node.wait_alive("live/remote")
            self.node.write_config(LIVE)
            self.reload()
            wait_until(lambda: not self.node.alive("live/remote"), 5.0, "the source's stream is gone")
        origin.stop()
