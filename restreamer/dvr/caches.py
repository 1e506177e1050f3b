"""The segment caches of a configuration, by root: each with threads of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from restreamer.dvr.segment_cache import CacheFacts, DiskCache
from restreamer.vod.disk import DiskThreads


@frozen
class CacheLimits:
    """How much a cache keeps. @ivar age: seconds without use; @ivar size: bytes; None: no limit."""

    age: int | None = None
    size: int | None = None


@define(eq=False)
class Caches:
    """See the module. @ivar reactor: for time and for coming back from threads."""

    _reactor: Any
    _caches: dict[str, DiskCache] = field(factory=dict)

    def configure(self, limits: Mapping[str, CacheLimits]) -> list[Any]:
        """Use these caches from now on, and no others.

        @return: what fires when those that are not used any more are let go.
        """
        closing = [self._caches.pop(root).close() for root in self._caches.keys() - limits.keys()]
        for root, limit in limits.items():
            cache = self._caches.get(root)
            if cache is None:
                reading, writing = DiskThreads(self._reactor, 1), DiskThreads(self._reactor, 1)
                cache = DiskCache(root, reading.call, writing.call, self._reactor, limit.age, limit.size)
                self._caches[root] = cache
                cache.start()
            else:
                cache.configure(limit.age, limit.size)
        return closing

    def find(self, root: str) -> DiskCache | None:
        """The cache at C{root}."""
        return self._caches.get(root)

    def facts(self) -> dict[str, CacheFacts]:
        """How they do, by root."""
        return {root: self._caches[root].facts for root in sorted(self._caches)}

    def close(self) -> list[Any]:
        """Let all go. @return: what fires when that is done."""
        return self.configure({})
