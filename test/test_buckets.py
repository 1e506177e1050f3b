"""L{restreamer.buckets}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.buckets import AddressBuckets, AddressLines, LeakyBucket, Pace


class LeakyBucketTests(SynchronousTestCase):
    """One bucket."""

    def test_drains(self) -> None:
        """What was poured drains at the rate, and not below nothing."""
        bucket = LeakyBucket()
        self.assertEqual(bucket.pour(100, 10, 50.0), 100)
        self.assertEqual(bucket.pour(5, 10, 52.0), 85)
        self.assertEqual(bucket.pour(1, 10, 1000.0), 1)


class PaceTests(SynchronousTestCase):
    """The rate of one sender."""

    def test_bytes_and_pieces(self) -> None:
        """Both count; who sent too much has to wait until it has drained, and a little longer."""
        pace = Pace(100, rate=1000, burst=2000)
        self.assertEqual(pace.take(1900, 1, 50.0), 0.0)
        self.assertFalse(pace.full(50.0))
        self.assertAlmostEqual(pace.take(0, 5, 50.0), 0.6)
        self.assertTrue(pace.full(50.4))
        self.assertFalse(pace.full(50.6))
        self.assertEqual(pace.take(100, 0, 50.6), 0.0)


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


class AddressLinesTests(SynchronousTestCase):
    """What of an address is said in the log."""

    def test_lines(self) -> None:
        """Six, then one in 10 s, with how many were left out; of this machine all."""
        lines = AddressLines()
        said = [lines.ending("192.0.2.1", 5.0) for _ in range(100)]
        self.assertEqual(said, [""] * 6 + [None] * 94)
        self.assertEqual(lines.ending("192.0.2.2", 5.0), "")
        self.assertEqual(lines.ending("192.0.2.1", 15.5), " (94 lines about it left out)")
        self.assertIsNone(lines.ending("192.0.2.1", 15.5))
        self.assertEqual(lines.ending("192.0.2.1", 100.0), " (1 lines about it left out)")
        self.assertEqual([lines.ending("127.0.0.1", 5.0) for _ in range(100)], [""] * 100)
