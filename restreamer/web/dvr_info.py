"""What the API tells of archives (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from restreamer.dvr.disks import DiskFacts, StreamFacts
from restreamer.dvr.object_store import ObjectStoreFacts
from restreamer.dvr.replication import ReplicationFacts
from restreamer.dvr.segment_cache import CacheFacts
from restreamer.dvr.writer import StreamWriterStatus, WriterState
from restreamer.media.timebase import TICKS_PER_SECOND

#: C{from} is a word of the language.
_Told = TypedDict("_Told", {"from": int}, total=False)


class ReplicationInfo(TypedDict, total=False):
    """How what was missing is fetched. C{status} is C{"looking"}, C{"fetching"}, C{"waiting"}, C{"complete"}.

    Segments: C{missing} still, of the hours looked at so far; C{fetched}; C{gone}, which no source gave.
    """

    status: str
    error: str
    missing: int
    fetched: int
    bytes: int
    gone: int


class StreamDvrInfo(_Told, total=False):
    """The archive of a stream on this node. C{status}, always there: C{"recording"}, C{"idle"}, C{"error"}.

    C{from} and C{to} are UTC seconds of what is kept, C{depth} the seconds between them, C{duration} those of
    them that were recorded, C{lag} how many seconds the oldest segment waits for the disk.
    """

    status: str
    error: str
    to: int
    depth: int
    duration: int
    bytes: int
    segments_written: int
    segments_dropped: int
    lag: float
    replication: ReplicationInfo


class VolumeInfo(TypedDict, total=False):
    """A volume with archives. C{status} is C{"working"}, C{"behind"}, C{"failed"} or C{"stopped"}.

    Bytes; C{write_kbit} is kbit/s, C{lag} seconds. C{files_uncopied}: that were deleted to make room before
    they were copied. C{frozen}: the clock of the machine is not believed, and ages are counted from an
    earlier time.
    """

    root: str
    status: str
    error: str
    disk_total: int
    disk_free: int
    disk_used_percent: float
    write_kbit: int
    lag: float
    queued: int
    segments_written: int
    bytes_written: int
    segments_dropped: int
    files_deleted: int
    bytes_deleted: int
    files_uncopied: int
    reads_waiting: int
    frozen: bool


class CacheInfo(TypedDict, total=False):
    """A segment cache. Bytes and files that it holds, and what it did since the start; C{error}: it does not
    work.
    """

    root: str
    error: str
    bytes: int
    segments: int
    hits: int
    misses: int
    evictions: int
    errors: int
    segments_dropped: int


class CopyInfo(TypedDict, total=False):
    """An object store. C{pending}: hours that are not copied yet; the rest since the start."""

    where: str
    error: str
    pending: int
    hours_copied: int
    bytes_copied: int
    segments_read: int
    bytes_read: int
    damaged: int


class ReadInfo(TypedDict):
    """Segments of the past that were read from one place, since the start; C{kbit}: kbit/s of late."""

    segments: int
    bytes: int
    kbit: int


class DvrStats(TypedDict):
    """The archives of a node in figures. @ivar alarms: of its volumes, each with its root."""

    alarms: Sequence[str]
    volumes: int
    write_kbit: int
    read_kbit: int
    bytes_written: int
    segments_dropped: int
    reads: dict[str, ReadInfo]


def stream_dvr_info(
    facts: StreamFacts | None,
    written: StreamWriterStatus | None,
    recording: bool,
    alarm: str,
    filled: ReplicationFacts | None = None,
) -> StreamDvrInfo:
    """The archive of one stream.

    @param facts: what is kept; None: nothing is known of. @param written: since the start; None: nothing.
    @param filled: how it is filled from the sources; None: it is not.
    """
    error = (written.error if written is not None else "") or alarm
    told = StreamDvrInfo(status="error" if error and recording else "recording" if recording else "idle")
    if error:
        told["error"] = error
    if facts is not None:
        told["from"] = facts.start // TICKS_PER_SECOND
        told["to"] = facts.end // TICKS_PER_SECOND
        told["depth"] = (facts.end - facts.start) // TICKS_PER_SECOND
        told["duration"] = facts.duration // TICKS_PER_SECOND
        told["bytes"] = facts.size
    if written is not None:
        told["segments_written"] = written.written
        told["segments_dropped"] = written.dropped
        told["lag"] = round(written.lag, 1)
    if filled is not None:
        told["replication"] = replication = ReplicationInfo(
            status=filled.state,
            missing=filled.missing,
            fetched=filled.fetched,
            bytes=filled.fetched_bytes,
            gone=filled.gone,
        )
        if filled.error:
            replication["error"] = filled.error
    return told


def dvr_stats(
    volumes: Sequence[VolumeInfo],
    reads: Mapping[str, ReadInfo],
    caches: Sequence[CacheInfo] = (),
    copies: Sequence[CopyInfo] = (),
) -> DvrStats:
    """The archives of a node."""
    return DvrStats(
        alarms=[
            *[f"{each['root']}: {each['error']}" for each in volumes if "error" in each],
            *[f"{each['root']}: {each['error']}" for each in caches if "error" in each],
            *[f"{each['where']}: {each['error']}" for each in copies if "error" in each],
        ],
        volumes=len(volumes),
        write_kbit=sum(each["write_kbit"] for each in volumes),
        read_kbit=sum(each["kbit"] for each in reads.values()),
        bytes_written=sum(each["bytes_written"] for each in volumes),
        segments_dropped=sum(each["segments_dropped"] for each in volumes),
        reads=dict(reads),
    )


def read_info(segments: int, size: int, speed: float) -> ReadInfo:
    """One place. @param size: bytes; @param speed: bytes/s."""
    return ReadInfo(segments=segments, bytes=size, kbit=round(speed * 8 / 1000))


def cache_info(root: str, facts: CacheFacts) -> CacheInfo:
    """One segment cache."""
    told = CacheInfo(
        root=root,
        bytes=facts.size,
        segments=facts.count,
        hits=facts.hits,
        misses=facts.misses,
        evictions=facts.evictions,
        errors=facts.errors,
        segments_dropped=facts.dropped,
    )
    if facts.error:
        told["error"] = facts.error
    return told


def copy_info(facts: ObjectStoreFacts) -> CopyInfo:
    """One object store."""
    told = CopyInfo(
        where=facts.where,
        pending=facts.upload.pending,
        hours_copied=facts.upload.hours,
        bytes_copied=facts.upload.bytes,
        segments_read=facts.read_segments,
        bytes_read=facts.read_bytes,
        damaged=facts.damaged,
    )
    if facts.alarm:
        told["error"] = facts.alarm
    return told


def volume_info(facts: DiskFacts) -> VolumeInfo:
    """One volume."""
    writer = facts.writer
    status = writer.state.value
    if facts.alarm and writer.state is WriterState.WORKING:
        status = WriterState.FAILED.value
    told = VolumeInfo(
        root=facts.root,
        status=status,
        disk_total=facts.space.total,
        disk_free=facts.space.free,
        write_kbit=round(writer.speed * 8 / 1000),
        lag=round(writer.lag, 1),
        queued=writer.queued,
        segments_written=writer.written,
        bytes_written=writer.written_bytes,
        segments_dropped=writer.dropped,
        files_deleted=facts.deleted,
        bytes_deleted=facts.freed,
        files_uncopied=facts.lost,
        reads_waiting=facts.reading,
        frozen=facts.frozen,
    )
    if facts.space.total:
        used = 100 * (facts.space.total - facts.space.free) / facts.space.total
        told["disk_used_percent"] = round(used, 1)
    if facts.alarm:
        told["error"] = facts.alarm
    return told
