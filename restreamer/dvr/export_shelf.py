"""Heads of exports, made and kept: each once, however many wait, and no longer than somebody waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from restreamer.dvr.export import Export
from restreamer.errors import Reason, Refused
from restreamer.seams import Clock
from restreamer.vod.keep import Kept

#: Heads kept, and made at once.
KEPT_EXPORTS: Final = 16
MAX_BUILDS: Final = 4
#: Seconds a request waits for a head, and after which a head nobody asked for again is not made any further.
PATIENCE: Final = 8.0
FORGOTTEN: Final = 60.0

#: Stream, start, duration, chosen tracks.
Key = tuple[str, int, int, str]


@define(eq=False)
class _Build:
    """A head that is being made. @ivar asked: when it was asked for last."""

    asked: float
    waiting: dict[Deferred[Export], None] = field(factory=dict)


class ExportShelf:
    """Finds exports, and makes them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: Kept[Key, Export] = Kept(KEPT_EXPORTS, KEPT_EXPORTS, lambda _: 1)
        self._builds: dict[Key, _Build] = {}

    async def find(self, key: Key, make: Callable[[Callable[[], bool]], Awaitable[Export]]) -> Export:
        """The export.

        @param make: makes it; it is given what says whether anybody still waits.
        @raise Refused: OVERLOADED: it is being made, or too many are: ask again; what C{make} raises.
        """
        export = self._kept.get(key)
        if export is not None:
            return export
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
            self._kept.put(key, outcome)
        waiting, build.waiting = build.waiting, {}
        for each in waiting:
            if isinstance(outcome, Failure):
                each.errback(outcome)
            else:
                each.callback(outcome)

    @staticmethod
    def _late(build: _Build, waiting: Deferred[Export]) -> None:
        if waiting in build.waiting:
            del build.waiting[waiting]
            waiting.errback(
                Refused(Reason.OVERLOADED, "the file is being put together: ask again in a moment")
            )
