"""Segment names: tables, and that a name means one segment."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.hls.names import GAP_PATTERN, SEGMENT_PATTERN, gap_uri, parse_segment_uri, segment_uri
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import START

_SETTINGS = settings(deadline=None, max_examples=200, derandomize=True)
_STARTS = st.integers(0, 4_000_000_000 * TICKS_PER_SECOND)


class Names(SynchronousTestCase):
    def test_table(self) -> None:
        for start, duration, uri in [
            (START, 450_000, "2023/11/14/22/13/20-05000.ts"),
            (START + 89_999, 450_044, "2023/11/14/22/13/20-05000.ts"),
            (START + 90_000, 450_045, "2023/11/14/22/13/21-05001.ts"),
            (START, 90_000, "2023/11/14/22/13/20-01000.ts"),
            (START, 89_999, "2023/11/14/22/13/20-01000-77.ts"),
            (START, 43_200, "2023/11/14/22/13/20-00480-77.ts"),
            (START, 90 * 123_456, "2023/11/14/22/13/20-123456.ts"),
            (0, 450_000, "1970/01/01/00/00/00-05000.ts"),
        ]:
            self.assertEqual(segment_uri(start, duration, 77), uri)

    def test_not_names(self) -> None:
        for uri in [
            "",
            "2023/11/14/22/13/20-05000",
            "2023/13/14/22/13/20-05000.ts",
            "2023/02/30/22/13/20-05000.ts",
            "0000/01/01/00/00/00-05000.ts",
            "2023/11/14/22/13/60-05000.ts",
            "2023/11/14/22/13/20-5000.ts",
            "2023/11/14/22/13/20--5000.ts",
            "2023/11/14/22/13/20-05000.ts\n",
            "٢٠٢٣/11/14/22/13/20-05000.ts",
            "2023/11/14/22/13/20-05000-" + "9" * 30 + ".ts",
        ]:
            self.assertIsNone(parse_segment_uri(uri), uri)

    @_SETTINGS
    @given(_STARTS, st.integers(1, 90_000 * 600), st.integers(0, 2**63))
    def test_read_back(self, start: int, duration: int, number: int) -> None:
        uri = segment_uri(start, duration, number)
        self.assertIsNotNone(re.fullmatch(SEGMENT_PATTERN, uri))
        name = parse_segment_uri(uri)
        assert name is not None
        self.assertEqual(name.second, start - start % TICKS_PER_SECOND)
        self.assertTrue(abs(name.milliseconds * 90 - duration) <= 45)
        self.assertEqual(name.number, number if duration < TICKS_PER_SECOND else None)

    @_SETTINGS
    @given(_STARTS, st.lists(st.integers(1, 200_000), min_size=2, max_size=12))
    def test_neighbours_differ(self, start: int, durations: list[int]) -> None:
        uris = []
        for number, duration in enumerate(durations):
            uris.append(segment_uri(start, duration, number))
            start += duration
        self.assertEqual(len(set(uris)), len(uris))

    def test_gaps(self) -> None:
        self.assertEqual(gap_uri(12), "gap-12.ts")
        self.assertIsNotNone(re.fullmatch(GAP_PATTERN, gap_uri(12)))
        self.assertIsNone(re.fullmatch(SEGMENT_PATTERN, gap_uri(12)))
