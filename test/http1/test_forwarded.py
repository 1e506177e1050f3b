"""C{X-Forwarded-For}: believed of listed proxies only, the right-most address that is none of them."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from restreamer.http1.forwarded import MAX_HOPS, TrustedProxies
from restreamer.http1.parse import HeadParser

PROXIES = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"), ip_network("2001:db8::/32")])


class ForwardedTests(SynchronousTestCase):
    def test_client(self) -> None:
        for peer, header, wanted in (
            ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
            ("192.0.2.1", "127.0.0.1", "192.0.2.1"),
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("127.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9"),
            ("127.0.0.1", "1.1.1.1, 203.0.113.9,10.1.2.3 ", "203.0.113.9"),
            ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
            ("127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
            ("127.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
            ("127.0.0.1", "[2001:DB9::1]:4711", "2001:db9::1"),
            ("2001:db8::5", "2001:db9::1", "2001:db9::1"),
            ("127.0.0.1", "unknown", "127.0.0.1"),
            ("127.0.0.1", "1.1.1.1, fe80::1%eth0", "127.0.0.1"),
            ("127.0.0.1", "1.1.1.1, nonsense, 10.1.2.3", "10.1.2.3"),
            ("127.0.0.1", "1.1.1.1,", "127.0.0.1"),
            ("unix", "1.1.1.1", "unix"),
        ):
            self.assertEqual(PROXIES.client(peer, header), wanted, (peer, header))

    def test_a_long_chain_ends(self) -> None:
        header = "1.1.1.1, " + ", ".join(["10.0.0.1"] * (MAX_HOPS + 5))
        self.assertEqual(PROXIES.client("127.0.0.1", header), "10.0.0.1")

    def test_nobody_is_believed_by_default(self) -> None:
        self.assertEqual(TrustedProxies().client("127.0.0.1", "1.1.1.1"), "127.0.0.1")

    def test_of_a_request(self) -> None:
        proxies = TrustedProxies()
        parser = HeadParser(peer="127.0.0.1", proxies=proxies)

        def peer() -> str:
            parser.receive(
                b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"
            )
            head = parser.next_head()
            assert head is not None
            return head.request.peer

        self.assertEqual(peer(), "127.0.0.1")
        proxies.use([ip_network("127.0.0.1/32")])
        self.assertEqual(peer(), "9.9.9.9")
        proxies.use([ip_network("127.0.0.1/32"), ip_network("9.9.9.9/32")])
        self.assertEqual(peer(), "7.7.7.7")
        proxies.use([])
        self.assertEqual(peer(), "127.0.0.1")
