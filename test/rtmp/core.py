"""A real core behind RTMP, without the rest of a node: registry, gate, playing, publishing."""

from __future__ import annotations

import time
from collections import ChainMap
from typing import Any

from restreamer.flv.live_muxer import FlvFeedMuxer
from restreamer.live.feed import FeedLimits
from restreamer.live.ledger import Ledger
from restreamer.live.playout import MuxerFactory, Playout
from restreamer.live.registry import StreamRegistry, StreamSettings
from restreamer.live.stream import Stream
from restreamer.live.utc_clock import UtcClock
from restreamer.rtmp.play_muxer import RtmpMuxers
from restreamer.seams import Playable
from restreamer.viewers.gate import PasswordGate
from restreamer.viewers.points import IngestMaker, Playing, Publishing
from restreamer.viewers.waiting import WaitingRoom


class RealCore:
    """The parts of a node that RTMP needs; everybody may publish and play everything."""

    def __init__(self, reactor: Any) -> None:
        self._clock = reactor
        self._runs = 0
        utc = UtcClock(reactor.seconds, time.time)
        self.faults: list[str] = []
        self.registry = StreamRegistry(reactor, Ledger(), self._playout, self._faulted)
        gate = PasswordGate(lambda name: "")
        self.ingests = IngestMaker(self.registry, b"n" * 16, utc.ticks, self._run)
        settings = StreamSettings()
        self.publishing = Publishing(gate, self.registry, self.ingests, lambda name: settings, reactor)
        self.playing = Playing(gate, WaitingRoom(self.registry, reactor))

    def find(self, name: str) -> Playable | None:
        """The stream, when it runs."""
        entry = self.registry.find(name)
        return entry.playout if entry is not None and entry.stream.running else None

    def stream(self, name: str) -> Stream:
        """A stream that is there."""
        entry = self.registry.find(name)
        assert entry is not None
        return entry.stream

    def _faulted(self, what: str, error: BaseException) -> None:
        self.faults.append(f"{what}: {error!r}")

    def _run(self) -> int:
        self._runs += 1
        return self._runs

    def _playout(self, stream: Stream) -> Playout:
        muxers = ChainMap[str, MuxerFactory]({"flv": FlvFeedMuxer}, RtmpMuxers())  # type: ignore[arg-type]
        return Playout(stream, self._clock, muxers, FeedLimits())
