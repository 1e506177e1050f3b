"""Media and master playlists, and how the windows of two nodes agree."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.hls.master import bandwidths, codecs_attribute, master_playlist, needs_master
from restreamer.hls.playlist import Listed, ListedGap, ListedSegment, media_playlist, segment_lines
from restreamer.media.track import Track, TrackKind
from restreamer.testing.media import START, aac_track, h264_track

_SETTINGS = settings(deadline=None, max_examples=100, derandomize=True)


def segment(number: int, start: int, **more: int) -> ListedSegment:
    return ListedSegment(
        number,
        start,
        more.get("duration", 450_000),
        start + more.get("shown", 0),
        bool(more.get("broken", 0)),
        more.get("breaks", 0),
    )


class Media(SynchronousTestCase):
    def test_plain(self) -> None:
        text = media_playlist(
            7, [segment(340, START, shown=7_200), segment(341, START + 450_000, duration=450_090)]
        )
        self.assertEqual(
            text,
            "#EXTM3U\n"
            "#EXT-X-VERSION:3\n"
            "#EXT-X-TARGETDURATION:7\n"
            "#EXT-X-MEDIA-SEQUENCE:340\n"
            "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.080Z\n"
            "#EXTINF:5.000,\n"
            "2023/11/14/22/13/20-05000.ts\n"
            "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:25.000Z\n"
            "#EXTINF:5.001,\n"
            "2023/11/14/22/13/25-05001.ts\n",
        )

    def test_gaps_and_discontinuities(self) -> None:
        text = media_playlist(
            7,
            [
                segment(1, START, broken=1, breaks=3),
                ListedGap(2, START + 450_000, 180_000, 3),
                segment(3, START + 900_000, broken=1, breaks=4),
            ],
        )
        self.assertIn("#EXT-X-VERSION:8\n", text)
        self.assertIn("#EXT-X-DISCONTINUITY-SEQUENCE:2\n#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM", text)
        self.assertIn(
            "05000.ts\n#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:25.000Z\n#EXT-X-GAP\n#EXTINF:2.000,\ngap-2.ts\n"
            "#EXT-X-DISCONTINUITY\n",
            text,
        )

    def test_discontinuity_sequence_when_its_segment_has_left(self) -> None:
        text = media_playlist(7, [segment(4, START, breaks=4)])
        self.assertIn("#EXT-X-DISCONTINUITY-SEQUENCE:4\n", text)
        text = media_playlist(7, [segment(4, START, broken=1, breaks=1)])
        self.assertNotIn("DISCONTINUITY-SEQUENCE", text)

    def test_empty(self) -> None:
        self.assertEqual(media_playlist(7, []).splitlines()[-1], "#EXT-X-MEDIA-SEQUENCE:0")

    @_SETTINGS
    @given(
        st.lists(st.tuples(st.integers(1, 600_000), st.booleans(), st.booleans()), min_size=4, max_size=20),
        st.data(),
    )
    def test_windows_agree_and_never_go_back(
        self, shape: list[tuple[int, bool, bool]], data: st.DataObject
    ) -> None:
        entries: list[Listed] = []
        at, breaks = START, 0
        for number, (duration, broken, gap) in enumerate(shape):
            if gap:
                entries.append(ListedGap(number, at, duration, breaks))
            else:
                breaks += broken
                entries.append(segment(number, at, duration=duration, broken=broken, breaks=breaks))
            at += duration
        before = (-1, -1)
        whole = media_playlist(9, entries)
        for first in range(len(entries)):
            last = data.draw(st.integers(first + 1, len(entries)))
            text = media_playlist(9, entries[first:last])
            self.assertTrue("".join(map(segment_lines, entries[first:last])) in whole)
            self.assertTrue(text.endswith("".join(map(segment_lines, entries[first:last]))))
            tags = dict(line.split(":", 1) for line in text.splitlines() if "-SEQUENCE:" in line)
            now = (
                int(tags["#EXT-X-MEDIA-SEQUENCE"]),
                int(tags.get("#EXT-X-DISCONTINUITY-SEQUENCE", 0)),
            )
            self.assertTrue(now[0] > before[0] and now[1] >= before[1])
            before = now


class Master(SynchronousTestCase):
    tracks = (h264_track(1, 900_000), aac_track(2, 100_000))

    def test_master(self) -> None:
        self.assertEqual(
            master_playlist("video.m3u8", self.tracks, 750_000, 450_000),
            "#EXTM3U\n"
            "#EXT-X-VERSION:3\n"
            '#EXT-X-STREAM-INF:BANDWIDTH=1200000,AVERAGE-BANDWIDTH=1000000,CODECS="avc1.64001E,mp4a.40.2",'
            "RESOLUTION=640x360,FRAME-RATE=25.000\n"
            "video.m3u8\n",
        )

    def test_audio_alone(self) -> None:
        text = master_playlist("video.m3u8", (aac_track(),), 1000, 450_000)
        self.assertIn('#EXT-X-STREAM-INF:BANDWIDTH=1600,AVERAGE-BANDWIDTH=1600,CODECS="mp4a.40.2"\n', text)

    def test_bandwidths(self) -> None:
        self.assertEqual(bandwidths(self.tracks, 1, 90_000), (1_000_000, 1_000_000))
        self.assertEqual(bandwidths((aac_track(),), 1, 90_001), (8, 8))
        self.assertEqual(bandwidths((), 0, 0), (1, 1))

    def test_codecs_are_complete_or_absent(self) -> None:
        broken = Track(track_id=3, kind=TrackKind.VIDEO, codec="avc1", config=b"")
        self.assertEqual(codecs_attribute((*self.tracks, broken)), "")
        self.assertEqual(codecs_attribute((aac_track(1), aac_track(2))), "mp4a.40.2")
        self.assertNotIn("CODECS", master_playlist("v", (broken,), 1, 1))

    def test_needs_master(self) -> None:
        self.assertFalse(needs_master(self.tracks))
        self.assertTrue(needs_master((*self.tracks, aac_track(3))))
        self.assertTrue(needs_master((h264_track(1), h264_track(2))))
