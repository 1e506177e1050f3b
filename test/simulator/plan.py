"""The cluster of a seed: which nodes there are, what they restream, who publishes what where."""

from __future__ import annotations

import random

from attrs import evolve, frozen


@frozen
class SourcePlan:
    """A C{source} block.

    @ivar to: the node it names. @ivar only, @ivar hidden: its lists. @ivar clients_timeout: linger, seconds.
    """

    to: str
    only: tuple[str, ...] | None
    hidden: tuple[str, ...]
    clients_timeout: float


@frozen
class NodePlan:
    """A node.

    @ivar index: its place. @ivar layer: 0 takes publishers, 1 and up restream lower ones.
    @ivar publishes: publishers come here, so its UTC is nearly right.
    """

    index: int
    name: str
    layer: int
    sources: tuple[SourcePlan, ...]
    publishes: bool


@frozen
class NamePlan:
    """A stream name. @ivar homes: the nodes it is published to. @ivar same: they get one encoder's bytes."""

    name: str
    homes: tuple[str, ...]
    same: bool


@frozen
class Plan:
    """All of it."""

    nodes: tuple[NodePlan, ...]
    names: tuple[NamePlan, ...]


@frozen(kw_only=True)
class Size:
    """How large a simulation is.

    @ivar nodes, @ivar streams: how many. @ivar minutes: how long it takes in simulated time.
    @ivar trouble, @ivar calm: seconds of faults, and of peace after them, in turn.
    @ivar dual: some streams are published to two nodes at once.
    """

    nodes: int = 20
    streams: int = 6
    minutes: float = 10.0
    trouble: float = 30.0
    calm: float = 25.0
    dual: bool = True


_GROUPS = ("live", "tv", "cam")


def make_plan(rng: random.Random, size: Size) -> Plan:
    """Draw a cluster."""
    origins = max(2, size.nodes // 6)
    middles = max(1, size.nodes // 5) if size.nodes > 3 else 0
    layers = [0] * origins + [1] * (middles - middles // 3) + [2] * (middles // 3)
    layers += [3] * (size.nodes - len(layers))
    layers = layers[: size.nodes]
    hosts = [f"{'omme'[layer]}{index}" for index, layer in enumerate(layers)]
    names = [f"{_GROUPS[index % len(_GROUPS)]}/{index}" for index in range(size.streams)]
    nodes = []
    for index, layer in enumerate(layers):
        below = [host for host, other in zip(hosts, layers, strict=True) if other < layer]
        sources: list[SourcePlan] = []
        if below:
            count = min(len(below), rng.choice((1, 2, 2, 2, 3)))
            near = [host for host in below if layers[hosts.index(host)] == layer - 1]
            pool = near if near and rng.random() < 0.6 and len(near) >= count else below
            sources = [_source(rng, to, names) for to in rng.sample(pool, count)]
        nodes.append(NodePlan(index, hosts[index], layer, tuple(sources), layer == 0 or index % 3 == 0))
    nodes = _mutual(rng, nodes, names)
    plans = []
    first = hosts[:origins]
    for name in names:
        homes = rng.sample(first, 1 if rng.random() < 0.6 else 2)
        plans.append(NamePlan(name, tuple(homes), size.dual and rng.random() < 0.6))
    return Plan(tuple(nodes), tuple(plans))


def _source(rng: random.Random, to: str, names: list[str]) -> SourcePlan:
    draw = rng.random()
    only: tuple[str, ...] | None = None
    hidden: tuple[str, ...] = ()
    if draw < 0.15:
        only = ()
    elif draw < 0.30:
        only = (f"{rng.choice(_GROUPS)}/*",)
    elif draw < 0.40:
        only = tuple(rng.sample(names, min(len(names), 2)))
    if rng.random() < 0.2:
        hidden = (rng.choice(names),) if rng.random() < 0.5 else (f"{rng.choice(_GROUPS)}/*",)
    return SourcePlan(to, only, hidden, rng.choice((2.0, 5.0, 10.0)))


def _mutual(rng: random.Random, nodes: list[NodePlan], names: list[str]) -> list[NodePlan]:
    """Let two nodes of the first middle layer restream each other, too."""
    pair = [node for node in nodes if node.layer == 1]
    if len(pair) < 2 or rng.random() < 0.5:
        return nodes
    one, other = rng.sample(pair, 2)
    changed = list(nodes)
    for node, to in ((one, other), (other, one)):
        more = SourcePlan(to.name, None, (), 5.0)
        changed[node.index] = evolve(node, sources=(*node.sources, more))
    return changed
