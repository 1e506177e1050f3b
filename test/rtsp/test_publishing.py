"""ANNOUNCE and RECORD: publishers over TCP and UDP, and their passwords."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from twisted.logger import LogLevel, capturedLogs, formatEvent
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.rtsp.authentication import digest_response
from restreamer.rtsp.first_packets import split_frames
from restreamer.rtsp.headers import parse_parameters
from restreamer.rtsp.play_muxer import RtspFeedMuxer, framed
from restreamer.testing.media import START, make_frames
from test.rtsp.case import ANNOUNCED, ServerTestCase
from test.rtsp.fakes import TRACKS, FakeSink


class RecordTests(ServerTestCase):
    """ANNOUNCE and RECORD."""

    def packets(self, seconds: float = 1.0) -> list[tuple[int, bytes]]:
        muxer = RtspFeedMuxer("t")
        muxer.configure(TRACKS, START, False)
        return [each for frame in make_frames(seconds) for each in split_frames(muxer.mux(frame))]

    def test_frames_reach_the_sink(self) -> None:
        peer = self.recording()
        for channel, packet in self.packets():
            self.assertEqual(
                peer.send(b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet), []
            )
        sink = self.rig.core.sinks["pub"]
        [table] = sink.tables
        self.assertEqual([track.codec for track in table], ["avc1", "mp4a"])
        source = make_frames(1.0)
        self.assertEqual(
            [frame.data for frame in sink.frames if frame.track_id == 1],
            [frame.data for frame in source if frame.track_id == 1],
        )
        self.assertEqual(peer.ask("TEARDOWN", "/pub").status, 200)
        self.assertIsNotNone(sink.ended)

    def test_any_fragmentation(self) -> None:
        peer = self.recording()
        data = b"".join(
            b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet
            for channel, packet in self.packets(0.4)
        )
        for at in range(0, len(data), 7):
            peer.protocol.dataReceived(data[at : at + 7])
        self.assertEqual(len(self.rig.core.sinks["pub"].frames), len(make_frames(0.4)))

    def test_over_udp(self) -> None:
        self.announced()
        for index, port in ((0, 6000), (1, 6002)):
            transport = f"RTP/AVP/UDP;unicast;client_port={port}-{port + 1};mode=record"
            self.assertEqual(
                self.peer.ask("SETUP", f"/pub/streamid={index}", Transport=transport).status, 200
            )
        self.peer.ask("RECORD", "/pub")
        ports = self.rig.datagrams.open
        for channel, packet in self.packets():
            ports[channel].protocol.datagramReceived(packet, ("192.0.2.7", 6000 + channel))
            ports[channel].protocol.datagramReceived(packet, ("198.51.100.3", 6000 + channel))
        self.rig.clock.pump([0.1] * 60)
        sink = self.rig.core.sinks["pub"]
        self.assertEqual(len(sink.frames), len(make_frames(1.0)))
        reports = [packet for packet, address in ports[1].written if address == ("192.0.2.7", 6001)]
        self.assertEqual(reports[0][1], 201)
        self.peer.lose()
        self.tidy()

    def test_the_date(self) -> None:
        """Reports say when frames were made: the stream is told before it gets them, and without, nothing."""
        for dated in (True, False):
            self.peer = self.rig.peer()
            self.recording()
            for channel, packet in self.packets():
                if dated or not channel & 1:
                    self.peer.send(framed(channel, packet))
            self.rig.clock.pump([0.1] * 20)
            sink = self.rig.core.sinks["pub"]
            self.assertEqual(sink.dates, [0] if dated else [])
            self.assertEqual(len(sink.frames), len(make_frames(1.0)))
            self.peer.lose()

    def test_controls_in_every_form(self) -> None:
        """What ffmpeg, GStreamer and cameras write, with and without a query."""
        for control, url in (
            ("streamid=0", "/pub/streamid=0"),
            ("stream=0", "/pub/stream=0"),
            ("rtsp://192.0.2.1/pub/streamid=0", "/pub/streamid=0"),
            ("trackID=1", "/pub/trackID=1"),
            ("streamid=0", "/pub?password=x/streamid=0"),
            ("", "/pub"),
        ):
            with self.subTest(url=url):
                peer = self.rig.peer()
                body = ANNOUNCED.partition("m=audio")[0].replace(
                    "a=control:streamid=0", f"a=control:{control}"
                )
                self.rig.core.passwords["pub"] = "x" if "?" in url else ""
                path = url.rpartition("/")[0] if "?" in url else "/pub"
                peer.ask("ANNOUNCE", path, body, Content_Type="application/sdp")
                reply = peer.ask("SETUP", url, Transport="RTP/AVP/TCP;interleaved=0-1;mode=record")
                self.assertEqual(reply.status, 200)

    def test_audio_first_is_numbered_second(self) -> None:
        video, audio = ANNOUNCED.partition("m=audio")[0], ANNOUNCED[ANNOUNCED.index("m=audio") :]
        head, video = video[: video.index("m=video")], video[video.index("m=video") :]
        self.peer.ask("ANNOUNCE", "/pub", head + audio + video, Content_Type="application/sdp")
        for index, channels in ((1, "0-1"), (0, "2-3")):
            self.peer.ask(
                "SETUP", f"/pub/streamid={index}", Transport=f"RTP/AVP/TCP;interleaved={channels};mode=record"
            )
        self.assertEqual(self.peer.ask("RECORD", "/pub").status, 200)
        for channel, packet in self.packets():
            moved = channel ^ 2
            self.peer.send(b"$" + bytes((moved,)) + len(packet).to_bytes(2, "big") + packet)
        [table] = self.rig.core.sinks["pub"].tables
        self.assertEqual([(track.track_id, track.codec) for track in table], [(1, "avc1"), (2, "mp4a")])

    def test_a_track_nobody_knows(self) -> None:
        body = (
            ANNOUNCED
            + "m=application 0 RTP/AVP 98\r\na=rtpmap:98 X-UNKNOWN/90000\r\na=control:streamid=2\r\n"
        )
        self.assertEqual(self.peer.ask("ANNOUNCE", "/pub", body, Content_Type="application/sdp").status, 200)
        reply = self.peer.ask("SETUP", "/pub/streamid=2", Transport="RTP/AVP/TCP;interleaved=4-5;mode=record")
        self.assertEqual(reply.status, 200)
        self.assertEqual(self.peer.ask("RECORD", "/pub").status, 415)

    def test_refused_announcements(self) -> None:
        """S15 and the gate."""
        for body, kind, status in (
            (ANNOUNCED, "text/plain", 415),
            ("v=0\r\n", "application/sdp", 400),
            (ANNOUNCED.replace("H264", "XYZ").replace("MPEG4", "XYZ"), "application/sdp", 415),
            (ANNOUNCED.replace("/90000", "/0"), "application/sdp", 400),
            ("m=video 0 RTP/AVP 96\r\n" * 10_000, "application/sdp", 413),
        ):
            peer = self.rig.peer()
            self.assertEqual(peer.ask("ANNOUNCE", "/pub", body, Content_Type=kind).status, status)
        self.rig.core.refuse = Refused(Reason.BUSY, "somebody publishes")
        self.assertEqual(self.announced().status, 503)

    def test_the_core_sends_it_away(self) -> None:
        peer = self.recording()
        sink = self.rig.core.sinks["pub"]
        sink.kick("reload")
        self.assertTrue(peer.wire.disconnecting)
        self.assertIsNotNone(sink.ended)

    def test_deadlines(self) -> None:
        self.announced()
        self.rig.clock.pump([2.0] * 6)
        self.assertTrue(self.peer.wire.disconnecting)
        self.assertIsNotNone(self.rig.core.sinks["pub"].ended)
        self.peer = self.rig.peer()
        self.recording()
        self.rig.clock.pump([0.1] * 320)
        self.assertTrue(self.peer.wire.disconnecting)

    def test_a_publisher_ahead_of_time_is_not_read(self) -> None:
        peer = self.recording()
        self.rig.core.sinks["pub"].wait = 3.0
        for channel, packet in self.packets():
            peer.send(b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet)
        self.assertEqual(peer.wire.producerState, "paused")
        self.rig.clock.pump([0.1] * 32)
        self.assertEqual(peer.wire.producerState, "producing")

    def test_faster_than_any_stream(self) -> None:
        """A publisher whose time stands still is read at a bounded rate, and not cut for being unread."""
        peer = self.recording()
        packet = b"\x80\x60\0\0" + bytes(12)
        read = (b"$\0" + len(packet).to_bytes(2, "big") + packet) * 3000
        reads = 0
        for _ in range(1000):
            if peer.wire.producerState == "producing":
                peer.send(read)
                reads += 1
            self.rig.clock.advance(0.01)
        self.assertFalse(peer.wire.disconnecting)
        # A packet counts a little over 1 KiB: about 23,000 a second, and 32,000 at once.
        self.assertLess(reads * 3000, 32_000 + 10 * 25_000)
        self.assertGreater(reads * 3000, 150_000)
        self.rig.clock.pump([0.1] * 20)
        self.assertEqual(peer.wire.producerState, "producing")

    def test_channels_nobody_set_up_count_too(self) -> None:
        peer = self.recording()
        for _ in range(12):
            peer.send(b"$\x63\0\1x" * 3000)
        self.assertEqual(peer.wire.producerState, "paused")

    def test_faster_than_any_stream_over_udp(self) -> None:
        """Datagrams cannot be left unread: those beyond the rate are dropped, and counted."""
        told: list[Callable[[], Mapping[str, int]]] = []
        self.patch(FakeSink, "counted", lambda _, counts: told.append(counts))
        self.announced()
        transport = "RTP/AVP/UDP;unicast;client_port=6000-6001;mode=record"
        self.assertEqual(self.peer.ask("SETUP", "/pub/streamid=0", Transport=transport).status, 200)
        self.peer.ask("RECORD", "/pub")
        take = self.rig.datagrams.open[0].protocol.datagramReceived
        for _ in range(40_000):
            take(b"\x80\x60\0\0" + bytes(12), ("192.0.2.7", 6000))
        self.assertGreater(told[0]()["rushed_packets"], 7_000)
        self.assertLess(told[0]()["rushed_packets"], 25_000)
        self.rig.clock.pump([0.1] * 10)
        before = told[0]()["rushed_packets"]
        take(b"\x80\x60\0\0" + bytes(12), ("192.0.2.7", 6000))
        self.assertEqual(told[0]()["rushed_packets"], before)


class PasswordTests(ServerTestCase):
    """Digest and Basic (S22)."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.rig.core.passwords["pub"] = "s3cret"

    def challenge(self, header: str = "") -> dict[str, str]:
        reply = self.announced(Authorization=header)
        self.assertEqual(reply.status, 401)
        return parse_parameters(reply.header("www-authenticate").partition(" ")[2])

    def digest(self, told: dict[str, str], password: str = "s3cret", **instead: str) -> str:
        values = {
            "username": "u",
            "realm": told["realm"],
            "nonce": told["nonce"],
            "uri": "rtsp://192.0.2.1/pub",
        }
        values |= instead
        response = digest_response(
            values["username"], values["realm"], password, values["nonce"], "ANNOUNCE", values["uri"]
        )
        return "Digest " + ", ".join(
            f'{name}="{value}"' for name, value in {**values, "response": response}.items()
        )

    def test_digest(self) -> None:
        told = self.challenge()
        self.assertEqual(self.announced(Authorization=self.digest(told)).status, 200)

    def test_basic(self) -> None:
        header = "Basic " + base64.b64encode(b"u:s3cret").decode()
        self.assertEqual(self.announced(Authorization=header).status, 200)

    def test_query(self) -> None:
        self.assertEqual(self.announced("/pub?password=s3cret").status, 200)
        self.peer = self.rig.peer()
        self.assertEqual(self.announced("/pub?password=other").status, 403)

    def test_wrong(self) -> None:
        told = self.challenge()
        seen = {told["nonce"]}
        for make in (
            lambda told: self.digest(told, "other"),
            lambda told: self.digest(told, realm="Elsewhere"),
            lambda told: self.digest(told, uri="rtsp://192.0.2.1/another"),
            lambda told: self.digest(told, nonce="0" * 32),
            lambda told: "Basic " + base64.b64encode(b"u:other").decode(),
            lambda told: "Basic ****",
            lambda told: "Bearer x",
        ):
            told = self.challenge(make(told))
            self.assertNotIn(told["nonce"], seen)
            seen.add(told["nonce"])

    def test_a_stale_nonce(self) -> None:
        told = self.challenge()
        for _ in range(31):
            self.rig.clock.advance(2)
            if not self.peer.wire.disconnecting:
                self.peer.ask("OPTIONS")
        self.challenge(self.digest(told))

    def test_long_and_strange_headers(self) -> None:
        self.challenge('Digest username="\u00fc\u00e4", ' + "x" * 1900)
        peer = self.peer
        [reply] = peer.send(peer.text("ANNOUNCE", "/pub", "", Authorization="Digest " + "x" * 64_000))
        self.assertEqual(reply.status, 400)

    def test_guessing_is_slow(self) -> None:
        header = "Basic " + base64.b64encode(b"u:other").decode()
        for _ in range(10):
            self.challenge(header)
        self.assertEqual(self.announced(Authorization=header).status, 403)
        self.assertTrue(self.peer.wire.disconnecting)
        other = self.rig.peer("192.0.2.8")
        self.assertEqual(other.ask("ANNOUNCE", "/pub", ANNOUNCED, Content_Type="application/sdp").status, 401)

    def test_guessing_by_query_is_slow(self) -> None:
        """After ten wrong ones the right one is refused, too, and the connection closes."""
        for number in range(10):
            self.assertEqual(self.announced(f"/pub?password=guess{number}").status, 403)
        self.assertFalse(self.peer.wire.disconnecting)
        self.assertEqual(self.announced("/pub?password=s3cret").status, 403)
        self.assertTrue(self.peer.wire.disconnecting)
        self.peer = self.rig.peer("192.0.2.8")
        self.assertEqual(self.announced("/pub?password=s3cret").status, 200)

    def test_the_log_says_why(self) -> None:
        """Every refused publish has a line with the stream and the reason, and no secret."""
        basic = "Basic " + base64.b64encode(b"u:hunter2").decode()
        for path, header, body, status, why in (
            ("/pub", "", ANNOUNCED, 401, None),
            ("/pub", basic, ANNOUNCED, 401, "wrong password"),
            ("/pub?password=hunter2", "", ANNOUNCED, 403, "wrong password"),
            ("/pub?password=s3cret", "", "v=0\r\n", 400, "SDP"),
        ):
            with self.subTest(path=path, why=why), capturedLogs() as events:
                peer = self.rig.peer()
                reply = peer.ask("ANNOUNCE", path, body, Content_Type="application/sdp", Authorization=header)
                self.assertEqual(reply.status, status)
                lines = [
                    text
                    for event in events
                    if event["log_level"] >= LogLevel.info and "refused: " in (text := formatEvent(event))
                ]
                self.assertEqual(len(lines), why is not None)
                if why is not None:
                    self.assertIn("ANNOUNCE of pub refused: ", lines[0])
                    self.assertIn(why, lines[0])
                    self.assertIn(why, reply.header("x-reason"))
                self.assertNotIn("hunter2", "".join(lines))
