"""The server's states and answers to players (RFC 2326), and what it does with peers that break them."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from restreamer.errors import Reason, Refused
from restreamer.media.selection import TrackSelection
from restreamer.media.track import TrackKind
from restreamer.rtp.rtcp import Goodbye, parse_rtcp, receiver_report
from restreamer.rtsp.headers import parse_rtp_info
from restreamer.rtsp.sdp import parse_sdp
from restreamer.testing.media import make_frames
from test.rtsp.case import ANNOUNCED, UDP, ServerTestCase
from test.rtsp.fakes import FakeStream, Peer, Rig


class PlayTests(ServerTestCase):
    """DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN."""

    def test_options(self) -> None:
        reply = self.peer.ask("OPTIONS", "/")
        self.assertEqual(reply.status, 200)
        self.assertIn("ANNOUNCE", reply.header("public"))

    def test_describe(self) -> None:
        reply = self.peer.ask("DESCRIBE", "/cam?token=abc", Accept="application/sdp")
        self.assertEqual(reply.header("content-base"), "rtsp://192.0.2.1/cam/")
        media = parse_sdp(reply.body).media
        self.assertEqual([each.control for each in media], ["trackID=1", "trackID=2"])
        self.assertEqual([each.format and each.format.encoding for each in media], ["h264", "mpeg4-generic"])
        self.assertEqual(self.rig.core.requests[0].token, "abc")

    def test_describe_is_held_until_the_tracks_are_known(self) -> None:
        self.rig.core.delay = Deferred()
        self.assertEqual(self.peer.send(self.peer.text("DESCRIBE")), [])
        self.rig.core.delay.callback(None)
        [reply] = self.peer.read()
        self.assertEqual(reply.status, 200)

    def test_play_is_answered_with_where_the_media_begin(self) -> None:
        peer = self.playing()
        [reply] = peer.read()
        self.assertEqual(reply.status, 200)
        self.assertTrue(reply.header("range").startswith("npt=now"))
        info = parse_rtp_info(reply.header("rtp-info"))
        self.assertEqual(
            [each.url for each in info], [f"rtsp://192.0.2.1/cam/trackID={number}" for number in (1, 2)]
        )
        self.assertEqual([each.sequence for each in info], [1, 1])
        self.assertEqual(info[0].rtptime, make_frames(0.2)[0].dts & 0xFFFFFFFF)
        self.assertEqual(sorted({frame.channel for frame in peer.frames}), [0, 1, 3])

    def test_one_track_alone(self) -> None:
        self.peer.ask("DESCRIBE")
        reply = self.peer.set_up(2)
        self.assertIn("interleaved=2-3", reply.header("transport"))
        self.peer.send(self.peer.text("PLAY"))
        self.assertEqual(self.stream.viewers[0].selection, TrackSelection(((TrackKind.AUDIO, 1),)))

    def test_filter_tracks(self) -> None:
        reply = self.peer.ask("DESCRIBE", "/cam?filter.tracks=a1")
        self.assertEqual([media.kind for media in parse_sdp(reply.body).media], ["audio"])
        self.assertEqual(self.peer.ask("DESCRIBE", "/cam?filter.tracks=zz").status, 400)

    def test_pause_and_go_on(self) -> None:
        peer = self.playing()
        peer.read()
        self.assertEqual(peer.ask("PAUSE").status, 200)
        self.assertEqual(self.stream.viewers, [])
        self.assertEqual(peer.send(peer.text("PLAY")), [])
        self.stream.send(make_frames(0.2)[0])
        self.assertEqual([reply.status for reply in peer.read()], [200])

    def test_answers_go_through_the_feed_while_it_plays(self) -> None:
        peer = self.playing()
        peer.read()
        self.assertEqual(peer.ask("GET_PARAMETER").status, 200)

    def test_the_end_of_the_stream(self) -> None:
        peer = self.playing()
        peer.read()
        peer.frames.clear()
        self.stream.viewers[0].ended("the stream has ended")
        peer.read()
        self.assertEqual([frame.channel for frame in peer.frames], [1, 3])
        self.assertIsInstance(parse_rtcp(peer.frames[0].data)[-1], Goodbye)
        self.assertTrue(peer.wire.disconnecting)

    def test_over_udp(self) -> None:
        self.peer.ask("DESCRIBE")
        ports = []
        for number, client in ((1, 5000), (2, 5002)):
            reply = self.peer.set_up(number, f"RTP/AVP;unicast;client_port={client}-{client + 1}")
            told = reply.header("transport")
            self.assertIn("server_port=", told)
            ports.append(int(told.partition("server_port=")[2].partition("-")[0]))
        self.assertTrue(all(port % 2 == 0 for port in ports))
        self.assertEqual(self.peer.send(self.peer.text("PLAY")), [])
        self.stream.send(*make_frames(0.2))
        self.rig.clock.advance(1)
        [reply] = self.peer.read()
        self.assertEqual(reply.status, 200)
        sent = {port.number: port.written for port in self.rig.datagrams.open}
        self.assertEqual({address for _, address in sent[ports[0]]}, {("192.0.2.7", 5000)})
        self.assertEqual({address for _, address in sent[ports[1] + 1]}, {("192.0.2.7", 5003)})
        self.assertEqual(self.peer.ask("TEARDOWN").status, 200)
        self.assertEqual(self.rig.datagrams.open, [])
        self.peer.lose()
        self.tidy()

    def test_udp_is_shared_by_addresses(self) -> None:
        """One address has its share of ports, all have what there is; interleaved tracks cost none."""
        self.rig = Rig(udp_tracks=7, udp_tracks_per_address=3)
        share = self.rig.factory.udp_share

        def set_up(peer: Peer, *numbers: int) -> list[int]:
            return [peer.set_up(number, UDP).status for number in numbers]

        first, again = self.rig.peer(), self.rig.peer()
        self.assertEqual(set_up(first, 1, 2), [200, 200])
        self.assertEqual(set_up(again, 1, 2), [200, 453])
        self.assertEqual(again.ask("TEARDOWN").status, 200)
        again.session = ""
        self.assertEqual(set_up(again, 1), [200])
        tcp = self.rig.peer()
        self.assertEqual(tcp.set_up(1).status, 200)
        publisher = self.rig.peer()
        publisher.ask("ANNOUNCE", "/pub", ANNOUNCED, Content_Type="application/sdp")
        transport = UDP + ";mode=record"
        self.assertEqual(publisher.ask("SETUP", "/pub/streamid=0", Transport=transport).status, 453)
        other, third = self.rig.peer("192.0.2.8"), self.rig.peer("192.0.2.9")
        self.assertEqual(set_up(other, 1, 2), [200, 200])
        self.assertEqual(set_up(third, 1, 2), [200, 200])
        # All ports are in use now, whoever asks.
        last = self.rig.peer("192.0.2.10")
        self.assertEqual(set_up(last, 1), [453])
        self.assertEqual((share.tracks, share.addresses, len(self.rig.datagrams.open)), (7, 3, 14))
        for peer in (first, again, tcp, publisher, other, third, last):
            peer.lose()
            peer.lose()
        self.assertEqual((share.tracks, share.addresses, self.rig.datagrams.open), (0, 0, []))

    def test_this_machine_has_no_share(self) -> None:
        """Behind a proxy everybody has its address."""
        rig = Rig(udp_tracks_per_address=1)
        peer = rig.peer("127.0.0.1")
        self.assertEqual([peer.set_up(number, UDP).status for number in (1, 2)], [200, 200])

    def test_udp_is_refused_where_there_is_none(self) -> None:
        peer = Rig(udp=False).peer()
        peer.ask("DESCRIBE")
        self.assertEqual(peer.set_up(1, UDP).status, 461)

    def test_a_second_choice_of_transport(self) -> None:
        peer = Rig(udp=False).peer()
        peer.ask("DESCRIBE")
        self.assertIn("TCP", peer.set_up(1, UDP + ",RTP/AVP/TCP;interleaved=0-1").header("transport"))

    def test_refusals(self) -> None:
        self.assertEqual(self.peer.ask("DESCRIBE", "/nobody").status, 404)
        for reason, status in ((Reason.DENIED, 403), (Reason.NOT_READY, 503), (Reason.UNSUPPORTED, 415)):
            self.rig.core.refuse = Refused(reason, "no")
            self.assertEqual(self.peer.ask("DESCRIBE").status, status)
        self.assertEqual(self.peer.ask("DESCRIBE", "/../etc").status, 400)
        self.assertEqual(self.peer.ask("DESCRIBE", Accept="text/plain").status, 406)


class StateTests(ServerTestCase):
    """Rows S01 to S05."""

    def test_the_session_of_another_connection(self) -> None:
        """S01."""
        victim = self.playing()
        other = self.rig.peer("192.0.2.66")
        other.session = victim.session
        for method in ("PLAY", "TEARDOWN", "GET_PARAMETER", "PAUSE", "SETUP", "OPTIONS"):
            self.assertEqual(other.ask(method).status, 454, method)
        victim.read()
        self.assertEqual(len(self.stream.viewers), 1)
        self.assertEqual(victim.ask("GET_PARAMETER").status, 200)

    def test_setup_of_what_was_not_granted(self) -> None:
        """S02."""
        self.rig.core.refuse = Refused(Reason.DENIED, "no")
        self.assertEqual(self.peer.ask("DESCRIBE").status, 403)
        self.assertEqual(self.peer.set_up(1).status, 403)
        self.assertEqual(self.peer.ask("PLAY").status, 455)
        self.rig.core.refuse = None
        self.peer.ask("DESCRIBE")
        self.assertEqual(self.peer.set_up(1, path="/other").status, 404)
        self.peer.set_up(1)
        self.rig.core.streams["other"] = self.stream
        self.assertEqual(self.peer.set_up(2, path="/other").status, 459)

    def test_what_is_granted_is_that_stream(self) -> None:
        """S02: the description of one stream opens no other, by no method; wrong passwords open nothing."""
        core, peer = self.rig.core, self.peer
        core.streams["locked"] = locked = FakeStream()
        core.locked = {"locked": Refused(Reason.DENIED, "no")}
        self.assertEqual(peer.ask("DESCRIBE").status, 200)
        self.assertEqual(peer.ask("DESCRIBE", "/locked").status, 403)
        self.assertEqual(peer.set_up(1, path="/locked").status, 403)
        self.assertEqual(peer.set_up(1).status, 200)
        for text in (UDP, "RTP/AVP/TCP"):
            self.assertEqual(peer.set_up(2, text, path="/locked").status, 459)
        # Its session plays what was set up, whatever URL it speaks of.
        self.assertEqual(peer.send(peer.text("PLAY", "/locked")), [])
        self.assertEqual((len(self.stream.viewers), locked.viewers), (1, []))
        asked = [(request.name, request.action) for request in core.requests]
        self.assertEqual(asked, [("cam", "play"), ("locked", "play"), ("locked", "play")])

        core.passwords["pub"] = "s3cret"
        other = self.rig.peer()
        for path in ("/pub", "/pub?password=guess"):
            reply = other.ask("ANNOUNCE", path, ANNOUNCED, Content_Type="application/sdp")
            self.assertEqual(reply.status, 403 if "guess" in path else 401)
            transport = "RTP/AVP/TCP;interleaved=0-1;mode=record"
            self.assertEqual(other.ask("SETUP", "/pub/streamid=0", Transport=transport).status, 400)
            self.assertEqual(other.ask("RECORD", "/pub").status, 455)
        self.assertEqual(core.sinks, {})

    def test_setup_again_and_otherwise(self) -> None:
        """S03."""
        self.peer.ask("DESCRIBE")
        self.assertEqual(self.peer.set_up(1).status, 200)
        self.assertEqual(self.peer.set_up(1).status, 455)
        self.assertEqual(self.peer.set_up(2, UDP).status, 461)
        self.assertEqual(self.peer.set_up(9).status, 404)
        self.assertEqual(self.peer.set_up(2, "RTP/SAVP;unicast").status, 461)
        self.assertEqual(self.peer.set_up(2, "RAW/RAW/UDP").status, 461)
        self.assertEqual(self.peer.set_up(2, "RTP/AVP;multicast").status, 461)
        self.assertEqual(self.peer.ask("SETUP", Transport="RTP/AVP/TCP").status, 459)
        self.peer.send(self.peer.text("PLAY"))
        self.stream.send(make_frames(0.1)[0])
        self.peer.read()
        reply = self.peer.set_up(2)
        self.assertEqual(reply.status, 455)
        self.assertIn("PAUSE", reply.header("allow"))

    def test_ten_thousand_setups_leak_nothing(self) -> None:
        """S03."""
        for _ in range(1_000):
            peer = self.rig.peer()
            peer.ask("DESCRIBE")
            for _ in range(10):
                peer.set_up(1, UDP)
            peer.lose()
        self.peer.lose()
        self.tidy()

    def test_methods_out_of_turn(self) -> None:
        """S04."""
        for method in ("PLAY", "PAUSE", "RECORD"):
            self.assertEqual(self.peer.ask(method).status, 455)
        self.assertEqual(self.peer.ask("TEARDOWN").status, 454)
        self.playing()
        self.peer.read()
        self.assertEqual(self.announced().status, 455)
        self.assertEqual(self.peer.ask("RECORD").status, 455)
        self.assertEqual(self.peer.ask("TEARDOWN").status, 200)
        self.assertEqual(self.peer.ask("TEARDOWN").status, 454)
        self.peer.session = ""
        self.assertEqual(self.peer.ask("TEARDOWN").status, 454)
        self.assertEqual(self.peer.ask("FROB").status, 501)
        reply = self.peer.ask("OPTIONS", Require="x, y")
        self.assertEqual((reply.status, reply.header("unsupported")), (551, "x, y"))
        self.peer.lose()
        self.tidy()

    def test_publishing_methods_out_of_turn(self) -> None:
        """S04: what is announced cannot be played, nor recorded before it is set up."""
        self.announced()
        for method in ("RECORD", "PLAY", "PAUSE", "DESCRIBE", "ANNOUNCE"):
            self.assertEqual(self.peer.ask(method, "/pub").status, 455, method)
        self.assertEqual(self.peer.ask("TEARDOWN", "/pub").status, 200)
        self.assertEqual(self.peer.ask("TEARDOWN", "/pub").status, 454)
        self.assertIsNotNone(self.rig.core.sinks["pub"].ended)
        self.peer = self.rig.peer()
        self.recording()
        for method, path in (("PLAY", "/pub"), ("ANNOUNCE", "/pub"), ("SETUP", "/pub/streamid=0")):
            self.assertEqual(self.peer.ask(method, path).status, 455, method)
        self.peer.lose()

    def test_leaving_in_the_midst(self) -> None:
        """S05."""
        for _ in range(1_000):
            peer = self.playing(self.rig.peer())
            peer.send(b"$\x01\x00\x10half")
            peer.lose()
        self.peer.lose()
        self.tidy()


class WireTests(ServerTestCase):
    """Rows S07 to S14, S21."""

    def test_headers(self) -> None:
        """S07."""
        for text, status in (
            ("OPTIONS * RTSP/1.0\r\n" + "a: b\r\n" * 10_000 + "\r\n", 400),
            ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\na: " + "b" * (1 << 20), 400),
            ("OPTIONS rtsp://h/" + "b" * 5000, 414),
            ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nA: b\r\n folded\r\n\r\n", 400),
            ("OPTIONS * RTSP/1.0\r\nCSeq 1\r\n\r\n", 400),
            ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nA: \0\r\n\r\n", 400),
            ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nA: x\ny\r\n\r\n", 400),
            ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nA: x\ry\r\n\r\n", 400),
            ("OPTIONS * RTSP/1.0\r\nCSeq: 1\nA: x\r\n\r\n", 400),
            ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n: x\r\n\r\n", 400),
            ("OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n", 505),
            ("SETUP * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 1000000\r\n\r\n", 413),
            ("SETUP * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n", 400),
            ("\x16\x03\x01 nonsense\r\n\r\n", 400),
        ):
            peer = self.rig.peer()
            [reply] = peer.send(text)
            self.assertEqual(reply.status, status, text[:60])
            self.assertTrue(peer.wire.disconnecting)

    def test_cseq(self) -> None:
        """S08."""
        for text in ("", "CSeq: x\r\n", "CSeq: 99999999999\r\n", "CSeq: -1\r\n"):
            peer = self.rig.peer()
            [reply] = peer.send(f"OPTIONS * RTSP/1.0\r\n{text}\r\n")
            self.assertEqual((reply.status, reply.header("cseq")), (400, ""))

    def test_transports(self) -> None:
        """S09."""
        self.peer.ask("DESCRIBE")
        for text in (
            "RTP/AVP;unicast;client_port=0-1",
            "RTP/AVP;unicast;client_port=70000-70001",
            "RTP/AVP;unicast;client_port=5001-5000",
            "RTP/AVP;unicast",
            "RTP/AVP/TCP;interleaved=255-256",
            "RTP/AVP/TCP;interleaved=a-b",
            UDP + ";destination=198.51.100.1",
            "",
        ):
            self.assertEqual(self.peer.set_up(1, text).status, 461, text)
        publisher = self.peer = self.rig.peer()
        self.announced()
        for text in (
            "RTP/AVP;client_port=0-1",
            "RTP/AVP/TCP;interleaved=255-256",
            UDP + ";destination=198.51.100.1",
        ):
            reply = publisher.ask("SETUP", "/pub/streamid=0", Transport=text + ";mode=record")
            self.assertEqual(reply.status, 461, text)
        self.assertEqual(self.rig.datagrams.open, [])

    def test_datagrams_go_to_the_peer_alone(self) -> None:
        """S09: the peer's own address may be named; C{source} and others mean nothing."""
        self.peer.ask("DESCRIBE")
        for number, more in (
            (1, ";destination=192.0.2.7"),
            (2, ";source=198.51.100.1;server_port=7000-7001"),
        ):
            self.assertEqual(self.peer.set_up(number, UDP + more).status, 200)
        self.peer.send(self.peer.text("PLAY"))
        self.stream.send(*make_frames(0.2))
        self.rig.clock.advance(1)
        sent = {address[0] for port in self.rig.datagrams.open for _, address in port.written}
        self.assertEqual(sent, {"192.0.2.7"})

    def test_a_player_over_udp_that_vanishes(self) -> None:
        """S10."""
        self.peer.ask("DESCRIBE")
        self.peer.set_up(1, UDP)
        self.peer.send(self.peer.text("PLAY"))
        report = receiver_report(1, (), b"x")
        control = self.rig.datagrams.open[1]
        for _ in range(20):
            self.rig.clock.pump([2.0] * 20)
            control.protocol.datagramReceived(report, ("192.0.2.7", 5001))
        self.assertFalse(self.peer.wire.disconnecting)
        for _ in range(20):
            self.rig.clock.pump([2.0] * 2)
            control.protocol.datagramReceived(report, ("198.51.100.9", 5001))
        self.assertTrue(self.peer.wire.disconnecting)
        self.assertEqual(self.rig.datagrams.open, [])
        self.assertEqual(self.rig.factory.counters.foreign_datagrams, 20)

    def test_interleaved_frames_nobody_wants(self) -> None:
        """S11."""
        peer = self.recording()
        frame = b"$\x09\x00\x04abcd"
        empty = b"$\x00\x00\x00"
        [reply] = peer.send(frame + empty + peer.text("GET_PARAMETER").encode() + frame)
        self.assertEqual(reply.status, 200)

    def test_a_frame_inside_a_request(self) -> None:
        """S11: it is no header line; in a body it is the body's."""
        for text in (
            b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n$\x00\x00\x04abcd\r\n\r\n",
            b"OPTIONS $\x00\x00\x04 RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        ):
            peer = self.rig.peer()
            [reply] = peer.send(text)
            self.assertEqual(reply.status, 400)
            self.assertTrue(peer.wire.disconnecting)
        peer = self.rig.peer()
        body = b"$\x00\xff\xffab"
        head = f"GET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.assertEqual([reply.status for reply in peer.send(head + body)], [200])
        self.assertEqual(peer.ask("OPTIONS").status, 200)

    def test_a_frame_that_trickles(self) -> None:
        """S11: bytes one by one give it no more time."""
        peer = self.recording()
        peer.send(b"$\x00\xff\xff")
        for _ in range(13):
            peer.send(b"x")
            self.rig.clock.pump([0.1] * 10)
        self.assertTrue(peer.wire.disconnecting)

    def test_a_frame_that_does_not_end(self) -> None:
        """S11, S14."""
        self.peer.ask("OPTIONS")
        self.peer.send(b"$\x00\xff\xffbegin")
        self.rig.clock.pump([2.0] * 4)
        self.assertFalse(self.peer.wire.disconnecting)
        self.rig.clock.pump([2.0] * 3)
        self.assertTrue(self.peer.wire.disconnecting)

    def test_a_hundred_requests_at_once(self) -> None:
        """S13: no more than one is in work; what waits is bounded, and nothing more is read."""
        self.rig.core.delay = Deferred()
        text = self.peer.text("DESCRIBE")
        self.peer.send(text * 100)
        self.assertEqual(len(self.rig.core.requests), 1)
        for _ in range(2000):
            self.peer.protocol.dataReceived(text.encode())
            if self.peer.wire.producerState != "producing":
                break
        self.assertEqual(self.peer.wire.producerState, "paused")
        delay, self.rig.core.delay = self.rig.core.delay, None
        delay.callback(None)
        self.assertTrue(self.peer.wire.disconnecting)

    def test_answers_that_are_not_taken(self) -> None:
        """S13."""
        self.peer.ask("OPTIONS")
        self.peer.protocol.pauseProducing()
        self.assertEqual(self.peer.send(self.peer.text("OPTIONS")), [])
        self.assertEqual(self.peer.wire.producerState, "paused")
        self.rig.clock.pump([2.0] * 6)
        self.assertTrue(self.peer.wire.disconnecting)
        self.rig.clock.advance(5)
        self.assertTrue(self.peer.wire.aborted)

    def test_deadlines(self) -> None:
        """S14."""
        slow, silent, idle = self.rig.peer(), self.rig.peer(), self.rig.peer()
        idle.ask("OPTIONS")
        for _ in range(6):
            slow.send("O")
            self.rig.clock.advance(2)
        self.assertTrue(slow.wire.disconnecting)
        self.assertTrue(silent.wire.disconnecting)
        self.assertFalse(idle.wire.disconnecting)
        self.rig.clock.pump([2.0] * 26)
        self.assertTrue(idle.wire.disconnecting)

    def test_http_on_the_port(self) -> None:
        """S21."""
        for text in ("GET /cam HTTP/1.1\r\nHost: x\r\n\r\n", "POST /cam HTTP/1.0\r\n\r\nZGVz"):
            peer = self.rig.peer()
            peer.protocol.dataReceived(text.encode())
            self.assertTrue(peer.wire.value().startswith(b"HTTP/1.0 501 "))
            self.assertTrue(peer.wire.disconnecting)

    def test_too_many_connections(self) -> None:
        rig = Rig(per_address=2)
        peers = [rig.peer(), rig.peer()]
        self.assertIsNone(rig.factory.buildProtocol(peers[0].wire.getPeer()))
        self.assertEqual(rig.factory.counters.turned_away, 1)

    def test_the_service_stops(self) -> None:
        peer = self.playing()
        peer.read()
        peer.frames.clear()
        done = self.rig.factory.close_all("the node stops")
        peer.read()
        self.assertEqual([frame.channel for frame in peer.frames], [1, 3])
        self.assertNoResult(done)
        peer.lose()
        self.peer.lose()
        self.successResultOf(done)
