"""Names of files, and the log of rows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.hour_file import (
    MAX_FILES,
    MAX_HOUR_NUMBER,
    HourFile,
    HourListing,
    data_name,
    day_folder,
    decode_log,
    encode_entry,
    index_name,
    list_day,
    parse_day,
    parse_name,
    rows_name,
)
from restreamer.dvr.recorded import archived_run
from restreamer.m4f.hour_index import HourBuilder, HourIndex
from test.dvr.recordings import FIRST_HOUR, RUN, recorded


def entry(*numbers: int) -> HourIndex:
    """An index of a few segments."""
    builder = HourBuilder(FIRST_HOUR)
    for number in numbers:
        item = recorded(number)
        row, spans = item.row()
        builder.add(row, item.segment.tracks, archived_run(RUN), spans)
    return builder.build()


class Names(SynchronousTestCase):
    """Of files and folders."""

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.integers(0, MAX_HOUR_NUMBER - 1), st.integers(0, MAX_FILES - 1))
    def test_round_trip(self, hour: int, number: int) -> None:
        """Each name is understood."""
        self.assertEqual(parse_day(day_folder(hour)), hour - hour % 24)
        self.assertEqual(parse_name(data_name(hour, number)), HourFile(hour % 24, "m4f", number))
        self.assertEqual(parse_name(rows_name(hour)), HourFile(hour % 24, "rows", -1))
        self.assertEqual(parse_name(index_name(hour)), HourFile(hour % 24, "index", -1))

    def test_examples(self) -> None:
        """As the documentation shows them."""
        hour = FIRST_HOUR
        self.assertEqual(day_folder(hour), "@2023-11-14")
        self.assertEqual(
            [data_name(hour, 0), data_name(hour, 12), rows_name(hour), index_name(hour)],
            ["22.m4f", "22-12.m4f", "22.rows", "22.index"],
        )

    def test_strangers(self) -> None:
        """What is none of ours is left alone."""
        for name in (
            "",
            "24.m4f",
            "1.m4f",
            "01-0.m4f",
            "01-65536.m4f",
            "01.index.new",
            "01-1.rows",
            "01.m4f\n",
        ):
            self.assertIsNone(parse_name(name), name)
        for name in ("2023-11-14", "@2023-02-30", "@1969-12-31", "@2023-1-1", "@2023-11-14x", "@locks"):
            self.assertIsNone(parse_day(name), name)

    def test_listing(self) -> None:
        """The hours of a day."""
        names = ["00.m4f", "00-3.m4f", "00.index", "07.rows", "07.m4f", "x", "00.index.new"]
        self.assertEqual(
            list_day(names, 48),
            {48: HourListing(True, False, {0, 3}), 55: HourListing(False, True, {0})},
        )


class Log(SynchronousTestCase):
    """The log of rows."""

    def test_every_cut(self) -> None:
        """The entries before a torn one are read."""
        first, second = encode_entry(entry(0)), encode_entry(entry(1, 2))
        log = first + second
        for size in range(len(log) + 1):
            entries, end = decode_log(log[:size], FIRST_HOUR)
            count = (size >= len(first)) + (size >= len(log))
            self.assertEqual((len(entries), end), (count, [0, len(first), len(log)][count]))

    def test_every_byte(self) -> None:
        """No byte can change unseen."""
        first, second = encode_entry(entry(0)), encode_entry(entry(1))
        for at in range(len(first), len(first) + len(second)):
            log = bytearray(first + second)
            log[at] ^= 0x10
            entries, end = decode_log(bytes(log), FIRST_HOUR)
            self.assertEqual((len(entries), end), (1, len(first)), at)

    def test_another_hour(self) -> None:
        """A log that got to another place is not believed."""
        self.assertEqual(decode_log(encode_entry(entry(0)), FIRST_HOUR + 1), ([], 0))

    def test_zeros(self) -> None:
        """As power cuts leave them."""
        self.assertEqual(decode_log(bytes(4096), FIRST_HOUR), ([], 0))
