"""The CMAF files of live streams, for HLS and DASH alike: init segments, segments and low-latency parts.

A part that was announced (EXT-X-PRELOAD-HINT) and does not exist yet is waited for; a segment that is still
being made is sent part by part as they come, in chunks (low-latency DASH). A part's name may come to mean
other bytes when the ingest is lost before its segment is closed, so caches keep parts for a minute only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define
from typing_extensions import override

from restreamer.hls.answers import NO_SEGMENT, cmaf_headers
from restreamer.hls.low_latency import has_come
from restreamer.hls.service import Reloads
from restreamer.http1.reply import ChunkedReply, ChunkWriter, FullReply, Reply
from restreamer.live.cmaf import CmafStream, CmafStreams, carried_track
from restreamer.live.cmaf_names import CmafName, parse_cmaf_name
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.live.window import WindowSegment
from restreamer.m4f.segment import SegmentBuilder

_PART: Final = b"public, max-age=60"
_GROWING: Final = b"no-store"
#: Target durations a request waits at most.
_WAIT: Final = 3.0


@define(eq=False)
class CmafRoutes:
    """Answers what L{restreamer.live.cmaf_names} names."""

    _cmaf: CmafStreams
    _reloads: Reloads

    async def answer(self, stream: Stream, file: str, peer: str = "") -> Reply:
        """The answer about C{file}, relative to C{stream}, to the address C{peer}."""
        name = parse_cmaf_name(file)
        if name is None:
            return NO_SEGMENT
        cmaf = self._cmaf.of(stream)
        if name.init:
            init = cmaf.init(name.track, file.rpartition("/")[2])
            if init is None:
                return NO_SEGMENT
            return FullReply(status=200, headers=cmaf_headers(name.track), body=init, etag=f'"{name.init}"')
        if name.part is not None:
            return await self._part(cmaf, name, name.part, peer)
        if stream.window.find(name.number) is None and self._is_coming(cmaf, name):
            return await self._open(cmaf, name, peer)
        return self._closed(cmaf, name)

    @staticmethod
    def _is_coming(cmaf: CmafStream, name: CmafName) -> bool:
        """Whether it is a track in the open segment, which is sent part by part."""
        stream = cmaf.stream
        builder, run = stream.open, stream.run
        if builder is None or builder.opening.number != name.number:
            return False
        parts = bool(builder.parts) or (run is not None and run.part_duration > 0)
        return parts and carried_track(builder.opening.tracks, name.track) is not None

    async def _open(self, cmaf: CmafStream, name: CmafName, peer: str) -> Reply:
        """A track in the open segment, once there is something of it: an empty body is no segment."""
        stream = cmaf.stream

        def growing() -> SegmentBuilder | None:
            builder = stream.open
            there = builder is not None and builder.opening.number == name.number
            return builder if there and cmaf.open_parts(name.track) else None

        await self._reloads.until(
            stream,
            (name.track, name.number),
            lambda: growing() is not None or (stream.window.last_number or 0) >= name.number,
            _WAIT * stream.window.target_duration,
            peer,
        )
        builder = growing()
        if builder is None or stream.window.find(name.number) is not None:
            return self._closed(cmaf, name)
        return ChunkedReply(
            headers=cmaf_headers(name.track, _GROWING),
            start=lambda writer, ended: _Growing(cmaf, builder, name.track, writer, ended).begin(),
        )

    @staticmethod
    def _closed(cmaf: CmafStream, name: CmafName) -> Reply:
        """A track in a closed segment."""
        entry = cmaf.stream.window.find(name.number)
        body = cmaf.segment(entry, name.track) if entry is not None else b""
        if entry is None or not body:
            return NO_SEGMENT
        etag = f'"{entry.number:x}-{entry.segment.checksum:08x}-{name.track}"'
        return FullReply(status=200, headers=cmaf_headers(name.track), body=body, etag=etag)

    async def _part(self, cmaf: CmafStream, name: CmafName, part: int, peer: str) -> Reply:
        stream = cmaf.stream
        body = cmaf.part(name.number, part, name.track)
        if body is None and self._is_next(cmaf, name, part):
            await self._reloads.until(
                stream,
                (name.track, name.number, part),
                lambda: has_come(cmaf, name.track, name.number, part),
                _WAIT * stream.window.target_duration,
                peer,
            )
            body = cmaf.part(name.number, part, name.track)
        if body is None:
            return NO_SEGMENT
        return FullReply(status=200, headers=cmaf_headers(name.track, _PART), body=body)

    @staticmethod
    def _is_next(cmaf: CmafStream, name: CmafName, part: int) -> bool:
        """Whether the part is the one that comes next, of a track that there is."""
        if carried_track(cmaf.stream.tracks, name.track) is None:
            return False
        builder = cmaf.stream.open
        if builder is not None and builder.opening.number == name.number:
            return part == len(cmaf.open_parts(name.track))
        last = cmaf.stream.window.last_number
        return builder is None and last is not None and name.number == last + 1 and part == 0


class _Growing(IdleTap):
    """Sends the parts of a track in the open segment as they come, and ends with the segment."""

    def __init__(
        self,
        cmaf: CmafStream,
        builder: SegmentBuilder,
        track: str,
        writer: ChunkWriter,
        ended: Callable[[str], None],
    ) -> None:
        self._cmaf = cmaf
        self._builder = builder
        self._track = track
        self._writer = writer
        self._ended = ended
        self._sent = 0

    def begin(self) -> Callable[[], None]:
        """Send what is there and follow; gives what ends it."""
        self._cmaf.stream.attach(self)
        self.part_closed(self._builder)
        return self._leave

    @override
    def part_closed(self, builder: SegmentBuilder) -> None:
        """Send the new part."""
        if builder is not self._builder:
            return
        number = builder.opening.number
        while (part := self._cmaf.part(number, self._sent, self._track)) is not None:
            self._sent += 1
            self._writer.write(part)

    @override
    def segment_closed(self, entry: WindowSegment) -> None:
        """Send what is left of it and end."""
        if entry.number == self._builder.opening.number:
            self.part_closed(self._builder)
            self._end("")

    @override
    def segment_opened(self, builder: SegmentBuilder) -> None:
        """The segment will never be closed."""
        self._end("the segment was given up")

    @override
    def stream_ended(self, reason: str) -> None:
        """Likewise."""
        self._end(reason)

    def _leave(self) -> None:
        self._cmaf.stream.detach(self)

    def _end(self, reason: str) -> None:
        self._leave()
        self._ended(reason)
