"""What the two ends of a link need of each other's shell."""

from __future__ import annotations

from typing import Protocol

from restreamer.m4f.records import Record


class LinkWriter(Protocol):
    """The sending side of an authorised link."""

    @property
    def peer_id(self) -> bytes:
        """Node id of the other end, 16 bytes."""
        ...

    @property
    def peer_name(self) -> str:
        """The other end for people: C{host:port} of one that we linked to, the address of one that came."""
        ...

    @property
    def paused(self) -> bool:
        """The transport holds more than it should: send only what is asked for."""
        ...

    @property
    def round_trip(self) -> float | None:
        """Seconds to the other end and back; None when they cannot be had."""
        ...

    def send(self, record: Record) -> None:
        """Send a record."""
        ...

    def send_encoded(self, data: bytes) -> None:
        """Send records that were encoded before (shared by several links)."""
        ...

    def close(self, reason: str) -> None:
        """Say goodbye and close."""
        ...

    def abort(self, reason: str) -> None:
        """Close now."""
        ...


class LinkHandler(Protocol):
    """Who speaks on a link once it is authorised."""

    def link_up(self, link: LinkWriter) -> None:
        """The link is authorised."""
        ...

    def record(self, record: Record) -> None:
        """The other end said something.

        @raise restreamer.errors.RemoteProtocolError: when it makes no sense: the link is closed.
        """
        ...

    def resumed(self) -> None:
        """What was queued is gone (L{LinkWriter.paused} is false again)."""
        ...

    def beat(self) -> None:
        """Half a second passed: say that we live."""
        ...

    def link_down(self, reason: str) -> None:
        """The link is gone."""
        ...


class ClientHandler(LinkHandler, Protocol):
    """A handler of links that this node makes, one after the other.

    @ivar fruitful: the link gave what it was made for. An authorised link that ends without is backed off
        from like one that could not be made; who makes links sets it back when it asks.
    """

    fruitful: bool
