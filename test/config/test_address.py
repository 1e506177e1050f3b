"""Hosts, ports and listeners, strictly."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.address import parse_host_port, parse_listen, same_socket
from restreamer.config.model import Listen

NODES: list[tuple[str, tuple[str, int] | None]] = [
    ("streamer:8081", ("streamer", 8081)),
    ("Streamer.Example.", ("streamer.example", 80)),
    ("a_b-c.d", ("a_b-c.d", 80)),
    ("192.0.2.1:1", ("192.0.2.1", 1)),
    ("[::1]:8081", ("::1", 8081)),
    ("[::1]", ("::1", 80)),
    ("[2001:DB8:0::1]:65535", ("2001:db8::1", 65535)),
    ("[::ffff:127.0.0.1]:80", ("127.0.0.1", 80)),
    ("::1", None),
    ("[::1", None),
    ("[::1]x", None),
    ("[::1]:", None),
    ("[fe80::1%eth0]:80", None),
    ("[127.0.0.1]:80", None),
    ("[host]:80", None),
    ("300.1.1.1", None),
    ("1.2.3", None),
    ("host:0", None),
    ("host:65536", None),
    ("host:+80", None),
    ("host:8\u0660", None),
    ("host:", None),
    (":80", None),
    ("", None),
    ("user:pass@host:80", None),
    ("host/path", None),
    ("-host", None),
    ("a..b", None),
    ("x" * 64, None),
    ("é", None),
]

LISTENERS: list[tuple[str, tuple[str, int] | None]] = [
    ("8080", ("", 8080)),
    ("127.0.0.1:8080", ("127.0.0.1", 8080)),
    ("0.0.0.0:80", ("0.0.0.0", 80)),
    ("[::]:80", ("::", 80)),
    ("[::ffff:127.0.0.1]:80", ("127.0.0.1", 80)),
    ("::1:80", None),
    ("[127.0.0.1]:80", None),
    ("localhost:80", None),
    ("0", None),
    ("65536", None),
    ("-1", None),
    (":80", None),
    ("[::1]", None),
    ("[]:80", None),
    ("8080x", None),
]

OVERLAPS: list[tuple[tuple[str, int], tuple[str, int], bool]] = [
    (("", 80), ("", 80), True),
    (("", 80), ("", 81), False),
    (("", 80), ("127.0.0.1", 80), True),
    (("", 80), ("0.0.0.0", 80), True),
    (("127.0.0.1", 80), ("127.0.0.2", 80), False),
    (("", 80), ("::1", 80), False),
    (("", 80), ("::", 80), True),
    (("::1", 80), ("::", 80), True),
    (("::1", 80), ("127.0.0.1", 80), False),
]


class AddressTests(SynchronousTestCase):
    def test_nodes(self) -> None:
        for text, expected in NODES:
            with self.subTest(text):
                self.assertEqual(parse_host_port(text, 80), expected)

    def test_listeners(self) -> None:
        for text, expected in LISTENERS:
            with self.subTest(text):
                self.assertEqual(parse_listen(text), expected)

    def test_same_socket(self) -> None:
        for first, second, expected in OVERLAPS:
            with self.subTest(first=first, second=second):
                self.assertIs(same_socket(first, second), expected)
                self.assertIs(same_socket(second, first), expected)

    def test_endpoint(self) -> None:
        self.assertEqual(Listen(port=80).endpoint, "tcp:80")
        self.assertEqual(Listen(address="127.0.0.1", port=80).endpoint, "tcp:80:interface=127.0.0.1")
        self.assertEqual(Listen(address="::1", port=80).endpoint, "tcp6:80:interface=\\:\\:1")
