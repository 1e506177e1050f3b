"""The live RTMP form of a stream: bytes that every player of it with the same abilities shares.

Each message stands alone: type 0 header, absolute time, one chunk size, one message stream. So any entry can
follow any other, for any player whose connection announced L{PLAY_CHUNK_SIZE} and plays on stream 1 (which
the server connection sees to). Times are milliseconds since the run's start, in 31 bits, the same on every
node; a push keeps the clock of its first run, so that a server never sees it go back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from typing_extensions import override

from restreamer.flv.bodies import TrackForm, forms
from restreamer.flv.dialect import Dialect, parse_container
from restreamer.flv.metadata import metadata
from restreamer.media.frame import Frame
from restreamer.media.timebase import rtmp_time
from restreamer.media.track import Track, Tracks
from restreamer.rtmp.chunk_writer import chunked
from restreamer.rtmp.message import AUDIO_CHUNKS, VIDEO_CHUNKS, Data, Kind, encode
from restreamer.seams import FeedMuxer

#: The one chunk size of everything we send after the handshake.
PLAY_CHUNK_SIZE: Final = 65536
#: The one message stream that is played on.
PLAY_STREAM: Final = 1
#: Bases of container names: for players, and for servers that streams are pushed to.
PLAY: Final = "rtmp"
PUSH: Final = "rtmppush"

_LEGACY: Final = Dialect()
_MAX_BODY: Final = 0xFFFFFF


class RtmpFeedMuxer(FeedMuxer):
    """Frames to RTMP chunks (L{FeedMuxer}).

    @ivar run_start: zero of the clock, in ticks.
    """

    def __init__(
        self, title: str, dialect: Dialect = _LEGACY, stream_id: int = PLAY_STREAM, publish: bool = False
    ) -> None:
        """Mux the stream named C{title}, which onMetaData tells.

        @param dialect: what the readers understand. @param stream_id: the message stream.
        @param publish: the reader is a server that takes a publish: its clock never goes back, and onMetaData
            is for it to keep.
        """
        self._title = title
        self._dialect = dialect
        self._stream_id = stream_id
        self._publish = publish
        self.by_viewers = not publish
        self._forms: dict[int, TrackForm] = {}
        self.run_start = 0
        self._last_ms = 0
        self._metadata: Data | None = None
        self._announce = False

    @override
    def carries(self, track: Track) -> bool:
        """Whether the dialect has a header for C{track}."""
        return bool(forms((track,), self._dialect))

    @override
    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        """Use C{tracks}; players already there get the new headers before the next frame."""
        self._announce = self._metadata is not None
        if self._publish and self._announce and run_start >= self.run_start:
            run_start = self.run_start
        if run_start != self.run_start:
            self._last_ms = 0
        self.run_start = run_start
        self._forms = forms(tracks, self._dialect)
        values = "onMetaData", metadata(self._forms.values(), self._title)
        if self._publish:
            self._metadata = Data(self._stream_id, ("@setDataFrame", *values))
        else:
            self._metadata = Data(self._stream_id, values)

    @override
    def mux(self, frame: Frame) -> bytes:
        """One message, behind the new headers where the tracks changed; nothing for a track not sent."""
        form = self._forms.get(frame.track_id)
        if form is None:
            return b""
        timestamp = self._last_ms = rtmp_time(frame.dts, self.run_start)
        body = form.body(frame, self.run_start)
        if len(body) > _MAX_BODY:
            return b""
        data = self._message(form.kind, timestamp, body)
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
        for form in self._forms.values():
            if form.header:
                pieces.append(self._message(form.kind, self._last_ms, form.header))
        return b"".join(pieces)

    @override
    def skip_prefix(self) -> bytes:
        """As L{join_prefix}: a change of tracks may lie in what was skipped."""
        return self.join_prefix()

    def _message(self, kind: int, timestamp: int, body: bytes) -> bytes:
        chunks = VIDEO_CHUNKS if kind == Kind.VIDEO else AUDIO_CHUNKS
        return chunked(chunks, kind, self._stream_id, timestamp, body, PLAY_CHUNK_SIZE)


class RtmpMuxers(Mapping[str, Callable[[str], RtmpFeedMuxer]]):
    """The muxer of every container that L{Dialect.container} names, made when it is asked for."""

    @override
    def __getitem__(self, container: str) -> Callable[[str], RtmpFeedMuxer]:
        found = parse_container(container)
        if found is None or found[0] not in (PLAY, PUSH):
            raise KeyError(container)
        base, stream_id, dialect = found
        return lambda title: RtmpFeedMuxer(title, dialect, stream_id, base == PUSH)

    @override
    def __iter__(self) -> Iterator[str]:
        return iter((PLAY, PUSH))

    @override
    def __len__(self) -> int:
        return 2
