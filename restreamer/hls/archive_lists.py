"""A media playlist of an archive, put together from the lines of hours (pure).

What stands between two hours is written here: a discontinuity, missing numbers, another init segment.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from restreamer.dvr.timeline import FLAGS, NUMBER, RowTuple
from restreamer.hls.archive_body import Packed
from restreamer.hls.archive_text import Form, HourText, lead, map_line, unrelated
from restreamer.live.window import TARGET_MARGIN
from restreamer.m4f.hour_layout import DISCONTINUITY
from restreamer.media.timebase import TICKS_PER_SECOND

#: EXT-X-VERSION without and with EXT-X-GAP, by whether it is CMAF (RFC 8216 section 7).
_VERSIONS: Final = {False: (3, 8), True: (6, 8)}


@define(eq=False)
class ListBuilder:
    """Takes the hours of a list in their order.

    @ivar form: what kind of list it is. @ivar last: the row listed last.
    @ivar shown: some segment holds the track.
    """

    form: Form
    last: RowTuple | None = field(default=None, init=False)
    shown: bool = field(default=False, init=False)
    _first: RowTuple | None = field(default=None, init=False)
    _sequence: int = field(default=0, init=False)
    _init: str = field(default="", init=False)
    _longest: int = field(default=0, init=False)
    _gaps: bool = field(default=False, init=False)
    _independent: bool = field(default=True, init=False)
    _pieces: list[Packed | bytes] = field(factory=list, init=False)

    def add(self, hour: HourText, body: Packed | bytes, sequence: int) -> None:
        """Take the segments of an hour.

        @param body: its text. @param sequence: discontinuities of the stream up to its first one, its own
            included.
        """
        form = self.form
        first = hour.first
        if form.sliding and (hour.restarts or (self.last is not None and unrelated(self.last, first))):
            self._begin_anew()
        text = ""
        if self.last is not None or form.sliding:
            text = lead(self.last, first, form)
        if self.last is None:
            self._first, self._sequence = first, sequence
        if hour.opening and hour.opening != self._init:
            text += map_line(hour.opening, form.base)
        if text:
            self._pieces.append(text.encode("ascii"))
        self._pieces.append(body)
        self._gaps = self._gaps or hour.gaps or "#EXT-X-GAP" in text
        self._init = hour.init or self._init
        self.shown = self.shown or bool(hour.init)
        self._longest = max(self._longest, hour.longest)
        self._independent = self._independent and hour.independent
        self.last = hour.last

    def add_missing(self, text: str) -> None:
        """Lines of numbers that are missing behind the newest segment."""
        if text:
            self._gaps = True
            self._pieces.append(text.encode("ascii"))

    def _begin_anew(self) -> None:
        """Nothing of what was taken can be listed with what comes."""
        self._pieces.clear()
        self.last = None
        self._init = ""
        self._gaps, self._independent, self.shown = False, True, False

    def build(self, grid: int, kind: str = "", ended: bool = False) -> tuple[Packed | bytes, ...]:
        """The playlist.

        @param grid: C{segment_duration} of the stream, ticks; 0: it is not known.
        @param kind: EXT-X-PLAYLIST-TYPE. @param ended: nothing will be added.
        """
        first = self._first
        if first is None:
            return ()
        rounded = (2 * self._longest + TICKS_PER_SECOND) // (2 * TICKS_PER_SECOND)
        target = max(1, rounded, -(-grid // TICKS_PER_SECOND) + TARGET_MARGIN if grid else 0)
        cmaf = bool(self.form.track)
        lines = [
            f"#EXTM3U\n#EXT-X-VERSION:{_VERSIONS[cmaf][self._gaps]}\n",
            f"#EXT-X-TARGETDURATION:{target}\n",
        ]
        if kind:
            lines.append(f"#EXT-X-PLAYLIST-TYPE:{kind}\n")
        if cmaf and self._independent:
            lines.append("#EXT-X-INDEPENDENT-SEGMENTS\n")
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first[NUMBER]}\n")
        if self.form.sliding:
            before = self._sequence - (first[FLAGS] & DISCONTINUITY)
            if before > 0:
                lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{before}\n")
        tail = (b"#EXT-X-ENDLIST\n",) if ended else ()
        return ("".join(lines).encode("ascii"), *self._pieces, *tail)
