"""Manifests of streams that were really cut: what is listed, and what two nodes agree about."""

from __future__ import annotations

import itertools

from attrs import evolve
from typing_extensions import override

from restreamer.dash.mpd import MAX_BANDWIDTH
from restreamer.dash.routes import base_url
from restreamer.errors import Reason, Refused
from restreamer.live.choices import MAX_CHOICES
from restreamer.live.cmaf_names import init_file
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import Record, RecordReader, SegmentCopy, SegmentOpen, encode_record
from restreamer.m4f.segment import Segment
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.mp4.fragment import init_segment
from restreamer.testing.media import START, aac_track, h264_track
from test.dash.rig import DashCase, Shown, shown
from test.dash.schema import NAMESPACE, checked
from test.live.rig import AV, SECOND, Origin, av

BAD_LANGUAGES = ("", "und", "d?u", "en us", "en-", "toolonglanguage", "\x01ab")
TWO_SOUNDS: Tracks = (*AV, evolve(aac_track(3), language="deu"))


def listed(window: LiveWindow) -> list[int]:
    return [entry.number for entry in window.entries]


def by_number(all_shown: list[Shown]) -> dict[tuple[str, int], tuple[int, int]]:
    """(start, duration) by track and segment."""
    return {(each.name, n): (t, d) for each in all_shown for n, t, d in each.lines}


class OneRun(DashCase):
    """A stream that nothing happens to."""

    @override
    def setUp(self) -> None:
        self.origin = Origin(segment_duration=2 * SECOND)
        self.ingest = self.origin.publish()
        self.origin.play(self.ingest, av(12))
        self.routes(self.origin.stream)

    def test_what_it_lists(self) -> None:
        found = shown(self.text())
        self.assertEqual([each.name for each in found], ["v1", "a1"])
        for each, track in zip(found, AV, strict=True):
            self.assertEqual([n for n, _, _ in each.lines], listed(self.origin.stream.window))
            self.assertEqual(each.init, f"tracks-{each.name}/{init_file(init_segment(track))}")
            self.assertEqual(each.media, "tracks-$RepresentationID$/$Number$.m4s")
        self.assertEqual(found[0].facts["codecs"], "avc1.64001E")
        self.assertEqual(found[1].facts["codecs"], "mp4a.40.2")
        self.assertEqual((found[0].facts["width"], found[0].facts["frameRate"]), ("640", "25"))

    def test_lines_say_when_samples_are_shown(self) -> None:
        """The earliest PTS of each track, and as long as its samples last: without hole or overlap."""
        lines = by_number(shown(self.text()))
        for entry in self.origin.stream.window.retained:
            if entry.number not in listed(self.origin.stream.window):
                continue
            for name, track_id in (("v1", 1), ("a1", 2)):
                frames = [frame for frame in entry.segment.frames() if frame.track_id == track_id]
                start, duration = lines[name, entry.number]
                self.assertEqual(start, min(frame.pts for frame in frames))
                step = frames[1].dts - frames[0].dts
                self.assertEqual(duration, frames[-1].dts + step - frames[0].dts)
        for name in ("v1", "a1"):
            rows = [lines[key] for key in sorted(lines) if key[0] == name]
            for (start, duration), (after, _) in itertools.pairwise(rows):
                self.assertEqual(start + duration, after)

    def test_one_period_from_the_first_frame_on(self) -> None:
        """It keeps name and start while its segments come and go; so does it for who comes late."""
        before = {(each.period, each.start, each.offset) for each in shown(self.text())}
        self.assertEqual(before, {("d0", "PT0.000S", 0)})
        self.origin.play(self.ingest, av(24)[len(av(12)) :])
        self.assertEqual({(each.period, each.start, each.offset) for each in shown(self.text())}, before)
        self.routes(self.origin.stream)
        self.assertEqual({(each.period, each.start, each.offset) for each in shown(self.text())}, before)

    def test_reloads_agree_about_each_segment(self) -> None:
        one = by_number(shown(self.text()))
        self.origin.play(self.ingest, av(16)[len(av(12)) :])
        other = by_number(shown(self.text()))
        self.assertTrue(set(one) & set(other))
        self.assertNotEqual(set(one), set(other))
        for key in set(one) & set(other):
            self.assertEqual(one[key], other[key])

    def test_publish_time_rises_and_needs_no_clock(self) -> None:
        root = checked(self.text())
        self.assertEqual(root.get("availabilityStartTime"), "1970-01-01T00:00:00Z")
        again = self.text()
        self.assertEqual(self.text(), again)
        self.origin.play(self.ingest, av(16)[len(av(12)) :])
        later = checked(self.text()).get("publishTime") or ""
        self.assertGreater(later, root.get("publishTime") or "~")

    def test_low_latency_numbers_lie_on_the_grid(self) -> None:
        """A number times the segment duration is, within a keyframe distance, where the segment begins."""
        root = checked(self.text("/x/index.ll.mpd"))
        for each in shown(self.text("/x/index.ll.mpd")):
            duration = int(each.facts["duration"] or "")
            self.assertEqual(duration, 2 * SECOND)
            begin = int(each.facts["startNumber"] or "")
            self.assertEqual(each.offset, begin * duration)
            for entry in self.origin.closed:
                nominal = each.offset + (entry.number - begin) * duration
                self.assertLessEqual(0, entry.start - nominal)
                self.assertLess(entry.start - nominal, 2 * SECOND)
        self.assertIsNotNone(root.find(NAMESPACE + "UTCTiming"))
        self.assertIn("suggestedPresentationDelay", root.attrib)

    def test_chosen_tracks(self) -> None:
        self.assertEqual([each.name for each in shown(self.text(query="filter.tracks=a1"))], ["a1"])
        refused = self.assertRaises(Refused, self.reply, "/x/index.mpd", "filter.tracks=v2")
        self.assertEqual(refused.reason, Reason.NOT_FOUND)
        bad = self.assertRaises(Refused, self.reply, "/x/index.mpd", "filter.tracks=x")
        self.assertEqual(bad.reason, Reason.BAD_NAME)

    def test_who_chooses_the_same_shares_it(self) -> None:
        """H15: names of tracks that are not there make no other manifest."""
        everything = self.reply("/x/index.mpd")
        one = self.reply("/x/index.mpd", "filter.tracks=v1")
        for n in range(2, 90):
            self.assertIs(self.reply("/x/index.mpd", f"filter.tracks=v1a{n}"), one)
            self.assertIs(self.reply("/x/index.mpd", f"filter.tracks=v1a1v{n}"), everything)

    def test_everything_is_never_put_out(self) -> None:
        """H15: however many choices there are of many tracks."""
        tracks = (*AV, *(evolve(aac_track(n), language="deu") for n in range(3, 11)))
        origin = Origin(segment_duration=2 * SECOND, tracks=tracks)
        origin.play(
            origin.publish(),
            [
                each
                for frame in av(6)
                for each in (
                    [frame] if frame.track_id == 1 else [evolve(frame, track_id=n) for n in range(2, 11)]
                )
            ],
        )
        self.routes(origin.stream)
        everything = self.reply("/x/index.mpd")
        choices = [
            "".join(each)
            for size in (1, 2, 3)
            for each in itertools.combinations([f"a{n}" for n in range(1, 10)], size)
        ]
        self.assertGreater(len(choices), 2 * MAX_CHOICES)
        replies = [self.reply("/x/index.mpd", f"filter.tracks={each}") for each in choices]
        self.assertIs(self.reply("/x/index.mpd"), everything)
        self.assertIs(self.reply("/x/index.mpd", f"filter.tracks={choices[-1]}"), replies[-1])
        again = self.reply("/x/index.mpd", f"filter.tracks={choices[0]}")
        assert again is not None and replies[0] is not None
        self.assertIsNot(again, replies[0])
        self.assertEqual(again.body, replies[0].body)

    def test_token(self) -> None:
        """On every URL of media, escaped for a template and for XML; and for this viewer only."""
        reply = self.reply("/x/index.mpd", "token=a%24%22%26%3C")
        assert reply is not None
        self.assertIn(b"private", reply.headers)
        self.assertEqual(reply.etag, "")
        for each in shown(reply.body.decode()):
            self.assertTrue(each.media.endswith(".m4s?token=a%24%22%26%3C"), each.media)
            self.assertTrue(each.init.endswith(".mp4?token=a%24%22%26%3C"), each.init)

    def test_url_prefix(self) -> None:
        self.origin.stream.url_prefix = "https://cdn.example/a&b/"
        base = checked(self.text()).find(NAMESPACE + "BaseURL")
        assert base is not None
        self.assertEqual(base.text, "https://cdn.example/a&b/x/")

    def test_url_prefix_that_is_no_url(self) -> None:
        """A BaseURL is an xs:anyURI: what may not stand in one is escaped."""
        for prefix, wanted in (
            ("http://[2001:db8::1]:80/50%", "http://[2001:db8::1]:80/50%25/x/"),
            ("//cdn/[a]%41", "//cdn/%5Ba%5D%41/x/"),
            ("/a[b]/", "/a%5Bb%5D/x/"),
        ):
            self.assertEqual(base_url(prefix, "x"), wanted)
        self.assertEqual(base_url("", "x"), "")

    def test_the_clock(self) -> None:
        reply = self.reply("/-/time")
        assert reply is not None
        self.assertEqual(reply.body, b"2023-11-14T22:13:20.000Z")
        self.assertIn(b"no-store", reply.headers)

    def test_other_paths_and_methods(self) -> None:
        for path in ("/x/other.mpd", "/index.mpd", "/x/index.mpd/", "/x/index.m3u8", "/x/1.m4s"):
            self.assertIsNone(self.reply(path), path)
        for method, status in (("OPTIONS", 204), ("PUT", 405)):
            reply = self.reply("/x/index.mpd", method=method)
            assert reply is not None
            self.assertEqual(reply.status, status)
        self.assertRaises(Refused, self.reply, "/-x/index.mpd")
        self.assertEqual(self.point.asked, [])

    def test_caches(self) -> None:
        """One answer for everybody until something changes."""
        reply = self.reply("/x/index.mpd")
        assert reply is not None
        self.assertIs(self.reply("/x/index.mpd"), reply)
        self.assertIn(b"Content-Type: application/dash+xml\r\n", reply.headers)
        self.assertIn(b"Access-Control-Allow-Origin: *\r\n", reply.headers)
        self.origin.play(self.ingest, av(16)[len(av(12)) :])
        again = self.reply("/x/index.mpd")
        assert again is not None
        self.assertNotEqual(again.etag, reply.etag)


class Breaks(DashCase):
    """Where periods begin."""

    @override
    def setUp(self) -> None:
        self.origin = Origin(segment_duration=2 * SECOND, segment_count=12)
        self.ingest = self.origin.publish()
        self.origin.play(self.ingest, av(8))
        self.routes(self.origin.stream)

    def periods(self) -> list[str]:
        return list(dict.fromkeys(each.period for each in shown(self.text())))

    def check_numbers(self) -> None:
        """Every listed segment is in one period, and numbers of a period have no hole."""
        found = [n for each in shown(self.text()) if each.name == "v1" for n, _, _ in each.lines]
        window = self.origin.stream.window
        self.assertEqual(found, [n for n in listed(window) if window.find(n) is not None])

    def test_another_run(self) -> None:
        self.ingest.end("gone")
        self.origin.now.ticks += SECOND
        self.origin.play(self.origin.publish(), av(8))
        found = shown(self.text())
        self.assertEqual(self.periods(), ["d0", "d1"])
        second = next(each for each in found if each.period == "d1")
        start = next(entry.start for entry in self.origin.closed if entry.discontinuity)
        self.assertEqual(second.offset, start - start % 90, "whole milliseconds")
        self.check_numbers()

    def test_missing_numbers(self) -> None:
        self.ingest.end("gone")
        self.origin.now.ticks += 9 * SECOND
        self.origin.play(self.origin.publish(), av(8))
        self.assertEqual(len(self.periods()), 2)
        self.check_numbers()

    def test_a_segment_that_is_missing_in_a_run(self) -> None:
        """Then it has no discontinuity, and the period behind it the number of its first segment."""
        copy = Stream("x", LiveWindow(12))
        for index, entry in enumerate(self.origin.closed):
            if index != 1:
                copy.window.add(entry.segment, entry.run, 2 * SECOND)
        self.routes(copy)
        numbers = [entry.number for entry in self.origin.closed]
        self.assertEqual(self.periods(), ["d0", f"d0n{numbers[2]}"])
        copy.window.fill(self.origin.closed[1].segment, self.origin.closed[1].run, 2 * SECOND)
        self.assertEqual(self.periods(), ["d0"])

    def test_a_track_that_pauses(self) -> None:
        """A segment without sound: numbers of the sound's segments would be wrong within one period."""
        frames = av(8)
        quiet = [frame for frame in frames if frame.track_id == 1 or not 2 * SECOND <= frame.dts < 4 * SECOND]
        origin = Origin(segment_duration=2 * SECOND, segment_count=12)
        origin.play(origin.publish(), quiet)
        self.routes(origin.stream)
        self.assertEqual(len(self.periods()), 3)
        for each in shown(self.text()):
            for number, start, _ in each.lines:
                segment = origin.stream.window.find(number)
                assert segment is not None
                self.assertLess(abs(start - segment.start), SECOND)

    def test_other_tracks(self) -> None:
        """Other init segments, so another period; audio alone is a manifest, too."""
        self.ingest.configure(AV[:1])
        self.origin.play(self.ingest, [f for f in av(16)[len(av(8)) :] if f.track_id == 1])
        self.assertEqual(len(self.periods()), 2)
        self.assertEqual({each.name for each in shown(self.text()) if each.period != "d0"}, {"v1"})


class OddTimes(DashCase):
    """Frames at times that no encoder gives them."""

    def test_much_in_no_time(self) -> None:
        """C{bandwidth} is an xs:unsignedInt, however short the only segment is."""
        origin = Origin(segment_duration=2 * SECOND)
        ingest = origin.publish()
        origin.play(ingest, [Frame(1, n, 0, True, bytes(200_000)) for n in (START, START + 1)])
        ingest.end("bye")
        self.routes(origin.stream)
        self.assertIn(str(MAX_BANDWIDTH), {each.facts["bandwidth"] for each in shown(self.text())})

    def test_shown_long_after(self) -> None:
        """C{timeShiftBufferDepth} is not negative, though nothing that is listed was shown yet."""
        origin = Origin(segment_duration=2 * SECOND, tracks=AV[:1])
        frames = [evolve(frame, cts=9 * SECOND) for frame in av(5) if frame.track_id == 1]
        origin.play(origin.publish(), frames)
        self.routes(origin.stream)
        self.assertEqual(checked(self.text()).get("timeShiftBufferDepth"), "PT0.000S")


class Sounds(DashCase):
    """Several audio tracks, and tracks that CMAF cannot carry."""

    def stream_of(self, tracks: Tracks) -> None:
        origin = Origin(segment_duration=2 * SECOND, tracks=tracks)
        frames = []
        for frame in av(8):
            frames.append(frame)
            if frame.track_id == 2:
                frames.append(Frame(3, frame.dts, 0, True, frame.data))
        origin.play(origin.publish(), frames)
        self.routes(origin.stream)

    def test_languages(self) -> None:
        self.stream_of(TWO_SOUNDS)
        found = shown(self.text())
        self.assertEqual(
            [(each.name, each.facts.get("lang")) for each in found],
            [("v1", None), ("a1", None), ("a2", "deu")],
        )
        self.assertEqual(len({each.facts["contentType"] for each in found}), 2)
        roles = list(checked(self.text()).iter(NAMESPACE + "Role"))
        self.assertEqual(len(roles), 2)

    def test_languages_that_are_none(self) -> None:
        """C{lang} is an xs:language; nodes and playlists may say anything."""
        for said, wanted in (("zh-Hant", "zh-Hant"), ("ENG", "ENG"), *((bad, None) for bad in BAD_LANGUAGES)):
            self.stream_of((*AV, evolve(aac_track(3), language=said)))
            self.assertEqual(shown(self.text())[-1].facts.get("lang"), wanted, said)

    def test_left_out(self) -> None:
        self.stream_of((h264_track(), evolve(aac_track(2), codec="ulaw", config=b""), aac_track(3)))
        self.assertEqual([each.name for each in shown(self.text())], ["v1", "a2"])
        refused = self.assertRaises(Refused, self.reply, "/x/index.mpd", "filter.tracks=a1")
        self.assertEqual(refused.reason, Reason.UNSUPPORTED)
        self.assertIn("G.711", refused.text)


def over_a_link(record: Record) -> Record:
    """What a node gets of a record that another one sends."""
    (found,) = RecordReader().receive(encode_record(record))
    return found


class LateNode(DashCase):
    """A node that came when a period had begun long ago gives it the name and start that all others do."""

    @override
    def setUp(self) -> None:
        self.origin = Origin(segment_duration=2 * SECOND, segment_count=4)
        self.ingest = self.origin.publish()

    def said(self, stream: Stream, query: str = "") -> set[tuple[str, ...]]:
        """Of each representation and segment: which period it is in, and where that begins."""
        self.routes(stream)
        return {
            (each.period, each.start, each.name, str(each.offset), str(line))
            for path in ("/x/index.mpd", "/x/index.ll.mpd")
            for each in shown(self.text(path, query))
            for line in (each.lines or [()])
        }

    def names(self) -> list[str]:
        self.routes(self.origin.stream)
        return list(dict.fromkeys(each.period for each in shown(self.text())))

    def late(self, count: int) -> Stream:
        """A node that gets the newest C{count} segments, each as a copy."""
        stream = Stream("x", LiveWindow(count), segment_duration=2 * SECOND)
        for entry in self.origin.stream.window.retained[-count:]:
            copy = over_a_link(SegmentCopy(run=entry.run, encoded=entry.segment.encoded))
            assert isinstance(copy, SegmentCopy)
            stream.window.add(Segment.parse(copy.encoded), copy.run, 2 * SECOND)
        return stream

    def check(self, names: list[str]) -> None:
        """Late nodes, and one that is late after those, say what the origin says of what they have."""
        self.assertEqual(self.names(), names)
        for query in ("", "filter.tracks=v1"):
            ours = self.said(self.origin.stream, query)
            for count in (1, 2, 4):
                theirs = self.said(self.late(count), query)
                self.assertTrue(theirs)
                self.assertEqual(theirs - ours, set(), (count, query))

    def jump(self) -> None:
        """The encoder's clock steps in the middle of a run."""
        self.origin.play(self.ingest, av(6))
        self.origin.play(self.ingest, av(22, start=900 * SECOND))

    def test_a_break_in_the_middle_of_a_run(self) -> None:
        self.jump()
        begun = next(entry for entry in self.origin.closed if entry.segment.discontinuity)
        self.assertIsNone(self.origin.stream.window.find(begun.number), "the beginning has left the window")
        self.check(["d1"])
        start = {each.offset for each in shown(self.text())}
        self.assertEqual(start, {begun.start - begun.start % 90})

    def test_who_gets_it_live(self) -> None:
        """Nothing closed: the opening says how it is, and further nodes learn it from there."""
        self.jump()
        stream, opened = self.origin.stream, self.origin.stream.open
        assert stream.run is not None and opened is not None
        edges = [Stream("x", LiveWindow(4), segment_duration=2 * SECOND) for _ in range(2)]
        run, held = stream.run, list(opened.frames)
        for edge in edges:
            told = over_a_link(SegmentOpen(run=run, opening=opened.opening))
            assert isinstance(told, SegmentOpen)
            writer = edge.begin_run(told.run, 2 * SECOND, local=False)
            writer.open(told.opening)
            assert edge.run is not None
            run = edge.run
            writer.frames(held)
        self.origin.play(self.ingest, av(26, start=900 * SECOND)[len(av(22)) :])
        closed = next(each for each in self.origin.closed if each.number == opened.opening.number)
        for edge in edges:
            self.assertEqual(edge.run and edge.run.stretch, closed.stretch)
            writer = edge.begin_run(run, 2 * SECOND, local=False)
            writer.frames(closed.segment.frames()[len(held) :])
            self.assertIsNotNone(writer.close(closed.duration, closed.segment.checksum))
            self.assertEqual(self.said(edge) - self.said(stream), set())

    def test_another_run(self) -> None:
        self.origin.play(self.ingest, av(6))
        self.ingest.end("gone")
        self.origin.now.ticks += 9 * SECOND
        self.ingest = self.origin.publish()
        self.origin.play(self.ingest, av(14))
        self.check(["d1"])

    def test_a_track_that_paused(self) -> None:
        frames = av(20)
        quiet = [frame for frame in frames if frame.track_id == 1 or not 2 * SECOND <= frame.dts < 6 * SECOND]
        self.origin.play(self.ingest, quiet)
        begun = next(each for each in self.origin.closed if each.stretch == self.origin.closed[-1].stretch)
        self.assertGreater(begun.number, self.origin.closed[0].number)
        self.check([f"d0n{begun.number}"])

    def test_a_number_that_is_missing(self) -> None:
        """On a node that lacks it, and on whoever has the stream from there."""
        self.origin.play(self.ingest, av(22))
        lossy = Stream("x", LiveWindow(4), segment_duration=2 * SECOND)
        for index, entry in enumerate(self.origin.closed):
            if index != 3:
                lossy.window.add(entry.segment, evolve(entry.run, stretch=None), 2 * SECOND)
        self.origin.stream = lossy
        self.check([f"d0n{self.origin.closed[4].number}"])

    def test_from_a_node_that_does_not_tell(self) -> None:
        """An older node: the start of the run stands for it."""
        self.jump()
        stream = Stream("x", LiveWindow(4))
        for entry in self.origin.stream.window.retained:
            stream.window.add(entry.segment, evolve(entry.run, stretch=None), 2 * SECOND)
        self.routes(stream)
        found = {(each.period, each.offset) for each in shown(self.text())}
        run_start = self.origin.closed[-1].run.run_start
        self.assertEqual(found, {("d1", run_start - run_start % 90)})


class TwoNodes(DashCase):
    """An edge whose window began later says the same of each segment and of each period."""

    def test_agreement(self) -> None:
        origin = Origin(segment_duration=2 * SECOND, segment_count=6)
        edge = Stream("x", LiveWindow(4))
        ingest = origin.publish()
        origin.play(ingest, av(8))
        ingest.end("gone")
        origin.play(origin.publish(), av(12))
        for entry in origin.closed[3:]:
            edge.window.add(entry.segment, entry.run, 2 * SECOND)
        self.routes(origin.stream)
        ours = {
            (each.name, each.period, each.start, each.offset, line)
            for each in shown(self.text())
            for line in each.lines
        }
        self.routes(edge)
        theirs = {
            (each.name, each.period, each.start, each.offset, line)
            for each in shown(self.text())
            for line in each.lines
        }
        self.assertTrue(theirs & ours)
        self.assertEqual(theirs - ours, set())
        self.assertEqual(START % SECOND, 0)
