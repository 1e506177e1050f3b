"""Heads of exports, made and kept: each once, however many wait, and no longer than somebody waits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from restreamer.dvr.export import Export
from restreamer.dvr.export_room import ROOM, Room
from restreamer.errors import Reason, Refused
from restreamer.seams import Clock

#: Heads kept, for how many seconds without use, and made at once.
KEPT_EXPORTS: Final = 16
KEPT_SECONDS: Final = 600.0
MAX_BUILDS: Final = 4
#: Seconds a request waits for a head, and after which a head nobody asked for again is not made any further.
PATIENCE: Final = 20.0
FORGOTTEN: Final = 60.0

#: Stream, start, duration, chosen tracks.
Key = tuple[str, int, int, str]


@define(eq=False)
class _Build:
    """A head that is being made. @ivar asked: when it was asked for last."""

    asked: float
    waiting: dict[Deferred[Export], None] = field(factory=dict)


class ExportShelf:
    """Finds exports, and makes them. @ivar room: what their files may take."""

    def __init__(self, clock: Clock, room: int = ROOM) -> None:
        self.room = Room(self._give_up, room)
        self._clock = clock
        #: When each was used last; the latest last.
        self._kept: OrderedDict[Key, tuple[float, Export]] = OrderedDict()
        self._builds: dict[Key, _Build] = {}
        self._looking = False

    async def find(self, key: Key, make: Callable[[Callable[[], bool]], Awaitable[Export]]) -> Export:
        """The export.

        @param make: makes it; it is given what says whether anybody still waits.
        @raise Refused: OVERLOADED: it is being made, or too many are: ask again; what C{make} raises.
        """
        held = self._kept.get(key)
        if held is not None:
            self._keep(key, held[1])
            return held[1]
        build = self._builds.get(key)
        begins = build is None
        if build is None:
            if len(self._builds) >= MAX_BUILDS:
                raise Refused(Reason.OVERLOADED, "too many files are being put together: try again later")
            build = self._builds[key] = _Build(0.0)
        build.asked = self._clock.seconds()
        waiting: Deferred[Export] = Deferred()
        build.waiting[waiting] = None
        timer = self._clock.callLater(PATIENCE, self._late, build, waiting)
        try:
            if begins:
                self._start(key, build, make)
            return await waiting
        finally:
            _ = build.waiting.pop(waiting, None)
            if timer.active():
                timer.cancel()

    def _start(
        self, key: Key, build: _Build, make: Callable[[Callable[[], bool]], Awaitable[Export]]
    ) -> None:
        def wanted() -> bool:
            return bool(build.waiting) or self._clock.seconds() - build.asked < FORGOTTEN

        async def made() -> Export:
            return await make(wanted)

        _ = Deferred.fromCoroutine(made()).addBoth(self._made, key, build)

    def _made(self, outcome: Export | Failure, key: Key, build: _Build) -> None:
        del self._builds[key]
        if isinstance(outcome, Export):
            self._keep(key, outcome)
        waiting, build.waiting = build.waiting, {}
        for each in waiting:
            if isinstance(outcome, Failure):
                each.errback(outcome)
            else:
                each.callback(outcome)

    def _keep(self, key: Key, export: Export) -> None:
        self._kept[key] = self._clock.seconds(), export
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_EXPORTS:
            _ = self._give_up()
        if not self._looking:
            self._looking = True
            _ = self._clock.callLater(KEPT_SECONDS, self._look)

    def _look(self) -> None:
        """Forget what nobody used for long. Its files go with the last one who reads them."""
        self._looking = False
        until = self._clock.seconds() - KEPT_SECONDS
        while self._kept and next(iter(self._kept.values()))[0] <= until:
            _ = self._give_up()
        if self._kept:
            self._looking = True
            oldest = next(iter(self._kept.values()))[0]
            _ = self._clock.callLater(oldest - until, self._look)

    def _give_up(self) -> bool:
        """Forget the one that was used least recently; False: there is none."""
        if not self._kept:
            return False
        _ = self._kept.popitem(last=False)
        return True

    @staticmethod
    def _late(build: _Build, waiting: Deferred[Export]) -> None:
        if waiting in build.waiting:
            del build.waiting[waiting]
            waiting.errback(
                Refused(Reason.OVERLOADED, "the file is being put together: ask again in a moment")
            )
