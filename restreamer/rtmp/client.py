"""The client's side of one RTMP connection without I/O: publish or play one stream.

Feed L{ClientConnection.receive}, write L{ClientConnection.data_to_send}. The dialogue is that of the usual
encoders and players: chunk size, connect, (releaseStream, FCPublish,) createStream, publish or play. After
L{Ready} a publisher calls C{configure} and C{send}; a player gets Audio, Video and Data messages.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_MS
from restreamer.media.track import Track, TrackKind, Tracks
from restreamer.rtmp import status
from restreamer.rtmp.chunk_reader import DEFAULT_CHUNK_SIZE, ChunkReader
from restreamer.rtmp.chunk_writer import chunked
from restreamer.rtmp.from_media import (
    audio_body,
    metadata,
    offset_ms,
    playable_tracks,
    sequence_header,
    video_body,
)
from restreamer.rtmp.handshake import ClientHandshake
from restreamer.rtmp.limits import WireLimits
from restreamer.rtmp.message import (
    AUDIO_CHUNKS,
    VIDEO_CHUNKS,
    Acknowledgement,
    Audio,
    Command,
    Data,
    Kind,
    Message,
    SetChunkSize,
    UserControl,
    UserEvent,
    Video,
    WindowAckSize,
    decode,
    encode,
)
from restreamer.rtmp.url import RtmpUrl

OUT_CHUNK_SIZE = 65536
_WINDOW = 2_500_000
_BUFFER_MS = 3000
_CLIENT = "FMLE/3.0 (compatible; restreamer)"
_MASK = 0xFFFFFFFF


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
    """

    code: str
    text: str


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
        self._origin: int | None = None
        self._tracks: dict[int, Track] = {}
        self._ended = False
        self.received = 0
        self.ready = False
        self.server_properties: Mapping[str, Any] = {}

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

    def configure(self, tracks: Tracks, title: str = "") -> None:
        """Send onMetaData and the sequence headers of C{tracks}.

        @raise LocalProtocolError: before L{Ready}, or on a player.
        """
        self._may_publish()
        chosen = playable_tracks(tracks)
        self._tracks = {track.track_id: track for track in chosen}
        self._send(Data(self._stream_id, ("@setDataFrame", "onMetaData", metadata(chosen, title))))
        for track in chosen:
            header = sequence_header(track)
            if header is not None:
                self._send_media(header[0], 0, header[1])

    def send(self, frame: Frame) -> None:
        """Send one frame; times count from the first one's DTS. A track not configured is passed over.

        @raise LocalProtocolError: before L{Ready}, or on a player.
        """
        self._may_publish()
        track = self._tracks.get(frame.track_id)
        if track is None:
            return
        if self._origin is None:
            self._origin = frame.dts
        timestamp = max(frame.dts - self._origin, 0) // TICKS_PER_MS
        if track.kind is TrackKind.VIDEO:
            self._send_media(Kind.VIDEO, timestamp, video_body(frame, offset_ms(frame, self._origin)))
        else:
            self._send_media(Kind.AUDIO, timestamp, audio_body(track.codec, frame))

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

    def _send_media(self, kind: Kind, timestamp: int, body: bytes) -> None:
        chunk_stream = VIDEO_CHUNKS if kind is Kind.VIDEO else AUDIO_CHUNKS
        self._out.append(chunked(chunk_stream, kind, self._stream_id, timestamp, body, self._out_chunk))

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
            "capsEx": 1,
            "videoFourCcInfoMap": {"avc1": 7},
            "audioFourCcInfoMap": {"mp4a": 7, ".mp3": 7},
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
            self.server_properties = command.properties
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
        events.append(Ended(str(found.get("code", "")), str(found.get("description", ""))))

    def _control(self, message: Message) -> None:
        if isinstance(message, WindowAckSize):
            if message.size:
                self._window = max(message.size, 4096)
        elif isinstance(message, UserControl) and message.event == UserEvent.PING_REQUEST:
            self._send(UserControl(UserEvent.PING_RESPONSE, message.value))
