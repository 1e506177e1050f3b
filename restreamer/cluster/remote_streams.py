"""What all sources together offer, and who of them feeds which stream here.

A name is fed by the first source, in file order, that lists it and does not hide it; not at all while
something local owns the name. Static streams are pulled at once, gray ones wait for a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field

from restreamer.cluster.selection import Choice, choose
from restreamer.live.demand import OnDemand
from restreamer.live.registry import StreamRegistry, StreamSettings
from restreamer.live.stream import Stream
from restreamer.m4f.records import StreamListed, StreamState
from restreamer.media.names import valid_stream_name
from restreamer.seams import Clock, Timer

#: Streams one source may list.
MAX_LISTED = 10_000
#: A stream is pulled from one source at most once in so many seconds, however often its listing changes.
HOLD_SECONDS = 2.0


class Pull(Protocol):
    """A running pull of one stream."""

    def stop(self) -> None:
        """End it; the stream is left to whoever feeds it next."""
        ...

    def retry(self) -> None:
        """Try again now if it waits to reconnect."""
        ...


@define(eq=False)
class SourceOffer:
    """One source and what it lists.

    @ivar address: for logs. @ivar only, @ivar hidden: its lists. @ivar settings: for its streams.
    @ivar clients_timeout: linger of its on-demand streams, seconds.
    @ivar pull: begins to pull (remote name, settings).
    @ivar away: its control link is lost: what it listed counts only where no other source lists it.
    """

    address: str
    only: tuple[str, ...] | None
    hidden: tuple[str, ...]
    settings: StreamSettings
    clients_timeout: float
    pull: Callable[[str, StreamSettings], Pull]
    listed: dict[str, StreamListed] = field(factory=dict)
    away: bool = False

    def choice(self, name: str) -> Choice:
        """What becomes of the source's stream C{name}."""
        entry = self.listed.get(name)
        if entry is None:
            return Choice.HIDDEN
        return choose(name, entry.state is StreamState.RUNNING, self.only, self.hidden)


@define(eq=False)
class _Fed:
    """A name that a source feeds: by a running pull, or on demand."""

    source: SourceOffer
    choice: Choice
    pull: Pull | None = None
    demand: OnDemand | None = None


class RemoteStreams:
    """Keeps every remote stream fed by the right source; listens to the registry for local owners."""

    def __init__(self, registry: StreamRegistry, node_id: bytes, clock: Clock) -> None:
        self._registry = registry
        self._node_id = node_id
        self._clock = clock
        self._sources: list[SourceOffer] = []
        self._fed: dict[str, _Fed] = {}
        self._begun: dict[str, tuple[SourceOffer, float]] = {}
        self._held: dict[str, Timer] = {}
        registry.listen(self)

    def add_source(self, source: SourceOffer, position: int | None = None) -> None:
        """Take a source, at the end of the order or at C{position}."""
        self._sources.insert(len(self._sources) if position is None else position, source)

    def reorder(self, order: list[SourceOffer]) -> None:
        """The sources in a new order of preference."""
        self._sources = [source for source in order if source in self._sources]
        for name in self._names():
            self._review(name)

    def remove_source(self, source: SourceOffer) -> None:
        """Forget a source and everything it feeds."""
        if source not in self._sources:
            return
        self._sources.remove(source)
        for name in list(source.listed):
            self._review(name)

    def listed(self, source: SourceOffer, entry: StreamListed) -> None:
        """The source lists a stream, or its entry changed. Impossible names and loops are passed over."""
        if not valid_stream_name(entry.name):
            return
        if self._node_id in entry.path:
            self.unlisted(source, entry.name)
            return
        if entry.name not in source.listed and len(source.listed) >= MAX_LISTED:
            return
        source.listed[entry.name] = entry
        self._review(entry.name)

    def set_away(self, source: SourceOffer, away: bool) -> None:
        """The source's control link was lost, or is back with a whole list."""
        if source.away != away:
            source.away = away
            for name in list(source.listed):
                self._review(name)

    def unlisted(self, source: SourceOffer, name: str) -> None:
        """The source lists the stream no more."""
        if source.listed.pop(name, None) is not None:
            self._review(name)

    def keep_only(self, source: SourceOffer, names: set[str]) -> None:
        """The source's list is complete: what is not in C{names} is gone; waiting pulls try again now."""
        for name in [name for name in source.listed if name not in names]:
            self.unlisted(source, name)
        for fed in self._fed.values():
            if fed.source is source and fed.pull is not None:
                fed.pull.retry()

    def close(self) -> None:
        """Stop every pull."""
        self._sources.clear()
        for timer in self._held.values():
            timer.cancel()
        self._held.clear()
        self._begun.clear()
        for name in list(self._fed):
            self._stop(name)
        self._registry.unlisten(self)

    def source_of(self, name: str) -> str | None:
        """Address of the source that feeds C{name} now, for the API."""
        fed = self._fed.get(name)
        return fed.source.address if fed is not None else None

    # The registry's events.

    def claim_changed(self, name: str, claimed: bool) -> None:
        """A local owner hides the remote stream, or gives it back."""
        self._review(name)

    def stream_changed(self, stream: Stream) -> None:
        """Nothing to do."""

    def stream_removed(self, stream: Stream) -> None:
        """Nothing to do."""

    def supply_changed(self, name: str) -> None:
        """Nothing to do."""

    # Inside.

    def _names(self) -> set[str]:
        names = set(self._fed)
        for source in self._sources:
            names.update(source.listed)
        return names

    def _review(self, name: str) -> None:
        """Let the right source feed C{name}, in the right way."""
        best: SourceOffer | None = None
        choice = Choice.HIDDEN
        if not self._registry.claimed(name):
            for source in sorted(self._sources, key=lambda source: source.away):
                offered = source.choice(name)
                if offered is not Choice.HIDDEN:
                    if best is None:
                        best = source
                        choice = offered
                    elif offered is Choice.STATIC:
                        choice = offered
        fed = self._fed.get(name)
        if fed is not None and fed.source is best and fed.choice is choice:
            self._renew(name, fed)
            return
        if fed is not None:
            self._stop(name)
        if best is not None:
            self._start(name, best, choice)

    def _start(self, name: str, source: SourceOffer, choice: Choice) -> None:
        if choice is Choice.STATIC and not self._may_begin(name, source):
            return
        fed = self._fed[name] = _Fed(source, choice)
        if choice is Choice.STATIC:
            fed.pull = source.pull(name, source.settings)
            return
        entry = source.listed[name]
        fed.demand = demand = OnDemand(
            clock=self._clock,
            start=lambda: self._begin(fed, name),
            stop=lambda: self._end(fed),
            busy=lambda: self._busy(name),
            linger=source.clients_timeout,
            title=entry.title,
            path=entry.path,
        )
        self._registry.offer(name, demand)
        if self._busy(name):
            # Its viewers came while another source, or a static pull, fed it.
            demand.want()

    def _may_begin(self, name: str, source: SourceOffer) -> bool:
        """Whether a static pull may begin now; otherwise it will when it may."""
        now = self._clock.seconds()
        before = self._begun.get(name)
        if before is not None and before[0] is source and now - before[1] < HOLD_SECONDS:
            return False
        self._begun[name] = (source, now)
        if name not in self._held:
            self._held[name] = self._clock.callLater(HOLD_SECONDS, self._release, name)
        return True

    def _release(self, name: str) -> None:
        """C{HOLD_SECONDS} after a pull began: another may, and does when one was held back."""
        del self._held[name]
        self._begun.pop(name, None)
        self._review(name)

    def _renew(self, name: str, fed: _Fed) -> None:
        """Carry a changed title or path on."""
        entry = fed.source.listed.get(name)
        demand = fed.demand
        if (
            entry is not None
            and demand is not None
            and (demand.title, demand.path) != (entry.title, entry.path)
        ):
            demand.title = entry.title
            demand.path = entry.path
            self._registry.offer(name, demand)

    def _stop(self, name: str) -> None:
        fed = self._fed.pop(name, None)
        if fed is None:
            return
        if fed.demand is not None:
            self._registry.withdraw(name, fed.demand)
            fed.demand.close()
        self._end(fed)

    def _begin(self, fed: _Fed, name: str) -> None:
        if fed.pull is None:
            fed.pull = fed.source.pull(name, fed.source.settings)

    def _end(self, fed: _Fed) -> None:
        pull, fed.pull = fed.pull, None
        if pull is not None:
            pull.stop()

    def _busy(self, name: str) -> bool:
        entry = self._registry.find(name)
        return entry is not None and entry.stream.taps > 0
