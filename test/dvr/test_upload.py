"""Copying sealed hours to a real object server."""

from __future__ import annotations

import json
import logging
import os
from unittest import mock

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.config.model import S3Config
from restreamer.dvr.s3_client import ObjectMissingError, ObjectStoreError, S3Bucket
from restreamer.dvr.s3_hour import CopiedFile, CopiedHour, decode_copied, encode_copied, hour_object
from restreamer.dvr.store import Store
from restreamer.dvr.upload import HourUpload, UploadStoppedError
from restreamer.dvr.upload_thread import STUCK_SECONDS, UploadThread
from restreamer.errors import RemoteProtocolError
from restreamer.m4f.hour_index import HourIndex
from test.dvr.object_server import MISSING, object_server
from test.dvr.recordings import FIRST_HOUR, HOUR, several, ticks

NAME = "news/cam"


def no_pace(_: int) -> None:
    """As fast as it goes."""


def recorded_store(folder: str, hours: int = 2) -> Store:
    """A volume with some sealed hours of L{NAME}, five segments each, and one hour that is written still."""
    store = Store(os.path.abspath(folder), file_bytes=600)
    store.open()
    stream = store.stream(NAME)
    for hour in range(hours + 1):
        stream.append(several(range(hour * HOUR, hour * HOUR + 5)))
    stream.seal(ticks((hours + 1) * HOUR) - 1)
    return store


class BucketCase(SynchronousTestCase):
    """With a bucket of its own."""

    if MISSING:
        skip = MISSING

    @override
    def setUp(self) -> None:
        self.config = object_server().config(self.id().rpartition(".")[2].replace("_", "-")[:60].lower())
        self.bucket = S3Bucket(self.config)

    def names(self) -> list[str]:
        return [each.name for each in self.bucket.names("")]


class BucketTests(BucketCase):
    """One object after the other."""

    def test_large_objects_go_in_parts(self) -> None:
        data = os.urandom(11 * 1024 * 1024)
        bucket = S3Bucket(self.config, part_bytes=5 * 1024 * 1024)
        paced: list[int] = []
        from hashlib import sha256

        digest = sha256(data).hexdigest()
        bucket.put_file("x", lambda at, size: data[at : at + size], len(data), digest, paced.append)
        self.assertEqual(paced, [5 << 20, 5 << 20, 1 << 20])
        self.assertTrue(bucket.facts("x").etag.endswith("-3"))
        self.assertTrue(bucket.has("x", len(data), digest))
        self.assertFalse(bucket.has("x", len(data), "0" * 64))
        self.assertEqual(bucket.get_range("x", 6_000_000, 100), data[6_000_000:6_000_100])

    def test_parts_that_cannot_be_sent_are_taken_away(self) -> None:
        bucket = S3Bucket(self.config, part_bytes=5 * 1024 * 1024)

        def pace(size: int) -> None:
            if size < 5 << 20:
                raise UploadStoppedError

        with self.assertRaises(UploadStoppedError):
            bucket.put_file("x", lambda at, size: bytes(size), 6 << 20, "0" * 64, pace)
        self.assertEqual(self.names(), [])
        left = bucket._client.list_multipart_uploads(Bucket=self.config.bucket)
        self.assertEqual(left.get("Uploads", []), [])

    def test_another_object_under_the_name_is_noticed(self) -> None:
        with mock.patch.object(self.bucket, "_put", lambda name, data: None):
            self.bucket._client.put_object(Bucket=self.config.bucket, Key="node/x", Body=b"other")
            with self.assertRaises(ObjectStoreError):
                self.bucket.put("x", b"bytes")

    def test_a_missing_object(self) -> None:
        self.assertRaises(ObjectMissingError, self.bucket.get, "x", 10)
        self.assertRaises(ObjectMissingError, self.bucket.facts, "x")
        self.assertFalse(self.bucket.has("x", 1, ""))

    def test_a_missing_bucket(self) -> None:
        bucket = S3Bucket(evolve(self.config, bucket="not-there"))
        with self.assertRaises(ObjectStoreError) as caught:
            bucket.put("x", b"bytes")
        self.assertEqual(str(caught.exception), "the object store has no bucket not-there")

    def test_a_store_that_is_away(self) -> None:
        bucket = S3Bucket(S3Config(endpoint="http://127.0.0.1:9", key="k", secret="hidden", bucket="b"))
        with self.assertRaises(ObjectStoreError) as caught:
            bucket.get("x", 10)
        self.assertIn("cannot be reached", str(caught.exception))

    def test_what_the_store_refuses_is_told_plainly(self) -> None:
        from botocore.exceptions import ClientError

        for code, words in [
            ("RequestTimeTooSkewed", "clock"),
            ("SignatureDoesNotMatch", "secret is wrong"),
            ("InvalidAccessKeyId", "does not know this key"),
            ("403", "refuses access"),
        ]:
            error = ClientError({"Error": {"Code": code, "Message": "hidden"}}, "PutObject")
            with (
                mock.patch.object(self.bucket._client, "put_object", side_effect=error),
                self.assertRaises(ObjectStoreError) as caught,
            ):
                self.bucket.put("x", b"bytes")
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("hidden", str(caught.exception))

    def test_no_secret_is_logged(self) -> None:
        lines: list[str] = []
        handler = logging.Handler(logging.INFO)
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger().addHandler(handler)
        self.addCleanup(logging.getLogger().removeHandler, handler)
        self.bucket.put("x", b"bytes")
        self.assertNotIn("hidden", "".join(lines) + repr(self.config) + str(self.config) + repr(self.bucket))


class UploadTests(BucketCase):
    """Hours of a volume."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.store = recorded_store(self.mktemp())
        self.addCleanup(self.store.close)
        self.stream = self.store.stream(NAME)
        self.upload = HourUpload(self.bucket)

    def copy(self, upload: HourUpload) -> int:
        waiting = upload.waiting(self.store, NAME)
        for facts in waiting:
            upload.copy(self.store, NAME, facts)
        return len(waiting)

    def test_a_file_is_copied(self) -> None:
        """Whatever became of others of its hour since."""
        self.copy(self.upload)
        first, *others = [each for each in self.stream.data_files() if each.hour == FIRST_HOUR]
        self.assertTrue(self.upload.is_file_copied(self.store, NAME, FIRST_HOUR, first.facts))
        self.stream.delete([first])
        self.assertFalse(self.upload.is_copied(self.store, NAME, FIRST_HOUR))
        for each in others:
            self.assertTrue(self.upload.is_file_copied(self.store, NAME, FIRST_HOUR, each.facts))
        strange = first.facts._replace(size=first.facts.size + 1)
        self.assertFalse(self.upload.is_file_copied(self.store, NAME, FIRST_HOUR, strange))

    def test_sealed_hours_are_copied_once(self) -> None:
        self.assertFalse(self.upload.is_copied(self.store, NAME, FIRST_HOUR))
        self.assertEqual(self.copy(self.upload), 2)
        self.assertTrue(self.upload.is_copied(self.store, NAME, FIRST_HOUR))
        self.assertFalse(self.upload.is_copied(self.store, NAME, FIRST_HOUR + 2))
        self.assertEqual(self.copy(self.upload), 0)
        names = self.names()
        self.assertEqual(len([name for name in names if name.endswith(".hour")]), 2)
        # The hours are 22 and 23 of one day.
        self.assertEqual([name for name in names if "@days" in name], [f"{NAME}/@days/2023-11-14"])
        self.assertEqual(self.upload.counters.hours, 2)

    def test_what_is_there_is_what_was_recorded(self) -> None:
        self.copy(self.upload)
        copied = self.upload.read_hour(NAME, FIRST_HOUR)
        assert copied is not None
        own = self.stream.hour(FIRST_HOUR)
        self.assertEqual([row.checksum for row in copied.index], [row.checksum for row in own])

    def test_after_a_start_nothing_is_sent_again(self) -> None:
        self.copy(self.upload)
        again = HourUpload(self.bucket)
        self.assertEqual(self.copy(again), 0)

    def test_a_volume_that_was_let_go_is_not_taken_again(self) -> None:
        self.store.close()
        self.assertEqual(self.copy(self.upload), 2)
        self.assertFalse(self.store.taken)

    def test_without_the_marks_the_store_tells(self) -> None:
        self.copy(self.upload)
        for name in os.listdir(self.stream.folder):
            if name.startswith("@copied"):
                os.remove(f"{self.stream.folder}/{name}")
        again = HourUpload(self.bucket)
        self.assertEqual(self.copy(again), 2)
        self.assertEqual((again.counters.files, again.counters.hours), (0, 0))

    def test_an_interrupted_hour_goes_on(self) -> None:
        sent: list[int] = []

        def pace(size: int) -> None:
            if len(sent) == 1:
                raise UploadStoppedError
            sent.append(size)

        files = len(self.upload.waiting(self.store, NAME)[0].files)
        self.assertGreater(files, 1)
        with self.assertRaises(UploadStoppedError):
            self.copy(HourUpload(self.bucket, pace))
        self.assertEqual(len([name for name in self.names() if name.endswith(".m4f")]), 1)
        self.assertFalse([name for name in self.names() if name.endswith(".hour")])
        facts = self.upload.waiting(self.store, NAME)[0]
        self.upload.copy(self.store, NAME, facts)
        self.assertEqual(self.upload.counters.files, files - 1)

    def test_what_was_deleted_here_stays_there(self) -> None:
        self.copy(self.upload)
        self.stream.delete(self.stream.data_files()[:1])
        left = len(self.stream.hour(FIRST_HOUR))
        self.assertLess(left, 5)
        self.assertEqual(self.copy(self.upload), 1)
        copied = self.upload.read_hour(NAME, FIRST_HOUR)
        assert copied is not None
        self.assertEqual(len(copied.index), 5)
        self.assertEqual(self.upload.counters.hours, 2)

    def test_what_comes_later_is_added(self) -> None:
        self.copy(self.upload)
        self.stream.append(several(range(10, 12)))
        self.stream.seal(ticks(3 * HOUR) - 1)
        self.assertEqual(self.copy(self.upload), 1)
        copied = self.upload.read_hour(NAME, FIRST_HOUR)
        assert copied is not None
        self.assertEqual(len(copied.index), 7)

    def test_a_damaged_day_is_made_anew_from_its_hours(self) -> None:
        first, second = self.upload.waiting(self.store, NAME)
        self.upload.copy(self.store, NAME, first)
        self.bucket.put(f"{NAME}/@days/2023-11-14", b"damaged")
        self.upload.copy(self.store, NAME, second)
        from restreamer.dvr.summary import decode_summary

        day = decode_summary(self.bucket.get(f"{NAME}/@days/2023-11-14", 10_000))
        self.assertEqual([each.hour for each in day], [FIRST_HOUR, FIRST_HOUR + 1])


class UploadThreadTests(BucketCase):
    """Trying again."""

    def test_the_alarm_comes_and_goes(self) -> None:
        store = recorded_store(self.mktemp())
        self.addCleanup(store.close)
        now = [0.0]
        told: list[str] = []
        gone = S3Bucket(evolve(self.config, bucket="not-there"))
        buckets = [gone]

        def upload(pace: object) -> HourUpload:
            return HourUpload(buckets[0])

        thread = UploadThread(upload, clock=lambda: now[0], changed=told.append)
        thread._work = [(store, NAME)]
        delays = []
        for _ in range(9):
            self.assertFalse(thread.run_once())
            delays.append(thread.status.retry)
        self.assertEqual(delays, [2, 4, 8, 16, 32, 64, 128, 256, 300])
        self.assertEqual(thread.status.error, "the object store has no bucket not-there")
        self.assertEqual(thread.status.pending, 2)
        thread.upload._bucket = self.bucket
        self.assertTrue(thread.run_once())
        self.assertEqual((thread.status.error, thread.status.pending, thread.status.hours), ("", 0, 2))
        self.assertEqual(told, ["the object store has no bucket not-there", ""])

    def test_a_store_that_holds_the_thread(self) -> None:
        """It neither answers nor fails: an alarm says so while the thread waits for it."""
        store = recorded_store(self.mktemp())
        self.addCleanup(store.close)
        now = [0.0]
        seen: list[str] = []

        class Slow(HourUpload):
            @override
            def copy(self, *args: object) -> None:
                for seconds in (STUCK_SECONDS, 1.0):
                    now[0] += seconds
                    seen.append(thread.status.error)
                self._pace(1)
                seen.append(thread.status.error)

        thread = UploadThread(lambda pace: Slow(self.bucket, pace), clock=lambda: now[0])
        thread._work = [(store, NAME)]
        self.assertTrue(thread.run_once())
        self.assertEqual(seen[:3], ["", "the object store does not answer", ""])
        self.assertEqual(thread.status.error, "")

    def test_a_thread_of_its_own_copies_and_ends(self) -> None:
        store = recorded_store(self.mktemp())
        self.addCleanup(store.close)
        from threading import Event

        done = Event()

        class Told(HourUpload):
            @override
            def copy(self, *args: object) -> None:
                super().copy(*args)  # type: ignore[arg-type]
                if self.counters.hours == 2:
                    done.set()

        thread = UploadThread(lambda pace: Told(self.bucket, pace), rate=100e6)
        thread.offer([(store, NAME)])
        self.assertTrue(done.wait(10))
        thread.stop()
        assert thread._thread is not None
        thread._thread.join(5)
        self.assertFalse(thread._thread.is_alive())


class HourObjectTests(SynchronousTestCase):
    """What says which objects are an hour."""

    def test_it_comes_back(self) -> None:
        files = (CopiedFile(10, "a" * 64),)
        encoded = encode_copied(CopiedHour(HourIndex(5), files))
        self.assertEqual(decode_copied(encoded, 5).files, files)
        self.assertEqual(hour_object("a/b", 5), "a/b/@1970-01-01/05.hour")

    def test_anything_else_is_refused(self) -> None:
        good = encode_copied(CopiedHour(HourIndex(5), ()))
        _, _, index = good.partition(b"\n")
        bad = [b"", b"\n", good[:-1], good[5:], b"{}\n" + index, b"[" * 100_000 + b"\n" + index]
        for head in (
            {"version": 2, "files": []},
            {"version": 1, "files": [[1]]},
            {"version": 1, "files": [[True, "a" * 64]]},
            {"version": 1, "files": [[-1, "a" * 64]]},
            {"version": 1, "files": [[1, "../x"]]},
            {"version": 1, "files": 7},
        ):
            bad.append(json.dumps(head).encode() + b"\n" + index)
        for data in bad:
            self.assertRaises(RemoteProtocolError, decode_copied, data, 5)
        self.assertRaises(RemoteProtocolError, decode_copied, good, 6)
