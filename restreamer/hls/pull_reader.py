"""Segments of one pulled playlist to tracks and frames: MPEG-TS or CMAF, told by what comes (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from restreamer.errors import MediaError, RemoteProtocolError
from restreamer.media.announce import NewTracks
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.mp4.fragment_reader import FragmentReader
from restreamer.mpegts.demux import DemuxCounters, Output, TsDemux

#: Ids of tracks that one playlist may use.
IDS: Final = 16


class SegmentReader:
    """Reads the segments of one playlist.

    @ivar tracks: what the latest segment held. Their ids are counted from C{first_id}.
    """

    def __init__(self, first_id: int, language: str = "") -> None:
        """@param language: what the master playlist says of it, for tracks that do not say."""
        self._first = first_id
        letters = language.isascii() and language.isalpha()
        self._language = language if len(language) == 3 and letters else ""
        self._demux: TsDemux | None = None
        self._fragments: FragmentReader | None = None
        self._counters = DemuxCounters()
        self._init = b""
        self._ids: dict[int, int] = {}
        self.tracks: Tracks = ()

    def segment(self, init: bytes, data: bytes, discontinuity: bool) -> list[Frame]:
        """The frames of one segment; C{tracks} holds for them.

        @param init: its init section, empty for none.
        @raise RemoteProtocolError: it is none that can be read.
        """
        try:
            if init:
                return self._cmaf(init, data)
            if data[:1] == b"\x47":
                return self._transport(data, discontinuity)
        except MediaError as error:
            raise RemoteProtocolError("segment", str(error)) from error
        raise RemoteProtocolError("segment", "neither MPEG-TS nor CMAF")

    @property
    def counted(self) -> Mapping[str, int]:
        """What was wrong with transport streams so far, as the API calls it; nothing of CMAF."""
        return self._demux.counted().named() if self._demux is not None else {}

    def _cmaf(self, init: bytes, data: bytes) -> list[Frame]:
        reader = self._fragments
        if reader is None or init != self._init:
            reader = self._fragments = FragmentReader(init)
            self._init = init
            kept = reader.tracks[:IDS]
            self._ids = {track.track_id: self._first + place for place, track in enumerate(kept)}
            self._set(tuple(evolve(track, track_id=self._ids[track.track_id]) for track in kept))
        return [
            Frame(self._ids[frame.track_id], frame.dts, frame.cts, frame.key, frame.data)
            for frame in reader.frames(data)
            if frame.track_id in self._ids
        ]

    def _transport(self, data: bytes, discontinuity: bool) -> list[Frame]:
        demux = self._demux
        if demux is None or discontinuity:
            if demux is not None:
                self._counters = demux.counted()
            demux = self._demux = TsDemux(counters=self._counters)
        outputs: list[Output] = [*demux.receive(data), *demux.boundary()]
        found: list[Frame] = []
        for output in outputs:
            if isinstance(output, NewTracks):
                kept = [track for track in output.tracks if track.track_id <= IDS]
                self._set(tuple(evolve(track, track_id=self._first + track.track_id - 1) for track in kept))
            elif output.track_id <= IDS:
                number = self._first + output.track_id - 1
                found.append(Frame(number, output.dts, output.cts, output.key, output.data))
        found.sort(key=lambda frame: frame.dts)
        return found

    def _set(self, tracks: Tracks) -> None:
        language = self._language
        self.tracks = tuple(
            evolve(track, language=language) if language and track.language == "und" else track
            for track in tracks
        )
