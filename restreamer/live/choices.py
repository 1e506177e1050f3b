"""What is kept for viewers that choose their tracks: as much as is asked for, up to a limit."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from attrs import define, field

_Made = TypeVar("_Made")

#: Things kept at once because of what viewers choose, of one stream and kind.
MAX_CHOICES: Final = 64


@define(eq=False)
class Choices(Generic[_Made]):
    """What was made for choices: of those that viewers make the ones asked for last, and all that last.

    @ivar limit: choices of viewers that are kept.
    """

    limit: int = MAX_CHOICES
    _lasting: dict[Hashable, _Made] = field(factory=dict, init=False)
    _chosen: dict[Hashable, _Made] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._lasting) + len(self._chosen)

    def get(self, key: Hashable) -> _Made | None:
        """What was kept for C{key}, which is the newest one now."""
        made = self._lasting.get(key)
        if made is None and key in self._chosen:
            made = self._chosen[key] = self._chosen.pop(key)
        return made

    def keep(self, key: Hashable, made: _Made, lasting: bool) -> None:
        """Keep something.

        @param lasting: no choice of viewers puts it out. Its keys are few: everything, or single tracks.
        """
        if lasting:
            self._lasting[key] = made
            return
        self._chosen.pop(key, None)
        while len(self._chosen) >= self.limit:
            del self._chosen[next(iter(self._chosen))]
        self._chosen[key] = made

    def clear(self) -> None:
        """Forget everything."""
        self._lasting.clear()
        self._chosen.clear()
