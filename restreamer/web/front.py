"""One connection of the HTTP front: a lean HTTP/1.x server protocol for everything that carries media.

Order of events. Heads are parsed as they come and served one at a time; while one is in work, later
requests wait in a small buffer, and when that is full the socket is not read. An answer is first given to the
kernel directly, head and shared body in one call without joining them; that is right because nothing
is ever left in the transport's buffer when an answer begins. What the kernel does not take is pulled by the
transport in slices, and the next request waits for the last of them to be gone. So a slow reader costs one
slice of private memory, and a pipelining one a turn of the reactor per few requests.

Requests that no route wants go to the site: its channel becomes the successor of this protocol and gets the
bytes as they were received. An upgrade does the same with another protocol. This protocol stays the
transport's own and forwards, which is right over TLS too, and keeps the connection counted.

There is one timer per connection; moving the deadline away costs an assignment, not a timer call.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IProtocol,
    IPullProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from restreamer.errors import Refused
from restreamer.http1.head import CLOSE, KEEP_ALIVE, PERSISTS, plain_reply, render_full, status_line
from restreamer.http1.parse import HeadError, HeadParser, RequestHead
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import EndlessReply, FullReply, Reply, UpgradeReply
from restreamer.live.kernel_backlog import bound_backlog
from restreamer.logs import Logger
from restreamer.web.eager import Paused, awaited, carried_on, first_step, given
from restreamer.web.wire import plain_socket, unacknowledged

if TYPE_CHECKING:
    from restreamer.web.service import FrontFactory

#: Bytes per pull of the transport: the private memory of a slow reader.
SLICE: Final = 64 * 1024
#: Bodies up to this are joined with their head: one small copy is cheaper than a second buffer.
JOIN_LIMIT: Final = 8 * 1024
#: Without a plain socket: bytes written before the transport is asked to confirm that it sent them.
UNCONFIRMED_LIMIT: Final = 64 * 1024
#: Bytes thrown away from a client that goes on talking while its connection closes.
DISCARD_LIMIT: Final = 256 * 1024
#: Seconds a closing connection may linger, so that a client still sending a body can read the answer.
LINGER: Final = 2.0

# States. Plain integers: they are compared several times per request.
_HANDSHAKE, _READING, _WAITING, _SENDING, _ENDLESS, _PASSED, _CLOSING, _LOST = range(8)


@implementer(IHandshakeListener, IPullProducer)
class FrontProtocol(Protocol):
    """See the module. Made by L{restreamer.web.service.FrontFactory}."""

    _log = Logger()

    def __init__(self, front: FrontFactory, peer: str) -> None:
        self._front = front
        self._limits = front.limits
        self._clock = front.clock
        self._seconds = front.clock.seconds
        self._parser = HeadParser(peer=peer)
        self._state = _READING
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
        self._stop_endless: Callable[[], None] | None = None
        self._successor: IProtocol | None = None
        # The answer being pulled.
        self._first = b""
        self._rest: memoryview | None = None
        self._unconfirmed = 0
        self._queue_mark: int | None = None
        self._moved_at = 0.0
        self._discarded = 0

    # The transport's calls.

    @override
    def connectionMade(self) -> None:
        self._wire = transport = self.transport
        self._socket = plain_socket(transport)
        below = self._socket or plain_socket(getattr(transport, "transport", None))
        if below is not None and not self._front.has_room(below.fileno()):
            self._wire.write(self._front.busy_answer)
            self._close()
            return
        no_delay = getattr(transport, "setTcpNoDelay", None)
        if no_delay is not None:
            try:
                no_delay(True)
            except OSError:
                pass  # not a TCP socket
        if ISSLTransport.providedBy(transport):
            self._parser.secure = True
            self._state = _HANDSHAKE
            self._arm(self._limits.handshake_timeout)
        else:
            self._arm(self._limits.idle_timeout)

    def handshakeCompleted(self) -> None:  # noqa: N802
        """IHandshakeListener: the TLS handshake is done, requests may come."""
        if self._state == _HANDSHAKE:
            self._state = _READING
            self._arm(self._limits.idle_timeout)

    @override
    def dataReceived(self, data: bytes) -> None:
        state = self._state
        if state == _READING and self._turn is None:
            self._parser.receive(data)
            self._work()
        elif state == _PASSED:
            assert self._successor is not None
            self._successor.dataReceived(data)
        elif state == _HANDSHAKE:
            self._state = _READING
            self.dataReceived(data)
        elif state >= _ENDLESS:
            self._discarded += len(data)
            if self._discarded > DISCARD_LIMIT:
                self.abort()
        else:
            self._parser.receive(data)
            if self._parser.buffered > self._limits.buffered:
                self._pause_reading()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _LOST
        self._serial += 1
        self._front.forget(self)
        for call in (self._timer, self._turn):
            if call is not None and call.active():
                call.cancel()
        self._timer = self._turn = None
        self._rest = None
        waiting, self._waiting = self._waiting, None
        stop, self._stop_endless = self._stop_endless, None
        successor, self._successor = self._successor, None
        self._parser = HeadParser()
        if waiting is not None:
            waiting.cancel()
        if stop is not None:
            try:
                stop()
            except Exception:
                self._front.counters.failures += 1
                self._log.failure("an endless answer failed to stop")
        if successor is not None:
            successor.connectionLost(reason)

    @property
    def idle(self) -> bool:
        """Whether it waits for a request of which nothing came yet."""
        return self._state == _READING and self._timer is not None and not self._parser.buffered

    def drain(self) -> None:
        """Close when idle, else after the answer in work."""
        if self._state in (_READING, _HANDSHAKE):
            self._close()
        else:
            self._close_after = True

    def abort(self) -> None:
        """Close now; nothing more is sent."""
        if self._state != _LOST and self._wire is not None:
            self._wire.abortConnection()

    # Reading requests.

    def _work(self) -> None:
        """Serve what is buffered, until bytes or an answer must be waited for."""
        if self._working:
            return
        self._working = True
        try:
            left = self._limits.requests_per_turn
            while self._state == _READING:
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
            self._arm(self._limits.head_timeout)

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._wire.pauseProducing()

    # Finding an answer.

    def _serve(self, head: RequestHead) -> None:
        front = self._front
        self._head = head
        self._served += 1
        self._close_after = (
            not head.persistent or self._served >= self._limits.requests or front.draining or head.has_body
        )
        self._linger_after = False
        request = head.request
        outcome: Reply | Awaitable[Reply] | None = None
        for route in front.routes:
            try:
                outcome = route(request)
            except Refused as refused:
                outcome = self._refusal(refused)
            except Exception:
                outcome = self._failed()
            if outcome is not None:
                break
        else:
            self._hand_over(head)
            return
        if head.has_body:
            outcome = self._without_body(outcome)
        if isinstance(outcome, FullReply):
            self._send_full(outcome)
        elif isinstance(outcome, EndlessReply | UpgradeReply):
            try:
                self._carry_out(outcome)
            except Exception:
                self._broken(Failure())
        else:
            self._wait_for(outcome)

    def _refusal(self, refused: Refused) -> FullReply:
        return refusal_reply(refused, self._head.request if self._head is not None else None)

    def _failed(self) -> FullReply:
        self._front.counters.failures += 1
        path = self._head.request.path if self._head is not None else ""
        self._log.failure("a route failed for path {path!r}", path=path)
        return plain_reply(500)

    def _without_body(self, outcome: Reply | Awaitable[Reply]) -> FullReply:
        """Routes take no bodies: let a refusal stand (405), answer 413 otherwise. The body stays unread."""
        self._linger_after = True
        if isinstance(outcome, FullReply):
            if outcome.status >= 400:
                return outcome
        elif isinstance(outcome, CoroutineType):
            outcome.close()
        elif isinstance(outcome, Deferred):
            _ = outcome.addErrback(lambda _: None)
            outcome.cancel()
        return plain_reply(413)

    def _wait_for(self, outcome: Awaitable[Reply]) -> None:
        if isinstance(outcome, CoroutineType):
            try:
                reply = first_step(outcome)
            except Refused as refused:
                self._send_full(self._refusal(refused))
                return
            except Exception:
                self._send_full(self._failed())
                return
            if isinstance(reply, FullReply):
                self._send_full(reply)
                return
            outcome = carried_on(reply) if isinstance(reply, Paused) else given(reply)
        self._state = _WAITING
        self._serial = serial = self._serial + 1
        waiting: Deferred[Any] = Deferred.fromCoroutine(awaited(outcome))
        self._waiting = waiting
        _ = waiting.addCallbacks(self._answered, self._refused, callbackArgs=(serial,), errbackArgs=(serial,))
        _ = waiting.addErrback(self._broken)
        if self._state == _WAITING and self._serial == serial:
            self._arm(self._limits.wait_timeout)

    def _answered(self, reply: Reply, serial: int) -> None:
        if self._state == _WAITING and self._serial == serial:
            self._waiting = None
            self._state = _READING
            self._carry_out(reply)

    def _refused(self, failure: Failure, serial: int) -> None:
        if self._state != _WAITING or self._serial != serial:
            return
        self._waiting = None
        self._state = _READING
        if isinstance(failure.value, Refused):
            self._send_full(self._refusal(failure.value))
            return
        self._front.counters.failures += 1
        path = self._head.request.path if self._head is not None else ""
        self._log.failure("a route failed for path {path!r}", failure=failure, path=path)
        self._send_full(plain_reply(500))

    def _broken(self, failure: Failure) -> None:
        self._front.counters.failures += 1
        self._log.failure("an answer could not be carried out", failure=failure)
        self.abort()

    # Carrying out an answer.

    def _carry_out(self, reply: Reply) -> None:
        if isinstance(reply, FullReply):
            self._send_full(reply)
        elif isinstance(reply, EndlessReply):
            self._send_endless(reply)
        elif isinstance(reply, UpgradeReply):
            self._upgrade(reply)
        else:
            raise TypeError(f"not a reply: {type(reply).__name__}")

    def _send_full(self, reply: FullReply) -> None:
        head = self._head
        assert head is not None
        if self._close_after:
            connection = CLOSE
        elif head.request.version == (1, 1):
            connection = PERSISTS
        else:
            connection = KEEP_ALIVE
        front_part, body = render_full(head.request, reply, connection)
        front = self._front
        counters = front.counters
        counters.requests += 1
        counters.bytes_sent += len(front_part) + len(body)
        if reply.status >= 500:
            counters.errors += 1
        if front.access_log is not None:
            request = head.request
            front.access_log(request.peer, request.method, request.path, reply.status, len(body))
        self._deliver(front_part, body)

    def _deliver(self, head: bytes, body: bytes | memoryview) -> None:
        """Give the kernel what it takes at once; the rest is pulled."""
        size = len(head) + len(body)
        sent = 0
        direct = self._socket
        if direct is not None:
            try:
                sent = direct.send(head + body) if len(body) <= JOIN_LIMIT else direct.sendmsg((head, body))
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self.abort()
                self._state = _CLOSING
                return
            if sent == size:
                self._request_done()
                return
        elif self._unconfirmed + size <= UNCONFIRMED_LIMIT:
            self._unconfirmed += size
            self._wire.write(head + body)
            self._request_done()
            return
        self._first = head[sent:]
        self._rest = memoryview(body)[max(0, sent - len(head)) :]
        self._state = _SENDING
        self._moved_at = self._seconds()
        self._queue_mark = unacknowledged(self._wire)
        self._arm(self._limits.stall_timeout / 4)
        self._wire.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """IPullProducer: the transport has sent what it had."""
        rest = self._rest
        if self._state != _SENDING or rest is None:
            return
        self._moved_at = self._seconds()
        self._queue_mark = unacknowledged(self._wire)
        if self._first or rest:
            piece = self._first + rest[:SLICE]
            self._first, self._rest = b"", rest[SLICE:]
            self._wire.write(piece)
            return
        self._rest = None
        self._unconfirmed = 0
        self._wire.unregisterProducer()
        self._state = _READING
        self._request_done()

    def stopProducing(self) -> None:
        """IPullProducer: the connection is lost; C{connectionLost} follows."""
        self._rest = None

    def _request_done(self) -> None:
        self._head = None
        if self._close_after or self._front.draining:
            self._close(self._linger_after)
            return
        self._due = self._seconds() + self._limits.idle_timeout
        if not self._working:
            self._work()

    def _send_endless(self, reply: EndlessReply) -> None:
        assert self._head is not None
        request = self._head.request
        self._front.counters.requests += 1
        if self._front.access_log is not None:
            self._front.access_log(request.peer, request.method, request.path, reply.status, 0)
        head = b"%s%s%s\r\n" % (status_line(reply.status), reply.headers, CLOSE)
        self._head = None
        if request.method == "HEAD":
            self._close_after = True
            self._deliver(head, b"")
            return
        self._front.counters.endless += 1
        self._state = _ENDLESS
        self._disarm()
        self._continue_reading()
        self._parser.take_rest()
        bound_backlog(self._wire)
        self._wire.write(head)
        stop = reply.start(self._wire, self._endless_ended)
        if self._state == _ENDLESS:
            self._stop_endless = stop

    def _endless_ended(self, reason: str) -> None:
        if self._state == _ENDLESS:
            self._stop_endless = None
            self._close()

    def _upgrade(self, reply: UpgradeReply) -> None:
        assert self._head is not None
        request = self._head.request
        self._front.counters.upgraded += 1
        if self._front.access_log is not None:
            self._front.access_log(request.peer, request.method, request.path, 101, 0)
        self._wire.write(b"%s%s\r\n" % (status_line(101), reply.headers))
        self._disarm()
        self._pass_to(cast(IProtocol, reply.protocol()), b"")

    def _hand_over(self, head: RequestHead) -> None:
        """Let the site answer; the connection is its own from here on."""
        site = self._front.site
        if site is None or head.chunked or head.content_length > self._limits.body:
            self._linger_after = self._close_after = True
            status = 404 if site is None else 411 if head.chunked else 413
            self._send_full(plain_reply(status))
            return
        self._front.counters.handed_over += 1
        self._arm(self._limits.site_timeout)
        channel = site.buildProtocol(self._wire.getPeer())
        self._pass_to(cast(IProtocol, channel), head.raw)

    def _pass_to(self, successor: IProtocol, first: bytes) -> None:
        data = first + self._parser.take_rest()
        self._head = None
        self._state = _PASSED
        self._successor = successor
        self._continue_reading()
        successor.makeConnection(self._wire)
        if data and self._state == _PASSED:
            successor.dataReceived(data)

    def _continue_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            self._wire.resumeProducing()

    # Ending.

    def _refuse(self, status: int, why: str = "") -> None:
        """Answer a connection whose next request cannot be known, and close it; log C{why}."""
        if why:
            peer = self._parser.peer
            self._log.info("HTTP {peer}: refused: {status} {why}", peer=peer, status=status, why=why)
        reply = plain_reply(status)
        head = b"%s%sContent-Length: %d\r\n%s\r\n" % (
            status_line(status),
            reply.headers,
            len(reply.body),
            CLOSE,
        )
        self._wire.write(head + reply.body)
        self._close(True)

    def _close(self, linger: bool = False) -> None:
        """Close once everything written is sent; with C{linger}, let the client finish talking first."""
        self._state = _CLOSING
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
        elif self._state == _READING:
            if self._head_begun:
                self._front.counters.head_timeouts += 1
                self._refuse(408, "no whole request in time")
            else:
                self._close()
        elif self._state == _WAITING:
            self._give_up_waiting()
        elif self._state == _SENDING:
            self._check_progress()
        else:
            self.abort()

    def _give_up_waiting(self) -> None:
        self._front.counters.wait_timeouts += 1
        waiting, self._waiting = self._waiting, None
        self._serial += 1
        self._refuse(503)
        if waiting is not None:
            waiting.cancel()

    def _check_progress(self) -> None:
        """Abort a reader to whom not one byte could be sent for the whole stall timeout.

        The transport only tells when it has sent a whole slice, and the kernel only asks for more when
        much of its buffer is free again; so the kernel's own queue says whether a slow reader is alive.
        """
        queued = unacknowledged(self._wire)
        now = self._seconds()
        if queued != self._queue_mark:
            self._queue_mark = queued
            self._moved_at = now
        elif now - self._moved_at >= self._limits.stall_timeout:
            self._front.counters.stalled += 1
            self.abort()
            return
        self._arm(self._limits.stall_timeout / 4)
