"""What goes wrong, and who comes and goes: the random part of a simulation."""

from __future__ import annotations

import random
from collections.abc import Callable

from test.simulator.node import SimNode, SimViewer
from test.simulator.world import World

#: Largest error of UTC at a node that publishers come to, seconds; elsewhere it does not matter.
_SMALL_STEP = 3.0
_LARGE_STEP = 3600.0
#: How long after a node was stopped something of it may be waiting still (a held request does), seconds.
_REMAINS_SECONDS = 16.0


class Trouble:
    """Draws what happens next, does it, and undoes it in time.

    @ivar counts: how often each kind happened.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._until = 0.0
        self._undo: dict[str, Callable[[], None]] = {}
        self._undone = 0
        self.counts: dict[str, int] = {}
        size = world.size
        self._rate = 0.12 + size.nodes / 40 + size.streams / 40
        publishing = max(2.0, size.streams / 2)
        watching = max(2.0, size.streams / 2)
        self._kinds: list[tuple[Callable[[], str | None], float]] = [
            (self._publish, publishing),
            (self._leave, publishing * 0.6),
            (self._watch, watching),
            (self._unwatch, watching * 0.8),
            (self._kill, 2.0),
            (self._restart, 1.0),
            (self._freeze, 2.5),
            (self._split, 2.0),
            (self._cut, 2.0),
            (self._island, 0.5),
            (self._slow, 1.0),
            (self._step_clock, 1.0),
        ]
        self._draw = [kind for kind, _ in self._kinds]
        self._weights = [weight for _, weight in self._kinds]

    # Phases.

    def begin(self) -> None:
        """Start every node, in any order, one soon after the other."""
        world, rng = self._world, self._rng
        hosts = list(world.plans)
        rng.shuffle(hosts)
        for host in hosts:
            world.rig.clock.callLater(rng.uniform(0, 4), self._start, host, True)
        for name in world.plan.names:
            if rng.random() < 0.7:
                world.rig.clock.callLater(rng.uniform(3, 10), self._publish_at_home, name.name)

    def go_on(self, until: float) -> None:
        """Make trouble until then."""
        self._until = until
        self._next()

    def make_peace(self) -> None:
        """Undo whatever is wrong now."""
        world = self._world
        undo, self._undo = self._undo, {}
        for undoing in undo.values():
            undoing()
        for end in world.rig.network.connections:
            # What was to break soon, and has not had enough to say.
            end.cut_after = end.peer.cut_after = None
        for host in world.plans:
            if host not in world.up:
                self._start(host, True)
        world.journal.note("peace")

    def send_all_away(self) -> None:
        """Every publisher and every viewer leaves."""
        world = self._world
        for node in world.up.values():
            for publisher in list(node.publishers.values()):
                publisher.leave()
        for viewer in world.viewers:
            viewer.leave()
        world.viewers.clear()

    def _next(self) -> None:
        pause = self._rng.expovariate(self._rate)
        if self._world.now + pause < self._until:
            self._world.rig.clock.callLater(pause, self._happen)

    def _happen(self) -> None:
        (kind,) = self._rng.choices(self._draw, self._weights)
        done = kind()
        if done is not None:
            name = kind.__name__[1:]
            self.counts[name] = self.counts.get(name, 0) + 1
            self._world.journal.note(f"-- {name}: {done}")
        self._next()

    def _for_a_while(self, what: str, longest: float, undo: Callable[[], None]) -> float:
        """Undo something in a while, at peace at the latest; C{what} is free again then."""
        pause: float = min(longest, 0.1 * (longest / 0.1) ** self._rng.random())

        def later() -> None:
            if self._undo.pop(what, None) is not None:
                undo()

        self._undo[what] = undo
        self._world.rig.clock.callLater(pause, later)
        return pause

    def _any_node(self) -> str | None:
        """A node that is up and has nothing wrong."""
        world = self._world
        hosts = [host for host in world.plans if host in world.up and f"node {host}" not in self._undo]
        return self._rng.choice(hosts) if hosts else None

    def _any_pair(self) -> tuple[str, str] | None:
        """A node and a source of it, with nothing wrong between them."""
        pairs = [
            (node.name, source.to)
            for node in self._world.plans.values()
            for source in node.sources
            if f"pair {node.name} {source.to}" not in self._undo
        ]
        return self._rng.choice(pairs) if pairs else None

    def _start(self, host: str, state: bool) -> None:
        world = self._world
        if host in world.up:
            return
        error = self._rng.uniform(-1, 1) * (0.5 if world.plans[host].publishes else 30.0)
        world.start(host, state, error)
        for name in world.plan.names:
            # Encoders come back by themselves.
            if host in name.homes and self._rng.random() < 0.5:
                world.rig.clock.callLater(self._rng.uniform(0.2, 3), self._publish_at, name.name, host)

    # Publishers.

    def _publish(self) -> str | None:
        rng, world = self._rng, self._world
        plan = rng.choice(world.plan.names)
        if rng.random() < 0.2:
            hosts = [host for host in world.up if world.plans[host].publishes]
            return self._publish_at(plan.name, rng.choice(hosts)) if hosts else None
        return self._publish_at_home(plan.name)

    def _publish_at_home(self, name: str) -> str | None:
        (plan,) = [each for each in self._world.plan.names if each.name == name]
        return self._publish_at(name, self._rng.choice(plan.homes))

    def _publish_at(self, name: str, host: str) -> str | None:
        world, rng = self._world, self._rng
        node = world.up.get(host)
        if node is None or node.clock.frozen or name in node.publishers:
            return None
        (plan,) = [each for each in world.plan.names if each.name == name]
        content = None
        if plan.same and host in plan.homes:
            others = [
                publisher.content
                for home in plan.homes
                if home in world.up and (publisher := world.up[home].publishers.get(name)) is not None
            ]
            content = others[0] if others else None
        if content is None:
            gop = rng.choice((5, 5, 10, 10, 8, 15))
            content = world.content(name, gop, rng.random() < 0.85, rng.randrange(1 << 30))
        node.begin_publish(content, rng.choice((0.2, 0.4, 0.4, 0.6, 1.0)))
        return f"content {content.number} of {name} at {host}"

    def _leave(self) -> str | None:
        world = self._world
        found = [
            publisher
            for node in world.up.values()
            if not node.clock.frozen
            for publisher in node.publishers.values()
        ]
        if len(found) < 2:
            return None
        publisher = self._rng.choice(found)
        publisher.leave()
        if self._rng.random() < 0.3:
            pause = self._rng.choice((0.0, 0.3, 1.5))
            world.rig.clock.callLater(pause, self._publish_at, publisher.content.name, publisher.node.name)
        return f"content {publisher.content.number} of {publisher.content.name} at {publisher.node.name}"

    # Viewers.

    def _watch(self) -> str | None:
        world, rng = self._world, self._rng
        if len(world.viewers) > 3 * world.size.streams:
            return None
        host = rng.choice(list(world.plans))
        viewer = SimViewer(world, host, rng.choice(world.plan.names).name, world.now)
        world.viewers.append(viewer)
        viewer.ask()
        return f"{viewer.name} on {host}"

    def _unwatch(self) -> str | None:
        viewers = self._world.viewers
        if not viewers:
            return None
        viewer = viewers.pop(self._rng.randrange(len(viewers)))
        viewer.leave()
        return f"{viewer.name} on {viewer.host}"

    # Nodes.

    def _kill(self) -> str | None:
        world, rng = self._world, self._rng
        host = self._any_node()
        if host is None:
            return None
        power = rng.random() < 0.3
        state = rng.random() < 0.7
        world.kill(host, power)
        pause = self._for_a_while(f"node {host}", 20.0, lambda: self._start(host, state))
        return f"{host} for {pause:.1f} s"

    def _restart(self) -> str | None:
        host = self._any_node()
        if host is None:
            return None
        world = self._world
        old = world.stop(host)
        world.rig.clock.callLater(_REMAINS_SECONDS, self._look_at_remains, old)
        pause = self._for_a_while(f"node {host}", 5.0, lambda: self._start(host, True))
        return f"{host} for {pause:.1f} s"

    def _look_at_remains(self, old: SimNode) -> None:
        calls = old.clock.getDelayedCalls()
        if calls:
            self._world.journal.violated("no leaks", f"{old.name} stopped, and {calls[:5]} are left")

    def _freeze(self) -> str | None:
        host = self._any_node()
        if host is None:
            return None
        node = self._world.up[host]
        node.freeze()
        wire_first = self._rng.random() < 0.5
        pause = self._for_a_while(f"node {host}", 15.0, lambda: node.thaw(wire_first))
        return f"{host} for {pause:.1f} s"

    def _step_clock(self) -> str | None:
        host = self._any_node()
        if host is None:
            return None
        world, rng = self._world, self._rng
        node = world.up[host]
        if node.plan.publishes:
            node.wall_error = rng.uniform(-_SMALL_STEP, _SMALL_STEP)
        else:
            node.wall_error = rng.uniform(-1, 1) * rng.choice((1.0, _LARGE_STEP))
        return f"{host}: UTC is {node.wall_error:+.1f} s off"

    # The network.

    def _split(self) -> str | None:
        pair = self._any_pair()
        if pair is None:
            return None
        return self._part(*pair)

    def _part(self, one: str, other: str) -> str:
        network = self._world.rig.network
        way = self._rng.choice(("sever", "hole", "hole", "up", "down"))
        what = f"pair {one} {other}"
        if way == "sever":
            network.sever(one, other)
            pause = self._for_a_while(what, 15.0, lambda: network.mend(one, other))
            return f"{one} and {other} cut off for {pause:.1f} s"
        ways = [(one, other), (other, one)]
        if way != "hole":
            ways = [ways[way == "down"]]
        for host, to in ways:
            network.stall(host, to)

        def flow() -> None:
            for host, to in ways:
                network.flow(host, to)

        pause = self._for_a_while(what, 15.0, flow)
        between = " and ".join(f"from {host} to {to}" for host, to in ways)
        return f"nothing arrives {between} for {pause:.1f} s"

    def _island(self) -> str | None:
        """A node loses everybody."""
        host = self._any_node()
        if host is None:
            return None
        found = [
            pair
            for pair in ((n.name, s.to) for n in self._world.plans.values() for s in n.sources)
            if host in pair and f"pair {pair[0]} {pair[1]}" not in self._undo
        ]
        for pair in found:
            self._part(*pair)
        return f"{host}: {len(found)} pairs"

    def _cut(self) -> str | None:
        """One connection, or all between two nodes, breaks at once, or in the middle of a message."""
        ends = self._world.rig.network.connections
        if not ends:
            return None
        rng = self._rng
        end = rng.choice(ends)
        if rng.random() < 0.5:
            end.cut()
            return f"{end.host} to {end.peer_host}"
        for each in self._world.rig.network.between(end.host, end.peer_host):
            which = each.peer if rng.random() < 0.8 else each
            which.cut_after = which.sent + rng.randrange(4000)
        return f"all between {end.host} and {end.peer_host}, soon"

    def _slow(self) -> str | None:
        """A way becomes long."""
        pair = self._any_pair()
        if pair is None:
            return None
        network = self._world.rig.network
        delay = self._rng.choice((0.02, 0.1, 0.3))
        for way in (pair, (pair[1], pair[0])):
            network.delays[way] = delay

        def undo() -> None:
            for way in (pair, (pair[1], pair[0])):
                network.delays.pop(way, None)

        pause = self._for_a_while(f"pair {pair[0]} {pair[1]}", 20.0, undo)
        return f"{pair[0]} and {pair[1]} {delay:.2f} s apart for {pause:.1f} s"
