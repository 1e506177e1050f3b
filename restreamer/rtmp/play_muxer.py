"""The live RTMP form of a stream: bytes that every player of it shares.

Each message stands alone: type 0 header, absolute time, one chunk size, message stream 1. So any entry can
follow any other, for any player whose connection announced L{PLAY_CHUNK_SIZE} and plays on stream 1 (which
the server connection sees to). Times are milliseconds since the run's start, in 31 bits, the same on every
node.
"""

from __future__ import annotations

from typing_extensions import override

from restreamer.media.frame import Frame
from restreamer.media.timebase import rtmp_time
from restreamer.media.track import Track, TrackKind, Tracks
from restreamer.rtmp.chunk_writer import chunked
from restreamer.rtmp.from_media import (
    audio_body,
    metadata,
    offset_ms,
    playable_tracks,
    sequence_header,
    video_body,
)
from restreamer.rtmp.message import AUDIO_CHUNKS, VIDEO_CHUNKS, Data, Kind, encode
from restreamer.seams import FeedMuxer

#: The one chunk size of everything we send after the handshake.
PLAY_CHUNK_SIZE = 65536
#: The one message stream that is played on.
PLAY_STREAM = 1


class RtmpFeedMuxer(FeedMuxer):
    """Frames to RTMP chunks (L{FeedMuxer})."""

    def __init__(self, title: str) -> None:
        """Mux the stream named C{title}, which onMetaData tells."""
        self._title = title
        self._tracks: dict[int, Track] = {}
        self._run_start = 0
        self._last_ms = 0
        self._headers: tuple[tuple[Kind, bytes], ...] = ()
        self._metadata: Data | None = None
        self._announce = False

    @override
    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        """Use C{tracks}; players already there get the new headers before the next frame."""
        chosen = playable_tracks(tracks)
        self._announce = self._metadata is not None
        if run_start != self._run_start:
            self._last_ms = 0
        self._run_start = run_start
        self._tracks = {track.track_id: track for track in chosen}
        self._headers = tuple(header for header in map(sequence_header, chosen) if header is not None)
        self._metadata = Data(PLAY_STREAM, ("onMetaData", metadata(chosen, self._title)))

    @override
    def mux(self, frame: Frame) -> bytes:
        """One message, behind the new headers where the tracks changed; nothing for a track not sent."""
        track = self._tracks.get(frame.track_id)
        if track is None:
            return b""
        timestamp = self._last_ms = rtmp_time(frame.dts, self._run_start)
        if track.kind is TrackKind.VIDEO:
            body = video_body(frame, offset_ms(frame, self._run_start))
            data = chunked(VIDEO_CHUNKS, Kind.VIDEO, PLAY_STREAM, timestamp, body, PLAY_CHUNK_SIZE)
        else:
            body = audio_body(track.codec, frame)
            data = chunked(AUDIO_CHUNKS, Kind.AUDIO, PLAY_STREAM, timestamp, body, PLAY_CHUNK_SIZE)
        if self._announce:
            self._announce = False
            return self.join_prefix() + data
        return data

    @override
    def join_prefix(self) -> bytes:
        """onMetaData and the sequence headers, at the time of the last frame."""
        if self._metadata is None:
            return b""
        pieces = [encode(self._metadata, PLAY_CHUNK_SIZE)]
        for kind, body in self._headers:
            chunks = VIDEO_CHUNKS if kind is Kind.VIDEO else AUDIO_CHUNKS
            pieces.append(chunked(chunks, kind, PLAY_STREAM, self._last_ms, body, PLAY_CHUNK_SIZE))
        return b"".join(pieces)

    @override
    def skip_prefix(self) -> bytes:
        """As L{join_prefix}: a change of tracks may lie in what was skipped."""
        return self.join_prefix()
