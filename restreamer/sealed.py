"""A TLS connection of ours into whose socket media may be written straight.

Twisted's transport for TLS encrypts into memory and hands the records to the transport below, which sends
them in a later turn of the reactor: twice the cost of the encryption. A viewer of a feed can do without: it
encrypts (L{SealedProtocol.seal}) and sends the records into the socket by itself, as long as the transport
below holds none of its own. Whatever else is sent on the connection (answers, alerts, key updates) goes the
usual way, and the viewer is told of it (L{Wire.told}), so that records never overtake each other: their
order is part of what protects them (RFC 8446 section 5.3).

Only public interfaces of Twisted and pyOpenSSL are used: the transport below is handed on inside a L{Wire}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.interfaces import ITransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from typing_extensions import override
from zope.interface import directlyProvides, providedBy

#: Plaintext bytes of one record at most (RFC 8446 section 5.1).
RECORD: Final = 1 << 14
#: Bytes that a record is longer by, and what little OpenSSL may put before it (a key update), at most.
_OVERHEAD: Final = 512


class Wire:
    """The transport below a TLS connection, which tells when something is written to it.

    @ivar transport: the transport below. @ivar told: called after something was written.
    """

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.told: Callable[[], None] | None = None
        directlyProvides(self, providedBy(transport))

    def write(self, data: bytes) -> None:
        """See L{ITransport}."""
        self.transport.write(data)
        if data and self.told is not None:
            self.told()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class SealedProtocol(TLSMemoryBIOProtocol):
    """TLS of one connection, as Twisted does it, and a way around it.

    @ivar wire: the transport below.
    """

    wire: Wire

    @override
    def makeConnection(self, transport: ITransport) -> None:
        """The connection is there."""
        self.wire = Wire(transport)
        super().makeConnection(self.wire)

    def seal(self, data: bytes) -> bytes:
        """The records that carry C{data}: to be sent, as a whole and before any others.

        @raise ConnectionError: TLS has ended, or cannot go on.
        """
        connection = self.getHandle()
        if connection is None:
            raise ConnectionError("TLS is over")
        try:
            if len(data) <= RECORD:
                return _sealed(connection, data)
            return b"".join(
                [_sealed(connection, data[at : at + RECORD]) for at in range(0, len(data), RECORD)]
            )
        except SSL.Error as error:
            raise ConnectionError("TLS cannot go on") from error


def _sealed(connection: SSL.Connection, data: bytes) -> bytes:
    connection.send(data)
    size = len(data) + _OVERHEAD
    records = connection.bio_read(size)
    while len(records) >= size:
        size += RECORD
        records += connection.bio_read(RECORD)
    return records
