"""What a player asks for: DESCRIBE, SETUP, PLAY, PAUSE (RFC 2326 sections 10.2, 10.4 to 10.6)."""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve

from restreamer.errors import Reason, Refused, RemoteProtocolError
from restreamer.live.kernel_backlog import bound_backlog
from restreamer.logs import Logger
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.rtp.rtcp import goodbye
from restreamer.rtsp.description import describe
from restreamer.rtsp.headers import Transport
from restreamer.rtsp.message import Reply, Request
from restreamer.rtsp.play_muxer import channel_of, framed
from restreamer.rtsp.play_range import PlayRange, clock_range, npt_range, parse_range
from restreamer.rtsp.play_session import CONTAINER, Granted, PlaySession
from restreamer.rtsp.player_port import DatagramPort, InterleavedPort
from restreamer.rtsp.server_parts import Answer, refusal, written
from restreamer.rtsp.session_core import SessionCore
from restreamer.rtsp.states import State
from restreamer.rtsp.target import Target, parse_target
from restreamer.seams import PastStream, PastViewer, Playable
from restreamer.viewers.attendance import Attendance

_log = Logger()

_CNAME: Final = b"restreamer"


def _invalid_range(why: str) -> Answer:
    return Answer(Reply(status=457, headers={"X-Reason": why}))


class PlayMethods(SessionCore):
    """The methods of players."""

    async def _describe(self, request: Request, sequence: str) -> Reply | None:
        accept = request.header("accept")
        if accept and "application/sdp" not in accept and "*/*" not in accept:
            raise refusal(406)
        target = parse_target(request.url)
        granted = await self._grant(target)
        reach = "npt=now-"
        if isinstance(granted.playable, PastStream):
            start, end = granted.playable.extent
            reach = npt_range(0, end - start if end is not None else None)
        body = describe(granted.name, granted.tracks, reach)
        return Reply(
            status=200,
            headers={
                "Content-Base": target.base,
                "Content-Type": "application/sdp",
                "Cache-Control": "no-cache",
            },
            body=body,
        )

    async def _grant(self, target: Target) -> Granted:
        """Ask whether the stream may be played.

        @raise Refused: it may not.
        """
        name, selection = target.played, target.selection
        self._link.what = f"play {name}"
        request = self._open_request(name, "play", target)
        playable = await self._admitted(self._parts.play_point.play(request))
        granted = Granted(name, playable, selection, request)
        if self.play is None:
            self._granted = granted
        return granted

    async def _set_up_play(self, target: Target, choices: list[Transport]) -> Reply:
        name = target.played
        session = self.play
        granted = session.granted if session is not None else self._granted
        if session is not None and granted is not None and granted.name != name:
            raise refusal(459)
        if granted is None or granted.name != name:
            granted = await self._grant(target)
        tracks = granted.tracks
        number = target.track_id
        if number is None:
            if len(tracks) != 1:
                raise refusal(459)
            number = tracks[0].track_id
        if all(track.track_id != number for track in tracks):
            raise refusal(404)
        if session is not None and number in session.tracks:
            raise refusal(455)
        choice = self._chosen(choices, session.tcp if session is not None else None, record=False)
        pair = None if choice.tcp else self._open_pair(None)
        if session is None:
            session = self.play = PlaySession(
                number=self._parts.random(8).hex(),
                granted=granted,
                base=target.base,
                tcp=choice.tcp,
                heard=self._clock.seconds(),
                attendance=Attendance(granted.account, self._play_over),
            )
        session.tracks[number] = pair
        self.state = State.READY
        channel = channel_of(number)
        if pair is None:
            told = Transport(tcp=True, channels=(channel, channel + 1))
        else:
            assert choice.client_ports is not None
            pair.remote = choice.client_ports
            told = Transport(tcp=False, client_ports=choice.client_ports, server_ports=pair.ports)
        return Reply(status=200, headers={"Transport": str(told), **self._session_header()})

    async def _start_play(self, request: Request, sequence: str) -> Reply | None:
        session = self.play
        assert session is not None
        try:
            wanted = parse_range(request.header("range"))
        except RemoteProtocolError as error:
            raise _invalid_range(str(error)) from None
        # Neither is done: what is done is told (sections 12.34 and 12.35).
        headers = {word: "1" for word in ("Scale", "Speed") if request.header(word.lower())}
        headers |= self._session_header()
        if self.state is State.PLAYING:
            past = isinstance(session.granted.playable, PastStream)
            moves = wanted is not None and (
                wanted.start is not None if past else wanted.clock or session.past
            )
            if not moves:
                return Reply(status=200, headers={"Range": self._told(session), **headers})
            session.pause()
            self._link.produce()
            self.state = State.READY
        playable = await self._moved(session, wanted)
        if self._link.closed or self.play is not session:
            return None
        choice = session.choice()
        self._parts.counters.plays += 1
        self.served = True
        _log.info(
            "RTSP {peer}: play of {name} granted to {agent!r}",
            peer=self._link.peer,
            name=session.granted.name,
            agent=self._link.agent,
        )

        def answer(first: bytes) -> bytes:
            told = {"Range": self._told(session), **headers, "RTP-Info": session.rtp_info(first)}
            return written(Reply(status=200, headers=told), sequence)

        self.state = State.PLAYING
        session.heard = self._clock.seconds()
        if session.tcp:
            self._link.unproduce()
            bound_backlog(self._link.wire)
            port: Any = InterleavedPort(self._link.wire, answer)
        else:
            port = session.port = DatagramPort(
                self._clock, session.send, lambda first: self._link.write(answer(first)), self._link.abort
            )
        try:
            viewer = playable.join(CONTAINER, port, self._play_over, choice)
        except BaseException:
            self.state = State.READY
            session.pause()
            self._link.produce()
            raise
        if self._link.closed or self.play is not session:
            viewer.leave()
        else:
            session.viewer = viewer
            session.attendance.begin(viewer)
        return None

    async def _moved(self, session: PlaySession, wanted: PlayRange | None) -> Playable:
        """What is to be played: from where it was paused, unless C{wanted} says so otherwise.

        @raise Answer: 457: there is nothing.
        """
        granted, paused = session.granted, session.paused
        session.paused = None
        stream = granted.playable
        of_past = isinstance(stream, PastStream)
        try:
            if wanted is not None and wanted.clock and wanted.start is not None:
                if not isinstance(stream, PastStream):
                    stream = await self._past(granted, wanted.start)
                stream = stream.at(wanted.start, wanted.end)
            elif wanted is not None and wanted.start is not None and isinstance(stream, PastStream):
                zero = stream.extent[0]
                end = zero + wanted.end if wanted.end is not None else None
                stream = stream.at(zero + wanted.start, end)
            elif session.past is not None and paused is not None and (wanted is None or of_past):
                position, end = paused
                position = max(position, session.past.extent[0])
                stream = session.past.at(position if end is None else min(position, end - 1), end)
        except Refused as error:
            if error.reason not in (Reason.BAD_NAME, Reason.NOT_FOUND):
                raise
            raise _invalid_range(error.text) from None
        session.past = stream if isinstance(stream, PastStream) else None
        return stream

    async def _past(self, granted: Granted, start: int) -> PastStream:
        """The past of a stream that is granted live.

        @raise Refused: there is none, or it may not be played.
        """
        if granted.request is None:
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
        query = "&".join(filter(None, [granted.request.query, f"from={start // TICKS_PER_SECOND}"]))
        found = await self._admitted(self._parts.play_point.play(evolve(granted.request, query=query)))
        if not isinstance(found, PastStream):
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
        return found

    @staticmethod
    def _told(session: PlaySession) -> str:
        """What is being played, as a Range: of the past from what was sent first."""
        if session.past is None:
            return "npt=now-"
        start, end = session.past.extent
        if isinstance(session.viewer, PastViewer) and session.viewer.began is not None:
            start = session.viewer.began
        whole = session.granted.playable
        if not isinstance(whole, PastStream):
            return clock_range(start, end)
        zero = whole.extent[0]
        return npt_range(start - zero, end - zero if end is not None else None)

    async def _pause(self, request: Request, sequence: str) -> Reply | None:
        if self.play is not None:
            self.play.pause()
            self._link.produce()
        self.state = State.READY
        return Reply(status=200, headers=self._session_header())

    def _play_over(self, reason: str) -> None:
        """The feed has no more for us, or the session may not go on."""
        if self.play is not None:
            viewer, self.play.viewer = self.play.viewer, None
            if viewer is not None:
                self.play.attendance.pause()
                viewer.leave()
            if self.play.port is not None:
                self.play.port.finish()
        if not self._link.closed:
            self.say_goodbye()
            self._link.close(reason)

    def say_goodbye(self) -> None:
        """Tell a player that its tracks have ended."""
        session = self.play
        if session is None or self.state is not State.PLAYING:
            return
        packet = goodbye(int.from_bytes(self._parts.random(4), "big"), _CNAME)
        for number in session.tracks:
            channel = channel_of(number) + 1
            if session.tcp:
                self._link.write(framed(channel, packet))
            else:
                session.send([(channel, packet)])
