"""What an object store may do to us: it is told as what it is, in bounded time and memory."""

from __future__ import annotations

import socket
import time
import tracemalloc
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr import s3_answers, s3_client
from restreamer.dvr.s3_client import ObjectMissingError, ObjectStoreError, S3Bucket
from restreamer.dvr.upload import HourUpload
from test.dvr.hostile_store import Answering, HostileStore, says
from test.dvr.object_server import MISSING
from test.dvr.recordings import FIRST_HOUR
from test.dvr.test_upload import NAME, recorded_store

XML = "Content-Type: application/xml"
DATE = "Date: Sun, 22 Nov 2026 10:00:00 GMT"


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>hidden</Message></Error>".encode()


class HostileCase(SynchronousTestCase):
    if MISSING:
        skip = MISSING

    def bucket(self, answer: Answering, read_seconds: float = 1.0, scheme: str = "http") -> S3Bucket:
        self.server = HostileStore(answer)
        self.addCleanup(self.server.stop)
        return S3Bucket(self.server.config(scheme), read_seconds=read_seconds)

    def told(self, call: object, *args: object) -> str:
        """What a call fails with."""
        assert callable(call)
        with self.assertRaises(ObjectStoreError) as caught:
            call(*args)
        text = str(caught.exception)
        for secret in ("hidden", "Signature", "Credential"):
            self.assertNotIn(secret, text)
        return text


class AnswerTests(HostileCase):
    """One answer, whatever was asked."""

    def test_statuses(self) -> None:
        """Every error of a store has words."""
        for status, body, words in [
            ("500 No", error("InternalError"), "answers InternalError"),
            ("503 No", error("SlowDown"), "asks for fewer requests"),
            ("403 No", error("RequestTimeTooSkewed"), "the clock of this node differs"),
            ("403 No", error("SignatureDoesNotMatch"), "the secret is wrong"),
            ("403 No", b"", "refuses access"),
            ("301 Moved", error("PermanentRedirect"), "PermanentRedirect"),
            ("500 No", b"<html>busy</html>", "object store answers"),
        ]:
            with self.subTest(status=status, body=body):
                bucket = self.bucket(says(status, body, XML))
                self.assertIn(words, self.told(bucket.get, "x", 100))

    def test_a_redirection_is_not_followed(self) -> None:
        """Whoever answers for the store cannot send us, and what we sign, anywhere else."""
        other = HostileStore(says("200 OK", b"other"))
        self.addCleanup(other.stop)
        for status in ("301 Moved", "307 Elsewhere"):
            where = f"Location: http://127.0.0.1:{other.port}/b/p/x"
            bucket = self.bucket(says(status, b"", where))
            self.told(bucket.get, "x", 100)
            self.told(bucket.names, "")
            self.told(bucket.put, "x", b"bytes")
        self.assertEqual(other.asked, [])

    def test_a_body_that_ends_early(self) -> None:
        """It is an error of the store, never a short object."""
        bucket = self.bucket(says("200 OK", b"half", length=8))
        self.assertIn("does not send what it began", self.told(bucket.get, "x", 100))
        bucket = self.bucket(says("206 Part", b"half", "Content-Range: bytes 0-7/8", length=8))
        self.assertIn("does not send what it began", self.told(bucket.get_range, "x", 0, 8))

    def test_a_body_that_is_too_long(self) -> None:
        bucket = self.bucket(says("200 OK", bytes(200)))
        self.assertIn("more than 100 bytes", self.told(bucket.get, "x", 100))
        bucket = self.bucket(says("206 Part", bytes(200), "Content-Range: bytes 0-199/1000"))
        self.assertIn("longer than was asked for", self.told(bucket.get_range, "x", 0, 100))

    def test_no_ranges(self) -> None:
        """A store that gives the whole object for a part would look like one that is damaged."""
        bucket = self.bucket(says("200 OK", bytes(200)))
        self.assertIn("whole objects", self.told(bucket.get_range, "x", 100, 100))

    def test_nonsense(self) -> None:
        for answer in (
            says("200 OK", b"<a><b>", XML),
            says("200 OK", b"\xff\x00", XML),
            says("200 OK", b"<ListBucketResult><Contents><Key>p/x</Key></Contents></ListBucketResult>", XML),
        ):
            bucket = self.bucket(answer)
            self.assertRegex(self.told(bucket.names, ""), "not S3|answers 500")
        # No tag, no size.
        bucket = self.bucket(lambda line, connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n"))
        self.assertIn("not S3", self.told(bucket.facts, "x"))

    def test_entities(self) -> None:
        """XML that grows when it is read is refused."""
        entities = '<!ENTITY a "aaaaaaaaaa">' + "".join(
            f'<!ENTITY {name} "{f"&{before};" * 10}">'
            for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        )
        body = f"<!DOCTYPE x [{entities}]><ListBucketResult><Prefix>&i;</Prefix></ListBucketResult>".encode()
        bucket = self.bucket(says("200 OK", body, XML))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.told(bucket.names, "")
        self.assertLess(tracemalloc.get_traced_memory()[1], 40_000_000)

    def test_a_huge_list(self) -> None:
        """A list without an end to its bytes."""

        def answer(line: str, connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n\r\n<ListBucketResult>")
            while True:
                connection.sendall(b"<Contents><Key>p/x</Key></Contents>" * 10_000)

        bucket = self.bucket(answer)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.told(bucket.names, "")
        self.assertLess(tracemalloc.get_traced_memory()[1], 4 * s3_answers.MAX_ANSWER)

    def test_an_endless_list(self) -> None:
        """Pages without an end, each with another token."""
        count = 0

        def answer(line: str, connection: socket.socket) -> None:
            nonlocal count
            count += 1
            body = (
                "<ListBucketResult><IsTruncated>true</IsTruncated>"
                f"<NextContinuationToken>{count}</NextContinuationToken></ListBucketResult>"
            ).encode()
            says("200 OK", body, XML)(line, connection)

        bucket = self.bucket(answer)
        self.patch(s3_client, "MAX_PAGES", 5)
        self.assertIn("without an end", self.told(bucket.names, ""))
        self.assertEqual(count, 5)

    def test_names_of_others(self) -> None:
        """What was not asked for is not taken for ours."""
        body = b"".join(
            b"<Contents><Key>%s</Key><Size>1</Size><ETag>x</ETag></Contents>" % key
            for key in (b"p/a/1", b"p/b/1", b"q", b"../../x")
        )
        bucket = self.bucket(says("200 OK", b"<ListBucketResult>" + body + b"</ListBucketResult>", XML, DATE))
        self.assertEqual([each.name for each in bucket.names("a/")], ["a/1"])
        self.assertEqual(bucket.utc, 1795341600.0)

    def test_silence(self) -> None:
        """Nothing comes."""

        def answer(line: str, connection: socket.socket) -> None:
            self.server.over.wait(10)

        bucket = self.bucket(answer, read_seconds=0.2)
        began = time.monotonic()
        self.assertIn("cannot be reached", self.told(bucket.get, "x", 100))
        self.assertLess(time.monotonic() - began, 5.0)

    def test_drops(self) -> None:
        """A byte now and then, each in time: neither a list nor an object may go on so for ever."""

        def answer(line: str, connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not self.server.over.wait(0.02):
                connection.sendall(b"<")

        bucket = self.bucket(answer)
        self.patch(s3_answers, "ANSWER_SECONDS", 0.3)
        self.patch(s3_answers, "LEAST_RATE", 1e9)
        began = time.monotonic()
        self.told(bucket.get, "x", 200_000)
        self.told(bucket.names, "")
        self.assertLess(time.monotonic() - began, 5.0)

    def test_tls(self) -> None:
        """A server that does not speak TLS."""
        self.patch(s3_client, "CONNECT_SECONDS", 0.2)
        bucket = self.bucket(says("200 OK", b""), scheme="https")
        self.assertIn("127.0.0.1", self.told(bucket.get, "x", 100))


class UploadTests(HostileCase):
    """An hour is copied to such a store."""

    def test_a_short_answer_does_not_cost_what_was_copied(self) -> None:
        """An hour object that came in part only must not be written anew from what is left here."""
        store = recorded_store(self.mktemp())
        self.addCleanup(store.close)
        bucket = self.bucket(says("200 OK", b"{", length=1000))
        upload = HourUpload(bucket)
        (facts, _) = upload.waiting(store, NAME)
        self.told(upload.copy, store, NAME, facts)
        self.assertFalse([line for line in self.server.asked if not line.startswith("GET")])
        self.assertFalse(upload.is_copied(store, NAME, FIRST_HOUR))

    def test_a_wrong_tag(self) -> None:
        """The tag is another one: the object is read back; what comes is not what was sent."""

        def answer(line: str, connection: socket.socket) -> None:
            if line.startswith("GET"):
                says("206 Part", b"wrong", "Content-Range: bytes 0-4/5")(line, connection)
            elif line.startswith("HEAD"):
                says("200 OK", b"", 'ETag: "0"', length=5)(line, connection)
            else:
                says("200 OK", b"", 'ETag: "0"')(line, connection)

        bucket = self.bucket(answer)
        self.assertIn("not what was sent", self.told(bucket.put, "x", b"bytes"))

    def test_missing_is_missing(self) -> None:
        bucket = self.bucket(says("404 No", error("NoSuchKey"), XML))
        self.assertRaises(ObjectMissingError, bucket.get, "x", 100)

    def test_the_session_is_the_one_that_sends(self) -> None:
        """What bounds the answers really stands before every request."""
        bucket = self.bucket(says("200 OK", b"x"))
        with mock.patch.object(s3_answers.BoundedSession, "send", side_effect=ValueError):
            self.told(bucket.get, "x", 100)
        self.assertEqual(self.server.asked, [])
