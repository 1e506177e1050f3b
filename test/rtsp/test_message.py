"""RTSP messages: any fragmentation, any bytes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.rtsp.headers import parse_parameters
from restreamer.rtsp.message import (
    MAX_BODY,
    MAX_HEAD,
    Interleaved,
    Message,
    MessageReader,
    Reply,
    Request,
    RtspError,
    write_reply,
    write_request,
)

QUICK = settings(deadline=None, max_examples=150, derandomize=True)
REQUEST = Request(
    method="ANNOUNCE", url="rtsp://h/x", headers={"CSeq": "3", "X-Y": "a: b"}, body=b"v=0\r\n\r\n$"
)
REPLY = Reply(status=404, reason="Not Found", headers={"CSeq": "4"})
STREAM = write_request(REQUEST) + b"$\x02\x00\x03abc" + b"\r\n" + write_reply(REPLY) + b"$\x00\x00\x00"


def least(work: Callable[[], object]) -> float:
    """The shortest of several times that C{work} takes, in seconds of the processor."""
    found = []
    for _ in range(7):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return max(min(found), 1e-6)


def simple(message: Message) -> tuple[object, ...]:
    if isinstance(message, Interleaved):
        return message.channel, message.data
    first = message.method if isinstance(message, Request) else message.status
    return first, {name.lower() for name in message.headers} - {"content-length"}, message.body


WANTED = [
    ("ANNOUNCE", {"cseq", "x-y"}, REQUEST.body),
    (2, b"abc"),
    (404, {"cseq"}, b""),
    (0, b""),
]


class MessageTests(SynchronousTestCase):
    """L{MessageReader}."""

    def test_a_byte_at_a_time(self) -> None:
        reader = MessageReader()
        found = [message for at in range(len(STREAM)) for message in reader.receive(STREAM[at : at + 1])]
        self.assertEqual([simple(message) for message in found], WANTED)
        self.assertEqual(reader.pending, 0)

    @QUICK
    @given(st.lists(st.integers(1, len(STREAM)), max_size=8))
    def test_any_fragmentation(self, cuts: list[int]) -> None:
        reader = MessageReader()
        found: list[Message] = []
        borders = [0, *sorted(set(cuts)), len(STREAM)]
        for begin, end in itertools.pairwise(borders):
            found += reader.receive(STREAM[begin:end])
        self.assertEqual([simple(message) for message in found], WANTED)

    @QUICK
    @given(st.binary(max_size=300))
    def test_anything(self, data: bytes) -> None:
        for prefix in (b"", b"OPTIONS * RTSP/1.0\r\n", b"RTSP/1.0 200 OK\r\nCSeq: ", b"$\x00\x00\x05"):
            try:
                MessageReader().receive(prefix + data)
            except RtspError:
                pass

    def test_nothing_grows_without_bound(self) -> None:
        reader = MessageReader()
        with self.assertRaises(RtspError):
            for _ in range(1000):
                reader.receive(b"x" * 100)
        self.assertLessEqual(reader.pending, MAX_HEAD + 200)
        reader = MessageReader()
        self.assertRaises(
            RtspError, reader.receive, f"SETUP * RTSP/1.0\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode()
        )

    def test_time_grows_with_the_input(self) -> None:
        """A head in a thousand pieces, a body in a thousand pieces, sixteen thousand frames in one."""
        reader = MessageReader()
        found = reader.receive(b"$\x00\x00\x04abcd" * 16_000)
        self.assertEqual(len(found), 16_000)

    def test_fields_cost_what_their_length_does(self) -> None:
        """S07: sixteen times as many spaces take no 64 times as long, wherever they stand."""
        for before, after in ((b"a:", b"\0"), (b"a", b"b"), (b"a:", b"b"), (b"a:b", b"\0"), (b"", b":")):

            def read(spaces: int, before: bytes = before, after: bytes = after) -> None:
                line = before + b" " * spaces + after
                try:
                    MessageReader().receive(b"OPTIONS * RTSP/1.0\r\n" + line + b"\r\n\r\n")
                except RtspError:
                    pass

            self.assertLess(least(lambda: read(2000)), 64 * least(lambda: read(125)), (before, after))

    def test_parameters_cost_what_their_length_does(self) -> None:
        """S22: likewise those of an authentication header."""
        for before, after in (
            ("a=", '"x'),
            ("a=", "x y"),
            ("a", "x"),
            ("", "="),
            ('a="', "x"),
            ('a="x"', "y"),
        ):

            def read(spaces: int, before: str = before, after: str = after) -> None:
                parse_parameters(before + " " * spaces + after)

            self.assertLess(least(lambda: read(2000)), 64 * least(lambda: read(125)), (before, after))

    def test_empty_lines(self) -> None:
        """Any number before a message, in any pieces: passed over at once, and not one by one."""
        blank = b"\r\n" * 100_000
        reader = MessageReader()
        self.assertEqual(reader.receive(blank), [])
        self.assertEqual(reader.pending, 0)
        self.assertEqual(len(reader.receive(blank + STREAM)), len(WANTED))
        self.assertEqual(reader.receive(b"\r"), [])
        self.assertEqual(reader.pending, 0)

        def one_by_one() -> None:
            for _ in blank:
                pass

        self.assertLess(least(lambda: MessageReader().receive(blank)), least(one_by_one))

    def test_answers_to_several_challenges(self) -> None:
        data = (
            b'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm="a"\r\n'
            b'WWW-Authenticate: Basic realm="b"\r\n\r\n'
        )
        [reply] = MessageReader().receive(data)
        assert isinstance(reply, Reply)
        self.assertEqual(reply.header("www-authenticate"), 'Digest realm="a"')
        written = write_reply(Reply(status=401, challenges=("Digest x", "Basic y")))
        self.assertEqual(written.count(b"WWW-Authenticate"), 2)

    def test_secrets_are_not_shown(self) -> None:
        request = Request(method="PLAY", url="rtsp://h/x?token=hush", headers={"authorization": "hush"})
        self.assertNotIn("hush", repr(request))
