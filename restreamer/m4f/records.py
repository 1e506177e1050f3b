"""The records of a link: the values, their encoder and their reader under one name."""

from __future__ import annotations

from restreamer.m4f.control_payloads import heartbeats
from restreamer.m4f.record_layout import MAX_CATALOGUE, MAX_CONTROL, MAX_LISTED, MAX_MEDIA, RecordType
from restreamer.m4f.record_stream import RecordReader, encode_record
from restreamer.m4f.record_values import (
    MAX_PATH,
    NODE_ID_SIZE,
    CatalogueComplete,
    Frames,
    Goodbye,
    Heartbeat,
    PartClose,
    Ping,
    Position,
    Pull,
    PullAccepted,
    PullRefused,
    Record,
    RunEnd,
    RunInfo,
    SegmentClose,
    SegmentCopy,
    SegmentOpen,
    StreamListed,
    StreamState,
    StreamUnlisted,
)

__all__ = [
    "MAX_CATALOGUE",
    "MAX_CONTROL",
    "MAX_LISTED",
    "MAX_MEDIA",
    "MAX_PATH",
    "NODE_ID_SIZE",
    "CatalogueComplete",
    "Frames",
    "Goodbye",
    "Heartbeat",
    "PartClose",
    "Ping",
    "Position",
    "Pull",
    "PullAccepted",
    "PullRefused",
    "Record",
    "RecordReader",
    "RecordType",
    "RunEnd",
    "RunInfo",
    "SegmentClose",
    "SegmentCopy",
    "SegmentOpen",
    "StreamListed",
    "StreamState",
    "StreamUnlisted",
    "encode_record",
    "heartbeats",
]
