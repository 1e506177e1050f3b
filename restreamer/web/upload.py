"""The body of one request on its way to the sink that a route opened for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from restreamer.http1.body import BodyReader
from restreamer.http1.reply import FullReply, UploadSink

#: A client is not left unread for longer than this at a time, in seconds.
MAX_PAUSE: Final = 5.0


class Upload:
    """The L{restreamer.http1.reply.Uploader} of one request.

    @ivar over: nothing more of the body is wanted: it has ended, was answered or given up.
    @ivar answer_given: the answer, once there is one.
    """

    def __init__(
        self,
        length: int | None,
        clock: IReactorTime,
        answer: Callable[[FullReply], None],
        pause: Callable[[bool], None],
    ) -> None:
        """@param length: bytes of the body, None when it comes in chunks.
        @param answer: carries out the answer. @param pause: stops or resumes the reading of the client.
        """
        self._body = BodyReader(length)
        self._clock = clock
        self._answer = answer
        self._pause = pause
        self._turn: IDelayedCall | None = None
        self._sink: UploadSink | None = None
        self._gone = False
        self.over = False
        self.answer_given: FullReply | None = None

    @property
    def complete(self) -> bool:
        """Whether all of the body came."""
        return self._body.complete

    def open(self, sink: UploadSink) -> None:
        """The route granted it; if the client has gone meanwhile, the sink hears so."""
        if self._gone:
            sink.ended(False)
        else:
            self._sink = sink

    def receive(self, data: bytes) -> None:
        """Pass on what the client sent.

        @raise RemoteProtocolError: the body is malformed; L{give_up} is to be called.
        """
        for piece in self._body.receive(data):
            sink = self._sink
            if sink is None or self.over:
                return
            wait = sink.data(piece)
            if wait > 0 and not self.over:
                self._wait(min(wait, MAX_PAUSE))
        if self._body.complete and not self.over:
            self._stop_waiting()
            self._end(True)

    def answer(self, reply: FullReply) -> None:
        """Uploader: the first answer counts."""
        if self.answer_given is None and not self._gone:
            self.answer_given = reply
            self.over = True
            self._sink = None
            self._stop_waiting()
            self._answer(reply)

    def give_up(self) -> None:
        """The client is gone, or is sent away: the sink hears so, once."""
        self._stop_waiting()
        self._gone = True
        if not self.over:
            self._end(False)

    def take_rest(self) -> bytes:
        """What came behind the body."""
        return self._body.take_rest()

    def _end(self, complete: bool) -> None:
        self.over = True
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.ended(complete)

    def _wait(self, seconds: float) -> None:
        if self._turn is None:
            self._turn = self._clock.callLater(seconds, self._go_on)
            self._pause(True)

    def _go_on(self) -> None:
        self._turn = None
        self._pause(False)

    def _stop_waiting(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
            self._pause(False)
