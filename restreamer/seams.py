"""The seams between layers: small typed protocols, implemented below or above, wired in assembly.

Two directions cross here. Frames come in through a L{FrameSink} that a L{PublishPoint} grants; muxed
bytes go out through a feed that a L{PlayPoint} opens. Nothing in this module imports Twisted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import define, field, frozen

from restreamer.media.frame import Frame
from restreamer.media.selection import TrackSelection
from restreamer.media.track import Track, Tracks


class Timer(Protocol):
    """A call that will be made later."""

    def cancel(self) -> None:
        """Do not make it."""
        ...

    def active(self) -> bool:
        """Whether it is still to be made."""
        ...


class Clock(Protocol):
    """Time as the core needs it: Twisted's IReactorTime, or a simulator's."""

    def seconds(self) -> float:
        """Monotonic seconds."""
        ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Timer:  # noqa: N802
        """Call C{callable(*args)} after C{delay} seconds."""
        ...


class Viewing(Protocol):
    """One session, as the protocol that serves it sees it."""

    @property
    def token(self) -> str:
        """What playlists append to their URIs as C{?token=}; empty: nothing."""
        ...

    @property
    def ranges(self) -> tuple[tuple[float, float], ...] | None:
        """UTC seconds (from, to) of the archive that it may play; None: all."""
        return None

    def count(self, size: int) -> None:
        """C{size} bytes of an answer were sent to it."""
        ...

    def goes_on(self, now: float) -> bool:
        """Another request came, alike to one that was granted a few seconds ago: whether it may be answered
        without asking the gate. @param now: monotonic seconds.
        """
        ...

    def show(self, until: int) -> None:
        """An answer of one piece has media up to C{until}, UTC ticks."""
        ...

    def give_back(self) -> None:
        """What was granted cannot be had: a session that took nothing and was told of to nobody never was."""
        ...

    def attach(self, sent: Callable[[], int], kick: Callable[[str], None]) -> Callable[[], None]:
        """A connection serves the session from now on, until the function given back is called.

        @param sent: bytes the connection has sent so far; asked now and then.
        @param kick: called with a reason, once, when the session may not go on: the protocol says so in its
            own words and closes the connection. It may be called before L{attach} returns.
        @return: to be called when the connection serves it no more. Idempotent.
        """
        ...


@define(eq=False)
class Account:
    """Where the gate leaves the session that it granted, for the protocol that asked.

    @ivar viewing: the session; None: there is none (a node's pull, or not granted).
    @ivar repeat: what the route leaves for more requests of the kind (L{restreamer.http1.reply.Repeat}).
    """

    viewing: Viewing | None = None
    repeat: Callable[[str], Any] | None = None


@frozen(kw_only=True)
class OpenRequest:
    """What somebody wants: one value for every protocol and for play and publish alike.

    @ivar name: a checked stream name (L{restreamer.media.names.check_stream_name}).
    @ivar action: C{"play"} or C{"publish"}.
    @ivar proto: protocol word: C{rtmp}, C{hls}, C{tshttp}, C{api}…
    @ivar peer: the address the connection comes from, without port.
    @ivar token: viewer token from C{?token=}, or empty. Never logged.
    @ivar password: publish password from C{?password=}, or empty. Never logged.
    @ivar query: the query string as received (may hold secrets: never logged).
    @ivar user_agent: as sent by the peer, cut to 256 characters; @ivar referer: likewise.
    @ivar part: it asks for a piece of what the viewer began to play before (a segment of a playlist).
    @ivar playback_id: what the player calls its session (C{X-Playback-Session-Id}), or empty.
    @ivar host: the host the request was sent to, without port, or empty.
    @ivar span: UTC ticks (from, to) of the archive it asks for; None: it is about live.
    @ivar account: where the gate leaves the session; None: nobody wants it.
    """

    name: str
    action: str
    proto: str
    peer: str
    token: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    query: str = field(default="", repr=False)
    user_agent: str = ""
    referer: str = ""
    part: bool = False
    playback_id: str = ""
    host: str = ""
    span: tuple[int, int] | None = None
    account: Account | None = field(default=None, eq=False, repr=False)


@frozen(kw_only=True)
class Grant:
    """Permission for one L{OpenRequest}. (Sessions will hang their identity and duration here.)"""

    request: OpenRequest


class Gate(Protocol):
    """The one place that says who may play and publish."""

    def open(self, request: OpenRequest) -> Awaitable[Grant]:
        """Decide on C{request}.

        @raise restreamer.errors.Refused: (from the awaitable) when it is not granted.
        """
        ...


class FrameSink(Protocol):
    """Where a publisher's frames go. All times are of the publisher's own clock, in ticks, unwrapped."""

    def configure(self, tracks: Tracks) -> None:
        """Announce the tracks, before the first frame and whenever they change."""
        ...

    def push(self, frames: Sequence[Frame]) -> float:
        """Take frames in the order they arrived.

        @return: seconds the publisher should not be read from, because it runs ahead of real time;
            0.0 almost always.
        """
        ...

    def dated(self, offset: int | None) -> None:
        """Say that C{offset} ticks lead from the publisher's clock to UTC, or that nothing is known of that.

        Said before the frames that it is to count for, and again when it is known better. Most never say it.
        """
        ...

    def end(self, reason: str) -> None:
        """The publisher left or was lost: nothing more will come. Idempotent."""
        ...


class CountingSink(Protocol):
    """What a L{FrameSink} may be besides: one that wants to know what its protocol counts."""

    def counted(self, told: Callable[[], Mapping[str, int]]) -> None:
        """C{told} gives, at any time and also after the end, what was counted so far, by name."""
        ...


def tell_counts(sink: FrameSink, told: Callable[[], Mapping[str, int]]) -> None:
    """Tell C{sink} how what is counted can be had, if it wants to know (L{CountingSink})."""
    counted = getattr(sink, "counted", None)
    if counted is not None:
        counted(told)


class PublishPoint(Protocol):
    """Grants publishers their sink: passes the gate, claims the name, opens the run."""

    def publish(self, request: OpenRequest, kick: Callable[[str], None]) -> Awaitable[FrameSink]:
        """Ask to publish C{request.name}.

        @param kick: called with a reason when the core wants the publisher gone (reload, stop); the
            protocol closes the connection and then calls L{FrameSink.end}.
        @raise restreamer.errors.Refused: BUSY when the name has a publisher, NOT_FOUND when no stream or
            template takes it, DENIED by the gate.
        """
        ...


class FeedMuxer(Protocol):
    """A container's live form: frames in, container bytes out, shared by all viewers of the feed.

    @ivar by_viewers: viewers bring such feeds about by what they ask for, so their number is bounded; False:
        the configuration does.
    """

    by_viewers: bool = True

    def carries(self, track: Track) -> bool:
        """Whether the container can carry C{track}; raises nothing. Others are not given to L{configure}."""
        ...

    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        """(Re)set the tracks; called before the first frame and at each new run or track change.

        @param tracks: those that the viewers of this feed chose and the container carries; L{mux} gets frames
            of no others.
        @param run_start: UTC ticks of the run's first frame (zero of the RTMP/FLV clock).
        @param discontinuity: timestamps or tracks break here: say so in the container's own way.
        """
        ...

    def farewell(self, tracks: Tracks) -> bytes | None:
        """What viewers get last, before they are ended, who cannot follow to C{tracks}; None: they can."""
        return None

    def mux(self, frame: Frame) -> bytes:
        """Container bytes of C{frame}, with whatever must stand before it (PSI, sequence headers)."""
        ...

    def join_prefix(self) -> bytes:
        """Private bytes for a viewer whose first entry is the keyframe that will be muxed next."""
        ...

    def skip_prefix(self) -> bytes:
        """Private bytes for a viewer that jumps forward to the keyframe that will be muxed next."""
        ...


class ViewerTransport(Protocol):
    """What a feed needs of a connection (a Twisted TCP or TLS transport satisfies it)."""

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        ...

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: N802
        """Twisted's IConsumer.registerProducer."""
        ...

    def unregisterProducer(self) -> None:  # noqa: N802
        """Twisted's IConsumer.unregisterProducer."""
        ...

    def loseConnection(self) -> None:  # noqa: N802
        """Close after what is queued."""
        ...

    def abortConnection(self) -> None:  # noqa: N802
        """Close now."""
        ...


class FeedViewer(Protocol):
    """One viewer of a feed, as its protocol sees it."""

    def leave(self) -> None:
        """Stop sending; the connection stays open and its producer is unregistered. Idempotent."""
        ...

    def write_aside(self, data: bytes) -> None:
        """Send control bytes (a ping, a status) in order with the media."""
        ...

    @property
    def bytes_sent(self) -> int:
        """Media bytes handed to the kernel or the transport so far."""
        ...


class Playable(Protocol):
    """A stream somebody was granted to play."""

    def tracks(self, container: str, selection: TrackSelection | None = None) -> Tracks:
        """What a viewer that joins now would be sent: to be asked before a protocol says yes.

        @raise restreamer.errors.Refused: as L{join}.
        """
        ...

    def join(
        self,
        container: str,
        transport: ViewerTransport,
        ended: Callable[[str], None],
        selection: TrackSelection | None = None,
    ) -> FeedViewer:
        """Put a viewer on the feed of C{container} (C{"mpegts"}, C{"rtmp"} …) at the newest keyframe.

        Whatever the protocol wrote to C{transport} before is sent first. The transport's producer slot
        belongs to the feed until L{FeedViewer.leave}.
        @param selection: the tracks the viewer wants; None: all that the container can carry.
        @param ended: called once with a reason when the stream ends for good or the viewer is dropped for
            being too slow (the connection is then already aborted); not called after C{leave}.
        @raise restreamer.errors.Refused: UNSUPPORTED when no such container is served, or it can carry none
            of the stream's tracks; NOT_FOUND when the stream has none of the chosen ones; OVERLOADED when too
            many different choices are being watched.
        """
        ...


@runtime_checkable
class PastViewer(FeedViewer, Protocol):
    """A viewer of the past.

    @ivar began: UTC ticks of what it was sent first; @ivar position: of what it is sent now. None: nothing.
    """

    began: int | None
    position: int | None


@runtime_checkable
class PastStream(Playable, Protocol):
    """A range of the past of a stream, that can be begun anywhere within."""

    @property
    def extent(self) -> tuple[int, int | None]:
        """From when to when it reaches, UTC ticks; None: it has no end."""
        ...

    def at(self, start: int, end: int | None = None) -> Playable:
        """The part between C{start} and C{end}, UTC ticks; None: all that follows.

        @raise restreamer.errors.Refused: BAD_NAME: C{start} is not within.
        """
        ...


class PlayPoint(Protocol):
    """Grants viewers their stream: passes the gate, finds or starts the stream, waits until it can play."""

    def play(self, request: OpenRequest) -> Awaitable[Playable]:
        """Ask to play C{request.name}; answers when the stream has tracks and a keyframe (bounded wait).

        @raise restreamer.errors.Refused: NOT_FOUND, NOT_READY after the wait, DENIED, OVERLOADED.
        """
        ...
