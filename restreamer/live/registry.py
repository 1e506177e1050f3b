"""The registry: every stream of this node by name, who owns a name, and who is told of changes.

Two things are kept apart. A I{claim} says that a name belongs to something local (a publisher, a
configured stream): it hides a remote stream of the same name from that moment, and gives it back when it
ends. A I{stream} lives as long as something feeds it, plus C{source_timeout}: its window stays playable
and its viewers stay connected while a publisher or a source comes back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Protocol

from attrs import define, field, frozen

from restreamer.errors import Reason, Refused
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.stream import Faulted, Stream
from restreamer.live.turns import Turns
from restreamer.live.window import LiveWindow
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock, Timer

MAX_STREAMS = 20_000
#: Names that publishers may hold at once.
MAX_PUBLISHED = 2_000
#: A stream that nobody follows and whose input went before it closed a segment is kept this long, seconds.
EMPTY_SECONDS = 5.0


@frozen(kw_only=True)
class StreamSettings:
    """How a stream is kept, whoever feeds it.

    @ivar segment_duration: D in ticks. @ivar segment_count: segments listed.
    @ivar part_duration: about what a low-latency part lasts, ticks; 0: no parts are cut.
    @ivar source_timeout: seconds a stream lives on without input; None: for ever.
    @ivar protocols: words of the protocols it is played by (see L{restreamer.live.protocols}); None: all.
    @ivar url_prefix: stands before segment URIs in playlists. @ivar prepush: seconds a continuous viewer
        starts in the past; 0: at the newest keyframe; None: as the node does by itself, which is the same.
    @ivar retry_limit: on demand: failed attempts on end after which nobody tries to feed it until it is asked
        for again; None: no limit.
    """

    title: str = ""
    segment_duration: int = 5 * TICKS_PER_SECOND
    segment_count: int = 4
    part_duration: int = 0
    source_timeout: float | None = 60.0
    protocols: frozenset[str] | None = None
    url_prefix: str = ""
    prepush: float | None = None
    retry_limit: int | None = None


@frozen
class Claim:
    """The ownership of a name by something local. Give it back with L{StreamRegistry.release}."""

    name: str
    kind: str


class RegistryListener(Protocol):
    """Somebody who is told what happens to names. Calls must not raise."""

    def stream_changed(self, stream: Stream) -> None:
        """The stream began or ceased to be fed (see L{Stream.running})."""
        ...

    def stream_removed(self, stream: Stream) -> None:
        """The stream is gone for good."""
        ...

    def claim_changed(self, name: str, claimed: bool) -> None:
        """A local owner took or gave back the name."""
        ...

    def supply_changed(self, name: str) -> None:
        """An on-demand supply of the name came or went, or other protocols may play it now."""
        ...


class Supply(Protocol):
    """Something that can feed a name when asked to (an on-demand stream)."""

    @property
    def title(self) -> str:
        """The stream's title."""
        ...

    @property
    def path(self) -> tuple[bytes, ...]:
        """Ids of the nodes the stream passes, ingest first, without this node."""
        ...

    @property
    def protocols(self) -> frozenset[str] | None:
        """By which protocols the stream may be played; None: by all."""
        ...

    def want(self) -> None:
        """Somebody asks for the stream now: start it if it does not run, and keep it a while."""
        ...


@define(eq=False)
class LiveEntry:
    """A stream and its viewers."""

    stream: Stream
    playout: Playout
    settings: StreamSettings
    expiry: Timer | None = field(default=None)


class Arbiter(Protocol):
    """Says for several processes whose publishers may have which name."""

    def claim(self, name: str) -> Awaitable[None]:
        """Claim C{name}.

        @raise Refused: (from the awaitable) somebody else has it.
        """
        ...

    def release(self, name: str) -> None:
        """Give it back."""
        ...


class StreamRegistry:
    """All streams of a node.

    @ivar ledger: last numbers by name. @ivar arbiter: is asked for each name that a publisher takes, in a
        process of several; None: this one decides alone.
    """

    arbiter: Arbiter | None

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger,
        make_playout: Callable[[Stream], Playout],
        faulted: Faulted,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self.arbiter = None
        self.ledger = ledger
        self.turns = Turns(clock)
        self._clock = clock
        self._make_playout = make_playout
        self._faulted = faulted
        self._max_streams = max_streams
        self._entries: dict[str, LiveEntry] = {}
        self._claims: dict[str, Claim] = {}
        self._asked: set[str] = set()
        self._reserved: frozenset[str] = frozenset()
        self._supplies: dict[str, Supply] = {}
        self._refusals: list[Callable[[str, str], None]] = []
        self._published = 0
        self._listeners: list[RegistryListener] = []

    def __iter__(self) -> Iterator[LiveEntry]:
        return iter(tuple(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def listen(self, listener: RegistryListener) -> None:
        """Tell C{listener} of every change from now on."""
        self._listeners.append(listener)

    def unlisten(self, listener: RegistryListener) -> None:
        """Stop telling C{listener}."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def find(self, name: str) -> LiveEntry | None:
        """The stream of that name, fed or waiting for its input to return."""
        return self._entries.get(name)

    # Names.

    async def claim(self, name: str, kind: str) -> Claim:
        """Take a name for something local.

        Asynchronous because in a process of several workers the answer comes from the main one.
        @param kind: C{"publish"} or C{"config"}, for messages.
        @raise Refused: BUSY when the name has a local owner already, OVERLOADED at the limit of streams.
        """
        held = self._claims.get(name)
        if held is not None:
            what = "has a publisher already" if held.kind == "publish" else "is fed by the configuration"
            raise Refused(Reason.BUSY, f"stream {name} {what}")
        publishes = kind == "publish"
        if len(self._claims) >= self._max_streams or (publishes and self._published >= MAX_PUBLISHED):
            raise Refused(Reason.OVERLOADED, "too many streams on this node")
        if publishes and self.arbiter is not None:
            await self._arbitrate(self.arbiter, name)
        self._published += publishes
        claim = self._claims[name] = Claim(name, kind)
        self._tell(lambda listener: listener.claim_changed(name, True))
        self._review(name)
        return claim

    async def _arbitrate(self, arbiter: Arbiter, name: str) -> None:
        if name in self._asked:
            raise Refused(Reason.BUSY, f"stream {name} has a publisher already")
        self._asked.add(name)
        try:
            await arbiter.claim(name)
        finally:
            self._asked.discard(name)

    def release(self, claim: Claim) -> None:
        """Give a name back. Idempotent."""
        if self._claims.get(claim.name) is claim:
            del self._claims[claim.name]
            self._published -= claim.kind == "publish"
            if claim.kind == "publish" and self.arbiter is not None:
                self.arbiter.release(claim.name)
            self._review(claim.name)
            self._tell(lambda listener: listener.claim_changed(claim.name, self.claimed(claim.name)))

    def reserve(self, names: frozenset[str]) -> None:
        """Set the configured names that wait for a publisher: remote streams of these names stay hidden."""
        before, self._reserved = self._reserved, names
        for name in sorted(before ^ names):
            if name not in self._claims:
                self._tell(partial(_tell_claim, name=name, claimed=name in names))

    def published(self, name: str) -> bool:
        """Whether a publisher has the name."""
        held = self._claims.get(name)
        return held is not None and held.kind == "publish"

    def claimed(self, name: str) -> bool:
        """Whether the name belongs to something local."""
        return name in self._claims or name in self._reserved

    def owned(self, name: str) -> bool:
        """Whether something local feeds the name now, or is about to.

        A name that waits for a publisher is not owned.
        """
        return name in self._claims

    # On-demand supplies.

    def offer(self, name: str, supply: Supply) -> None:
        """C{supply} can feed C{name} from now on."""
        self._supplies[name] = supply
        self._tell(lambda listener: listener.supply_changed(name))

    def withdraw(self, name: str, supply: Supply) -> None:
        """C{supply} no longer feeds C{name}."""
        if self._supplies.get(name) is supply:
            del self._supplies[name]
            self._tell(lambda listener: listener.supply_changed(name))

    def supply(self, name: str) -> Supply | None:
        """The on-demand supply of the name, if it has one."""
        return self._supplies.get(name)

    def supplies(self) -> tuple[str, ...]:
        """Names that can be started on demand."""
        return tuple(self._supplies)

    def want(self, name: str) -> bool:
        """Somebody asks for C{name}: start or keep its supply.

        @return: whether the name can be expected to play (it has a stream, an owner or a supply).
        """
        supply = self._supplies.get(name)
        if supply is not None:
            supply.want()
            return True
        return self.expected(name)

    def expected(self, name: str) -> bool:
        """Whether the name can be expected to play, now or when it is wanted."""
        return (
            name in self._entries or name in self._supplies or name in self._claims or name in self._reserved
        )

    def protocols(self, name: str) -> frozenset[str] | None:
        """By which protocols the stream C{name} may be played, as far as is known; None: by all."""
        entry = self._entries.get(name)
        if entry is not None:
            return entry.settings.protocols
        supply = self._supplies.get(name)
        return supply.protocols if supply is not None else None

    # Refusals of whoever should feed a name.

    def watch_refusals(self, refused: Callable[[str, str], None]) -> None:
        """Call C{refused(name, why)} whenever L{refuse} is told of a name."""
        self._refusals.append(refused)

    def refuse(self, name: str, why: str) -> None:
        """Whoever should feed C{name} does not give it now (a source refused the pull, an input failed to
        start): requests that wait for it need not wait longer.

        @param why: one sentence, for logs. Harmless while the stream runs.
        """
        for refused in self._refusals:
            refused(name, why)

    # Streams.

    def obtain(self, name: str, settings: StreamSettings) -> Stream:
        """The stream C{name}, made when there is none.

        @raise Refused: OVERLOADED at the limit of streams.
        """
        entry = self._entries.get(name)
        if entry is None:
            if len(self._entries) >= self._max_streams:
                raise Refused(Reason.OVERLOADED, "too many streams on this node")
            stream = Stream(name, LiveWindow(settings.segment_count), settings.title, faulted=self._faulted)
            stream.watch_running(self._running_changed)
            entry = self._entries[name] = LiveEntry(stream, self._make_playout(stream), settings)
        else:
            relisted = settings.protocols != entry.settings.protocols
            entry.settings = settings
            entry.stream.window.segment_count = settings.segment_count
            if settings.title:
                entry.stream.title = settings.title
            if relisted:
                self._tell(lambda listener: listener.supply_changed(name))
        entry.stream.url_prefix = settings.url_prefix
        entry.playout.prepush = settings.prepush or 0.0
        self._review(name)
        return entry.stream

    def remove(self, name: str, reason: str) -> None:
        """End a stream for good, with its viewers."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        if entry.expiry is not None and entry.expiry.active():
            entry.expiry.cancel()
        entry.stream.finish(reason)
        entry.stream.watch_running(None)
        self._tell(lambda listener: listener.stream_removed(entry.stream))

    def close(self) -> None:
        """End every stream (the node stops)."""
        self.turns.close()
        for name in list(self._entries):
            self.remove(name, "the node stops")

    def _running_changed(self, stream: Stream) -> None:
        self._tell(lambda listener: listener.stream_changed(stream))
        self._review(stream.name)

    def _review(self, name: str) -> None:
        """Start or stop the countdown of a stream that nothing feeds."""
        entry = self._entries.get(name)
        if entry is None:
            return
        wanted = entry.stream.running or name in self._claims or entry.settings.source_timeout is None
        if entry.expiry is not None and entry.expiry.active():
            if not wanted:
                return
            entry.expiry.cancel()
        entry.expiry = None
        if not wanted and entry.settings.source_timeout is not None:
            patience = entry.settings.source_timeout
            if entry.stream.window.last is None and not entry.stream.taps:
                patience = min(patience, EMPTY_SECONDS)
            entry.expiry = self._clock.callLater(patience, self._expire, name, entry.stream)

    def _expire(self, name: str, stream: Stream) -> None:
        entry = self._entries.get(name)
        if entry is not None and entry.stream is stream and not stream.running:
            self.remove(name, "no input came back in time")

    def _tell(self, call: Callable[[RegistryListener], None]) -> None:
        for listener in tuple(self._listeners):
            try:
                call(listener)
            except Exception as error:
                self._faulted("a listener of the registry failed", error)


def _tell_claim(listener: RegistryListener, name: str, claimed: bool) -> None:
    listener.claim_changed(name, claimed)
