"""Pushing a stream into another node: the client of a push link offers it, the server takes and pulls it.

Seen from the media, a push link is a media link with its ends exchanged: L{PushClient} holds a
L{MediaServer}, L{PushServer} a L{Puller}. What is special is the beginning: the offer, and the name that the
server claims as for a publisher and gives back when the link ends.

Nothing is offered to a node that the stream passed on its way here, nor while it does not run: otherwise two
nodes that push one name into each other would keep its publisher out with his own echo.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from restreamer.cluster.connector import LONGEST_PAUSE, Node, Remote, link_service
from restreamer.cluster.origin import REFUSAL_CODES, MediaServer
from restreamer.cluster.puller import Puller
from restreamer.cluster.relay import Relays
from restreamer.cluster.seams import LinkWriter
from restreamer.cluster.traffic import LinkTraffic
from restreamer.errors import Refused, RemoteProtocolError
from restreamer.facts import PusherFacts, PushFacts
from restreamer.failures import SaidLately
from restreamer.live.registry import StreamRegistry
from restreamer.live.silence import SilenceWatch
from restreamer.live.stream import Stream
from restreamer.logs import Logger
from restreamer.m4f.records import (
    Goodbye,
    Heartbeat,
    Ping,
    Pull,
    PullRefused,
    PushOffer,
    Record,
)
from restreamer.media.names import valid_stream_name
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock, OpenRequest, Timer
from restreamer.viewers.gate import NODE_PROTO
from restreamer.viewers.points import Taken
from restreamer.viewers.waiting import WaitingRoom

_log = Logger()

#: Seconds from the link to the offer.
OFFER_SECONDS = 5.0
#: A stream that lost its input is still pushed for so long: its publisher may come back at once.
LINGER_SECONDS = 5.0
#: A push that was taken for so long was a good one: when it ends it is tried again at once.
STEADY_SECONDS = 10.0
#: Longest pause before a stream is offered again that was not taken, or not for long, seconds.
LONGEST_OFFER_PAUSE = 30.0
#: After so many seconds a node that takes pushes says again what became of one.
SAY_AGAIN_SECONDS = 600.0
#: Code of L{PullRefused}: the stream passed the other node already.
LOOP = 508
#: Why a stream is not offered that lost its input; nothing to tell anybody.
NOT_RUNNING = "the stream does not run"


class TakePoint(Protocol):
    """Grants the name of a pushed stream (L{restreamer.viewers.points.Publishing})."""

    def take(
        self, request: OpenRequest, kick: Callable[[str], None], yields: Callable[[], bool] = ...
    ) -> Awaitable[Taken]:
        """Pass the gate and claim the name.

        @param yields: whether the name is given to a publisher that comes now.
        @raise restreamer.errors.Refused: (from the awaitable) when it is not granted.
        """
        ...


class PushServer:
    """The end that takes the stream; a L{restreamer.cluster.seams.LinkHandler} of one link.

    @param said: what was said of pushes lately, over all links.
    @param takings: by name, who takes the streams that are pushed here now: itself, too, while it does.
    """

    def __init__(
        self,
        point: TakePoint,
        registry: StreamRegistry,
        node_id: bytes,
        utc: Callable[[], int],
        clock: Clock,
        said: SaidLately | None = None,
        takings: dict[str, PushServer] | None = None,
    ) -> None:
        self._takings = takings if takings is not None else {}
        self._taken_at = 0
        self._said = said if said is not None else SaidLately(SAY_AGAIN_SECONDS)
        self._since: float | None = None
        self._line = ("", "")
        self._point = point
        self._registry = registry
        self._node_id = node_id
        self._utc = utc
        self._clock = clock
        self._link: LinkWriter | None = None
        self._offer: PushOffer | None = None
        self._waiting: Timer | None = None
        self._taking: Deferred[None] | None = None
        self._taken: Taken | None = None
        self._puller: Puller | None = None
        self._watch: SilenceWatch | None = None

    def facts(self) -> PusherFacts | None:
        """Who pushes the stream that is taken here; None: nothing is."""
        if self._link is None or self._offer is None or self._taken is None:
            return None
        return PusherFacts(
            node_id=self._link.peer_id,
            address=self._link.peer_name,
            stream=self._offer.stream,
            since=self._taken_at,
            frames=self._puller.frames if self._puller is not None else 0,
            bytes=self._puller.bytes if self._puller is not None else 0,
        )

    def link_up(self, link: LinkWriter) -> None:
        """Wait for the offer."""
        self._link = link
        self._waiting = self._clock.callLater(OFFER_SECONDS, link.abort, "offered nothing in time")

    def record(self, record: Record) -> None:
        """Take the offer; everything after it is the stream's."""
        if isinstance(record, PushOffer):
            if self._offer is not None:
                raise RemoteProtocolError("push link", "a second offer on one link")
            if not valid_stream_name(record.name) or not valid_stream_name(record.stream):
                raise RemoteProtocolError("push link", "an offer of an impossible stream name")
            self._offer = record
            self._stop_waiting()
            self._taking = Deferred.fromCoroutine(self._take(record))
            _ = self._taking.addErrback(self._failed)
        elif self._puller is not None:
            try:
                self._puller.record(record)
            except RemoteProtocolError:
                # A loop among them: the name is free before the link is.
                self._release()
                raise
        elif not isinstance(record, (Ping, Heartbeat, Goodbye)):
            raise RemoteProtocolError("push link", f"unexpected {type(record).__name__}")

    def resumed(self) -> None:
        """Nothing waits here."""

    def beat(self) -> None:
        """Say that we live."""
        if self._link is not None:
            self._link.send(Ping(sent_at=self._utc()))

    def link_down(self, reason: str) -> None:
        """The input is gone; the name is given back."""
        self._link = None
        self._stop_waiting()
        if self._taking is not None:
            self._taking.cancel()
        if self._watch is not None:
            self._watch.stop()
        if self._puller is not None:
            self._puller.link_down(reason)
            self._puller.stop(f"the push ended: {reason}")
        if self._since is not None and self._clock.seconds() - self._since >= STEADY_SECONDS:
            self._said.forget(self._line)
        self._release()

    def _release(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None:
            if self._offer is not None and self._takings.get(self._offer.name) is self:
                del self._takings[self._offer.name]
            taken.release()

    async def _take(self, offer: PushOffer) -> None:
        assert self._link is not None
        peer = self._link.peer_id.hex()[:8]
        if self._link.peer_id == self._node_id:
            self._link.send(PullRefused(code=LOOP, text="that is this node itself"))
            self._link.close("that is this node itself")
            return
        request = OpenRequest(
            name=offer.name, action="publish", proto=NODE_PROTO, peer=peer, user_agent="restreamer"
        )
        try:
            taken = await self._point.take(request, self._kicked, self._yields)
        except Refused as refusal:
            if self._said.news((offer.name, peer, refusal.text), self._clock.seconds()):
                _log.warn(
                    "push of {name} from node {node} refused: {why}",
                    name=offer.name,
                    node=peer,
                    why=refusal.text,
                )
            if self._link is not None:
                self._link.send(PullRefused(code=REFUSAL_CODES[refusal.reason], text=refusal.text))
                self._link.close(refusal.text)
            return
        if self._link is None:
            taken.release()
            return
        self._taken = taken
        self._takings[offer.name] = self
        self._taken_at = self._utc()
        self._since = self._clock.seconds()
        self._line = offer.name, peer
        if self._said.news(self._line, self._since):
            _log.info("push of {name} from node {node} taken", name=offer.name, node=peer)
        self._puller = puller = Puller(
            offer.stream,
            lambda: self._registry.obtain(offer.name, taken.settings),
            self._node_id,
            self._utc,
            self._not_given,
            delivered=taken.fed,
            lost=self._lost,
            turns=self._registry.turns,
        )
        timeout = taken.settings.source_timeout
        self._watch = SilenceWatch(
            self._clock, lambda: puller.frames, timeout, lambda: self._kicked(f"no frame for {timeout:g} s")
        )
        self._watch.start()
        puller.activate()
        puller.link_up(self._link)

    def _yields(self) -> bool:
        """Nothing comes over this push now: a publisher of the name goes before it."""
        entry = self._registry.find(self._offer.name) if self._offer is not None else None
        return self._puller is None or not self._puller.frames or entry is None or not entry.stream.running

    def _not_given(self, code: int, text: str) -> None:
        self._release()
        if self._link is not None:
            self._link.close(f"it was offered and is not given: {text} ({code})")

    def _lost(self, reason: str, link: bool = True) -> None:
        """The pusher lost its input (it may come back on this link), or the link is going."""

    def _kicked(self, reason: str) -> None:
        if self._link is not None:
            self._link.close(reason)

    def _failed(self, failure: object) -> None:
        if self._link is not None:
            _log.error("push of {name} failed: {failure}", name=self._offer, failure=failure)
            self._link.abort("internal error")

    def _stop_waiting(self) -> None:
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()


class PushClient:
    """The end that has the stream; a L{restreamer.cluster.seams.ClientHandler}.

    @param why_not: why the stream is not offered to the node of an id now; empty when it is.
    @param traffic: of the links; what went wrong is kept there.
    @ivar taken: the other node takes the stream now.
    @ivar changed_at: when L{taken} changed last, seconds of the clock; None: never. @ivar takings: how often
        the stream was taken. @ivar peer_id: of the other node; empty before the first link.
    @ivar turned_away: the last link came to nothing, or to little, for a reason that was told.
    @ivar declined: the id of the node to which the stream was not offered; empty when it was.
    """

    def __init__(
        self,
        stream: str,
        name: str,
        address: str,
        media: Callable[[], MediaServer],
        clock: Clock,
        why_not: Callable[[bytes], str] = lambda node_id: "",
        traffic: LinkTraffic | None = None,
    ) -> None:
        self._traffic = traffic if traffic is not None else LinkTraffic()
        self.changed_at: float | None = None
        self.takings = 0
        self.peer_id = b""
        self.turned_away = False
        self.declined = b""
        self._clock = clock
        self._why_not = why_not
        self._since = 0.0
        self.fruitful = False
        self.taken = False
        self._stream = stream
        self._name = name
        self._address = address
        self._make_media = media
        self._media: MediaServer | None = None
        self._said = SaidLately(float("inf"), 16)
        self._told_of_it = False

    def link_up(self, link: LinkWriter) -> None:
        """Offer the stream, unless it came from there."""
        self.turned_away = True
        self.peer_id = link.peer_id
        why_not = self._why_not(link.peer_id)
        self.declined = link.peer_id if why_not else b""
        if why_not:
            self._traffic.trouble = why_not
            if why_not != NOT_RUNNING and self._said.news(why_not, self._clock.seconds()):
                _log.info("push of {stream} to {there} waits: {why}", why=why_not, **self._names())
            link.close(why_not)
            return
        self._media = self._make_media()
        self._media.link_up(link)
        link.send(PushOffer(name=self._name, stream=self._stream))

    def record(self, record: Record) -> None:
        """The answer to the offer, and what a puller says."""
        assert self._media is not None
        if isinstance(record, PullRefused):
            self._say(f"refused: {record.text} ({record.code})")
            return
        if isinstance(record, Pull):
            if record.name != self._stream:
                raise RemoteProtocolError("push link", "a pull of a stream that was not offered")
            if not self.taken:
                self.takings += 1
            self.taken = True
            self._traffic.trouble = ""
            self._since = self.changed_at = self._clock.seconds()
            self._told_of_it = False
            if self._said.news("", self._since):
                self._tell()
        self._media.record(record)

    def resumed(self) -> None:
        """The link drained."""
        if self._media is not None:
            self._media.resumed()

    def beat(self) -> None:
        """Say that we live."""
        if self._media is not None:
            self._media.beat()
        if self.taken and self.turned_away and self._clock.seconds() - self._since >= STEADY_SECONDS:
            self.fruitful = True
            self.turned_away = False
            self._said.clear()
            if not self._told_of_it:
                self._tell()

    def link_down(self, reason: str) -> None:
        """The push is over, until the next link."""
        media, self._media = self._media, None
        if media is not None:
            media.link_down(reason)
        if self.taken:
            self.taken = False
            self.changed_at = self._clock.seconds()
            self._say(f"ended: {reason}")

    def _say(self, what: str) -> None:
        """Log what became of the push, once for each reason."""
        self._traffic.trouble = what
        if self._said.news(what, self._clock.seconds()):
            _log.warn("push of {stream} to {there} {what}", what=what, **self._names())

    def _tell(self) -> None:
        self._told_of_it = True
        _log.info("{stream} is pushed to {there}", **self._names())

    def _names(self) -> dict[str, str]:
        return {"stream": self._stream, "there": f"{self._address}/{self._name}"}


class Push:
    """One stream pushed to one node: a link is kept while the stream runs.

    @param node: this node. @param remote: where to. @param name: what the stream is called there.
    @ivar key: what its maker knows it by: where it leads to.
    """

    def __init__(
        self,
        node: Node,
        remote: Remote,
        stream: str,
        name: str,
        waiting: WaitingRoom,
        relays: Relays,
        key: Hashable = None,
    ) -> None:
        self.key = key
        self._stream = stream
        self._name = name
        self._remote = remote
        self._utc = node.utc
        self._clock = node.clock
        self._node_id = node.node_id
        self._followed: Stream | None = None
        self.client = PushClient(
            stream,
            name,
            remote.address,
            lambda: MediaServer(waiting, relays, node.node_id, node.utc, proto=""),
            node.clock,
            self._why_not,
            remote.traffic,
        )
        self._service = link_service(node, remote, "push", self.client, self._longest_pause)
        self._wanted = False
        self._linger: Timer | None = None
        self._stopping: Deferred[Any] | None = None

    def facts(self) -> PushFacts:
        """What is known of the push."""
        client, traffic, place = self.client, self._remote.traffic, self._remote.place
        since = None
        if client.changed_at is not None:
            since = self._utc() - round((self._clock.seconds() - client.changed_at) * TICKS_PER_SECOND)
        proto = "m4fs" if place is not None and place.tls else "m4f"
        return PushFacts(
            stream=self._stream,
            url=f"{proto}://{self._remote.address}/{self._name}",
            connected=client.taken,
            wanted=self._wanted,
            node_id=client.peer_id,
            since=since,
            bytes_in=traffic.bytes_in,
            bytes_out=traffic.bytes_out,
            takings=client.takings,
            last_error=traffic.trouble,
        )

    def follow(self, stream: Stream) -> None:
        """The stream began or ceased to run, or comes another way now."""
        self._followed = stream
        if stream.running:
            self._cancel()
            if not self._wanted:
                self._wanted = True
                self._start()
            elif self.client.declined and not self._why_not(self.client.declined):
                self.client.declined = b""
                self._end_service()
        elif self._wanted and self._linger is None:
            self._linger = self._clock.callLater(LINGER_SECONDS, self.stop)

    def stop(self) -> Deferred[Any] | None:
        """End the push; gives what fires when its link is closed."""
        self._cancel()
        self._wanted = False
        self._end_service()
        return self._stopping

    def _end_service(self) -> None:
        """Close the link; it begins anew when it is wanted."""
        if self._service.running:
            self._stopping = self._service.stopService()
            if self._stopping is not None:
                _ = self._stopping.addErrback(lambda failure: None).addCallback(self._stopped)

    def _why_not(self, node_id: bytes) -> str:
        stream = self._followed
        if stream is None or stream.run is None or not stream.running:
            return NOT_RUNNING
        if node_id == self._node_id:
            return "that is this node itself"
        return "the stream comes from there" if node_id in stream.run.path else ""

    def _longest_pause(self) -> float:
        turned_away, self.client.turned_away = self.client.turned_away, False
        return LONGEST_OFFER_PAUSE if turned_away else LONGEST_PAUSE

    def _stopped(self, result: object) -> object:
        self._stopping = None
        if self._wanted:
            self._start()
        return result

    def _start(self) -> None:
        if self._stopping is None and not self._service.running:
            self._service.startService()

    def _cancel(self) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._linger = None


class AnyPush(Protocol):
    """One stream pushed to one place: a L{Push}, or one by another protocol.

    @ivar key: what its maker knows it by.
    """

    key: Hashable

    def follow(self, stream: Stream) -> None:
        """The stream began or ceased to run, or comes another way now."""
        ...

    def stop(self) -> Any:
        """End it; gives None or what fires when it is closed."""
        ...

    def facts(self) -> PushFacts:
        """What is known of it."""
        ...


#: Where the stream of a name is to be pushed: a push for each place, not begun.
PushesOf = Callable[[str], Sequence[AnyPush]]


class Pushes:
    """All pushes of this node: begun when a stream that is pushed runs; listens to the registry.

    @param pushes_of: the pushes of a stream; asked when it begins to run.
    """

    def __init__(self, registry: StreamRegistry, pushes_of: PushesOf) -> None:
        self._registry = registry
        self._pushes_of = pushes_of
        self._by_name: dict[str, list[AnyPush]] = {}
        registry.listen(self)

    def of(self, name: str) -> Sequence[AnyPush]:
        """The pushes of stream C{name} that were begun."""
        return self._by_name.get(name, [])

    def renew(self, name: str) -> None:
        """The configuration of C{name} changed: end what it is not pushed to any more, begin what is new."""
        held = {push.key: push for push in self._by_name.pop(name, []) if push.key is not None}
        entry = self._registry.find(name)
        runs = entry is not None and entry.stream.running
        now = [held.pop(push.key, push) for push in (self._pushes_of(name) if runs else [])]
        for push in held.values():
            push.stop()
        if now:
            self._by_name[name] = now
        if entry is not None:
            for push in now:
                self._follow(push, entry.stream)

    def facts(self, name: str | None = None) -> list[PushFacts]:
        """What is known of each push, by stream; or only those of stream C{name}."""
        names = sorted(self._by_name) if name is None else [name]
        return [push.facts() for each in names for push in self.of(each)]

    def names(self) -> tuple[str, ...]:
        """Streams that are pushed now."""
        return tuple(self._by_name)

    def close(self) -> list[Deferred[Any]]:
        """End all; gives what fires when each link is closed."""
        self._registry.unlisten(self)
        return [wait for name in list(self._by_name) for wait in self._drop(name)]

    # The registry's events.

    def stream_changed(self, stream: Stream) -> None:
        """It began or ceased to run."""
        name = stream.name
        if stream.running and name not in self._by_name:
            pushes = self._pushes_of(name)
            if pushes:
                self._by_name[name] = list(pushes)
        for push in self.of(name):
            self._follow(push, stream)

    def stream_removed(self, stream: Stream) -> None:
        """It is gone for good."""
        self._drop(stream.name)

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Nothing to do."""

    def supply_changed(self, name: str) -> None:
        """Nothing to do."""

    def _follow(self, push: AnyPush, stream: Stream) -> None:
        """One that fails does not keep the others from being begun."""
        try:
            push.follow(stream)
        except Exception:
            _log.failure("a push of {name} failed", name=stream.name)

    def _drop(self, name: str) -> list[Deferred[Any]]:
        waits = [push.stop() for push in self._by_name.pop(name, [])]
        return [wait for wait in waits if wait is not None]
