"""What two linked nodes tell each other, as values. Times are UTC ticks of 90 kHz, node ids 16 bytes."""

from __future__ import annotations

import enum

from attrs import field, frozen

from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.segment import SegmentOpening
from restreamer.m4f.session_values import (
    SessionClaim,
    SessionClaimed,
    SessionOrder,
    SessionProgress,
    SessionReport,
    SessionsTaken,
)
from restreamer.media.frame import Frame

NODE_ID_SIZE = 16
#: Most nodes a stream may pass.
MAX_PATH = 16


class StreamState(enum.IntEnum):
    """What a catalogue entry promises; the value is its number on the wire."""

    RUNNING = 1
    ONDEMAND = 2


@frozen
class Stretch:
    """Segments in a row without a discontinuity, a missing number or a track that pauses or comes back: one
    period of a manifest.

    @ivar start: UTC ticks of what is shown first of it. @ivar number: of its first segment; 0 where a
        discontinuity, or the run, begins it. @ivar tracks: which of the track table its segments hold frames
        of: bit n for entry n, from 0; 0: not known yet, its first segment is open.
    """

    start: int
    number: int
    tracks: int


@frozen
class RunInfo:
    """The envelope of a run: true of a link, not of the segment, so outside its canonical bytes.

    @ivar run_id: drawn by the ingest node for each run (unsigned, 64 bits).
    @ivar run_start: UTC ticks of the run's first frame, the zero of the RTMP and FLV clock.
    @ivar ingest_node: id of the node that ingests. @ivar path: ids of the nodes passed, ingest first.
    @ivar discontinuities: what the sender shows as the discontinuity sequence of the run's segments, minus
        what their canonical bytes say: other than 0 once the stream was switched on its way.
    @ivar continuation: who cut the segments of the run: 0: its ingest node. Otherwise a node on the way did,
        which went on with the same content of another run, and this is the number it drew for that. Of one
        run, continuation and number there is one segment (docs/m4f.md, section 6.1).
    @ivar part_duration: about what a low-latency part lasts, as the ingest was told, ticks; 0: none are cut.
    @ivar stretch: what the sender shows of the segment that follows belongs to this, as far as it is known;
        None: the sender does not tell.
    """

    run_id: int
    run_start: int
    ingest_node: bytes
    path: tuple[bytes, ...]
    discontinuities: int = 0
    continuation: int = 0
    part_duration: int = 0
    stretch: Stretch | None = None


@frozen
class StreamListed:
    """Control: a stream can be had here, or its entry changed.

    @ivar path: ids of the nodes it passed so far, ingest first, the sender last; who finds itself in it
        drops the entry.
    @ivar backup: it shows its backup input at the moment.
    """

    name: str
    state: StreamState
    title: str = ""
    path: tuple[bytes, ...] = ()
    backup: bool = False


@frozen
class StreamUnlisted:
    """Control: the stream cannot be had here any more."""

    name: str


@frozen
class CatalogueComplete:
    """Control: every stream was listed once; what follows are changes."""


@frozen
class Position:
    """How far a running stream is: the newest frame is C{frame_index} of segment C{number} of C{run_id}.

    @ivar continuation: who cuts that segment, as in L{RunInfo}.
    """

    name: str
    run_id: int
    number: int
    frame_index: int
    backup: bool = False
    continuation: int = 0


@frozen
class Heartbeat:
    """Control: the sender lives, and where its running streams are.

    @ivar positions: may be spread over several heartbeats (L{restreamer.m4f.records.heartbeats}).
    """

    sent_at: int
    positions: tuple[Position, ...] = ()


@frozen
class NodeLoad:
    """Control: how busy the sender is.

    @ivar clients: viewers with a connection of their own. @ivar streams: streams that run.
    @ivar bitrate_in, bitrate_out: bits/s, media in from publishers and nodes, and out to viewers and nodes.
    @ivar rtmp_port, rtsp_port: where its viewers find RTMP and RTSP; 0: nowhere.
    """

    clients: int = 0
    streams: int = 0
    bitrate_in: int = 0
    bitrate_out: int = 0
    rtmp_port: int = 0
    rtsp_port: int = 0


@frozen
class Goodbye:
    """The sender closes the link on purpose; C{code} and C{text} say why."""

    code: int
    text: str = ""


@frozen
class Pull:
    """Media: send this stream, now and on.

    All numbers 0: nothing is held. Otherwise the asker holds every closed segment of the window below
    C{number} of run C{run_id}, and the first C{frame_index} frames of C{number}.
    """

    name: str
    run_id: int = 0
    number: int = 0
    frame_index: int = 0


@frozen
class PullAccepted:
    """Media: the answer to L{Pull}; segments follow. @ivar segment_duration: target, ticks."""

    name: str
    run: RunInfo
    title: str
    segment_duration: int


@frozen
class PullRefused:
    """Media: the other answer to L{Pull}."""

    code: int
    text: str = ""


@frozen
class SegmentCopy:
    """Media: a closed segment. @ivar encoded: the canonical bytes, not verified by the record reader."""

    run: RunInfo
    encoded: bytes = field(repr=False)


@frozen
class SegmentOpen:
    """Media: a segment begins; frames follow in the turn they arrive."""

    run: RunInfo
    opening: SegmentOpening


@frozen
class Frames:
    """Media: the next frames of the open segment, one at least, in ingest order, with absolute DTS.

    @ivar start: the open segment's start: the wire carries each DTS as an offset from it.
    """

    frames: list[Frame]
    start: int


@frozen
class PartClose:
    """Media: a low-latency part of the open segment ends (fields of L{restreamer.m4f.segment.Part})."""

    first_frame: int
    frame_count: int
    duration: int
    independent: bool


@frozen
class SegmentClose:
    """Media: the open segment ends; with this checksum the receiver proves its copy.

    @ivar continuation: who cut it, as in L{RunInfo}: this is what holds, for it may be another than at its
        opening.
    """

    number: int
    duration: int
    checksum: int
    continuation: int = 0


@frozen
class RunEnd:
    """Media: the run is over, no segment of it will follow."""

    run_id: int
    reason: str = ""


@frozen
class SegmentAsk:
    """Media, from the puller: send this closed segment (again)."""

    number: int


@frozen
class SegmentLacking:
    """Media: the answer to L{SegmentAsk} when the segment is not held (any more)."""

    number: int


@frozen
class Ping:
    """The sender lives although it has no frames to send."""

    sent_at: int


@frozen
class PushOffer:
    """Push: the client has a stream for the server to publish as C{name}; the server answers with a L{Pull}
    of C{stream}, or with L{PullRefused}.
    """

    name: str
    stream: str


@frozen
class VodListed:
    """Control: files can be had here under C{name/…}. @ivar path: as in L{StreamListed}."""

    name: str
    path: tuple[bytes, ...] = ()


@frozen
class VodUnlisted:
    """Control: files of this location cannot be had here any more."""

    name: str


@frozen
class FileAsk:
    """File: what segments the file C{name} has.

    @ivar request: drawn by the asker; the answer repeats it. @ivar name: a location, C{/}, a path in it.
    """

    request: int
    name: str


@frozen
class FileIndexed:
    """File: the answer to L{FileAsk}."""

    request: int
    index: FileIndex = field(repr=False)


@frozen
class FileSegmentAsk:
    """File: send segment C{number} of the file C{name}, as long as it is of C{version}."""

    request: int
    name: str
    version: int
    number: int


@frozen
class FileSegment:
    """File: the answer to L{FileSegmentAsk}. @ivar encoded: the canonical bytes, not verified."""

    request: int
    encoded: bytes = field(repr=False)


@frozen
class FileRefused:
    """File: the other answer. @ivar code: as HTTP status codes."""

    request: int
    code: int
    text: str = ""


@frozen
class ArchiveAsk:
    """File: what there is of the past of stream C{name}.

    @ivar request: drawn by the asker; the answer repeats it. @ivar path: ids of the nodes that ask, the one
        that asked first first: a node that finds itself there has nothing to say.
    """

    request: int
    name: str
    path: tuple[bytes, ...] = ()


@frozen
class ArchiveHoldings:
    """File: the answer to L{ArchiveAsk}.

    @ivar hours: UTC hours since the epoch that hold something, rising. @ivar spans: (start, end) of what they
        hold without gaps, UTC ticks, rising. @ivar size: canonical bytes.
    @ivar complete: False: somebody who may hold more could not be asked.
    """

    request: int
    hours: tuple[int, ...] = field(repr=False)
    spans: tuple[tuple[int, int], ...] = field(repr=False)
    size: int
    complete: bool = True


@frozen
class ArchiveHourAsk:
    """File: the segments of one UTC hour (hours since the epoch) of stream C{name}."""

    request: int
    name: str
    hour: int
    path: tuple[bytes, ...] = ()


@frozen
class ArchiveHour:
    """File: the answer to L{ArchiveHourAsk}. @ivar encoded: an hour index, not verified."""

    request: int
    encoded: bytes = field(repr=False)


@frozen
class ArchiveSegmentAsk:
    """File: send a segment of the past, if its bytes have that checksum; answered with L{FileSegment}.

    @ivar header: its header is enough; the whole segment is an answer too.
    """

    request: int
    name: str
    hour: int
    number: int
    checksum: int
    path: tuple[bytes, ...] = ()
    header: bool = False


Record = (
    StreamListed
    | StreamUnlisted
    | CatalogueComplete
    | Heartbeat
    | Goodbye
    | NodeLoad
    | Pull
    | PullAccepted
    | PullRefused
    | SegmentCopy
    | SegmentOpen
    | Frames
    | PartClose
    | SegmentClose
    | RunEnd
    | SegmentAsk
    | SegmentLacking
    | Ping
    | PushOffer
    | VodListed
    | VodUnlisted
    | FileAsk
    | FileIndexed
    | FileSegmentAsk
    | FileSegment
    | FileRefused
    | ArchiveAsk
    | ArchiveHoldings
    | ArchiveHourAsk
    | ArchiveHour
    | ArchiveSegmentAsk
    | SessionReport
    | SessionProgress
    | SessionsTaken
    | SessionClaim
    | SessionClaimed
    | SessionOrder
)
