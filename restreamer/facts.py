"""What parts of a node tell of themselves when they are asked: plain values, for the API and the log."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class InputFacts:
    """One input of a stream, in its order.

    @ivar url: how it is called, without any secret: C{publish}, C{file://…}, C{m4f://host:port/name}.
    @ivar proto: protocol word: C{publish}, C{m4f}, C{m4fs}, C{file}, C{backup}.
    @ivar state: C{idle}, C{standby}, C{trying}, C{feeding} or C{held}.
    @ivar priority: its place in the order of preference as it is now, from 1.
    @ivar switches: how often it took the stream over from another input.
    @ivar frames, @ivar bytes: taken from it so far; bytes are frame bodies.
    @ivar since: UTC ticks of the last change of C{state}; None when it never left its first one.
    @ivar seconds: how long it has fed the stream altogether, until now.
    @ivar retries: attempts after a failure; @ivar errors: failures. @ivar last_error: the newest, or empty.
    @ivar lag: ticks from the newest frame's timestamp to its arrival here; None before the first.
    @ivar counters: what was counted of it so far, by name; C{errors_…} are faults.
    """

    url: str
    proto: str
    state: str
    priority: int = 0
    switches: int = 0
    frames: int = 0
    bytes: int = 0
    since: int | None = None
    seconds: float = 0.0
    retries: int = 0
    errors: int = 0
    last_error: str = ""
    lag: int | None = None
    counters: Mapping[str, int] = field(factory=dict)


@frozen(kw_only=True)
class SourceFacts:
    """One source: a node whose streams are restreamed here.

    @ivar address: C{host:port}. @ivar proto: C{m4f} or C{m4fs}. @ivar position: place in the file, from 0.
    @ivar connected: its control link is up. @ivar node_id: of the node at the other end; empty before the
        first link. @ivar since: UTC ticks of the last change of C{connected}; None when it never was.
    @ivar bytes_in, @ivar bytes_out: on all links to it so far, protocol included.
    @ivar listed: streams it lists; @ivar pulled: those it feeds here now; @ivar standbys: links that are open
        and wait to feed. @ivar losses: control links lost so far; @ivar last_error: why there is none, or why
        the last one was lost.
    @ivar round_trip: seconds, as the kernel measures it on the control link; None when it cannot be had.
    """

    address: str
    proto: str = "m4f"
    position: int = 0
    connected: bool = False
    node_id: bytes = b""
    since: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    listed: int = 0
    pulled: int = 0
    standbys: int = 0
    losses: int = 0
    last_error: str = ""
    round_trip: float | None = None


@frozen(kw_only=True)
class PeerFacts:
    """One peer: a node whose streams are known here and not taken.

    @ivar address: C{host:port}. @ivar proto: C{m4f} or C{m4fs}. @ivar public: where viewers are sent, a URL.
    @ivar connected: its link is up and brought its whole list. @ivar node_id: as in L{SourceFacts}.
    @ivar since: UTC ticks of the last change of C{connected}; None when it never was.
    @ivar bytes_in, @ivar bytes_out: on its link so far. @ivar listed: streams it offers to viewers from here;
        @ivar running: those among them that run. @ivar losses, @ivar last_error, @ivar round_trip: as in
        L{SourceFacts}.
    @ivar clients, @ivar bitrate_out: viewers it has and bits per second it sends, as it said last.
    @ivar sent: viewers sent there so far.
    """

    address: str
    proto: str = "m4f"
    public: str = ""
    connected: bool = False
    node_id: bytes = b""
    since: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    listed: int = 0
    running: int = 0
    losses: int = 0
    last_error: str = ""
    round_trip: float | None = None
    clients: int = 0
    bitrate_out: int = 0
    sent: int = 0


@frozen(kw_only=True)
class BalancerFacts:
    """One balancer.

    @ivar mode: what it compares. @ivar peers: address of each peer, whether it is there, and the most it may
        send, bits/s (0: not told).
    """

    name: str
    mode: str
    peers: tuple[tuple[str, bool, int], ...] = ()


@frozen(kw_only=True)
class PushFacts:
    """One stream pushed to one node.

    @ivar url: C{m4f://host:port/name}. @ivar connected: the other node takes it now.
    @ivar wanted: it is offered now: the stream runs. @ivar node_id: of the other node; empty before a link.
    @ivar since: UTC ticks of the last change of C{connected}; None when it never was taken.
    @ivar bytes_in, @ivar bytes_out: on all links of the push so far, protocol included.
    @ivar takings: how often it was taken. @ivar last_error: why it ended, is not taken or waits.
    @ivar lost: datagrams that were not sent or that nobody took; None: it sends none.
    """

    stream: str
    url: str
    connected: bool = False
    wanted: bool = False
    node_id: bytes = b""
    since: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    takings: int = 0
    last_error: str = ""
    lost: int | None = None


@frozen(kw_only=True)
class PusherFacts:
    """The node that pushes a stream into this one.

    @ivar address: it connected from there. @ivar stream: what it calls the stream. @ivar since: UTC ticks.
    @ivar frames, @ivar bytes: taken over this link; bytes are frame bodies.
    """

    node_id: bytes
    address: str
    stream: str
    since: int
    frames: int = 0
    bytes: int = 0


@frozen(kw_only=True)
class WorkerFacts:
    """A process that serves viewers.

    @ivar place: from 1. @ivar starts: processes in its place so far. @ivar pid: None: there is none now.
    @ivar ready: it listens. @ivar connections, sent, resident, cpu, late: as it told last: connections,
        bytes, bytes, seconds of processor time, seconds by which its timers came late; None: it told nothing.
    """

    place: int
    starts: int
    pid: int | None
    ready: bool
    connections: int | None = None
    sent: int | None = None
    resident: int | None = None
    cpu: float | None = None
    late: float | None = None
