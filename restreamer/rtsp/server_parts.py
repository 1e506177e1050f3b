"""What the sessions of a server are given: their connection, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import field, frozen

from restreamer.buckets import AddressLines
from restreamer.failures import FailureWindow
from restreamer.rtsp.limits import RtspCounters, ServiceLimits
from restreamer.rtsp.message import Reply, write_reply
from restreamer.rtsp.udp_ports import UdpPair
from restreamer.rtsp.udp_share import UdpShare
from restreamer.seams import Clock, PlayPoint, PublishPoint

_SERVER: Final = "Restreamer"

#: Opens two UDP ports: own address, peer's address, what is told of RTP, of RTCP, of strangers.
PairOpener = Callable[
    [str, str, Callable[[bytes], None], Callable[[bytes], None], Callable[[], None]], UdpPair | None
]


class SessionLink(Protocol):
    """The connection, as its session needs it.

    @ivar peer, host: addresses of the other end and of ours. @ivar agent: what the peer says it is.
    @ivar what: what it is about, for the log. @ivar wire: the transport. @ivar closed: it is over.
    @ivar tls: it is encrypted.
    """

    peer: str
    host: str
    agent: str
    what: str
    wire: Any
    closed: bool
    tls: bool

    def admitted(self) -> None:
        """The gate has answered: nothing is left to be abandoned."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes, in order with the media."""
        ...

    def produce(self) -> None:
        """Take the transport's producer slot."""
        ...

    def unproduce(self) -> None:
        """Leave the transport's producer slot to a feed."""
        ...

    def close(self, why: str) -> None:
        """End the connection."""
        ...

    def abort(self) -> None:
        """End the connection at once."""
        ...

    def crashed(self) -> None:
        """The exception being handled is an error of ours."""
        ...


class Answer(Exception):  # noqa: N818 - it is an answer
    """Ends the handling of a request with C{reply}. @ivar close: the connection closes behind it."""

    def __init__(self, reply: Reply, close: bool = False) -> None:
        super().__init__(reply.status)
        self.reply = reply
        self.close = close


def refusal(status: int) -> Answer:
    """An answer of nothing but its status."""
    return Answer(Reply(status=status))


@frozen(kw_only=True)
class ServerParts:
    """What all connections of a service share.

    @ivar open_pair: opens UDP ports; None: players and publishers get TCP alone.
    @ivar random: gives that many random bytes. @ivar password_of: the publish password of a name, or empty.
    @ivar failed: addresses that brought wrong passwords lately. @ivar lines: what of one the log is told.
    @ivar udp_share: who has tracks over UDP.
    @ivar tunnels: connections that wait for the other half of their tunnel, by its cookie.
    """

    publish_point: PublishPoint
    play_point: PlayPoint
    clock: Clock
    open_pair: PairOpener | None
    random: Callable[[int], bytes]
    password_of: Callable[[str], str]
    failed: FailureWindow
    lines: AddressLines
    udp_share: UdpShare
    limits: ServiceLimits = field(factory=ServiceLimits)
    counters: RtspCounters = field(factory=RtspCounters)
    tunnels: dict[bytes, object] = field(factory=dict)


def written(reply: Reply, sequence: str) -> bytes:
    """The bytes of an answer, with what every answer tells."""
    headers = {"CSeq": sequence} if sequence else {}
    complete = Reply(
        status=reply.status,
        headers={**headers, "Server": _SERVER, **reply.headers},
        body=reply.body,
        challenges=reply.challenges,
    )
    return write_reply(complete)
