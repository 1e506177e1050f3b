"""The request head parser: tables, smuggling shapes, path tricks, and the same answer for any cutting."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.http1.parse import MAX_HEAD, HeadError, HeadParser, RequestHead

_SETTINGS = settings(deadline=None, max_examples=150, derandomize=True)

GOOD = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


def read(*pieces: bytes) -> list[tuple[object, ...]]:
    """What a connection that receives C{pieces} gives: heads, then perhaps an error."""
    parser = HeadParser(peer="192.0.2.1")
    seen: list[tuple[object, ...]] = []
    try:
        for piece in pieces:
            parser.receive(piece)
            while (head := parser.next_head()) is not None:
                request = head.request
                seen.append(
                    (
                        request.method,
                        request.path,
                        request.query,
                        tuple(request.headers.items()),
                        request.version,
                        head.raw,
                        head.content_length,
                        head.chunked,
                        head.persistent,
                    )
                )
    except HeadError as error:
        seen.append(("error", error.status))
    return seen


def one(data: bytes) -> RequestHead:
    parser = HeadParser()
    parser.receive(data)
    head = parser.next_head()
    assert head is not None
    return head


class Accepted(SynchronousTestCase):
    def test_everything_of_a_head(self) -> None:
        parser = HeadParser(peer="192.0.2.1", secure=True)
        raw = (
            b"GET /live/one/index.m3u8?token=a%20b&x HTTP/1.1\r\nHost: example.org:8080\r\n"
            b"User-Agent:  player/1 \r\nX-Two: a\r\nx-two: b\r\n\r\n"
        )
        parser.receive(raw + b"rest")
        head = parser.next_head()
        assert head is not None
        request = head.request
        self.assertEqual(request.method, "GET")
        self.assertEqual(request.path, "/live/one/index.m3u8")
        self.assertEqual(request.query, "token=a%20b&x")
        self.assertEqual(request.headers["user-agent"], "player/1")
        self.assertEqual(request.headers["x-two"], "a, b")
        self.assertEqual((request.version, request.peer, request.secure), ((1, 1), "192.0.2.1", True))
        self.assertEqual(head.raw, raw)
        self.assertFalse(head.has_body)
        self.assertTrue(head.persistent)
        self.assertEqual(parser.buffered, 4)
        self.assertEqual(parser.take_rest(), b"rest")
        self.assertEqual(parser.buffered, 0)

    def test_secrets_are_not_in_the_repr(self) -> None:
        head = one(b"GET /a?token=secret HTTP/1.1\r\nHost: h\r\nReferer: http://h/?token=secret\r\n\r\n")
        self.assertNotIn("secret", repr(head))

    def test_targets(self) -> None:
        for target, path, query in [
            (b"/", "/", ""),
            (b"/a%20b", "/a b", ""),
            (b"/%D1%82", "/т", ""),
            (b"/a%252e%252e/b", "/a%2e%2e/b", ""),
            (b"/a//b", "/a//b", ""),
            (b"//etc/passwd", "//etc/passwd", ""),
            (b"/a;b", "/a;b", ""),
            (b"/a.", "/a.", ""),
            (b"/.a/..b/c..", "/.a/..b/c..", ""),
            (b"/a?b?c=/../", "/a", "b?c=/../"),
            (b"http://other.example/a?q", "/a", "q"),
            (b"HTTPS://other.example:81", "/", ""),
        ]:
            request = one(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n").request
            self.assertEqual((request.path, request.query), (path, query), target)

    def test_options_star(self) -> None:
        self.assertEqual(one(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").request.path, "*")

    def test_bodies(self) -> None:
        head = one(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n")
        self.assertEqual((head.content_length, head.chunked, head.has_body), (12, False, True))
        head = one(b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n")
        self.assertEqual((head.content_length, head.chunked, head.has_body), (0, True, True))
        self.assertFalse(one(b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").has_body)

    def test_persistence(self) -> None:
        for version, field, persistent in [
            (b"1.1", b"", True),
            (b"1.1", b"Connection: close\r\n", False),
            (b"1.1", b"Connection: Upgrade, CLOSE\r\n", False),
            (b"1.1", b"Connection: disclose\r\n", True),
            (b"1.0", b"", False),
            (b"1.0", b"Connection: Keep-Alive\r\n", True),
            (b"1.0", b"Connection: keep-alive, close\r\n", False),
            (b"1.7", b"", True),
        ]:
            head = one(b"GET / HTTP/" + version + b"\r\nHost: h\r\n" + field + b"\r\n")
            self.assertEqual(head.persistent, persistent, (version, field))

    def test_http_1_0_needs_no_host(self) -> None:
        self.assertEqual(one(b"GET / HTTP/1.0\r\n\r\n").request.version, (1, 0))

    def test_an_empty_line_before_a_request(self) -> None:
        self.assertEqual(len(read(b"\r\n" + GOOD + b"\r\n" + GOOD)), 2)

    def test_repeated_fields_are_parsed_once(self) -> None:
        parser = HeadParser()
        parser.receive(GOOD + GOOD)
        first, second = parser.next_head(), parser.next_head()
        assert first is not None and second is not None
        self.assertIs(first.request.headers, second.request.headers)

    def test_headers_cannot_be_changed(self) -> None:
        with self.assertRaises(TypeError):
            one(GOOD).request.headers["host"] = "x"  # type: ignore[index]

    def test_largest_head(self) -> None:
        prefix, suffix = b"GET / HTTP/1.1\r\nHost: h\r\nX: ", b"\r\n\r\n"
        filler = b"x" * (MAX_HEAD - len(prefix) - len(suffix))
        self.assertEqual(len(read(prefix + filler + suffix)), 1)
        self.assertEqual(read(prefix + filler + b"x" + suffix), [("error", 431)])


class Refused(SynchronousTestCase):
    def refused(self, data: bytes, status: int = 400) -> None:
        self.assertEqual(read(data), [("error", status)], data[:100])
        self.assertEqual(read(*(data[i : i + 1] for i in range(len(data)))), [("error", status)], data[:100])

    def test_request_lines(self) -> None:
        for line in [
            b"get / HTTP/1.1",
            b"Get / HTTP/1.1",
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b" GET / HTTP/1.1",
            b"GET /",
            b"GET / HTTP/1",
            b"GET / HTTP/1.10",
            b"GET / http/1.1",
            b"GET / XHTTP/1.1",
            b"GET\t/ HTTP/1.1",
            b"GET /\x7f HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"GET /\x00 HTTP/1.1",
            b"G" * 30 + b" / HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"\x16\x03\x01\x02\x00",
            b"",
        ]:
            self.refused(line + b"\r\nHost: h\r\n\r\n")
        self.refused(b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505)

    def test_targets(self) -> None:
        """Ways out of the root, bytes with two meanings and what is no address (H09)."""
        for target in [
            b"*",
            b"a",
            b"h:80",
            b"ftp://h/",
            b"http://",
            b"http:///a",
            b"http://u@h/a",
            b"/a#b",
            b"/..",
            b"/.",
            b"/a/../b",
            b"/a/./b",
            b"/%2e%2e/a",
            b"/%2E./a",
            b"/..%2fa",
            b"/a%2Fb",
            b"/a%5c..%5cb",
            b"/a\\b",
            b"/%00",
            b"/%0a",
            b"/%0D%0AX:1",
            b"/%7f",
            b"/%c0%ae",
            b"/%ff",
            b"/%e2%80%ae",
            b"/%",
            b"/%4",
            b"/%zz",
            b"/%u0041",
        ]:
            self.refused(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        self.refused(b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n")

    def test_names_in_the_api(self) -> None:
        """A slash in a name may be encoded there, as clients do; dots may not lead out."""
        for target, path in (
            (b"/streamer/api/v3/streams/live%2Fa", "/streamer/api/v3/streams/live/a"),
            (b"/streamer/api/v3/streams/live%2fa/stop", "/streamer/api/v3/streams/live/a/stop"),
            (b"http://h/streamer/api/v3/streams/a%2fb", "/streamer/api/v3/streams/a/b"),
        ):
            (head,) = read(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertEqual(head[:2], ("GET", path))
        for target in (
            b"/streamer/api/%2e%2e%2fa",
            b"/streamer/api/..%2fa",
            b"/streamer/api/a%5cb",
            b"/streamer%2fapi/a",
        ):
            self.refused(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")

    def test_long_target(self) -> None:
        self.refused(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414)
        self.assertEqual(read(b"GET /" + b"a" * MAX_HEAD), [("error", 414)])
        self.assertEqual(read(b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD), [("error", 431)])

    def test_hosts(self) -> None:
        """No host, two, and what is none are refused (H02)."""
        for field in [
            b"",
            b"Host: h\r\nHost: h\r\n",
            b"Host: h\r\nhost: other\r\n",
            b"Host: a b\r\n",
            b"Host: a, b\r\n",
            b"Host: a/b\r\n",
            b"Host: u@h\r\n",
            b"Host: h:80x\r\n",
        ]:
            self.refused(b"GET / HTTP/1.1\r\n" + field + b"\r\n")

    def test_lengths_read_in_two_ways(self) -> None:
        """What two programs could read differently is refused (H04)."""
        for field in [
            b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            b"Content-Length: 1\r\nContent-Length: 1\r\n",
            b"Content-Length: 1\r\nContent-Length: 2\r\n",
            b"Content-Length: 1, 1\r\n",
            b"Content-Length: +1\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 1_0\r\n",
            b"Content-Length: 0x1\r\n",
            b"Content-Length:\r\n",
            b"Content-Length: 1 0\r\n",
            b"Content-Length: \xb2\r\n",
            b"Content-Length: " + b"9" * 30 + b"\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: \x0bchunked\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"Transfer-Encoding:\r\n chunked\r\n",
        ]:
            self.refused(b"POST / HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n")
        self.refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")

    def test_field_lines(self) -> None:
        for field in [
            b"X: a\r\n b\r\n",
            b" X: a\r\n",
            b"X : a\r\n",
            b"X\r\n",
            b": a\r\n",
            b"X: a\nY: b\r\n",
            b"X: a\rY: b\r\n",
            b"X: a\x00b\r\n",
            b"X: \x1b[31m\r\n",
            b"X(: a\r\n",
            b"X\xe9: a\r\n",
        ]:
            self.refused(b"GET / HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n")
        self.refused(b"GET / HTTP/1.1\nHost: h\n\n")
        self.refused(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431)


_LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"GET /a%20b?q HTTP/1.0\r\n",
        b"POST /%zz HTTP/1.1\r\n",
        b"GET / HTTP/3.0\r\n",
        b"Host: h\r\n",
        b"Connection: close\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"abc",
        b" x\r\n",
        b"X: " + b"y" * 3000 + b"\r\n",
        GOOD,
    ]
)
_BYTES = st.lists(_LINES | st.binary(max_size=12), max_size=14).map(b"".join)


class Properties(SynchronousTestCase):
    @_SETTINGS
    @given(_BYTES, st.lists(st.integers(1, 700), max_size=60))
    def test_any_cutting_gives_the_same(self, data: bytes, cuts: list[int]) -> None:
        pieces, at = [], 0
        for cut in cuts:
            pieces.append(data[at : at + cut])
            at += cut
        pieces.append(data[at:])
        self.assertEqual(read(*pieces), read(data))

    @_SETTINGS
    @given(st.binary(max_size=400))
    def test_random_bytes_give_heads_or_errors(self, data: bytes) -> None:
        read(data, b"\r\n\r\n")

    @_SETTINGS
    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40))
    def test_paths_stay_inside(self, target: str) -> None:
        """Whatever is asked for, no path leads out of the root (H09)."""
        for event in read(b"GET /" + target.encode() + b" HTTP/1.1\r\nHost: h\r\n\r\n"):
            if event[0] != "error":
                path = str(event[1])
                self.assertTrue(path.startswith("/") and path.isprintable() and "\\" not in path)
                self.assertFalse({".", ".."} & set(path.split("/")))
