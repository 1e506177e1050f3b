"""Which tracks of a stream a viewer wants: the C{filter.tracks} of a URL.

C{v1a2}: the first video and the second audio track, counted from 1 within their kind, in the order of the
track table. Names that a stream does not have are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from attrs import frozen
from typing_extensions import override

from restreamer.media.track import TrackKind, Tracks

_ONE: Final = re.compile(r"([vat])([1-9][0-9]{0,1})")
_WHOLE: Final = re.compile(r"(?:[vat][1-9][0-9]{0,1}){1,32}")
_KINDS: Final = {"v": TrackKind.VIDEO, "a": TrackKind.AUDIO}


@frozen
class TrackSelection:
    """Chosen tracks; hashable, so that what is muxed for one choice is shared by all who made it.

    @ivar wanted: (kind, place within the kind, from 1), sorted, each once.
    """

    wanted: tuple[tuple[TrackKind, int], ...]

    @classmethod
    def parse(cls, text: str) -> TrackSelection | None:
        """Read C{v1a2}; None for anything that is not of this form. Text tracks (C{t1}) match nothing."""
        if not _WHOLE.fullmatch(text):
            return None
        found = {(_KINDS[kind], int(place)) for kind, place in _ONE.findall(text) if kind in _KINDS}
        return cls(tuple(sorted(found)))

    def of(self, tracks: Tracks) -> Tracks:
        """Those of C{tracks} that were chosen, in their order."""
        places: dict[TrackKind, int] = {}
        chosen = []
        for track in tracks:
            place = places[track.kind] = places.get(track.kind, 0) + 1
            if (track.kind, place) in self.wanted:
                chosen.append(track)
        return tuple(chosen)

    def within(self, tables: Iterable[Tracks]) -> TrackSelection:
        """What is left of the choice where no other tracks are than those of C{tables}: all choices that give
        the same tracks of each of them become one.
        """
        there: set[tuple[TrackKind, int]] = set()
        for tracks in tables:
            places: dict[TrackKind, int] = {}
            for track in tracks:
                place = places[track.kind] = places.get(track.kind, 0) + 1
                there.add((track.kind, place))
        return TrackSelection(tuple([each for each in self.wanted if each in there]))

    @property
    def several(self) -> bool:
        """Whether more than one track of a kind was chosen."""
        return len({kind for kind, _ in self.wanted}) < len(self.wanted)

    @override
    def __str__(self) -> str:
        """The form L{parse} reads."""
        return "".join(f"{'v' if kind is TrackKind.VIDEO else 'a'}{place}" for kind, place in self.wanted)
