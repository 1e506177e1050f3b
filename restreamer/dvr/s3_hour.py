"""How an archive lies in an object store: names of objects, and what says which of them are an hour (pure).

STREAM/@2026-11-22/13-0123456789abcdef.m4f   a data file, named after its SHA-256: a name means one thing
STREAM/@2026-11-22/13.hour                   which of them make up the hour, and its index; written after them
STREAM/@days/2026-11-22                      what the hours of a day hold; written last
"""

from __future__ import annotations

import json
import re

from attrs import field, frozen

from restreamer.dvr.hour_file import day_folder, parse_day
from restreamer.errors import RemoteProtocolError
from restreamer.m4f.hour_index import HourIndex, decode_hour, encode_hour
from restreamer.m4f.hour_layout import MAX_HOUR

#: Bytes of an hour object at most, and of what stands before its index.
MAX_HEAD = 4 * 1024 * 1024
MAX_HOUR_OBJECT = MAX_HEAD + MAX_HOUR
#: Bytes of a day object at most.
MAX_DAY_OBJECT = 16 * 1024 * 1024
_VERSION = 1
_WHERE = "hour of an object store"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@frozen
class CopiedFile:
    """A data file in an object store. @ivar size: bytes. @ivar sha256: of them, hexadecimal."""

    size: int
    sha256: str


@frozen(eq=False)
class CopiedHour:
    """An hour in an object store.

    @ivar files: its data files; the C{file} of a row is a place among them. @ivar index: its segments.
    """

    index: HourIndex
    files: tuple[CopiedFile, ...] = field(repr=False)


def data_object(stream: str, hour: int, file: CopiedFile) -> str:
    """The name of a data file."""
    return f"{stream}/{day_folder(hour)}/{hour % 24:02}-{file.sha256[:16]}.m4f"


def hour_object(stream: str, hour: int) -> str:
    """The name of what says which objects are an hour."""
    return f"{stream}/{day_folder(hour)}/{hour % 24:02}.hour"


def days_prefix(stream: str) -> str:
    """What the names of all days of a stream begin with."""
    return f"{stream}/@days/"


def day_object(stream: str, hour: int) -> str:
    """The name of what says what the day of C{hour} holds."""
    return days_prefix(stream) + day_folder(hour)[1:]


def first_hour(stream: str, name: str) -> int | None:
    """The first hour of the day that a day object is of; None: it is none."""
    prefix = days_prefix(stream)
    return parse_day("@" + name[len(prefix) :]) if name.startswith(prefix) else None


def encode_copied(copied: CopiedHour) -> bytes:
    """The bytes of an hour object."""
    head = {"version": _VERSION, "files": [[each.size, each.sha256] for each in copied.files]}
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + encode_hour(copied.index)


def decode_copied(data: bytes, hour: int) -> CopiedHour:
    """Read what L{encode_copied} wrote.

    @raise RemoteProtocolError: for anything else.
    """
    end = data.find(b"\n", 0, MAX_HEAD)
    if end < 0:
        raise RemoteProtocolError(_WHERE, "it has no head")
    try:
        head = json.loads(data[:end])
        version, listed = head["version"], head["files"]
        files = tuple([CopiedFile(size, sha256) for size, sha256 in listed])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RemoteProtocolError(_WHERE, "its head is damaged") from None
    if version != _VERSION:
        raise RemoteProtocolError(_WHERE, "of another version")
    for each in files:
        known = type(each.size) is int and isinstance(each.sha256, str)
        if not known or each.size < 0 or not _SHA256.fullmatch(each.sha256):
            raise RemoteProtocolError(_WHERE, "its head is damaged")
    index = decode_hour(data[end + 1 :])
    if index.hour != hour:
        raise RemoteProtocolError(_WHERE, f"it is hour {index.hour}, not {hour}")
    for row in index:
        if row.file >= len(files) or row.offset + row.size > files[row.file].size:
            raise RemoteProtocolError(_WHERE, f"segment {row.number} lies in no file")
    return CopiedHour(index, files)
