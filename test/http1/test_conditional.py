"""Ranges, conditions and rendered heads (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.http1.conditional import RangeOutcome, none_match_hit, single_range
from restreamer.http1.head import CLOSE, PERSISTS, plain_reply, render_full
from restreamer.http1.reply import FullReply, HttpRequest

_SETTINGS = settings(deadline=None, max_examples=150, derandomize=True)
WHOLE, NONE = RangeOutcome.WHOLE, RangeOutcome.UNSATISFIABLE


class Ranges(SynchronousTestCase):
    def test_table(self) -> None:
        """One range or none (H08)."""
        for value, wanted in [
            ("bytes=0-", (0, 9)),
            ("bytes=0-0", (0, 0)),
            ("bytes=3-5", (3, 5)),
            ("bytes=3-500", (3, 9)),
            ("bytes=9-", (9, 9)),
            ("bytes=-3", (7, 9)),
            ("bytes=-30", (0, 9)),
            ("BYTES = 1-2 ", (1, 2)),
            ("bytes=3-" + "9" * 5000, (3, 9)),
            ("bytes=10-", NONE),
            ("bytes=10-12", NONE),
            ("bytes=" + "9" * 5000 + "-", NONE),
            ("bytes=-0", NONE),
            ("bytes=5-3", WHOLE),
            ("bytes=0-1,3-4", WHOLE),
            ("bytes=" + ",".join(["0-1"] * 3000), WHOLE),
            ("bytes=-", WHOLE),
            ("bytes=", WHOLE),
            ("bytes=--1", WHOLE),
            ("bytes=a-b", WHOLE),
            ("bytes=+1-2", WHOLE),
            ("bytes=1_0-", WHOLE),
            ("items=0-1", WHOLE),
            ("", WHOLE),
        ]:
            self.assertEqual(single_range(value, 10), wanted, value[:40])
        self.assertEqual(single_range("bytes=0-", 0), NONE)
        self.assertEqual(single_range("bytes=-1", 0), NONE)

    @_SETTINGS
    @given(st.text("bytes=0123456789-, ", max_size=30), st.integers(0, 40))
    def test_a_range_is_always_inside(self, value: str, size: int) -> None:
        """Whatever is asked for (H08)."""
        got = single_range(value, size)
        if isinstance(got, tuple):
            self.assertTrue(0 <= got[0] <= got[1] < size)

    def test_none_match(self) -> None:
        for value, hit in [
            ('"a"', True),
            ("*", True),
            ('"b", "a"', True),
            ('W/"a"', True),
            ('"b"', False),
            ("a", False),
            ("", False),
        ]:
            self.assertEqual(none_match_hit(value, '"a"'), hit, value)


class Rendering(SynchronousTestCase):
    reply = FullReply(status=200, headers=b"A: b\r\n", body=b"0123456789", etag='"a"')

    def render(self, method: str = "GET", **headers: str) -> tuple[bytes, bytes]:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        head, body = render_full(HttpRequest(method=method, path="/", headers=fields), self.reply, PERSISTS)
        return head, bytes(body)

    def test_whole(self) -> None:
        head, body = self.render()
        self.assertEqual(
            head,
            b'HTTP/1.1 200 OK\r\nA: b\r\nETag: "a"\r\nAccept-Ranges: bytes\r\nContent-Length: 10\r\n\r\n',
        )
        self.assertIs(render_full(HttpRequest(method="GET", path="/"), self.reply, b"")[1], self.reply.body)
        self.assertEqual(body, b"0123456789")

    def test_head_has_the_length_and_no_body(self) -> None:
        self.assertEqual(self.render("HEAD"), (self.render()[0], b""))
        self.assertEqual(self.render("HEAD", range="bytes=0-1"), (self.render()[0], b""))

    def test_not_modified(self) -> None:
        head, body = self.render(if_none_match='"x", "a"', range="bytes=0-1")
        self.assertTrue(head.startswith(b"HTTP/1.1 304 Not Modified\r\nA: b\r\n"))
        self.assertNotIn(b"Content-Length", head)
        self.assertEqual(body, b"")

    def test_part(self) -> None:
        head, body = self.render(range="bytes=2-4")
        self.assertTrue(head.startswith(b"HTTP/1.1 206 Partial Content\r\nA: b\r\n"))
        self.assertIn(b"Content-Range: bytes 2-4/10\r\nContent-Length: 3\r\n", head)
        self.assertEqual(body, b"234")
        self.assertEqual(self.render(range="bytes=2-4", if_range='"a"')[1], b"234")
        self.assertEqual(self.render(range="bytes=2-4", if_range='"old"')[1], b"0123456789")

    def test_unsatisfiable_is_not_cacheable(self) -> None:
        head, body = self.render(range="bytes=10-")
        self.assertTrue(head.startswith(b"HTTP/1.1 416 "))
        self.assertIn(b"Content-Range: bytes */10\r\nContent-Length: 0\r\n", head)
        self.assertIn(b"no-store", head)
        self.assertNotIn(b"A: b", head)
        self.assertEqual(body, b"")

    def test_no_conditions_without_etag_or_success(self) -> None:
        request = HttpRequest(method="GET", path="/", headers={"range": "bytes=0-1", "if-none-match": "*"})
        head, body = render_full(request, FullReply(status=200, body=b"ab"), CLOSE)
        self.assertEqual(head, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
        self.assertEqual(body, b"ab")
        self.assertTrue(render_full(request, plain_reply(404), b"")[0].startswith(b"HTTP/1.1 404 "))

    def test_no_content_has_no_length(self) -> None:
        head, _ = render_full(HttpRequest(method="OPTIONS", path="/"), FullReply(status=204), b"")
        self.assertEqual(head, b"HTTP/1.1 204 No Content\r\n\r\n")
