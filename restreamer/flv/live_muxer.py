"""The live FLV form of a stream: what HTTP-FLV players share (FLV specification 10.1, annex E).

Each tag stands alone, so a player may begin at any keyframe, behind the file header, onMetaData and the
sequence headers. Times are milliseconds since the run's start, in 31 bits, the same on every node.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from typing_extensions import override

from restreamer.flv import amf0
from restreamer.flv.bodies import TrackForm, forms
from restreamer.flv.dialect import FLV, FULL, Dialect
from restreamer.flv.metadata import metadata
from restreamer.flv.tag import AUDIO_TAG, SCRIPT_TAG, VIDEO_TAG
from restreamer.media.frame import Frame
from restreamer.media.timebase import rtmp_time
from restreamer.media.track import Track, Tracks
from restreamer.seams import FeedMuxer

_HEAD: Final = Struct(">IIHB").pack
_U32: Final = Struct(">I").pack
_HEAD_SIZE: Final = 11
_MAX_BODY: Final = 0xFFFFFF


def file_header(audio: bool, video: bool) -> bytes:
    """The head of a file (section E.2), with the size of no tag behind it."""
    return b"FLV\x01" + bytes((audio << 2 | video,)) + b"\0\0\0\x09" + bytes(4)


def tag(kind: int, timestamp: int, body: bytes) -> bytes:
    """One tag and its size behind it (section E.3). @param timestamp: milliseconds, 32 bits."""
    size = len(body)
    low, high = timestamp & 0xFFFFFF, timestamp >> 24 & 0xFF
    head = _HEAD(kind << 24 | size, low << 8 | high, 0, 0)
    return head + body + _U32(_HEAD_SIZE + size)


class FlvFeedMuxer(FeedMuxer):
    """Frames to FLV tags (L{FeedMuxer})."""

    def __init__(self, title: str, dialect: Dialect = FLV) -> None:
        """Mux the stream named C{title}, which onMetaData tells."""
        self._title = title
        self._dialect = dialect
        self._forms: dict[int, TrackForm] = {}
        self._run_start = 0
        self._last_ms = 0
        self._script = b""
        self._announce = False

    @override
    def carries(self, track: Track) -> bool:
        """Whether the dialect has a header for C{track}."""
        return bool(forms((track,), self._dialect))

    @override
    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        """Use C{tracks}; players already there get the new headers before the next frame."""
        self._announce = bool(self._script)
        if run_start != self._run_start:
            self._last_ms = 0
        self._run_start = run_start
        self._forms = forms(tracks, self._dialect)
        self._script = amf0.encode("onMetaData", metadata(self._forms.values(), self._title))

    @override
    def mux(self, frame: Frame) -> bytes:
        """One tag, behind the new headers where the tracks changed; nothing for a track not sent."""
        form = self._forms.get(frame.track_id)
        if form is None:
            return b""
        timestamp = self._last_ms = rtmp_time(frame.dts, self._run_start)
        body = form.body(frame, self._run_start)
        if len(body) > _MAX_BODY:
            return b""
        data = tag(form.kind, timestamp, body)
        if self._announce:
            self._announce = False
            return self.skip_prefix() + data
        return data

    @override
    def join_prefix(self) -> bytes:
        """The file header, onMetaData and the sequence headers."""
        if not self._script:
            return b""
        kinds = {form.kind for form in self._forms.values()}
        return file_header(AUDIO_TAG in kinds, VIDEO_TAG in kinds) + self.skip_prefix()

    @override
    def skip_prefix(self) -> bytes:
        """As L{join_prefix}, but the file header: a change of tracks may lie in what was skipped."""
        if not self._script:
            return b""
        at = self._last_ms
        headers = [tag(form.kind, at, form.header) for form in self._forms.values() if form.header]
        return b"".join([tag(SCRIPT_TAG, at, self._script), *headers])


def several_tracks(title: str) -> FlvFeedMuxer:
    """The muxer for who reads several tracks of a kind."""
    return FlvFeedMuxer(title, FULL)
