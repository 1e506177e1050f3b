"""Nodes of the rig with what this program adds for its neighbours: load, pushes taken, a place to publish."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.cluster.origin import ControlServer
from restreamer.cluster.peers import Peer, Peers, PublicPlace
from restreamer.cluster.push import SAY_AGAIN_SECONDS, Push, Pushes, PushServer
from restreamer.cluster.seams import LinkHandler
from restreamer.errors import Refused
from restreamer.failures import SaidLately
from restreamer.live.stream import Stream
from restreamer.m4f.link import Authorised
from restreamer.m4f.records import NodeLoad
from restreamer.seams import OpenRequest
from restreamer.testing.cluster_rig import ClusterRig, RigNode
from restreamer.viewers.gate import PasswordGate
from restreamer.viewers.points import Playing, Publishing


class Neighbour(RigNode):
    """A node that has peers, pushes, and takes pushes of C{live/*}.

    @ivar load: what it says of itself. @ivar publishing: where its publishers arrive.
    """

    def __init__(self, rig: ClusterRig, name: str) -> None:
        super().__init__(rig, name)
        rig.nodes[name] = self
        self.load = NodeLoad(rtmp_port=1935, rtsp_port=554)
        gate = PasswordGate(lambda _: "secret")
        self.publishing = Publishing(
            gate,
            self.registry,
            self._makers,
            lambda name: self.settings if name.startswith("live/") else None,
            self.clock,
        )
        self.peers = Peers(self.registry, lambda peers: peers[0])
        self.playing = Playing(gate, self.waiting, elsewhere=self.peers.elsewhere)
        self.takings: dict[str, PushServer] = {}
        self.targets: dict[str, list[tuple[str, str]]] = {}
        self.pushes = Pushes(self.registry, self._pushes_of)
        self._pushes_said = SaidLately(SAY_AGAIN_SECONDS)

    @override
    def _handler(self, event: Authorised) -> LinkHandler:
        if event.purpose == "control":
            return ControlServer(self.catalogue, self.utc.ticks, load=lambda: self.load)
        if event.purpose == "push":
            return PushServer(
                self.publishing,
                self.registry,
                self.node_id,
                self.utc.ticks,
                self.clock,
                self._pushes_said,
                self.takings,
            )
        return super()._handler(event)

    def peer(self, to: str) -> Peer:
        """Make C{to} a peer."""
        public = PublicPlace(f"http://{to}.example:8080", f"{to}.example")
        peer = Peer(self.link_node(), self.remote_node(to), public)
        self.peers.add((to, 80), peer)
        return peer

    def push(self, name: str, to: str, as_name: str) -> None:
        """Push C{name} into C{to} while it runs."""
        self.targets.setdefault(name, []).append((to, as_name))
        self.pushes.renew(name)

    def _pushes_of(self, name: str) -> list[Push]:
        return [
            Push(
                self.link_node(),
                self.remote_node(to),
                name,
                as_name,
                self.waiting,
                self.relays,
                (to, as_name),
            )
            for to, as_name in self.targets.get(name, ())
        ]

    def ask(self, name: str, query: str = "", part: bool = False) -> Any:
        """Ask for the playlist of C{name}: the stream, or the refusal; None while it is waited for."""
        request = OpenRequest(name=name, action="play", proto="hls", peer="p", query=query, part=part)
        got: list[Any] = []
        waiting = Deferred.fromCoroutine(self.playing.watch(request))
        _ = waiting.addCallback(got.append)
        _ = waiting.addErrback(lambda failure: got.append(failure.value))
        if not got:
            waiting.cancel()
            return None
        answer = got[0]
        assert isinstance(answer, Refused | Stream), answer
        return answer

    @override
    def stop(self) -> None:
        """The program ends in order."""
        self.peers.close()
        self.pushes.close()
        super().stop()
