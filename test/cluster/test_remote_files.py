"""Files through a cluster on one clock: locations are told, indexes and segments asked for once and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster import file_link, file_server, origin, remote_files
from restreamer.cluster.file_catalogue import FileCatalogue
from restreamer.cluster.file_link import ASK_SECONDS, IDLE_SECONDS
from restreamer.cluster.file_server import FileServer
from restreamer.cluster.origin import ControlServer
from restreamer.cluster.remote_files import RemoteFiles
from restreamer.cluster.seams import LinkHandler
from restreamer.errors import Reason, Refused, RemoteProtocolError
from restreamer.live.ledger import Ledger
from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.link import Authorised
from restreamer.m4f.records import (
    FileAsk,
    FileIndexed,
    FileRefused,
    FileSegment,
    Ping,
    Pull,
    Record,
    VodListed,
)
from restreamer.m4f.segment import Segment
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.cluster_rig import KEY, ClusterRig, RigNode
from restreamer.vod.library import Library
from restreamer.vod.packaged import PackagedFiles
from test.mp4.build import audio, mp4, video
from test.vod.fakes import Threads, film

T = TypeVar("T")


def never_packed(*_: object, **__: object) -> bytes:
    raise AssertionError("links carry canonical segments")


class FileNode(RigNode):
    """A node with files.

    @ivar asked: what was asked of it over links.
    """

    files: RemoteFiles

    def __init__(self, rig: ClusterRig, name: str, ledger: Ledger | None = None, key: bytes = KEY) -> None:
        super().__init__(rig, name, ledger, key)
        self.threads = Threads()
        self.own = Library(self.clock, self.threads, TICKS_PER_SECOND)
        self.files = RemoteFiles(self.node_id, self.clock)
        self.locations = FileCatalogue(self.node_id, self.files)
        self.all = PackagedFiles((self.own, self.files), never_packed, self.threads)
        self.asked: list[Record] = []

    def has(self, location: str, folder: Path) -> None:
        """Serve a folder."""
        self.own.set_locations({location: [str(folder.absolute())]})
        self.locations.set_own(self.own.locations)

    def index(self, name: str) -> Deferred[FileIndex]:
        """Ask as a viewer's request does."""
        return Deferred.fromCoroutine(self.all.index(name))

    def segment(self, name: str, version: int, number: int) -> Deferred[Segment]:
        """Likewise."""
        return Deferred.fromCoroutine(self.all.segment(name, version, number))

    def listed_locations(self) -> dict[str, int]:
        """What it tells others: locations, and how many nodes they passed."""
        return {entry.name: len(entry.path) for entry in self.locations.entries()}

    @override
    def _handler(self, event: Authorised) -> LinkHandler:
        if event.purpose == "control":
            return ControlServer(self.catalogue, self.utc.ticks, self.locations)
        if event.purpose == "file":
            return Listening(self.all, self.utc.ticks, self.asked)
        return super()._handler(event)

    @override
    def stop(self) -> None:
        super().stop()
        self.files.close()


class Listening(FileServer):
    """A L{FileServer} that keeps what was asked."""

    def __init__(self, files: PackagedFiles, utc: Callable[[], int], asked: list[Record]) -> None:
        super().__init__(files, utc)
        self._asked = asked

    @override
    def record(self, record: Record) -> None:
        if not isinstance(record, Ping):
            self._asked.append(record)
        super().record(record)


class FileRig(ClusterRig):
    """A cluster of them."""

    @override
    def node(self, name: str, ledger: Ledger | None = None, key: bytes = KEY, **_: Any) -> FileNode:
        made = FileNode(self, name, ledger, key)
        self.nodes[name] = made
        return made


class FileCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.rig = FileRig()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        (self.folder / "a.mp4").write_bytes(film())
        self.origin = self.rig.node("origin")
        self.origin.has("films", self.folder)

    @override
    def tearDown(self) -> None:
        self.rig.stop()
        self.rig.check()

    def edge(self, name: str, *sources: str) -> FileNode:
        node = self.rig.node(name)
        for source in sources:
            node.source(source)
        self.rig.run(1)
        return node

    def wait(self, work: Deferred[T], seconds: float = 15.0) -> T:
        done: list[T | Refused] = []
        _ = work.addCallbacks(done.append, lambda failure: done.append(failure.value))
        self.rig.run_until(lambda: done, seconds)
        if isinstance(done[0], Exception):
            raise done[0]
        return done[0]

    def refused(self, work: Deferred[Any], reason: Reason, seconds: float = 15.0) -> None:
        with self.assertRaises(Refused) as caught:
            self.wait(work, seconds)
        self.assertIs(caught.exception.reason, reason, caught.exception)

    def whole(self, node: FileNode, name: str = "films/a.mp4") -> list[bytes]:
        """Canonical bytes of a whole file."""
        index = self.wait(node.index(name))
        return [self.wait(node.segment(name, index.version, n)).encoded for n in range(len(index))]


class ChainTests(FileCase):
    def test_three_nodes(self) -> None:
        """Index and segments are the same everywhere; each crosses a link once, and is read once."""
        middle = self.edge("middle", "origin")
        edge = self.edge("edge", "middle")
        self.assertEqual(
            [node.listed_locations() for node in (self.origin, middle, edge)],
            [{"films": 1}, {"films": 2}, {"films": 3}],
        )
        at_edge = self.whole(edge)
        self.assertEqual(at_edge, self.whole(self.origin))
        self.assertEqual(at_edge, self.whole(middle))
        self.assertEqual(at_edge, self.whole(edge))
        for node in (self.origin, middle):
            kinds = [type(record).__name__ for record in node.asked]
            self.assertEqual(sorted(kinds), ["FileAsk"] + ["FileSegmentAsk"] * 4, node.name)
        self.assertEqual(self.origin.threads.calls.count("read_segment"), 4)
        indexes = [self.wait(node.index("films/a.mp4")) for node in (self.origin, middle, edge)]
        self.assertEqual(indexes, [indexes[0]] * 3)

    def test_many_at_once(self) -> None:
        edge = self.edge("edge", "origin")
        asked = [edge.index("films/a.mp4") for _ in range(50)]
        indexes = [self.wait(each) for each in asked]
        self.assertEqual(len(self.origin.asked), 1)
        version = indexes[0].version
        segments = [edge.segment("films/a.mp4", version, n % 4) for n in range(100)]
        self.assertEqual(len({self.wait(each).encoded for each in segments}), 4)
        self.assertEqual(len(self.origin.asked), 5)

    def test_no_such_file_and_damaged_ones(self) -> None:
        (self.folder / "text.mp4").write_bytes(b"hello")
        edge = self.edge("edge", "origin")
        for _ in range(5):
            self.refused(edge.index("films/none.mp4"), Reason.NOT_FOUND)
            self.refused(edge.index("films/text.mp4"), Reason.UNSUPPORTED)
        self.assertLessEqual(len(self.origin.asked), 4)
        index = self.wait(edge.index("films/a.mp4"))
        self.refused(edge.segment("films/a.mp4", index.version, 99), Reason.NOT_FOUND)
        self.refused(edge.segment("films/a.mp4", index.version + 1, 0), Reason.NOT_FOUND)
        (self.folder / "none.mp4").write_bytes(film())
        self.rig.run(3)
        self.wait(edge.index("films/none.mp4"))

    def test_a_replaced_file(self) -> None:
        edge = self.edge("edge", "origin")
        before = self.wait(edge.index("films/a.mp4"))
        (self.folder / "b.mp4").write_bytes(mp4(video(200), audio(300)))
        (self.folder / "b.mp4").rename(self.folder / "a.mp4")
        self.rig.run(10)
        after = self.wait(edge.index("films/a.mp4"))
        self.assertNotEqual(after.version, before.version)
        self.refused(edge.segment("films/a.mp4", before.version, 0), Reason.NOT_FOUND)
        self.wait(edge.segment("films/a.mp4", after.version, 0))

    def test_an_idle_link_is_closed(self) -> None:
        edge = self.edge("edge", "origin")
        links = len(self.rig.network.connections)
        self.wait(edge.index("films/a.mp4"))
        self.assertEqual(len(self.rig.network.connections), links + 1)
        self.rig.run(IDLE_SECONDS + 2)
        self.assertEqual(len(self.rig.network.connections), links)
        self.whole(edge)

    def test_a_link_that_comes_too_late(self) -> None:
        """Who asked has given up when the link is there: it is closed like one that has nothing to do."""
        edge = self.edge("edge", "origin")
        self.patch(file_link, "ASK_SECONDS", 0.0)
        links = len(self.rig.network.connections)
        self.refused(edge.index("films/a.mp4"), Reason.NOT_READY)
        self.rig.run(1)
        self.assertEqual(len(self.rig.network.connections), links + 1)
        self.rig.run(IDLE_SECONDS + 2)
        self.assertEqual(len(self.rig.network.connections), links)


class ListTests(FileCase):
    def test_a_long_list_costs_no_more_per_location(self) -> None:
        """Each location that comes is looked at alone, not with all that came before."""
        edge = self.edge("edge", "origin")
        looks = 0
        shows = remote_files.FileSource.shows

        def counted(source: remote_files.FileSource, name: str) -> bool:
            nonlocal looks
            looks += 1
            return shows(source, name)

        self.patch(remote_files.FileSource, "shows", counted)
        self.origin.locations.set_own([f"l{number}" for number in range(500)])
        self.rig.run(1)
        self.assertEqual(len(edge.listed_locations()), 500)
        self.assertTrue(edge.all.takes("l499/a.mp4"))
        self.assertLess(looks, 5000)

    def test_locations_come_and_go(self) -> None:
        edge = self.edge("edge", "origin")
        self.assertTrue(edge.all.takes("films/a.mp4"))
        self.origin.has("movies", self.folder)
        self.rig.run(0.5)
        self.assertFalse(edge.all.takes("films/a.mp4"))
        self.assertTrue(edge.all.takes("movies/a.mp4"))
        self.assertEqual(edge.listed_locations(), {"movies": 2})
        self.whole(edge, "movies/a.mp4")

    def test_except(self) -> None:
        edge = self.rig.node("edge")
        edge.source("origin", hidden=("films/secret/*", "movies"))
        self.rig.run(1)
        self.assertTrue(edge.all.takes("films/a.mp4"))
        self.assertFalse(edge.all.takes("films/secret/a.mp4"))
        self.refused(edge.index("films/secret/a.mp4"), Reason.NOT_FOUND)
        self.origin.has("movies", self.folder)
        self.rig.run(1)
        self.assertFalse(edge.all.takes("movies/a.mp4"))
        self.assertEqual(edge.listed_locations(), {})

    def test_other_lists(self) -> None:
        """A reload that changes C{except} hides and shows at once, with no new link."""
        edge = self.edge("edge", "origin")
        downstream = self.edge("downstream", "edge")
        self.whole(edge)
        files = edge.sources["origin"].files
        assert files is not None
        files.resettle(None, ("films/*", "films"), 0)
        self.rig.run(0.5)
        self.assertFalse(edge.all.takes("films/a.mp4"))
        self.refused(edge.index("films/a.mp4"), Reason.NOT_FOUND)
        self.assertEqual(downstream.listed_locations(), {})
        files.resettle(None, (), 0)
        self.rig.run(0.5)
        self.assertEqual(downstream.listed_locations(), {"films": 3})
        self.whole(downstream)

    def test_prefix(self) -> None:
        """With C{prefix p} what the source calls p/films is films here, and the rest is not taken."""
        self.origin.own.set_locations({n: [str(self.folder.absolute())] for n in ("p/films", "q")})
        self.origin.locations.set_own(self.origin.own.locations)
        edge = self.rig.node("edge")
        edge.source("origin", prefix="p")
        self.rig.run(1)
        self.assertEqual(edge.listed_locations(), {"films": 2})
        self.assertEqual(self.whole(edge), self.whole(self.origin, "p/films/a.mp4"))

    def test_own_files_hide_those_of_sources(self) -> None:
        other = Path(self.mktemp())
        other.mkdir()
        (other / "b.mp4").write_bytes(film(2))
        edge = self.edge("edge", "origin")
        edge.has("films", other)
        self.assertEqual(edge.listed_locations(), {"films": 1})
        self.refused(edge.index("films/a.mp4"), Reason.NOT_FOUND)
        self.assertEqual(len(self.wait(edge.index("films/b.mp4"))), 2)
        edge.has("mine", other)
        self.assertEqual(edge.listed_locations(), {"mine": 1, "films": 2})
        self.whole(edge)

    def test_a_circle(self) -> None:
        """Nodes that restream each other list a location once, by the way it came."""
        a, b = self.rig.node("a"), self.rig.node("b")
        a.has("films", self.folder)
        a.source("b")
        b.source("a")
        self.rig.run(2)
        self.assertEqual((a.listed_locations(), b.listed_locations()), ({"films": 1}, {"films": 2}))
        a.own.set_locations({})
        a.locations.set_own(())
        self.rig.run(2)
        self.assertEqual((a.listed_locations(), b.listed_locations()), ({}, {}))

    def test_too_many_locations(self) -> None:
        self.patch(remote_files, "MAX_LOCATIONS", 10)
        self.origin.locations.set_own([f"l{number}" for number in range(50)])
        edge = self.edge("edge", "origin")
        self.assertEqual(len(edge.listed_locations()), 10)

    def test_the_server_lists_no_more(self) -> None:
        """A location that goes makes room for one that was left out."""
        self.patch(origin, "MAX_LOCATIONS", 10)
        names = [f"l{number:02}" for number in range(15)]
        self.origin.locations.set_own(names)
        edge = self.edge("edge", "origin")
        self.assertEqual(list(edge.listed_locations()), names[:10])
        self.origin.locations.set_own(names[1:])
        self.rig.run(1)
        self.assertEqual(list(edge.listed_locations()), names[1:11])


class LostTests(FileCase):
    def two_origins(self) -> FileNode:
        second = self.rig.node("second")
        second.has("films", self.folder)
        return self.edge("edge", "origin", "second")

    def test_the_next_source(self) -> None:
        """The same bytes from whoever has the file."""
        edge = self.two_origins()
        index = self.wait(edge.index("films/a.mp4"))
        first = self.wait(edge.segment("films/a.mp4", index.version, 0))
        self.rig.nodes["origin"].crash()
        second = self.wait(edge.segment("films/a.mp4", index.version, 1), 3.0)
        self.assertEqual([one.number for one in (first, second)], [0, 1])
        self.rig.run(10)
        self.assertEqual(self.wait(edge.index("films/a.mp4")), index)

    def test_a_file_only_the_second_has(self) -> None:
        other = Path(self.mktemp())
        other.mkdir()
        (other / "b.mp4").write_bytes(film(2))
        edge = self.two_origins()
        second = self.rig.nodes["second"]
        assert isinstance(second, FileNode)
        second.has("films", other)
        self.assertEqual(len(self.whole(edge, "films/b.mp4")), 2)

    def test_priority(self) -> None:
        second = self.rig.node("second")
        second.has("films", self.folder)
        edge = self.rig.node("edge")
        edge.source("origin", priority=2)
        edge.source("second", priority=1)
        self.rig.run(1)
        self.whole(edge)
        self.assertEqual((len(self.origin.asked), len(second.asked)), (0, 5))

    def test_nobody_is_there(self) -> None:
        """What is held is served; the rest is not ready, and comes when the source is back."""
        edge = self.edge("edge", "origin")
        index = self.wait(edge.index("films/a.mp4"))
        self.wait(edge.segment("films/a.mp4", index.version, 0))
        self.rig.nodes["origin"].crash()
        self.rig.run(20)
        self.assertTrue(edge.all.takes("films/a.mp4"))
        self.assertEqual(self.wait(edge.index("films/a.mp4")), index)
        self.wait(edge.segment("films/a.mp4", index.version, 0))
        self.refused(edge.segment("films/a.mp4", index.version, 1), Reason.NOT_READY)
        self.refused(edge.index("films/other.mp4"), Reason.NOT_READY)
        back = self.rig.node("origin")
        back.has("films", self.folder)
        self.rig.run(20)
        self.wait(edge.segment("films/a.mp4", index.version, 1))

    def test_a_link_cut_in_the_middle(self) -> None:
        edge = self.two_origins()
        index = self.wait(edge.index("films/a.mp4"))
        asked = [edge.segment("films/a.mp4", index.version, n) for n in range(4)]
        self.rig.network.cut_all("origin")
        self.assertEqual([self.wait(each).number for each in asked], [0, 1, 2, 3])

    def test_a_source_that_never_answers(self) -> None:
        """Its asks end after a while; the next source answers."""
        self.patch(file_server, "MAX_AT_WORK", 0)
        edge = self.edge("edge", "origin")
        self.refused(edge.index("films/a.mp4"), Reason.NOT_READY, ASK_SECONDS + 1)

    def test_a_viewer_who_leaves(self) -> None:
        edge = self.edge("edge", "origin")
        asked = edge.index("films/a.mp4")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.rig.run(1)
        self.wait(edge.index("films/a.mp4"))
        self.assertEqual(len(self.origin.asked), 1)

    def test_the_source_leaves_the_configuration(self) -> None:
        edge = self.edge("edge", "origin")
        asked = edge.index("films/a.mp4")
        _ = edge.sources.pop("origin").stopService()
        self.refused(asked, Reason.NOT_READY)
        self.assertFalse(edge.all.takes("films/a.mp4"))
        self.refused(edge.index("films/a.mp4"), Reason.NOT_FOUND)


class LiarTests(FileCase):
    """Sources that answer nonsense."""

    def lies(self, change: Callable[[Record], Record]) -> None:
        honest = FileServer._answer

        async def answer(self: FileServer, ask: Any) -> Record:
            return change(await honest(self, ask))

        self.patch(FileServer, "_answer", answer)

    def test_a_damaged_segment(self) -> None:
        """It is never served; the next source is asked."""
        edge = self.edge("edge", "origin")
        index = self.wait(edge.index("films/a.mp4"))

        def damage(record: Record) -> Record:
            if isinstance(record, FileSegment):
                return evolve(record, encoded=record.encoded[:-1] + b"!")
            return record

        self.lies(damage)
        self.refused(edge.segment("films/a.mp4", index.version, 1), Reason.NOT_READY)

    def test_another_segment(self) -> None:
        edge = self.edge("edge", "origin")
        index = self.wait(edge.index("films/a.mp4"))
        other = self.wait(self.origin.segment("films/a.mp4", index.version, 2)).encoded
        self.lies(lambda r: evolve(r, encoded=other) if isinstance(r, FileSegment) else r)
        self.refused(edge.segment("films/a.mp4", index.version, 1), Reason.NOT_READY)

    def test_another_kind_of_answer(self) -> None:
        edge = self.edge("edge", "origin")
        self.lies(lambda record: FileSegment(getattr(record, "request", 1), b""))
        self.refused(edge.index("films/a.mp4"), Reason.NOT_READY)

    def test_an_answer_nobody_waits_for(self) -> None:
        edge = self.edge("edge", "origin")
        self.lies(lambda record: FileRefused(99, 404))
        self.refused(edge.index("films/a.mp4"), Reason.NOT_READY)

    def test_codes(self) -> None:
        edge = self.edge("edge", "origin")
        for code, reason in (
            (404, Reason.NOT_FOUND),
            (415, Reason.UNSUPPORTED),
            (403, Reason.DENIED),
            (599, Reason.NOT_READY),
        ):
            self.lies(partial(refusal_with, code))
            self.refused(edge.index(f"films/{code}.mp4"), reason)


def refusal_with(code: int, record: Record) -> Record:
    """Another code."""
    return evolve(record, code=code) if isinstance(record, FileRefused) else record


class Wire:
    """A link that keeps what is sent."""

    peer_id = b"p" * 16
    peer_name = "p:80"

    def __init__(self) -> None:
        self.paused = False
        self.sent: list[Record] = []

    @property
    def round_trip(self) -> float | None:
        return None

    def send(self, record: Record) -> None:
        self.sent.append(record)

    def send_encoded(self, data: bytes) -> None:
        raise AssertionError("not used")

    def close(self, reason: str) -> None:
        raise AssertionError(reason)

    abort = close


class ServerTests(SynchronousTestCase):
    """The serving end by itself."""

    @override
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "a.mp4").write_bytes(film())
        self.rig = FileRig()
        node = self.rig.node("x")
        node.has("films", folder)
        self.threads = node.threads
        self.wire = Wire()
        self.server = FileServer(node.all, lambda: 0)
        self.server.link_up(self.wire)

    def test_nothing_is_begun_for_a_link_that_does_not_read(self) -> None:
        self.wire.paused = True
        for number in range(file_server.MAX_ASKS):
            self.server.record(FileAsk(number, "films/a.mp4"))
        self.assertEqual((self.threads.calls, self.wire.sent), ([], []))
        with self.assertRaises(RemoteProtocolError):
            self.server.record(FileAsk(1, "films/a.mp4"))
        self.wire.paused = False
        self.server.resumed()
        self.assertEqual(len(self.wire.sent), file_server.MAX_ASKS)
        self.assertTrue(all(isinstance(record, FileIndexed) for record in self.wire.sent))

    def test_a_few_at_once(self) -> None:
        self.threads.hold = True
        for number in range(20):
            self.server.record(FileAsk(number, f"films/{number}.mp4"))
        self.assertEqual(len(self.threads.calls), file_server.MAX_AT_WORK)
        self.server.link_down("gone")
        self.threads.run()
        self.assertEqual(self.wire.sent, [])

    def test_what_does_not_belong_here(self) -> None:
        for record in (Pull("x"), VodListed("films"), FileRefused(1, 404)):
            with self.assertRaises(RemoteProtocolError):
                self.server.record(record)

    def test_a_fault_of_ours(self) -> None:
        async def broken(ask: object) -> Record:
            raise ValueError("ours")

        self.patch(self.server, "_answer", broken)
        self.server.record(FileAsk(5, "films/a.mp4"))
        self.assertEqual(self.wire.sent, [FileRefused(5, 503, "internal error")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class BoundTests(FileCase):
    def test_asks_that_wait(self) -> None:
        self.patch(file_link, "MAX_ASKS", 3)
        edge = self.edge("edge", "origin")
        asked = [edge.index(f"films/{number}.mp4") for number in range(10)]
        reasons = []
        for each in asked:
            with self.assertRaises(Refused) as caught:
                self.wait(each)
            reasons.append(caught.exception.reason)
        self.assertEqual(reasons.count(Reason.NOT_FOUND), 3)
        self.assertEqual(reasons.count(Reason.NOT_READY), 7)

    def test_refusals_that_are_kept(self) -> None:
        self.patch(remote_files, "MAX_MISSING", 5)
        edge = self.edge("edge", "origin")
        for number in range(20):
            self.refused(edge.index(f"films/{number}.mp4"), Reason.NOT_FOUND)
        self.assertEqual(len(edge.files._missing), 5)
