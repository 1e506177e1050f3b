"""C{restreamer dvr check}: read a whole archive, and say what is wrong with it; repair what can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TextIO

from attrs import define, field, frozen

from restreamer.dvr.filesystem import TEMPORARY, Filesystem, RealFilesystem, remove_quietly
from restreamer.dvr.hour_file import HourListing, data_name, day_folder, list_day, parse_day
from restreamer.dvr.locks import LOCKS, decode_locks
from restreamer.dvr.open_hour import FILE_BYTES, OpenHour
from restreamer.dvr.recovery import RecoveredHour, recover_hour
from restreamer.dvr.store import MARKER, Store, describe_error
from restreamer.dvr.summary import SUMMARY, HourFacts, decode_summary, facts_of
from restreamer.errors import RemoteProtocolError, RestreamerError

#: Exit statuses: all is right (now); something is wrong; it could not be checked.
RIGHT, WRONG, IMPOSSIBLE = 0, 1, 2
#: Most lines about what is wrong.
MAX_LINES = 1000
_MIB = 1024 * 1024


class NoArchivesError(RestreamerError):
    """A folder that is no volume of archives."""


@frozen
class Problem:
    """@ivar path: of a file or folder. @ivar text: what is wrong. @ivar repaired: it was, and is not now."""

    path: str
    text: str
    repaired: bool


@define
class CheckReport:
    """What was found.

    @ivar notes: what is not as it was written and needs no repair: nothing refers to it.
    """

    streams: int = 0
    hours: int = 0
    segments: int = 0
    bytes: int = 0
    problems: list[Problem] = field(factory=list)
    notes: list[Problem] = field(factory=list)

    @property
    def right(self) -> bool:
        """Whether all is right now."""
        return all(problem.repaired for problem in self.problems)


@define(eq=False)
class _Check:
    """One run. @ivar live: another process records there. @ivar progress: told of bytes done, of bytes in
    all, and of the stream.
    """

    store: Store
    files: Filesystem
    repair: bool
    live: bool
    progress: Callable[[int, int, str], None]
    report: CheckReport = field(factory=CheckReport)
    _done: int = 0
    _all: int = 0

    def run(self) -> None:
        """Check every stream."""
        names = self.store.names(lambda path, error: self._problem(path, describe_error(error), False))
        self._all = sum(map(self._size, names))
        for name in names:
            self.report.streams += 1
            self._stream(name)
        self.progress(self._all, self._all, "")

    def _hours(self, name: str, tell: bool = False) -> Iterator[tuple[str, int, HourListing]]:
        """All hours. @param tell: say of days that cannot be looked at."""
        folder = f"{self.store.root}/{name}"
        days = {day: first for day in self.files.names(folder) if (first := parse_day(day)) is not None}
        for day in sorted(days):
            if self.files.is_link(f"{folder}/{day}"):
                if tell:
                    self.report.notes.append(
                        Problem(f"{folder}/{day}", "is a link: it is passed over", False)
                    )
                continue
            try:
                inside = self.files.names(f"{folder}/{day}")
            except NotADirectoryError:
                if tell:
                    self.report.notes.append(Problem(f"{folder}/{day}", "is no folder", False))
                continue
            except FileNotFoundError:
                continue
            except OSError as error:
                if tell:
                    self._problem(f"{folder}/{day}", describe_error(error), False)
                continue
            listed = list_day(inside, days[day])
            for hour in sorted(listed):
                yield f"{folder}/{day}", hour, listed[hour]

    def _size(self, name: str) -> int:
        size = 0
        for folder, hour, listing in self._hours(name):
            for number in listing.data:
                try:
                    size += self.files.size(f"{folder}/{data_name(hour, number)}")
                except OSError:
                    continue
        return size

    def _stream(self, name: str) -> None:
        summary = self._summary(name)
        false = False
        self._locks(name)
        for folder, hour, listing in list(self._hours(name, tell=True)):
            self.report.hours += 1
            known = summary.get(hour)
            try:
                recovered = recover_hour(
                    self.files, folder, hour, listing, whole=True, progress=lambda n: self._read(n, name)
                )
            except OSError as error:
                if not (self.live and isinstance(error, FileNotFoundError)):
                    self._problem(f"{folder}/{hour % 24:02}", describe_error(error), False)
                # A node that records here has deleted it meanwhile, or is done with writing it.
                continue
            wrong = self._hour(folder, hour, listing, recovered)
            believed = not wrong and listing.index and not listing.rows
            if known is not None and believed and listing.data == {file.number for file in known.files}:
                index = recovered.builder.build()
                false = false or not len(index) or facts_of(index, recovered.sizes) != known
        self._temporary(name)
        if false:
            self._problem(
                f"{self.store.root}/{name}/{SUMMARY}", "does not say what the hours hold", self.repair
            )
        if self.repair:
            remove_quietly(self.files, f"{self.store.root}/{name}/{SUMMARY}")
            self.store.stream(name).open()

    def _read(self, count: int, name: str) -> None:
        self._done += count
        self.progress(self._done, self._all, name)

    def _hour(self, folder: str, hour: int, listing: HourListing, recovered: RecoveredHour) -> bool:
        """Tell of an hour. @return: whether something is wrong with it."""
        self.report.segments += len(recovered.builder)
        self.report.bytes += sum(recovered.sizes.values())
        place = f"{folder}/{hour % 24:02}"
        # Whoever writes it knows where it ends.
        written = listing.rows and self.live
        wrong, ends = [], []
        if recovered.bad_index:
            wrong.append("has no index" if not listing.index else "its index is damaged")
        if recovered.bad_log:
            ends.append("the end of its log is torn")
        if recovered.lost:
            # Of an hour that is being written the log may be newer than what was read of the data.
            (ends if written else wrong).append(f"{_counted(recovered.lost, 'row')} without a whole segment")
        if recovered.found:
            ends.append(f"{_counted(recovered.found, 'segment')} without a row")
        for each in recovered.damage:
            size = each.damage.end - each.damage.begin
            path = f"{folder}/{data_name(hour, each.number)}"
            if each.number in recovered.tails and each.damage.end > recovered.sizes[each.number]:
                ends.append(f"{data_name(hour, each.number)} has a torn tail of {size} bytes")
            else:
                text = f"{size} bytes at {each.damage.begin} are no segment: {each.damage.text}"
                self.report.notes.append(Problem(path, text, False))
        if written:
            self.report.notes += [Problem(place, f"{text}: it is being written", False) for text in ends]
        else:
            wrong += ends
        self._strays(folder, hour, recovered)
        if recovered.strays and not len(recovered.builder):
            # Nothing of its own is there: what there is has to be moved, not repaired.
            return True
        repaired = False
        if wrong and self.repair:
            repaired = self._repair(folder, hour, listing, recovered)
        for text in wrong:
            self._problem(place, text, repaired)
        return bool(wrong)

    def _strays(self, folder: str, hour: int, recovered: RecoveredHour) -> None:
        """Tell of data that no row names, and whose it is."""
        for number, hours in sorted(recovered.strays.items()):
            first = min(hours)
            there = f"{day_folder(first)}/{data_name(first, number)}"
            text = f"{_counted(len(hours), 'segment')} of another hour: the place of the file is {there}"
            self._problem(f"{folder}/{data_name(hour, number)}", text, False)
        named = {row.file for row in recovered.builder.build()}
        damaged = {each.number for each in recovered.damage}
        for number, size in sorted(recovered.sizes.items()):
            if size and number not in named and number not in recovered.strays and number not in damaged:
                text = f"{size} bytes that other files have too: it may be deleted"
                self.report.notes.append(Problem(f"{folder}/{data_name(hour, number)}", text, False))

    def _locks(self, name: str) -> None:
        path = f"{self.store.root}/{name}/{LOCKS}"
        try:
            decode_locks(self.files.read(path))
        except FileNotFoundError:
            return
        except ValueError:
            text = "is damaged: all of the stream counts as locked, and nothing of it is deleted"
            self._problem(path, text, False)
        except OSError as error:
            self._problem(path, describe_error(error), False)

    def _repair(self, folder: str, hour: int, listing: HourListing, recovered: RecoveredHour) -> bool:
        try:
            for number in recovered.tails:
                file = self.files.open(f"{folder}/{data_name(hour, number)}")
                try:
                    file.truncate(recovered.sizes[number])
                    file.sync()
                finally:
                    file.close()
            held = OpenHour.of_recovered(self.files, folder, FILE_BYTES, recovered, listing.rows)
            index = held.seal()
        except OSError:
            return False
        if not len(index) and listing.index:
            remove_quietly(self.files, f"{folder}/{hour % 24:02}.index")
        return True

    def _temporary(self, name: str) -> None:
        folder = f"{self.store.root}/{name}"
        days = [f"{folder}/{day}" for day in self.files.names(folder) if parse_day(day) is not None]
        for place in [folder, *[day for day in days if not self.files.is_link(day)]]:
            try:
                inside = self.files.names(place)
            except OSError:
                continue
            for left in inside:
                if left.endswith(TEMPORARY):
                    if self.repair:
                        remove_quietly(self.files, f"{place}/{left}")
                    self.report.notes.append(Problem(f"{place}/{left}", "was never finished", self.repair))

    def _summary(self, name: str) -> dict[int, HourFacts]:
        try:
            found = decode_summary(self.files.read(f"{self.store.root}/{name}/{SUMMARY}"))
        except FileNotFoundError:
            return {}
        except RemoteProtocolError:
            self._problem(f"{self.store.root}/{name}/{SUMMARY}", "is damaged", self.repair)
            return {}
        return {each.hour: each for each in found}

    def _problem(self, path: str, text: str, repaired: bool) -> None:
        self.report.problems.append(Problem(path, text, repaired))


def check_store(
    root: str,
    repair: bool,
    progress: Callable[[int, int, str], None] = lambda _done, _all, _name: None,
    files: Filesystem | None = None,
) -> CheckReport:
    """Read and verify all of a volume.

    @param repair: make indexes anew, cut torn tails.
    @param progress: told of bytes done, bytes in all, and the stream that is being read.
    @raise NoArchivesError: it is no volume of archives.
    @raise OSError: it cannot be read; or a repair is asked for, and another process has it.
    """
    files = files or RealFilesystem()
    try:
        files.size(f"{root.rstrip('/')}/{MARKER}")
    except FileNotFoundError:
        raise NoArchivesError(f"no archives: there is no {MARKER}") from None
    store = Store(root, files)
    if repair:
        store.open()
    live = not repair and store.in_use()
    try:
        check = _Check(store, files, repair, live, progress)
        check.run()
        return check.report
    finally:
        store.close()


def run(root: str, repair: bool, out: TextIO, err: TextIO) -> int:
    """The command. @return: the exit status."""
    bar = _Bar(err)
    try:
        report = check_store(root, repair, bar.show)
    except NoArchivesError as error:
        print(f"{root}: {error}", file=err)
        return IMPOSSIBLE
    except OSError as error:
        print(f"{root}: {describe_error(error)}", file=err)
        return IMPOSSIBLE
    finally:
        bar.clear()
    for note in report.notes[:MAX_LINES]:
        print(f"{note.path}: {note.text}", file=out)
    for problem in report.problems[:MAX_LINES]:
        print(f"{problem.path}: {problem.text}{' (repaired)' if problem.repaired else ''}", file=out)
    left = max(0, len(report.notes) - MAX_LINES) + max(0, len(report.problems) - MAX_LINES)
    if left:
        print(f"and {left} more", file=out)
    counts = f"{_counted(report.streams, 'stream')}, {_counted(report.segments, 'segment')}"
    counts += f", {report.bytes / _MIB:.1f} MiB"
    if report.right:
        print(f"{root}: right, {counts}", file=out)
        return RIGHT
    wrong = sum([not problem.repaired for problem in report.problems])
    print(f"{root}: {_counted(wrong, 'problem')}, {counts}", file=out)
    return WRONG


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


@define(eq=False)
class _Bar:
    """Shows how far it is, where somebody looks at it."""

    _out: TextIO
    _shown: str = ""

    def show(self, done: int, in_all: int, name: str) -> None:
        """Show C{done} of C{in_all} bytes."""
        if not self._out.isatty():
            return
        part = min(1.0, done / in_all) if in_all else 1.0
        bar = "#" * int(part * 30)
        text = f"[{bar:30}] {part:4.0%}  {done // _MIB} of {in_all // _MIB} MiB  {name[:40]}"
        if text != self._shown:
            self._out.write(f"\r{text.ljust(len(self._shown))}")
            self._out.flush()
            self._shown = text

    def clear(self) -> None:
        """It is over."""
        if self._shown:
            self._out.write(f"\r{' ' * len(self._shown)}\r")
            self._out.flush()
