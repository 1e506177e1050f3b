"""Exports: the file, its ranges, its limits."""

from __future__ import annotations

import gc
import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr import export
from restreamer.dvr.export import Export, ExportBuilder
from restreamer.dvr.export_play import MAX_OF_PEER, archive_mp4_route
from restreamer.dvr.export_shelf import FORGOTTEN, KEPT_SECONDS, PATIENCE, ExportShelf
from restreamer.dvr.playback import Playback, PlaybackCounters
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.http1.reply import HttpRequest
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.mp4.reader import Mp4Reader
from restreamer.viewers.gate import PasswordGate
from test.dvr.fake_archive import FakeArchive, made
from test.tsio.test_archive_play import T, Wire
from test.vod.fakes import Threads

PATH = f"/x/archive-{T}-40.mp4"


class ExportTests(SynchronousTestCase):
    """C{archive-FROM-DUR.mp4}."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.archive = FakeArchive()
        for second in (0, 5, 10, 30, 35):
            self.archive.keep(made((T + second) * TICKS_PER_SECOND))
        self.threads = Threads()
        self.counters = PlaybackCounters()
        hours = ArchiveHours(self.archive, self.utc, self.clock.seconds)
        self.parts: Any = (hours, self.clock, self.utc)
        self.route = archive_mp4_route(
            hours, PasswordGate(lambda name: ""), self.threads, self.clock, self.utc, counters=self.counters
        )

    def utc(self) -> int:
        return (T + 3600) * TICKS_PER_SECOND

    def ask(self, path: str = PATH, method: str = "GET", query: str = "", **headers: str) -> Any:
        outcome = self.asking(path, method, query, **headers)
        return self.successResultOf(outcome) if isinstance(outcome, Deferred) else outcome

    def asking(self, path: str = PATH, method: str = "GET", query: str = "", **headers: str) -> Any:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        outcome: Any = self.route(HttpRequest(method=method, path=path, query=query, headers=named))
        return Deferred.fromCoroutine(outcome) if hasattr(outcome, "send") else outcome

    def body(self, reply: Any) -> bytes:
        wire = Wire()
        ends: list[str] = []
        reply.start(wire, ends.append)
        wire.pump()
        self.assertEqual(ends, ["end of file"])
        self.assertIn(b"Content-Length: %d\r\n" % len(wire.data), reply.headers)
        return bytes(wire.data)

    def test_whole_and_ranges(self) -> None:
        """Every part is that part of the whole, over the borders of head and segments."""
        whole = self.body(self.ask())
        self.assertEqual(whole[4:8], b"ftyp")
        self.assertLess(whole.index(b"moov"), whole.index(b"mdat"))
        for second in (0, 5, 10, 30, 35):
            for frame in made((T + second) * TICKS_PER_SECOND).frames():
                self.assertIn(frame.data, whole)
        for first, last in ((0, 0), (3, 5000), (len(whole) - 10, len(whole) - 1), (20_000, 120_000)):
            part = self.ask(range=f"bytes={first}-{last}")
            self.assertEqual(part.status, 206)
            self.assertEqual(self.body(part), whole[first : last + 1])
        self.assertEqual(self.body(self.ask(range="bytes=-7")), whole[-7:])
        self.assertEqual(self.ask(range=f"bytes={len(whole)}-").status, 416)
        etag = self.ask().headers.partition(b"ETag: ")[2].partition(b"\r\n")[0].decode()
        self.assertEqual(self.ask(if_none_match=etag).status, 304)
        self.assertEqual(self.ask(range="bytes=0-1", if_range='"other"').status, 200)

    def test_limits_and_refusals(self) -> None:
        """An address gets so many at once; what cannot be meant is refused."""
        stops = [self.ask().start(Wire(), lambda reason: None) for _ in range(MAX_OF_PEER)]
        self.assertEqual(self.ask().status, 503)
        for stop in stops:
            stop()
        self.assertEqual(self.ask().status, 200)
        self.assertEqual(self.ask(f"/x/archive-{T + 3590}-40.mp4").status, 400)
        self.assertEqual(self.ask(f"/x/archive-{T + 500}-40.mp4").status, 404)
        self.assertIsNone(self.ask(f"/y/archive-{T}-40.mp4"))
        self.assertIsNone(self.ask("/x/tracks-v1/init-1.mp4"))

    def test_long_build(self) -> None:
        """Who waits too long is told to ask again, and what was built meanwhile is there then."""
        self.threads.hold = True
        first, second = self.asking(), self.asking()
        self.clock.advance(PATIENCE)
        for asked in (first, second):
            reply = self.successResultOf(asked)
            self.assertEqual(reply.status, 503)
            self.assertIn(b"Retry-After: 5\r\n", reply.headers)
        third = self.asking()
        self.assertNoResult(third)
        self.threads.hold = False
        self.threads.run()
        self.assertEqual(self.successResultOf(third).status, 200)
        self.assertEqual(self.threads.calls.count("_finish"), 1)

    def test_nobody_waits(self) -> None:
        """A head that nobody asks for any more is given up; the next request begins anew."""
        self.threads.hold = True
        asked = self.asking()
        self.clock.advance(PATIENCE)
        self.assertEqual(self.successResultOf(asked).status, 503)
        self.clock.advance(FORGOTTEN)
        self.threads.hold = False
        self.threads.run()
        self.assertNotIn("_finish", self.threads.calls)
        self.assertEqual(self.ask().status, 200)

    def test_waiting_counts(self) -> None:
        """So does a request that waits for its file."""
        self.threads.hold = True
        waiting = [self.asking() for _ in range(MAX_OF_PEER)]
        self.assertEqual(self.ask().status, 503)
        self.threads.hold = False
        self.threads.run()
        for each in waiting:
            self.assertEqual(self.successResultOf(each).status, 200)
        self.assertEqual(self.ask().status, 200)

    def test_fragmented(self) -> None:
        """It begins at once, has no length, and holds every frame."""
        reply = self.ask(query="fragmented=true")
        self.assertNotIn(b"Content-Length", reply.headers)
        self.assertEqual(self.threads.calls, ["_pack"])
        wire = Wire()
        ends: list[str] = []
        reply.start(wire, ends.append)
        wire.pump()
        self.assertEqual(ends, ["end of file"])
        data = bytes(wire.data)
        reader = Mp4Reader(lambda at, size: data[at : at + size], len(data))
        seen: dict[int, list[bytes]] = {1: [], 2: []}
        for frame in reader.frames():
            seen[frame.track_id].append(frame.data)
        wanted: dict[int, list[bytes]] = {1: [], 2: []}
        for second in (0, 5, 10, 30, 35):
            for each in made((T + second) * TICKS_PER_SECOND).frames():
                wanted[each.track_id].append(each.data)
        self.assertEqual(seen, wanted)
        numbers = [
            int.from_bytes(data[at.end() + 4 : at.end() + 8], "big") for at in re.finditer(b"mfhd", data)
        ]
        self.assertEqual(numbers, list(range(1, 11)))

    def test_nothing_can_be_read(self) -> None:
        """A range of which all is damaged is not there, in either form."""
        seconds = (0, 5, 10, 30, 35)
        self.archive.damaged.update(made((T + second) * TICKS_PER_SECOND).number for second in seconds)
        for query in ("", "fragmented=true"):
            self.assertEqual(self.ask(query=query).status, 404, query)

    def test_headers_alone(self) -> None:
        """The tables are made of headers; segments are read when their frames are sent."""
        reply = self.ask()
        self.assertEqual([each for each in self.archive.asked if each in self.archive.segments], [])
        self.body(reply)
        self.assertTrue(set(self.archive.segments) <= set(self.archive.asked))

    def test_damaged_behind_its_header(self) -> None:
        """Its frames are zeros, the file is as long as it was said to be."""
        whole = self.body(self.ask())
        broken = made((T + 5) * TICKS_PER_SECOND)
        reply = self.ask()
        self.archive.damaged.add(broken.number)
        data = self.body(reply)
        self.assertEqual(len(data), len(whole))
        first = made(T * TICKS_PER_SECOND)
        at = whole.index(b"mdat") + 12 + sum(len(frame.data) for frame in first.frames())
        size = sum(len(frame.data) for frame in broken.frames())
        self.assertEqual(data, whole[:at] + bytes(size) + whole[at + size :])

    def test_too_long(self) -> None:
        """What would have larger tables than players read is refused before the work."""
        self.patch(export, "BATCH", 2)
        self.patch(export, "MAX_TABLES", 3 * 1024)
        reply = self.ask()
        self.assertEqual((reply.status, b"ask for parts" in reply.body), (400, True))
        self.assertEqual(self.threads.calls, ["_add"])

    def test_room(self) -> None:
        """All files together have so much; those that nobody reads go first, and the others stay."""
        sizes: list[int] = []
        for room, kept in ((1000.0, 2), (3.2, 1), (0.5, 0)):
            shelf = ExportShelf(self.clock, round(room * (sizes or [1 << 20])[0]))
            for start in (T, T + 1):
                playback = Playback("x", start * TICKS_PER_SECOND, (T + 40) * TICKS_PER_SECOND, *self.parts)
                builder = ExportBuilder(playback.start, None, 40 * TICKS_PER_SECOND, shelf.room.share())

                async def build(
                    wanted: Any, builder: ExportBuilder = builder, playback: Playback = playback
                ) -> Export:
                    return await builder.build(playback, self.threads, wanted)

                found = Deferred.fromCoroutine(shelf.find(("x", start, 40, ""), build))
                if kept:
                    sizes.append(self.successResultOf(found).head_size)
                else:
                    self.assertIs(self.failureResultOf(found, Refused).value.reason, Reason.OVERLOADED)
                del found, builder, build
            gc.collect()
            self.assertEqual(len(shelf._kept), kept)
            self.assertTrue(shelf.room.taken >= kept * min(sizes))
            self.clock.advance(KEPT_SECONDS)
            gc.collect()
            self.assertEqual((len(shelf._kept), shelf.room.taken), (0, 0))

    def test_damaged(self) -> None:
        """What cannot be read is left out, and counted."""
        broken = made((T + 5) * TICKS_PER_SECOND)
        self.archive.damaged.add(broken.number)
        whole = self.body(self.ask())
        frames = sum(
            len(frame.data)
            for second in (0, 10, 30, 35)
            for frame in made((T + second) * TICKS_PER_SECOND).frames()
        )
        at = whole.index(b"mdat") + 12
        self.assertTrue(len(whole) - at == frames)
        self.assertEqual(self.counters.damaged, 1)
