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
