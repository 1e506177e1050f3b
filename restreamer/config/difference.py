"""What a reload has to touch: two configurations compared, purely."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import attrs
from attrs import field, frozen

from restreamer.config.model import Configuration, Listen, StreamConfig

_Key = TypeVar("_Key", bound=Hashable)

GLOBALS = ("cluster_key", "loglevel", "state_dir")
SPOKEN = frozenset(["title", "comment"])
"""Fields of a stream that a viewer or publisher never notices: they change without touching either."""


@frozen(kw_only=True)
class Changes(Generic[_Key]):
    """Differences between two keyed sets.

    @ivar added, removed: keys, in the order of the configuration that has them.
    @ivar changed: key to the names of the fields that differ, in the order of the new configuration.
    """

    added: tuple[_Key, ...] = ()
    removed: tuple[_Key, ...] = ()
    changed: Mapping[_Key, tuple[str, ...]] = field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@frozen(kw_only=True)
class Difference:
    """What is not the same in the new configuration.

    @ivar streams, templates, vods: by name. A stream or template whose C{file://} input names a VOD with
        other storages counts as changed (field C{storages}).
    @ivar sources: by (host, port). @ivar http, rtmp: by (address, port).
    @ivar source_order: whether the sources that stay stand in another order (= other preference).
    @ivar globals: the global values that differ, of L{GLOBALS}.
    """

    streams: Changes[str]
    templates: Changes[str]
    vods: Changes[str]
    sources: Changes[tuple[str, int]]
    http: Changes[tuple[str, int]]
    rtmp: Changes[tuple[str, int]]
    source_order: bool = False
    globals: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(
            self.streams
            or self.templates
            or self.vods
            or self.sources
            or self.http
            or self.rtmp
            or self.source_order
            or self.globals
        )


def compare(old: Configuration, new: Configuration) -> Difference:
    """What a node that runs C{old} has to touch to run C{new}. Places take no part."""
    vods = _changes(old.vods, new.vods)
    moved = frozenset([*vods.added, *vods.removed, *vods.changed])
    old_sources = {each.key: each for each in old.sources}
    new_sources = {each.key: each for each in new.sources}
    stayed = [key for key in old_sources if key in new_sources]
    return Difference(
        streams=_with_storages(_changes(old.streams, new.streams), old.streams, new.streams, moved),
        templates=_with_storages(
            _changes(old.templates, new.templates),
            {name: each.stream for name, each in old.templates.items()},
            {name: each.stream for name, each in new.templates.items()},
            moved,
        ),
        vods=vods,
        sources=_changes(old_sources, new_sources),
        http=_changes(_listeners(old.http), _listeners(new.http)),
        rtmp=_changes(_listeners(old.rtmp), _listeners(new.rtmp)),
        source_order=stayed != [key for key in new_sources if key in old_sources],
        globals=tuple(each for each in GLOBALS if getattr(old, each) != getattr(new, each)),
    )


def _listeners(listeners: tuple[Listen, ...]) -> dict[tuple[str, int], Listen]:
    return {each.key: each for each in listeners}


def _changes(old: Mapping[_Key, Any], new: Mapping[_Key, Any]) -> Changes[_Key]:
    return Changes(
        added=tuple(key for key in new if key not in old),
        removed=tuple(key for key in old if key not in new),
        changed=MappingProxyType(
            {key: _fields(old[key], new[key]) for key in new if key in old and old[key] != new[key]}
        ),
    )


def _fields(old: attrs.AttrsInstance, new: attrs.AttrsInstance) -> tuple[str, ...]:
    """The names of the compared fields that differ between two values of one class."""
    return tuple(
        each.name
        for each in attrs.fields(type(new))
        if each.eq and getattr(old, each.name) != getattr(new, each.name)
    )


def _with_storages(
    changes: Changes[str],
    old: Mapping[str, StreamConfig],
    new: Mapping[str, StreamConfig],
    moved: frozenset[str],
) -> Changes[str]:
    """C{changes}, and the streams in both configurations that play files from the VODs C{moved}."""
    if not moved:
        return changes
    changed: dict[str, tuple[str, ...]] = {}
    for name, stream in new.items():
        if name not in old:
            continue
        names = changes.changed.get(name, ())
        if any(each.scheme == "file" and each.host in moved for each in stream.inputs):
            names = (*names, "storages")
        if names:
            changed[name] = names
    return attrs.evolve(changes, changed=MappingProxyType(changed))
