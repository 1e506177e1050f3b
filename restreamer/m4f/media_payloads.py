"""Payloads of the media records: pull, segments, frames. Frames are the hot ones: one pack and one join."""

from __future__ import annotations

from construct import Int32ub

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.layout import (
    DISCONTINUITY,
    FRAME_SIZE,
    FRAME_STRUCT,
    INDEPENDENT,
    KEY,
    MAX_FRAMES,
    MAX_SEGMENT,
    MAX_TRACKS,
    row_struct,
)
from restreamer.m4f.record_fields import (
    check_number,
    check_time,
    name_from_wire,
    name_to_wire,
    run_from_wire,
    run_to_wire,
    text_from_wire,
    text_to_wire,
)
from restreamer.m4f.record_layout import (
    CONTINUATION,
    ENDING,
    FRAMES_HEAD,
    OPENING,
    PART_CLOSE,
    PING,
    PULL,
    PULL_ACCEPTED,
    PUSH_OFFER,
    RUN_END,
    RUN_INFO,
    SEGMENT_CLOSE,
    SEGMENT_NUMBER,
)
from restreamer.m4f.record_values import (
    Frames,
    PartClose,
    Ping,
    Pull,
    PullAccepted,
    PullRefused,
    PushOffer,
    RunEnd,
    RunInfo,
    SegmentAsk,
    SegmentClose,
    SegmentCopy,
    SegmentLacking,
    SegmentOpen,
)
from restreamer.m4f.segment import SegmentOpening
from restreamer.m4f.tracks import decode_tracks, encode_tracks, tracks_end
from restreamer.media.frame import Frame

_OPENING = row_struct(OPENING)
_FRAMES = row_struct(FRAMES_HEAD)
_PART_CLOSE = row_struct(PART_CLOSE)
_SEGMENT_CLOSE = row_struct(SEGMENT_CLOSE)
_CONTINUATION = row_struct(CONTINUATION)
_PING = row_struct(PING)
_SEGMENT_NUMBER = row_struct(SEGMENT_NUMBER)


def encode_pull(record: Pull) -> bytes:
    """Payload of L{Pull}."""
    return PULL.build(
        {
            "name": name_to_wire(record.name),
            "run_id": record.run_id,
            "number": record.number,
            "frame_index": record.frame_index,
        }
    )


def decode_pull(payload: bytes) -> Pull:
    """Read what L{encode_pull} wrote."""
    fields = PULL.parse(payload)
    return Pull(name_from_wire(fields.name), fields.run_id, check_number(fields.number), fields.frame_index)


def encode_accepted(record: PullAccepted) -> bytes:
    """Payload of L{PullAccepted}."""
    return PULL_ACCEPTED.build(
        {
            "name": name_to_wire(record.name),
            "run": run_to_wire(record.run),
            "title": text_to_wire(record.title),
            "segment_duration": record.segment_duration,
        }
    )


def decode_accepted(payload: bytes) -> PullAccepted:
    """Read what L{encode_accepted} wrote."""
    fields = PULL_ACCEPTED.parse(payload)
    return PullAccepted(
        name_from_wire(fields.name),
        run_from_wire(fields.run),
        text_from_wire(fields.title),
        fields.segment_duration,
    )


def encode_refused(record: PullRefused) -> bytes:
    """Payload of L{PullRefused}."""
    return ENDING.build({"code": record.code, "text": text_to_wire(record.text)})


def decode_refused(payload: bytes) -> PullRefused:
    """Read what L{encode_refused} wrote."""
    fields = ENDING.parse(payload)
    return PullRefused(fields.code, text_from_wire(fields.text))


def _decode_run(payload: bytes) -> tuple[RunInfo, int]:
    """A leading run, and the offset behind it, without touching the megabytes that may follow."""
    end = 2 + int.from_bytes(payload[:2], "big")
    return run_from_wire(RUN_INFO.parse(payload[:end])), end


def encode_copy(record: SegmentCopy) -> list[bytes]:
    """Payload of L{SegmentCopy}, in pieces."""
    if len(record.encoded) > MAX_SEGMENT:
        raise LocalProtocolError(f"a segment of {len(record.encoded)} bytes, at most {MAX_SEGMENT}")
    run = RUN_INFO.build(run_to_wire(record.run))
    return [run, len(record.encoded).to_bytes(4, "big"), record.encoded]


def decode_copy(payload: bytes) -> SegmentCopy:
    """Read what L{encode_copy} wrote."""
    run, offset = _decode_run(payload)
    size = Int32ub.parse(payload[offset : offset + 4])
    offset += 4
    if size > MAX_SEGMENT or offset + size > len(payload):
        raise RemoteProtocolError("M4F segment copy", f"a segment of {size} bytes does not fit the record")
    return SegmentCopy(run, payload[offset : offset + size])


def encode_open(record: SegmentOpen) -> bytes:
    """Payload of L{SegmentOpen}."""
    opening = record.opening
    flags = (DISCONTINUITY if opening.discontinuity else 0) | (INDEPENDENT if opening.independent else 0)
    return b"".join(
        [
            RUN_INFO.build(run_to_wire(record.run)),
            _OPENING.pack(
                opening.number,
                opening.start,
                flags,
                opening.discontinuity_sequence,
                len(opening.tracks),
            ),
            encode_tracks(opening.tracks),
        ]
    )


def decode_open(payload: bytes) -> SegmentOpen:
    """Read what L{encode_open} wrote."""
    run, offset = _decode_run(payload)
    number, start, flags, discontinuity_sequence, track_count = _OPENING.unpack_from(payload, offset)
    offset += _OPENING.size
    if track_count > MAX_TRACKS:
        raise RemoteProtocolError("M4F segment open", f"{track_count} tracks, at most {MAX_TRACKS}")
    table = decode_tracks(payload[offset : tracks_end(payload, offset, track_count, len(payload))])
    if table.hidden:
        raise RemoteProtocolError("M4F segment open", "a track of a kind this version does not know")
    opening = SegmentOpening(
        check_number(number),
        check_time(start),
        bool(flags & DISCONTINUITY),
        bool(flags & INDEPENDENT),
        discontinuity_sequence,
        table.tracks,
    )
    return SegmentOpen(run, opening)


def encode_frames(record: Frames) -> list[bytes]:
    """Payload of L{Frames}, in pieces."""
    frames = record.frames
    if not frames:
        raise LocalProtocolError("a frames record holds at least one frame")
    start = record.start
    pack = FRAME_STRUCT.pack
    pieces = [_FRAMES.pack(start, len(frames))]
    pieces += [pack(f.track_id, f.key, f.dts - start, f.cts, len(f.data)) for f in frames]
    pieces += [frame.data for frame in frames]
    return pieces


def decode_frames(payload: bytes) -> Frames:
    """Read what L{encode_frames} wrote."""
    start, count = _FRAMES.unpack_from(payload)
    check_time(start)
    at = _FRAMES.size + count * FRAME_SIZE
    if not 0 < count <= MAX_FRAMES or at > len(payload):
        raise RemoteProtocolError("M4F frames", f"{count} frames do not fit the record")
    frames = []
    for track_id, flags, dts, cts, size in FRAME_STRUCT.iter_unpack(payload[_FRAMES.size : at]):
        end = at + size
        frames.append(Frame(track_id, start + dts, cts, flags & KEY == KEY, payload[at:end]))
        at = end
    if at > len(payload):
        raise RemoteProtocolError("M4F frames", f"bodies end at {at} in a record of {len(payload)} bytes")
    return Frames(frames, start)


def encode_part_close(record: PartClose) -> bytes:
    """Payload of L{PartClose}."""
    return _PART_CLOSE.pack(
        record.first_frame, record.frame_count, record.duration, KEY if record.independent else 0
    )


def decode_part_close(payload: bytes) -> PartClose:
    """Read what L{encode_part_close} wrote."""
    first_frame, frame_count, duration, flags = _PART_CLOSE.unpack_from(payload)
    return PartClose(first_frame, frame_count, duration, flags & KEY == KEY)


def encode_segment_close(record: SegmentClose) -> bytes:
    """Payload of L{SegmentClose}."""
    close = _SEGMENT_CLOSE.pack(record.number, record.duration, record.checksum)
    return close + _CONTINUATION.pack(record.continuation)


def decode_segment_close(payload: bytes) -> SegmentClose:
    """Read what L{encode_segment_close} wrote."""
    number, duration, checksum = _SEGMENT_CLOSE.unpack_from(payload)
    continuation = 0
    if len(payload) > _SEGMENT_CLOSE.size:
        (continuation,) = _CONTINUATION.unpack_from(payload, _SEGMENT_CLOSE.size)
    return SegmentClose(check_number(number), duration, checksum, continuation)


def encode_run_end(record: RunEnd) -> bytes:
    """Payload of L{RunEnd}."""
    return RUN_END.build({"run_id": record.run_id, "reason": text_to_wire(record.reason)})


def decode_run_end(payload: bytes) -> RunEnd:
    """Read what L{encode_run_end} wrote."""
    fields = RUN_END.parse(payload)
    return RunEnd(fields.run_id, text_from_wire(fields.reason))


def encode_segment_number(record: SegmentAsk | SegmentLacking) -> bytes:
    """Payload of L{SegmentAsk} and L{SegmentLacking}."""
    return _SEGMENT_NUMBER.pack(record.number)


def decode_segment_ask(payload: bytes) -> SegmentAsk:
    """Read what L{encode_segment_number} wrote."""
    (number,) = _SEGMENT_NUMBER.unpack_from(payload)
    return SegmentAsk(check_number(number))


def decode_segment_lacking(payload: bytes) -> SegmentLacking:
    """Read what L{encode_segment_number} wrote."""
    (number,) = _SEGMENT_NUMBER.unpack_from(payload)
    return SegmentLacking(check_number(number))


def encode_ping(record: Ping) -> bytes:
    """Payload of L{Ping}."""
    return _PING.pack(record.sent_at)


def decode_ping(payload: bytes) -> Ping:
    """Read what L{encode_ping} wrote."""
    (sent_at,) = _PING.unpack_from(payload)
    return Ping(check_time(sent_at))


def encode_offer(record: PushOffer) -> bytes:
    """Payload of L{PushOffer}."""
    return PUSH_OFFER.build({"name": name_to_wire(record.name), "stream": name_to_wire(record.stream)})


def decode_offer(payload: bytes) -> PushOffer:
    """Read what L{encode_offer} wrote."""
    fields = PUSH_OFFER.parse(payload)
    return PushOffer(name_from_wire(fields.name), name_from_wire(fields.stream))
