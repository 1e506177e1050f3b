"""Small segments and hypothesis strategies of everything M4F carries."""

from __future__ import annotations

from array import array
from itertools import pairwise

from hypothesis import strategies as st

from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.records import (
    ArchiveAsk,
    ArchiveHoldings,
    ArchiveHour,
    ArchiveHourAsk,
    ArchiveSegmentAsk,
    CatalogueComplete,
    FileAsk,
    FileIndexed,
    FileRefused,
    FileSegment,
    FileSegmentAsk,
    Frames,
    Goodbye,
    Heartbeat,
    NodeLoad,
    Order,
    PartClose,
    Ping,
    Position,
    Progress,
    Pull,
    PullAccepted,
    PullRefused,
    PushOffer,
    Record,
    RunEnd,
    RunInfo,
    SegmentAsk,
    SegmentClose,
    SegmentCopy,
    SegmentLacking,
    SegmentOpen,
    SessionClaim,
    SessionClaimed,
    SessionOrder,
    SessionProgress,
    SessionReport,
    SessionsTaken,
    StreamListed,
    StreamState,
    StreamUnlisted,
    VodListed,
    VodUnlisted,
)
from restreamer.m4f.segment import Part, Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.track import Track, TrackKind
from restreamer.viewer_facts import SessionFacts

#: 2023-11-14T22:13:20Z
START = 1_700_000_000 * 90_000
NODE = bytes(range(16))
OTHER_NODE = bytes(range(100, 116))

VIDEO = Track(
    track_id=1,
    kind=TrackKind.VIDEO,
    codec="avc1",
    config=bytes.fromhex("01640028ffe00000"),
    width=1280,
    height=720,
    frame_rate=25_000,
    bandwidth=4_000_000,
)
AUDIO = Track(
    track_id=2,
    kind=TrackKind.AUDIO,
    codec="mp4a",
    config=bytes.fromhex("1190"),
    timescale=48_000,
    language="eng",
    sample_rate=48_000,
    channels=2,
    bandwidth=128_000,
)
RUN = RunInfo(0x1122334455667788, START, NODE, (NODE, OTHER_NODE), -2, 0xC0)


def tiny_segment() -> Segment:
    """The segment that docs/m4f.md shows byte by byte."""
    builder = SegmentBuilder(SegmentOpening(340_000_000, START, True, True, 3, (VIDEO, AUDIO)))
    builder.add(Frame(1, START, 3600, True, bytes.fromhex("0000000365b804")))
    builder.add(Frame(2, START + 10, 0, True, bytes.fromhex("211a")))
    builder.close_part(Part(0, 2, 3600, True))
    builder.add(Frame(1, START + 3600, 3600, False, bytes.fromhex("00000002419a")))
    builder.close_part(Part(2, 1, 3600, False))
    return builder.close(7200)


def three_segments() -> list[Segment]:
    """Consecutive segments: with parts and a discontinuity, audio only with early frames, and plain."""
    first = tiny_segment()
    builder = SegmentBuilder(SegmentOpening(340_000_001, first.end, False, True, 3, (AUDIO,)))
    builder.extend([Frame(2, first.end + at, 0, True, bytes([at % 251] * 5)) for at in (-300, 1620, 3540)])
    second = builder.close(5760)
    builder = SegmentBuilder(SegmentOpening(340_000_002, second.end, True, False, 4, (VIDEO,)))
    builder.add(Frame(1, second.end, 0, False, b"\0\0\0\1\x41"))
    return [first, second, builder.close(3600)]


def live_records(segment: Segment, run: RunInfo = RUN) -> list[Record]:
    """The live form of C{segment}, one record a frame."""
    opening = SegmentOpening(
        segment.number,
        segment.start,
        segment.discontinuity,
        segment.independent,
        segment.discontinuity_sequence,
        segment.tracks,
    )
    records: list[Record] = [SegmentOpen(run, opening)]
    ends = {part.first_frame + part.frame_count: part for part in segment.parts}
    for index, frame in enumerate(segment.frames(), 1):
        records.append(Frames([frame], segment.start))
        part = ends.get(index)
        if part is not None:
            records.append(PartClose(part.first_frame, part.frame_count, part.duration, part.independent))
    records.append(SegmentClose(segment.number, segment.duration, segment.checksum))
    return records


u16 = st.integers(0, (1 << 16) - 1)
u32 = st.integers(0, (1 << 32) - 1)
u64 = st.integers(0, (1 << 64) - 1)
i32 = st.integers(-(1 << 31), (1 << 31) - 1)
times = st.integers(-(1 << 52), 1 << 52)
numbers = st.integers(0, (1 << 63) - 1)
node_ids = st.binary(min_size=16, max_size=16)
paths = st.lists(node_ids, max_size=16).map(tuple)
names = st.from_regex(
    r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,20}){0,7}", fullmatch=True
)
texts = st.text(max_size=80)
runs = st.builds(RunInfo, u64, times, node_ids, paths, i32, u64)


@st.composite
def track_tables(draw: st.DrawFn) -> tuple[Track, ...]:
    """Track tables with unique ids."""
    ids = draw(st.lists(st.integers(1, 255), unique=True, max_size=5))
    return tuple(
        Track(
            track_id=track_id,
            kind=draw(st.sampled_from(TrackKind)),
            codec=draw(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=4, max_size=4)),
            config=draw(st.binary(max_size=40)),
            timescale=draw(u32),
            language=draw(st.sampled_from(["und", "eng", "de", "zh-Hant", ""])),
            width=draw(u32),
            height=draw(u32),
            frame_rate=draw(u32),
            sample_rate=draw(u32),
            channels=draw(u16),
            bandwidth=draw(u32),
        )
        for track_id in ids
    )


openings = st.builds(SegmentOpening, numbers, times, st.booleans(), st.booleans(), u32, track_tables())


@st.composite
def frame_lists(draw: st.DrawFn, start: int, ids: list[int], least: int = 0) -> list[Frame]:
    """Frames of the given tracks around C{start}."""
    if not ids:
        return []
    made = st.builds(
        Frame,
        st.sampled_from(ids),
        i32.map(lambda offset: start + offset),
        i32,
        st.booleans(),
        st.binary(max_size=30),
    )
    return draw(st.lists(made, min_size=least, max_size=12))


@st.composite
def segments(draw: st.DrawFn) -> tuple[SegmentBuilder, Segment]:
    """A builder full of frames, with or without parts, and the segment it closes to."""
    opening = draw(openings)
    builder = SegmentBuilder(opening)
    builder.extend(draw(frame_lists(opening.start, [track.track_id for track in opening.tracks])))
    if draw(st.booleans()):
        cuts = sorted(draw(st.lists(st.integers(0, len(builder.frames)), max_size=4)))
        first = 0
        for cut in [*cuts, len(builder.frames)]:
            builder.close_part(Part(first, cut - first, draw(u32), draw(st.booleans())))
            first = cut
    return builder, builder.close(draw(u32))


@st.composite
def frames_records(draw: st.DrawFn) -> Frames:
    """Frames records."""
    start = draw(times)
    return Frames(draw(frame_lists(start, [1, 2, 255], least=1)), start)


file_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
file_indexes = st.builds(
    lambda version, tracks, rows: FileIndex(
        version,
        900_000,
        tracks,
        array("I", [duration for duration, _ in rows]),
        array("I", [size for _, size in rows]),
    ),
    u64,
    track_tables(),
    st.lists(st.tuples(st.integers(1, 1 << 30), st.integers(0, 1 << 25)), min_size=1, max_size=9),
)
positions = st.builds(Position, names, u64, numbers, u32, st.booleans(), u64)
ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
words = st.text(st.characters(codec="utf-8"), max_size=20)
limits = st.none() | st.integers(0, (1 << 32) - 2)
moments = st.integers(0, 253_402_300_799_999)
delays = st.none() | st.integers(0, (1 << 31) - 1)
sizes = st.integers(0, (1 << 63) - 1)
sessions = st.builds(
    SessionFacts,
    session_id=ids,
    node_id=ids,
    name=names,
    kind=st.sampled_from(["play", "publish"]),
    past=st.booleans(),
    opened_at=moments,
    updated_at=moments,
    started_at=st.none() | moments,
    closed_at=st.none() | moments,
    bytes=sizes,
    current_time=st.none() | moments,
    ts_delay=delays,
    proto=words,
    ip=words,
    country=words,
    token_hash=words,
    closed_why=words,
    user_id=words,
    user_agent=words,
    referer=words,
)
progresses = st.builds(Progress, ids, moments, st.none() | moments, sizes, st.none() | moments, delays)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(StreamListed, names, st.sampled_from(StreamState), texts, paths, st.booleans()),
    st.builds(StreamUnlisted, names),
    st.just(CatalogueComplete()),
    st.builds(Heartbeat, times, st.lists(positions, max_size=4).map(tuple)),
    st.builds(Goodbye, u16, texts),
    st.builds(Pull, names, u64, numbers, u32),
    st.builds(PullAccepted, names, runs, texts, u32),
    st.builds(PullRefused, u16, texts),
    st.builds(SegmentCopy, runs, st.binary(max_size=200)),
    st.builds(SegmentOpen, runs, openings),
    frames_records(),
    st.builds(PartClose, u32, u32, u32, st.booleans()),
    st.builds(SegmentClose, numbers, u32, u32, u64),
    st.builds(RunEnd, u64, texts),
    st.builds(SegmentAsk, numbers),
    st.builds(SegmentLacking, numbers),
    st.builds(Ping, times),
    st.builds(NodeLoad, u32, u32, u64, u64, u16, u16),
    st.builds(PushOffer, names, names),
    st.builds(VodListed, names, paths),
    st.builds(VodUnlisted, names),
    st.builds(FileAsk, u32, file_names),
    st.builds(FileIndexed, u32, file_indexes),
    st.builds(FileSegmentAsk, u32, file_names, u64, u32),
    st.builds(FileSegment, u32, st.binary(max_size=200)),
    st.builds(FileRefused, u32, u16, texts),
    st.builds(ArchiveAsk, u32, names, paths),
    st.builds(
        ArchiveHoldings,
        u32,
        st.sets(u32, max_size=9).map(sorted).map(tuple),
        st.lists(times, max_size=8, unique=True)
        .map(sorted)
        .map(lambda ends: tuple(zip(ends[::2], ends[1::2], strict=False))),
        u64,
        st.booleans(),
    ),
    st.builds(ArchiveHourAsk, u32, names, u32, paths),
    st.builds(ArchiveHour, u32, st.binary(max_size=200)),
    st.builds(ArchiveSegmentAsk, u32, names, u32, numbers, u32, paths, st.booleans()),
    st.builds(SessionReport, u32, st.lists(sessions, max_size=3).map(tuple), st.booleans(), st.booleans()),
    st.builds(SessionProgress, u32, st.lists(progresses, max_size=3).map(tuple)),
    st.builds(SessionsTaken, u32),
    st.builds(SessionClaim, u32, names, ids, words, limits, limits, st.booleans()),
    st.builds(SessionClaimed, u32, st.booleans()),
    st.builds(SessionOrder, ids, st.sampled_from(Order), words),
)


@st.composite
def fragments(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """C{data} cut at random places."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in pairwise(edges)]
