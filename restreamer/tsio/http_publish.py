"""HTTP MPEG-TS in: the body of C{POST} or C{PUT /NAME/mpegts} is published as it comes."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from attrs import evolve

from restreamer.errors import Reason, Refused, RemoteProtocolError
from restreamer.failures import FailureWindow
from restreamer.http1.play_request import play_request, query_value
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route, Uploader, UploadReply, UploadSink
from restreamer.live.silence import SilenceWatch
from restreamer.logs import Logger
from restreamer.media.names import check_stream_name
from restreamer.mpegts.http_play import SUFFIX
from restreamer.mpegts.ts_input import TsInput
from restreamer.seams import Clock, OpenRequest, PublishPoint

_log = Logger()

#: An address that was refused so often within so many seconds has to wait.
MAX_FAILURES: Final = 10
FAILURE_SECONDS: Final = 60.0

#: What sends bytes for so long of which nothing can be played is sent away, seconds.
FIRST_FRAME_SECONDS: Final = 10.0

_HEADERS: Final = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"


def _text(status: int, text: str) -> FullReply:
    return FullReply(status=status, headers=_HEADERS, body=text.encode("utf-8", "replace") + b"\n")


def publish_route(publish_point: PublishPoint, clock: Clock) -> Route:
    """The route of publishers at C{/NAME/mpegts}; to be asked before the one of viewers.

    The publish password is C{?password=}. A publish that is refused is answered before its body is asked for.
    """
    failed = FailureWindow(MAX_FAILURES, FAILURE_SECONDS)

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        name = request.path[1 : -len(SUFFIX)]
        if request.method not in ("POST", "PUT") or not request.path.endswith(SUFFIX) or not name:
            return None
        try:
            asked = play_request(check_stream_name(name), "tshttp", request)
            if failed.blocked(request.peer, clock.seconds()):
                raise Refused(Reason.DENIED, "too many refused publishes from this address: try again later")
        except Refused as refused:
            return refusal_reply(refused)
        wanted = evolve(asked, action="publish", password=query_value(request.query, "password"))

        async def start(uploader: Uploader) -> UploadSink:
            publishing = _Publishing(wanted, uploader, clock)
            try:
                await publishing.begin(publish_point)
            except Refused as refused:
                if refused.reason is Reason.DENIED:
                    failed.failed(request.peer, clock.seconds())
                raise
            return publishing

        return UploadReply(start=start)

    return route


class _Publishing:
    """One publish, as the front sees it: an L{UploadSink}."""

    def __init__(self, request: OpenRequest, uploader: Uploader, clock: Clock) -> None:
        self._request = request
        self._uploader = uploader
        self._input: TsInput | None = None
        self._clock = clock
        self._kicked = ""
        self._watch = SilenceWatch(clock, self._frames, FIRST_FRAME_SECONDS, self._silent)

    async def begin(self, publish_point: PublishPoint) -> None:
        sink = await publish_point.publish(self._request, self._kick)
        self._input = TsInput(sink)
        if self._kicked:
            self._input.end(self._kicked)
        else:
            self._watch.start()
            self._say("publishing began")

    def data(self, data: bytes) -> float:
        """Take bytes of the transport stream."""
        taking = self._input
        if taking is None or taking.ended:
            return 0.0
        try:
            return taking.receive(data, self._clock.seconds())
        except RemoteProtocolError as error:
            self._finish(f"protocol error: {error}", _text(400, str(error)))
        except Exception:
            _log.failure("publishing {name} failed", name=self._request.name)
            self._finish("internal error", _text(500, "internal error"))
        return 0.0

    def ended(self, complete: bool) -> None:
        """The body is over."""
        taking = self._input
        if taking is None or taking.ended:
            return
        reason = "the publisher ended" if complete else "the publisher is gone"
        self._finish(reason, _text(200, "published"), whole=True)

    def _frames(self) -> int:
        return self._input.frames if self._input is not None else 0

    def _silent(self) -> None:
        """Nothing that can be played has come; later on it is the stream's C{source_timeout} that counts."""
        why = f"no frame in {FIRST_FRAME_SECONDS:g} s"
        if self._input is not None and not self._input.ended and not self._input.frames:
            self._finish(why, _text(408, why))

    def _kick(self, reason: str) -> None:
        """The core wants the publisher gone."""
        self._kicked = reason
        if self._input is not None and not self._input.ended:
            self._finish(reason, _text(503, reason))
        elif self._input is None:
            self._uploader.answer(_text(503, reason))

    def _finish(self, reason: str, reply: FullReply, whole: bool = False) -> None:
        taking = self._input
        assert taking is not None
        self._watch.stop()
        try:
            taking.end(reason, whole)
        except Exception:
            _log.failure("publishing {name} failed to end", name=self._request.name)
        counters = taking.counters
        self._say(
            f"publishing ended: {reason} ({taking.bytes} bytes, {counters.continuity} continuity errors)"
        )
        self._uploader.answer(reply)

    def _say(self, what: str) -> None:
        request = self._request
        _log.info("HTTP {peer}: {name}: {what}", peer=request.peer, name=request.name, what=what)
