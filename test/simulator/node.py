"""A node of the simulation: the rig's, watched, with publishers and viewers of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.live.ingest import Ingest
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.seams import OpenRequest, Timer
from restreamer.testing.cluster_rig import KEY, RigNode
from test.simulator.content import Content, Leg
from test.simulator.plan import NodePlan
from test.simulator.watch import StreamWatch, watch_stream

if TYPE_CHECKING:
    from test.simulator.world import World

#: How often a node keeps its state, seconds.
_SAVE_EVERY = 1.0
#: How long a viewer that was refused waits before it asks again, seconds.
_ASK_AGAIN = 2.0


class SimNode(RigNode):
    """One life of a node.

    @ivar numbers: newest segment number by name. @ivar watches: by name.
    @ivar saved: what the state file holds.
    """

    def __init__(self, world: World, plan: NodePlan, rows: object, node_id: bytes, wall_error: float) -> None:
        self.world = world
        self.plan = plan
        self.index = plan.index
        self.numbers: dict[str, int] = {}
        self.watches: dict[str, StreamWatch] = {}
        self.publishers: dict[str, SimPublisher] = {}
        self.saved: object = rows
        ledger = Ledger()
        ledger.restore(rows)
        super().__init__(world.rig, plan.name, ledger, KEY, node_id, wall_error)
        world.rig.nodes[plan.name] = self
        for name, (number, _) in ledger.rows().items():
            self.numbers[name] = number
        for source in plan.sources:
            self.source(source.to, source.only, source.hidden, source.clients_timeout)
        self._save()

    @override
    def _playout(self, stream: Stream) -> Playout:
        watch = self.watches[stream.name] = StreamWatch(self, stream)
        watch_stream(stream, watch)
        return super()._playout(stream)

    def faulted(self, what: str, error: BaseException) -> None:
        """Something of the program failed."""
        self._faulted(what, error)

    @override
    def _faulted(self, what: str, error: BaseException) -> None:
        super()._faulted(what, error)
        self.world.journal.violated("no faults", f"{self.name}: {what}: {error!r}")

    def _save(self) -> None:
        self._saving = self.clock.callLater(_SAVE_EVERY, self._save)
        ledger = self.registry.ledger
        if ledger.changed:
            ledger.changed = False
            self.saved = ledger.rows()

    def begin_publish(self, content: Content, batch: float) -> None:
        """A publisher of C{content} comes; if the node refuses it, it goes again."""
        publisher = SimPublisher(self, content, batch)
        asked = Deferred.fromCoroutine(
            self.publishing.publish(
                OpenRequest(name=content.name, action="publish", proto="rtmp", peer="publisher"),
                publisher.kicked,
            )
        )
        _ = asked.addCallbacks(publisher.begin, publisher.refused)

    @override
    def stop(self) -> None:
        """The program ends in order."""
        for publisher in list(self.publishers.values()):
            publisher.leave("the node stops")
        self.saved = self.registry.ledger.rows()
        if self._saving.active():
            self._saving.cancel()
        super().stop()


@define(eq=False)
class SimPublisher:
    """One connection of a publisher: pushes what is due, in batches."""

    node: SimNode
    content: Content
    batch: float
    leg: Leg = field(init=False)
    _ingest: Ingest | None = None
    _timer: Timer | None = None

    def begin(self, ingest: Ingest) -> None:
        """It was let in. An encoder does not wait: who comes later begins at the next keyframe."""
        node, content = self.node, self.content
        node.publishers[content.name] = self
        self._ingest = ingest
        ingest.configure(content.tracks)
        first = content.next_key(node.world.now)
        self.leg = Leg(node.name, first, first, lambda: node.world.up.get(node.name) is node)
        content.legs.append(self.leg)
        self._push()

    def refused(self, failure: Failure) -> None:
        """The node does not take it."""
        self.node.world.journal.note(f"{self.node.name} {self.content.name}: {failure.getErrorMessage()}")

    def kicked(self, reason: str) -> None:
        """The node wants it gone."""
        self.node.world.journal.note(f"{self.node.name} {self.content.name}: publisher kicked: {reason}")
        self.leave(reason)

    def leave(self, reason: str = "left") -> None:
        """Stop and disconnect."""
        ingest, self._ingest = self._ingest, None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if ingest is not None:
            self.node.publishers.pop(self.content.name, None)
            watch = self.node.watches.get(self.content.name)
            if watch is not None:
                watch.cut_short = True
            ingest.end(reason)
            if watch is not None:
                watch.cut_short = False

    def _push(self) -> None:
        ingest, content = self._ingest, self.content
        if ingest is None:
            return
        node = self.node
        self._timer = node.clock.callLater(self.batch, self._push)
        due = content.due(node.world.now)
        leg = self.leg
        if due > leg.end:
            frames = content.frames(leg.end, due)
            leg.end = due
            content.pushed_at = node.world.now
            ingest.push(frames)


@define(eq=False)
class SimViewer(IdleTap):
    """Somebody who watches a name on a node, and asks again until it plays.

    @ivar stream: what plays now. @ivar since: since when it wants the stream, simulated seconds.
    """

    world: World
    host: str
    name: str
    since: float
    stream: Stream | None = None
    _asking: Deferred[Playout] | None = None
    _timer: Timer | None = None
    _over: bool = field(default=False, init=False)

    def ask(self) -> None:
        """Ask the node for the stream."""
        self._timer = None
        node = self.world.up.get(self.host)
        if self._over:
            return
        if node is None or node.clock.frozen:
            self._later()
            return
        request = OpenRequest(name=self.name, action="play", proto="rtmp", peer="viewer")
        self._asking = asking = Deferred.fromCoroutine(node.playing.play(request))
        _ = asking.addCallbacks(self._plays, self._refused)
        _ = asking.addErrback(self._broken)

    def _plays(self, playout: Playout) -> None:
        self._asking = None
        stream = playout.stream
        if self._over:
            return
        if stream.ended:
            self._later()
            return
        self.stream = stream
        stream.attach(self)

    def _refused(self, failure: Failure) -> None:
        self._asking = None
        if not self._over:
            self._later()

    def _broken(self, failure: Failure) -> None:
        self.world.journal.violated("no faults", f"{self.host} {self.name}: {failure.getTraceback()}")

    def _later(self) -> None:
        if self._timer is None:
            self._timer = self.world.rig.clock.callLater(_ASK_AGAIN, self.ask)

    @override
    def stream_ended(self, reason: str) -> None:
        """Ask again."""
        self.stream = None
        self._later()

    def node_lost(self) -> None:
        """The node is gone without a word."""
        self._asking = None
        self.stream = None
        if not self._over:
            self._later()

    def leave(self) -> None:
        """It has seen enough."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.detach(self)
