"""This node's catalogue: what it can give to other nodes, and whoever follows the changes.

A stream that can be started on demand stays listed as such while it runs, so that one edge's viewers never
make another edge pull it for ever.
"""

from __future__ import annotations

from typing import Protocol

from restreamer.live.protocols import allowed
from restreamer.live.registry import StreamRegistry
from restreamer.live.stream import Stream
from restreamer.m4f.records import (
    Position,
    StreamListed,
    StreamState,
    StreamUnlisted,
    encode_record,
    heartbeats,
)
from restreamer.media.timebase import TICKS_PER_SECOND

#: Ticks for which one look at all streams serves every follower's heartbeat.
BEAT_HOLDS = TICKS_PER_SECOND // 10
#: Streams a stream may pass through; an entry with a longer path is not listed.
MAX_PATH = 16


class CatalogueFollower(Protocol):
    """Told of every change of the catalogue."""

    def catalogue_changed(self, change: StreamListed | StreamUnlisted) -> None:
        """One entry came, changed or went."""
        ...


class Catalogue:
    """Keeps the list that control links push; listens to the registry.

    @param node_id: this node's 16 bytes.
    @param everything: also what is not given to other nodes: the followers are processes of this one.
    """

    def __init__(self, registry: StreamRegistry, node_id: bytes, everything: bool = False) -> None:
        self._everything = everything
        self._registry = registry
        self._node_id = node_id
        self._entries: dict[str, StreamListed] = {}
        self._followers: list[CatalogueFollower] = []
        self._beat: tuple[int, bytes] | None = None
        registry.listen(self)

    def entries(self) -> tuple[StreamListed, ...]:
        """The whole list."""
        return tuple(self._entries.values())

    def positions(self) -> list[Position]:
        """Where each running stream stands: its newest run, segment and frame."""
        found = []
        for name in self._entries:
            entry = self._registry.find(name)
            if entry is None or entry.stream.run is None or not entry.stream.running:
                continue
            stream = entry.stream
            builder = stream.open
            number = builder.opening.number if builder is not None else (stream.window.last_number or 0)
            count = len(builder.frames) if builder is not None else 0
            assert stream.run is not None
            found.append(
                Position(
                    name=name,
                    run_id=stream.run.run_id,
                    number=number,
                    frame_index=count,
                    backup=stream.backup,
                    continuation=stream.run.continuation,
                )
            )
        return found

    def beat(self, utc: int) -> bytes:
        """The heartbeats that tell L{positions} at C{utc} ticks, encoded.

        Made once for all followers that beat within L{BEAT_HOLDS}, because it walks all streams.
        """
        if self._beat is None or not 0 <= utc - self._beat[0] < BEAT_HOLDS:
            told = heartbeats(utc, self.positions())
            self._beat = utc, b"".join(encode_record(each) for each in told)
        return self._beat[1]

    def follow(self, follower: CatalogueFollower) -> None:
        """Tell C{follower} of every change from now on."""
        self._followers.append(follower)

    def unfollow(self, follower: CatalogueFollower) -> None:
        """Stop telling C{follower}."""
        if follower in self._followers:
            self._followers.remove(follower)

    # The registry's events.

    def stream_changed(self, stream: Stream) -> None:
        """Its entry may come or go."""
        self._review(stream.name)

    def stream_removed(self, stream: Stream) -> None:
        """Its entry may go."""
        self._review(stream.name)

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Its entry may change."""
        self._review(name)

    def supply_changed(self, name: str) -> None:
        """Its entry may come or go."""
        self._review(name)

    def _review(self, name: str) -> None:
        now = self._entry(name)
        before = self._entries.get(name)
        if now == before:
            return
        change: StreamListed | StreamUnlisted
        if now is None:
            del self._entries[name]
            change = StreamUnlisted(name=name)
        else:
            self._entries[name] = change = now
        for follower in tuple(self._followers):
            follower.catalogue_changed(change)

    def _entry(self, name: str) -> StreamListed | None:
        if not self._everything and not allowed(self._registry.protocols(name), "m4f"):
            return None
        supply = self._registry.supply(name)
        if supply is not None:
            return self._listed(name, StreamState.ONDEMAND, supply.title, (*supply.path, self._node_id))
        live = self._registry.find(name)
        if live is None or not live.stream.running or live.stream.run is None:
            return None
        return self._listed(
            name, StreamState.RUNNING, live.stream.title, live.stream.run.path, live.stream.backup
        )

    def _listed(
        self, name: str, state: StreamState, title: str, path: tuple[bytes, ...], backup: bool = False
    ) -> StreamListed | None:
        if len(path) > MAX_PATH:
            return None
        return StreamListed(name=name, state=state, title=title, path=path, backup=backup)
