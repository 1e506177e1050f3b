"""C{push rtmp://…}: publishes a stream to another server while it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import Any, Final

from twisted.internet.defer import Deferred

from restreamer.errors import Refused
from restreamer.failures import SaidLately
from restreamer.flv.dialect import FULL
from restreamer.live.push_target import PushFacts, PushTarget
from restreamer.live.stream import Stream
from restreamer.logs import Logger
from restreamer.rtmp.capabilities import merged, named_capabilities
from restreamer.rtmp.client import Action, ClientEvent, ReconnectAsked
from restreamer.rtmp.client_protocol import RtmpClientProtocol
from restreamer.rtmp.dial import MAX_REDIRECTS, Connect, Dial, elsewhere, reconnected
from restreamer.rtmp.play_muxer import PUSH
from restreamer.rtmp.url import RtmpUrl, url_of
from restreamer.seams import Playable, Timer

_log = Logger()

#: A stream that lost its input is still pushed for so long: its publisher may come back at once.
LINGER_SECONDS: Final = 5.0
#: A push that lasted so long was a good one: when it ends it is tried again at once.
STEADY_SECONDS: Final = 10.0
#: Pauses before the next attempt, in seconds; the last one again and again.
PAUSES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
#: After so many seconds the same failure is said again.
SAY_AGAIN_SECONDS: Final = 600.0


class RtmpPush:
    """One stream pushed to one place (L{restreamer.live.push_target.Pushing}).

    The bytes come from a feed of the stream as those of players do, so a server that is slow skips to a
    keyframe. Codecs beyond the legacy ones are sent when the server says that it reads them, or when the
    target's option C{fourcc} names them; C{fourcc=*}: all.

    @ivar key: what its maker knows it by.
    """

    def __init__(
        self,
        target: PushTarget,
        name: str,
        find: Callable[[str], Playable | None],
        clock: Any,
        connect: Connect,
        key: Hashable = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """@param find: gives the stream of a name, when it can be played."""
        self.key: Hashable = key
        self._target = target
        self._name = name
        self._find = find
        self._clock = clock
        self._connect = connect
        self._random = random
        self._home = url_of(target.host, target.port, target.path, target.query, target.tls)
        self._url = self._home
        self._dial: Dial | None = None
        self._wanted = False
        self._linger: Timer | None = None
        self._pause: Timer | None = None
        self._failures = 0
        self._redirects = 0
        self._again: RtmpUrl | None = None
        self._state = "idle"
        self._since = clock.seconds()
        self._bytes = 0
        self._last_error = ""
        self._retries = 0
        self._said = SaidLately(SAY_AGAIN_SECONDS, 16)
        self._stopping: Deferred[None] | None = None

    def follow(self, stream: Stream) -> None:
        """The stream began or ceased to run, or comes another way now."""
        if stream.running:
            _cancel(self._linger)
            self._linger = None
            if not self._wanted:
                self._wanted = True
                self._failures = 0
                if self._dial is None:
                    self._begin()
        elif self._wanted and self._linger is None:
            self._linger = self._clock.callLater(LINGER_SECONDS, self.stop)

    def stop(self) -> Deferred[None] | None:
        """End it. Idempotent. @return: fires when the connection is closed; None: it is."""
        _cancel(self._linger)
        _cancel(self._pause)
        self._linger = self._pause = None
        self._wanted = False
        dial = self._dial
        if dial is None:
            self._turn("idle")
            return None
        if dial.client is None:
            self._dial = None
            self._turn("idle")
        elif self._stopping is None:
            self._stopping = Deferred()
        stopping = self._stopping
        dial.close("the stream is not pushed any more")
        return stopping

    def facts(self) -> PushFacts:
        """How it is doing."""
        client = self._dial.client if self._dial is not None else None
        here = client.bytes_published if client is not None else 0
        return PushFacts(
            url=self._target.shown,
            state=self._state,
            since=self._since,
            bytes=self._bytes + here,
            last_error=self._last_error,
            retries=self._retries,
        )

    # What the client says.

    def ready(self, client: RtmpClientProtocol) -> None:
        """The server takes the stream."""
        playable = self._find(self._name)
        if playable is None:
            client.close("the stream cannot be played yet")
            return
        try:
            self._join(client, playable)
        except Refused as refused:
            client.close(refused.text)
            return
        self._turn("pushing")
        if self._said.news("", self._clock.seconds()):
            _log.info("{stream} is pushed to {there}", stream=self._name, there=self._target.shown)

    def received(self, events: list[ClientEvent]) -> None:
        """The server may ask for another connection; media it should not send."""
        for event in events:
            if isinstance(event, ReconnectAsked) and self._again is None and self._dial is not None:
                self._again = reconnected(event.tc_url, self._dial.url)
        if self._again is not None and self._dial is not None and self._dial.client is not None:
            self._dial.client.close("the server asks for another connection")

    def ended(self, reason: str) -> None:
        """The connection is over, or there was none."""
        dial, self._dial = self._dial, None
        client = dial.client if dial is not None else None
        self._bytes += client.bytes_published if client is not None else 0
        stopping, self._stopping = self._stopping, None
        if not self._wanted or stopping is not None:
            self._turn("idle")
            if self._wanted:
                self._begin()
            if stopping is not None:
                stopping.callback(None)
            return
        steady = self._state == "pushing" and self._clock.seconds() - self._since >= STEADY_SECONDS
        if steady:
            self._redirects = 0
        there, self._again = self._again, None
        if there is None and client is not None and client.redirect:
            there = elsewhere(client.redirect, self._url)
        if there is not None and self._redirects < MAX_REDIRECTS:
            self._redirects += 1
            self._url = there
            self._begin()
            return
        self._url = self._home
        self._redirects = 0
        self._last_error = reason
        if self._said.news(reason, self._clock.seconds()):
            _log.warn(
                "push of {stream} to {there} ended: {why}",
                stream=self._name,
                there=self._target.shown,
                why=reason,
            )
        self._failures = 0 if steady else self._failures + 1
        if steady:
            self._said.clear()
        pause = 0.0 if steady else PAUSES[min(self._failures, len(PAUSES)) - 1]
        self._turn("waiting")
        self._pause = self._clock.callLater(pause, self._retry)

    # Inside.

    def _begin(self) -> None:
        self._turn("connecting")
        self._dial = Dial(self._url, Action.PUBLISH, self, self._clock, self._connect, self._random)

    def _retry(self) -> None:
        self._pause = None
        if self._wanted and self._dial is None:
            self._retries += 1
            self._begin()

    def _join(self, client: RtmpClientProtocol, playable: Playable) -> None:
        capabilities = merged(client.server, named_capabilities(self._target.options.get("fourcc", "")))
        dialect = capabilities.dialect(playable.tracks(FULL.container(PUSH)))
        container = dialect.container(PUSH, client.stream_id)
        playable.tracks(container)
        client.follow_feed(lambda transport: playable.join(container, transport, client.close))

    def _turn(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._since = self._clock.seconds()


def _cancel(timer: Timer | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()
