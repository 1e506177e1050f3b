"""The session of one connection: what each method does, in the state that allows it.

The connection itself, its bytes and deadlines, is the business of L{restreamer.rtsp.protocol}.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from restreamer.errors import RemoteProtocolError
from restreamer.rtsp.headers import parse_session, parse_transports
from restreamer.rtsp.message import Reply, Request
from restreamer.rtsp.play_methods import PlayMethods
from restreamer.rtsp.record_methods import RecordMethods
from restreamer.rtsp.server_parts import Answer, refusal
from restreamer.rtsp.states import NEEDS_SESSION, State, allowed
from restreamer.rtsp.target import parse_target


class ServerSession(PlayMethods, RecordMethods):
    """What one connection may do, and does."""

    async def handled(self, request: Request, sequence: str) -> Reply | None:
        """The answer; None: it will be sent with the first media."""
        method = request.method
        required = request.header("require")
        if required:
            # RFC 2326 section 12.32: there is no option that we know.
            raise Answer(Reply(status=551, headers={"Unsupported": required}))
        publishes = None if self._session_number() is None else self.record is not None
        right = allowed(self.state, publishes)
        handler = _HANDLERS.get(method)
        if handler is None:
            raise Answer(Reply(status=501, headers={"Public": ", ".join(_HANDLERS)}))
        told, _ = parse_session(request.header("session"))
        number = self._session_number()
        if told and told != number:
            raise refusal(454)
        if method not in right:
            if method == "TEARDOWN":
                raise refusal(454)
            raise Answer(Reply(status=455, headers={"Allow": ", ".join(right)}))
        if method in NEEDS_SESSION and not told:
            raise refusal(454)
        return await handler(self, request, sequence)

    async def _options(self, request: Request, sequence: str) -> Reply | None:
        return Reply(status=200, headers={"Public": ", ".join(_HANDLERS)})

    async def _parameter(self, request: Request, sequence: str) -> Reply | None:
        """Players keep their session alive with these."""
        return Reply(status=200, headers=self._session_header() if self._session_number() else {})

    async def _setup(self, request: Request, sequence: str) -> Reply | None:
        target = parse_target(request.url)
        try:
            choices = parse_transports(request.header("transport"))
        except RemoteProtocolError:
            raise refusal(461)
        if self.record is not None:
            return self._set_up_record(self.record, target, request.url, choices)
        return await self._set_up_play(target, choices)

    async def _teardown(self, request: Request, sequence: str) -> Reply | None:
        self.end("the peer ended its session")
        return Reply(status=200)

    def end(self, reason: str) -> None:
        """Give back whatever was set up."""
        play, self.play = self.play, None
        record, self.record = self.record, None
        self.state = State.INIT
        self._granted = None
        if play is not None:
            play.close()
            self._link.produce()
        if record is not None:
            receiver = record.source.receiver if record.source is not None else None
            record.close(reason)
            if receiver is not None:
                counters = receiver.counters
                self._parts.counters.lost_packets += receiver.lost
                self._parts.counters.dropped_packets += counters.bad + counters.foreign


_Handler = Callable[[ServerSession, Request, str], Coroutine[Any, Any, Reply | None]]
_HANDLERS: Final[dict[str, _Handler]] = {
    "OPTIONS": ServerSession._options,
    "DESCRIBE": ServerSession._describe,
    "ANNOUNCE": ServerSession._announce,
    "SETUP": ServerSession._setup,
    "PLAY": ServerSession._start_play,
    "PAUSE": ServerSession._pause,
    "RECORD": ServerSession._start_record,
    "TEARDOWN": ServerSession._teardown,
    "GET_PARAMETER": ServerSession._parameter,
    "SET_PARAMETER": ServerSession._parameter,
}
