"""Shared bytes in a file that exists in memory only: the kernel sends it without copying.

C{send} copies what it is given into the buffer of each connection; C{sendfile} lends the file's pages to all
of them. It needs a file: one without a name (C{memfd_create}, Linux). For whole segments that is cheaper, as
long as the connection takes all of it in one go.
"""

from __future__ import annotations

import os
import socket


class MemoryFile:
    """C{body} in a file. It is closed with this object, so who still sends from it keeps it.

    Never written again: what was sent but not received yet is these very pages.
    """

    __slots__ = ("_descriptor", "body")

    def __init__(self, body: bytes) -> None:
        """@raise OSError: there is no room for it. @raise AttributeError: this system has no such files."""
        self._descriptor = -1
        self._descriptor = os.memfd_create("media")
        self.body = body
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def send(self, connection: socket.socket, offset: int = 0) -> int:
        """Give the kernel what it takes of the body from C{offset} on.

        @return: bytes. @raise BlockingIOError: nothing. @raise OSError: the connection is broken.
        """
        return os.sendfile(connection.fileno(), self._descriptor, offset, len(self.body) - offset)

    def send_after(self, connection: socket.socket, head: bytes) -> int:
        """Send C{head} and the body behind it, in one packet as far as that goes.

        @return: the bytes of both that went.
        @raise BlockingIOError: nothing went. @raise OSError: the connection is broken.
        """
        sent = connection.send(head, socket.MSG_MORE)
        if sent == len(head):
            try:
                sent += self.send(connection)
            except BlockingIOError:
                pass
        return sent

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
