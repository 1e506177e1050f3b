"""Archives as MPEG-TS over HTTP.

C{/NAME/archive-FROM-DUR.ts} is a download: as fast as it is taken. C{/NAME/archive/FROM/DUR/mpegts},
C{timeshift_abs-FROM.ts}, C{timeshift_rel-SEC.ts}, their older forms and C{mpegts?utc=} play in real time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from attrs import frozen

from restreamer.dvr.forms import ArchiveAsk, Container, Kind, asked_name, parse_archive_path, span_of
from restreamer.dvr.playback import Playback, PlaybackCounters
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.http1.attended import attended
from restreamer.http1.play_request import play_request
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import EndlessReply, HttpRequest, Reply, Route
from restreamer.mpegts.http_play import HEADERS, NOT_ALLOWED
from restreamer.seams import Clock, Gate, OpenRequest, ViewerTransport
from restreamer.tsio.archive_pieces import TsPacker, TsPieces, check_carried
from restreamer.vod.paced import AHEAD_SECONDS, PacedBody, Pieces, begun
from restreamer.vod.seams import InThread, PackTs

#: Downloads that are sent or waited for at once: of this node, and of one address. What plays in real time is
#: a viewer, and not among them.
MAX_DOWNLOADS: Final = 200
MAX_OF_PEER: Final = 10


class _Downloads:
    """Who takes how many."""

    def __init__(self) -> None:
        self._peers: Counter[str] = Counter()

    def take(self, peer: str) -> Callable[[], None]:
        """One more. @return: call it when it is over. @raise Refused: OVERLOADED."""
        if self._peers.total() >= MAX_DOWNLOADS or self._peers[peer] >= MAX_OF_PEER:
            raise Refused(Reason.OVERLOADED, "too many downloads at once: try again later")
        return self.begin(peer)

    def begin(self, peer: str) -> Callable[[], None]:
        """One that was granted. @return: as L{take}."""
        self._peers[peer] += 1
        taken = True

        def leave() -> None:
            nonlocal taken
            if taken:
                taken = False
                self._peers[peer] -= 1
                if not self._peers[peer]:
                    del self._peers[peer]

        return leave


def archive_ts_route(
    hours: ArchiveHours,
    gate: Gate,
    pack_ts: PackTs,
    in_thread: InThread,
    clock: Clock,
    utc: Callable[[], int],
    crowded: Callable[[], bool] = lambda: False,
    counters: PlaybackCounters | None = None,
) -> Route:
    """The route; it stands before that of live streams and of HLS segments.

    @param pack_ts: L{restreamer.mpegts.segment_muxer.mux_segment}. @param utc: UTC ticks now.
    @param crowded: whether the node is too short of memory for another viewer.
    """
    packer = TsPacker(pack_ts, in_thread, crowded)
    counted = counters or PlaybackCounters()
    downloads = _Downloads()

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        path = request.path
        if not (path.endswith((".ts", "/mpegts")) or "/timeshift_" in path):
            return None
        try:
            ask = parse_archive_path(path, request.query, utc() // 90_000)
        except Refused as refused:
            return refusal_reply(refused) if hours.archives.takes(asked_name(path)) else None
        if ask is None or ask.container is not Container.TS or not hours.archives.takes(ask.name):
            return None
        if request.method not in ("GET", "HEAD"):
            return NOT_ALLOWED
        wanted = play_request(ask.name, "tshttp", request, span=span_of(ask, utc() // 90_000))
        return answer(ask, request.peer, wanted)

    async def answer(ask: ArchiveAsk, peer: str, wanted: OpenRequest) -> Reply:
        download = ask.kind is Kind.FIXED and not ask.paced
        leave = _nothing
        try:
            if download:
                leave = downloads.take(peer)
            if crowded():
                raise Refused(Reason.OVERLOADED, "this node is short of memory: try another one, or later")
            await gate.open(wanted)
            playback = Playback.of(ask, hours, clock, utc, counted)
            check_carried((await playback.begin()).tracks, ask.selection)
            pieces: Pieces = TsPieces(packer, playback, ask.selection)
            if ask.kind is Kind.FIXED:
                # All of it may be damaged.
                pieces = await begun(pieces)
        except Refused as refused:
            return refusal_reply(refused)
        finally:
            # An answer of which only the head is wanted never begins: it is counted anew when it does.
            leave()

        def begin(transport: ViewerTransport, ended: Callable[[str], None]) -> _Counted:
            over = downloads.begin(peer) if download else _nothing

            def has_ended(reason: str) -> None:
                over()
                ended(reason)

            playing = PacedBody(pieces, clock, transport, has_ended, math.inf if download else AHEAD_SECONDS)
            playing.start()
            return _Counted(playing, over)

        return EndlessReply(headers=HEADERS, start=attended(wanted.account, begin))

    return route


@frozen
class _Counted:
    """A body that is counted as a download until it is left. @ivar over: it is none any more."""

    playing: PacedBody
    over: Callable[[], None]

    @property
    def bytes_sent(self) -> int:
        """Bytes so far."""
        return self.playing.bytes_sent

    def leave(self) -> None:
        """Send nothing more."""
        self.playing.leave()
        self.over()


def _nothing() -> None:
    """There is nothing to count."""
