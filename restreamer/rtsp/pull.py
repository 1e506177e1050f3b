"""Pulls a stream from an RTSP server: interleaved, or over UDP where the input or the server says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IReactorUDP, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.buckets import Pace
from restreamer.errors import RemoteProtocolError
from restreamer.logs import Logger
from restreamer.rtp.incoming import MediaSection
from restreamer.rtp.receiver import RtpReceiver
from restreamer.rtsp.client_protocol import RtspClientError, RtspClientProtocol
from restreamer.rtsp.headers import Transport, parse_rtp_info, parse_transports
from restreamer.rtsp.limits import ServiceLimits
from restreamer.rtsp.message import Reply
from restreamer.rtsp.play_muxer import framed
from restreamer.rtsp.record_session import FrameSource, Section, sections_of
from restreamer.rtsp.redirection import MAX_REDIRECTIONS, REDIRECTIONS, elsewhere
from restreamer.rtsp.sdp import parse_sdp
from restreamer.rtsp.udp_ports import UdpPair, open_pair
from restreamer.seams import FrameSink
from restreamer.sources.pull import Pulling, PullTarget

_log = Logger()

#: Seconds from the beginning to the answer to PLAY.
BEGIN_SECONDS: Final = 10.0
#: A server that sends no media for so long is lost, seconds.
SILENCE_SECONDS: Final = 10.0
_TICK: Final = 0.1
_REPORT_EVERY: Final = 5.0
_MAX_PAUSE: Final = 10.0
#: An RTP packet without payload: opens the way through an address translator.
_PUNCH: Final = b"\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
_REORDER: Final = ServiceLimits().reorder

Connect = Callable[[str, int, bool], IStreamClientEndpoint]


@define(eq=False)
class _Received:
    """One track that is set up. @ivar channels: as the server numbers them."""

    section: MediaSection
    track_id: int
    url: str
    channels: tuple[int, int] = (0, 1)
    pair: UdpPair | None = None


class RtspPull(Pulling):
    """One pull; a L{restreamer.sources.pull.Pulling} that began when it was made."""

    def __init__(
        self,
        target: PullTarget,
        sink: FrameSink,
        lost: Callable[[str], None],
        clock: IReactorTime,
        connect: Connect,
    ) -> None:
        """Pull C{target} into C{sink}; C{lost} is told once why it is over.

        @param clock: for deadlines; UDP needs that it opens ports too.
        """
        self._target = target
        self._sink = sink
        self._lost = lost
        self._clock = clock
        self._connect = connect
        self._protocol: RtspClientProtocol | None = None
        self._tracks: list[_Received] = []
        self._channels: dict[int, tuple[int, bool]] = {}
        self._source: FrameSource | None = None
        self._heard = clock.seconds()
        self._reported = self._kept = clock.seconds()
        self._resume: IDelayedCall | None = None
        self._base = ""
        self._over = False
        self._working: Deferred[None] | None = None
        self._timer = clock.callLater(0.0, self._start)
        self._deadline = clock.callLater(
            BEGIN_SECONDS, self._end, f"the server did not begin to play within {BEGIN_SECONDS:.0f} s"
        )

    def _start(self) -> None:
        self._working = Deferred.fromCoroutine(self._run())
        _ = self._working.addErrback(self._failed)

    @override
    def stop(self) -> Any:
        """End it; nothing is reported after this."""
        if not self._over:
            protocol, url = self._protocol, self._base
            if protocol is not None and protocol.session:
                try:
                    protocol.tell("TEARDOWN", url)
                except RtspClientError:
                    pass
            self._finish("stopped")

    # The conversation.

    async def _describe(self) -> tuple[RtspClientProtocol, Reply]:
        """Ask for the description, wherever the server says that it is."""
        for _ in range(MAX_REDIRECTIONS + 1):
            protocol = await self._reach()
            url = self._url()
            try:
                try:
                    await protocol.ask("OPTIONS", url)
                except RtspClientError as error:
                    # Some know no OPTIONS, or answer it with 401 before all else.
                    if not error.status or error.status in REDIRECTIONS:
                        raise
                return protocol, await protocol.ask("DESCRIBE", url, {"Accept": "application/sdp"})
            except RtspClientError as error:
                if error.status not in REDIRECTIONS:
                    raise
                there = elsewhere(error.location, self._target)
                if there is None:
                    why = f"it sends us ({error.status}) where we do not follow"
                    raise RtspClientError(why, error.status)
            _log.info("RTSP {url}: is at {there}", url=self._target.shown, there=there.shown)
            self._target = there
            # What becomes of that connection does not matter any more.
            self._protocol = None
            protocol.close("the server sends us elsewhere")
        raise RtspClientError(f"more than {MAX_REDIRECTIONS} redirections")

    async def _reach(self) -> RtspClientProtocol:
        target = self._target
        endpoint = self._connect(target.host, target.port, target.tls)
        factory = Factory.forProtocol(self._make)
        factory.noisy = False
        protocol = await endpoint.connect(factory)
        assert isinstance(protocol, RtspClientProtocol)
        if self._over:
            protocol.close("stopped")
            raise CancelledError
        return protocol

    async def _run(self) -> None:
        protocol, reply = await self._describe()
        url, target = self._url(), self._target
        base = reply.header("content-base") or reply.header("content-location") or url
        description = parse_sdp(reply.body)
        self._base = base if description.control in ("", "*") else resolve(base, description.control)
        usable = [section for section in sections_of(description) if section.known is not None]
        if not usable:
            raise RemoteProtocolError("RTSP server", "none of its tracks can be received")
        usable.sort(key=lambda section: section.track_id)
        tcp = target.options.get("transport", "tcp") != "udp"
        for section in usable:
            tcp = await self._set_up(protocol, section, resolve(base, section.control), tcp)
        known = [(track.track_id, track.section) for track in self._tracks]
        receiver = RtpReceiver(known, 0 if tcp else _REORDER)
        self._source = FrameSource(receiver, self._sink, Pace(ServiceLimits().packet_bytes))
        for index, track in enumerate(self._tracks):
            if track.pair is not None:
                track.pair.send_rtp(_PUNCH)
            else:
                self._channels[track.channels[0]] = index, False
                self._channels[track.channels[1]] = index, True
        self._heard = self._clock.seconds()
        answer = await protocol.ask("PLAY", self._base, {"Range": "npt=now-"})
        self._begin(receiver, answer)
        self._deadline.cancel()
        _log.info("RTSP {url}: plays {tracks} tracks", url=target.shown, tracks=len(self._tracks))
        self._kept = self._heard = self._clock.seconds()
        self._timer = self._clock.callLater(_TICK, self._tick)

    def _make(self) -> RtspClientProtocol:
        target = self._target

        def ended(reason: str) -> None:
            if made is self._protocol:
                self._end(reason)

        made = RtspClientProtocol(
            self._clock, target.user, target.password, self._frame, ended, target.cleaned
        )
        self._protocol = made
        return made

    def _url(self) -> str:
        target = self._target
        host = f"[{target.host}]" if ":" in target.host else target.host
        usual = target.port == (322 if target.tls else 554)
        place = host if usual else f"{host}:{target.port}"
        query = f"?{target.query}" if target.query else ""
        return f"{'rtsps' if target.tls else 'rtsp'}://{place}{target.path or '/'}{query}"

    async def _set_up(self, protocol: RtspClientProtocol, section: Section, url: str, tcp: bool) -> bool:
        """Set one track up; whether it comes interleaved."""
        assert section.known is not None
        track = _Received(section.known, section.track_id, url)
        if tcp:
            first = 2 * len(self._tracks)
            wanted = Transport(tcp=True, channels=(first, first + 1))
            try:
                reply = await protocol.ask("SETUP", url, {"Transport": str(wanted)})
            except RtspClientError as error:
                if error.status != 461 or self._tracks or self._target.tls:
                    raise
                tcp = False
            else:
                chosen = _transport(reply)
                track.channels = chosen.channels or (first, first + 1)
        if not tcp:
            index = len(self._tracks)
            pair = track.pair = self._open(protocol, index)
            # Ports belong to the track from here on: they are closed with it.
            self._tracks.append(track)
            wanted = Transport(tcp=False, client_ports=(pair.ports[0], pair.ports[1]))
            chosen = _transport(await protocol.ask("SETUP", url, {"Transport": str(wanted)}))
            if chosen.server_ports is not None:
                pair.remote = chosen.server_ports
            return False
        self._tracks.append(track)
        return True

    def _open(self, protocol: RtspClientProtocol, index: int) -> UdpPair:
        reactor: Any = self._clock
        if not IReactorUDP.providedBy(reactor):
            raise RtspClientError("UDP cannot be had here")
        here, there = protocol.wire.getHost().host, protocol.wire.getPeer().host
        pair = open_pair(
            reactor,
            here,
            there,
            partial(self._packet, index, False),
            partial(self._packet, index, True),
            _nothing,
        )
        if pair is None:
            raise RtspClientError("no pair of UDP ports is free")
        return pair

    def _begin(self, receiver: RtpReceiver, answer: Reply) -> None:
        """Use where the tracks begin, as the server tells."""
        told = parse_rtp_info(answer.header("rtp-info"))
        for info in told:
            for index, track in enumerate(self._tracks):
                if track.url == resolve(self._base, info.url) or track.url.endswith("/" + info.url):
                    receiver.begins(index, info.sequence, info.rtptime)

    # Media.

    def _frame(self, channel: int, data: bytes) -> None:
        place = self._channels.get(channel)
        if place is not None:
            self._packet(*place, data)

    def _packet(self, index: int, control: bool, data: bytes) -> None:
        source = self._source
        if source is None or self._over:
            return
        now = self._clock.seconds()
        if not control:
            self._heard = now
        try:
            if self._tracks[index].pair is not None:
                source.datagram(index, control, data, now)
            else:
                source.packet(index, control, data, now)
                if source.wait > 0:
                    self._pause(source)
        except Exception:
            self._crashed()

    def _pause(self, source: FrameSource) -> None:
        """The stream runs ahead of time: read no more for a while."""
        wait, source.wait = min(source.wait, _MAX_PAUSE), 0.0
        protocol = self._protocol
        if protocol is not None and self._resume is None and self._channels:
            protocol.wire.pauseProducing()
            self._resume = self._clock.callLater(wait, self._go_on)

    def _go_on(self) -> None:
        self._resume = None
        self._heard = self._clock.seconds()
        if self._protocol is not None and not self._over:
            self._protocol.wire.resumeProducing()

    def _tick(self) -> None:
        """Deadlines, what has waited long enough, reports, and signs of life."""
        self._timer = self._clock.callLater(_TICK, self._tick)
        source, protocol, now = self._source, self._protocol, self._clock.seconds()
        if source is None or protocol is None:
            return
        try:
            source.take(source.receiver.overdue(now))
            if now - self._heard > SILENCE_SECONDS and self._resume is None:
                self._end(f"no media for {SILENCE_SECONDS:.0f} s")
            elif source.receiver.ended:
                self._end("the server ended the stream")
            else:
                if now - self._reported >= _REPORT_EVERY:
                    self._reported = now
                    self._report(source.receiver, protocol, now)
                if now - self._kept >= max(1, min(protocol.timeout, 60) // 2):
                    self._kept = now
                    method = "GET_PARAMETER" if "GET_PARAMETER" in protocol.public else "OPTIONS"
                    protocol.tell(method, self._base)
        except RtspClientError as error:
            self._end(str(error))
        except Exception:
            self._crashed()

    def _report(self, receiver: RtpReceiver, protocol: RtspClientProtocol, now: float) -> None:
        for index, packet in receiver.receiver_reports(1, now):
            track = self._tracks[index]
            if track.pair is not None:
                track.pair.send_rtcp(packet)
            else:
                protocol.write(framed(track.channels[1], packet))

    # The end.

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return
        if failure.check(RemoteProtocolError) is None and failure.check(OSError) is None:
            _log.debug("RTSP {url}: {why}", url=self._target.shown, why=failure.getErrorMessage())
        self._end(failure.getErrorMessage() or "the connection failed")

    def _crashed(self) -> None:
        _log.failure("RTSP {url}: the pull failed", url=self._target.shown)
        self._end("internal error")

    def _end(self, reason: str) -> None:
        """It is over: the sink ends, then who began it is told."""
        if not self._over:
            self._finish(reason)
            self._lost(reason)

    def _finish(self, reason: str) -> None:
        self._over = True
        for call in (self._timer, self._deadline, self._resume):
            if call is not None and call.active():
                call.cancel()
        if self._working is not None:
            self._working.cancel()
        if self._protocol is not None:
            self._protocol.close(reason)
        for track in self._tracks:
            if track.pair is not None:
                track.pair.close()
        source, self._source = self._source, None
        try:
            if source is not None:
                source.take(source.receiver.flush())
        except Exception:
            _log.failure("RTSP {url}: ending the pull failed", url=self._target.shown)
        finally:
            self._sink.end(reason)


def _nothing() -> None:
    """Datagrams of strangers are not counted here."""


def resolve(base: str, control: str) -> str:
    """The URL of C{control} (RFC 2326 appendix C.1.1): absolute, or behind C{base} as clients do it."""
    if not control or control == "*":
        return base
    if control.lower().startswith(("rtsp://", "rtsps://", "rtspu://")):
        return control
    return base + control if base.endswith("/") else f"{base}/{control}"


def _transport(reply: Reply) -> Transport:
    found = parse_transports(reply.header("transport"))
    if not found:
        raise RtspClientError("SETUP was answered without a transport")
    return found[0]
