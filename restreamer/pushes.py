"""Pushes to servers and groups of other protocols, as the table of pushes keeps them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from restreamer.config.model import PushConfig
from restreamer.config.secrecy import shown_url
from restreamer.facts import PushFacts
from restreamer.live.push_target import Pushing, PushTarget
from restreamer.live.stream import Stream
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.pulls import Connect
from restreamer.rtmp.push import RtmpPush
from restreamer.seams import Playable
from restreamer.tsio.udp_push import UdpPush

#: C{make(target, stream name, key)}: a push that was not begun.
MakePushing = Callable[[PushTarget, str, Hashable], Pushing]


def pushings(
    reactor: Any, connect: Connect, find: Callable[[str], Playable | None]
) -> Mapping[str, MakePushing]:
    """How streams are pushed, by L{PushConfig.scheme}.

    @param find: gives the stream of a name, when it can be played.
    """

    def rtmp(target: PushTarget, name: str, key: Hashable) -> Pushing:
        return RtmpPush(target, name, find, reactor, connect, key=key)

    def udp(target: PushTarget, name: str, key: Hashable) -> Pushing:
        return UdpPush(target, name, find, reactor, key=key)

    return {"rtmp": rtmp, "udp": udp}


def push_target(config: PushConfig) -> PushTarget:
    """What a push of C{config} needs to know."""
    return PushTarget(
        shown=shown_url(config.url),
        scheme=config.scheme,
        host=config.host,
        port=config.port,
        path=config.path,
        query=config.query,
        user=config.user,
        password=config.password,
        tls=config.tls,
        options=dict(config.options),
    )


class OtherPush:
    """A push by another protocol, told of as one to a node is; a L{restreamer.cluster.push.AnyPush}.

    @ivar key: what its maker knows it by.
    """

    def __init__(
        self, stream: str, pushing: Pushing, utc: Callable[[], int], seconds: Callable[[], float]
    ) -> None:
        self.key: Hashable = pushing.key
        self._stream = stream
        self._pushing = pushing
        self._utc = utc
        self._seconds = seconds

    def follow(self, stream: Stream) -> None:
        """The stream began or ceased to run."""
        self._pushing.follow(stream)

    def stop(self) -> Any:
        """End it; gives None or what fires when it is closed."""
        return self._pushing.stop()

    def facts(self) -> PushFacts:
        """What is known of it."""
        told = self._pushing.facts()
        return PushFacts(
            stream=self._stream,
            url=told.url,
            connected=told.state == "pushing",
            wanted=told.state != "idle",
            since=self._utc() - round((self._seconds() - told.since) * TICKS_PER_SECOND),
            bytes_out=told.bytes,
            takings=told.retries + (told.state == "pushing"),
            last_error=told.last_error,
            lost=told.lost,
        )
