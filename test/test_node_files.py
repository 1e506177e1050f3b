"""A node's files as a whole: what is a stream's is not a file's."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer import node_files
from restreamer.config.model import VodConfig
from restreamer.http1.reply import FullReply, HttpRequest
from restreamer.live.feed import FeedLimits
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.registry import StreamRegistry, StreamSettings
from restreamer.live.stream import Stream
from restreamer.node_files import NodeFiles
from restreamer.viewers.gate import PasswordGate
from test.vod.fakes import Threads, film


class AtOnce:
    """L{restreamer.vod.disk.DiskThreads} that answer at once."""

    def __init__(self, reactor: object) -> None:
        self.call = Threads()


class NodeFilesTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "a.mp4").write_bytes(film())
        self.clock = Clock()
        self.patch(node_files, "DiskThreads", AtOnce)
        self.registry = StreamRegistry(self.clock, Ledger(), self.playout, self.faulted)
        self.files = NodeFiles(
            self.clock, b"n" * 16, PasswordGate(lambda _: ""), self.registry, lambda: False, lambda: 0
        )
        self.configure("films")
        self.routes = self.files.routes()

    def configure(self, *names: str) -> None:
        self.files.configure({name: VodConfig(name=name, storages=(str(self.folder),)) for name in names})

    def playout(self, stream: Stream) -> Playout:
        return Playout(stream, self.clock, {}, FeedLimits())

    def faulted(self, what: str, error: BaseException) -> None:
        raise AssertionError(what) from error

    def ask(self, path: str) -> FullReply | None:
        """The answer of the first route that has one."""
        for route in self.routes:
            reply = route(HttpRequest(method="GET", path=path))
            if reply is None:
                continue
            got = self.successResultOf(Deferred.fromCoroutine(cast("Coroutine[Any, Any, Any]", reply)))
            assert isinstance(got, FullReply)
            return got
        return None

    def test_a_stream_goes_before_a_file(self) -> None:
        path = "/films/a.mp4/index.m3u8"
        reply = self.ask(path)
        assert reply is not None
        self.assertEqual(reply.status, 200)
        self.registry.reserve(frozenset({"films/a.mp4"}))
        self.assertIsNone(self.ask(path))
        self.registry.reserve(frozenset())
        self.assertIsNotNone(self.ask(path))
        self.registry.obtain("films/a.mp4", StreamSettings())
        self.assertIsNone(self.ask(path))
        self.registry.remove("films/a.mp4", "over")
        self.assertIsNotNone(self.ask(path))

    def test_a_stream_of_the_locations_name(self) -> None:
        """C{films} may be a stream and a location: each answers for its own names."""
        self.registry.obtain("films", StreamSettings())
        self.assertIsNone(self.ask("/films/index.m3u8"))
        self.assertIsNotNone(self.ask("/films/a.mp4/index.m3u8"))
        self.registry.close()

    def test_the_configuration_changes(self) -> None:
        self.assertEqual([entry.name for entry in self.files.catalogue.entries()], ["films"])
        self.configure("movies")
        self.assertEqual([entry.name for entry in self.files.catalogue.entries()], ["movies"])
        self.assertIsNone(self.ask("/films/a.mp4/index.m3u8"))
        self.assertIsNotNone(self.ask("/movies/a.mp4/index.m3u8"))
