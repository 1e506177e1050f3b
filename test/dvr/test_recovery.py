"""What an hour holds after whatever happened to its files."""

from __future__ import annotations

import random

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.hour_cache import HourCache
from restreamer.dvr.hour_file import HourListing, list_day
from restreamer.dvr.recorded import Recorded
from restreamer.dvr.recovery import RecoveredHour, recover_hour
from restreamer.dvr.stream_store import StreamStore
from restreamer.m4f.hour_index import encode_hour
from test.dvr.memory_archive import FIRST
from test.dvr.recordings import FIRST_HOUR, HOUR, RUN, recorded, several, ticks
from test.dvr.simulated_disk import SimulatedDisk

DAY = "/cam/@2023-11-14"


def a_disk(count: int = 8, sealed: bool = False) -> SimulatedDisk:
    """With an hour of C{count} segments in several files."""
    disk = SimulatedDisk()
    store = StreamStore(disk, "", "cam", HourCache(), file_bytes=lambda: 800)
    other = evolve(RUN, run_id=8, discontinuities=1)
    for item in several(range(count)):
        late = item.segment.number - FIRST >= count // 2
        store.append(
            [Recorded(item.segment, other if late else RUN, item.segment.number - FIRST == count // 2)]
        )
    if sealed:
        store.seal(ticks(3 * HOUR))
    return disk


def recover(disk: SimulatedDisk, whole: bool = False) -> RecoveredHour:
    """The hour as its files tell."""
    listing = list_day(disk.names(DAY), FIRST_HOUR - FIRST_HOUR % 24).get(FIRST_HOUR, HourListing())
    return recover_hour(disk, DAY, FIRST_HOUR, listing, whole)


class Recoveries(SynchronousTestCase):
    """Of one hour."""

    def test_right(self) -> None:
        """Nothing is wrong with what nothing happened to."""
        for sealed in (False, True):
            for whole in (False, True):
                found = recover(a_disk(sealed=sealed), whole)
                self.assertTrue(found.as_logged)
                self.assertEqual((len(found.builder), found.damage, found.torn), (8, [], set()))

    def test_without_index(self) -> None:
        """The data alone gives the same index, byte by byte."""
        disk = a_disk(sealed=True)
        right = disk.read(f"{DAY}/22.index")
        disk.remove(f"{DAY}/22.index")
        found = recover(disk)
        self.assertEqual(encode_hour(found.builder.build()), right)
        self.assertEqual((found.found, found.bad_index), (8, True))

    def test_every_cut_of_the_log(self) -> None:
        """Rows that were lost are made again."""
        disk = a_disk()
        right = encode_hour(recover(disk).builder.build())
        log = bytes(disk.data(f"{DAY}/22.rows"))
        for size in range(0, len(log), 11):
            disk.data(f"{DAY}/22.rows")[:] = log[:size]
            self.assertEqual(encode_hour(recover(disk).builder.build()), right)

    def test_a_tail(self) -> None:
        """A torn tail is told of; what lies before it counts."""
        disk = a_disk()
        path = f"{DAY}/22-1.m4f"
        size = disk.size(path)
        disk.data(path).extend(b"\x23\0\0\0\1\0rest")
        found = recover(disk)
        self.assertEqual((found.torn, found.sizes[1], len(found.builder)), ({1}, size, 8))

    def test_data_that_is_gone(self) -> None:
        """Rows without data are dropped: a file that is short, one that is not there."""
        disk = a_disk()
        del disk.data(f"{DAY}/22.m4f")[-1:]
        disk.remove(f"{DAY}/22-1.m4f")
        rows = {row.file for row in recover(disk).builder.build()}
        self.assertNotIn(1, rows)
        self.assertIn(0, rows)
        self.assertGreater(recover(disk).lost, 1)

    def test_false_rows(self) -> None:
        """A row that says of a segment what is not true is made anew, when all data is read."""
        disk = a_disk(sealed=True)
        right = disk.read(f"{DAY}/22.index")
        for change in (
            {"duration": 5},
            {"shown": 9},
            {"flags": 0},
            {"checksum": 1},
            {"offset": 3},
            {"size": 9},
        ):
            builder = recover(disk).builder
            index = builder.build()
            builder._rows[FIRST + 2] = (index[2]._replace(**change), builder._rows[FIRST + 2][1])
            disk.data(f"{DAY}/22.index")[:] = encode_hour(builder.build())
            found = recover(disk, whole=True)
            self.assertEqual((found.lost, found.found), (1, 1), change)
            again = found.builder.build()
            self.assertEqual([row[:9] for row in again.tuples()], [row[:9] for row in index.tuples()])
            disk.data(f"{DAY}/22.index")[:] = right

    def test_two_of_one_number(self) -> None:
        """The one with a row counts, else the first."""
        disk = a_disk(2)
        store = StreamStore(SimulatedDisk(), "", "cam", HourCache())
        store.append([recorded(1, b"other"), recorded(5)])
        other = bytes(store._files.data(f"{DAY}/22.m4f"))  # type: ignore[attr-defined]
        disk.open(f"{DAY}/22-7.m4f").write(0, [other])
        before = recover(disk)
        self.assertEqual((before.found, len(before.builder)), (1, 3))
        self.assertEqual(before.builder.build()[1].file, 0)

    def test_of_another_hour(self) -> None:
        """A data file that got to another place is not believed."""
        disk = a_disk()
        disk.rename(f"{DAY}/22.m4f", f"{DAY}/23.m4f")
        listing = list_day(disk.names(DAY), FIRST_HOUR - FIRST_HOUR % 24)
        found = recover_hour(disk, DAY, FIRST_HOUR + 1, listing[FIRST_HOUR + 1])
        self.assertEqual(len(found.builder), 0)

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.integers(0, 1 << 32), st.booleans(), st.booleans())
    def test_any_damage(self, seed: int, sealed: bool, whole: bool) -> None:
        """Whatever is done to its files: it comes back, and what a scan confirms is all that was recorded."""
        chance = random.Random(seed)
        disk = a_disk(sealed=sealed)
        given_checksums = {row.number: row.checksum for row in recover(disk).builder.build()}
        for _ in range(chance.randrange(1, 5)):
            data = disk.data(chance.choice(disk.paths()))
            at = chance.randrange(len(data) + 1)
            way = chance.randrange(4)
            if way == 0:
                del data[at:]
            elif way == 1:
                del data[at : at + chance.randrange(1, 200)]
            elif way == 2:
                data[at:at] = chance.randbytes(chance.randrange(300))
            elif data:
                data[at % len(data)] ^= chance.randrange(1, 256)
        index = recover(disk, whole).builder.build()
        for row in index:
            self.assertEqual(row.checksum, given_checksums[row.number])
