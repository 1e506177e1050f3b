"""The balancer: C{/LB/NAME/...} sends a viewer to C{/NAME/...} of the peer that is least busy.

A redirection is an answer like any other: the gate is passed before it, here and then there.
What busy means is the mode: viewers, streams, bits per second, or those as a part of what the peer may send.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from attrs import frozen

from restreamer.cluster.peers import Peer
from restreamer.errors import Reason, Refused
from restreamer.facts import BalancerFacts
from restreamer.http1.play_request import play_request
from restreamer.http1.refusal import redirection
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route
from restreamer.seams import Gate

_NO_METHOD: Final = FullReply(
    status=405, headers=b"Allow: GET, HEAD, OPTIONS\r\nAccess-Control-Allow-Origin: *\r\n"
)
_PREFLIGHT: Final = FullReply(
    status=204,
    headers=b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: Range, If-None-Match, If-Range\r\n"
    b"Access-Control-Max-Age: 86400\r\n",
)

#: What a mode compares: (peer, the most it may send in bits/s) to a number; the least is chosen.
MODES: Final[Mapping[str, Callable[[Peer, int], float]]] = {
    "clients": lambda peer, most: peer.load.clients + peer.sent,
    "streams": lambda peer, most: peer.load.streams,
    "bitrate": lambda peer, most: peer.load.bitrate_out,
    "usage": lambda peer, most: peer.load.bitrate_out / most if most else peer.load.bitrate_out,
}


@frozen(eq=False)
class Balancer:
    """One balancer.

    @ivar mode: a key of L{MODES}. @ivar peers: its peers, and the most each may send, bits/s.
    @ivar choose: one of several, at random.
    """

    mode: str
    peers: Sequence[tuple[Peer, int]]
    choose: Callable[[Sequence[Peer]], Peer]

    def pick(self, name: str) -> Peer:
        """The peer for a viewer of C{name}: of those that are there; of those that list it, if any does.

        @raise Refused: OVERLOADED when no peer is there.
        """
        there = [(peer, most) for peer, most in self.peers if peer.connected]
        if not there:
            raise Refused(Reason.OVERLOADED, "no node is there to play it")
        able = [(peer, most) for peer, most in there if peer.lists(name) is not None] or there
        measure = MODES[self.mode]
        least = min(measure(peer, most) for peer, most in able)
        peer = self.choose([peer for peer, most in able if measure(peer, most) == least])
        peer.chosen()
        return peer

    def facts(self, name: str) -> BalancerFacts:
        """What is known of it. @param name: what it is called."""
        peers = tuple((peer.address, peer.connected, most) for peer, most in self.peers)
        return BalancerFacts(name=name, mode=self.mode, peers=peers)


def balancer_route(balancers: Callable[[], Mapping[str, Balancer]], gate: Gate) -> Route:
    """The route of all balancers. @param balancers: those there are now, by name."""

    async def answer(balancer: Balancer, rest: str, request: HttpRequest) -> Reply:
        name, _, file = rest[1:].rpartition("/")
        proto = "hls" if file.endswith((".m3u8", ".ts")) else "tshttp"
        await gate.open(play_request(name, proto, request, part=file.endswith(".ts")))
        peer = balancer.pick(name)
        query = f"?{request.query}" if request.query else ""
        return redirection(f"{peer.public.http}{quote(rest)}{query}")

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        balancer = None
        for name, each in balancers().items():
            if request.path.startswith(f"/{name}/"):
                balancer = each
                rest = request.path[len(name) + 1 :]
                break
        if balancer is None or "/" not in rest[1:]:
            return None
        if request.method not in ("GET", "HEAD"):
            return _PREFLIGHT if request.method == "OPTIONS" else _NO_METHOD
        return answer(balancer, rest, request)

    return route
