"""C{input rtmp://…}: plays a stream of another server and gives its frames to a sink."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from restreamer.live.silence import SilenceWatch
from restreamer.logs import Logger
from restreamer.media.frame import Frame
from restreamer.rtmp.client import Action, ClientEvent, ReconnectAsked
from restreamer.rtmp.client_protocol import RtmpClientProtocol
from restreamer.rtmp.dial import MAX_REDIRECTS, Connect, Dial, elsewhere, reconnected
from restreamer.rtmp.message import Audio, Data, Video
from restreamer.rtmp.to_media import FlvToMedia, NewTracks, UnsupportedCodec
from restreamer.rtmp.url import RtmpUrl, url_of
from restreamer.seams import FrameSink, tell_counts
from restreamer.sources.pull import PullTarget

_log = Logger()

#: A server that sends no frame for so long is lost, in seconds.
SILENCE_SECONDS: Final = 10.0
#: A connection that played for so long was a good one: being sent elsewhere is counted anew, seconds.
STEADY_SECONDS: Final = 10.0
#: It is never left unread for longer than this at a time.
_MAX_PAUSE: Final = 10.0


class RtmpPull:
    """One pull (L{restreamer.sources.pull.Pull}); begins when it is made.

    Redirections are followed, and so are requests to connect again (Enhanced RTMP), without the sink's notice
    but for the gap.

    @ivar frames: given to the sink so far.
    """

    def __init__(
        self,
        target: PullTarget,
        sink: FrameSink,
        lost: Callable[[str], None],
        clock: Any,
        connect: Connect,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.frames = 0
        self._target = target
        self._sink = sink
        self._lost = lost
        self._clock = clock
        self._connect = connect
        self._random = random
        self._media = FlvToMedia()
        self._redirects = 0
        self._since: float | None = None
        self._again: RtmpUrl | None = None
        self._over = False
        self._stopping: Deferred[None] | None = None
        self._watch = SilenceWatch(clock, lambda: self.frames, SILENCE_SECONDS, self._silent)
        url = url_of(target.host, target.port, target.path, target.query, target.tls)
        tell_counts(sink, lambda: self._media.counted)
        self._dial = Dial(url, Action.PLAY, self, clock, connect, random)

    def stop(self) -> Deferred[None] | None:
        """End it; nothing is reported after it. @return: fires when the connection is closed; None: it is."""
        if self._over:
            return self._stopping
        self._finish("stopped")
        client = self._dial.client
        if client is not None:
            self._stopping = Deferred()
        self._dial.close("stopped")
        return self._stopping

    # What the client says.

    def ready(self, client: RtmpClientProtocol) -> None:
        """The server plays."""
        self._since = self._clock.seconds()
        self._watch.start()
        _log.info("{there}: playing", there=self._target.shown)

    def received(self, events: list[ClientEvent]) -> None:
        """Media."""
        frames: list[Frame] = []
        for event in events:
            if self._over:
                return
            if isinstance(event, Audio | Video | Data):
                for output in self._media.take(event):
                    if isinstance(output, Frame):
                        frames.append(output)
                    elif isinstance(output, NewTracks):
                        self._push(frames)
                        frames = []
                        self._sink.configure(output.tracks)
                    elif isinstance(output, UnsupportedCodec):
                        self._left_out(output)
            elif isinstance(event, ReconnectAsked) and self._again is None:
                self._again = reconnected(event.tc_url, self._dial.url)
        self._push(frames)
        if self._again is not None and self._dial.client is not None:
            self._dial.client.close("the server asks for another connection")

    def ended(self, reason: str) -> None:
        """The connection is over, or there was none."""
        if self._stopping is not None:
            self._stopping.callback(None)
        if self._over:
            return
        self._watch.stop()
        there, self._again = self._again, None
        if self._since is not None and self._clock.seconds() - self._since >= STEADY_SECONDS:
            self._redirects = 0
        self._since = None
        client = self._dial.client
        if there is None and client is not None and client.redirect and self._redirects < MAX_REDIRECTS:
            there = elsewhere(client.redirect, self._dial.url)
        if there is None or self._redirects >= MAX_REDIRECTS:
            self._finish(reason)
            self._lost(reason)
            return
        self._redirects += 1
        self._media = FlvToMedia()
        self._dial = Dial(there, Action.PLAY, self, self._clock, self._connect, self._random)

    # Inside.

    def _push(self, frames: list[Frame]) -> None:
        if not frames:
            return
        self.frames += len(frames)
        wait = self._sink.push(frames)
        client = self._dial.client
        if wait > 0 and client is not None:
            client.pause_reading(min(wait, _MAX_PAUSE))

    def _left_out(self, output: UnsupportedCodec) -> None:
        _log.warn(
            "{there}: its {kind} ({codec}) is left out: no such codec is known here",
            there=self._target.shown,
            kind=output.kind.name.lower(),
            codec=output.codec,
        )

    def _silent(self) -> None:
        if self._dial.client is not None:
            self._dial.client.close(f"no frame for {SILENCE_SECONDS:g} s")

    def _finish(self, reason: str) -> None:
        self._over = True
        self._watch.stop()
        self._sink.end(reason)
