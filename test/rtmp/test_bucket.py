"""L{restreamer.rtmp.bucket}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.rtmp.bucket import AddressBuckets, LeakyBucket


class LeakyBucketTests(SynchronousTestCase):
    """One bucket."""

    def test_drains(self) -> None:
        """What was poured drains at the rate, and not below nothing."""
        bucket = LeakyBucket()
        self.assertEqual(bucket.pour(100, 10, 50.0), 100)
        self.assertEqual(bucket.pour(5, 10, 52.0), 85)
        self.assertEqual(bucket.pour(1, 10, 1000.0), 1)


class AddressBucketsTests(SynchronousTestCase):
    """Buckets by address."""

    def test_limit(self) -> None:
        """An address has its burst, then as many as drained; others have theirs."""
        buckets = AddressBuckets(3, 60.0)
        self.assertEqual([buckets.admit("a", 100.0) for _ in range(5)], [True] * 3 + [False] * 2)
        self.assertTrue(buckets.admit("b", 100.0))
        self.assertFalse(buckets.admit("a", 119.0))
        self.assertEqual([buckets.admit("a", 120.5) for _ in range(2)], [True, False])
        self.assertEqual([buckets.admit("a", 1000.0) for _ in range(4)], [True] * 3 + [False])

    def test_addresses_are_bounded(self) -> None:
        """The address that was seen longest ago is forgotten."""
        buckets = AddressBuckets(1, 60.0, addresses=2)
        for address in ("a", "b", "a", "c"):
            buckets.admit(address, 0.0)
        self.assertFalse(buckets.admit("a", 0.0))
        self.assertTrue(buckets.admit("b", 0.0))
