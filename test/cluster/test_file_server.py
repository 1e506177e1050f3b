"""The serving end of file links: asks of one kind do not wait for those of the other."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster import file_server
from restreamer.cluster.file_server import FileServer
from restreamer.dvr.seams import Holdings
from restreamer.m4f.records import ArchiveAsk, FileAsk, FileRefused
from test.cluster.test_remote_archive import NoFiles
from test.cluster.test_remote_files import Wire
from test.dvr.memory_archive import MemoryArchive


class Hanging(MemoryArchive):
    """An archive on a disk that does not answer until C{answer} fires."""

    def __init__(self, answer: Deferred[Holdings]) -> None:
        super().__init__()
        self.answer = answer

    @override
    async def holdings(self, name: str) -> Holdings:
        """One answer for all who ask."""
        waiting: Deferred[Holdings] = Deferred()

        def tell(result: Any) -> Any:
            waiting.callback(result)
            return result

        _ = self.answer.addBoth(tell)
        return await waiting


class LineTests(SynchronousTestCase):
    def test_archives_that_hang_do_not_hold_up_files(self) -> None:
        server, wire = FileServer(NoFiles(), lambda: 0), Wire()
        server.link_up(wire)
        hanging: Deferred[Holdings] = Deferred()
        server._archives = lambda path: Hanging(hanging)
        for number in range(20):
            server.record(ArchiveAsk(number, "cam", ()))
        server.record(FileAsk(20, "films/a.mp4"))
        self.assertEqual([each.request for each in wire.sent if isinstance(each, FileRefused)], [20])
        self.assertEqual(server._counters.asked["holdings"], file_server.MAX_ARCHIVES_AT_WORK)
        hanging.callback(Holdings(hours=(), spans=(), size=0))
        self.assertEqual(len(wire.sent), 21)
