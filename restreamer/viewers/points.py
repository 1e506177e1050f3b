"""Where publishers and viewers of every protocol arrive: gate first, then the registry."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from restreamer.errors import Reason, Redirected, Refused
from restreamer.facts import InputFacts
from restreamer.live.ingest import Ingest
from restreamer.live.playout import Playout
from restreamer.live.registry import Claim, LiveEntry, StreamRegistry, StreamSettings
from restreamer.live.silence import SilenceWatch
from restreamer.live.stream import Stream
from restreamer.live.window import UNRELATED
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock, Gate, OpenRequest
from restreamer.viewers.gate import NODE_PROTO
from restreamer.viewers.waiting import Ready, WaitingRoom

Kick = Callable[[str], None]

#: A publisher that sent no frame for so long gives way to another one of the same name, seconds.
TAKE_OVER_SECONDS = 5.0
#: Each publish takes a segment number. A name whose encoder came back so often that its numbers are so many
#: ahead of time has to wait: L{UNRELATED} ahead, its stream would begin anew.
MAX_AHEAD = 300


def _nothing(*_: object) -> None:
    """Used when nobody wants to be told."""


class IngestMaker:
    """Makes the L{Ingest} of a run: knows the node's identity, clock and ledger.

    @param node_id: 16 bytes. @param utc: UTC ticks now. @param run_id: a fresh 64-bit number per call.
    @param forced: gives, for the name of a stream that a run begins for, who is told how many segments of the
        run were ended by force.
    """

    def __init__(
        self,
        registry: StreamRegistry,
        node_id: bytes,
        utc: Callable[[], int],
        run_id: Callable[[], int],
        forced: Callable[[str], Callable[[int], None]] = lambda name: _nothing,
    ) -> None:
        self._forced = forced
        self._registry = registry
        self._node_id = node_id
        self._utc = utc
        self._run_id = run_id

    def ahead(self, name: str, settings: StreamSettings) -> int:
        """Numbers that stream C{name} is ahead of the grid; 0 when it is not, or is of another grid."""
        last = self._registry.ledger.last(name)
        ahead = last[0] - self._utc() // settings.segment_duration if last is not None else 0
        return ahead if 0 < ahead < UNRELATED else 0

    def ingest(
        self,
        name: str,
        settings: StreamSettings,
        ended: Callable[[str], None],
        began: Callable[[], None] = _nothing,
        backup: bool = False,
    ) -> Ingest:
        """An ingest into stream C{name}, which is made when there is none.

        @param began: told whenever its frames have taken the stream.
        @param backup: it is what the stream shows when nothing else feeds it.
        """
        stream = self._registry.obtain(name, settings)
        return Ingest(
            stream=stream,
            run_id=self._run_id(),
            node_id=self._node_id,
            segment_duration=settings.segment_duration,
            part_duration=settings.part_duration,
            now=self._utc,
            ledger=self._registry.ledger,
            ended=ended,
            began=began,
            backup=backup,
            forced=self._forced(name),
        )


@frozen
class Taken:
    """A name that was granted. @ivar settings: of its stream. @ivar fed: to be called when frames have taken
    the stream. @ivar release: gives the name back.
    """

    settings: StreamSettings
    fed: Callable[[], None]
    release: Callable[[], None]


class Publishing:
    """A L{restreamer.seams.PublishPoint}.

    @param settings_of: the settings of a name somebody wants to publish; None when nothing takes it.
    @ivar fed: told the name whenever a publisher's frames have taken its stream.
    """

    fed: Callable[[str], None]

    def __init__(
        self,
        gate: Gate,
        registry: StreamRegistry,
        ingests: IngestMaker,
        settings_of: Callable[[str], StreamSettings | None],
        clock: Clock,
    ) -> None:
        self.fed = _nothing
        self._clock = clock
        self._gate = gate
        self._registry = registry
        self._ingests = ingests
        self._settings_of = settings_of
        self._kicks: dict[str, Kick] = {}
        self._watches: dict[str, SilenceWatch] = {}
        self._ingesting: dict[str, Ingest] = {}
        self._holders: dict[str, Claim] = {}
        self._yields: dict[str, Callable[[], bool]] = {}
        self._sessions: dict[int, Callable[[], None]] = {}

    async def publish(self, request: OpenRequest, kick: Kick) -> Ingest:
        """Grant a publisher its sink.

        @raise Refused: DENIED by the gate, NOT_FOUND when no stream or template takes the name, BUSY: it has
            a publisher, or had too many in a short time.
        """
        await self._gate.open(request)
        try:
            return await self._granted(request, kick)
        except BaseException:
            viewing = request.account.viewing if request.account is not None else None
            if viewing is not None:
                # Whoever was let in and gets no name is no publisher.
                viewing.give_back()
                viewing.attach(lambda: 0, _nothing)()
            raise

    async def _granted(self, request: OpenRequest, kick: Kick) -> Ingest:
        settings = self._settings_of(request.name)
        if settings is None:
            raise Refused(Reason.NOT_FOUND, f"publishing to {request.name} is not configured here")
        if self._ingests.ahead(request.name, settings) > MAX_AHEAD:
            raise Refused(
                Reason.BUSY, f"{request.name} was published too often in a short time: wait a few seconds"
            )
        claim = await self._claim(request.name, True)
        try:
            ingest = self._ingests.ingest(
                request.name, settings, lambda reason: self._ended(claim), lambda: self.fed(request.name)
            )
        except BaseException:
            self._ended(claim)
            raise
        self._kicks[request.name] = kick
        self._ingesting[request.name] = ingest
        timeout = settings.source_timeout
        watch = self._watches[request.name] = SilenceWatch(
            self._clock,
            lambda: ingest.stream.traffic.frames_in,
            timeout,
            lambda: kick(f"no frame for {timeout:g} s"),
        )
        watch.start()
        viewing = request.account.viewing if request.account is not None else None
        if viewing is not None:
            detach = viewing.attach(lambda: ingest.counts.bytes, kick)
            if self._holders.get(request.name) is claim:
                self._sessions[id(claim)] = detach
            else:
                detach()
        return ingest

    async def take(
        self, request: OpenRequest, kick: Kick, yields: Callable[[], bool] = lambda: False
    ) -> Taken:
        """Grant a name to somebody who brings whole segments: another node that pushes.

        @param yields: whether it gives way to a publisher that comes now.
        @raise Refused: as L{publish}.
        """
        await self._gate.open(request)
        return await self.hold(request.name, kick, yields, request.proto != NODE_PROTO)

    async def hold(
        self, name: str, kick: Kick, yields: Callable[[], bool] = lambda: False, publisher: bool = True
    ) -> Taken:
        """Grant a name to somebody whom the gate has let in.

        @param yields: whether it gives way to a publisher that comes now.
        @param publisher: it is one, and not a node that pushes.
        @raise Refused: as L{publish}.
        """
        settings = self._settings_of(name)
        if settings is None:
            raise Refused(Reason.NOT_FOUND, f"publishing to {name} is not configured here")
        if publisher and self._ingests.ahead(name, settings) > MAX_AHEAD:
            raise Refused(Reason.BUSY, f"{name} was published too often in a short time: wait a few seconds")
        claim = await self._claim(name, publisher)
        self._kicks[name] = kick
        self._yields[name] = yields
        return Taken(settings, lambda: self.fed(name), lambda: self._ended(claim))

    async def _claim(self, name: str, publisher: bool) -> Claim:
        """Take the name; from a publisher that has been silent for a while, too: it may be dead. And from
        a push that brings nothing now: it may be waiting for this very publisher.
        """
        yields = self._yields.get(name)
        if yields is not None and publisher and yields():
            self.kick(name, "a publisher takes over")
            self._ended(self._holders[name])
        watch = self._watches.get(name)
        ingest = self._ingesting.get(name)
        if watch is not None and ingest is not None and watch.silent_for() >= TAKE_OVER_SECONDS:
            self.kick(name, "another publisher takes over")
            ingest.end("another publisher takes over")
        claim = self._holders[name] = await self._registry.claim(name, "publish")
        return claim

    def publishers(self) -> tuple[str, ...]:
        """Names that have a publisher now."""
        return tuple(self._kicks)

    def facts(self, name: str) -> InputFacts | None:
        """The publisher of C{name} as an input; None without one, and for another node's push."""
        ingest = self._ingesting.get(name)
        if ingest is None:
            return None
        run = ingest.stream.run if ingest.feeding else None
        return InputFacts(
            url="publish://",
            proto="publish",
            state="feeding" if run is not None else "trying",
            priority=1,
            since=run.run_start if run is not None else None,
            seconds=max(0, ingest.now() - run.run_start) / TICKS_PER_SECOND if run is not None else 0.0,
            frames=ingest.counts.frames,
            bytes=ingest.counts.bytes,
            counters=ingest.counted_so_far,
        )

    def kick(self, name: str, reason: str) -> None:
        """Send the publisher of C{name} away."""
        kick = self._kicks.get(name)
        if kick is not None:
            kick(reason)

    def _ended(self, claim: Claim) -> None:
        detach = self._sessions.pop(id(claim), None)
        if detach is not None:
            detach()
        if self._holders.get(claim.name) is not claim:
            # It gave way before.
            return
        del self._holders[claim.name]
        self._yields.pop(claim.name, None)
        self._kicks.pop(claim.name, None)
        self._ingesting.pop(claim.name, None)
        watch = self._watches.pop(claim.name, None)
        if watch is not None:
            watch.stop()
        self._registry.release(claim)


def _has_keyframe(stream: Stream) -> bool:
    return stream.running and not stream.catching_up and bool(stream.recent()[1])


def _has_segment(stream: Stream) -> bool:
    return bool(stream.window.entries) and not stream.catching_up


class Absence:
    """What becomes of requests for streams that are not here: they are refused."""

    async def unknown(self, request: OpenRequest) -> None:
        """Nobody here knows the name. Returns once it is known and the gate was passed.

        @raise Refused: it cannot be had.
        """
        raise Refused(Reason.NOT_FOUND, "no such stream")


class Playing:
    """A L{restreamer.seams.PlayPoint}, and the way to a stream's window for HLS."""

    def __init__(
        self,
        gate: Gate,
        waiting: WaitingRoom,
        crowded: Callable[[], bool] = lambda: False,
        elsewhere: Callable[[OpenRequest], Redirected | None] = lambda request: None,
    ) -> None:
        """@param crowded: whether the node is too short of memory for another viewer.
        @param elsewhere: where a viewer is to go instead, if the stream is not fed here and is there.
        """
        #: What to do where nobody here knows the stream.
        self.absence = Absence()
        self._gate = gate
        self._waiting = waiting
        self._crowded = crowded
        self._elsewhere = elsewhere

    async def play(self, request: OpenRequest) -> Playout:
        """The stream's playout, as soon as it runs, has a keyframe and is up to date.

        @raise Refused: as L{WaitingRoom.entry}, and DENIED by the gate.
        """
        if self._crowded():
            raise Refused(Reason.OVERLOADED, "this node is short of memory: try another one, or later")
        await self._pass(request)
        return (await self._entry(request, _has_keyframe)).playout

    async def watch(self, request: OpenRequest) -> Stream:
        """The stream, as soon as its window lists a segment.

        @raise Refused: as L{play}.
        """
        await self._pass(request)
        return (await self._entry(request, _has_segment)).stream

    async def _entry(self, request: OpenRequest, ready: Ready) -> LiveEntry:
        """The stream once it is C{ready}; who cannot have it leaves no session."""
        try:
            return await self._waiting.entry(request.name, ready, request.proto)
        except Refused:
            viewing = request.account.viewing if request.account is not None else None
            if viewing is not None and not request.part:
                viewing.give_back()
            raise

    async def _pass(self, request: OpenRequest) -> None:
        """Pass the gate; who is wanted elsewhere goes no further.

        A name that nobody has is refused before: made-up names cost neither a session nor a question.
        """
        elsewhere = self._elsewhere(request)
        if elsewhere is None and not self._waiting.knows(request.name):
            await self.absence.unknown(request)
            return
        await self._gate.open(request)
        if elsewhere is not None:
            raise elsewhere
