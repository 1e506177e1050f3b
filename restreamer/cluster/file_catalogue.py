"""The locations of files this node tells others of: its own, and those of its sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from restreamer.cluster.remote_files import RemoteFiles
from restreamer.m4f.records import MAX_PATH, VodListed, VodUnlisted


class FileCatalogueFollower(Protocol):
    """Told of every change of the list."""

    def catalogue_changed(self, change: VodListed | VodUnlisted) -> None:
        """One location came, changed or went."""
        ...


class FileCatalogue:
    """Keeps the list that control links push. A location of this node hides one of its name elsewhere."""

    def __init__(self, node_id: bytes, remote: RemoteFiles) -> None:
        self._node_id = node_id
        self._remote = remote
        self._own: frozenset[str] = frozenset()
        self._entries: dict[str, VodListed] = {}
        self._followers: list[FileCatalogueFollower] = []
        remote.told = self._review

    def set_own(self, locations: Iterable[str]) -> None:
        """The locations of this node from now on."""
        self._own = frozenset(locations)
        self._review()

    def entries(self) -> tuple[VodListed, ...]:
        """The whole list."""
        return tuple(self._entries.values())

    def follow(self, follower: FileCatalogueFollower) -> None:
        """Tell C{follower} of every change from now on."""
        self._followers.append(follower)

    def unfollow(self, follower: FileCatalogueFollower) -> None:
        """Stop telling C{follower}."""
        if follower in self._followers:
            self._followers.remove(follower)

    def _review(self, changed: str | None = None) -> None:
        if changed is not None:
            self._review_one(changed)
            return
        fresh = {name: VodListed(name, (self._node_id,)) for name in sorted(self._own)}
        for name, entry in self._remote.locations().items():
            if name not in fresh and len(entry.path) < MAX_PATH:
                fresh[name] = VodListed(name, (*entry.path, self._node_id))
        before, self._entries = self._entries, fresh
        for name in [name for name in before if name not in fresh]:
            self._tell(VodUnlisted(name))
        for name, entry in fresh.items():
            if before.get(name) != entry:
                self._tell(entry)

    def _review_one(self, name: str) -> None:
        if name in self._own:
            return
        there = self._remote.location(name)
        if there is None or len(there.path) >= MAX_PATH:
            if self._entries.pop(name, None) is not None:
                self._tell(VodUnlisted(name))
            return
        entry = VodListed(name, (*there.path, self._node_id))
        if self._entries.get(name) != entry:
            self._entries[name] = entry
            self._tell(entry)

    def _tell(self, change: VodListed | VodUnlisted) -> None:
        for follower in tuple(self._followers):
            follower.catalogue_changed(change)
