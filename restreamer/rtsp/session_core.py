"""What the methods of players and of publishers share: the state, the gate, the choice of a transport."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Final, TypeVar

from restreamer.logs import Logger
from restreamer.rtsp.authentication import Challenge
from restreamer.rtsp.headers import Transport
from restreamer.rtsp.play_session import Granted, PlaySession
from restreamer.rtsp.record_session import RecordSession, Section
from restreamer.rtsp.server_parts import ServerParts, SessionLink, refusal
from restreamer.rtsp.states import State
from restreamer.rtsp.target import Target
from restreamer.rtsp.udp_ports import UdpPair
from restreamer.seams import Account, OpenRequest

_log = Logger()

_PROTO: Final = "rtsp"

_T = TypeVar("_T")


class SessionCore:
    """The session of one connection.

    @ivar state: where it is. @ivar play, record: the session, of whichever kind there is.
    @ivar served: something was granted.
    """

    def __init__(self, parts: ServerParts, link: SessionLink) -> None:
        """Serve the connection C{link}."""
        self._parts = parts
        self._clock = parts.clock
        self._limits = parts.limits
        self._link = link
        self._challenge = Challenge(parts.random)
        self._granted: Granted | None = None
        self._reported = 0.0
        self.play: PlaySession | None = None
        self.record: RecordSession | None = None
        self.served = False
        self.state = State.INIT

    def _session_number(self) -> str | None:
        session = self.play or self.record
        return session.number if session is not None else None

    def _session_header(self) -> dict[str, str]:
        return {"Session": f"{self._session_number()};timeout={self._limits.idle_seconds:.0f}"}

    def _chosen(self, choices: list[Transport], tcp: bool | None, record: bool) -> Transport:
        """The first transport that can be had; all tracks of a session have the same kind.

        Datagrams go to nobody but the peer itself, and are no answer to one that speaks TLS.
        """
        for choice in choices:
            if choice.multicast or (tcp is not None and choice.tcp != tcp):
                continue
            if choice.destination and choice.destination != self._link.peer:
                continue
            if choice.tcp or (choice.client_ports is not None and self._datagrams):
                return choice
        raise refusal(461)

    @property
    def _datagrams(self) -> bool:
        """Whether media may go by UDP."""
        return self._parts.open_pair is not None and not self._link.tls

    def _open_pair(self, section: Section | None) -> UdpPair:
        """Ports for one track of this connection's peer."""
        parts = self._parts
        peer = self._link.peer
        if parts.open_pair is None or not parts.udp_share.room(peer):
            raise refusal(453)
        pair = parts.open_pair(
            self._link.host,
            peer,
            partial(self._datagram, section, False),
            partial(self._datagram, section, True),
            self._foreign,
        )
        if pair is None:
            raise refusal(453)
        parts.udp_share.opened(peer)
        pair.released = partial(parts.udp_share.closed, peer)
        return pair

    def _datagram(self, section: Section | None, control: bool, data: bytes) -> None:
        """Something came over UDP: media of a publisher, or a player's reports."""
        if self._link.closed:
            return
        now = self._clock.seconds()
        if section is None:
            if control and self.play is not None:
                self.play.heard = now
            return
        session = self.record
        if session is not None and self.state is State.RECORDING:
            try:
                session.datagram(section, control, data, now)
            except Exception:
                self._link.crashed()

    def _foreign(self) -> None:
        self._parts.counters.foreign_datagrams += 1

    def _open_request(self, name: str, action: str, target: Target, password: str = "") -> OpenRequest:
        return OpenRequest(
            name=name,
            action=action,
            proto=_PROTO,
            peer=self._link.peer,
            token=target.value("token"),
            password=password,
            query=target.query,
            user_agent=self._link.agent,
            account=Account(),
        )

    def say_refused(self, what: str, why: str) -> None:
        """Count and log a refusal of C{what}."""
        self._parts.counters.refused += 1
        ending = self._parts.lines.ending(self._link.peer, self._clock.seconds())
        if ending is not None:
            _log.info(
                "RTSP {peer}: {what} refused: {why}{ending}",
                peer=self._link.peer,
                what=what,
                why=why,
                ending=ending,
            )

    async def _admitted(self, awaitable: Awaitable[_T]) -> _T:
        """Wait for the gate; from its answer on there is nothing to abandon."""
        try:
            return await awaitable
        finally:
            self._link.admitted()
