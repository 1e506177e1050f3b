"""L{restreamer.rtmp.address} and L{restreamer.rtmp.url}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import Reason, Refused
from restreamer.rtmp.address import resolve
from restreamer.rtmp.url import parse_url

#: app, tcUrl, key, name, token, password
TABLE = [
    ("live", "", "cam", "live/cam", "", ""),
    ("live/", "", "/cam", "live/cam", "", ""),
    ("static", "", "cam", "cam", "", ""),
    ("rtmp", "", "cam", "cam", "", ""),
    ("static", "", "a/cam", "a/cam", "", ""),
    ("static/a", "", "cam", "a/cam", "", ""),
    ("", "", "cam", "cam", "", ""),
    ("a/b", "", "cam", "a/b/cam", "", ""),
    ("a/static", "", "cam", "a/static/cam", "", ""),
    ("live/cam", "", "", "live/cam", "", ""),
    ("live", "", "cam?token=abc", "live/cam", "abc", ""),
    ("live", "", "cam?password=p&token=t", "live/cam", "t", "p"),
    ("live?token=x", "", "cam", "live/cam", "x", ""),
    ("live?token=x&password=p", "", "cam?token=y", "live/cam", "y", "p"),
    ("live", "rtmp://h/live?token=z", "cam", "live/cam", "z", ""),
    ("live?token=x", "rtmp://h/live?token=z", "cam", "live/cam", "x", ""),
    ("live", "", "cam?token=a%20b%2B", "live/cam", "a b+", ""),
    ("live", "", "cam?", "live/cam", "", ""),
    ("live", "", "cam?token", "live/cam", "", ""),
]

BAD_KEYS = [
    "",
    "../x",
    "a/../b",
    "%2e%2e",
    "a%2fb",
    "a b",
    "a\0b",
    "ü",
    "-a",
    ".a",
    "x" * 65536,
    "a//b",
    "a/",
    "1/2/3/4/5/6/7/8/9",
    "cam?" + "&".join(f"a{n}=1" for n in range(50)),
    "cam?x=" + "y" * 3000,
]


class AddressTests(SynchronousTestCase):
    """Names and parameters."""

    def test_table(self) -> None:
        """What clients say and what they mean."""
        for app, tc_url, key, name, token, password in TABLE:
            with self.subTest(app=app, tc_url=tc_url, key=key):
                address = resolve(app, tc_url, key)
                self.assertEqual((address.name, address.token, address.password), (name, token, password))

    def test_bad_names(self) -> None:
        """One error for everything that is not a name; the text does not repeat it (R25)."""
        for key in BAD_KEYS:
            with self.subTest(key=key[:20]):
                error = self.assertRaises(Refused, resolve, "", "", key)
                self.assertIs(error.reason, Reason.BAD_NAME)
                if key:
                    self.assertNotIn(key, error.text)

    def test_secrets_are_not_shown(self) -> None:
        """Neither the parameters nor the query are in the text form."""
        text = repr(resolve("live?password=hush", "", "cam?token=secret"))
        self.assertNotIn("hush", text)
        self.assertNotIn("secret", text)

    def test_url(self) -> None:
        """The parts of a URL."""
        url = parse_url("rtmp://h:19350/a/b/cam?token=x")
        self.assertEqual((url.host, url.port, url.app, url.key), ("h", 19350, "a/b", "cam?token=x"))
        self.assertEqual(url.tc_url, "rtmp://h:19350/a/b")
        self.assertNotIn("token", repr(url))
        self.assertEqual(parse_url("rtmp://[::1]/live/cam").tc_url, "rtmp://[::1]/live")
        for bad in ("http://h/a/b", "rtmp:///a/b", "cam", "rtmp://h:99999/a/b"):
            self.assertRaises(ValueError, parse_url, bad)
