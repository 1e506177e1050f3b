"""A client's connection: requests with their answers in order, interleaved frames, deadlines.

What is asked, and what becomes of the media, is its owner's business (L{restreamer.rtsp.pull}).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.errors import RemoteProtocolError
from restreamer.rtsp.authentication import Credentials
from restreamer.rtsp.headers import parse_session
from restreamer.rtsp.message import Interleaved, MessageReader, Reply, Request, write_reply, write_request
from restreamer.server_words import clean_words

#: Seconds a server has for one answer.
ANSWER_SECONDS: Final = 10.0
_AGENT: Final = "Restreamer"


class RtspClientError(RemoteProtocolError):
    """A server that does not do what was asked.

    @ivar status: of its answer; 0: there was none. @ivar location: where it says that the stream is, or
        empty (may hold secrets).
    """

    def __init__(self, what: str, status: int = 0, location: str = "") -> None:
        super().__init__("RTSP server", what)
        self.status = status
        self.location = location


class RtspClientProtocol(Protocol):
    """One connection to a server.

    @ivar session: the session's identifier; @ivar timeout: its seconds, as the server tells them.
    @ivar public: the methods it said it knows; empty before it did. @ivar wire: the transport.
    """

    def __init__(
        self,
        clock: IReactorTime,
        user: str,
        password: str,
        frame: Callable[[int, bytes], None],
        ended: Callable[[str], None],
        cleaned: Callable[[str], str] = clean_words,
    ) -> None:
        """@param frame: told channel and data of each interleaved frame.
        @param cleaned: gives a server's words as they may be shown.
        @param ended: told once why the connection is over.
        """
        self._clock = clock
        self._frame = frame
        self._ended = ended
        self._cleaned = cleaned
        self._credentials = Credentials(user, password)
        self._with_password = bool(user or password)
        self._reader = MessageReader()
        self._sequence = 0
        self._waiting: dict[int, Deferred[Reply]] = {}
        self._why = ""
        self._over = False
        self._hang_up: IDelayedCall | None = None
        self.session = ""
        self.timeout = 60
        self.public: frozenset[str] = frozenset()
        self.wire: Any = None

    @override
    def connectionMade(self) -> None:
        """Be ready for requests."""
        self.wire = self.transport
        if ITCPTransport.providedBy(self.wire):
            self.wire.setTcpNoDelay(True)

    @override
    def dataReceived(self, data: bytes) -> None:
        """Take answers and frames."""
        if self._why:
            return
        try:
            self._reader.feed(data)
            while not self._why and (message := self._reader.next()) is not None:
                if type(message) is Interleaved:
                    self._frame(message.channel, message.data)
                elif type(message) is Reply:
                    self._answered(message)
                elif type(message) is Request:
                    self._asked(message)
        except RemoteProtocolError as error:
            self.close(f"protocol error: {error}")

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Whoever waits for an answer gets none."""
        why = self._why or f"connection lost ({reason.getErrorMessage()})"
        self._why = why
        if self._hang_up is not None and self._hang_up.active():
            self._hang_up.cancel()
        waiting, self._waiting = self._waiting, {}
        for deferred in waiting.values():
            if not deferred.called:
                deferred.errback(RtspClientError(why))
        if not self._over:
            self._over = True
            self._ended(why)

    async def ask(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Send a request and wait for its answer; a challenge is answered once.

        @raise RtspClientError: another status than 200, no answer in time, or the connection is lost.
        """
        reply = await self._once(method, url, headers)
        if reply.status == 401 and self._with_password:
            if not self._credentials.challenged(reply.header("www-authenticate")):
                raise RtspClientError(f"{method} was refused: the password is wrong", 401)
            reply = await self._once(method, url, headers)
        if reply.status != 200:
            raise RtspClientError(
                f"{method} was answered with {reply.status} {self._cleaned(reply.reason)[:64]}",
                reply.status,
                reply.header("location"),
            )
        session, timeout = parse_session(reply.header("session"))
        if session:
            self.session = session
            if timeout:
                self.timeout = timeout
        if method == "OPTIONS":
            self.public = frozenset(word.strip().upper() for word in reply.header("public").split(","))
        return reply

    def tell(self, method: str, url: str) -> None:
        """Send a request whose answer does not matter."""
        deferred = self._send(method, url, None)
        _ = deferred.addErrback(lambda failure: None)

    def write(self, data: bytes) -> None:
        """Send bytes as they are; a server that does not take them is given no more."""
        if not self._why and self.wire is not None:
            self.wire.write(data)

    def close(self, reason: str) -> None:
        """Close. Idempotent."""
        if self._why:
            return
        self._why = reason
        if self.wire is not None:
            self._hang_up = self._clock.callLater(1.0, self.wire.abortConnection)
            self.wire.loseConnection()

    async def _once(self, method: str, url: str, headers: Mapping[str, str] | None) -> Reply:
        deferred = self._send(method, url, headers)
        late = f"{method} was not answered within {ANSWER_SECONDS:.0f} s"
        timer = self._clock.callLater(ANSWER_SECONDS, self._give_up, deferred, late)
        try:
            return await deferred
        finally:
            if timer.active():
                timer.cancel()

    def _give_up(self, deferred: Deferred[Reply], why: str) -> None:
        if not deferred.called:
            deferred.errback(RtspClientError(why))

    def _send(self, method: str, url: str, headers: Mapping[str, str] | None) -> Deferred[Reply]:
        if self._why:
            raise RtspClientError(self._why)
        self._sequence += 1
        number = self._sequence
        told = {"CSeq": str(number), "User-Agent": _AGENT}
        authorization = self._credentials.header(method, url)
        if authorization:
            told["Authorization"] = authorization
        if self.session:
            told["Session"] = self.session
        self.write(write_request(Request(method=method, url=url, headers={**told, **(headers or {})})))
        deferred: Deferred[Reply] = Deferred(partial(self._forget, number))
        self._waiting[number] = deferred
        if len(self._waiting) > 16:
            self.close("the server does not answer")
        return deferred

    def _forget(self, number: int, cancelled: Deferred[Any]) -> None:
        self._waiting.pop(number, None)

    def _answered(self, reply: Reply) -> None:
        sequence = reply.header("cseq")
        if not sequence.isascii() or not sequence.isdecimal() or len(sequence) > 10:
            raise RemoteProtocolError("RTSP answer", "CSeq is no number")
        deferred = self._waiting.pop(int(sequence), None)
        if deferred is not None and not deferred.called:
            deferred.callback(reply)

    def _asked(self, request: Request) -> None:
        """Servers may ask too; nothing of it is for us."""
        sequence = request.header("cseq")
        if sequence.isascii() and sequence.isdecimal() and len(sequence) <= 10:
            status = 200 if request.method in ("OPTIONS", "GET_PARAMETER", "SET_PARAMETER") else 501
            self.write(write_reply(Reply(status=status, headers={"CSeq": sequence})))
