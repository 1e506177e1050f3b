"""Fields several records share: names, texts, paths, runs; checked in both directions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from attrs import asdict

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.layout import MAX_NUMBER, MAX_TIME
from restreamer.m4f.record_layout import MAX_TEXT
from restreamer.m4f.record_values import MAX_PATH, NODE_ID_SIZE, RunInfo, Stretch
from restreamer.media.names import valid_stream_name

_WHERE = "M4F record"


@lru_cache(maxsize=8192)
def name_to_wire(name: str) -> bytes:
    """A stream name as bytes.

    @raise LocalProtocolError: when it may not name a stream.
    """
    if not valid_stream_name(name):
        raise LocalProtocolError("not a stream name")
    return name.encode("ascii")


@lru_cache(maxsize=8192)
def name_from_wire(data: bytes) -> str:
    """A stream name from bytes.

    @raise RemoteProtocolError: when it may not name a stream.
    """
    name = data.decode("ascii", "replace")
    if not valid_stream_name(name):
        raise RemoteProtocolError(_WHERE, "not a stream name")
    return name


def text_to_wire(text: str) -> bytes:
    """A title or reason as UTF-8, cut between characters to L{MAX_TEXT} bytes."""
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_TEXT:
        data = data[:MAX_TEXT].decode("utf-8", "ignore").encode()
    return data


def text_from_wire(data: bytes) -> str:
    """A title or reason.

    @raise RemoteProtocolError: when it is too long or not UTF-8.
    """
    if len(data) > MAX_TEXT:
        raise RemoteProtocolError(_WHERE, f"text of {len(data)} bytes, at most {MAX_TEXT}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(_WHERE, "text is not UTF-8") from error


def path_to_wire(path: tuple[bytes, ...]) -> list[bytes]:
    """A path of node ids.

    @raise LocalProtocolError: when it is too long or an id has another size.
    """
    if len(path) > MAX_PATH:
        raise LocalProtocolError(f"a path over {len(path)} nodes, at most {MAX_PATH}")
    if any(len(node) != NODE_ID_SIZE for node in path):
        raise LocalProtocolError(f"a node id is {NODE_ID_SIZE} bytes")
    return list(path)


def path_from_wire(path: list[bytes]) -> tuple[bytes, ...]:
    """A path of node ids.

    @raise RemoteProtocolError: when it is too long.
    """
    if len(path) > MAX_PATH:
        raise RemoteProtocolError(_WHERE, f"a path over {len(path)} nodes, at most {MAX_PATH}")
    return tuple(path)


def run_to_wire(run: RunInfo) -> dict[str, Any]:
    """A run as the fields of its description.

    @raise LocalProtocolError: when it does not fit.
    """
    return {
        "run_id": run.run_id,
        "run_start": run.run_start,
        "ingest_node": path_to_wire((run.ingest_node,))[0],
        "path": path_to_wire(run.path),
        "discontinuities": run.discontinuities,
        "continuation": run.continuation,
        "part_duration": run.part_duration or (0 if run.stretch is not None else None),
        "stretch": asdict(run.stretch) if run.stretch is not None else None,
    }


def run_from_wire(fields: Any) -> RunInfo:
    """A run from the fields of its description.

    @raise RemoteProtocolError: when they are out of range.
    """
    return RunInfo(
        fields.run_id,
        check_time(fields.run_start),
        fields.ingest_node,
        path_from_wire(fields.path),
        fields.discontinuities or 0,
        fields.continuation or 0,
        fields.part_duration or 0,
        _stretch_from_wire(fields.stretch),
    )


def _stretch_from_wire(fields: Any) -> Stretch | None:
    if fields is None:
        return None
    return Stretch(check_time(fields.start), check_number(fields.number), fields.tracks)


def check_time(ticks: int) -> int:
    """Give C{ticks} back if a calendar knows it.

    @raise RemoteProtocolError: otherwise.
    """
    if abs(ticks) > MAX_TIME:
        raise RemoteProtocolError(_WHERE, f"time {ticks} is out of any calendar")
    return ticks


def check_number(number: int) -> int:
    """Give C{number} back if a segment may have it.

    @raise RemoteProtocolError: otherwise.
    """
    if number > MAX_NUMBER:
        raise RemoteProtocolError(_WHERE, f"segment number {number}, at most {MAX_NUMBER}")
    return number
