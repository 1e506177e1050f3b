"""The room that the temporary files of exports may take together, and where they lie."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Final

from restreamer.errors import Reason, Refused

#: Bytes of temporary files of a node.
ROOM: Final = 2 * 1024 * 1024 * 1024
#: By convention on a disk, where the system's own folder may be memory.
_ON_DISK: Final = "/var/tmp"


def folder_for(state_dir: str) -> str | None:
    """The folder of temporary files: C{state_dir}, or else one on a disk; None: the system's."""
    for folder in (state_dir, _ON_DISK):
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


class Room:
    """Counts what is taken of it.

    @param make_room: gives up something that nobody needs now; False: there is nothing.
    @ivar taken: bytes.
    """

    def __init__(self, make_room: Callable[[], bool], size: int = ROOM) -> None:
        self.taken = 0
        self.size = size
        self._make_room = make_room

    def share(self) -> RoomShare:
        """A share, of nothing yet."""
        return RoomShare(self)

    def change(self, size: int) -> None:
        """Take so many bytes more, or give them back.

        @raise Refused: OVERLOADED: they are not there.
        """
        while size > 0 and self.taken + size > self.size:
            if not self._make_room():
                raise Refused(Reason.OVERLOADED, "there is no room for the tables of another file: try later")
        self.taken += size


class RoomShare:
    """What one export takes; it is given back with the last reference to it.

    @ivar size: bytes.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = [0]
        _ = weakref.finalize(self, _give_back, room, self._held)

    @property
    def size(self) -> int:
        """Bytes of it."""
        return self._held[0]

    def grow(self, size: int) -> None:
        """Be of C{size} bytes from now on; called by one at a time.

        @raise Refused: OVERLOADED: they are not there.
        """
        self._room.change(size - self._held[0])
        self._held[0] = size


def _give_back(room: Room, held: list[int]) -> None:
    room.taken -= held[0]
