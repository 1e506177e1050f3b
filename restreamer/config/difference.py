"""What a reload has to touch: two configurations compared, purely."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import attrs
from attrs import field, frozen

from restreamer.config.model import Configuration, Listen, SourceConfig, StreamConfig
from restreamer.config.words import LISTENERS

_Key = TypeVar("_Key", bound=Hashable)

GLOBALS = (
    "cluster_key",
    "loglevel",
    "state_dir",
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_ca",
    "view_auth",
    "edit_auth",
    "session_log",
    "event_sinks",
    "auth_backends",
    "geoip",
    "auth_token",
    "forwarded_for",
    "drain_time",
    "workers",
)

STREAM_SETTINGS = frozenset(
    [
        "auth",
        "cache",
        "dvr",
        "title",
        "comment",
        "segment_count",
        "password",
        "protocols",
        "url_prefix",
        "prepush",
        "push",
        "retry_limit",
    ]
)
"""Fields of a stream that can change while its inputs go on undisturbed."""

SOURCE_SETTINGS = frozenset(
    [
        "auth",
        "cache",
        "dvr",
        "only",
        "except_",
        "segment_count",
        "source_timeout",
        "clients_timeout",
        "protocols",
        "url_prefix",
        "prepush",
        "push",
        "retry_limit",
    ]
)
"""Fields of a source that need no other link: what is not here (C{tls}, C{prefix}, C{backup} …) does."""


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

    @ivar streams, templates, vods: by name. A stream or template whose file (input or backup) lies in a VOD
        with other storages counts as changed (field C{storages}).
    @ivar sources: by (host, port); C{storages} as with streams, of their C{backup}.
    @ivar peers: by (host, port). @ivar balancers: by name.
    @ivar listeners: by their word, each by (address, port).
    @ivar source_order: whether the sources that stay stand in another order (= other preference).
    @ivar globals: the global values that differ, of L{GLOBALS}.
    """

    streams: Changes[str]
    templates: Changes[str]
    vods: Changes[str]
    sources: Changes[tuple[str, int]]
    listeners: Mapping[str, Changes[tuple[str, int]]]
    peers: Changes[tuple[str, int]]
    balancers: Changes[str]
    source_order: bool = False
    globals: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        rest = (getattr(self, each.name) for each in attrs.fields(type(self)) if each.name != "listeners")
        return any(rest) or any(self.listeners.values())


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
        sources=_with_storages(_changes(old_sources, new_sources), old_sources, new_sources, moved),
        listeners=MappingProxyType(
            {
                word: _changes(_listeners(getattr(old, word)), _listeners(getattr(new, word)))
                for word in LISTENERS
            }
        ),
        peers=_changes({each.key: each for each in old.peers}, {each.key: each for each in new.peers}),
        balancers=_changes(old.balancers, new.balancers),
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
    changes: Changes[_Key],
    old: Mapping[_Key, StreamConfig | SourceConfig],
    new: Mapping[_Key, StreamConfig | SourceConfig],
    moved: frozenset[str],
) -> Changes[_Key]:
    """C{changes}, and what is in both configurations and shows files from the VODs C{moved}."""
    if not moved:
        return changes
    changed: dict[_Key, tuple[str, ...]] = {}
    for key, config in new.items():
        if key not in old:
            continue
        names = changes.changed.get(key, ())
        if not moved.isdisjoint(_vods_of(config)):
            names = (*names, "storages")
        if names:
            changed[key] = names
    return attrs.evolve(changes, changed=MappingProxyType(changed))


def _vods_of(config: StreamConfig | SourceConfig) -> list[str]:
    """The VODs that C{config} shows files from."""
    backup = [config.backup.vod] if config.backup is not None else []
    if isinstance(config, SourceConfig):
        return backup
    return backup + [each.host for each in config.inputs if each.scheme == "file"]
