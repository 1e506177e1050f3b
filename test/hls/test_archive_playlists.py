"""Playlists of archives: what is listed, what lies between, and how sliding lists agree with each other."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.forms import parse_archive_path
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.hls.archive_body import texts
from restreamer.hls.archive_playlists import ArchivePlaylists, Listing
from restreamer.m4f.hour_index import HourIndex
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import AAC, HEVC, Track, TrackKind, Tracks
from restreamer.testing.media import aac_track, h264_track
from test.dvr.fake_archive import D, FakeArchive, Made, filled
from test.e2e.playlists import Playlist, check_reload, parse

_T = TypeVar("_T")
_SETTINGS = settings(deadline=None, max_examples=60, derandomize=True)
#: On the grid of 5 seconds, 100 s before an hour begins.
BASE = 1_700_006_400 - 100
N = BASE // 5


async def at_once(call: Callable[..., Any], *args: Any) -> Any:
    """A thread that needs no time."""
    return call(*args)


def outcome(waited: Awaitable[_T]) -> _T:
    """What comes of what does not wait."""
    found: list[Any] = []

    async def wait() -> None:
        found.append(await waited)

    failed: list[Any] = []
    _ = Deferred.fromCoroutine(wait()).addErrback(failed.append)
    for failure in failed:
        failure.raiseException()
    return found[0]  # type: ignore[no-any-return]


class Lists:
    """Playlists of an archive at a moment that is set by hand, Unix seconds."""

    def __init__(self, archive: FakeArchive, now: float) -> None:
        self.now = now
        self.archive = archive
        hours = ArchiveHours(archive, self._utc, lambda: self.now)
        self.playlists = ArchivePlaylists(hours, at_once, self._utc, lambda: self.now)

    def _utc(self) -> int:
        return int(self.now * TICKS_PER_SECOND)

    def text(self, file: str, query: str = "", prefix: str = "") -> str:
        ask = parse_archive_path(f"/x/{file}", query, int(self.now))
        assert ask is not None
        listing = outcome(self.playlists.listing(ask, prefix))
        return b"".join(texts(listing.pieces)).decode()

    def list(self, file: str) -> Playlist:
        return parse(self.text(file))


def row(index: int, **more: Any) -> Made:
    """Segment C{index} after L{BASE}."""
    start = (BASE + index * 5) * TICKS_PER_SECOND
    return Made(N + index, start, D, more.pop("breaks", False), more.pop("sequence", 0), **more)


def times(text: str) -> list[str]:
    return re.findall(r"PROGRAM-DATE-TIME:\S+T(\S+)Z", text)


class Closed(SynchronousTestCase):
    def test_list_over_an_hour(self) -> None:
        lists = Lists(filled(row(index) for index in range(60)), BASE + 10_000)
        text = lists.text(f"archive-{BASE + 5}-250.m3u8")
        found = parse(text)
        self.assertEqual(len(found.segments), 50)
        self.assertEqual(found.sequence, N + 1)
        self.assertTrue(text.endswith("#EXT-X-ENDLIST\n"))
        self.assertIn("#EXT-X-PLAYLIST-TYPE:VOD\n", text)
        self.assertIn("#EXT-X-TARGETDURATION:7\n", text)
        self.assertNotIn("DISCONTINUITY", text)
        self.assertEqual(found.segments[0].uri, "2023/11/14/23/58/25-05000.ts")
        self.assertEqual(found.segments[-1].uri, "2023/11/15/00/02/30-05000.ts")
        self.assertEqual(times(text)[0], "23:58:25.040")
        self.assertEqual(text, lists.text(f"index-{BASE + 5}-250.m3u8"))
        self.assertEqual(text, lists.text(f"video-{BASE + 5}-250.m3u8"))

    def test_what_a_range_cuts_is_whole(self) -> None:
        lists = Lists(filled(row(index) for index in range(60)), BASE + 10_000)
        found = lists.list(f"archive-{BASE + 7}-5.m3u8")
        self.assertEqual([each.uri[-11:-3] for each in found.segments], ["25-05000", "30-05000"])

    def test_gap_and_discontinuity(self) -> None:
        rows = [row(0), row(1), row(4, breaks=True, sequence=1), row(5), row(8), row(9)]
        lists = Lists(filled(rows), BASE + 10_000)
        text = lists.text(f"archive-{BASE}-100.m3u8")
        found = parse(text)
        self.assertEqual(
            [each.discontinuity for each in found.segments], [False, False, True, False, True, False]
        )
        self.assertNotIn("EXT-X-GAP", text)
        self.assertEqual(times(text)[2], "23:58:40.040")
        self.assertNotIn("DISCONTINUITY-SEQUENCE", text)

    def test_growing_until_it_is_over(self) -> None:
        archive = filled(row(index) for index in range(4))
        lists = Lists(archive, BASE + 21)
        before = lists.text(f"archive-{BASE}-40.m3u8")
        self.assertIn("PLAYLIST-TYPE:EVENT\n", before)
        self.assertNotIn("ENDLIST", before)
        self.assertEqual(before, lists.text(f"archive-{BASE}-now.m3u8"))
        for index in range(4, 7):
            archive.add(*row(index).row())
        # Over, but its last segment is still on its way.
        lists.now = BASE + 41
        self.assertNotIn("ENDLIST", lists.text(f"archive-{BASE}-40.m3u8"))
        archive.add(*row(7).row())
        lists.now = BASE + 43
        after = lists.text(f"archive-{BASE}-40.m3u8")
        self.assertIn("ENDLIST", after)
        check_reload(parse(before), parse(after))

    def test_over_without_its_last_segments(self) -> None:
        lists = Lists(filled(row(index) for index in range(4)), BASE + 80)
        self.assertIn("ENDLIST", lists.text(f"archive-{BASE}-40.m3u8"))

    def test_nothing_there(self) -> None:
        lists = Lists(filled([row(0)]), BASE + 100_000)
        for file in (
            f"archive-{BASE + 5000}-60.m3u8",
            "archive-0-60.m3u8",
            "rewind-60.m3u8",
            "timeshift_rel-9.m3u8",
        ):
            refused = self.assertRaises(Refused, lists.text, file)
            self.assertIs(refused.reason, Reason.NOT_FOUND, file)
        lists.archive.complete = False
        lists.now += 5
        refused = self.assertRaises(Refused, lists.text, "archive-0-60.m3u8")
        self.assertIs(refused.reason, Reason.NOT_READY)

    def test_too_long(self) -> None:
        archive = filled([row(0)])
        lists = Lists(archive, BASE + 100_000)
        for file in ("archive-0-now.m3u8", f"archive-{BASE - 700_000}-700000.m3u8", "rewind-604801.m3u8"):
            refused = self.assertRaises(Refused, lists.text, file)
            self.assertIs(refused.reason, Reason.BAD_NAME, file)
        self.assertEqual(archive.asked, [])

    def test_whole_hours_are_written_once(self) -> None:
        archive = filled(row(index) for index in range(3000))
        lists = Lists(archive, BASE + 100_000)
        first = lists.text(f"archive-{BASE}-15000.m3u8")
        self.assertEqual(len(parse(first).segments), 3000)
        asked = len(archive.asked)
        lists.now += 40.0
        self.assertEqual(lists.text(f"archive-{BASE}-15000.m3u8"), first)
        self.assertEqual(len(archive.asked), 2 * asked)
        # An hour that has lost a segment meanwhile.
        hour = sorted(archive.builders)[2]
        index = archive.indexes.pop(hour)
        builder = archive.builders[hour] = type(archive.builders[hour])(hour)
        for each in list(index)[:100] + list(index)[101:]:
            builder.add(each, index.tracks(each), index.runs[0], index.spans(0))
        lists.now += 40.0
        again = parse(lists.text(f"archive-{BASE}-15000.m3u8"))
        self.assertEqual(len(again.segments), 2999)
        self.assertEqual(sum(each.discontinuity for each in again.segments), 1)

    def test_an_hour_is_made_fast(self) -> None:
        """Fifty milliseconds of processor time at most, the first time (D13)."""
        archive = filled(row(index) for index in range(760))
        took = []
        for _ in range(5):
            lists = Lists(archive, BASE + 100_000)
            began = time.process_time()
            text = lists.text(f"archive-{BASE + 100}-3600.m3u8")
            took.append(time.process_time() - began)
            self.assertEqual(text.count("#EXTINF"), 720)
        self.assertLess(min(took), 0.05)

    def test_never_short(self) -> None:
        """Who holds an hour in the middle goes away: a refusal, and no list of the others."""
        archive = filled(row(index) for index in range(3000))
        lists = Lists(archive, BASE + 100_000)
        whole = archive.hour

        async def hour(name: str, number: int) -> HourIndex:
            if number == sorted(archive.builders)[2]:
                raise Refused(Reason.NOT_READY, "away")
            return await whole(name, number)

        self.patch(archive, "hour", hour)
        refused = self.assertRaises(Refused, lists.text, f"archive-{BASE}-15000.m3u8")
        self.assertIs(refused.reason, Reason.NOT_READY)
        self.patch(archive, "hour", whole)
        lists.now += 1
        self.assertEqual(len(lists.list(f"archive-{BASE}-15000.m3u8").segments), 3000)

    def test_prefix_and_selection(self) -> None:
        lists = Lists(filled(row(index) for index in range(3)), BASE + 10_000)
        file = f"archive-{BASE}-15.m3u8"
        self.assertIn("\nhttps://c/x/2023/", lists.text(file, prefix="https://c"))
        self.assertIn("\ntracks-a1/2023/", lists.text(file, "filter.tracks=a1"))
        self.assertIn("\n2023/", lists.text(f"tracks-a1/mono-{file}"))
        self.assertIn(
            "\nhttps://c/x/tracks-a1/2023/", lists.text(f"tracks-a1/mono-{file}", prefix="https://c")
        )


class Cmaf(SynchronousTestCase):
    def test_master_and_tracks(self) -> None:
        lists = Lists(filled(row(index) for index in range(3)), BASE + 10_000)
        master = lists.text(f"archive-{BASE}-15.fmp4.m3u8")
        self.assertIn(f'URI="tracks-a1/mono-archive-{BASE}-15.fmp4.m3u8"', master)
        self.assertIn(f"\ntracks-v1/mono-archive-{BASE}-15.fmp4.m3u8\n", master)
        text = lists.text(f"tracks-v1/mono-archive-{BASE}-15.fmp4.m3u8")
        found = parse(text)
        self.assertEqual([each.uri for each in found.segments], [f"{N + index}.m4s" for index in range(3)])
        self.assertEqual(text.count("#EXT-X-MAP"), 1)
        self.assertRegex(text, r'#EXT-X-MAP:URI="init-[0-9a-f]{8}\.mp4"\n')
        self.assertIn("INDEPENDENT", text)
        self.assertEqual(times(lists.text(f"tracks-a1/mono-archive-{BASE}-15.fmp4.m3u8"))[0], "23:58:20.000")

    def test_another_codec(self) -> None:
        other = (
            Track(track_id=1, kind=TrackKind.VIDEO, codec="vp09", config=bytes(8), width=64, height=64),
            aac_track(2),
        )
        rows = [row(index) for index in range(30)]
        rows += [row(index, tracks=other, breaks=index == 30, sequence=1) for index in range(30, 40)]
        lists = Lists(filled(rows), BASE + 10_000)
        self.assertIn("#EXT-X-STREAM-INF", lists.text(f"archive-{BASE}-300.m3u8"))
        text = lists.text(f"tracks-v1/mono-archive-{BASE}-300.fmp4.m3u8")
        self.assertEqual(text.count("#EXT-X-MAP"), 2)
        self.assertIn("#EXT-X-DISCONTINUITY\n#EXT-X-MAP", text)
        self.assertEqual(lists.text(f"tracks-a1/mono-archive-{BASE}-300.fmp4.m3u8").count("#EXT-X-MAP"), 1)

    def test_track_that_comes_and_goes(self) -> None:
        rows = [row(0, without=(2,)), row(1), row(2, tracks=(h264_track(1),)), row(3)]
        lists = Lists(filled(rows), BASE + 10_000)
        text = lists.text(f"tracks-a1/mono-archive-{BASE}-20.fmp4.m3u8")
        self.assertEqual([each.gap for each in parse(text).segments], [True, False, True, False])
        self.assertIn("VERSION:8\n", text)
        self.assertLess(text.index("init-"), text.index(f"{N + 1}.m4s"))
        refused = self.assertRaises(Refused, lists.text, f"tracks-a2/mono-archive-{BASE}-20.fmp4.m3u8")
        self.assertIs(refused.reason, Reason.NOT_FOUND)

    def test_choice_in_mpegts(self) -> None:
        three = (h264_track(1), aac_track(2), aac_track(3))
        lists = Lists(filled(row(index, tracks=three) for index in range(3)), BASE + 10_000)
        master = lists.text(f"archive-{BASE}-15.m3u8")
        self.assertIn(f"\ntracks-v1a1/mono-archive-{BASE}-15.ts.m3u8\n", master)
        self.assertIn(f'URI="tracks-a2/mono-archive-{BASE}-15.ts.m3u8"', master)
        self.assertEqual(len(lists.list(f"tracks-v1a1/mono-archive-{BASE}-15.ts.m3u8").segments), 3)
        self.assertEqual(len(lists.list(f"video-{BASE}-15.m3u8").segments), 3)


class Sliding(SynchronousTestCase):
    def test_rewind(self) -> None:
        archive = filled(
            [row(0), row(1, breaks=True, sequence=1), row(4, breaks=True, sequence=3), row(5, sequence=3)]
        )
        lists = Lists(archive, BASE + 30)
        text = lists.text("rewind-60.m3u8")
        found = parse(text)
        self.assertEqual(found.numbers, list(range(N, N + 6)))
        self.assertEqual([each.gap for each in found.segments], [False, False, True, True, False, False])
        # Three discontinuities since the first one: one was in what is missing.
        self.assertEqual(
            [each.discontinuity for each in found.segments], [False, True, False, True, True, False]
        )
        self.assertNotIn("ENDLIST", text)
        self.assertNotIn("PLAYLIST-TYPE", text)

    def test_another_grid(self) -> None:
        """A list by numbers begins anew where the length of segments was changed."""
        second = TICKS_PER_SECOND
        rows = [row(index) for index in range(3)]
        rows += [Made((BASE + 15 + k), (BASE + 15 + k) * second, second, not k, 1) for k in range(5)]
        rows += [row(index, sequence=2, breaks=index == 4) for index in range(4, 6)]
        archive = filled(rows)
        self.assertEqual(
            Lists(archive, BASE + 19.5).list("rewind-60.m3u8").numbers, list(range(BASE + 15, BASE + 20))
        )
        self.assertEqual(Lists(archive, BASE + 31).list("rewind-60.m3u8").numbers, [N + 4, N + 5])
        self.assertEqual(len(Lists(archive, BASE + 1000).list(f"archive-{BASE}-60.m3u8").segments), 10)

    def test_delayed(self) -> None:
        lists = Lists(filled(row(index) for index in range(100)), BASE + 1000)
        found = lists.list("timeshift_rel-800.m3u8")
        self.assertEqual(found.numbers, list(range(N + 28, N + 40)))
        lists.now += 5
        check_reload(found, lists.list("timeshift_rel-800.m3u8"))

    def test_delayed_into_a_long_outage(self) -> None:
        """Of six days that were not recorded no list has an entry, and none costs anything."""
        later = 6 * 86_400 // 5
        archive = filled([*map(row, range(40)), *map(row, range(later, later + 40))])
        lists = Lists(archive, BASE + later * 5 + 200)
        with self.assertRaises(Refused) as caught:
            lists.list(f"timeshift_rel-{later * 5 - 300}.m3u8")
        self.assertIs(caught.exception.reason, Reason.NOT_FOUND)
        self.assertEqual(len(lists.list(f"timeshift_rel-{later * 5}.m3u8").segments) > 0, True)
        found = lists.text("rewind-604800.m3u8")
        self.assertLess(len(found), 20_000)
        self.assertIn(f"#EXT-X-MEDIA-SEQUENCE:{N + later}\n", found)

    def test_delayed_over_an_outage(self) -> None:
        archive = filled([row(index) for index in range(100) if not 30 <= index < 60])
        lists = Lists(archive, BASE + 1000)
        before = None
        for moment in range(130, 460, 15):
            lists.now = BASE + 1000 + moment
            found = lists.list("timeshift_rel-1000.m3u8")
            if before is not None:
                check_reload(before, found)
            self.assertEqual(found.numbers[-1], N + moment // 5 - 1)
            self.assertFalse(found.segments[0].gap)
            before = found

    def test_absolute(self) -> None:
        lists = Lists(filled(row(index) for index in range(100)), BASE + 1000)
        self.assertIn("\nvideo-timeshift_rel-800.ts.m3u8\n", lists.text(f"timeshift_abs-{BASE + 200}.m3u8"))
        master = lists.text(f"timeshift_abs-{BASE + 200}.fmp4.m3u8")
        self.assertIn("\ntracks-v1/mono-timeshift_rel-800.fmp4.m3u8\n", master)
        self.assertEqual(
            len(lists.list("video-timeshift_rel-800.ts.m3u8").segments),
            len(lists.list("timeshift_rel-800.m3u8").segments),
        )

    @_SETTINGS
    @given(st.data())
    def test_reloads_and_nodes_agree(self, data: st.DataObject) -> None:
        """Whatever happened to a stream, and whatever a second node missed of it: lists only go on, and both
        nodes say the same of each segment that both list, the count of discontinuities included."""
        count = data.draw(st.integers(8, 24))
        first, second = FakeArchive(), FakeArchive()
        sequence = data.draw(st.integers(0, 3))
        for index in range(count):
            event = data.draw(st.sampled_from("..........!-x"))
            breaks = event == "!"
            sequence += breaks
            if event == "-":
                continue
            made = row(index, breaks=breaks, sequence=sequence)
            first.add(*made.row())
            if event != "x":
                second.add(*made.row())
        file = data.draw(st.sampled_from(["rewind-30", "rewind-7200", "timeshift_rel-40"]))
        ending = data.draw(st.sampled_from([".ts.m3u8", ".fmp4.m3u8"]))
        folder = "tracks-v1/mono-" if ending.startswith(".fmp4") else "video-"
        lists = [Lists(first, BASE), Lists(second, BASE)]
        seen: list[dict[int, tuple[str, int]]] = [{}, {}]
        last: list[Playlist | None] = [None, None]
        for now in range(BASE + 6, BASE + count * 5 + 60, 9):
            for at, each in enumerate(lists):
                each.now = now
                try:
                    found = each.list(f"{folder}{file}{ending}")
                except Refused:
                    continue
                before = last[at]
                if before is not None:
                    check_reload(before, found)
                last[at] = found
                breaks_so_far = found.discontinuity_sequence
                for segment in found.segments:
                    breaks_so_far += segment.discontinuity
                    if segment.gap:
                        continue
                    said = (segment.uri, breaks_so_far)
                    self.assertEqual(seen[at].setdefault(segment.number, said), said)
        for number in seen[0].keys() & seen[1].keys():
            self.assertEqual(seen[0][number], seen[1][number])


class Random(SynchronousTestCase):
    @_SETTINGS
    @given(st.data())
    def test_every_list_can_be_read(self, data: st.DataObject) -> None:
        """Random timelines: gaps, discontinuities, other codecs, jumps of numbers, short segments."""
        tables: list[Tracks] = [
            (h264_track(1), aac_track(2)),
            (h264_track(1, 5),),
            (
                Track(
                    track_id=7,
                    kind=TrackKind.AUDIO,
                    codec=AAC,
                    config=b"\x12\x10",
                    sample_rate=44_100,
                    channels=2,
                ),
            ),
        ]
        self.assertNotEqual(tables[0][0].codec, HEVC)
        rows = []
        at, number, sequence = BASE * TICKS_PER_SECOND, N, 0
        tracks = tables[0]
        for _ in range(data.draw(st.integers(1, 40))):
            duration = data.draw(st.sampled_from([D, D - 3600, 200, 80_000, 90_000, 6 * TICKS_PER_SECOND]))
            breaks = data.draw(st.integers(0, 9)) == 0
            if data.draw(st.integers(0, 9)) == 0:
                at += data.draw(st.integers(1, 4000)) * TICKS_PER_SECOND
                number += data.draw(st.sampled_from([1, 2, 20, 1_000_000]))
            if data.draw(st.integers(0, 9)) == 0:
                tracks = data.draw(st.sampled_from(tables))
                breaks = True
            sequence += breaks
            without = data.draw(st.sampled_from([(), (), (), (2,)]))
            rows.append(Made(number, at, duration, breaks, sequence, tracks, without))
            at += duration
            number += 1
        end = at // TICKS_PER_SECOND + 1
        lists = Lists(filled(rows), end)
        span = end - BASE + 10
        for file in (
            f"archive-{BASE}-{span}",
            f"archive-{BASE}-now",
            f"rewind-{span}",
            f"timeshift_rel-{data.draw(st.integers(0, span))}",
        ):
            for name in (
                f"video-{file}.m3u8",
                f"tracks-v1/mono-{file}.fmp4.m3u8",
                f"tracks-a1/mono-{file}.fmp4.m3u8",
            ):
                try:
                    found = lists.list(name)
                except Refused as refused:
                    self.assertNotEqual(refused.reason, Reason.BAD_NAME)
                    continue
                self.assertTrue(found.segments)
                if file.startswith("archive") and name.startswith("video"):
                    self.assertEqual(len(found.segments), len(rows))


class Doubts(SynchronousTestCase):
    """Hours of which not all who may have them have told."""

    @override
    def setUp(self) -> None:
        self.archive = filled(
            Made(N + k, (BASE + 5 * k) * TICKS_PER_SECOND, D, False, 0) for k in range(3000)
        )
        self.lists = Lists(self.archive, BASE + 100_000)

    def listing(self, file: str) -> Listing:
        ask = parse_archive_path(f"/x/{file}", "", int(self.lists.now))
        assert ask is not None
        return outcome(self.lists.playlists.listing(ask, ""))

    def test_not_kept_for_long(self) -> None:
        """Caches may keep a closed list that is whole, and hardly one that may not be."""
        file = f"video-{BASE}-9000.m3u8"
        self.assertEqual(self.listing(file).seconds, 3600)
        for hour in list(self.archive.builders):
            self.setUp()
            self.archive.doubtful.add(hour)
            whole = hour * 3600 < BASE + 9000
            self.assertEqual(self.listing(file).seconds, 5 if whole else 3600, hour)

    def test_nothing_there(self) -> None:
        """Nothing is said not to be there by who does not know."""
        self.archive = self.lists.archive = filled(
            [
                Made(N, BASE * TICKS_PER_SECOND, D, False, 0),
                Made(N + 300, (BASE + 1500) * TICKS_PER_SECOND, D, False, 0),
            ]
        )
        self.lists = Lists(self.archive, BASE + 100_000)
        with self.assertRaises(Refused) as refused:
            self.listing(f"video-{BASE + 500}-200.m3u8")
        self.assertIs(refused.exception.reason, Reason.NOT_FOUND)
        self.archive.doubtful.update(self.archive.builders)
        self.lists = Lists(self.archive, BASE + 100_000)
        with self.assertRaises(Refused) as refused:
            self.listing(f"video-{BASE + 500}-200.m3u8")
        self.assertIs(refused.exception.reason, Reason.NOT_READY)


class Together(SynchronousTestCase):
    """Lists of different ranges that are asked for at once."""

    def test_an_hour_is_written_once(self) -> None:
        archive = filled(Made(N + k, (BASE + 5 * k) * TICKS_PER_SECOND, D, False, 0) for k in range(6000))
        written: list[tuple[object, Deferred[Any]]] = []

        def in_thread(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
            waiting: Deferred[Any] = Deferred()
            written.append((args[0], waiting))
            return waiting.addCallback(lambda _: call(*args))

        now = BASE + 100_000
        hours = ArchiveHours(archive, lambda: now * TICKS_PER_SECOND, lambda: 0.0)
        playlists = ArchivePlaylists(hours, in_thread, lambda: now * TICKS_PER_SECOND, lambda: 0.0)
        found: list[Listing] = []
        for each in range(20):
            ask = parse_archive_path(f"/x/video-{BASE + each}-{29_000 - each}.m3u8", "", now)
            assert ask is not None
            _ = Deferred.fromCoroutine(playlists.listing(ask, "")).addCallback(found.append)
        at = 0
        while at < len(written):
            written[at][1].callback(None)
            at += 1
        self.assertEqual(len(found), 20)
        whole = [index for index, _ in written]
        self.assertEqual(len(whole), len(set(map(id, whole))))
