"""What all sources together offer, and who of them feeds which stream here.

Every source that lists a name and does not hide it is an input of the stream of that name
(L{restreamer.sources.input_switch.InputSwitch}); a source that shows its own backup ranks below every live
one, then one whose control link is lost, then by C{priority}, then by the order of the file. A name that
something local owns has no inputs here. Static streams are pulled at once, gray ones wait for a request.
The settings are those of the first source in file order that lists the name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from attrs import define, field

from restreamer.cluster.offers import BackupOffer, SourceOffer
from restreamer.cluster.progress_marks import ProgressMarks
from restreamer.cluster.selection import Choice
from restreamer.facts import InputFacts
from restreamer.live.demand import OnDemand
from restreamer.live.registry import StreamRegistry, StreamSettings
from restreamer.live.stream import Stream
from restreamer.m4f.records import Position, StreamListed, StreamState
from restreamer.media.names import valid_stream_name
from restreamer.seams import Clock, Timer
from restreamer.sources.input_facts import facts_of
from restreamer.sources.input_slot import InputPlan, InputReports, RunningInput
from restreamer.sources.input_switch import InputSwitch
from restreamer.sources.stream_progress import progress_of

#: A stream is pulled from one source at most once in so many seconds, however often its listing changes.
HOLD_SECONDS = 2.0
#: Seconds an input that runs at its source, or is started there on demand, gets to deliver.
RUNNING_PATIENCE = 2.0
ONDEMAND_PATIENCE = 10.0
#: First pause of an input that failed, seconds.
REST_SECONDS = 0.5
_BACKUP_RANK = (9,)
#: How long the backup covers a name that no source lists any more where there is no source_timeout, seconds.
UNLISTED_SECONDS = 60.0


@define(eq=False)
class _Fed:
    """A name that sources feed: all the time, or on demand."""

    switch: InputSwitch
    settings: StreamSettings
    choice: Choice
    linger: float
    demand: OnDemand | None = None
    backup: BackupOffer | None = None
    marks: ProgressMarks = field(factory=ProgressMarks)
    ending: Timer | None = None


class RemoteStreams:
    """Keeps every remote stream fed by the right source; listens to the registry for local owners.

    @param utc: UTC ticks now. @param jitter: random.uniform.
    """

    def __init__(
        self,
        registry: StreamRegistry,
        node_id: bytes,
        clock: Clock,
        utc: Callable[[], int],
        jitter: Callable[[float, float], float],
    ) -> None:
        self._registry = registry
        self._node_id = node_id
        self._clock = clock
        self._utc = utc
        self._jitter = jitter
        self._sources: list[SourceOffer] = []
        self._fed: dict[str, _Fed] = {}
        self._missing: dict[str, tuple[InputFacts, ...]] = {}
        #: Settings of a name that are known better than by its source's block; None: they are not.
        self.settings_of: Callable[[str], StreamSettings | None] = lambda name: None
        registry.listen(self)

    def add_source(self, source: SourceOffer, position: int | None = None) -> None:
        """Take a source, at the end of the order or at C{position}."""
        self._sources.insert(len(self._sources) if position is None else position, source)

    def reorder(self, order: list[SourceOffer]) -> None:
        """The sources in a new order of preference."""
        self._sources = [source for source in order if source in self._sources]
        for name in self._names():
            self._review(name)

    def resettle(self, source: SourceOffer) -> None:
        """The source has other lists or settings."""
        for name in list(source.listed):
            self._review(name)

    def remove_source(self, source: SourceOffer) -> None:
        """Forget a source and everything it feeds."""
        if source not in self._sources:
            return
        self._sources.remove(source)
        backup = source.backup
        if backup is not None:
            for name in [name for name, fed in self._fed.items() if fed.backup is backup]:
                self._use_backup(name, self._fed[name], None)
                if name not in source.listed:
                    self._review(name)
        for name in list(source.listed):
            self._review(name)

    def listed(self, source: SourceOffer, entry: StreamListed) -> None:
        """The source lists a stream, or its entry changed. Impossible names and loops are passed over."""
        name = source.local_name(entry.name)
        if name is None or not valid_stream_name(name):
            return
        if (source.node_id or self._node_id) in entry.path:
            self.unlisted(source, entry.name)
            return
        if not source.has_room(name):
            return
        source.listed[name] = entry
        self._review(name)

    def set_away(self, source: SourceOffer, away: bool) -> None:
        """The source's control link was lost, or is back with a whole list."""
        if source.away != away:
            source.away = away
            source.gone = source.gone and away
            for name in list(source.listed):
                self._review(name)

    def set_gone(self, source: SourceOffer) -> None:
        """The source has been away for long: what it lists is void, unless another source lists it, too."""
        if source.away and not source.gone:
            source.gone = True
            for name in list(source.listed):
                self._review(name)

    def unlisted(self, source: SourceOffer, remote_name: str) -> None:
        """The source lists the stream no more."""
        name = source.local_name(remote_name)
        if name is not None and source.listed.pop(name, None) is not None:
            self._review(name)

    def keep_only(self, source: SourceOffer, remote_names: set[str]) -> None:
        """The source's list is complete: what is not in it is gone; inputs that wait try again now."""
        gone = [entry.name for entry in source.listed.values() if entry.name not in remote_names]
        for name in gone:
            self.unlisted(source, name)
        for name in list(source.listed):
            fed = self._fed.get(name)
            if fed is not None:
                fed.switch.nudge(source)

    def positions(self, source: SourceOffer, positions: tuple[Position, ...]) -> None:
        """The source's heartbeat: how far its streams are. Leaves an input that lags behind it."""
        now = self._clock.seconds()
        for position in positions:
            name = source.local_name(position.name)
            fed = self._fed.get(name) if name is not None else None
            if name is None or fed is None or position.backup or not fed.switch.has(source):
                continue
            feeding = fed.switch.feeding
            if feeding is None or feeding is source or not isinstance(feeding, SourceOffer):
                fed.marks.forget(source)
                continue
            entry = self._registry.find(name)
            if entry is not None and fed.marks.behind(source, position, entry.stream, now):
                fed.marks.forget(source)
                fed.switch.suspect(f"{source.address} is ahead of it")

    def close(self) -> None:
        """Stop every input."""
        self._sources.clear()
        for name in list(self._fed):
            self._stop(name)
        self._registry.unlisten(self)

    # For the API.

    def source_of(self, name: str) -> str | None:
        """Address of the source that feeds C{name} now, or would."""
        source = self._source_of(name)
        return source.address if source is not None else None

    def name_at(self, source: SourceOffer, name: str) -> str | None:
        """What C{source} calls C{name}, if it feeds it now, or would; else None."""
        if self._source_of(name) is not source:
            return None
        entry = source.listed.get(name)
        if entry is not None:
            return entry.name
        return f"{source.prefix}/{name}" if source.prefix else name

    def _source_of(self, name: str) -> SourceOffer | None:
        fed = self._fed.get(name)
        if fed is None:
            return None
        if isinstance(fed.switch.feeding, SourceOffer):
            return fed.switch.feeding
        return next((slot.key for slot in fed.switch.slots if isinstance(slot.key, SourceOffer)), None)

    def inputs_of(self, name: str) -> tuple[InputFacts, ...]:
        """The inputs of C{name}, the preferred first; of a missing one as they were last."""
        fed = self._fed.get(name)
        return facts_of(fed.switch, self._utc()) if fed is not None else self._missing.get(name, ())

    def missing(self) -> tuple[str, ...]:
        """Names that are still held here, while all sources that had them are lost."""
        return tuple(self._missing)

    def switches_of(self, name: str) -> int:
        """How often C{name} went from one input to another."""
        fed = self._fed.get(name)
        return fed.switch.switches if fed is not None else 0

    def pulled_from(self, source: SourceOffer) -> int:
        """How many streams C{source} feeds now."""
        return sum(1 for fed in self._fed.values() if fed.switch.feeding is source)

    # The registry's events.

    def claim_changed(self, name: str, claimed: bool) -> None:
        """A local owner hides the remote stream, or gives it back."""
        self._missing.pop(name, None)
        self._review(name)

    def stream_changed(self, stream: Stream) -> None:
        """Nothing to do."""

    def stream_removed(self, stream: Stream) -> None:
        """It is not missed any more."""
        self._missing.pop(stream.name, None)

    def supply_changed(self, name: str) -> None:
        """Nothing to do."""

    # Inside.

    def settings_changed(self, name: str) -> None:
        """L{settings_of} says something else of C{name}."""
        if name in self._fed:
            self._review(name)

    def _names(self) -> set[str]:
        names = set(self._fed)
        for source in self._sources:
            names.update(source.listed)
        return names

    def _review(self, name: str) -> None:
        """Let the right sources feed C{name}, in the right way."""
        offers: list[tuple[int, SourceOffer]] = []
        choice = Choice.ON_DEMAND
        if not self._registry.claimed(name):
            for index, source in enumerate(self._sources):
                offered = source.choice(name)
                if offered is Choice.HIDDEN:
                    continue
                offers.append((index, source))
                if offered is Choice.STATIC:
                    choice = offered
        if all(source.gone for _, source in offers):
            self._end(name)
            return
        fed = self._fed.get(name)
        first = offers[0][1]
        if fed is not None and fed.ending is not None:
            fed.ending.cancel()
            fed.ending = None
        self._missing.pop(name, None)
        if fed is None:
            fed = self._fed[name] = self._make(name, first, choice)
        self._use_backup(name, fed, first.backup)
        if fed.settings != self._settings(name, first) or fed.linger != first.clients_timeout:
            self._settle(name, fed, first)
        kept: set[Hashable] = {source for _, source in offers}
        for index, source in offers:
            fed.switch.put(source, self._plan(name, source, index, fed))
        for slot in fed.switch.slots:
            if isinstance(slot.key, SourceOffer) and slot.key not in kept:
                fed.switch.drop(slot.key)
        self._live(name, fed, first, choice)

    def _settings(self, name: str, first: SourceOffer) -> StreamSettings:
        return self.settings_of(name) or first.settings

    def _make(self, name: str, first: SourceOffer, choice: Choice) -> _Fed:
        settings = self._settings(name, first)
        switch = InputSwitch(
            name,
            self._clock,
            self._jitter,
            lambda: progress_of(self._registry.find(name)),
            source_timeout=settings.source_timeout,
            changed=lambda: self._mark(name),
            gave_up=lambda reason: self._registry.refuse(name, reason),
            exhausted=lambda: self._give_up(name),
        )
        return _Fed(switch, settings, choice, first.clients_timeout)

    def _use_backup(self, name: str, fed: _Fed, backup: BackupOffer | None) -> None:
        """The backup is that of the first source, as long as there is that source."""
        if backup is fed.backup:
            return
        if fed.backup is not None:
            fed.switch.drop("backup")
        fed.backup = backup
        fed.switch.backup = backup.rule if backup is not None else None
        if backup is not None:
            fed.switch.put("backup", self._backup_plan(name, fed, backup))

    def _settle(self, name: str, fed: _Fed, first: SourceOffer) -> None:
        """Other settings: another source is the first now, or its block says something else."""
        settings = fed.settings = self._settings(name, first)
        fed.linger = first.clients_timeout
        fed.switch.source_timeout = settings.source_timeout
        if fed.demand is not None:
            fed.switch.limit = settings.retry_limit
        fed.switch.resettle(settings)
        if fed.demand is not None:
            fed.demand.linger = fed.linger
            fed.demand.protocols = settings.protocols
        if self._registry.find(name) is not None:
            self._registry.obtain(name, settings)

    def _live(self, name: str, fed: _Fed, first: SourceOffer, choice: Choice) -> None:
        """Static or on demand, as it is chosen now."""
        entry = first.listed[name]
        fed.choice = choice
        fed.switch.limit = None if choice is Choice.STATIC else fed.settings.retry_limit
        demand = fed.demand
        if choice is Choice.STATIC:
            if demand is not None:
                fed.demand = None
                self._registry.withdraw(name, demand)
                demand.abandon()
            fed.switch.start()
            return
        if demand is None:
            fed.demand = demand = OnDemand(
                clock=self._clock,
                start=fed.switch.start,
                stop=lambda: _ignore(fed.switch.stop()),
                busy=lambda: self._busy(name),
                linger=first.clients_timeout,
                title=entry.title,
                path=entry.path,
                protocols=fed.settings.protocols,
            )
            self._registry.offer(name, demand)
            if self._busy(name):
                # Its viewers came while it was static.
                demand.want()
            elif fed.switch.running and not demand.started:
                fed.switch.stop()
        elif (demand.title, demand.path) != (entry.title, entry.path):
            demand.title = entry.title
            demand.path = entry.path
            self._registry.offer(name, demand)
        self._mark(name)

    def _give_up(self, name: str) -> None:
        """It cannot be had on demand: not tried any more until somebody asks for it again."""
        fed = self._fed.get(name)
        if fed is not None and fed.demand is not None:
            fed.demand.close()

    def _mark(self, name: str) -> None:
        """A stream whose source shows its backup is listed as such here, too."""
        fed = self._fed.get(name)
        live = self._registry.find(name)
        if fed is None or live is None:
            return
        feeding = fed.switch.feeding
        if isinstance(feeding, SourceOffer) and name in feeding.listed:
            live.stream.show_backup(feeding.listed[name].backup)

    def _plan(self, name: str, source: SourceOffer, index: int, fed: _Fed) -> InputPlan:
        entry = source.listed[name]
        ondemand = entry.state is StreamState.ONDEMAND

        def begin(reports: InputReports, standby: bool) -> RunningInput:
            source.note_begun(name, self._clock.seconds())
            return source.pull(entry.name, name, fed.settings, reports, standby)

        return InputPlan(
            url=f"{source.scheme}://{source.address}/{entry.name}",
            rank=(int(entry.backup), int(source.away), source.priority, index),
            begin=begin,
            stands_by=True,
            may_stand_by=lambda: source.may_stand_by(name, self._clock.seconds()),
            persistent=True,
            patience=ONDEMAND_PATIENCE if ondemand else RUNNING_PATIENCE,
            rest=REST_SECONDS,
            not_before=lambda: source.begun_at(name) + HOLD_SECONDS,
        )

    def _backup_plan(self, name: str, fed: _Fed, backup: BackupOffer) -> InputPlan:
        return InputPlan(
            url=backup.url,
            rank=_BACKUP_RANK,
            begin=lambda reports, standby: backup.begin(name, fed.settings, reports),
            backup=True,
        )

    def _end(self, name: str) -> None:
        """No source lists the name any more; the backup covers what it showed, for C{source_timeout}."""
        fed = self._fed.get(name)
        if fed is None:
            return
        live = self._registry.find(name)
        covered = fed.backup is not None and live is not None and fed.switch.running
        if not covered or self._registry.claimed(name):
            self._stop(name)
            return
        if fed.ending is not None:
            return
        for slot in fed.switch.slots:
            if isinstance(slot.key, SourceOffer):
                fed.switch.drop(slot.key)
        timeout = fed.settings.source_timeout or UNLISTED_SECONDS
        fed.ending = self._clock.callLater(timeout, self._over, name)

    def _over(self, name: str) -> None:
        """Nobody lists the name again."""
        fed = self._fed.get(name)
        if fed is not None:
            fed.ending = None
        self._stop(name)
        self._registry.remove(name, "no source lists it any more")

    def _stop(self, name: str) -> None:
        fed = self._fed.pop(name, None)
        if fed is None:
            return
        lost = any(source.gone and name in source.listed for source in self._sources)
        if lost and self._registry.find(name) is not None and not self._registry.claimed(name):
            self._missing[name] = facts_of(fed.switch, self._utc())
        if fed.ending is not None:
            fed.ending.cancel()
        if fed.demand is not None:
            self._registry.withdraw(name, fed.demand)
            fed.demand.close()
        fed.switch.stop()

    def _busy(self, name: str) -> bool:
        entry = self._registry.find(name)
        return entry is not None and entry.stream.taps > 0


def _ignore(_: Any) -> None:
    """Drop what a stop gave: nobody waits for it."""
