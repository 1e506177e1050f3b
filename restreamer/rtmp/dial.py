"""One attempt after another to reach an RTMP server: where to, how long, and where it sends us on (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from restreamer.rtmp.client import Action
from restreamer.rtmp.client_protocol import ClientFactory, ClientOwner, RtmpClientProtocol
from restreamer.rtmp.url import RtmpUrl, parse_url, url_of
from restreamer.seams import Timer

#: Seconds from the first step to the grant of a publish or play.
DIAL_SECONDS: Final = 10.0
#: Redirections followed one after another.
MAX_REDIRECTS: Final = 3

#: C{connect(host, port, tls)}: an endpoint of Twisted.
Connect = Callable[[str, int, bool], Any]


def elsewhere(redirect: str, here: RtmpUrl) -> RtmpUrl | None:
    """The place a redirection leads to; None when it may not be followed: never from TLS to plain."""
    try:
        there = parse_url(redirect)
    except ValueError:
        return None
    return None if here.tls and not there.tls else there


def _absolute(reference: str, here: RtmpUrl) -> str:
    """C{reference} as a whole URL: it may be relative to where we are.

    @raise ValueError: it is none.
    """
    if urlsplit(reference).scheme:
        return reference
    # The library joins the schemes it knows.
    return "rtmp" + urljoin("http" + here.tc_url.removeprefix("rtmp"), reference).removeprefix("http")


def reconnected(tc_url: str, here: RtmpUrl) -> RtmpUrl:
    """The place a request to reconnect leads to: C{tc_url} with our stream key, or where we were.

    It may be a relative reference (Enhanced RTMP v2, "Reconnect Request").
    """
    if not tc_url:
        return here
    try:
        there = elsewhere(f"{_absolute(tc_url.partition('?')[0], here).rstrip('/')}/x", here)
    except ValueError:
        return here
    if there is None:
        return here
    key, _, query = here.key.partition("?")
    return url_of(there.host, there.port, f"/{there.app}/{key}", query, there.tls)


class Dial:
    """A connection being made to C{url}, and then the one that was.

    @ivar url: where to. @ivar client: the connection, once there is one.
    """

    def __init__(
        self,
        url: RtmpUrl,
        action: Action,
        owner: ClientOwner,
        clock: Any,
        connect: Connect,
        random: Callable[[int], bytes],
    ) -> None:
        """Begin. C{owner.ended} is called once, later, whatever happens, unless L{close} comes before a
        connection.
        """
        self.url = url
        self.client: RtmpClientProtocol | None = None
        self._owner = owner
        self._clock = clock
        self._over = False
        self._telling: Timer | None = None
        began = clock.seconds()
        self._deadline = clock.callLater(DIAL_SECONDS, self._too_late)

        def made() -> RtmpClientProtocol:
            left = max(0.1, began + DIAL_SECONDS - clock.seconds())
            return RtmpClientProtocol(url, action, owner, clock, random, left)

        self._connecting = connect(url.host, url.port, url.tls).connect(ClientFactory(made))
        self._connecting.addCallbacks(self._connected, self._failed)

    def close(self, reason: str) -> None:
        """End it, politely if it got that far."""
        if self.client is not None:
            self.client.close(reason)
        elif self._telling is not None:
            if self._telling.active():
                self._telling.cancel()
        elif not self._over:
            self._over = True
            self._cancel()
            self._connecting.cancel()

    def _connected(self, client: RtmpClientProtocol) -> None:
        self._cancel()
        self.client = client
        if self._over:
            client.close("not wanted any more")

    def _failed(self, failure: Any) -> None:
        self._cancel()
        if not self._over:
            self._over = True
            self._telling = self._clock.callLater(
                0, self._owner.ended, f"no connection: {failure.getErrorMessage()}"
            )

    def _too_late(self) -> None:
        if not self._over:
            self._over = True
            self._connecting.cancel()
            self._owner.ended(f"no connection within {DIAL_SECONDS:g} s")

    def _cancel(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()
