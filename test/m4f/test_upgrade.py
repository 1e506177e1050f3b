"""The HTTP exchange before a link."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.upgrade import MAX_HEAD, Moved, Place, UpgradeResponse, is_upgrade, upgrade_request
from test.m4f import samples

_SETTINGS = settings(deadline=None, max_examples=60, derandomize=True)
GOOD = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: m4f\r\n\r\n"


class RequestTests(SynchronousTestCase):
    def test_the_request(self) -> None:
        self.assertEqual(
            upgrade_request("origin.example:8080"),
            b"GET /m4f HTTP/1.1\r\nHost: origin.example:8080\r\nUpgrade: m4f\r\nConnection: Upgrade\r\n\r\n",
        )
        self.assertIn(b"Host: [::1]:80\r\n", upgrade_request("[::1]:80"))

    def test_hosts_that_cannot_stand_in_a_header(self) -> None:
        for host in ("", "a b", "a\r\nX: y", "a/b", "é", "a" * 301):
            self.assertRaises(ValueError, upgrade_request, host)

    def test_recognised_by_the_server(self) -> None:
        for connection, upgrade, expected in (
            ("Upgrade", "m4f", True),
            ("keep-alive, upgrade", "websocket, M4F", True),
            ("keep-alive", "m4f", False),
            ("Upgrade", "websocket", False),
            ("Upgrade", "m4fx", False),
            ("", "", False),
        ):
            self.assertIs(is_upgrade({"connection": connection, "upgrade": upgrade}), expected)
        self.assertIs(is_upgrade({}), False)


class ResponseTests(SynchronousTestCase):
    @_SETTINGS
    @given(st.data())
    def test_any_fragments(self, data: st.DataObject) -> None:
        response = UpgradeResponse()
        leftover = b""
        for piece in data.draw(samples.fragments(GOOD + b"\1\0link")):
            if response.done:
                leftover += piece
            elif response.receive(piece):
                leftover += response.leftover
        self.assertEqual((response.done, leftover), (True, b"\1\0link"))

    def test_nothing_more_is_taken(self) -> None:
        response = UpgradeResponse()
        self.assertTrue(response.receive(GOOD))
        self.assertRaises(LocalProtocolError, response.receive, b"")

    def test_another_status_is_named(self) -> None:
        for status in (b"200 OK", b"404 Not Found", b"100 Continue", b"503"):
            error = self.assertRaises(
                RemoteProtocolError, UpgradeResponse().receive, b"HTTP/1.1 " + status + b"\r\n\r\n"
            )
            self.assertIn(f"status {status[:3].decode()}", str(error))

    def test_what_a_node_means(self) -> None:
        for status, words in ((b"429", "wrong cluster_key"), (b"403", "it has no cluster_key")):
            error = self.assertRaises(
                RemoteProtocolError, UpgradeResponse().receive, b"HTTP/1.1 " + status + b" x\r\n\r\n"
            )
            self.assertIn(words, str(error))

    def test_no_upgrade(self) -> None:
        for data in (
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nbroken\r\nUpgrade: m4f\r\n\r\n",
            b"HTTP/2 101 x\r\n\r\n",
            b"HTTP/1.1 1010\r\n\r\n",
            b"\x15\x03\x01\x00\x02\x02\x46",
            b"SSH-2.0",
            b"\r\n\r\n",
        ):
            self.assertRaises(RemoteProtocolError, UpgradeResponse().receive, data)

    def test_a_head_without_end(self) -> None:
        response = UpgradeResponse()
        response.receive(b"HTTP/1.1 101 x\r\n")
        response.receive(b"X: " + b"y" * (MAX_HEAD - 19))
        self.assertRaises(RemoteProtocolError, response.receive, b"z")
        whole = b"HTTP/1.1 101 x\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n"
        self.assertRaises(RemoteProtocolError, UpgradeResponse().receive, whole)

    @_SETTINGS
    @given(st.binary(max_size=100), st.booleans())
    def test_garbage(self, data: bytes, after_status: bool) -> None:
        head = b"HTTP/1.1 101 x\r\n" if after_status else b""
        try:
            UpgradeResponse().receive(head + data + b"\r\n\r\n")
        except RemoteProtocolError:
            pass


class MovedTests(SynchronousTestCase):
    """Redirections: where they lead, and which are refused."""

    def test_moved(self) -> None:
        for status in (301, 302, 307, 308):
            head = f"HTTP/1.1 {status} x\r\nX: y\r\nlocation:  http://b/m4f \r\n\r\n".encode()
            moved = self.assertRaises(Moved, UpgradeResponse().receive, head)
            self.assertEqual(moved.location, "http://b/m4f")
        for head in (b"HTTP/1.1 302 x\r\n\r\n", b"HTTP/1.1 304 x\r\nLocation: http://b/m4f\r\n\r\n"):
            error = self.assertRaises(RemoteProtocolError, UpgradeResponse().receive, head)
            self.assertNotIsInstance(error, Moved)

    def test_places(self) -> None:
        here = Place("a", 80)
        for location, there in (
            ("http://b/m4f", Place("b", 80)),
            ("HTTP://B:8080/m4f", Place("b", 8080)),
            ("https://b.example/m4f?x=y", Place("b.example", 443, True)),
            ("https://[2001:DB8::1]:8443/m4f", Place("2001:db8::1", 8443, True)),
            ("http://192.0.2.1/m4f/", Place("192.0.2.1", 80)),
        ):
            self.assertEqual(here.moved_to(location), there)
        self.assertEqual(str(Place("::1", 443, True)), "https://[::1]:443")

    def test_refused(self) -> None:
        for location in (
            "",
            "/m4f",
            "//b/m4f",
            "ftp://b/m4f",
            "http://b/",
            "http://b/m4fx",
            "http://b/x/m4f",
            "http://user:pass@b/m4f",
            "http://b:0/m4f",
            "http://b:65536/m4f",
            "http://b:/m4f",
            "http://a b/m4f",
            "http://[::1/m4f",
            "http://b\n/m4f",
            "http://" + "b" * 300 + "/m4f",
        ):
            self.assertRaises(RemoteProtocolError, Place("a", 80).moved_to, location)
        self.assertRaises(RemoteProtocolError, Place("a", 443, True).moved_to, "http://b/m4f")

    def test_no_password_is_told(self) -> None:
        """What a log may show of a Location."""
        for location, shown in (
            ("http://user:geheim@b/m4f", "'http://b/m4f'"),
            ("http://user:ge@heim@b/m4f", "'http://b/m4f'"),
            ("http://user:geheim/x@b/m4f", "'http://…'"),
            ("//user:geheim@b/m4f", "'//b/m4f'"),
            ("user:geheim@b", "'b'"),
            ("ftp://b/m4f?token=geheim", "'ftp://b/m4f'"),
        ):
            error = self.assertRaises(RemoteProtocolError, Place("a", 80).moved_to, location)
            self.assertIn(f"redirected to {shown}, which", str(error))
            self.assertNotIn("heim", str(error))

    @_SETTINGS
    @given(st.text(max_size=60))
    def test_any_location(self, location: str) -> None:
        try:
            there = Place("a", 80).moved_to("http://" + location)
        except RemoteProtocolError:
            return
        upgrade_request(there.authority)
