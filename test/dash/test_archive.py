"""Manifests of archives: periods, timelines, what is static and what grows."""

from __future__ import annotations

import gzip
import re
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dash.archive_manifests import ArchiveManifests
from restreamer.dash.archive_routes import archive_dash_routes
from restreamer.dash.mpd import MAX_BANDWIDTH
from restreamer.dvr.forms import parse_archive_path
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.http1.reply import FullReply, HttpRequest
from restreamer.m4f.hour_index import HourIndex, TrackSpan
from restreamer.m4f.hour_layout import KEY
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import AAC, Track, TrackKind
from restreamer.seams import Grant, OpenRequest
from restreamer.testing.media import aac_track, h264_track
from test.dash import schema
from test.dvr.fake_archive import D, FakeArchive, Made, filled

_SETTINGS = settings(deadline=None, max_examples=40, derandomize=True)
BASE = 1_700_006_400 - 100
N = BASE // 5
_RULES = {
    **schema.RULES,
    "MPD": schema.Rule(
        schema.RULES["MPD"].children,
        {
            "!profiles": schema.WORD,
            "!type": "static|dynamic",
            "availabilityStartTime": schema.MOMENT,
            "publishTime": schema.MOMENT,
            "minimumUpdatePeriod": schema.DURATION,
            "mediaPresentationDuration": schema.DURATION,
            "!minBufferTime": schema.DURATION,
            "timeShiftBufferDepth": schema.DURATION,
            "suggestedPresentationDelay": schema.DURATION,
            "maxSegmentDuration": schema.DURATION,
        },
    ),
    "Period": schema.Rule("AdaptationSet+", {"!id": schema.WORD, "!start": schema.DURATION}),
}
_NS = schema.NAMESPACE


async def at_once(call: Any, *args: Any) -> Any:
    """A thread that needs no time."""
    return call(*args)


class Gate:
    """Lets everybody in, and remembers them."""

    def __init__(self) -> None:
        self.asked: list[OpenRequest] = []

    async def open(self, request: OpenRequest) -> Grant:
        self.asked.append(request)
        return Grant(request=request)


class Clock:
    """Seconds that stand still."""

    now = 0.0

    def seconds(self) -> float:
        return self.now

    def callLater(self, delay: float, callable: Any, *args: object) -> Any:  # noqa: N802
        raise AssertionError("nothing is waited for")


def row(index: int, **more: Any) -> Made:
    """Segment C{index} after L{BASE}."""
    start = (BASE + index * 5) * TICKS_PER_SECOND
    return Made(N + index, start, D, more.pop("breaks", False), more.pop("sequence", 0), **more)


def timeline(template: Any) -> list[tuple[int, int]]:
    """(start, duration) of each segment."""
    found = []
    at = 0
    for line in template.iter(_NS + "S"):
        at = int(line.get("t", at))
        for _ in range(int(line.get("r", "0")) + 1):
            found.append((at, int(line.get("d"))))
            at += int(line.get("d"))
    return found


class Manifests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.patch(schema, "RULES", _RULES)
        self.gate = Gate()
        self.clock = Clock()

    def serve(self, archive: FakeArchive, now: float) -> None:
        """From now on."""
        self.archive = archive
        self.clock.now = now

        def utc() -> int:
            return int(self.clock.now * TICKS_PER_SECOND)

        hours = ArchiveHours(archive, utc, self.clock.seconds)
        self.route = archive_dash_routes(hours, self.gate, at_once, self.clock, utc).route

    def reply(self, file: str, query: str = "", method: str = "GET", **headers: str) -> FullReply | None:
        answer = self.route(HttpRequest(path=f"/x/{file}", query=query, headers=headers, method=method))
        if isinstance(answer, Awaitable):

            async def wait() -> Any:
                return await answer

            found: list[Any] = []
            _ = Deferred.fromCoroutine(wait()).addBoth(found.append)
            if not isinstance(found[0], FullReply):
                found[0].raiseException()
            return found[0]  # type: ignore[no-any-return]
        assert answer is None or isinstance(answer, FullReply)
        return answer

    def root(self, file: str, query: str = "") -> Any:
        reply = self.reply(file, query)
        assert reply is not None
        return schema.checked(reply.body.decode())

    def test_static(self) -> None:
        self.serve(filled(row(index) for index in range(60)), BASE + 1000)
        root = self.root(f"archive-{BASE}-300.mpd")
        self.assertEqual(root.get("type"), "static")
        self.assertIsNone(root.get("availabilityStartTime"))
        self.assertEqual(root.get("mediaPresentationDuration"), "PT300.040S")
        (period,) = root.iter(_NS + "Period")
        self.assertEqual(period.get("start"), "PT0.000S")
        video, sound = period.iter(_NS + "SegmentTemplate")
        self.assertEqual(video.get("startNumber"), str(N))
        start = BASE * TICKS_PER_SECOND
        self.assertEqual(timeline(video), [(start + 3600 + index * D, D) for index in range(60)])
        self.assertEqual(timeline(sound), [(start + index * D, D) for index in range(60)])
        # One line for each hour.
        self.assertEqual(len(list(video.iter(_NS + "S"))), 2)
        self.assertEqual(self.gate.asked[0].proto, "dash")

    def test_periods(self) -> None:
        """At a gap, at a discontinuity, at other tracks; the time of the presentation has no hole."""
        other = (h264_track(1), aac_track(2, 77), aac_track(3))
        rows = [row(0), row(1), row(5), row(6, breaks=True, sequence=1), row(7, sequence=1, tracks=other)]
        self.serve(filled(rows), BASE + 1000)
        root = self.root(f"archive-{BASE}-100.mpd")
        found = [(each.get("id"), each.get("start")) for each in root.iter(_NS + "Period")]
        self.assertEqual(
            found,
            [
                (f"d0n{N}", "PT0.000S"),
                (f"d0n{N + 5}", "PT10.040S"),
                ("d1", "PT15.080S"),
                (f"d1n{N + 7}", "PT20.120S"),
            ],
        )
        self.assertEqual(root.get("mediaPresentationDuration"), "PT25.160S")
        chosen = self.root(f"archive-{BASE}-100.mpd", "filter.tracks=a2")
        self.assertEqual([each.get("id") for each in chosen.iter(_NS + "Representation")], ["a2"])

    def test_what_the_schema_cannot_say(self) -> None:
        """C{lang} is an xs:language, C{bandwidth} an xs:unsignedInt, durations are not negative."""
        at = BASE * TICKS_PER_SECOND
        for said, wanted in (("zh-Hant", "zh-Hant"), ("", None), ("d?u", None), ("\x01ab", None)):
            tracks = (evolve(aac_track(2), language=said),)
            self.serve(filled([Made(N, at, 40, False, 0, tracks)]), BASE + 100)
            (found,) = self.root(f"archive-{BASE}-10.mpd").iter(_NS + "AdaptationSet")
            self.assertEqual(found.get("lang"), wanted, said)
            self.assertEqual(found[-1].get("bandwidth"), str(MAX_BANDWIDTH))
        archive = FakeArchive()
        for index, shown in enumerate((9 * TICKS_PER_SECOND, 0)):
            segment, table, _ = row(index).row()
            archive.add(segment, table, [TrackSpan(1, KEY, shown, 90, 1000)])
        self.serve(archive, BASE + 100)
        root = self.root(f"archive-{BASE}-10.mpd")
        self.assertEqual(root.get("mediaPresentationDuration"), "PT0.000S")
        self.clock.now = BASE + 12
        root = self.root(f"archive-{BASE}-now.mpd")
        self.assertEqual(root.get("timeShiftBufferDepth"), "PT0.000S")

    def test_growing(self) -> None:
        self.serve(filled(row(index) for index in range(8)), BASE + 41)
        for file in (f"archive-{BASE}-now.mpd", f"archive-{BASE}-60.mpd", "rewind-60.mpd"):
            root = self.root(file)
            self.assertEqual(root.get("type"), "dynamic")
            self.assertEqual(root.get("minimumUpdatePeriod"), "PT2.500S")
            self.assertEqual(root.get("timeShiftBufferDepth"), "PT40.040S")
            self.assertIsNone(root.get("mediaPresentationDuration"))
        self.assertEqual(
            self.root("index.mpd", f"utc={BASE}&lutc={BASE + 41}").get("publishTime"), root.get("publishTime")
        )
        self.clock.now = BASE + 70
        root = self.root(f"archive-{BASE}-60.mpd")
        self.assertIsNone(root.get("minimumUpdatePeriod"))
        self.assertEqual(root.get("type"), "dynamic")
        self.clock.now = BASE + 200
        self.assertEqual(self.root(f"archive-{BASE}-60.mpd").get("type"), "static")

    def test_sliding_periods_keep_their_names(self) -> None:
        rows = [row(index) for index in range(10)]
        rows += [row(index, sequence=1, breaks=index == 20) for index in range(20, 40)]
        self.serve(filled(rows), BASE + 50)
        known: dict[str, tuple[str, int]] = {}
        for now in range(50, 250, 10):
            self.clock.now = BASE + now
            for period in self.root("rewind-60.mpd").iter(_NS + "Period"):
                name = period.get("id")
                template = next(period.iter(_NS + "SegmentTemplate"))
                said = (period.get("start"), int(template.get("presentationTimeOffset")))
                self.assertEqual(known.setdefault(name, said), said)
                self.assertLessEqual(said[1], timeline(template)[0][0])
        self.assertEqual(len(known), 2)

    def test_answers(self) -> None:
        self.serve(filled(row(index) for index in range(60)), BASE + 1000)
        file = f"archive-{BASE}-300.mpd"
        plain = self.reply(file)
        zipped = self.reply(file, **{"accept-encoding": "br, gzip"})
        token = self.reply(file, "token=a%22b")
        assert plain is not None and zipped is not None and token is not None
        self.assertEqual(gzip.decompress(zipped.body), plain.body)
        self.assertNotEqual(zipped.etag, plain.etag)
        self.assertIn(b"Content-Encoding: gzip\r\n", zipped.headers)
        self.assertIn(b"max-age=3600", plain.headers)
        self.assertIn(b"private, max-age=3600", token.headers)
        self.assertIn(b'$Number$.m4s?token=a%22b"', token.body)
        self.assertEqual(getattr(self.reply(file, method="POST"), "status", 0), 405)
        self.assertEqual(getattr(self.reply(file, method="OPTIONS"), "status", 0), 204)

    def test_refusals(self) -> None:
        self.serve(
            filled([row(0, tracks=(Track(track_id=1, kind=TrackKind.AUDIO, codec="ulaw"),))]), BASE + 1000
        )
        for file, reason in (
            (f"archive-{BASE}-60.mpd", Reason.UNSUPPORTED),
            ("archive-0-60.mpd", Reason.NOT_FOUND),
            ("archive-nan-60.mpd", Reason.BAD_NAME),
            ("archive-0-now.mpd", Reason.BAD_NAME),
            ("timeshift_rel-60.mpd", Reason.UNSUPPORTED),
        ):
            refused = self.assertRaises(Refused, self.reply, file)
            self.assertIs(refused.reason, reason, file)
        self.assertIsNone(self.reply("index.mpd"))
        self.assertIsNone(self.reply("y/archive-nan-60.mpd"))

    @_SETTINGS
    @given(st.data())
    def test_every_manifest_can_be_read(self, data: st.DataObject) -> None:
        tables = [
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
        rows = []
        at, number, sequence, tracks = BASE * TICKS_PER_SECOND, N, 0, tables[0]
        for _ in range(data.draw(st.integers(1, 30))):
            duration = data.draw(st.sampled_from([D, D, D - 3600, 200, 90_000]))
            breaks = data.draw(st.integers(0, 9)) == 0
            if data.draw(st.integers(0, 9)) == 0:
                at += data.draw(st.integers(1, 4000)) * TICKS_PER_SECOND
                number += data.draw(st.sampled_from([1, 2, 20, 1_000_000]))
            if data.draw(st.integers(0, 9)) == 0:
                tracks = data.draw(st.sampled_from(tables))
            sequence += breaks
            rows.append(
                Made(
                    number, at, duration, breaks, sequence, tracks, data.draw(st.sampled_from([(), (), (2,)]))
                )
            )
            at += duration
            number += 1
        end = at // TICKS_PER_SECOND + 1
        self.serve(filled(rows), end)
        file = data.draw(st.sampled_from([f"archive-{BASE}-now.mpd", "rewind-200000.mpd"]))
        self.check(self.root(file))
        self.clock.now = end + 100
        root = self.root(f"archive-{BASE}-{end - BASE}.mpd")
        self.check(root)
        numbers: list[int] = []
        for period in root.iter(_NS + "Period"):
            template = next(period.iter(_NS + "SegmentTemplate"))
            first = int(template.get("startNumber"))
            numbers += range(first, first + len(timeline(template)))
        held = [each for each in rows if any(track.track_id not in each.without for track in each.tracks)]
        self.assertEqual(numbers, [each.number for each in held])

    def check(self, root: Any) -> None:
        """Periods are in order, and each timeline lies within its own."""
        names = [period.get("id") for period in root.iter(_NS + "Period")]
        self.assertEqual(len(set(names)), len(names))
        last = -1
        for period in root.iter(_NS + "Period"):
            start = int(re.sub(r"\D", "", period.get("start")))
            self.assertGreater(start, last)
            last = start
            for template in period.iter(_NS + "SegmentTemplate"):
                offset = int(template.get("presentationTimeOffset"))
                times = timeline(template)
                self.assertGreaterEqual(times[0][0], offset)
                self.assertEqual(times, sorted(times))


class Together(SynchronousTestCase):
    """Manifests of different ranges that are asked for at once."""

    def test_an_hour_is_written_once(self) -> None:
        archive = filled(Made(N + k, (BASE + 5 * k) * TICKS_PER_SECOND, D, False, 0) for k in range(6000))
        written: list[tuple[object, Deferred[Any]]] = []

        def in_thread(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
            waiting: Deferred[Any] = Deferred()
            written.append((args[0], waiting))
            return waiting.addCallback(lambda _: call(*args))

        now = BASE + 100_000
        hours = ArchiveHours(archive, lambda: now * TICKS_PER_SECOND, lambda: 0.0)
        manifests = ArchiveManifests(hours, in_thread, lambda: now * TICKS_PER_SECOND, lambda: 0.0)
        found: list[object] = []
        for each in range(20):
            ask = parse_archive_path(f"/x/archive-{BASE + each}-{29_000 - each}.mpd", "", now)
            assert ask is not None
            _ = Deferred.fromCoroutine(manifests.manifest(ask, "")).addCallback(found.append)
        at = 0
        while at < len(written):
            written[at][1].callback(None)
            at += 1
        self.assertEqual(len(found), 20)
        whole = [index for index, _ in written if isinstance(index, HourIndex)]
        self.assertGreater(len(whole), 5)
        self.assertEqual(len(whole), len(set(map(id, whole))))
