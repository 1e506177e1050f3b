"""Facts about peer addresses."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.addresses import subscriber
from restreamer.buckets import AddressBuckets


class SubscriberTests(SynchronousTestCase):
    """What counts as one client."""

    def test_all(self) -> None:
        for host, told in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:DB8:1:2::", "2001:db8:1:2::"),
            ("fe80::1%eth0", "fe80::"),
            ("unix", "unix"),
            ("no:address", "no:address"),
            ("", ""),
        ):
            self.assertEqual(subscriber(host), told)

    def test_buckets(self) -> None:
        buckets = AddressBuckets(2, 10.0)
        told = [buckets.admit(f"2001:db8::{number}", 1.0) for number in range(4)]
        self.assertEqual(told, [True, True, False, False])
        self.assertTrue(buckets.admit("2001:db8:0:1::1", 1.0))
