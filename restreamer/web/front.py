"""The HTTP front: a lean HTTP/1.x server protocol for everything that carries media.

A L{FrontProtocol} asks the routes for an answer and carries it out. The next request waits for the last byte
of an answer to be with the kernel (L{restreamer.web.delivery}). A body goes to whoever opened a sink for it
(L{restreamer.web.upload}).

Requests that no route wants go to the site: its channel becomes the successor of this protocol and gets the
bytes as they were received. An upgrade does the same with another protocol. This protocol stays the
transport's own and forwards, which is right over TLS too, and keeps the connection counted.
"""

from __future__ import annotations

from collections.abc import Awaitable
from types import CoroutineType
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.errors import Refused, RemoteProtocolError
from restreamer.http1.head import (
    CLOSE,
    KEEP_ALIVE,
    PERSISTS,
    plain_reply,
    render_full,
    status_line,
    takes_ready,
)
from restreamer.http1.parse import RequestHead
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import (
    ChunkedReply,
    EndlessReply,
    FullReply,
    HeldReply,
    Ready,
    Reply,
    UpgradeReply,
    UploadReply,
)
from restreamer.live.kernel_backlog import bound_backlog
from restreamer.web.again import Again
from restreamer.web.chunked import ChunkSending
from restreamer.web.connection import (
    CLOSING,
    ENDLESS,
    NO_MORE,
    PASSED,
    READING,
    SENDING,
    UPLOADING,
    WAITING,
    FrontConnection,
)
from restreamer.web.eager import Paused, awaited, carried_on, first_step, given
from restreamer.web.shared_files import SHARE_FROM
from restreamer.web.upload import Upload

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class FrontProtocol(FrontConnection):
    """See the module. Made by L{restreamer.web.service.FrontFactory}."""

    __slots__ = ()

    @override
    def dataReceived(self, data: bytes) -> None:
        again = self._again
        if again is not None and self._state == READING and not self._working and not self._parser.buffered:
            now = self._seconds()
            ready = again.find(data, now)
            if ready is not None and self._answer_again(again, ready, now):
                return
        FrontConnection.dataReceived(self, data)

    def _answer_again(self, again: Again, ready: Ready, now: float) -> bool:
        """Send C{ready}; False: it is to be done in full."""
        front = self._front
        if front.draining or self._served + 1 >= self._limits.requests or front.access_log:
            return False
        self._served += 1
        self._close_after = self._linger_after = False
        if again.viewing is not None:
            again.viewing.count(ready.size)
        self._send_ready(ready, now)
        return True

    def _send_ready(self, ready: Ready, now: float) -> None:
        """Send C{ready} on a plain socket of which nothing waits."""
        wire, head, body = self._socket, ready.head, ready.body
        assert wire is not None
        size = len(head) + len(body)
        counters = self._front.counters
        counters.requests += 1
        counters.bytes_sent += size
        file = self._front.files.of(body, now) if len(body) >= SHARE_FROM else None
        try:
            if file is not None:
                sent = file.send_after(wire, head)
            else:
                sent = wire.sendmsg((head, body)) if body else wire.send(head)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            self._state = CLOSING
            return
        if sent == size:
            self._due = now + self._limits.idle_timeout
        else:
            assert self._delivery is not None
            self._delivery.send_rest(head, body, sent, file)
            self._state = SENDING
            self._arm(self._limits.stall_timeout / 4)

    # Finding an answer.

    @override
    def _serve(self, head: RequestHead) -> None:
        front = self._front
        self._head = head
        self._served += 1
        self._close_after = head.has_body or not self._may_persist(head)
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
        if isinstance(outcome, UploadReply):
            outcome = self._open_upload(outcome, head)
        elif head.has_body:
            outcome = self._without_body(outcome)
        if isinstance(outcome, FullReply):
            self._send_full(outcome)
        elif isinstance(outcome, EndlessReply | ChunkedReply | UpgradeReply):
            try:
                self._carry_out(outcome)
            except Exception:
                self._broken(Failure())
        elif isinstance(outcome, HeldReply):
            self._hold(outcome)
        else:
            self._wait_for(outcome)

    def _may_persist(self, head: RequestHead) -> bool:
        if self.for_link or self._front.draining:
            return False
        return head.persistent and self._served < self._limits.requests

    def _refusal(self, refused: Refused) -> FullReply:
        return refusal_reply(refused, self._head.request if self._head is not None else None)

    def _failed(self) -> FullReply:
        self._front.counters.failures += 1
        path = self._head.request.path if self._head is not None else ""
        self._log.failure("a route failed for path {path!r}", path=path)
        return plain_reply(500)

    def _without_body(self, outcome: Reply | Awaitable[Reply]) -> FullReply:
        """The route takes no body: let a refusal stand (405), answer 413 otherwise. The body stays unread."""
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
            if isinstance(reply, HeldReply):
                self._hold(reply)
                return
            outcome = carried_on(reply) if isinstance(reply, Paused) else given(reply)
        self._state = WAITING
        self._serial = serial = self._serial + 1
        waiting: Deferred[Any] = Deferred.fromCoroutine(awaited(outcome))
        self._waiting = waiting
        _ = waiting.addCallbacks(self._answered, self._refused, callbackArgs=(serial,), errbackArgs=(serial,))
        _ = waiting.addErrback(self._broken)
        if self._state == WAITING and self._serial == serial:
            self._arm(self._limits.wait_timeout)

    def _hold(self, reply: HeldReply) -> None:
        """Wait with many others."""
        self._state = WAITING
        self._serial += 1
        try:
            self._leave = reply.hold(self._held)
        except Refused as refused:
            self._state = READING
            self._send_full(self._refusal(refused))
            return
        self._arm(self._limits.wait_timeout)

    def _held(self, reply: FullReply, ready: Ready | None) -> None:
        """The answer that many waited for."""
        if self._state != WAITING or self._leave is None:
            return
        self._leave = None
        self._state = READING
        head, front = self._head, self._front
        if (
            ready is None
            or head is None
            or self._socket is None
            or self._close_after
            or front.draining
            or front.access_log is not None
            or not takes_ready(head.request)
        ):
            self._send_full(reply)
            return
        self._head = None
        viewing = head.request.account.viewing
        if viewing is not None:
            viewing.count(ready.size)
        self._send_ready(ready, self._seconds())
        if self._state == READING and self._parser.buffered:
            self._work()

    def _answered(self, reply: Reply | Upload, serial: int) -> None:
        if self._state == WAITING and self._serial == serial:
            self._waiting = None
            self._state = READING
            self._carry_out(reply)
        elif isinstance(reply, Upload):
            self._give_up(reply)

    def _refused(self, failure: Failure, serial: int) -> None:
        if self._state != WAITING or self._serial != serial:
            return
        self._waiting = None
        self._state = READING
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

    def _carry_out(self, reply: Reply | Upload) -> None:
        if isinstance(reply, FullReply):
            self._send_full(reply)
        elif isinstance(reply, ChunkedReply):
            self._send_chunks(reply)
        elif isinstance(reply, Upload):
            self._begin_upload(reply)
        elif isinstance(reply, EndlessReply):
            self._send_endless(reply)
        elif isinstance(reply, HeldReply):
            self._hold(reply)
        elif isinstance(reply, UpgradeReply):
            self._upgrade(reply)
        else:
            raise TypeError(f"not a reply: {type(reply).__name__}")

    def _send_full(self, reply: FullReply) -> None:
        head = self._head
        assert head is not None
        if reply.passed and self._front.site is not None:
            self._hand_over(head)
            return
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
        viewing = head.request.account.viewing
        if viewing is not None and (reply.status < 300 or reply.status == 304):
            viewing.count(len(body))
        if reply.status >= 500:
            counters.errors += 1
        if front.access_log is not None:
            self._log_access(head, reply.status, len(body))
        if head.request.account.repeat is not None and reply.status == 200 and connection is PERSISTS:
            if self._again is None and self._socket is not None:
                self._again = Again()
            if self._again is not None:
                self._again.keep(head, self._seconds())
        self._deliver(front_part, body)

    def _deliver(self, head: bytes, body: bytes | memoryview) -> None:
        """Send an answer; the next request waits until it is gone."""
        assert self._delivery is not None
        file = None
        if len(body) >= SHARE_FROM and type(body) is bytes and self._socket is not None:
            file = self._front.files.of(body, self._seconds())
        try:
            gone = self._delivery.send(head, body, file)
        except OSError:
            self.abort()
            self._state = CLOSING
            return
        if gone:
            self._request_done()
        else:
            self._state = SENDING
            self._arm(self._limits.stall_timeout / 4)

    @override
    def _sent(self) -> None:
        """The delivery has sent all it had."""
        if self._state == SENDING:
            chunks = self._chunks
            if chunks is None:
                self._state = READING
                self._request_done()
            elif chunks.over:
                self._chunks_done(chunks)

    def _request_done(self) -> None:
        self._head = None
        if self._close_after or self._front.draining:
            self._close(self._linger_after)
            return
        self._due = self._seconds() + self._limits.idle_timeout
        if not self._working:
            self._work()

    # An answer that is written piece by piece.

    def _send_chunks(self, reply: ChunkedReply) -> None:
        head, delivery = self._head, self._delivery
        assert head is not None and delivery is not None
        chunked = head.request.version == (1, 1)
        self._close_after = self._close_after or not chunked
        coding = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        connection = CLOSE if self._close_after else PERSISTS
        front_part = b"%s%s%s%s\r\n" % (status_line(reply.status), reply.headers, coding, connection)
        self._front.counters.requests += 1
        if head.request.method == "HEAD":
            self._log_access(head, reply.status, 0)
            self._deliver(front_part, b"")
            return
        self._state = SENDING
        self._body_due = self._seconds() + self._limits.body_timeout
        self._body_status = reply.status
        self._chunks = chunks = ChunkSending(delivery, chunked, self._body_ended)
        self._arm(self._limits.stall_timeout / 4)
        delivery.add(front_part)
        stop = reply.start(chunks, chunks.ended)
        if not chunks.over:
            chunks.stop = stop

    def _body_ended(self, reason: str) -> None:
        """The writer of the body has no more."""
        chunks, delivery = self._chunks, self._delivery
        if self._state != SENDING or chunks is None or delivery is None:
            return
        if reason:
            self._front.counters.cut_bodies += 1
            self.abort()
        elif not delivery.busy:
            self._chunks_done(chunks)

    def _chunks_done(self, chunks: ChunkSending) -> None:
        self._chunks = None
        self._front.counters.bytes_sent += chunks.size
        self._count(chunks.size)
        assert self._head is not None
        self._log_access(self._head, self._body_status, chunks.size)
        self._state = READING
        self._request_done()

    def _log_access(self, head: RequestHead, status: int, size: int) -> None:
        if self._front.access_log is not None:
            request = head.request
            self._front.access_log(request.peer, request.method, request.path, status, size)

    # Taking a body.

    def _open_upload(self, reply: UploadReply, head: RequestHead) -> Awaitable[Any]:
        length = None if head.chunked else head.content_length
        upload = Upload(length, self._clock, self._answer_upload, self._pause_upload)
        self._linger_after = head.has_body

        async def opened() -> Upload:
            upload.open(await reply.start(upload))
            return upload

        return opened()

    def _begin_upload(self, upload: Upload) -> None:
        """The route opened a sink: ask for the body, or go on with what came of it."""
        head = self._head
        assert head is not None
        if upload.answer_given is not None:
            self._send_full(upload.answer_given)
            return
        self._front.counters.uploads += 1
        self._state = UPLOADING
        self._upload = upload
        self._arm(self._limits.upload_timeout)
        begun = self._parser.take_rest()
        self._continue_reading()
        expected = head.request.headers.get("expect", "").lower() == "100-continue"
        if expected and not begun and head.has_body and head.request.version == (1, 1):
            self._wire.write(_CONTINUE)
        self._take_body(begun)

    @override
    def _take_body(self, data: bytes) -> None:
        upload = self._upload
        assert upload is not None
        self._due = self._seconds() + self._limits.upload_timeout
        if upload.over:
            self._parser.receive(data)
            if self._parser.buffered > self._limits.buffered:
                self._pause_reading()
            return
        try:
            upload.receive(data)
        except RemoteProtocolError as error:
            self._end_upload(upload, 400, error.what)
        except Exception:
            self._front.counters.failures += 1
            self._log.failure("a body could not be taken")
            self._end_upload(upload, 500, "")
        else:
            if upload is self._upload and upload.complete:
                self._parser.receive(upload.take_rest())

    def _answer_upload(self, reply: FullReply) -> None:
        """The sink answers: at the end of the body, or in the middle of it."""
        upload, head = self._upload, self._head
        if self._state != UPLOADING or upload is None or head is None:
            return
        self._upload = None
        self._state = READING
        if upload.complete:
            self._parser.receive(upload.take_rest())
            self._linger_after = False
            self._close_after = not self._may_persist(head)
        self._send_full(reply)

    def _pause_upload(self, pause: bool) -> None:
        if self._state == UPLOADING:
            if pause:
                self._pause_reading()
            else:
                self._arm(self._limits.upload_timeout)
                self._continue_reading()

    # Handing the connection on.

    def _send_endless(self, reply: EndlessReply) -> None:
        assert self._head is not None
        request = self._head.request
        self._front.counters.requests += 1
        self._log_access(self._head, reply.status, 0)
        head = b"%s%s%s\r\n" % (status_line(reply.status), reply.headers, CLOSE)
        self._head = None
        if request.method == "HEAD":
            self._close_after = True
            self._deliver(head, b"")
            return
        self._front.counters.endless += 1
        self._state = ENDLESS
        self._disarm()
        self._continue_reading()
        self._parser = NO_MORE
        bound_backlog(self._wire)
        self._wire.write(head)
        stop = reply.start(self._wire, self._endless_ended)
        if self._state == ENDLESS:
            self._stop_endless = stop

    def _endless_ended(self, reason: str) -> None:
        if self._state == ENDLESS:
            self._stop_endless = None
            self._close()

    def _upgrade(self, reply: UpgradeReply) -> None:
        assert self._head is not None
        self._front.counters.upgraded += 1
        self._log_access(self._head, 101, 0)
        self._wire.write(b"%s%s\r\n" % (status_line(101), reply.headers))
        self._disarm()
        self._pass_to(cast(IProtocol, reply.protocol()), b"")

    def _hand_over(self, head: RequestHead) -> None:
        """Let the site answer; the connection is its own from here on."""
        site = self._front.site
        if site is None or head.chunked or self._too_long(head):
            self._linger_after = self._close_after = True
            status = 404 if site is None else 411 if head.chunked else 413
            self._send_full(plain_reply(status))
            return
        self._front.counters.handed_over += 1
        self._arm(self._limits.site_timeout)
        channel = site.buildProtocol(self._wire.getPeer())
        self._pass_to(cast(IProtocol, channel), head.raw)

    def _too_long(self, head: RequestHead) -> bool:
        """Whether the body is longer than the site takes of this client for this path."""
        size = head.content_length
        return size > self._limits.body and size > self._front.site.most_body(head.request)

    def _pass_to(self, successor: IProtocol, first: bytes) -> None:
        data = first + self._parser.take_rest()
        self._head = None
        self._state = PASSED
        self._successor = successor
        self._continue_reading()
        successor.makeConnection(self._wire)
        if data and self._state == PASSED:
            successor.dataReceived(data)
