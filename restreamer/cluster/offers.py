"""One source as the streams it feeds see it: its lists, what it lists, how a pull from it is begun."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen

from restreamer.cluster.selection import Choice, choose
from restreamer.live.registry import StreamSettings
from restreamer.logs import Logger
from restreamer.m4f.records import MAX_LISTED, StreamListed, StreamState
from restreamer.sources.input_slot import BackupRule, InputReports, RunningInput

_log = Logger()

#: Links that may stand by to one source at once; more streams than that connect when they need it.
MAX_STANDING = 64

#: C{pull(remote name, local name, settings, reports, standby)} begins to pull.
BeginPull = Callable[[str, str, StreamSettings, InputReports, bool], RunningInput]


@frozen(eq=False)
class BackupOffer:
    """What the streams of a source show when no source feeds them.

    @ivar url: for logs and the API. @ivar rule: when. @ivar begin: C{begin(name, settings, reports)}.
    """

    url: str
    rule: BackupRule
    begin: Callable[[str, StreamSettings, InputReports], RunningInput]


@define(eq=False)
class SourceOffer:
    """One source and what it lists.

    @ivar address: for logs. @ivar only, @ivar hidden: its lists, in local names.
    @ivar settings: for its streams. @ivar clients_timeout: linger of its on-demand streams, seconds.
    @ivar pull: begins to pull.
    @ivar scheme: C{m4f} or C{m4fs}. @ivar prefix: only streams C{prefix/…} are taken, without it.
    @ivar priority: lower is preferred. @ivar backup: of its streams.
    @ivar listed: its entries by local name.
    @ivar away: its control link is lost: what it listed counts only where no other source lists it.
    @ivar gone: it has been away for a while: a name that only such sources list is listed by none.
    @ivar standing: links that stand by now.
    @ivar fresh: names of a whole list that is coming, which replaces what is listed; None: none is.
    @ivar node_id: ours on links to it: a stream that passed it came from here; empty: that of this node.
    """

    address: str
    only: tuple[str, ...] | None
    hidden: tuple[str, ...]
    settings: StreamSettings
    clients_timeout: float
    pull: BeginPull
    scheme: str = "m4f"
    prefix: str = ""
    priority: int = 0
    backup: BackupOffer | None = None
    node_id: bytes = b""
    listed: dict[str, StreamListed] = field(factory=dict)
    away: bool = False
    gone: bool = False
    standing: int = 0
    fresh: set[str] | None = None
    _begun: dict[str, float] = field(factory=dict, init=False)
    _full: bool = field(default=False, init=False)

    def local_name(self, remote_name: str) -> str | None:
        """The name here of the source's stream; None when it is not taken."""
        if not self.prefix:
            return remote_name
        head = self.prefix + "/"
        return remote_name[len(head) :] if remote_name.startswith(head) else None

    def has_room(self, name: str) -> bool:
        """Whether its entry of local name C{name} can be kept; warns the first time one cannot."""
        kept = self.listed if self.fresh is None else self.fresh
        # Twice as many while the list that replaces them comes, and no more, also when it never ends.
        if name in self.listed or (len(kept) < MAX_LISTED and len(self.listed) < 2 * MAX_LISTED):
            return True
        if not self._full:
            self._full = True
            _log.warn(
                "source {source} lists more than {most} streams: the rest is passed over",
                source=self.address,
                most=MAX_LISTED,
            )
        return False

    def choice(self, name: str) -> Choice:
        """What becomes of the source's stream of local name C{name}."""
        entry = self.listed.get(name)
        if entry is None:
            return Choice.HIDDEN
        return choose(name, entry.state is StreamState.RUNNING, self.only, self.hidden)

    def note_begun(self, name: str, now: float) -> None:
        """A link for C{name} is opened now."""
        self._begun.pop(name, None)
        self._begun[name] = now
        if len(self._begun) > MAX_LISTED:
            del self._begun[next(iter(self._begun))]

    def begun_at(self, name: str) -> float:
        """When a link for C{name} was last opened; long ago when never."""
        return self._begun.get(name, -1e9)

    def may_stand_by(self, name: str, now: float) -> bool:
        """Whether one more link may be opened ahead of need, for C{name}."""
        return self.standing < MAX_STANDING and not self.away and now >= self.begun_at(name) + 2.0
