"""C{input tshttp://HOST/PATH}: a transport stream that is one endless answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from restreamer.errors import RemoteProtocolError
from restreamer.http1.response import ResponseHead
from restreamer.http1.url import HttpUrl
from restreamer.live.silence import SilenceWatch
from restreamer.logs import Logger
from restreamer.mpegts.ts_input import TsInput
from restreamer.seams import FrameSink
from restreamer.sources.http_get import Connect, HttpGet
from restreamer.sources.pull import PullTarget

_log = Logger()

#: What sends bytes for so long of which nothing can be played is left, seconds: keyframes may be far apart.
FRAME_SECONDS: Final = 30.0


def http_url(target: PullTarget) -> HttpUrl:
    """The URL a pull over HTTP begins with."""
    login = f"{target.user}:{target.password}" if target.user else ""
    path = f"{target.path or '/'}{'?' if target.query else ''}{target.query}"
    return HttpUrl(host=target.host, port=target.port, tls=target.tls, target=path, login=login)


class TsHttpPull:
    """Pulls one stream (a L{restreamer.sources.pull.Pulling}); begins at once."""

    def __init__(
        self,
        target: PullTarget,
        sink: FrameSink,
        lost: Callable[[str], None],
        clock: IReactorTime,
        connect: Connect,
    ) -> None:
        self._shown = target.shown
        self._cleaned = target.cleaned
        self._clock = clock
        self._lost = lost
        self._input = TsInput(sink, int(target.options.get("program", "0")))
        self._get = HttpGet(
            http_url(target), self, clock, connect, user_agent=target.options.get("user_agent", "")
        )
        self._watch = SilenceWatch(clock, lambda: self._input.frames, FRAME_SECONDS, self._silent)
        self._watch.start()
        self._get.start()

    def stop(self) -> None:
        """End it; nothing is reported after."""
        self._watch.stop()
        self._get.stop()
        self._input.end("stopped")

    def answered(self, head: ResponseHead, url: HttpUrl) -> None:
        """The stream begins."""
        kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.startswith("text/") or kind in ("application/json", "application/vnd.apple.mpegurl"):
            raise RemoteProtocolError("MPEG-TS", f"the server answered with {self._cleaned(kind)[:40]}")

    def data(self, data: bytes) -> float:
        """Bytes of the stream."""
        return self._input.receive(data, self._clock.seconds())

    def ended(self, reason: str) -> None:
        """The stream is over, or was never there."""
        self._watch.stop()
        counters = self._input.counters
        if counters.continuity:
            _log.info("{url}: {count} continuity errors", url=self._shown, count=counters.continuity)
        reason = reason or "the server ended the stream"
        self._input.end(reason, whole=True)
        self._lost(reason)

    def _silent(self) -> None:
        """Bytes may come, and no frame does."""
        self._get.stop()
        self.ended(f"no frame in {FRAME_SECONDS:g} s")
