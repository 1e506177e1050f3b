"""Targets of RTSP: the server's connection, SDP, RTP of every payload format, RTCP."""

from __future__ import annotations

from collections.abc import Iterator

from test.fuzz.target import Target, Test, in_packets, packets, pieces

#: What an RTP input may be: encoding, clock, parameters of its description.
_FORMATS: tuple[tuple[str, int, dict[str, str]], ...] = (
    (
        "h264",
        90_000,
        {"packetization-mode": "1", "sprop-parameter-sets": "Z2QAHqzZQKAv+XARAAADAAEAAAMADyAPFi2W,aOvjyyLA"},
    ),
    ("h265", 90_000, {}),
    ("av1", 90_000, {}),
    ("vp9", 90_000, {}),
    (
        "mpeg4-generic",
        48_000,
        {"sizelength": "13", "indexlength": "3", "indexdeltalength": "3", "config": "1190"},
    ),
    ("mp4a-latm", 48_000, {"cpresent": "0", "config": "400023203fc0"}),
    ("mp4a-latm", 48_000, {"cpresent": "0", "config": "400024203fc0"}),
    ("mpa", 90_000, {}),
    ("opus", 48_000, {"sprop-stereo": "1"}),
    ("pcmu", 8_000, {}),
)


def _server() -> Test:
    from test.rtsp.fakes import Rig

    def test(data: bytes) -> None:
        rig = Rig()
        peer = rig.peer()
        for piece in pieces(data):
            if peer.wire.disconnecting:
                break
            peer.protocol.dataReceived(piece)
            rig.clock.advance(0.01)
        rig.clock.advance(1.0)
        peer.lose()
        if rig.clock.getDelayedCalls() or rig.datagrams.open or rig.factory.connections:
            raise AssertionError("something is left of a connection that is closed")

    return test


def _message(method: str, path: str, *headers: str, body: str = "") -> bytes:
    lines = [f"{method} rtsp://192.0.2.1{path} RTSP/1.0", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _server_seeds() -> Iterator[bytes]:
    from test.rtsp.case import ANNOUNCED

    session = "Session: 00000000000000000000000000000001"
    play = [
        _message("OPTIONS", "/cam", "CSeq: 1"),
        _message("DESCRIBE", "/cam?filter.tracks=v1a1", "CSeq: 2", "Accept: application/sdp"),
        _message("SETUP", "/cam/trackID=1", "CSeq: 3", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"),
        _message(
            "SETUP", "/cam/trackID=2", "CSeq: 4", session, "Transport: RTP/AVP;unicast;client_port=5000-5001"
        ),
        _message("PLAY", "/cam", "CSeq: 5", session, "Range: npt=now-"),
        _message("GET_PARAMETER", "/cam", "CSeq: 6", session),
        _message("PAUSE", "/cam", "CSeq: 7", session),
        _message("SET_PARAMETER", "/cam", "CSeq: 8", session, body="x: y\r\n"),
        _message("TEARDOWN", "/cam", "CSeq: 9", session),
    ]
    digest = (
        'Authorization: Digest username="u", realm="r", nonce="1", uri="rtsp://192.0.2.1/pub", response="0"'
    )
    record = [
        _message("ANNOUNCE", "/pub", "CSeq: 1", digest, "Content-Type: application/sdp", body=ANNOUNCED),
        _message("SETUP", "/pub/streamid=0", "CSeq: 2", "Transport: RTP/AVP/TCP;interleaved=0-1;mode=record"),
        _message(
            "SETUP",
            "/pub/streamid=1",
            "CSeq: 3",
            session,
            "Transport: RTP/AVP/TCP;interleaved=2-3;mode=record",
        ),
        _message("RECORD", "/pub", "CSeq: 4", session),
    ]
    media = b"".join(
        b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet
        for channel, packet in (
            (0, _rtp(96, 1, 1000, b"\x65" + bytes(40), True)),
            (1, bytes.fromhex("80c80006") + bytes(24)),
            (2, _rtp(97, 1, 1000, bytes.fromhex("00100040") + bytes(8), True)),
        )
    )
    for conversation in (play, record):
        yield b"\xff\xff" + b"".join(conversation)
        yield b"\x05\x00" + b"".join(conversation) + media


def _sdp() -> Test:
    from restreamer.errors import MediaError, RemoteProtocolError
    from restreamer.rtp.receiver import RtpReceiver
    from restreamer.rtsp.record_session import sections_of
    from restreamer.rtsp.sdp import parse_sdp

    def test(data: bytes) -> None:
        try:
            found = sections_of(parse_sdp(data))
            RtpReceiver([(each.track_id, each.known) for each in found if each.known is not None])
        except (RemoteProtocolError, MediaError):
            pass

    return test


def _sdp_seeds() -> Iterator[bytes]:
    from restreamer.rtp.formats import can_carry
    from restreamer.rtsp.description import describe
    from test.flv.samples import AUDIO, VIDEO
    from test.rtsp.case import ANNOUNCED

    yield ANNOUNCED.encode()
    carried = [track for track in (*VIDEO.values(), *AUDIO.values()) if can_carry(track)]
    yield describe("a title", tuple(carried))
    yield (
        b"v=0\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 MP4A-LATM/48000/2\r\n"
        b"a=fmtp:96 cpresent=0;config=40002320\r\na=ts-refclk:local\r\na=control:stream=1\r\n"
    )


def _rtp(payload_type: int, sequence: int, time: int, payload: bytes, marker: bool) -> bytes:
    second = payload_type | (0x80 if marker else 0)
    head = bytes((0x80, second)) + sequence.to_bytes(2, "big") + time.to_bytes(4, "big") + b"\0\0\0\1"
    return head + payload


def _receiver() -> Test:
    from restreamer.rtp.incoming import MediaSection
    from restreamer.rtp.receiver import RtpReceiver

    def test(data: bytes) -> None:
        if not data:
            return
        encoding, clock, parameters = _FORMATS[data[0] % len(_FORMATS)]
        section = MediaSection(
            encoding=encoding, clock=clock, payload_type=96, channels=2, language="eng", parameters=parameters
        )
        receiver = RtpReceiver([(1, section)], depth=8 if data[0] & 0x80 else 0)
        now = 0.0
        for number, packet in enumerate(packets(data[1:])):
            now += 0.01
            if packet[:1] == b"R":
                receiver.rtcp(0, packet[1:], now)
            elif packet[:1] == b"P":
                receiver.rtp(0, packet[1:], now)
            elif len(packet) > 2:
                # The rest of the header is right, so that what lies behind it is reached.
                marker = bool(packet[0] & 1)
                whole = _rtp(96, number & 0xFFFF, packet[1] * 900 + number * 3000, packet[2:], marker)
                receiver.rtp(0, whole, now)
            receiver.overdue(now)
        receiver.receiver_reports(1, now)
        receiver.flush()

    return test


def _receiver_seeds() -> Iterator[bytes]:
    from restreamer.rtp.formats import packer_of
    from test.flv.samples import AUDIO, VIDEO, frames_of

    tracks = [*VIDEO.values(), *(AUDIO[name] for name in ("mp4a", "mp4a", "mp4a", ".mp3", "Opus", "ulaw"))]
    report = b"R" + bytes.fromhex("80c8000600000001") + bytes(20) + bytes.fromhex("81cb000100000001")
    for number, track in enumerate(tracks):
        packer = packer_of(track)
        found = []
        for frame in frames_of(track, 4):
            parts = [head + bytes(body) for head, body in packer.pieces(frame.data, frame.key)]
            found += [bytes((at == len(parts) - 1, 0)) + part for at, part in enumerate(parts)]
        yield bytes((number,)) + in_packets([report, *found])
        yield bytes((number | 0x80,)) + in_packets([*found[::-1], report, b"P" + _rtp(96, 9, 9, b"x", True)])
    # Aggregates and fragments of H.264 and HEVC; LATM with its length.
    yield b"\x00" + in_packets(
        [b"\x01\x00\x18\x00\x03\x65ab\x00\x02\x41c", b"\x00\x00\x7c\x85ab", b"\x01\x00\x7c\x45cd"]
    )
    yield b"\x01" + in_packets(
        [b"\x01\x00\x60\x01\x00\x03\x26\x01a\x00\x03\x02\x01c", b"\x00\x00\x62\x01\x93ab"]
    )
    yield b"\x05" + in_packets([b"\x01\x00\x05hello", b"\x01\x00\xff\x02" + bytes(257)])


#: Targets by name.
RTSP: dict[str, Target] = {
    "rtp": Target(_receiver, _receiver_seeds),
    "rtsp": Target(_server, _server_seeds),
    "sdp": Target(_sdp, _sdp_seeds),
}
