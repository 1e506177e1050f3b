"""What is checked now and then: tables, transfers; and in peace: everybody has what he can have."""

from __future__ import annotations

from attrs import define, field

from restreamer.cluster.selection import Choice, choose
from restreamer.live.window import HIDDEN_SEGMENTS
from test.simulator.node import SimNode
from test.simulator.world import World

#: How long two transfers of one stream to one node may overlap, seconds: a switch.
_SWITCH_SECONDS = 8.0
#: How old the newest frame may be in peace, seconds.
FRESH_SECONDS = 4.0
#: How long a publisher must have been there, and a viewer have waited, to be looked at in peace, seconds.
_SETTLED = 12.0


@define(eq=False)
class Audit:
    """Looks at a whole world."""

    world: World
    _doubled: dict[tuple[bytes, str], float] = field(factory=dict)

    def look(self) -> None:
        """Once a second or so: bounds and transfers."""
        self._transfers()
        for node in self.world.up.values():
            self._bounds(node)

    def _transfers(self) -> None:
        """Once per link: one transfer of a name to a node, but for a switch."""
        found: dict[tuple[bytes, str], list[str]] = {}
        for node in self.world.up.values():
            for stream, relay in node.relays._by_stream.items():
                for link in relay._pulled:
                    transport = getattr(link, "transport", None)
                    if transport is not None and not transport.gone and not transport.peer.gone:
                        found.setdefault((link.peer_id, stream.name), []).append(node.name)
        now = self.world.now
        doubled = {key: sources for key, sources in found.items() if len(sources) > 1}
        for key in list(self._doubled):
            if key not in doubled:
                del self._doubled[key]
        for key, sources in doubled.items():
            since = self._doubled.setdefault(key, now)
            host = self.world.ids.get(key[0], "?")
            taker = self.world.up.get(host)
            if taker is None or taker.clock.frozen or any(self._stuck(host, each) for each in sources):
                self._doubled[key] = now
            elif now - since > _SWITCH_SECONDS:
                self.world.journal.violated(
                    "once per link", f"{host} takes {key[1]} from {sources} for {now - since:.1f} s"
                )

    def _stuck(self, host: str, source: str) -> bool:
        """Whether a transfer cannot end because its end does not travel."""
        network = self.world.rig.network
        node = self.world.up.get(source)
        return (
            node is None
            or node.clock.frozen
            or (host, source) in network._stalled
            or (source, host) in network._stalled
        )

    def _bounds(self, node: SimNode) -> None:
        """Nothing grows."""
        names = self.world.size.streams
        plan = node.plan
        problems = []
        if len(node.registry) > names:
            problems.append(f"{len(node.registry)} streams")
        if len(node.catalogue.entries()) > names:
            problems.append(f"{len(node.catalogue.entries())} catalogue entries")
        if len(node.waiting) > len(self.world.viewers) + len(self.world.plans) * names:
            problems.append(f"{len(node.waiting)} requests wait")
        for entry in node.registry:
            window = entry.stream.window
            count = window.listed_count()
            if len(window.retained) > count + HIDDEN_SEGMENTS or len(window.entries) > count:
                problems.append(f"{entry.stream.name} holds {len(window.retained)} segments")
        if problems:
            self.world.journal.violated("bounded tables", f"{plan.name}: {', '.join(problems)}")

    # Peace.

    def peace(self) -> None:
        """Some time after the last fault: who can have a stream has it, and nobody lists what nobody has."""
        world = self.world
        for name in (plan.name for plan in world.plan.names):
            states = self._states(name)
            live = {content.number: content for content in world.live(name)}
            young = any(world.now - content.began < _SETTLED for content in live.values())
            watched = {
                viewer.host
                for viewer in world.viewers
                if viewer.name == name and world.now - viewer.since > _SETTLED
            }
            for host, node in world.up.items():
                state = states[host]
                listed = any(entry.name == name for entry in node.catalogue.entries())
                if state is None:
                    if listed:
                        self._violated(node, name, "is listed, and nobody can give it")
                    continue
                if young:
                    continue
                if not listed:
                    self._violated(node, name, f"is not listed, and could be had ({state.value})")
                if state is Choice.STATIC or host in watched:
                    self._shown(node, name)
                if host in watched:
                    for viewer in world.viewers:
                        if viewer.host == host and viewer.name == name and viewer.stream is None:
                            self._violated(node, name, "a viewer waits in vain")

    def _shown(self, node: SimNode, name: str) -> None:
        entry = node.registry.find(name)
        watch = node.watches.get(name)
        if entry is None or watch is None or not entry.stream.running:
            self._violated(node, name, "does not run, and could")
            return
        content = self.world.contents.get(watch.output.content)
        if content is None:
            self._violated(node, name, "runs without frames")
            return
        behind = content.seconds(content.due(self.world.now) - watch.output.place - 1)
        if behind > FRESH_SECONDS:
            self._violated(
                node, name, f"its newest frame, of content {content.number}, is {behind:.1f} s old"
            )

    def _violated(self, node: SimNode, name: str, text: str) -> None:
        self.world.journal.violated("liveness", f"{node.name} {name}: {text}")

    def _states(self, name: str) -> dict[str, Choice | None]:
        """What each node can have of C{name}: STATIC, ON_DEMAND, or None."""
        world = self.world
        whole = self._spread(name, "")
        for plan in world.plan.nodes:
            mutual = any(
                source.to in world.plans
                and any(back.to == plan.name for back in world.plans[source.to].sources)
                for source in plan.sources
            )
            if mutual:
                # It does not take what came through itself.
                without = self._spread(name, plan.name)
                if name not in world.up[plan.name].publishers:
                    whole[plan.name] = self._best(plan.name, name, without)
        return whole

    def _spread(self, name: str, without: str) -> dict[str, Choice | None]:
        world = self.world
        states: dict[str, Choice | None] = {}
        for host in world.plans:
            node = world.up.get(host)
            here = node is not None and name in node.publishers and host != without
            states[host] = Choice.STATIC if here else None
        changed = True
        while changed:
            changed = False
            for host in world.plans:
                if host == without or states[host] is Choice.STATIC:
                    continue
                best = self._best(host, name, states)
                if best is not states[host]:
                    states[host] = best
                    changed = True
        return states

    def _best(self, host: str, name: str, states: dict[str, Choice | None]) -> Choice | None:
        best: Choice | None = None
        for source in self.world.plans[host].sources:
            state = states[source.to]
            if state is None:
                continue
            choice = choose(name, state is Choice.STATIC, source.only, source.hidden)
            if choice is Choice.STATIC:
                return choice
            if choice is Choice.ON_DEMAND:
                best = choice
        return best

    # The end.

    def empty(self) -> None:
        """Some time after every publisher has left: nothing is listed, nothing is kept."""
        for node in self.world.up.values():
            listed = [entry.name for entry in node.catalogue.entries()]
            kept = [entry.stream.name for entry in node.registry]
            if listed or kept:
                self.world.journal.violated("nothing stays", f"{node.name} lists {listed} and keeps {kept}")

    def ended(self) -> None:
        """Some time after every node was stopped: no timer, no connection is left."""
        rig = self.world.rig
        left = [call for call in rig.clock.getDelayedCalls() if not getattr(call.owner, "dead", False)]
        if left or rig.network.connections:
            self.world.journal.violated(
                "no leaks", f"timers {left[:5]}, {len(rig.network.connections)} connections"
            )
