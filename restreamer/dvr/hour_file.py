"""The files of one UTC hour of a stream: their names, and the log of rows (pure).

@2026-11-22/13.m4f, 13-1.m4f …   data: records (L{restreamer.dvr.disk_record})
@2026-11-22/13.rows              what was recorded, while the hour is written
@2026-11-22/13.index             the same as one index, once it is over
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from attrs import define, field

from restreamer.errors import RemoteProtocolError
from restreamer.m4f.hour_index import HourIndex, decode_hour, encode_hour
from restreamer.m4f.hour_layout import MAX_HOUR

#: Data files of an hour at most: a row has 16 bits for the number.
MAX_FILES = 1 << 16
#: Hours that a date of four digits can name, from the epoch on.
MAX_HOUR_NUMBER = (date.max.toordinal() - date(1970, 1, 1).toordinal() + 1) * 24

_EPOCH = date(1970, 1, 1).toordinal()
_DAY = re.compile(r"@([0-9]{4})-([0-9]{2})-([0-9]{2})")
_FILE = re.compile(r"([01][0-9]|2[0-3])(?:(?:-([1-9][0-9]{0,4}))?\.m4f|\.(rows|index))")
_SIZE = struct.Struct(">I")


class HourFile(NamedTuple):
    """What a file of a day's folder is. @ivar hour: of the day. @ivar number: of a data file; else -1.

    @ivar kind: C{m4f}, C{rows} or C{index}.
    """

    hour: int
    kind: str
    number: int


def day_folder(hour: int) -> str:
    """The folder of the files of C{hour} (since the epoch)."""
    return f"@{date.fromordinal(_EPOCH + hour // 24).isoformat()}"


def data_name(hour: int, number: int) -> str:
    """The name of a data file."""
    return f"{hour % 24:02}-{number}.m4f" if number else f"{hour % 24:02}.m4f"


def rows_name(hour: int) -> str:
    """The name of the log of rows."""
    return f"{hour % 24:02}.rows"


def index_name(hour: int) -> str:
    """The name of the index."""
    return f"{hour % 24:02}.index"


def parse_day(name: str) -> int | None:
    """The first hour of the day a folder is of; None when it is none of a day."""
    match = _DAY.fullmatch(name)
    if match is None:
        return None
    try:
        day = date(*[int(part) for part in match.groups()]).toordinal() - _EPOCH
    except ValueError:
        return None
    return day * 24 if day >= 0 else None


def parse_name(name: str) -> HourFile | None:
    """What a file of a day's folder is; None: nothing of an archive."""
    match = _FILE.fullmatch(name)
    if match is None:
        return None
    hour, number, kind = match.groups()
    if kind is not None:
        return HourFile(int(hour), kind, -1)
    at = int(number or 0)
    return HourFile(int(hour), "m4f", at) if at < MAX_FILES else None


@define
class HourListing:
    """The files of one hour, as their folder lists them.

    @ivar data: numbers of its data files.
    """

    index: bool = False
    rows: bool = False
    data: set[int] = field(factory=set)


def list_day(names: Iterable[str], first: int) -> dict[int, HourListing]:
    """The hours of a day's folder.

    @param names: what is in it. @param first: the first hour of the day.
    """
    found: dict[int, HourListing] = {}
    for name in names:
        file = parse_name(name)
        if file is not None:
            listing = found.setdefault(first + file.hour, HourListing())
            if file.kind == "index":
                listing.index = True
            elif file.kind == "rows":
                listing.rows = True
            else:
                listing.data.add(file.number)
    return found


def encode_entry(index: HourIndex) -> bytes:
    """An entry of the log: an index of a few rows behind its size."""
    encoded = encode_hour(index)
    return _SIZE.pack(len(encoded)) + encoded


def decode_log(data: bytes, hour: int) -> tuple[list[HourIndex], int]:
    """The entries of a log up to the first one that is torn or damaged, and where they end."""
    found = []
    at = 0
    while at + _SIZE.size <= len(data):
        end = at + _SIZE.size + _SIZE.unpack_from(data, at)[0]
        if not at + _SIZE.size < end <= min(len(data), at + _SIZE.size + MAX_HOUR):
            break
        try:
            index = decode_hour(data[at + _SIZE.size : end])
        except RemoteProtocolError:
            break
        if index.hour != hour:
            break
        found.append(index)
        at = end
    return found, at
