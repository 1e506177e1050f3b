"""What the main process decides for its workers: who may play and publish, and how a stream is kept."""

from __future__ import annotations

from typing import Any

from restreamer.assembly import Core
from restreamer.errors import Reason, Refused
from restreamer.live.protocols import allowed
from restreamer.live.registry import StreamSettings
from restreamer.seams import OpenRequest
from restreamer.sessions.session import Session
from restreamer.workers.absent import STAYING


class NodeGatekeeper:
    """A L{restreamer.workers.lessor.Gatekeeper}: everything that stands before a session in one process."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def admit(self, request: OpenRequest) -> Any:
        """See L{restreamer.workers.lessor.Gatekeeper}."""
        core = self._core
        if request.action == "play":
            if not allowed(core.registry.protocols(request.name), request.proto):
                raise Refused(Reason.DENIED, "this stream is not played by this protocol here")
            if core.pressure.crowded and not request.part:
                raise Refused(Reason.OVERLOADED, "this node is short of memory: try another one, or later")
            elsewhere = core.neighbours.peers.elsewhere(request)
            if elsewhere is not None:
                await core.gate.open(request)
                raise elsewhere
            if request.proto in STAYING and request.span is None and not core.waiting.knows(request.name):
                raise Refused(Reason.NOT_FOUND, "no such stream")
        return await core.gate.open(request)

    def knows(self, name: str) -> bool:
        """Whether a stream of that name is here, can be expected here, or is a peer's."""
        core = self._core
        return core.waiting.knows(name) or core.neighbours.peers.have(name)

    def goes_on(self, session: Session) -> bool:
        """See L{restreamer.workers.lessor.Gatekeeper}."""
        return self._core.gate.goes_on(session)

    def settings_of(self, name: str) -> StreamSettings | None:
        """See L{restreamer.workers.lessor.Gatekeeper}."""
        entry = self._core.registry.find(name)
        return entry.settings if entry is not None else None
