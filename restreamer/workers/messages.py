"""What the main process and a worker say to each other: the values, and how they go over a stream of bytes.

Both ends are the same program, started together, and the stream is a socket pair that nobody else can open.
So values go as pickles, each behind its length in four bytes, big-endian.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from attrs import field, frozen

from restreamer.config.model import Configuration
from restreamer.errors import RemoteProtocolError
from restreamer.live.registry import StreamSettings
from restreamer.seams import OpenRequest

#: Bytes of one message; a configuration of 20,000 streams has about 20 MB.
MAX_MESSAGE: Final = 256 * 1024 * 1024
_SIZE: Final = 4


def _read_only(mapping: dict[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(mapping)


def _proxy(mapping: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    # Configurations have such mappings, and they cannot be pickled by themselves.
    return _read_only, (dict(mapping),)


copyreg.pickle(MappingProxyType, _proxy)


# From the main process.


@frozen(kw_only=True)
class Configure:
    """The configuration to go over to. As many descriptors come along as there are C{sockets}.

    @ivar place: number of the worker, from 1, of C{workers}. @ivar node_id: by which its links are known.
    @ivar socket: path of the UNIX socket by which the main process takes links; @ivar key: of those links.
    @ivar secret: of the node: all workers make the same tokens.
    @ivar sockets: listening sockets that are new, as (kind, address, port).
    """

    configuration: Configuration = field(repr=False)
    place: int
    workers: int
    node_id: bytes
    socket: str
    key: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    sockets: tuple[tuple[str, str, int], ...] = ()


@frozen
class Stop:
    """End in order."""


@frozen
class Retire:
    """Listen no more; who is connected is served on. @ivar handed: publishers are to connect again."""

    handed: bool


@frozen
class Granted:
    """Question C{number} is granted.

    @ivar lease: names the session; 0: there is none. @ivar token: what playlists append.
    @ivar seconds: for how long requests like it need not be asked about.
    @ivar settings: of the stream, where it is known.
    """

    number: int
    lease: int
    token: str = field(repr=False)
    seconds: float
    settings: StreamSettings | None


@frozen
class Denied:
    """Question C{number} is not granted (a negative one: by L{HoldName}). C{reason} names a
    L{restreamer.errors.Reason}; C{elsewhere} has the fields of L{restreamer.errors.Redirected}, if it is one.
    """

    number: int
    reason: str
    text: str
    elsewhere: tuple[str, str, str, str] | None = field(default=None, repr=False)


@frozen
class Revoked:
    """The session is over: whoever is served by it is to be sent away."""

    lease: int
    why: str


@frozen
class RevokedAll:
    """The rules changed: ask about everybody again."""


@frozen
class NameHeld:
    """Question C{number}: the name is the worker's. @ivar last: number and discontinuity sequence to go on
    from.
    """

    number: int
    last: tuple[int, int] | None


@frozen
class KickPublisher:
    """Send the publisher of a name away."""

    name: str
    why: str


@frozen
class Taken:
    """The connection that was passed with this number is served by the main process now."""

    number: int


# From a worker.


@frozen
class Ready:
    """It listens."""

    pid: int


@frozen
class Failed:
    """It cannot do what it was told."""

    why: str


@frozen
class Asked:
    """Question C{number}: may this be?"""

    number: int
    request: OpenRequest


@frozen
class Forsaken:
    """Nobody waits for the answer to question C{number} any more."""

    number: int


@frozen
class Used:
    """How far leases are: (lease, bytes sent in all, whether somebody asked for something since, end of the
    piece it was given last in UTC ticks or 0).
    """

    rows: tuple[tuple[int, int, bool, int], ...]


@frozen
class Attached:
    """A connection serves the session from now on; C{count} of them do."""

    lease: int
    count: int


@frozen
class Detached:
    """One less. @ivar sent: bytes in all."""

    lease: int
    count: int
    sent: int


@frozen
class GivenBack:
    """What was granted could not be had."""

    lease: int


@frozen
class HoldName:
    """Question C{number}: may a publisher here have the name?"""

    number: int
    name: str


@frozen
class NameReleased:
    """The publisher of a name is gone."""

    name: str


@frozen
class NameAsked:
    """Question C{number}: is there anything by this name?"""

    number: int
    name: str


@frozen
class NameKnown:
    """The answer to question C{number}."""

    number: int
    known: bool


@frozen(kw_only=True)
class Passed:
    """A connection that the main process is to serve; its descriptor comes along.

    @ivar listen: (address, port) of the listener. @ivar peer: address of the client.
    @ivar secure: it came over TLS, which the worker has taken off. @ivar data: what was read of it.
    """

    number: int
    listen: tuple[str, int]
    peer: str
    secure: bool
    data: bytes = field(repr=False)


@frozen(kw_only=True)
class Figures:
    """How the worker is.

    @ivar sent: bytes that went to viewers and over HTTP, in all. @ivar connections: open now.
    @ivar resident: bytes of memory. @ivar late: seconds by which timers come late, the worst lately.
    @ivar cpu: seconds of processor time in all.
    @ivar streams: by name: bytes sent, and of each container viewers, joined, skips, dropped, bytes and the
        flush interval in seconds.
    """

    sent: int
    connections: int
    resident: int
    late: float
    cpu: float
    streams: Mapping[str, tuple[int, Mapping[str, tuple[int, int, int, int, int, float]]]]


Message = (
    Configure | Stop | Retire | Granted | Denied | Revoked | RevokedAll | NameHeld | KickPublisher | Taken
    | Ready | Failed | Asked | Forsaken | Used | Attached | Detached | GivenBack | HoldName | NameReleased
    | NameAsked | NameKnown | Passed | Figures
)  # fmt: skip


def encode(message: Message) -> bytes:
    """C{message} as it goes over the stream."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(body).to_bytes(_SIZE, "big") + body


def descriptors(message: Message) -> int:
    """How many descriptors come with C{message}."""
    if isinstance(message, Configure):
        return len(message.sockets)
    return 1 if isinstance(message, Passed) else 0


class MessageReader:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole with C{data}.

        @raise RemoteProtocolError: the stream makes no sense.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= _SIZE:
                size = int.from_bytes(buffer[at : at + _SIZE], "big")
                if size > MAX_MESSAGE:
                    raise RemoteProtocolError("worker channel", f"a message of {size} bytes")
                if len(buffer) - at - _SIZE < size:
                    break
                body = bytes(buffer[at + _SIZE : at + _SIZE + size])
                at += _SIZE + size
                try:
                    message = pickle.loads(body)
                except Exception as error:
                    raise RemoteProtocolError("worker channel", f"a message that cannot be read: {error}")
                yield message
        finally:
            del buffer[:at]
