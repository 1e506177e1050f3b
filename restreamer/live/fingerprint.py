"""Whether two pieces of media are the same content on two clocks: access units are compared by checksum.

Two nodes that ingest what one encoder sends get the same access units; each anchors them to UTC by itself,
so their times differ by one constant. It is found by units that occur once in either piece, and then proved:
where the two pieces overlap on that constant, every unit up to the end of the overlap must be the same, at
least L{LEAST_UNITS} of them. Content that repeats itself (black pictures, silence, a short loop) has none
that occurs once, or fits at several places, and is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import google_crc32c
from attrs import frozen

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_MS
from restreamer.media.track import TrackKind, Tracks

#: So many units in a row, at the end of the overlap, must be the same...
LEAST_UNITS = 12
#: ...with a video keyframe among them (any unit where there is no video), or of so many bytes.
LEAST_BYTES = 4 * 1024
#: How much the distances of single units may differ: publishers round to milliseconds. Ticks.
SPREAD = TICKS_PER_MS
#: Units that occur once in either piece and agree on the distance.
LEAST_ANCHORS = 4
#: Distances tried besides the best, to see whether the content fits at several places.
_RIVALS = 3

#: DTS, checksum and size in one number, keyframe, size.
_Unit = tuple[int, int, bool, int]


@frozen
class Match:
    """Two pieces hold the same content.

    @ivar offset: what is added to a time of theirs to get ours, ticks.
    @ivar spread: by how much single units differ from it, ticks; 0 almost always.
    @ivar units: units compared; all were the same.
    """

    offset: int
    spread: int
    units: int


def match_tracks(theirs: Tracks, ours: Tracks) -> dict[int, int] | None:
    """Which of our tracks each of theirs is: track ids of theirs to ours.

    @return: None when they are not the same tracks for a decoder.
    """
    if len(theirs) != len(ours) or not ours:
        return None
    found: dict[int, int] = {}
    left = list(ours)
    for track in theirs:
        like = (track.kind, track.codec, track.config)
        same = next((each for each in left if (each.kind, each.codec, each.config) == like), None)
        if same is None:
            return None
        left.remove(same)
        found[track.track_id] = same.track_id
    return found


def match_content(
    ours: Sequence[Frame], theirs: Sequence[Frame], tracks: Mapping[int, int], table: Tracks
) -> Match | None:
    """The distance between two pieces of the same content.

    @param ours, theirs: frames in any order that keeps each track's DTS rising.
    @param tracks: from L{match_tracks}. @param table: our tracks.
    @return: None when they are not the same, do not overlap, or could overlap at several places.
    """
    one = _units(ours, {track_id: track_id for track_id in tracks.values()})
    other = _units(theirs, tracks)
    video = frozenset([track.track_id for track in table if track.kind is TrackKind.VIDEO])
    best: Match | None = None
    for offset in _distances(one, other):
        match = _proved(one, other, offset, video)
        if match is not None:
            if best is not None:
                return None
            best = match
    return best


def _units(frames: Iterable[Frame], ids: Mapping[int, int]) -> dict[int, list[_Unit]]:
    """Units by track of ours."""
    found: dict[int, list[_Unit]] = {track_id: [] for track_id in ids.values()}
    checksum = google_crc32c.value
    for frame in frames:
        track_id = ids.get(frame.track_id)
        if track_id is not None:
            size = len(frame.data)
            found[track_id].append((frame.dts, checksum(frame.data) << 32 | size, frame.key, size))
    return found


def _distances(one: dict[int, list[_Unit]], other: dict[int, list[_Unit]]) -> list[int]:
    """Distances that units which occur once in either piece speak for, the most likely first."""
    votes: Counter[int] = Counter()
    for track_id, units in one.items():
        here = _once(units)
        there = _once(other[track_id])
        for print_, dts in here.items():
            if print_ in there:
                votes[dts - there[print_]] += 1
    groups: list[list[int]] = []
    for distance in sorted(votes):
        if groups and distance - groups[-1][0] <= SPREAD:
            groups[-1].append(distance)
        else:
            groups.append([distance])
    for left, right in pairwise(groups):
        if not left:
            continue
        # A group cut in two by where it was begun: what lies within the spread of its middle belongs to it.
        middle = max(left, key=lambda each: votes[each])
        while right and right[0] - middle <= SPREAD and votes[right[0]] < votes[middle]:
            left.append(right.pop(0))
    ranked = sorted(
        (group for group in groups if group), key=lambda group: -sum(votes[each] for each in group)
    )
    return [
        max(group, key=lambda each: votes[each])
        for group in ranked[: 1 + _RIVALS]
        if sum(votes[each] for each in group) >= LEAST_ANCHORS
    ]


def _once(units: list[_Unit]) -> dict[int, int]:
    """DTS of the units that occur once."""
    counts = Counter([unit[1] for unit in units])
    return {unit[1]: unit[0] for unit in units if counts[unit[1]] == 1}


def _proved(
    one: dict[int, list[_Unit]], other: dict[int, list[_Unit]], offset: int, video: frozenset[int]
) -> Match | None:
    """Compare unit by unit, from the end of the overlap of each track backwards: there none may differ."""
    same: list[tuple[int, int, bool, int, int]] = []
    differs_at: int | None = None
    spread = 0
    for track_id, ours in one.items():
        theirs = other[track_id]
        if not ours or not theirs:
            continue
        here = len(ours) - 1
        there = len(theirs) - 1
        end = min(ours[here][0], theirs[there][0] + offset) + SPREAD
        while here >= 0 and ours[here][0] > end:
            here -= 1
        while there >= 0 and theirs[there][0] + offset > end:
            there -= 1
        while here >= 0 and there >= 0:
            dts, fingerprint, key, size = ours[here]
            error = abs(theirs[there][0] + offset - dts)
            if theirs[there][1] != fingerprint or error > SPREAD:
                if not same or same[-1][4] != track_id:
                    return None
                differs_at = dts if differs_at is None else max(dts, differs_at)
                break
            same.append((dts, error, key and (track_id in video or not video), size, track_id))
            here -= 1
            there -= 1
    proof = [unit for unit in same if differs_at is None or unit[0] > differs_at]
    if len(proof) < LEAST_UNITS:
        return None
    if not any(unit[2] for unit in proof) and sum(unit[3] for unit in proof) < LEAST_BYTES:
        return None
    spread = max(unit[1] for unit in proof)
    return Match(offset, spread, len(proof))
