"""One connection of the HTTP front, as the transport and the clock see it: reading, deadlines, its end.

Heads are parsed as they come and served one at a time; while one is in work, later requests wait in a small
buffer, and when that is full the socket is not read. A pipelining client costs a turn of the reactor per few
requests.

There is one timer per connection; moving the deadline away costs an assignment, not a timer call.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IProtocol, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from restreamer.http1.head import CLOSE, plain_reply, status_line
from restreamer.http1.parse import HeadError, HeadParser, RequestHead
from restreamer.logs import Logger
from restreamer.m4f.upgrade import UPGRADE_PATH, is_upgrade
from restreamer.web.again import Again
from restreamer.web.chunked import ChunkSending
from restreamer.web.delivery import Delivery
from restreamer.web.limits import Front, Room
from restreamer.web.upload import Upload
from restreamer.web.wire import plain_socket

#: Bytes thrown away from a client that goes on talking while its connection closes.
DISCARD_LIMIT: Final = 256 * 1024
#: Seconds a closing connection may linger, so that a client still sending a body can read the answer.
LINGER: Final = 2.0

#: In the place of the parser of a connection that takes no more requests: a parser keeps what it read last.
NO_MORE: Final = HeadParser()

# States. Plain integers: they are compared several times per request.
HANDSHAKE, READING, WAITING, SENDING, UPLOADING, ENDLESS, PASSED, CLOSING, LOST = range(9)


def _asks_for_link(head: RequestHead) -> bool:
    return head.request.path == UPGRADE_PATH and is_upgrade(head.request.headers)


@implementer(IHandshakeListener)
class FrontConnection(Protocol):
    """The connection of a L{restreamer.web.front.FrontProtocol}, which answers.

    @ivar for_link: there is no room for it unless its request asks for a link of another node.
    """

    __slots__ = (
        "_again",
        "_body_due",
        "_body_status",
        "_chunks",
        "_clock",
        "_close_after",
        "_delivery",
        "_discarded",
        "_due",
        "_front",
        "_head",
        "_head_begun",
        "_leave",
        "_limits",
        "_linger_after",
        "_parser",
        "_read_paused",
        "_seconds",
        "_serial",
        "_served",
        "_socket",
        "_state",
        "_stop_endless",
        "_successor",
        "_timer",
        "_turn",
        "_upload",
        "_waiting",
        "_wire",
        "_working",
        "connected",
        "for_link",
        "transport",
    )  # fmt: skip

    _log = Logger()

    def __init__(self, front: Front, peer: str) -> None:
        self._again: Again | None = None
        self.transport: Any = None
        self.connected = 0
        self.for_link = False
        self._front = front
        self._limits = front.limits
        self._clock = front.clock
        self._seconds = front.clock.seconds
        self._parser = HeadParser(peer=peer, proxies=front.proxies)
        self._state = READING
        self._wire: Any = None
        self._socket: socket.socket | None = None
        self._working = False
        self._turn: IDelayedCall | None = None
        self._read_paused = False
        self._head_begun = False
        self._timer: IDelayedCall | None = None
        self._due = 0.0
        # The request in work.
        self._head: RequestHead | None = None
        self._serial = 0
        self._served = 0
        self._close_after = False
        self._linger_after = False
        self._waiting: Deferred[Any] | None = None
        self._leave: Callable[[], None] | None = None
        self._stop_endless: Callable[[], None] | None = None
        self._successor: IProtocol | None = None
        self._delivery: Delivery | None = None
        self._chunks: ChunkSending | None = None
        self._body_due = 0.0
        self._body_status = 200
        self._upload: Upload | None = None
        self._discarded = 0

    # The transport's calls.

    @override
    def connectionMade(self) -> None:
        self._wire = transport = self.transport
        self._socket = plain_socket(transport)
        self._delivery = Delivery(transport, self._socket, self._seconds, self._sent)
        below = self._socket or plain_socket(getattr(transport, "transport", None))
        if below is not None:
            room = self._front.has_room(below.fileno())
            if room is Room.NONE:
                self._wire.write(self._front.busy_answer)
                self._close()
                return
            self.for_link = self.for_link or room is Room.FOR_LINKS
        no_delay = getattr(transport, "setTcpNoDelay", None)
        if no_delay is not None:
            try:
                no_delay(True)
            except OSError:
                pass  # not a TCP socket
        if ISSLTransport.providedBy(transport):
            self._parser.secure = True
            self._state = HANDSHAKE
            self._arm(self._limits.handshake_timeout)
        else:
            self._arm(self._first_timeout())

    def _first_timeout(self) -> float:
        return self._limits.link_timeout if self.for_link else self._limits.idle_timeout

    def came_over_tls(self) -> None:
        """Another process takes TLS off: requests are as those over it."""
        self._parser.secure = True

    def handshakeCompleted(self) -> None:  # noqa: N802
        """IHandshakeListener: the TLS handshake is done, requests may come."""
        if self._state == HANDSHAKE:
            self._state = READING
            self._arm(self._first_timeout())

    @override
    def dataReceived(self, data: bytes) -> None:
        state = self._state
        if state == READING and self._turn is None:
            self._parser.receive(data)
            self._work()
        elif state == PASSED:
            assert self._successor is not None
            self._successor.dataReceived(data)
        elif state == UPLOADING:
            self._take_body(data)
        elif state == HANDSHAKE:
            self._state = READING
            self.dataReceived(data)
        elif state >= ENDLESS:
            self._discarded += len(data)
            if self._discarded > DISCARD_LIMIT:
                self.abort()
        else:
            self._parser.receive(data)
            if self._parser.buffered > self._limits.buffered:
                self._pause_reading()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = LOST
        self._serial += 1
        self._front.forget(self)
        for call in (self._timer, self._turn):
            if call is not None and call.active():
                call.cancel()
        self._timer = self._turn = None
        delivery, self._delivery = self._delivery, None
        waiting, self._waiting = self._waiting, None
        leave, self._leave = self._leave, None
        stop, self._stop_endless = self._stop_endless, None
        chunks, self._chunks = self._chunks, None
        upload, self._upload = self._upload, None
        successor, self._successor = self._successor, None
        self._parser = NO_MORE
        if delivery is not None:
            delivery.forget()
        if chunks is not None:
            self._count(chunks.size)
            stop = chunks.give_up()
        if waiting is not None:
            waiting.cancel()
        if leave is not None:
            leave()
        if stop is not None:
            try:
                stop()
            except Exception:
                self._front.counters.failures += 1
                self._log.failure("an answer failed to stop")
        if upload is not None:
            self._give_up(upload)
        if successor is not None:
            successor.connectionLost(reason)

    @property
    def idle(self) -> bool:
        """Whether it waits for a request of which nothing came yet."""
        return self._state == READING and self._timer is not None and not self._parser.buffered

    def drain(self) -> None:
        """Close when idle, else after the answer in work."""
        if self._state in (READING, HANDSHAKE):
            self._close()
        elif self._state == UPLOADING and self._upload is not None:
            self._end_upload(self._upload, 503, "the node stops")
        else:
            self._close_after = True

    def retire(self) -> None:
        """Close when idle, else after the answer in work; a link to another node now: it comes again."""
        if self._state == PASSED:
            close = getattr(self._successor, "close", None)
            if close is not None:
                close("another process serves this node")
        elif self._state != ENDLESS:
            self.drain()

    def abort(self) -> None:
        """Close now; nothing more is sent."""
        if self._state != LOST and self._wire is not None:
            self._wire.abortConnection()

    # Reading requests.

    def _work(self) -> None:
        """Serve what is buffered, until bytes or an answer must be waited for."""
        if self._working:
            return
        self._working = True
        try:
            left = self._limits.requests_per_turn
            while self._state == READING:
                if left == 0 and self._parser.buffered:
                    self._pause_reading()
                    self._turn = self._clock.callLater(0, self._next_turn)
                    return
                left -= 1
                try:
                    head = self._parser.next_head()
                except HeadError as error:
                    self._front.counters.bad_heads += 1
                    self._refuse(error.status, error.what)
                    return
                if head is None:
                    self._await_more()
                    return
                self._head_begun = False
                if self.for_link and not _asks_for_link(head):
                    self._front.counters.refused += 1
                    self._wire.write(self._front.busy_answer)
                    self._close(True)
                    return
                self._serve(head)
        finally:
            self._working = False

    def _next_turn(self) -> None:
        self._turn = None
        self._work()

    def _await_more(self) -> None:
        if self._read_paused:
            self._read_paused = False
            self._wire.resumeProducing()
        if not self._parser.buffered:
            self._due = self._seconds() + self._limits.idle_timeout
        elif not self._head_begun:
            self._head_begun = True
            if not self.for_link:
                self._arm(self._limits.head_timeout)

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._wire.pauseProducing()

    def _continue_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            self._wire.resumeProducing()

    # What is done with a request.

    def _serve(self, head: RequestHead) -> None:
        raise NotImplementedError

    def _take_body(self, data: bytes) -> None:
        raise NotImplementedError

    def _sent(self) -> None:
        raise NotImplementedError

    def _count(self, size: int) -> None:
        """So many bytes of an answer were for the session of the request in work."""
        viewing = self._head.request.account.viewing if self._head is not None else None
        if viewing is not None:
            viewing.count(size)

    # Ending.

    def _refuse(self, status: int, why: str = "") -> None:
        """Answer a connection whose next request cannot be known, and close it; log C{why}."""
        if why:
            peer = self._parser.peer
            ending = self._front.lines.ending(peer, self._seconds())
            if ending is not None:
                told = {"peer": peer, "status": status, "why": why, "ending": ending}
                self._log.info("HTTP {peer}: refused: {status} {why}{ending}", **told)
        reply = plain_reply(status)
        head = b"%s%sContent-Length: %d\r\n%s\r\n" % (
            status_line(status),
            reply.headers,
            len(reply.body),
            CLOSE,
        )
        self._wire.write(head + reply.body)
        self._close(True)

    def _end_upload(self, upload: Upload, status: int, why: str) -> None:
        self._upload = None
        self._give_up(upload)
        self._refuse(status, why)

    def _give_up(self, upload: Upload) -> None:
        try:
            upload.give_up()
        except Exception:
            self._front.counters.failures += 1
            self._log.failure("an upload failed to end")

    def _close(self, linger: bool = False) -> None:
        """Close once everything written is sent; with C{linger}, let the client finish talking first."""
        self._state = CLOSING
        self._serial += 1
        self._parser.take_rest()
        half_close = getattr(self._wire, "loseWriteConnection", None)
        if linger and half_close is not None and self._socket is not None:
            # A close with unread bytes is a reset, and would take the answer with it (RFC 9112 section 9.6).
            self._continue_reading()
            half_close()
            self._arm(LINGER)
        else:
            self._wire.loseConnection()
            self._arm(self._limits.close_timeout)

    # The one timer.

    def _arm(self, seconds: float) -> None:
        """Set the deadline; the timer itself is touched only when it would come too late."""
        self._due = due = self._seconds() + seconds
        timer = self._timer
        if timer is None:
            self._timer = self._clock.callLater(seconds, self._expired)
        elif timer.getTime() > due:
            timer.reset(seconds)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        left = self._due - self._seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._expired)
        elif self._state == READING:
            if self._head_begun:
                self._front.counters.head_timeouts += 1
                self._refuse(408, "no whole request in time")
            else:
                self._close()
        elif self._state == WAITING:
            self._give_up_waiting()
        elif self._state == SENDING:
            self._check_progress()
        elif self._state == UPLOADING and self._upload is not None:
            self._front.counters.upload_timeouts += 1
            self._end_upload(self._upload, 408, "nothing of the body came in time")
        else:
            self.abort()

    def _give_up_waiting(self) -> None:
        self._front.counters.wait_timeouts += 1
        waiting, self._waiting = self._waiting, None
        leave, self._leave = self._leave, None
        self._serial += 1
        self._refuse(503)
        if waiting is not None:
            waiting.cancel()
        if leave is not None:
            leave()

    def _check_progress(self) -> None:
        """Abort a reader to whom not one byte could be sent for the whole stall timeout."""
        delivery = self._delivery
        endless = self._chunks is not None and self._seconds() >= self._body_due
        if endless or (delivery is not None and delivery.stalled(self._limits.stall_timeout)):
            self._front.counters.stalled += 1
            self.abort()
            return
        self._arm(self._limits.stall_timeout / 4)
