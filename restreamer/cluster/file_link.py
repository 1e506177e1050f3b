"""The asking side of file links: one link to a source while there is something to ask, and a bit longer."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from restreamer.cluster.connector import AuthorisingEndpoint, Node, Presence, Remote
from restreamer.cluster.seams import LinkWriter
from restreamer.errors import Reason, Refused, RemoteProtocolError, RestreamerError
from restreamer.m4f.records import (
    ArchiveHoldings,
    ArchiveHour,
    FileIndexed,
    FileRefused,
    FileSegment,
    Goodbye,
    Heartbeat,
    Ping,
    Record,
)
from restreamer.seams import Timer

#: Seconds an ask may take; with a link that is not up yet, too.
ASK_SECONDS = 10.0
#: Seconds without an ask after which the link is closed.
IDLE_SECONDS = 30.0
#: Seconds for which a source that could not be linked to is not tried again.
REST_SECONDS = 1.0
#: Asks of one source that wait.
MAX_ASKS = 200
#: Reasons by the codes of L{FileRefused}.
_REASONS = {
    400: Reason.BAD_NAME,
    403: Reason.DENIED,
    404: Reason.NOT_FOUND,
    415: Reason.UNSUPPORTED,
}


#: What answers an ask, beside a refusal.
Answer = FileIndexed | FileSegment | ArchiveHoldings | ArchiveHour


class SourceLostError(RestreamerError):
    """A source cannot be asked now, or did not answer."""


@define(eq=False)
class _Ask:
    """An ask that waits. @ivar sent: over the link that is up."""

    record: Record
    answer: Deferred[Record]
    timer: Timer
    sent: bool = False


class FileLink:
    """Asks one source; a L{restreamer.cluster.seams.ClientHandler}."""

    def __init__(self, node: Node, remote: Remote) -> None:
        self.fruitful = False
        self._node = node
        self._clock = node.clock
        self._endpoint = AuthorisingEndpoint(node, remote, "file", self)
        self._presences = Factory.forProtocol(Presence)
        self._presences.noisy = False
        self._link: LinkWriter | None = None
        self._connecting: Deferred[object] | None = None
        self._asks: dict[int, _Ask] = {}
        self._last = 0
        self._rest_until = 0.0
        self._idle: Timer | None = None
        self._over = False

    async def ask(self, make: Callable[[int], Record]) -> Answer:
        """Ask, and wait for the answer.

        @param make: makes the record, given the number of the ask.
        @raise Refused: the source says no. @raise SourceLostError: it cannot be asked, or does not answer.
        """
        if self._over or len(self._asks) >= MAX_ASKS:
            raise SourceLostError(
                "too many asks wait" if not self._over else "the source is not used any more"
            )
        if self._link is None and self._clock.seconds() < self._rest_until:
            raise SourceLostError("there was no link a moment ago")
        self._last = number = self._last % 0xFFFFFFFF + 1
        answer: Deferred[Record] = Deferred()
        timer = self._clock.callLater(ASK_SECONDS, self._late, number)
        self._asks[number] = _Ask(make(number), answer, timer)
        try:
            self._send()
            record = await answer
        finally:
            self._asks.pop(number, None)
            if timer.active():
                timer.cancel()
            self._watch_idle()
        if isinstance(record, FileRefused):
            if record.code not in _REASONS:
                raise SourceLostError(record.text)
            raise Refused(_REASONS[record.code], record.text)
        assert isinstance(record, Answer)
        return record

    def close(self) -> None:
        """Ask no more, for good."""
        self._over = True
        self._fail("the source is not used any more")
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            self._link.close("not used any more")

    # The link.

    def link_up(self, link: LinkWriter) -> None:
        """Send what waits."""
        if self._over:
            link.abort("not used any more")
            return
        self._link = link
        self._send()
        # Who asked may have given up meanwhile.
        self._watch_idle()

    def record(self, record: Record) -> None:
        """Give an answer to who waits for it; nobody may wait any more."""
        if isinstance(record, Answer | FileRefused):
            ask = self._asks.get(record.request)
            if ask is not None and not ask.answer.called:
                self.fruitful = True
                ask.answer.callback(record)
        elif not isinstance(record, (Ping, Heartbeat, Goodbye)):
            raise RemoteProtocolError("file link", f"unexpected {type(record).__name__}")

    def resumed(self) -> None:
        """Nothing waits here."""

    def beat(self) -> None:
        """Say that we live."""
        if self._link is not None:
            self._link.send(Ping(sent_at=self._node.utc()))

    def link_down(self, reason: str) -> None:
        """Everybody who waits asks elsewhere."""
        self._link = None
        self._fail(f"the link was lost: {reason}")

    # Inside.

    def _send(self) -> None:
        if self._link is None:
            if self._connecting is None and not self._over:
                connecting = self._connecting = self._endpoint.connect(self._presences)
                _ = connecting.addCallbacks(self._connected, self._unconnected)
            return
        for ask in list(self._asks.values()):
            if not ask.sent:
                ask.sent = True
                self._link.send(ask.record)

    def _connected(self, presence: object) -> None:
        self._connecting = None

    def _unconnected(self, failure: Failure) -> None:
        self._connecting = None
        self._rest_until = self._clock.seconds() + REST_SECONDS
        self._fail(failure.getErrorMessage() or "no link")

    def _fail(self, reason: str) -> None:
        for ask in list(self._asks.values()):
            if not ask.answer.called:
                ask.answer.errback(SourceLostError(reason))

    def _late(self, number: int) -> None:
        ask = self._asks.get(number)
        if ask is not None and not ask.answer.called:
            ask.answer.errback(SourceLostError(f"no answer within {ASK_SECONDS:.0f} s"))

    def _watch_idle(self) -> None:
        """Start to count the idle time, or count it anew."""
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self._idle = None
        if not self._over and self._link is not None and not self._asks:
            self._idle = self._clock.callLater(IDLE_SECONDS, self._idled)

    def _idled(self) -> None:
        self._idle = None
        if self._link is not None and not self._asks:
            self._link.close("nothing to ask")
