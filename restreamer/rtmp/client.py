"""The client's side of one RTMP connection without I/O: publish or play one stream.

Feed L{ClientConnection.receive}, write L{ClientConnection.data_to_send}. The dialogue is that of the usual
encoders and players: chunk size, connect, (releaseStream, FCPublish,) createStream, publish or play. After
L{Ready} a publisher calls C{configure} and C{send}; a player gets Audio, Video and Data messages.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from attrs import field, frozen

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.flv.dialect import Dialect
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.rtmp import status
from restreamer.rtmp.capabilities import (
    CAN_DECODE,
    CAN_FORWARD,
    Capabilities,
    our_capabilities,
    read_capabilities,
)
from restreamer.rtmp.chunk_reader import DEFAULT_CHUNK_SIZE, ChunkReader
from restreamer.rtmp.handshake import ClientHandshake
from restreamer.rtmp.limits import WireLimits
from restreamer.rtmp.message import (
    Acknowledgement,
    Audio,
    Command,
    Data,
    Message,
    SetChunkSize,
    UserControl,
    UserEvent,
    Video,
    WindowAckSize,
    decode,
    encode,
)
from restreamer.rtmp.play_muxer import PLAY_CHUNK_SIZE, RtmpFeedMuxer
from restreamer.rtmp.url import RtmpUrl

OUT_CHUNK_SIZE = PLAY_CHUNK_SIZE
_WINDOW = 2_500_000
_BUFFER_MS = 3000
_CLIENT = "FMLE/3.0 (compatible; restreamer)"
_MASK = 0xFFFFFFFF
_MAX_TEXT = 255


class Action(enum.Enum):
    """What a client is for."""

    PUBLISH = "publish"
    PLAY = "play"


@frozen
class Ready:
    """The server granted the publish or play."""


@frozen
class Ended:
    """The server refused, or ended the stream.

    @ivar code: its status code; @ivar text: its words.
    @ivar redirect: the URL where it says that the stream is, or empty.
    """

    code: str
    text: str
    redirect: str = field(default="", repr=False)


@frozen
class ReconnectAsked:
    """The server asks for a new connection (Enhanced RTMP), to C{tc_url} unless that is empty."""

    tc_url: str


ClientEvent = Ready | Ended | ReconnectAsked | Audio | Video | Data

_CONNECT, _RELEASE, _FC_PUBLISH, _CREATE = 1, 2, 3, 4
_STARTS = (status.PUBLISH_START, status.PLAY_START)
_ENDS = (status.PLAY_STOP, status.PLAY_UNPUBLISHED)


class ClientConnection:
    """One connection, seen from the client."""

    def __init__(
        self,
        url: RtmpUrl,
        action: Action,
        nonce: bytes,
        limits: WireLimits | None = None,
        digest: bool = False,
    ) -> None:
        """Ask for C{url}. C{nonce}: L{restreamer.rtmp.handshake.NONCE} random bytes; C{digest}: the
        handshake of Flash instead of the plain one.
        """
        self._url = url
        self._action = action
        self._limits = limits or WireLimits()
        self._handshake = ClientHandshake(nonce, digest)
        self._chunks = ChunkReader(self._limits)
        self._out: list[bytes] = [self._handshake.start()]
        self._out_chunk = DEFAULT_CHUNK_SIZE
        self._stream_id = 0
        self._window = _WINDOW
        self._acknowledged = 0
        self._muxer: RtmpFeedMuxer | None = None
        self._unsent = True
        self._ended = False
        self.received = 0
        self.ready = False
        self.server = Capabilities()

    @property
    def stream_id(self) -> int:
        """The message stream that the server gave; 0 before."""
        return self._stream_id

    def data_to_send(self) -> bytes:
        """What must be written now; empty when nothing."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Take bytes and say what they mean.

        @raise RemoteProtocolError: close the connection.
        """
        self.received += len(data)
        if not self._handshake.done:
            reply = self._handshake.receive(data)
            if reply:
                self._out.append(reply)
            if not self._handshake.done:
                return []
            self._connect()
            data = self._handshake.trailing
        events: list[ClientEvent] = []
        for raw in self._chunks.receive(data):
            message = decode(raw, self._limits.control_bytes)
            if isinstance(message, Audio | Video | Data):
                events.append(message)
            elif isinstance(message, Command):
                self._command(message, events)
            else:
                self._control(message)
        if self.received - self._acknowledged >= self._window:
            self._acknowledged = self.received
            self._send(Acknowledgement(self.received & _MASK))
        return events

    # Publishing.

    def configure(self, tracks: Tracks, title: str = "", dialect: Dialect | None = None) -> None:
        """Send onMetaData and the sequence headers of C{tracks}.

        @param dialect: how they are written; None: as the server said that it reads them.
        @raise LocalProtocolError: before L{Ready}, or on a player.
        """
        self._may_publish()
        if self._muxer is not None:
            self._muxer.configure(tracks, self._muxer.run_start, True)
            return
        if dialect is None:
            dialect = self.server.dialect(tracks)
        self._muxer = RtmpFeedMuxer(title, dialect, self._stream_id, publish=True)
        self._muxer.configure(tracks, 0, False)
        self._out.append(self._muxer.join_prefix())

    def send(self, frame: Frame) -> None:
        """Send one frame; times count from the first one's DTS. A track not configured is passed over.

        @raise LocalProtocolError: before L{Ready}, or on a player.
        """
        self._may_publish()
        muxer = self._muxer
        if muxer is None:
            return
        if self._unsent:
            self._unsent = False
            muxer.run_start = frame.dts
        self._out.append(muxer.mux(frame))

    def close(self) -> None:
        """Say goodbye: unpublish and delete the stream; then close the connection."""
        if self._stream_id and not self._ended:
            self._ended = True
            if self._action is Action.PUBLISH:
                self._send(Command("FCUnpublish", 5, None, (self._url.key,)))
            self._send(Command("deleteStream", 6, None, (float(self._stream_id),)))

    def _may_publish(self) -> None:
        if self._action is not Action.PUBLISH or not self.ready:
            raise LocalProtocolError("media may be sent only after the publish was granted")

    def _send(self, message: Message) -> None:
        self._out.append(encode(message, self._out_chunk))

    # The dialogue.

    def _connect(self) -> None:
        self._send(SetChunkSize(OUT_CHUNK_SIZE))
        self._out_chunk = OUT_CHUNK_SIZE
        properties = {
            "app": self._url.app,
            "type": "nonprivate",
            "flashVer": _CLIENT,
            "tcUrl": self._url.tc_url,
            "objectEncoding": 0,
            **our_capabilities(CAN_DECODE | CAN_FORWARD),
        }
        self._send(Command("connect", _CONNECT, properties))

    def _command(self, command: Command, events: list[ClientEvent]) -> None:
        if command.name == "_result":
            if command.transaction == _CONNECT:
                self._connected(command)
            elif command.transaction == _CREATE:
                self._created(command)
        elif command.name == "_error":
            if command.transaction in (_CONNECT, _CREATE):
                self._end(command, events)
        elif command.name == "onStatus":
            self._status(command, events)

    def _connected(self, command: Command) -> None:
        if isinstance(command.properties, Mapping):
            self.server = read_capabilities(command.properties)
        if self._action is Action.PUBLISH:
            self._send(Command("releaseStream", _RELEASE, None, (self._url.key,)))
            self._send(Command("FCPublish", _FC_PUBLISH, None, (self._url.key,)))
        else:
            self._send(WindowAckSize(_WINDOW))
        self._send(Command("createStream", _CREATE))

    def _created(self, command: Command) -> None:
        number = command.argument(0)
        if not isinstance(number, int | float) or not 0 < number < 65536:
            raise RemoteProtocolError("createStream", "no stream number in the answer")
        self._stream_id = int(number)
        if self._action is Action.PUBLISH:
            self._send(Command("publish", 0, None, (self._url.key, "live"), self._stream_id))
        else:
            self._send(Command("play", 0, None, (self._url.key, -2.0), self._stream_id))
            self._send(UserControl(UserEvent.SET_BUFFER_LENGTH, self._stream_id, _BUFFER_MS))

    def _status(self, command: Command, events: list[ClientEvent]) -> None:
        info = command.argument(0)
        if not isinstance(info, Mapping):
            return
        code = info.get("code")
        if code == status.CONNECT_RECONNECT:
            tc_url = info.get("tcUrl")
            events.append(ReconnectAsked(tc_url if isinstance(tc_url, str) else ""))
        elif code in _STARTS:
            if not self.ready:
                self.ready = True
                events.append(Ready())
        elif code in _ENDS or info.get("level") == "error":
            self._end(command, events)

    def _end(self, command: Command, events: list[ClientEvent]) -> None:
        if self._ended:
            return
        self._ended = True
        info = command.argument(0)
        found = info if isinstance(info, Mapping) else {}
        more = found.get("ex")
        redirect = more.get("redirect2") if isinstance(more, Mapping) and more.get("code") == 302 else ""
        events.append(
            Ended(
                str(found.get("code", "")),
                str(found.get("description", ""))[:_MAX_TEXT],
                redirect if isinstance(redirect, str) else "",
            )
        )

    def _control(self, message: Message) -> None:
        if isinstance(message, WindowAckSize):
            if message.size:
                self._window = max(message.size, 4096)
        elif isinstance(message, UserControl) and message.event == UserEvent.PING_REQUEST:
            self._send(UserControl(UserEvent.PING_RESPONSE, message.value))
