"""Which events a sink takes: C{only event=stream_*,source_lost media=live/*; except media=test;} (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen


@frozen
class Condition:
    """C{key=value,value*}: one of the values, or what begins like one with a C{*} behind it.

    @ivar values: at least one.
    """

    key: str
    values: tuple[str, ...]

    def holds(self, event: Mapping[str, Any]) -> bool:
        """Whether the event has one of the values. An event without the key has none."""
        given = event.get(self.key)
        if given is None:
            return False
        text = given if isinstance(given, str) else str(given)
        return any(
            text.startswith(value[:-1]) if value.endswith("*") else text == value for value in self.values
        )


@frozen
class EventFilter:
    """@ivar only: all of them have to hold. @ivar except_: none of them may."""

    only: tuple[Condition, ...] = ()
    except_: tuple[Condition, ...] = ()

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Whether the sink wants C{event}."""
        return all(each.holds(event) for each in self.only) and not any(
            each.holds(event) for each in self.except_
        )
