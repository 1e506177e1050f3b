"""What is older than its depth goes from a real object server, and nothing else."""

from __future__ import annotations

from typing_extensions import override

from restreamer.dvr import object_expiry
from restreamer.dvr.object_expiry import Aged, ObjectExpiry
from restreamer.dvr.s3_client import S3Bucket
from restreamer.dvr.s3_hour import data_object, day_object
from restreamer.dvr.seams import Span
from restreamer.dvr.summary import decode_summary
from restreamer.dvr.upload import HourUpload, UploadStoppedError
from restreamer.dvr.upload_thread import UploadThread
from restreamer.m4f.hour_layout import HOUR_TICKS
from test.dvr.recordings import FIRST_HOUR
from test.dvr.test_upload import NAME, BucketCase, recorded_store

HOUR = 3600
#: Hours that are copied: the last two of a day and three of the next.
COUNT = 5
DEPTH = 24 * HOUR


class ExpiryCase(BucketCase):
    """Five hours were copied. @ivar now: seconds since the epoch, of both clocks."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.store = recorded_store(self.mktemp(), COUNT)
        self.addCleanup(self.store.close)
        self.upload = HourUpload(self.bucket)
        for facts in self.upload.waiting(self.store, NAME):
            self.upload.copy(self.store, NAME, facts)
        self.locks: tuple[Span, ...] = ()
        self.own = self.theirs = 0.0
        listed = self.bucket.names

        def names(prefix: str) -> object:
            found = listed(prefix)
            self.bucket.utc = self.theirs
            return found

        self.patch(self.bucket, "names", names)
        self.expiry = ObjectExpiry(self.bucket, utc=lambda: self.own)

    def after(self, hours: float) -> None:
        """It is so many hours after the begin of the first one is as old as its depth."""
        self.own = self.theirs = (FIRST_HOUR + hours) * HOUR + DEPTH

    def expire(self, name: str = NAME) -> bool:
        return self.expiry.expire([Aged(name, DEPTH, lambda: self.locks)])

    def hours(self) -> list[int]:
        """The hours that the days say are there, from 0."""
        found = []
        for each in self.bucket.names(f"{NAME}/@days/"):
            found += [one.hour - FIRST_HOUR for one in decode_summary(self.bucket.get(each.name, 100_000))]
        return found

    def kept(self) -> set[int]:
        """The hours of which objects are there."""
        digits = {
            each.name.split("/")[-1][:2] for each in self.bucket.names(NAME) if "@days" not in each.name
        }
        return {(int(each) - FIRST_HOUR) % 24 for each in digits}


class ExpiryTests(ExpiryCase):
    def test_hour_by_hour(self) -> None:
        self.after(0.99)
        self.assertFalse(self.expire())
        self.assertEqual((self.hours(), self.kept()), ([0, 1, 2, 3, 4], {0, 1, 2, 3, 4}))
        self.after(1)
        self.assertFalse(self.expire())
        self.assertEqual((self.hours(), self.kept()), ([1, 2, 3, 4], {1, 2, 3, 4}))
        self.after(3)
        self.expire()
        self.assertEqual((self.hours(), self.kept()), ([3, 4], {3, 4}))
        # Nothing is left of the first day.
        self.assertNotIn(day_object(NAME, FIRST_HOUR), self.names())
        self.assertEqual(self.expiry.counters.hours, 3)
        # What went is read by nobody and copied by nobody.
        self.assertIsNone(self.upload.read_hour(NAME, FIRST_HOUR))
        self.assertEqual(self.upload.waiting(self.store, NAME), [])
        self.after(30)
        self.expire()
        self.assertEqual(self.names(), [])

    def test_a_clock_that_is_ahead(self) -> None:
        """Of this node, or of the store: the other one keeps everything."""
        self.after(0)
        self.own += 365 * DEPTH
        self.expire()
        self.assertEqual(self.kept(), {0, 1, 2, 3, 4})
        self.after(0)
        self.theirs += 365 * DEPTH
        self.expire()
        self.assertEqual(self.kept(), {0, 1, 2, 3, 4})

    def test_locks(self) -> None:
        at = (FIRST_HOUR + 1) * HOUR_TICKS + 5
        self.locks = (Span(at, at + 10),)
        self.after(30)
        self.expire()
        self.assertEqual((self.hours(), self.kept()), ([1], {1}))
        self.locks = ()
        self.after(31)
        self.expire()
        self.assertEqual(self.names(), [])

    def test_a_little_at_a_time(self) -> None:
        self.patch(object_expiry, "MAX_OBJECTS", 2)
        self.after(30)
        turns = 0
        while self.expire():
            turns += 1
            # Nobody is shown what is about to go.
            self.assertNotIn(0, self.hours())
        self.assertGreater(turns, 3)
        self.assertEqual(self.names(), [])

    def test_an_end_in_the_middle(self) -> None:
        """What an end of the node left behind goes after the next start."""
        count = 0

        def pace(_: int) -> None:
            nonlocal count
            count += 1
            if count > 4:
                raise UploadStoppedError

        self.after(1)
        stopped = ObjectExpiry(self.bucket, pace, lambda: self.own)
        with self.assertRaises(UploadStoppedError):
            stopped.expire([Aged(NAME, DEPTH, lambda: ())])
        self.assertEqual(self.hours(), [1, 2, 3, 4])
        self.assertIn(0, self.kept())
        self.expire()
        self.assertEqual(self.kept(), {1, 2, 3, 4})

    def test_others_stay(self) -> None:
        """Streams whose names begin alike, other prefixes, what is no hour."""
        other = f"{NAME}2/@2023-11-14/22-0.m4f"
        stranger = f"{NAME}/@2023-11-14/readme"
        for name in (other, stranger):
            self.bucket.put(name, b"x")
        S3Bucket(self.config)._client.put_object(Bucket=self.config.bucket, Key="elsewhere", Body=b"x")
        self.after(1000)
        self.expire()
        self.assertEqual(set(self.names()), {other, stranger, day_object(NAME, FIRST_HOUR)})
        keys = [
            each["Key"] for each in self.bucket._client.list_objects_v2(Bucket=self.config.bucket)["Contents"]
        ]
        self.assertIn("elsewhere", keys)

    def test_a_damaged_day(self) -> None:
        self.bucket.put(day_object(NAME, FIRST_HOUR), b"damaged")
        self.after(30)
        self.expire()
        self.assertEqual(self.names(), [])

    def test_once_an_hour(self) -> None:
        self.after(1)
        self.expire()
        self.patch(self.bucket, "names", None)
        self.after(1.9)
        self.expire()

    def test_by_the_thread_that_copies(self) -> None:
        told: list[str] = []
        thread = UploadThread(
            lambda pace: HourUpload(self.bucket, pace),
            changed=told.append,
            expiry=lambda pace: ObjectExpiry(self.bucket, pace, lambda: self.own),
        )
        self.after(2)
        thread._work, thread._aged = [(self.store, NAME)], [Aged(NAME, DEPTH, lambda: ())]
        self.assertTrue(thread.run_once())
        self.assertEqual((thread.status.deleted, self.kept()), (2, {2, 3, 4}))
        self.after(4)
        self.bucket._client.delete_object = None
        self.assertFalse(thread.run_once())
        self.assertIn("deleting: ", told[0])

    def test_files_of_an_hour(self) -> None:
        """Its data files go with it."""
        copied = self.upload.read_hour(NAME, FIRST_HOUR)
        assert copied is not None
        where = [data_object(NAME, FIRST_HOUR, each) for each in copied.files]
        self.assertLessEqual(set(where), set(self.names()))
        self.after(1)
        self.expire()
        self.assertFalse(set(where) & set(self.names()))
