"""Sending answers to one client, at its own pace.

An answer is first given to the kernel directly, head and shared body in one call without joining them; that
is right because nothing is ever left in the transport's buffer when an answer begins. What it does not take
is pulled by the transport in slices, so a slow reader costs one slice of private memory.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from restreamer.http1.head import JOIN_LIMIT
from restreamer.web.memory_file import MemoryFile
from restreamer.web.wire import unacknowledged

#: Bytes per pull of the transport: the private memory of a slow reader.
SLICE: Final = 64 * 1024
#: Without a plain socket: bytes written before the transport is asked to confirm that it sent them.
UNCONFIRMED_LIMIT: Final = 64 * 1024


@implementer(IPullProducer)
class Delivery:
    """Sends what it is given on one connection, in order.

    @ivar busy: something is not sent yet: the transport's producer slot is taken.
    """

    __slots__ = (
        "_file",
        "_file_at",
        "_moved_at",
        "_queue",
        "_queue_mark",
        "_seconds",
        "_sent",
        "_socket",
        "_unconfirmed",
        "_wire",
        "busy",
    )

    def __init__(
        self,
        wire: Any,
        plain: socket.socket | None,
        seconds: Callable[[], float],
        sent: Callable[[], None],
    ) -> None:
        """@param plain: the transport's own socket, if what is written to it is what the peer reads.
        @param sent: told whenever everything has been handed to the transport after it was L{busy}.
        """
        self._wire = wire
        self._socket = plain
        self._seconds = seconds
        self._sent = sent
        # A list: an empty deque takes 600 bytes of each connection, and few pieces wait at a time.
        self._queue: list[bytes | memoryview] = []
        # A file, and how much of it went: behind what is queued.
        self._file: MemoryFile | None = None
        self._file_at = 0
        self._unconfirmed = 0
        self._queue_mark: int | None = None
        self._moved_at = 0.0
        self.busy = False

    def send(self, head: bytes, body: bytes | memoryview, file: MemoryFile | None = None) -> bool:
        """Give the kernel what it takes at once; the rest is pulled. Only when nothing is L{busy}.

        @param file: of the same body, on a plain socket.
        @return: whether it is all gone; else the owner is told later.
        @raise OSError: the connection is broken.
        """
        size = len(head) + len(body)
        sent = 0
        direct = self._socket
        if direct is not None:
            try:
                if file is not None:
                    sent = file.send_after(direct, head)
                else:
                    sent = (
                        direct.send(head + body) if len(body) <= JOIN_LIMIT else direct.sendmsg((head, body))
                    )
            except (BlockingIOError, InterruptedError):
                pass
            if sent == size:
                return True
        elif self._unconfirmed + size <= UNCONFIRMED_LIMIT:
            self._unconfirmed += size
            self._wire.write(head + body)
            return True
        self.send_rest(head, body, sent, file)
        return False

    def send_rest(
        self, head: bytes, body: bytes | memoryview, sent: int, file: MemoryFile | None = None
    ) -> None:
        """Send what is left of an answer, C{sent} bytes of which are gone. Only when nothing is L{busy}."""
        if sent < len(head):
            self._queue.append(head[sent:])
        at = max(0, sent - len(head))
        if file is not None:
            self._file = file
            self._file_at = at
        else:
            self._queue.append(memoryview(body)[at:])
        self._pull()

    def add(self, *pieces: bytes) -> None:
        """Send C{pieces} behind what is being sent; they are kept, not copied."""
        self._queue.extend(pieces)
        if not self.busy:
            self._pull()

    @property
    def waiting(self) -> int:
        """Bytes that were given and not handed on yet."""
        waiting = sum([len(piece) for piece in self._queue])
        return waiting if self._file is None else waiting + len(self._file.body) - self._file_at

    def stalled(self, timeout: float) -> bool:
        """Whether not one byte could be sent for C{timeout} seconds, though there are some.

        The transport only tells when it has sent a whole slice, and the kernel only asks for more when
        much of its buffer is free again; so the kernel's own queue says whether a slow reader is alive.
        """
        if not self.busy:
            return False
        queued = unacknowledged(self._wire)
        now = self._seconds()
        if queued != self._queue_mark:
            self._queue_mark = queued
            self._moved_at = now
        return now - self._moved_at >= timeout

    def forget(self) -> None:
        """The connection is lost: nothing more is sent."""
        self._queue.clear()
        self._file = None

    def _pull(self) -> None:
        self.busy = True
        self._moved_at = self._seconds()
        self._queue_mark = unacknowledged(self._wire)
        self._wire.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """IPullProducer: the transport has sent what it had."""
        if not self.busy:
            return
        self._moved_at = self._seconds()
        self._queue_mark = unacknowledged(self._wire)
        queue = self._queue
        room = SLICE
        parts: list[bytes | memoryview] = []
        while queue and room > 0:
            piece = queue.pop(0)
            if len(piece) > room:
                view = memoryview(piece)
                queue.insert(0, view[room:])
                piece = view[:room]
            room -= len(piece)
            parts.append(piece)
        if room < SLICE:
            self._wire.write(b"".join(parts))
            return
        if self._file is not None and not self._file_done(self._file):
            return
        self.busy = False
        self._unconfirmed = 0
        self._wire.unregisterProducer()
        self._sent()

    def _file_done(self, file: MemoryFile) -> bool:
        """Send more of a file; whether that was all."""
        assert self._socket is not None
        try:
            self._file_at += file.send(self._socket, self._file_at)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._wire.abortConnection()
            return False
        if self._file_at < len(file.body):
            # There is nothing in the transport's buffer, but it is to tell when the socket takes more.
            self._wire.startWriting()
            return False
        self._file = None
        return True

    def stopProducing(self) -> None:
        """IPullProducer: the connection is lost; the protocol hears of it too."""
        self.forget()
