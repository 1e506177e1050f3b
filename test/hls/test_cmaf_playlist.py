"""Playlists of CMAF tracks, with and without low latency, and what each line depends on."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.hls.cmaf_playlist import ListedCmaf, LowLatency, Report, cmaf_playlist, part_target
from restreamer.live.cmaf import TrackPart
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND
from restreamer.testing.media import START

_SECOND = TICKS_PER_SECOND
_PART = _SECOND // 5


def part(start: int, duration: int = _PART, independent: bool = False) -> TrackPart:
    return TrackPart(start, start + duration, duration, start, independent, (0,))


def entry(
    number: int, start: int, duration: int = 2 * _SECOND, init: str = "init-1.mp4", **more: object
) -> ListedCmaf:
    wanted = {
        "discontinuity_sequence": 0,
        "parts": tuple(part(start + i * _PART, independent=not i) for i in range(2)),
    }
    return ListedCmaf(number=number, start=start, duration=duration, init=init, **{**wanted, **more})  # type: ignore[arg-type]


def row(count: int, first: int = 0) -> list[ListedCmaf]:
    return [entry(number, START + number * 2 * _SECOND) for number in range(first, first + count)]


class PlainTests(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(
            cmaf_playlist(4, row(2, 7)),
            "#EXTM3U\n"
            "#EXT-X-VERSION:6\n"
            "#EXT-X-TARGETDURATION:4\n"
            "#EXT-X-INDEPENDENT-SEGMENTS\n"
            "#EXT-X-MEDIA-SEQUENCE:7\n"
            '#EXT-X-MAP:URI="init-1.mp4"\n'
            "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:34.000Z\n"
            "#EXTINF:2.000,\n"
            "7.m4s\n"
            "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:36.000Z\n"
            "#EXTINF:2.000,\n"
            "8.m4s\n",
        )

    def test_empty(self) -> None:
        self.assertIn("#EXT-X-MEDIA-SEQUENCE:0\n", cmaf_playlist(4, []))

    def test_map_where_it_changes(self) -> None:
        entries = [
            entry(1, START),
            entry(2, START, init=""),
            entry(3, START),
            entry(4, START, init="init-2.mp4", discontinuity=True, discontinuity_sequence=1),
        ]
        text = cmaf_playlist(4, entries, "http://cdn/x/tracks-v1/")
        lines = text.splitlines()
        self.assertEqual(
            [line for line in lines if "MAP" in line],
            [
                '#EXT-X-MAP:URI="http://cdn/x/tracks-v1/init-1.mp4"',
                '#EXT-X-MAP:URI="http://cdn/x/tracks-v1/init-2.mp4"',
            ],
        )
        self.assertEqual(lines.count("#EXT-X-GAP"), 1)
        self.assertIn("#EXT-X-VERSION:8\n", text)
        self.assertLess(text.index("#EXT-X-DISCONTINUITY\n"), text.index("init-2"))
        self.assertNotIn("DISCONTINUITY-SEQUENCE", text)
        self.assertIn(
            "#EXT-X-DISCONTINUITY-SEQUENCE:1\n", cmaf_playlist(4, [entry(5, START, discontinuity_sequence=1)])
        )

    def test_a_segment_that_had_to_be_cut(self) -> None:
        """No promise is given that does not hold."""
        self.assertNotIn(
            "INDEPENDENT-SEGMENTS", cmaf_playlist(4, [*row(2), entry(2, START, independent=False)])
        )


class LowLatencyTests(SynchronousTestCase):
    def test_all_of_it(self) -> None:
        opened = entry(9, START + 18 * _SECOND, duration=0)
        text = cmaf_playlist(
            4,
            row(2, 7),
            low_latency=LowLatency(
                part_target=18_450,
                open=opened,
                hint=(9, 2),
                reports=[
                    Report("../tracks-a1/mono.ll.m3u8", 9, 3),
                    Report("../tracks-a2/mono.ll.m3u8", 8, -1),
                ],
            ),
        )
        self.assertIn("#EXT-X-VERSION:9\n", text)
        self.assertIn(
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24.0,HOLD-BACK=12.0,PART-HOLD-BACK=1.000\n"
            "#EXT-X-PART-INF:PART-TARGET=0.205\n",
            text,
        )
        self.assertTrue(
            text.endswith(
                "8.m4s\n"
                "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:38.000Z\n"
                '#EXT-X-PART:DURATION=0.20000,URI="9.0.m4s",INDEPENDENT=YES\n'
                '#EXT-X-PART:DURATION=0.20000,URI="9.1.m4s"\n'
                '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="9.2.m4s"\n'
                '#EXT-X-RENDITION-REPORT:URI="../tracks-a1/mono.ll.m3u8",LAST-MSN=9,LAST-PART=3\n'
                '#EXT-X-RENDITION-REPORT:URI="../tracks-a2/mono.ll.m3u8",LAST-MSN=8\n'
            )
        )

    def test_an_open_segment_with_no_part(self) -> None:
        opened = entry(9, START, duration=0, parts=(), discontinuity=True, init="init-9.mp4")
        text = cmaf_playlist(4, row(2, 7), low_latency=LowLatency(part_target=1, open=opened, hint=(9, 0)))
        self.assertTrue(text.endswith('8.m4s\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI="9.0.m4s"\n'))
        self.assertNotIn("DISCONTINUITY", text)

    def test_parts_of_the_newest_only(self) -> None:
        text = cmaf_playlist(4, row(6), low_latency=LowLatency(part_target=18_450))
        self.assertEqual(
            [line[-9:-7] for line in text.splitlines() if "X-PART:" in line and "INDEP" not in line],
            ['"4', '"5'],
        )

    def test_delta(self) -> None:
        """What is older than six target durations is left out, and nothing else changes."""
        entries = row(20)
        whole = cmaf_playlist(4, entries, low_latency=LowLatency(part_target=18_450))
        delta = cmaf_playlist(4, entries, low_latency=LowLatency(part_target=18_450, skip=True))
        self.assertIn("#EXT-X-SKIP:SKIPPED-SEGMENTS=8\n", delta)
        head, _, rest = delta.partition("#EXT-X-SKIP:SKIPPED-SEGMENTS=8\n")
        self.assertTrue(whole.startswith(head))
        self.assertTrue(whole.endswith(rest))
        self.assertEqual(rest.count("#EXTINF"), 12)
        for few in (1, 12):
            text = cmaf_playlist(4, row(few), low_latency=LowLatency(part_target=18_450, skip=True))
            self.assertNotIn("SKIP:", text)

    def test_part_target(self) -> None:
        """It bounds every part, is no more than they are long, and does not move with their roundings."""
        for length, told in [
            (200, 205),
            (197, 205),
            (203, 205),
            (208, 215),
            (192, 195),
            (1000, 1005),
            (1, 5),
        ]:
            self.assertEqual(part_target([length * TICKS_PER_MS, 1], 0), told * TICKS_PER_MS, length)
        self.assertEqual(part_target([], _PART), 205 * TICKS_PER_MS)

    def test_long_parts_are_held_back_longer(self) -> None:
        text = cmaf_playlist(4, row(2), low_latency=LowLatency(part_target=_SECOND))
        self.assertIn("PART-HOLD-BACK=3.000", text)
