"""A simulated cluster: the nodes that are up, the network between them, and what is true of all of them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

from attrs import define, evolve, field
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from restreamer.live.registry import StreamSettings
from restreamer.live.window import WindowSegment
from restreamer.logs import GATE
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.cluster_rig import ClusterRig
from test.simulator.content import Content, code_of
from test.simulator.journal import Journal
from test.simulator.node import SimNode, SimViewer
from test.simulator.plan import NodePlan, Plan, Size, make_plan
from test.simulator.watch import forget_watches

SEGMENT_SECONDS = 2
SEGMENTS = 4
#: A stream without input is kept so long, seconds.
SOURCE_TIMEOUT = 12.0
#: How long segments are remembered for comparison, seconds.
_REMEMBERED = 90.0
_NUMBERS = 20_000


@define(eq=False)
class SegmentBook:
    """Every segment that was closed anywhere lately, by run, number and continuation."""

    journal: Journal
    contents: dict[int, Content]
    _known: dict[tuple[int, int], dict[int, tuple[bytes, str]]] = field(factory=dict)
    _numbers: dict[tuple[int, int], int] = field(factory=dict)
    _short: dict[int, list[int]] = field(factory=dict)
    _order: deque[tuple[float, tuple[int, int]]] = field(factory=deque)

    def check(self, node: SimNode, name: str, entry: WindowSegment) -> None:
        """Segment identity: the same run, number and continuation are the same bytes everywhere.

        So are the same run and number of two continuations, but where one was closed short.
        """
        run = entry.run
        key = (run.run_id, entry.number)
        known = self._known.get(key)
        if known is None:
            now = self.journal.now()
            known = self._known[key] = {}
            self._order.append((now, key))
            self._count(node, name, entry)
            while self._order and self._order[0][0] < now - _REMEMBERED:
                del self._known[self._order.popleft()[1]]
        same = known.get(run.continuation)
        if same is None:
            known[run.continuation] = (entry.segment.encoded, node.name)
            others = [each for each in known.values() if each[0] != entry.segment.encoded]
            if others and not self._excused(entry, Segment.parse(others[0][0])):
                self._differs(node, name, entry, others[0])
        elif same[0] != entry.segment.encoded:
            self._differs(node, name, entry, same)

    def closed_short(self, entry: WindowSegment) -> None:
        """Who cuts a run ended this segment of it before its time: the publisher left, or another input took
        the stream. Nodes that do not hear of it may go on filling theirs, from another ingest node.
        """
        self._short.setdefault(entry.run.run_id, []).append(entry.number)

    def _differs(self, node: SimNode, name: str, entry: WindowSegment, known: tuple[bytes, str]) -> None:
        self.journal.violated(
            "segment identity",
            f"{node.name} {name}: segment {entry.number} of run {entry.run.run_id:016x}, continuation "
            f"{entry.run.continuation:016x}, is not that of {known[1]}: "
            + _difference(entry.segment, Segment.parse(known[0])),
        )

    def _excused(self, entry: WindowSegment, other: Segment) -> bool:
        """Whether two continuations may differ here.

        Within two segments of a place where the run was closed short they have the same frames at the same
        times, cut elsewhere. Behind it only what was measured, the bandwidths, may differ.
        """
        short = self._short.get(entry.run.run_id, [])
        one = entry.segment
        if any(place <= entry.number <= place + 2 for place in short):
            return self._moved(one) == self._moved(other) != set()
        if any(place < entry.number for place in short):
            return _without_bandwidth(one) == _without_bandwidth(other)
        return False

    def _count(self, node: SimNode, name: str, entry: WindowSegment) -> None:
        """What begins at a moment of a run has one number."""
        key = (entry.run.run_id, entry.start)
        number = self._numbers.setdefault(key, entry.number)
        if len(self._numbers) > _NUMBERS:
            del self._numbers[next(iter(self._numbers))]
        content, _ = code_of(entry.segment.frames()[0])
        if number != entry.number and len({leg.host for leg in self.contents[content].legs}) == 1:
            self.journal.violated(
                "segment identity",
                f"{node.name} {name}: segment {entry.number} of run {key[0]:016x} is {number} elsewhere",
            )

    def _moved(self, segment: Segment) -> set[int]:
        """By how much the times of the frames differ from their encoder's, where it has two ingest nodes."""
        moved = set()
        for frame in segment.frames():
            number, place = code_of(frame)
            content = self.contents[number]
            if len({leg.host for leg in content.legs}) == 1:
                return set()
            moved.add(frame.dts - content.time(place))
        return moved


def _without_bandwidth(segment: Segment) -> bytes:
    """Its canonical bytes, had nobody measured."""
    builder = SegmentBuilder(
        SegmentOpening(
            segment.number,
            segment.start,
            segment.discontinuity,
            segment.independent,
            segment.discontinuity_sequence,
            tuple(evolve(track, bandwidth=0) for track in segment.tracks),
        )
    )
    builder.extend(segment.frames())
    return builder.close(segment.duration).encoded


def _difference(one: Segment, other: Segment) -> str:
    """What differs between two segments, for people."""
    found = [
        f"{what} {getattr(one, what)} not {getattr(other, what)}"
        for what in ("start", "duration", "discontinuity", "independent", "discontinuity_sequence")
        if getattr(one, what) != getattr(other, what)
    ]
    if one.tracks != other.tracks:
        found.append(
            f"bandwidth {[t.bandwidth for t in one.tracks]} not {[t.bandwidth for t in other.tracks]}"
        )
    frames, others = one.frames(), other.frames()
    if len(frames) != len(others):
        found.append(f"{len(frames)} frames not {len(others)}")
    for mine, yours in zip(frames, others, strict=False):
        if mine != yours:
            found.append(f"frame {code_of(mine)} at {mine.dts} not {code_of(yours)} at {yours.dts}")
            break
    return ", ".join(found)


@implementer(ILogObserver)
class _FaultObserver:
    """Whatever the program logs as an error is a violation."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __call__(self, event: LogEvent) -> None:
        """See L{ILogObserver}."""
        level = event.get("log_level")
        if level is not None and level >= LogLevel.error:
            failure = event.get("log_failure")
            text = formatEvent(event) + ("\n" + failure.getTraceback() if failure is not None else "")
            self._journal.violated("no faults", text)


class World:
    """The simulated world of one seed.

    @ivar up: the nodes that run (or are frozen), by name. @ivar down: what is kept of those that do not.
    @ivar contents: by number. @ivar viewers: who watches. @ivar covered_seconds: what every window holds.
    """

    def __init__(self, seed: int, size: Size, say: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.size = size
        settings = StreamSettings(
            part_duration=TICKS_PER_SECOND // 5,
            segment_duration=SEGMENT_SECONDS * TICKS_PER_SECOND,
            segment_count=SEGMENTS,
            source_timeout=SOURCE_TIMEOUT,
        )
        self.rig = ClusterRig(seed, settings=settings)
        self.journal = Journal(lambda: self.rig.clock.now, say)
        self.rig.clock.failed = self._raised
        self.covered_seconds = float((SEGMENTS - 1) * SEGMENT_SECONDS)
        self.plan: Plan = make_plan(random.Random(f"plan {seed}"), size)
        self.plans: dict[str, NodePlan] = {node.name: node for node in self.plan.nodes}
        self.up: dict[str, SimNode] = {}
        self.down: dict[str, tuple[object, bytes]] = {}
        self.ids: dict[bytes, str] = {}
        self.contents: dict[int, Content] = {}
        self.viewers: list[SimViewer] = []
        self.segments = SegmentBook(self.journal, self.contents)
        self.lives = 0
        self._observer = _FaultObserver(self.journal)

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return self.rig.clock.now

    def __enter__(self) -> World:
        self._level = GATE.level
        GATE.level = LogLevel.error
        globalLogPublisher.addObserver(self._observer)
        return self

    def __exit__(self, *failure: object) -> None:
        GATE.level = self._level
        globalLogPublisher.removeObserver(self._observer)
        forget_watches()

    def _raised(self, error: BaseException) -> None:
        self.journal.violated("no faults", f"a timer raised {error!r}")

    def hosts(self, path: Iterable[bytes]) -> str:
        """A path for people."""
        return " > ".join(self.ids.get(each, "?") for each in path)

    # Nodes.

    def start(self, name: str, state: bool = True, wall_error: float = 0.0) -> SimNode:
        """A node's program starts.

        @param state: its state file is there, if it ever ran.
        """
        kept = self.down.pop(name, None)
        if kept is None or not state:
            self.lives += 1
            kept = ({}, self.rig.rng.randbytes(16))
        self.ids[kept[1]] = name
        self.journal.note(f"{name}: starts{'' if state else ' without its state'}")
        node = self.up[name] = SimNode(self, self.plans[name], kept[0], kept[1], wall_error)
        return node

    def kill(self, name: str, power: bool) -> None:
        """A node's program is gone."""
        node = self.up.pop(name)
        self.journal.note(f"{name}: {'loses power' if power else 'is killed'}")
        node.kill(power)
        self.down[name] = (node.saved, node.node_id)
        self._lost(name)

    def stop(self, name: str) -> SimNode:
        """A node's program ends in order."""
        node = self.up.pop(name)
        self.journal.note(f"{name}: stops")
        node.stop()
        self.down[name] = (node.saved, node.node_id)
        self._lost(name)
        return node

    def _lost(self, name: str) -> None:
        for viewer in self.viewers:
            if viewer.host == name:
                viewer.node_lost()

    # Publishers and viewers.

    def content(self, name: str, gop: int, audio: bool, base: int) -> Content:
        """An encoder begins."""
        number = len(self.contents) + 1
        made = self.contents[number] = Content(number, name, gop, audio, base, self.now)
        return made

    def live(self, name: str) -> list[Content]:
        """What is being published under C{name} now, at any node that is up."""
        found: dict[int, Content] = {}
        for node in self.up.values():
            publisher = node.publishers.get(name)
            if publisher is not None:
                found[publisher.content.number] = publisher.content
        return list(found.values())
