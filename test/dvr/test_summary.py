"""The summary of an archive, and ranges without a gap."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.seams import Span
from restreamer.dvr.spans import JOINED, join_spans, spans_of
from restreamer.dvr.summary import MAX_SPANS, FileFacts, HourFacts, decode_summary, encode_summary, facts_of
from restreamer.errors import RemoteProtocolError
from restreamer.m4f.hour_index import ArchivedRun, HourBuilder, Row
from test.dvr.recordings import FIRST_HOUR
from test.dvr.test_hour_file import entry

times = st.integers(-(1 << 52), 1 << 52)
facts = st.builds(
    HourFacts,
    st.integers(0, 1 << 24),
    st.integers(0, 40_000),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 60),
    st.integers(0, 1 << 60),
    st.lists(st.builds(Span, times, times), max_size=4).map(tuple),
    st.lists(
        st.builds(FileFacts, st.integers(0, 65535), st.integers(0, 1 << 40), times, times), max_size=4
    ).map(tuple),
)
summaries = st.lists(facts, max_size=6, unique_by=lambda each: each.hour)


class Summaries(SynchronousTestCase):
    """The file."""

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(summaries)
    def test_round_trip(self, hours: list[HourFacts]) -> None:
        """What was written is read, by rising hours."""
        self.assertEqual(decode_summary(encode_summary(hours)), sorted(hours, key=lambda each: each.hour))

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.one_of(st.binary(max_size=200), summaries.map(encode_summary)), st.integers(0, 1 << 16))
    def test_damage(self, data: bytes, at: int) -> None:
        """Any other bytes are refused."""
        wrong = bytearray(data or b"x")
        wrong[at % len(wrong)] ^= 0x40
        self.assertRaises(RemoteProtocolError, decode_summary, bytes(wrong))

    def test_facts(self) -> None:
        """What is said of an hour."""
        index = entry(0, 1, 5)
        found = facts_of(index, {0: 1000, 9: 5})
        first, last = index[0], index[2]
        self.assertEqual(found.hour, FIRST_HOUR)
        self.assertEqual((found.rows, found.size), (3, 3 * first.size))
        self.assertEqual(found.spans, (Span(first.start, index[1].end), Span(last.start, last.end)))
        self.assertEqual(found.files, (FileFacts(0, 1000, first.start, last.end),))
        self.assertEqual(found.disk_size, 1000)

    def test_very_many_gaps(self) -> None:
        """The spans of an hour are bounded."""
        builder = HourBuilder(0)
        for number in range(MAX_SPANS + 100):
            row = Row(number, number * 4 * JOINED, JOINED, 0, 0, 0, 1, 0, 0, 0, 0)
            builder.add(row, (), ArchivedRun(0, 0, 0, bytes(16)), ())
        found = facts_of(builder.build(), {})
        self.assertEqual(len(found.spans), MAX_SPANS)
        self.assertEqual(found.spans[-1].end, (MAX_SPANS + 99) * 4 * JOINED + JOINED)


class Joined(SynchronousTestCase):
    """Ranges put together."""

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=12))
    def test_as_sets(self, pieces: list[tuple[int, int]]) -> None:
        """The same as counting every tenth of a second."""
        tick = JOINED // 10
        spans = [Span(at * 10 * tick, (at * 10 + length * 10) * tick) for at, length in pieces]
        joined = join_spans(spans)
        for one, other in pairwise(joined):
            self.assertGreater(other.start, one.end + JOINED)
        for span in spans:
            self.assertTrue(any(each.start <= span.start and span.end <= each.end for each in joined))
        edges = {span.start for span in spans} | {span.end for span in spans}
        self.assertTrue(all(each.start in edges and each.end in edges for each in joined))

    def test_of_an_index(self) -> None:
        """Rows that follow each other are one."""
        index = entry(*range(10), *range(12, 20))
        self.assertEqual(
            spans_of(index), (Span(index[0].start, index[9].end), Span(index[10].start, index[17].end))
        )
