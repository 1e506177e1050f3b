"""Indexes of sealed hours in memory, for all streams of a store; asked by many threads."""

from __future__ import annotations

import threading

from restreamer.m4f.hour_index import HourIndex
from restreamer.vod.keep import Kept

#: Bytes and pieces: a week of one stream is about 15 MiB.
CACHE_BYTES = 64 * 1024 * 1024
CACHE_PIECES = 2000

_Key = tuple[str, int]


class HourCache:
    """The indexes that were asked for last, by folder of the stream and hour."""

    def __init__(self, max_bytes: int = CACHE_BYTES, max_pieces: int = CACHE_PIECES) -> None:
        self._kept: Kept[_Key, HourIndex] = Kept(max_bytes, max_pieces, lambda index: index.cost)
        self._lock = threading.Lock()

    def get(self, key: _Key) -> HourIndex | None:
        """The index, if it is there."""
        with self._lock:
            return self._kept.get(key)

    def put(self, key: _Key, index: HourIndex) -> None:
        """Keep it."""
        with self._lock:
            self._kept.put(key, index)

    def drop(self, key: _Key) -> None:
        """It is not true any more."""
        with self._lock:
            self._kept.drop(key)

    def clear(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._kept.clear()
