"""The streams of the configuration by name, and what the registry and publishers tell them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, field

from restreamer.live.registry import StreamRegistry
from restreamer.live.stream import Stream
from restreamer.sources.configured_stream import ConfiguredStream


@define(eq=False)
class ConfiguredStreams:
    """Keeps them; listens to the registry for publishers.

    @ivar make: the stream a publisher makes of a name that is not configured itself; None when it needs
        nothing beside its publisher.
    """

    registry: StreamRegistry
    make: Callable[[str], ConfiguredStream | None]
    _streams: dict[str, ConfiguredStream] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.registry.listen(self)

    def get(self, name: str) -> ConfiguredStream | None:
        """The stream C{name}, if it has inputs of its own."""
        return self._streams.get(name)

    def add(self, stream: ConfiguredStream) -> None:
        """Take a stream; it is started by whoever made it."""
        self._streams[stream.name] = stream
        if self.registry.published(stream.name):
            stream.publisher_came()
            entry = self.registry.find(stream.name)
            if entry is not None and entry.stream.running and not entry.stream.backup:
                # It was made anew by a reload: whoever feeds the name now is its publisher.
                stream.publisher_fed()

    def remove(self, name: str) -> list[Any]:
        """Stop a stream and forget it; gives Deferreds of what is being closed."""
        stream = self._streams.pop(name, None)
        return stream.stop() if stream is not None else []

    def close(self) -> list[Any]:
        """Stop all of them."""
        self.registry.unlisten(self)
        return [each for name in list(self._streams) for each in self.remove(name)]

    def fed(self, name: str) -> None:
        """The publisher of C{name} began (again) to feed it."""
        stream = self._streams.get(name)
        if stream is not None:
            stream.publisher_fed()

    # The registry's events.

    def claim_changed(self, name: str, claimed: bool) -> None:
        """A publisher came or left."""
        stream = self._streams.get(name)
        published = self.registry.published(name)
        if stream is None and published:
            stream = self.make(name)
            if stream is not None:
                self._streams[name] = stream
                stream.passed = partial(self.remove, name)
                stream.begin()
        if stream is None or not stream.takes_publisher:
            return
        if published:
            stream.publisher_came()
        else:
            stream.publisher_left()

    def stream_changed(self, stream: Stream) -> None:
        """Nothing to do."""

    def stream_removed(self, stream: Stream) -> None:
        """What a publisher made ends with its stream."""
        held = self._streams.get(stream.name)
        if held is not None and held.passing and not self.registry.published(stream.name):
            self.remove(stream.name)

    def supply_changed(self, name: str) -> None:
        """Nothing to do."""
