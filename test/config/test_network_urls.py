"""URLs of servers and groups of other protocols."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.load import parse
from restreamer.config.model import InputConfig, PushConfig
from restreamer.errors import ConfigError

#: URL of an input: kind, host, port, TLS, path, query, user, password, options.
INPUTS: list[tuple[str, tuple[object, ...]]] = [
    ("rtmp://Host/app/key", ("rtmp", "host", 1935, False, "/app/key", "", "", "", ())),
    ("rtmps://h/app/a/b?x=1", ("rtmp", "h", 443, True, "/app/a/b", "x=1", "", "", ())),
    ("rtsp://u:p%40s@h/cam/1?q=2", ("rtsp", "h", 554, False, "/cam/1", "q=2", "u", "p@s", ())),
    ("rtsp://[2001:db8::1]:8554", ("rtsp", "2001:db8::1", 8554, False, "", "", "", "", ())),
    ("rtsp-udp://h/a", ("rtsp", "h", 554, False, "/a", "", "", "", (("transport", "udp"),))),
    ("rtsp2://h/a transport=udp", ("rtsp", "h", 554, False, "/a", "", "", "", (("transport", "udp"),))),
    ("rtsps://h/a", ("rtsp", "h", 322, True, "/a", "", "", "", ())),
    ("tshttp://h/any", ("tshttp", "h", 80, False, "/any", "", "", "", ())),
    ("https://h/s/mpegts", ("tshttp", "h", 443, True, "/s/mpegts", "", "", "", ())),
    ("http://h/a.ts program=2", ("tshttp", "h", 80, False, "/a.ts", "", "", "", (("program", "2"),))),
    ("hls://h/any", ("hls", "h", 80, False, "/any", "", "", "", ())),
    ("https://h:8443/a.m3u8?t=1", ("hls", "h", 8443, True, "/a.m3u8", "t=1", "", "", ())),
    ("udp://239.0.0.1:1234", ("udp", "239.0.0.1", 1234, False, "", "", "", "", ())),
    ("udp://@:1234", ("udp", "", 1234, False, "", "", "", "", ())),
    (
        "udp://eth0@239.0.0.1:1234",
        ("udp", "239.0.0.1", 1234, False, "", "", "", "", (("interface", "eth0"),)),
    ),
    (
        "udp://239.0.0.1:1234/192.0.2.7",
        ("udp", "239.0.0.1", 1234, False, "", "", "", "", (("interface", "192.0.2.7"),)),
    ),
    (
        "udp://232.0.0.1:1234 sources=192.0.2.7,192.0.2.8",
        ("udp", "232.0.0.1", 1234, False, "", "", "", "", (("sources", "192.0.2.7,192.0.2.8"),)),
    ),
    (
        "udp://[ff3e::1]:1234 sources=2001:db8::1",
        ("udp", "ff3e::1", 1234, False, "", "", "", "", (("sources", "2001:db8::1"),)),
    ),
]

#: Text of an input, what is expected instead. What may be secret is not found in the message.
WRONG: list[tuple[str, str]] = [
    ("rtmp://h", "APPLICATION/KEY"),
    ("rtmp://h/app", "APPLICATION/KEY"),
    ("rtmp://h:70000/app/hunter2", "HOST[:PORT]"),
    ("rtsp://hunter2:hunter2@/x", "HOST[:PORT]"),
    ("http://h/x", ".m3u8"),
    ("http://h/x.mp4?hunter2", "tshttp://"),
    ("tshttp://h", "/PATH"),
    ("udp://239.0.0.1", "ADDRESS:PORT"),
    ("udp://239.0.0.1:1/eth0", "INTERFACE-ADDRESS"),
    ("udp://a/b@239.0.0.1:1", "INTERFACE"),
    ("rtsp://h/a transport=quic", "tcp or udp"),
    ("udp://h:1 program=0", "program"),
    ("udp://232.0.0.1:1 sources=h", "sources="),
    ("udp://192.0.2.1:1 sources=192.0.2.7", "a group"),
    ("udp://232.0.0.1:1 sources=2001:db8::1", "family"),
    ("udp://232.0.0.1:1 sources=232.0.0.2", "machines"),
    ("http://h/a.ts sources=192.0.2.7", "udp://"),
    ("rtmp://h/live/%s", "%s"),
    ("udp://h:1 program=99999", "1 to 65535"),
    ("rtsp-udp://h/a transport=tcp", "rtsp://"),
    ("rtsps://h/a transport=udp", "rtsps://"),
    ("rtsp://h/a program=1", "program="),
    ("udp://h:1 transport=udp", "transport="),
    ("publish:// program=2", "program="),
    ("rtmp://h/a\\b/c", "without spaces"),
]

#: Text of a push: kind, host, port, path, options.
PUSHES: list[tuple[str, tuple[object, ...]]] = [
    ("rtmp://h/app/key?a=b", ("rtmp", "h", 1935, "/app/key", ())),
    ("udp://239.0.0.1:1234 ttl=8 loop", ("udp", "239.0.0.1", 1234, "", (("loop", "true"), ("ttl", "8")))),
    (
        'udp://eth1@h:1 bitrate=5000 pids=pmt:100,v1:0x65 pnr=7 "service=News 24"',
        (
            "udp",
            "h",
            1,
            "",
            (
                ("bitrate", "5000"),
                ("interface", "eth1"),
                ("pids", "pmt:100,v1:0x65"),
                ("pnr", "7"),
                ("service", "News 24"),
            ),
        ),
    ),
]

WRONG_PUSHES: list[tuple[str, str]] = [
    ("udp://@:1234", "where it is sent to"),
    ("udp://h:1 ttl=256", "0 to 255"),
    ("udp://h:1 bitrate=0", "kbit/s"),
    ("udp://h:1 pids=100", "pmt:100"),
    ("udp://h:1 loop=maybe", "true or false"),
    ("rtmp://h/a/hunter2 ttl=3", "udp://"),
    ("udp://h:1 pnr=70000", "1 to 65535"),
    ("udp://h:1 pids=pmt:8192", "0x10 to 0x1ffe"),
    ("udp://h:1 pids=pmt:0", "0x10 to 0x1ffe"),
    ("udp://h:1 pids=v0:8190", "0x10 to 0x1ffe"),
    ("udp://h:1 pids=x9:100", "pmt, v1, a1"),
    ("udp://h:1 pids=v1:100,a1:100", "one PID twice"),
    ("udp://h:1 pids=v1:100,v1:101", "one word twice"),
    ("udp://h:1 pids=pmt:105,v0:100", "one PID twice"),
    ("udp://h:1 pids=v0:100,a0:105", "one PID twice"),
]


def _input(text: str) -> InputConfig:
    return parse(f"stream s {{ input {text}; }}").configuration.streams["s"].inputs[0]


def _push(text: str) -> PushConfig:
    return parse(f"stream s {{ input publish://; push {text}; }}").configuration.streams["s"].push[0]


class NetworkUrlTests(SynchronousTestCase):
    def test_inputs(self) -> None:
        for text, expected in INPUTS:
            with self.subTest(text):
                found = _input(text)
                self.assertEqual(
                    (
                        found.scheme,
                        found.host,
                        found.port,
                        found.tls,
                        found.path,
                        found.query,
                        found.user,
                        found.password,
                        found.options,
                    ),
                    expected,
                )

    def test_wrong_inputs(self) -> None:
        for text, expected in WRONG:
            with self.subTest(text):
                error = self.assertRaises(ConfigError, _input, text)
                self.assertIn(expected, error.expected)
                self.assertNotIn("hunter2", str(error))

    def test_name_of_a_template(self) -> None:
        text = "template t { prefix t; input rtmp://h/live/%s?x=%s; push rtmp://o/live/%s; }"
        made = parse(text).configuration.templates["t"].make("t/one")
        self.assertEqual((made.inputs[0].path, made.inputs[0].query), ("/live/t/one", "x=t/one"))
        self.assertEqual(made.push[0].path, "/live/t/one")

    def test_pushes(self) -> None:
        for text, expected in PUSHES:
            with self.subTest(text):
                found = _push(text)
                self.assertEqual((found.scheme, found.host, found.port, found.path, found.options), expected)

    def test_wrong_pushes(self) -> None:
        for text, expected in WRONG_PUSHES:
            with self.subTest(text):
                error = self.assertRaises(ConfigError, _push, text)
                self.assertIn(expected, error.expected)
                self.assertNotIn("hunter2", str(error))

    def test_no_secret_is_shown(self) -> None:
        text = "stream s { input rtsp://u:hunter2@h/a?k=hunter2; push rtmp://h/a/hunter2; }"
        self.assertNotIn("hunter2", repr(parse(text)))
