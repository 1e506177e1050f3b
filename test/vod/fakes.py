"""Files on a real disk, threads that answer at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.vp9 import vp9_track
from restreamer.mp4.codec_boxes import sample_entry
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.vod.library import Library
from restreamer.vod.packaged import PackagedFiles
from test.mp4.build import audio, mp4, video


def film(seconds: int = 4, **how: bool) -> bytes:
    """A film with a keyframe every 0.2 s."""
    return mp4(video(25 * seconds), audio(47 * seconds), **how)  # type: ignore[arg-type]


def film_of_vp9() -> bytes:
    """A film that MPEG-TS carries nothing of."""
    entry = sample_entry(vp9_track(1, bytes.fromhex("000b820202020000"), width=320, height=180))
    return mp4(video(25, entry=entry))


class Threads:
    """C{in_thread} that answers at once, or when L{run} is called.

    @ivar calls: what was asked for so far.
    """

    def __init__(self, hold: bool = False) -> None:
        self.hold = hold
        self.calls: list[str] = []
        self._held: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def __call__(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.calls.append(call.__name__)
        if not self.hold:
            return maybeDeferred(call, *args)
        result: Deferred[Any] = Deferred()
        self._held.append((result, call, args))
        return result

    def run(self) -> None:
        """Answer what waits."""
        held, self._held = self._held, []
        for result, call, args in held:
            _ = maybeDeferred(call, *args).chainDeferred(result)


def library(folder: Path, clock: Clock, threads: Threads) -> Library:
    """The folder as location C{films}."""
    made = Library(clock, threads, TICKS_PER_SECOND)
    made.set_locations({"films": [str(folder)]})
    return made


def packaged(*libraries: Library) -> PackagedFiles:
    """What routes need."""
    return PackagedFiles(libraries, mux_segment, Threads())
