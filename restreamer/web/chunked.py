"""An answer of unknown length being written (RFC 9112 section 7.1)."""

from __future__ import annotations

from collections.abc import Callable

from restreamer.web.delivery import Delivery


class ChunkSending:
    """The L{restreamer.http1.reply.ChunkWriter} of one answer.

    @ivar over: the body is whole: when all is sent, the answer is done.
    @ivar size: bytes of the body so far. @ivar stop: of the writer, once it has begun.
    """

    def __init__(self, delivery: Delivery, chunked: bool, finished: Callable[[str], None]) -> None:
        """@param chunked: write chunks; else the end of the connection ends the body.
        @param finished: told once what the writer said at its end.
        """
        self._delivery = delivery
        self._chunked = chunked
        self._finished = finished
        self.over = False
        self.size = 0
        self.stop: Callable[[], None] | None = None

    def write(self, data: bytes) -> None:
        """Send C{data}; nothing when the answer is over."""
        if not data or self.over:
            return
        self.size += len(data)
        if self._chunked:
            self._delivery.add(b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._delivery.add(data)

    @property
    def waiting(self) -> int:
        """See L{restreamer.http1.reply.ChunkWriter}."""
        return self._delivery.waiting

    def ended(self, reason: str) -> None:
        """The writer has no more; C{reason} is empty when the body is whole."""
        if self.over:
            return
        self.over = True
        self.stop = None
        if self._chunked and not reason:
            self._delivery.add(b"0\r\n\r\n")
        self._finished(reason)

    def give_up(self) -> Callable[[], None] | None:
        """The client is gone; gives what the writer is to be told with."""
        self.over = True
        stop, self.stop = self.stop, None
        return stop
