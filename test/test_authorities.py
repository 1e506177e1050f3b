"""The country database of a node: read again when its file is another, told of when it cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.authorities import Authorities
from restreamer.config.load import parse
from restreamer.sessions import country
from test.sessions.mmdb import database

VIEWER = "192.0.2.1"


class CountryFiles(SynchronousTestCase):
    """C{geoip FILE;} over reloads."""

    @override
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.authorities = Authorities(Clock(), lambda: 0.0)
        self.addCleanup(self.authorities.close)
        self.errors: list[str] = []
        self.patch(country._log, "error", lambda text, **values: self.errors.append(text.format(**values)))

    def reload(self) -> str:
        """The country of the viewer after a reload."""
        self.authorities.configure(parse(f"geoip {self.path};").configuration)
        return self.authorities.country_of(VIEWER)

    def replace(self, code: str) -> None:
        """As tools that fetch new databases do: another file of the same name."""
        beside = self.path.with_suffix(".new")
        beside.write_bytes(database({"192.0.2.0/24": code}))
        os.replace(beside, self.path)

    def test_new_content(self) -> None:
        """A newer database under the same name counts from the next reload on."""
        self.replace("DE")
        self.assertEqual(self.reload(), "DE")
        self.replace("FR")
        self.assertEqual(self.authorities.country_of(VIEWER), "DE")
        self.assertEqual(self.reload(), "FR")
        self.assertEqual(self.errors, [])

    def test_same_content(self) -> None:
        """A file that is what it was is not read again: that would keep the node busy for nothing."""
        self.replace("DE")
        self.reload()
        read: list[str] = []
        self.patch(country.Countries, "load", lambda countries, path: read.append(path))
        self.reload()
        self.assertEqual(read, [])

    def test_missing_and_damaged(self) -> None:
        """Both are said, with what holds instead; and a file that comes later is read by a reload."""
        self.assertEqual(self.reload(), "")
        self.assertIn(str(self.path), self.errors[-1])
        self.assertIn("no country is known", self.errors[-1])
        self.replace("DE")
        self.assertEqual(self.reload(), "DE")
        self.path.write_bytes(b"nothing of the kind")
        self.assertEqual(self.reload(), "DE")
        self.assertIn("what was read before holds", self.errors[-1])
        self.assertEqual(len(self.errors), 2)
        self.reload()
        self.assertEqual(len(self.errors), 3, "said at each reload until it is mended")
