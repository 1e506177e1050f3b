"""Other nodes: sources, peers and balancers."""

from __future__ import annotations

from collections.abc import Sequence

from restreamer.config import values
from restreamer.config.blocks import Once, Surroundings, Warn, options, served
from restreamer.config.grammar import Argument, Statement
from restreamer.config.model import BalancerConfig, PeerConfig, SourceConfig
from restreamer.config.preference import in_preference
from restreamer.config.shared_options import MAX_PRIORITY, MIN_PRIORITY, SharedOptions, segment_count
from restreamer.config.urls import read_node, read_public
from restreamer.config.words import (
    BALANCER,
    BALANCER_MODES,
    EVERYBODY_KNOWS,
    EXAMPLE_KEYS,
    MEMBER,
    PEER,
    SHARED_OPTIONS,
    SOURCE,
)
from restreamer.errors import ConfigError

SHORT_KEY = 16
#: Characters: a shorter one is found out within hours by whoever records one handshake.
SHORTEST_KEY = 8
MAX_PATTERNS = 10_000
_NO_KEY = "a cluster_key, in its block or at the top level"
_LEFT_OUT = "this transport is not served yet: the {word} is left out"


def read_cluster_key(statement: Statement, warn: Warn) -> str:
    """C{cluster_key SECRET;}, with a warning when it is easily guessed.

    @raise ConfigError: it is shorter than L{SHORTEST_KEY}.
    """
    key = values.secret(statement)
    if len(key) < SHORTEST_KEY:
        raise values.wrong(
            statement, statement.arguments[0], f"a secret of at least {SHORTEST_KEY} characters"
        )
    if len(key) < SHORT_KEY:
        warn(statement.place, statement.word, f"it is shorter than {SHORT_KEY} characters and can be guessed")
    if key in EXAMPLE_KEYS:
        warn(statement.place, statement.word, EVERYBODY_KNOWS)
    return key


def read_sources(statements: Sequence[Statement], around: Surroundings) -> tuple[SourceConfig, ...]:
    """All C{source HOST[:PORT] { … }}, the preferred first."""
    sources: list[SourceConfig] = []
    once = Once("source")
    for statement in statements:
        source = _source(statement, around)
        if source is not None:
            once.add(source.key, statement.arguments[0].place, str(source))
            sources.append(source)
    return in_preference(sources)


def _source(statement: Statement, around: Surroundings) -> SourceConfig | None:
    """One source; None when it asks for a transport that is not served."""
    argument = values.arguments(statement, 1, 1, "source HOST[:PORT] { … }")[0]
    node = read_node(statement, argument, "source HOST[:PORT]")
    found: dict[str, object] = {}
    shared = SharedOptions(around, placeholder=True)
    only: list[Argument] | None = None
    hidden: list[Argument] = []
    bare: list[Statement] = []
    own_key = ""
    for each in served(statement.block or (), SOURCE, around.warn):
        word = each.word
        if word in SHARED_OPTIONS:
            shared.take(each)
        elif word == "cluster_key":
            own_key = read_cluster_key(each, around.warn)
        elif word == "only":
            only = [*(only or ()), *_patterns(each, 0)]
            if not each.arguments:
                bare.append(each)
        elif word == "except":
            hidden += _patterns(each, 1)
        elif word == "prefix":
            found[word] = values.name(each, values.one(each, "prefix NAME;"))
        elif word == "priority":
            found[word] = values.whole(each, MIN_PRIORITY, MAX_PRIORITY)
        elif word == "segment_count":
            found[word] = segment_count(each)
        else:
            found[word] = values.timeout(each)
    if isinstance(node, str):
        around.warn(argument.place, node + "://", _LEFT_OUT.format(word="source"))
        return None
    if only:
        for each in bare:
            around.warn(each.place, "only", "without a name it adds nothing to the names of the others")
    _in_vain(only or [], hidden, str(found.get("prefix", "")), around.warn)
    key = own_key or around.cluster_key
    if not key:
        raise values.wrong(statement, argument, _NO_KEY)
    return SourceConfig(
        host=node[0],
        port=node[1],
        tls=node[2],
        cluster_key=key,
        only=None if only is None else tuple(dict.fromkeys(each.text for each in only)),
        except_=tuple(dict.fromkeys(each.text for each in hidden)),
        place=statement.place,
        auth=shared.auth(around.auth),
        **found,  # type: ignore[arg-type]
        **shared.finish(around.cluster_key or own_key),
    )


def _patterns(statement: Statement, low: int) -> list[Argument]:
    values.no_block(statement)
    given = values.arguments(statement, low, MAX_PATTERNS, f"{statement.word} NAME…;")
    for argument in given:
        values.pattern(statement, argument)
    return list(given)


def _in_vain(only: Sequence[Argument], hidden: Sequence[Argument], prefix: str, warn: Warn) -> None:
    """Warn of patterns that cannot do what they are there for."""
    if prefix:
        for word, arguments in (("only", only), ("except", hidden)):
            for each in arguments:
                if each.text.startswith(prefix + "/"):
                    rest = each.text[len(prefix) + 1 :]
                    text = f"{each.text} is a name here, so {prefix}/{each.text} there: is {rest} meant?"
                    warn(each.place, word, text)
    names = {each.text for each in hidden}
    for each in only:
        parts = each.text.split("/")
        hiding = [each.text, *("/".join(parts[:count]) + "/*" for count in range(1, len(parts)))]
        hides = next((pattern for pattern in hiding if pattern in names), None)
        if hides is not None:
            warn(each.place, "only", f"{each.text} does not exist here: except {hides} hides it")


def read_peers(statements: Sequence[Statement], around: Surroundings) -> tuple[PeerConfig, ...]:
    """All C{peer HOST[:PORT];} of the top level."""
    peers: list[PeerConfig] = []
    once = Once("peer")
    for statement in statements:
        argument = values.arguments(statement, 1, 1, "peer HOST[:PORT];")[0]
        node = read_node(statement, argument, "peer HOST[:PORT]")
        key, public = around.cluster_key, ""
        for each in served(statement.block or (), PEER, around.warn):
            if each.word == "cluster_key":
                key = read_cluster_key(each, around.warn)
            elif isinstance(node, str):
                values.one(each, "public HOST[:PORT];")
            else:
                public = read_public(each, values.one(each, "public HOST[:PORT];"), node[1], node[2])
        if isinstance(node, str):
            around.warn(argument.place, node + "://", _LEFT_OUT.format(word="peer"))
            continue
        if not key:
            raise values.wrong(statement, argument, _NO_KEY)
        peer = PeerConfig(
            host=node[0], port=node[1], tls=node[2], public=public, cluster_key=key, place=statement.place
        )
        once.add(peer.key, argument.place, str(peer))
        peers.append(peer)
    return tuple(peers)


def read_balancers(
    statements: Sequence[Statement], peers: Sequence[PeerConfig], warn: Warn
) -> dict[str, BalancerConfig]:
    """All C{balancer NAME { mode MODE; peer HOST [max_bitrate=40M]; }}, by name."""
    balancers: dict[str, BalancerConfig] = {}
    once = Once("balancer")
    for statement in statements:
        argument = values.arguments(statement, 1, 1, "balancer NAME { mode MODE; peer HOST; }")[0]
        name = values.name(statement, argument)
        once.add(name, argument.place, name)
        balancers[name] = _balancer(statement, name, peers, warn)
    return balancers


def _balancer(statement: Statement, name: str, peers: Sequence[PeerConfig], warn: Warn) -> BalancerConfig:
    mode = BALANCER_MODES[0]
    members: list[tuple[Argument, PeerConfig, int | None]] = []
    once = Once("peer of a balancer")
    for each in served(statement.block or (), BALANCER, warn):
        if each.word == "mode":
            mode = _mode(each)
            continue
        values.no_block(each)
        host, *rest = values.arguments(each, 1, 100, "peer HOST[:PORT] [max_bitrate=40M];")
        peer = _configured(each, host, peers)
        once.add(peer.key, host.place, str(peer))
        max_bitrate: int | None = None
        for argument, key, value in options(each, rest, MEMBER, warn):
            max_bitrate = values.parse_bits(value or "")
            if max_bitrate is None:
                raise values.wrong(each, argument, f"{key}= with bits per second (40M, 900k, 5000000)")
        members.append((host, peer, max_bitrate))
    if not members:
        raise statement.error(f"balancer {name} {{ … }} with at least one peer HOST[:PORT]; in it")
    for host, peer, max_bitrate in members:
        if mode == "usage" and max_bitrate is None:
            raise values.wrong(
                statement, host, f"peer {peer} max_bitrate=40M, without which mode usage is blind"
            )
    return BalancerConfig(
        name=name, mode=mode, peers=tuple((peer, most) for _, peer, most in members), place=statement.place
    )


def _mode(statement: Statement) -> str:
    argument = values.one(statement, "mode MODE;")
    if argument.text not in BALANCER_MODES:
        raise values.wrong(statement, argument, f"one of {', '.join(BALANCER_MODES)}")
    return argument.text


def _configured(statement: Statement, argument: Argument, peers: Sequence[PeerConfig]) -> PeerConfig:
    """The peer of the top level that C{argument} names; the port may be left out where one host has one."""
    node = read_node(statement, argument, "peer HOST[:PORT]")
    if not isinstance(node, str):
        exact = [each for each in peers if each.key == (node[0], node[1])]
        by_host = [each for each in peers if each.host == node[0]]
        if exact:
            return exact[0]
        if len(by_host) == 1 and not argument.text.endswith(f":{node[1]}"):
            return by_host[0]
    raise _no_peer(statement, argument, peers)


def _no_peer(statement: Statement, argument: Argument, peers: Sequence[PeerConfig]) -> ConfigError:
    known = ", ".join(str(each) for each in peers) or "there are none"
    return values.wrong(statement, argument, f"one of the peers of the top level ({known})")
