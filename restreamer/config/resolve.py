"""Which configuration a stream name has."""

from __future__ import annotations

from restreamer.config.model import Configuration, StreamConfig


def resolve_stream(configuration: Configuration, name: str) -> StreamConfig | None:
    """The configured stream C{name}, or what the template with the longest fitting prefix makes of it.

    @param name: a checked stream name.
    @return: None when nothing takes the name or what takes it is disabled (a disabled stream also hides the
        template behind it).
    """
    stream = configuration.streams.get(name)
    if stream is None:
        takers = [each for each in configuration.templates.values() if each.takes(name)]
        if not takers:
            return None
        stream = max(takers, key=lambda each: len(each.prefix)).make(name)
    return None if stream.disabled else stream


def cluster_keys(configuration: Configuration) -> frozenset[str]:
    """All keys that links are made or taken with."""
    found = {configuration.cluster_key}
    for stream in (
        *configuration.streams.values(),
        *[each.stream for each in configuration.templates.values()],
    ):
        found.update(each.cluster_key for each in stream.inputs)
        found.update(each.cluster_key for each in stream.push)
    for source in configuration.sources:
        found.add(source.cluster_key)
        found.update(each.cluster_key for each in source.push)
    found.update(peer.cluster_key for peer in configuration.peers)
    found.discard("")
    return frozenset(found)
