"""The server's side of one RTMP connection as a state machine without I/O.

Contract. L{ServerConnection.receive} takes bytes in any pieces and gives events;
L{ServerConnection.data_to_send} gives what must be written, once. The only error is L{RemoteProtocolError}:
send what is left, close. Publish and play are granted outside: the machine reports a request with a number,
goes on reading, and waits for C{accept_publish}, C{accept_play} or C{refuse} with that number; media that a
publisher sends before the grant is held (bounded) and comes out of C{accept_publish}.

States. The connection goes handshake -> connect -> ready; only C{connect} is allowed before ready. Each
message stream has a L{Net} state; C{_STEPS} lists every legal step. One connection publishes or plays one
stream at a time, and plays on message stream 1 only, because the bytes of a play are shared by all players.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Mapping
from typing import Any

from restreamer.errors import LocalProtocolError, Reason, Refused, RemoteProtocolError
from restreamer.flv.amf0 import UNDEFINED
from restreamer.rtmp import status
from restreamer.rtmp.address import StreamAddress, resolve
from restreamer.rtmp.capabilities import CAN_FORWARD, our_capabilities, read_capabilities
from restreamer.rtmp.chunk_reader import DEFAULT_CHUNK_SIZE, ChunkReader, RawMessage
from restreamer.rtmp.events import (
    Connected,
    Event,
    PlayEnded,
    PlayPaused,
    PlayRequested,
    PlayResumed,
    PublishEnded,
    PublishRequested,
    RequestRefused,
)
from restreamer.rtmp.handshake import ServerHandshake
from restreamer.rtmp.limits import WireLimits
from restreamer.rtmp.message import (
    Acknowledgement,
    Audio,
    Command,
    Data,
    Kind,
    Message,
    SetChunkSize,
    SetPeerBandwidth,
    UserControl,
    UserEvent,
    Video,
    WindowAckSize,
    decode,
    encode,
    is_metadata,
    split_aggregate,
)
from restreamer.rtmp.play_muxer import PLAY_CHUNK_SIZE, PLAY_STREAM

#: Bytes between acknowledgements, ours and the peer's.
WINDOW = 2_500_000
#: Smallest window a peer may ask for: below it acknowledgements would cost more than they tell.
_MIN_WINDOW = 4096
_MASK = 0xFFFFFFFF
_MAX_TEXT = 255

#: What we tell in the answer to connect: of Enhanced RTMP, that every codec is passed on as it came.
_PROPERTIES: dict[str, Any] = {
    "fmsVer": "FMS/3,5,7,7009",
    "capabilities": 31,
    "mode": 1,
    **our_capabilities(CAN_FORWARD),
}


class Phase(enum.Enum):
    """How far the connection is."""

    HANDSHAKE = "handshake"
    CONNECT = "connect"
    READY = "ready"


class Net(enum.Enum):
    """What a message stream does."""

    IDLE = "idle"
    PUBLISH_ASKED = "publish asked"
    PUBLISHING = "publishing"
    PLAY_ASKED = "play asked"
    PLAYING = "playing"
    PAUSED = "paused"


#: Every legal step of a message stream.
_STEPS: dict[tuple[Net, str], Net] = {
    (Net.IDLE, "publish"): Net.PUBLISH_ASKED,
    (Net.PUBLISH_ASKED, "accept"): Net.PUBLISHING,
    (Net.PUBLISH_ASKED, "refuse"): Net.IDLE,
    (Net.PUBLISH_ASKED, "close"): Net.IDLE,
    (Net.PUBLISHING, "close"): Net.IDLE,
    (Net.IDLE, "play"): Net.PLAY_ASKED,
    (Net.PLAY_ASKED, "accept"): Net.PLAYING,
    (Net.PLAY_ASKED, "refuse"): Net.IDLE,
    (Net.PLAY_ASKED, "close"): Net.IDLE,
    (Net.PLAYING, "pause"): Net.PAUSED,
    (Net.PLAYING, "close"): Net.IDLE,
    (Net.PAUSED, "resume"): Net.PLAYING,
    (Net.PAUSED, "close"): Net.IDLE,
}
_PUBLISH_STATES = frozenset((Net.PUBLISH_ASKED, Net.PUBLISHING))
_DATA_KINDS = frozenset((Kind.DATA_AMF0, Kind.DATA_AMF3))


def _text(value: object) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


class ServerConnection:
    """One connection, seen from the server (see the module's text).

    @ivar commands: commands, control messages and metadata received so far.
    @ivar allowed_commands: more of them than this end the connection; the owner raises it as time goes by.
    @ivar ignored: messages nobody reads; @ivar received: bytes received.
    """

    __slots__ = (
        "_acknowledged", "_app", "_chunks", "_handshake", "_held", "_held_bytes", "_limits", "_out",
        "_out_chunk", "_publisher", "_request", "_requested", "_streams", "_tc_url", "_window",
        "allowed_commands", "commands", "ignored", "phase", "received",
    )  # fmt: skip

    def __init__(self, nonce: bytes, limits: WireLimits | None = None) -> None:
        """C{nonce}: L{restreamer.rtmp.handshake.NONCE} random bytes."""
        self._limits = limits or WireLimits()
        self._handshake: ServerHandshake | None = ServerHandshake(nonce)
        self._chunks = ChunkReader(self._limits)
        self._chunks.partial_cap = self._limits.unasked_bytes
        self._out: list[bytes] = []
        self._out_chunk = DEFAULT_CHUNK_SIZE
        self._app = ""
        self._tc_url = ""
        self._streams: dict[int, Net] = {}
        self._request = 0
        self._requested: dict[int, int] = {}
        self._publisher = 0
        self._held: list[Event] = []
        self._held_bytes = 0
        self._window = WINDOW
        self._acknowledged = 0
        self.phase = Phase.HANDSHAKE
        self.received = 0
        self.commands = 0
        self.allowed_commands = sys.maxsize
        self.ignored = 0

    # Bytes in and out.

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes and say what they mean.

        @raise RemoteProtocolError: close the connection.
        """
        self.received += len(data)
        handshake = self._handshake
        if handshake is not None:
            reply = handshake.receive(data)
            if reply:
                self._out.append(reply)
            if not handshake.done:
                return []
            self.phase = Phase.CONNECT
            data = handshake.trailing
            # Its packets are 3 KB, and nobody asks for them again.
            self._handshake = None
        events: list[Event] = []
        for raw in self._chunks.receive(data):
            if raw.kind == Kind.AGGREGATE:
                for part in split_aggregate(raw):
                    self._take(part, events)
            else:
                self._take(raw, events)
        if self.received - self._acknowledged >= self._window:
            self._acknowledged = self.received
            self._send(Acknowledgement(self.received & _MASK))
        return events

    def data_to_send(self) -> bytes:
        """What must be written now; empty when nothing."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def _send(self, message: Message) -> None:
        self._out.append(encode(message, self._out_chunk))

    # What the owner decides.

    def pending(self, request: int) -> bool:
        """Whether C{request} still waits for an answer."""
        return request in self._requested

    def accept_publish(self, request: int) -> list[Event]:
        """Grant a publish.

        @return: the media that came before the grant.
        @raise LocalProtocolError: when C{request} does not wait.
        """
        stream_id = self._answer(request, "accept")
        self._publisher = stream_id
        self._chunks.partial_cap = self._limits.partial_bytes
        self._send(UserControl(UserEvent.STREAM_BEGIN, stream_id))
        self._send(status.on_status(stream_id, "status", status.PUBLISH_START, "Publishing."))
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    def accept_play(self, request: int) -> None:
        """Grant a play: after what L{data_to_send} then gives, the shared media bytes may follow.

        @raise LocalProtocolError: when C{request} does not wait.
        """
        stream_id = self._answer(request, "accept")
        self._send(UserControl(UserEvent.STREAM_BEGIN, stream_id))
        self._send(status.on_status(stream_id, "status", status.PLAY_RESET, "Playing and resetting."))
        self._send(status.on_status(stream_id, "status", status.PLAY_START, "Started playing."))
        self._send(Data(stream_id, ("|RtmpSampleAccess", True, True)))

    def refuse(
        self, request: int, reason: Reason, text: str, redirect: status.Redirect | None = None
    ) -> None:
        """Refuse a publish or play with C{text}, which the peer may see.

        @param redirect: where it is granted instead.
        @raise LocalProtocolError: when C{request} does not wait.
        """
        stream_id = self._requested.get(request, 0)
        action = "publish" if self._streams.get(stream_id) is Net.PUBLISH_ASKED else "play"
        self._answer(request, "refuse")
        self._held, self._held_bytes = [], 0
        if redirect is not None:
            self._send(redirect.on_status(stream_id, text))
            return
        code = status.refusal_code(action, reason)
        self._send(status.on_status(stream_id, "error", code, text))

    def end_publish(self, code: str, text: str) -> None:
        """Tell the publisher that its publish is over; the owner closes next. No-op without a publish."""
        if self._publisher:
            self._send(status.on_status(self._publisher, "error", code, text))
            self._step(self._publisher, "close")
            self._publisher = 0

    def end_play(self, text: str, failed: bool = False) -> None:
        """Tell the player that its stream ended. No-op without a play.

        @param failed: it goes on, but not for this player.
        """
        for stream_id, state in self._streams.items():
            if state in (Net.PLAYING, Net.PAUSED):
                self._step(stream_id, "close")
                self._send(UserControl(UserEvent.STREAM_EOF, stream_id))
                if failed:
                    self._send(status.on_status(stream_id, "error", status.PLAY_FAILED, text))
                    continue
                self._send(status.on_status(stream_id, "status", status.PLAY_UNPUBLISHED, text))
                self._send(status.on_status(stream_id, "status", status.PLAY_STOP, text))

    def ping(self, milliseconds: int) -> None:
        """Send a ping with a time stamp of any origin."""
        self._send(UserControl(UserEvent.PING_REQUEST, milliseconds & _MASK))

    def request_reconnect(self, tc_url: str = "") -> None:
        """Ask the peer to connect again (Enhanced RTMP), to C{tc_url} or to the same place."""
        more = {"tcUrl": tc_url} if tc_url else {}
        self._send(status.on_status(0, "status", status.CONNECT_RECONNECT, "Please connect again.", **more))

    def _answer(self, request: int, step: str) -> int:
        stream_id = self._requested.pop(request, 0)
        if not self._requested:
            # An emptied dictionary keeps its room.
            self._requested = {}
        if not stream_id:
            raise LocalProtocolError(f"request {request} does not wait for an answer")
        self._step(stream_id, step)
        return stream_id

    def _step(self, stream_id: int, step: str) -> None:
        state = self._streams[stream_id]
        following = _STEPS.get((state, step))
        if following is None:
            raise LocalProtocolError(f"message stream {stream_id} is {state.value}: no {step}")
        self._streams[stream_id] = following

    # Messages.

    def _take(self, raw: RawMessage, events: list[Event]) -> None:
        if raw.kind in _DATA_KINDS and not is_metadata(raw):
            # Time codes, captions and cue points come with every frame from some encoders.
            self.ignored += 1
            return
        message = decode(raw, self._limits.control_bytes)
        kind = type(message)
        if kind is Video or kind is Audio:
            self._media(message, events)  # type: ignore[arg-type]
            return
        self.commands += 1
        if self.commands > self.allowed_commands:
            raise RemoteProtocolError("connection", "too many commands at once")
        if kind is Data:
            self._media(message, events)  # type: ignore[arg-type]
            return
        if kind is Command:
            self._command(message, events)  # type: ignore[arg-type]
        elif kind is WindowAckSize:
            size = message.size  # type: ignore[union-attr]
            if size:
                self._window = max(size, _MIN_WINDOW)
        elif kind is UserControl:
            if message.event == UserEvent.PING_REQUEST:  # type: ignore[union-attr]
                self._send(UserControl(UserEvent.PING_RESPONSE, message.value))  # type: ignore[union-attr]
        elif kind not in (SetChunkSize, Acknowledgement, SetPeerBandwidth):
            self.ignored += 1

    def _media(self, message: Audio | Video | Data, events: list[Event]) -> None:
        stream_id = message.stream_id
        if stream_id == self._publisher and stream_id:
            events.append(message)
        elif self._streams.get(stream_id) is Net.PUBLISH_ASKED:
            self._held_bytes += 64 + (0 if isinstance(message, Data) else len(message.payload))
            if self._held_bytes > self._limits.held_bytes:
                raise RemoteProtocolError("publish", "too much media before the publish was granted")
            self._held.append(message)
        elif self.phase is not Phase.READY:
            raise RemoteProtocolError("message", "media before connect")
        else:
            self.ignored += 1

    def _command(self, command: Command, events: list[Event]) -> None:
        if self.phase is Phase.CONNECT:
            if command.name != "connect":
                raise RemoteProtocolError("command", f"{command.name[:32]!r} before connect")
            self._connect(command, events)
            return
        handler = _HANDLERS.get(command.name)
        if handler is not None:
            handler(self, command, events)
            return
        self.ignored += 1
        if command.transaction and command.name not in ("_result", "_error", "onStatus"):
            self._error(command, status.CALL_FAILED, "unknown command")

    def _result(self, command: Command, *values: Any) -> None:
        if command.transaction:
            self._send(Command("_result", command.transaction, None, values or (UNDEFINED,)))

    def _error(self, command: Command, code: str, text: str) -> None:
        self._send(Command("_error", command.transaction, None, (status.info("error", code, text),)))

    # Connection commands.

    def _connect(self, command: Command, events: list[Event]) -> None:
        asked: Mapping[str, Any] = command.properties if isinstance(command.properties, Mapping) else {}
        app, tc_url = asked.get("app"), asked.get("tcUrl")
        # Thousands of players say the same.
        self._app = sys.intern(app) if type(app) is str else ""
        self._tc_url = sys.intern(tc_url) if type(tc_url) is str else ""
        encoding = 3 if asked.get("objectEncoding") == 3 else 0
        self.phase = Phase.READY
        self._send(WindowAckSize(WINDOW))
        self._send(SetPeerBandwidth(WINDOW, 2))
        self._send(SetChunkSize(PLAY_CHUNK_SIZE))
        self._out_chunk = PLAY_CHUNK_SIZE
        answer = status.info(
            "status", status.CONNECT_SUCCESS, "Connection succeeded.", objectEncoding=encoding
        )
        self._send(Command("_result", command.transaction, _PROPERTIES, (answer,)))
        self._send(Command("onBWDone", 0))
        client = sys.intern(_text(asked.get("flashVer")))
        events.append(Connected(self._app.partition("?")[0][:_MAX_TEXT], client, read_capabilities(asked)))

    def _connect_again(self, command: Command, events: list[Event]) -> None:
        self._error(command, status.CONNECT_REJECTED, "already connected")

    def _create_stream(self, command: Command, events: list[Event]) -> None:
        for stream_id in range(1, self._limits.message_streams + 1):
            if stream_id not in self._streams:
                self._streams[stream_id] = Net.IDLE
                self._result(command, float(stream_id))
                return
        self._error(command, status.CALL_FAILED, f"at most {self._limits.message_streams} streams")

    def _delete_stream(self, command: Command, events: list[Event]) -> None:
        number = command.argument(0)
        if isinstance(number, str):
            # GStreamer 1.22 sends the stream's name: it means the one it uses.
            for stream_id in self._streams:
                self._close(stream_id, events)
            return
        stream_id = int(number) if isinstance(number, int | float) and 0 < number < 65536 else 0
        if stream_id in self._streams:
            self._close(stream_id, events)
            del self._streams[stream_id]

    def _close_stream(self, command: Command, events: list[Event]) -> None:
        if command.stream_id in self._streams:
            self._close(command.stream_id, events)

    def _close(self, stream_id: int, events: list[Event]) -> None:
        """End whatever C{stream_id} does."""
        state = self._streams[stream_id]
        if state is Net.IDLE:
            return
        self._step(stream_id, "close")
        self._requested = {key: value for key, value in self._requested.items() if value != stream_id}
        if state in _PUBLISH_STATES:
            self._chunks.partial_cap = self._limits.unasked_bytes
            self._publisher = 0
            self._held, self._held_bytes = [], 0
            self._send(status.on_status(stream_id, "status", status.UNPUBLISH_SUCCESS, "Unpublished."))
            events.append(PublishEnded())
        else:
            self._send(UserControl(UserEvent.STREAM_EOF, stream_id))
            events.append(PlayEnded())

    # Stream commands.

    def _address(self, command: Command) -> StreamAddress:
        return resolve(self._app, self._tc_url, command.text(0))

    def _busy(self) -> bool:
        return any(state is not Net.IDLE for state in self._streams.values())

    def _refuse_request(
        self, command: Command, action: str, code: str, why: str, events: list[Event]
    ) -> None:
        self._send(status.on_status(command.stream_id, "error", code, why))
        events.append(RequestRefused(action, why))

    def _publish(self, command: Command, events: list[Event]) -> None:
        if command.argument(0) is False:
            self._close_stream(command, events)
            return
        if command.stream_id not in self._streams:
            why = "publish needs a stream made by createStream"
            self._refuse_request(command, "publish", status.PUBLISH_REJECTED, why, events)
        elif self._busy():
            why = "this connection publishes or plays already"
            self._refuse_request(command, "publish", status.PUBLISH_BAD_NAME, why, events)
        else:
            self._ask(command, "publish", PublishRequested, events)

    def _play(self, command: Command, events: list[Event]) -> None:
        if command.argument(0) is False:
            self._close_stream(command, events)
            return
        if self._streams.get(command.stream_id) in (Net.PLAY_ASKED, Net.PLAYING, Net.PAUSED):
            self._close(command.stream_id, events)
        if command.stream_id not in self._streams or command.stream_id != PLAY_STREAM:
            why = f"play works on message stream {PLAY_STREAM} only"
            self._refuse_request(command, "play", status.PLAY_FAILED, why, events)
        elif self._busy():
            why = "this connection publishes or plays already"
            self._refuse_request(command, "play", status.PLAY_FAILED, why, events)
        else:
            self._ask(command, "play", PlayRequested, events)

    def _ask(
        self,
        command: Command,
        action: str,
        event: type[PublishRequested] | type[PlayRequested],
        events: list[Event],
    ) -> None:
        try:
            address = self._address(command)
        except Refused as error:
            code = status.refusal_code(action, error.reason)
            self._refuse_request(command, action, code, error.text, events)
            return
        self._step(command.stream_id, action)
        if action == "publish":
            self._chunks.partial_cap = self._limits.held_bytes
        self._request += 1
        self._requested[self._request] = command.stream_id
        events.append(event(self._request, address))

    def _pause(self, command: Command, events: list[Event]) -> None:
        state = self._streams.get(command.stream_id)
        wanted = command.argument(0) is not False
        if state is Net.PLAYING and wanted:
            self._step(command.stream_id, "pause")
            self._status(command, status.PAUSE_NOTIFY, "Paused.")
            events.append(PlayPaused())
        elif state is Net.PAUSED and not wanted:
            self._step(command.stream_id, "resume")
            self._send(UserControl(UserEvent.STREAM_BEGIN, command.stream_id))
            self._status(command, status.UNPAUSE_NOTIFY, "Unpaused.")
            self._status(command, status.PLAY_START, "Started playing.")
            events.append(PlayResumed())

    def _seek(self, command: Command, events: list[Event]) -> None:
        if self._streams.get(command.stream_id) in (Net.PLAYING, Net.PAUSED):
            self._status(command, status.SEEK_NOTIFY, "A live stream stays where it is.")

    def _status(self, command: Command, code: str, text: str) -> None:
        self._send(status.on_status(command.stream_id, "status", code, text))

    # Small talk of encoders and players that only wants an answer.

    def _fc_publish(self, command: Command, events: list[Event]) -> None:
        self._result(command)
        self._send(Command("onFCPublish", 0, None, (status.info("status", status.PUBLISH_START, ""),)))

    def _fc_unpublish(self, command: Command, events: list[Event]) -> None:
        self._result(command)
        self._send(Command("onFCUnpublish", 0, None, (status.info("status", status.UNPUBLISH_SUCCESS, ""),)))

    def _fc_subscribe(self, command: Command, events: list[Event]) -> None:
        self._send(Command("onFCSubscribe", 0, None, (status.info("status", status.PLAY_START, ""),)))

    def _empty_result(self, command: Command, events: list[Event]) -> None:
        self._result(command)

    def _stream_length(self, command: Command, events: list[Event]) -> None:
        self._result(command, 0.0)

    def _nothing(self, command: Command, events: list[Event]) -> None:
        """Receive-audio and the like: a shared play has all its tracks."""


_Handler = Callable[[ServerConnection, Command, list[Event]], None]

#: Commands of a ready connection.
_HANDLERS: dict[str, _Handler] = {
    "connect": ServerConnection._connect_again,
    "createStream": ServerConnection._create_stream,
    "deleteStream": ServerConnection._delete_stream,
    "closeStream": ServerConnection._close_stream,
    "publish": ServerConnection._publish,
    "play": ServerConnection._play,
    "pause": ServerConnection._pause,
    "pauseRaw": ServerConnection._pause,
    "seek": ServerConnection._seek,
    "releaseStream": ServerConnection._empty_result,
    "FCPublish": ServerConnection._fc_publish,
    "FCUnpublish": ServerConnection._fc_unpublish,
    "FCSubscribe": ServerConnection._fc_subscribe,
    "getStreamLength": ServerConnection._stream_length,
    "_checkbw": ServerConnection._empty_result,
    "receiveAudio": ServerConnection._nothing,
    "receiveVideo": ServerConnection._nothing,
    "SetBufferLength": ServerConnection._nothing,
}
