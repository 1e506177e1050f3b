"""Fixtures that live for a whole test case: starting nodes takes longer than most of what is asked of
them."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from test.e2e.nodes import KEY, Node
from test.e2e.publishers import Publisher
from test.e2e.samples import BFRAMES, FFMPEG, FFPROBE, Sample

LIVE = "template live { prefix live; input publish://; segment_duration 2; segment_count 6; }"


def source_of(node: Node, key: str = KEY) -> str:
    """Configuration that makes a node an edge of C{node}."""
    return f"source 127.0.0.1:{node.http} {{ cluster_key {key}; segment_count 6; }}"


class Stage:
    """What the tests of one case share: a folder, and nodes and publishers that end with it.

    @ivar nodes: all nodes started here, whose logs are watched.
    """

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.folder = Path(
            self.stack.enter_context(TemporaryDirectory(prefix="e2e-", ignore_cleanup_errors=True))
        )
        self.nodes: list[Node] = []

    def prepare(self, name: str, body: str = LIVE, **how: object) -> Node:
        """A node that is not started yet."""
        node = Node(name, body, self.folder, **how)  # type: ignore[arg-type]
        self.nodes.append(node)
        self.stack.callback(self.end, node)
        return node

    def node(self, name: str, body: str = LIVE, **how: object) -> Node:
        """A node that is up."""
        return self.prepare(name, body, **how).up()

    def edge(self, name: str, *sources: Node, body: str = "") -> Node:
        """A node that restreams C{sources}."""
        return self.node(name, "\n".join([*map(source_of, sources), body]))

    def publish(
        self, node: Node, stream: str, sample: Sample = BFRAMES, copy: Path | None = None
    ) -> Publisher:
        """Publish to C{stream} on C{node} until the stage ends or C{stop} is called."""
        publisher = Publisher(node.url(stream, "rtmp"), sample, copy)
        self.stack.callback(publisher.stop)
        return publisher.start()

    @staticmethod
    def end(node: Node) -> None:
        """Make sure that C{node} is gone."""
        if node.process is not None and node.process.poll() is None:
            os.kill(node.process.pid, signal.SIGCONT)
            try:
                node.stop(5.0)
            except AssertionError:
                pass

    def close(self) -> None:
        """End everything."""
        self.stack.close()


class _Current:
    """The stage that stands now: at most one, so that a suite never runs more programs than one case
    needs."""

    case: ClassVar[type[StageCase] | None] = None
    stage: ClassVar[Stage | None] = None
    trouble: ClassVar[BaseException | None] = None

    @classmethod
    def close(cls) -> None:
        if cls.stage is not None:
            cls.stage.close()
        cls.case = cls.stage = cls.trouble = None


atexit.register(_Current.close)


class StageCase(SynchronousTestCase):
    """A test case whose tests share one L{Stage}; trial has no fixtures per class, so the first test builds
    it.

    After each test the logs of all nodes are searched for exceptions and errors.
    @cvar expected_alarms: patterns of log lines that are right in this case.
    """

    expected_alarms: tuple[str, ...] = ()
    stage: Stage

    @classmethod
    def build(cls, stage: Stage) -> None:
        """Start what all tests of this case need; keep it in class attributes."""

    @override
    def setUp(self) -> None:
        if FFMPEG is None or FFPROBE is None:
            raise SkipTest("ffmpeg and ffprobe are not installed")
        kind = type(self)
        if _Current.case is not kind:
            _Current.close()
            _Current.case, _Current.stage = kind, Stage()
            try:
                kind.build(_Current.stage)
            except BaseException as trouble:
                _Current.trouble = trouble
                raise
        elif isinstance(_Current.trouble, SkipTest):
            raise SkipTest(str(_Current.trouble))
        elif _Current.trouble is not None:
            raise AssertionError(f"what this case needs could not be started: {_Current.trouble}")
        assert _Current.stage is not None
        self.stage = _Current.stage
        self.addCleanup(self.listen_for_alarms)

    def listen_for_alarms(self) -> None:
        """Fail when a node logged something nobody foresaw."""
        for node in self.stage.nodes:
            node.assert_quiet(*self.expected_alarms)

    def each(self, nodes: list[Node], check: Callable[[Node], None]) -> None:
        """Run C{check} for every node and name the one that fails."""
        for node in nodes:
            try:
                check(node)
            except AssertionError as failure:
                raise AssertionError(f"on {node.name}: {failure}") from failure
