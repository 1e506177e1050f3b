"""Headers, descriptions, URLs and passwords: tables, and whatever else comes."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import Refused, RemoteProtocolError
from restreamer.rtsp.authentication import Challenge, Credentials, digest_response
from restreamer.rtsp.description import describe
from restreamer.rtsp.headers import (
    RtpInfo,
    Transport,
    parse_parameters,
    parse_rtp_info,
    parse_session,
    parse_transports,
)
from restreamer.rtsp.pull import resolve
from restreamer.rtsp.sdp import MAX_MEDIA, parse_sdp
from restreamer.rtsp.target import parse_target
from restreamer.testing.media import aac_track, h264_track

QUICK = settings(deadline=None, max_examples=150, derandomize=True)


class HeaderTests(SynchronousTestCase):
    """RFC 2326 section 12."""

    def test_transports(self) -> None:
        for text, wanted in (
            ("RTP/AVP/TCP;unicast;interleaved=0-1", Transport(tcp=True, channels=(0, 1))),
            ("RTP/AVP;unicast;client_port=5000", Transport(tcp=False, client_ports=(5000, 5001))),
            (
                "RTP/AVP/UDP;unicast;client_port=5000-5001;server_port=6000-6001;ssrc=0a0B;mode=record",
                Transport(
                    tcp=False, client_ports=(5000, 5001), server_ports=(6000, 6001), record=True, ssrc=0xA0B
                ),
            ),
            (
                'RTP/AVP;multicast;mode="PLAY";source=10.0.0.1',
                Transport(tcp=False, multicast=True, source="10.0.0.1"),
            ),
        ):
            self.assertEqual(parse_transports(text), [wanted])
        self.assertEqual(
            [each.tcp for each in parse_transports("RTP/SAVP;unicast, RTP/AVP;a, RTP/AVP/TCP")], [False, True]
        )

    def test_bad_transports(self) -> None:
        for text in (
            "interleaved=255-256",
            "client_port=0-1",
            "client_port=70000-70001",
            "client_port=9-8",
            "client_port=x",
        ):
            self.assertRaises(RemoteProtocolError, parse_transports, "RTP/AVP;" + text)

    def test_a_transport_is_read_as_it_is_written(self) -> None:
        for transport in (
            Transport(tcp=True, channels=(4, 5), record=True),
            Transport(tcp=False, client_ports=(5000, 5001), server_ports=(6000, 6001)),
        ):
            self.assertEqual(parse_transports(str(transport)), [transport])

    def test_sessions(self) -> None:
        self.assertEqual(parse_session("12345678;timeout=60"), ("12345678", 60))
        self.assertEqual(parse_session(" ab-c ; timeout = 5"), ("ab-c", 5))
        self.assertEqual(parse_session("x"), ("x", 0))
        self.assertEqual(parse_session(""), ("", 0))

    def test_rtp_info(self) -> None:
        text = "url=rtsp://h/a/trackID=1;seq=45102;rtptime=12345, url=trackID=2;seq=99999;rtptime=x"
        self.assertEqual(
            parse_rtp_info(text),
            [RtpInfo("rtsp://h/a/trackID=1", 45102, 12345), RtpInfo("trackID=2", None, None)],
        )

    def test_parameters(self) -> None:
        self.assertEqual(
            parse_parameters('username="a\\"b", realm="x, y", algorithm=MD5'),
            {"username": 'a"b', "realm": "x, y", "algorithm": "MD5"},
        )

    @QUICK
    @given(st.text(max_size=200))
    def test_anything(self, text: str) -> None:
        parse_session(text)
        parse_rtp_info(text)
        parse_parameters(text)
        for parse in (parse_transports, parse_target):
            for prefix in ("", "RTP/AVP;", "rtsp://"):
                try:
                    parse(prefix + text)
                except RemoteProtocolError:
                    pass


class TargetTests(SynchronousTestCase):
    """URLs."""

    def test_played(self) -> None:
        for url, name, track, token, base in (
            ("rtsp://h/cam", "cam", None, "", "rtsp://h/cam/"),
            ("rtsp://h:554/a/cam/", "a/cam", None, "", "rtsp://h:554/a/cam/"),
            ("rtsp://u:p@h/cam/trackID=2", "cam", 2, "", "rtsp://h/cam/"),
            ("rtsp://h/cam?token=x", "cam", None, "x", "rtsp://h/cam/"),
            ("rtsp://h/cam?token=x/trackID=1", "cam", 1, "x", "rtsp://h/cam/"),
            ("rtsps://h/c%61m", "cam", None, "", "rtsps://h/c%61m/"),
        ):
            target = parse_target(url)
            told = (target.played, target.track_id, target.value("token"), target.base)
            self.assertEqual(told, (name, track, token, base), url)

    def test_published(self) -> None:
        self.assertEqual(parse_target("rtsp://h/cam.sdp").published, "cam")

    def test_bad(self) -> None:
        self.assertRaises(RemoteProtocolError, parse_target, "http://h/cam")
        for url in ("rtsp://h/", "rtsp://h/../x", "rtsp://h/a%00b", "rtsp://h/" + "a" * 300):
            with self.assertRaises(Refused):
                _ = parse_target(url).played

    def test_secrets_are_not_shown(self) -> None:
        self.assertNotIn("hush", repr(parse_target("rtsp://u:hush@h/cam?token=hush")))


class SdpTests(SynchronousTestCase):
    """Descriptions (S15)."""

    def test_ours(self) -> None:
        tracks = (h264_track(), evolve(aac_track(), language="fra", bandwidth=96_500))
        body = describe("a\r\ntitle", tracks)
        self.assertIn(b"s=a  title\r\n", body)
        description = parse_sdp(body)
        self.assertEqual(description.control, "*")
        video, audio = description.media
        assert video.format is not None and audio.format is not None
        self.assertEqual((video.format.encoding, video.format.clock), ("h264", 90_000))
        self.assertEqual(video.format.parameters["profile-level-id"], "64001E")
        self.assertEqual((audio.format.clock, audio.format.channels, audio.language), (48_000, 2, "fra"))
        self.assertIn(b"b=AS:96\r\n", body)

    def test_static_types_and_strangers(self) -> None:
        description = parse_sdp(
            b"v=0\nm=audio 0 RTP/AVP 8\na=control:x\nm=audio 0 RTP/AVP 99\nm=application 0 TCP/MSRP *\n"
        )
        first, second, third = description.media
        assert first.format is not None
        self.assertEqual((first.format.encoding, first.format.clock), ("pcma", 8000))
        self.assertIsNone(second.format)
        self.assertIsNone(third.format)

    def test_refused(self) -> None:
        for body in (
            b"",
            b"v=0\r\n",
            b"m=video 0 RTP/AVP 96\r\n" * (MAX_MEDIA + 1),
            b"m=video\r\n",
            b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/0\r\n",
            b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/999999999\r\n",
            b"v=" + b"0" * 200_000,
            b"a=" + b"x" * 20_000 + b"\nm=video 0 RTP/AVP 96\n",
        ):
            self.assertRaises(RemoteProtocolError, parse_sdp, body)

    def test_long_numbers(self) -> None:
        """S15: longer ones than can be a number of anything."""
        long = b"9" * 5000
        for body in (
            b"m=video 0 RTP/AVP " + long,
            b"m=video 0/" + long + b" RTP/AVP 96",
            b"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/" + long,
            b"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000/" + long,
            b"m=video 0 RTP/AVP 96\na=rtpmap:" + long + b" H264/90000",
        ):
            self.assertEqual([media.format for media in parse_sdp(body).media], [None])

    @QUICK
    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        for prefix in (b"", b"m=video 0 RTP/AVP 96\na=rtpmap:96 ", b"m=video 0 RTP/AVP 96\na=fmtp:96 "):
            try:
                parse_sdp(prefix + data)
            except RemoteProtocolError:
                pass

    def test_controls(self) -> None:
        for base, control, wanted in (
            ("rtsp://h/a", "trackID=1", "rtsp://h/a/trackID=1"),
            ("rtsp://h/a/", "trackID=1", "rtsp://h/a/trackID=1"),
            ("rtsp://h/a", "rtsp://g/b", "rtsp://g/b"),
            ("rtsp://h/a?x=y", "t", "rtsp://h/a?x=y/t"),
            ("rtsp://h/a", "*", "rtsp://h/a"),
        ):
            self.assertEqual(resolve(base, control), wanted)


class CredentialTests(SynchronousTestCase):
    """The client's side against the server's."""

    def test_they_understand_each_other(self) -> None:
        challenge = Challenge(lambda size: b"n" * size)
        for kind in (0, 1):
            client = Credentials('us"er', "p\u00e4ss")
            self.assertTrue(client.challenged(challenge.ask(0.0)[kind]))
            header = client.header("PLAY", "rtsp://h/x")
            self.assertTrue(challenge.proves(header, "PLAY", "rtsp://h/x", "p\u00e4ss", 1.0))
            self.assertFalse(challenge.proves(header, "PLAY", "rtsp://h/x", "other", 1.0))

    def test_a_password_that_is_refused_is_not_sent_again(self) -> None:
        client = Credentials("u", "p")
        challenge = 'Digest realm="r", nonce="n"'
        self.assertTrue(client.challenged(challenge))
        self.assertFalse(client.challenged(challenge))
        self.assertFalse(client.challenged("Negotiate"))
        self.assertFalse(client.challenged('Digest realm="r", nonce="m", algorithm=SHA-256'))

    def test_rfc_2069(self) -> None:
        """The corrected figure of RFC 2069's erratum."""
        self.assertEqual(
            digest_response(
                "Mufasa",
                "testrealm@host.com",
                "CircleOfLife",
                "dcd98b7102dd2f0e8b11d0f600bfb0c093",
                "GET",
                "/dir/index.html",
            ),
            "1949323746fe6a43ef61f9606e7febea",
        )
