"""Announces the tracks of an input whose configuration is found on the way, before their frames.

A demuxer knows which streams there are before it knows what they are: parameter sets come with the first
keyframe, an audio header with the first frame. What comes meanwhile is held, within bounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

from attrs import frozen

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, Tracks

#: Ticks of media held at most while tracks are missing.
MAX_HELD_TIME: Final = TICKS_PER_SECOND
#: Bytes of media held at most.
MAX_HELD_BYTES: Final = 4 * 1024 * 1024


@frozen
class NewTracks:
    """The track table that holds for the frames behind it: video first, then by id."""

    tracks: Tracks


class TrackAnnouncer:
    """Puts a table of tracks before frames, and another one whenever it changes.

    Frames are held until every expected track is known; after L{MAX_HELD_TIME} of media or L{MAX_HELD_BYTES}
    the table goes out with those that are. One found later makes a new table. Frames of a track that is not
    in the table are left out.

    @ivar left_out: frames that were left out.
    """

    def __init__(self, expected: Collection[int]) -> None:
        """@param expected: ids of the tracks that may come."""
        self._expected = frozenset(expected)
        self._known: dict[int, Track] = {}
        self._announced: Tracks = ()
        self._changed = False
        self._open = False
        self._overdue = False
        self._held: deque[Frame] = deque()
        self._held_bytes = 0
        self.left_out = 0

    @property
    def tracks(self) -> Tracks:
        """The table that was announced last; empty before the first."""
        return self._announced

    def expect(self, expected: Collection[int]) -> None:
        """Other streams come from now on: tracks that are not among them leave the table.

        When there are some that are not known yet, frames are held again until they are.
        """
        self._expected = frozenset(expected)
        if not self._expected <= self._known.keys():
            self._open = self._overdue = False
        for track_id in self._known.keys() - self._expected:
            del self._known[track_id]
            self._changed = True

    def track(self, track: Track) -> None:
        """A track became known, or its configuration changed; said with the next frame."""
        if self._known.get(track.track_id) != track:
            self._known[track.track_id] = track
            self._changed = True

    def frames(self, frame: Frame) -> list[NewTracks | Frame]:
        """Take a frame.

        @return: what goes on now, in order: tables and frames.
        """
        if self._open and not self._changed:
            if frame.track_id in self._known:
                return [frame]
            self.left_out += 1
            return []
        if self._open:
            return self._table([frame])
        self._hold(frame)
        if not self._known or not (self._overdue or self._expected <= self._known.keys()):
            return []
        return self._release()

    def flush(self) -> list[NewTracks | Frame]:
        """No more frames come: what is held, if any track is known."""
        return self._release() if self._held and self._known else []

    def _hold(self, frame: Frame) -> None:
        held = self._held
        held.append(frame)
        self._held_bytes += len(frame.data)
        while self._held_bytes > MAX_HELD_BYTES or abs(frame.dts - held[0].dts) > MAX_HELD_TIME:
            self._overdue = True
            if self._known:
                return
            self._held_bytes -= len(held.popleft().data)
            self.left_out += 1
            if not held:
                return

    def _release(self) -> list[NewTracks | Frame]:
        self._open = True
        held = list(self._held)
        self._held.clear()
        self._held_bytes = 0
        return self._table(held)

    def _table(self, frames: Iterable[Frame]) -> list[NewTracks | Frame]:
        found: list[NewTracks | Frame] = []
        self._changed = False
        tracks = tuple(sorted(self._known.values(), key=lambda each: (each.kind, each.track_id)))
        if tracks != self._announced:
            self._announced = tracks
            found.append(NewTracks(tracks))
        for frame in frames:
            if frame.track_id in self._known:
                found.append(frame)
            else:
                self.left_out += 1
        return found
