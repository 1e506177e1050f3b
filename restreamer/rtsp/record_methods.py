"""What a publisher asks for: ANNOUNCE, SETUP, RECORD (RFC 2326 sections 10.3, 10.4, 10.11)."""

from __future__ import annotations

from typing import Final

from restreamer.buckets import Pace
from restreamer.errors import Reason, Refused
from restreamer.logs import Logger
from restreamer.rtsp.headers import Transport
from restreamer.rtsp.message import Reply, Request
from restreamer.rtsp.play_muxer import framed
from restreamer.rtsp.record_session import RecordSession, Section, sections_of
from restreamer.rtsp.sdp import parse_sdp
from restreamer.rtsp.server_parts import Answer, refusal
from restreamer.rtsp.session_core import SessionCore
from restreamer.rtsp.states import State
from restreamer.rtsp.target import Target, parse_target

_log = Logger()

#: Seconds between two receiver reports to a publisher.
_REPORT_EVERY: Final = 5.0
_GUESSES: Final = "too many refused publishes from this address, try again in a minute"
_WRONG: Final = "wrong password"


class RecordMethods(SessionCore):
    """The methods of publishers."""

    def frame(self, channel: int, data: bytes, now: float) -> None:
        """An interleaved frame; it means something while a publisher records."""
        if self.record is not None and self.state is State.RECORDING:
            self.record.interleaved(channel, data, now)

    async def _announce(self, request: Request, sequence: str) -> Reply | None:
        target = parse_target(request.url)
        name = target.published
        if not request.header("content-type").lower().startswith("application/sdp"):
            raise refusal(415)
        self._link.what = f"publish {name}"
        password = self._password(name, target, request)
        sections = sections_of(parse_sdp(request.body))
        if all(section.known is None for section in sections):
            raise Refused(Reason.UNSUPPORTED, "none of the announced tracks can be received")
        try:
            sink = await self._admitted(
                self._parts.publish_point.publish(
                    self._open_request(name, "publish", target, password), self._kicked
                )
            )
        except Refused as error:
            if password and error.reason is Reason.DENIED:
                self._parts.failed.failed(self._link.peer, self._clock.seconds())
            raise
        if self._link.closed:
            sink.end("the publisher left while it was being admitted")
            return None
        self._parts.counters.publishes += 1
        self.served = True
        _log.info(
            "RTSP {peer}: publish of {name} granted to {agent!r}",
            peer=self._link.peer,
            name=name,
            agent=self._link.agent,
        )
        self.record = RecordSession(
            number=self._parts.random(8).hex(),
            name=name,
            path=target.path,
            sections=sections,
            sink=sink,
            heard=self._clock.seconds(),
        )
        return Reply(status=200, headers=self._session_header())

    def _password(self, name: str, target: Target, request: Request) -> str:
        """The password that came with the request; empty when none is wanted.

        @raise Answer: 401 with a fresh challenge, or 403 for an address that guesses.
            Where one was brought, the log and the answer tell what was wrong with it.
        """
        given = target.value("password")
        wanted = self._parts.password_of(name)
        if not wanted:
            return given
        now = self._clock.seconds()
        header = request.header("authorization")
        why = ""
        if given or header:
            if self._parts.failed.blocked(self._link.peer, now):
                self.say_refused(f"{request.method} of {name}", _GUESSES)
                raise Answer(Reply(status=403, headers={"X-Reason": _GUESSES}), close=True)
            if given:
                return given
            if self._challenge.proves(header, request.method, request.url, wanted, now):
                return wanted
            self._parts.failed.failed(self._link.peer, now)
            why = _WRONG
            self.say_refused(f"{request.method} of {name}", why)
        told = {"X-Reason": why} if why else {}
        raise Answer(Reply(status=401, headers=told, challenges=self._challenge.ask(now)))

    def _set_up_record(
        self, session: RecordSession, target: Target, url: str, choices: list[Transport]
    ) -> Reply:
        section = session.section(target.path, url)
        if section is None:
            raise refusal(404)
        if section.set_up:
            raise refusal(455)
        choice = self._chosen(choices, session.tcp, record=True)
        if choice.tcp:
            channels = choice.channels or _free_channels(session)
            if channels[0] in session.channels or channels[1] in session.channels:
                raise refusal(461)
            section.channels = channels
            session.channels[channels[0]] = session.channels[channels[1]] = section
            told = Transport(tcp=True, channels=channels, record=True)
        else:
            pair = section.pair = self._open_pair(section)
            assert choice.client_ports is not None
            pair.remote = choice.client_ports
            told = Transport(
                tcp=False, client_ports=choice.client_ports, server_ports=pair.ports, record=True
            )
        session.tcp = choice.tcp
        self.state = State.READY
        return Reply(status=200, headers={"Transport": str(told), **self._session_header()})

    async def _start_record(self, request: Request, sequence: str) -> Reply | None:
        session = self.record
        assert session is not None
        if session.source is None:
            limits = self._limits
            pace = Pace(limits.packet_bytes, limits.publisher_rate, limits.publisher_burst)
            if not session.begin(0 if session.tcp else limits.reorder, pace):
                raise refusal(415)
        session.heard = self._clock.seconds()
        self.state = State.RECORDING
        return Reply(status=200, headers=self._session_header())

    def _kicked(self, reason: str) -> None:
        """The core wants the publisher gone."""
        if not self._link.closed:
            self._link.close(f"told to leave: {reason}")

    def receive_tick(self, session: RecordSession, now: float) -> None:
        """Give on what has waited long enough, and report what was received."""
        source = session.source
        if source is None:
            return
        try:
            source.take(source.receiver.overdue(now))
            if now - self._reported >= _REPORT_EVERY:
                self._reported = now
                sections = [section for section in session.sections if section.index is not None]
                for index, packet in source.receiver.receiver_reports(1, now):
                    self._report(sections[index], packet)
            if source.receiver.ended:
                self._link.close("the publisher said goodbye")
        except Exception:
            self._link.crashed()

    def _report(self, section: Section, packet: bytes) -> None:
        if section.pair is not None:
            section.pair.send_rtcp(packet)
        elif section.channels is not None:
            self._link.write(framed(section.channels[1], packet))


def _free_channels(session: RecordSession) -> tuple[int, int]:
    first = next(channel for channel in range(0, 254, 2) if channel not in session.channels)
    return first, first + 1
