"""The order of inputs and sources: C{priority} where it is written, else the place in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from attrs import evolve

from restreamer.config.model import InputConfig, SourceConfig

_Ranked = TypeVar("_Ranked", InputConfig, SourceConfig)


def in_preference(ranked: Sequence[_Ranked]) -> tuple[_Ranked, ...]:
    """C{ranked} with the preferred first. Lower is preferred; equals keep the order of the file.

    When at least one says its priority, the others get their place, counted from 1: so what is not marked
    stands where the file puts it.
    """
    if not any(each.priority for each in ranked):
        return tuple(ranked)
    filled = [evolve(each, priority=each.priority or place) for place, each in enumerate(ranked, 1)]
    return tuple(sorted(filled, key=lambda each: each.priority))
