"""Where events are sent by HTTP, as the configuration has it."""

from __future__ import annotations

from base64 import b64decode

from twisted.trial.unittest import SynchronousTestCase

from restreamer.events.service import login_of


class LoginTests(SynchronousTestCase):
    """C{http://USER:PASSWORD@HOST/…}: the client takes no such URL; a login is sent by Basic (RFC 7617)."""

    def test_login(self) -> None:
        for url, expected, login in (
            ("http://h/e?k=1", "http://h/e?k=1", None),
            ("https://h:8443/e/@x?a=b@c", "https://h:8443/e/@x?a=b@c", None),
            ("http://site:pass@h:81/e?k=1", "http://h:81/e?k=1", "site:pass"),
            ("http://site:p%40ss%3A%C3%BC@h/e", "http://h/e", "site:p@ss:ü"),
            ("http://site:p@ss@h/e", "http://h/e", "site:p@ss"),
            ("http://site@[::1]:8080/e", "http://[::1]:8080/e", "site:"),
            ("http://:key@h/e", "http://h/e", ":key"),
        ):
            plain, header = login_of(url)
            self.assertEqual(plain, expected)
            if login is None:
                self.assertIsNone(header)
            else:
                assert header is not None
                self.assertTrue(header.startswith("Basic "))
                self.assertEqual(b64decode(header[6:]).decode(), login)
