"""Where viewers are, and by which field of a query they are known."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from restreamer.config.model import AuthConfig
from restreamer.errors import Reason
from restreamer.sessions.country import Countries
from restreamer.sessions.identity import told_query
from test.sessions.mmdb import database
from test.sessions.rig import ASKED, DENY, GateTestCase

PLACES = {"192.0.2.0/24": "DE", "198.51.100.0/25": "US", "203.0.113.7/32": "FR"}


class Databases(GateTestCase):
    """A file as MaxMind makes them."""

    @override
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(database(PLACES))
        self.countries = Countries()
        self.countries.load(str(self.path))

    def test_addresses(self) -> None:
        for ip, country in (
            ("192.0.2.200", "DE"),
            ("198.51.100.1", "US"),
            ("198.51.100.129", ""),
            ("203.0.113.7", "FR"),
            ("203.0.113.8", ""),
            ("2001:db8::1", ""),
            ("::ffff:192.0.2.1", ""),
            ("fe80::1%eth0", ""),
            ("unix", ""),
        ):
            self.assertEqual(self.countries.of(ip), country, ip)

    def test_damaged(self) -> None:
        """A file that cannot be read leaves what was there; one that is damaged within tells nothing."""
        whole = self.path.read_bytes()
        for text in (b"", b"nothing", whole[: len(whole) // 2], whole[-40:]):
            self.path.write_bytes(text)
            self.countries.load(str(self.path))
            self.assertEqual(self.countries.of("192.0.2.1"), "DE")
        self.countries.load(str(self.path) + "-gone")
        self.assertEqual(self.countries.of("192.0.2.1"), "DE")
        self.countries.load("")
        self.assertEqual(self.countries.of("192.0.2.1"), "")
        tree = 6 * int.from_bytes(whole[whole.index(b"node_count") + 11 :][:1], "big")
        self.path.write_bytes(whole[: tree // 2] + b"\xff" * 60 + whole[tree // 2 + 60 :])
        self.countries.load(str(self.path))
        for last in range(256):
            self.assertIn(self.countries.of(f"192.0.2.{last}"), ("", "DE", "US", "FR"))


class Rules(GateTestCase):
    """C{allowed_countries} and C{disallowed_countries}."""

    def begin_with(self, auth: AuthConfig) -> None:
        self.make(auth)
        countries = Countries()
        path = Path(self.mktemp())
        path.write_bytes(database(PLACES))
        countries.load(str(path))
        self.table.country_of = countries.of

    def test_lists(self) -> None:
        """Looked at before any backend; who is nowhere is of no list."""
        german, nowhere = "192.0.2.9", "10.0.0.1"
        for auth, may in (
            (
                AuthConfig(allowed_countries=frozenset(["DE"])),
                {german: True, "203.0.113.7": False, nowhere: False},
            ),
            (
                AuthConfig(disallowed_countries=frozenset(["DE"])),
                {german: False, "203.0.113.7": True, nowhere: True},
            ),
        ):
            for proto in ("hls", "rtmp", "tshttp"):
                self.begin_with(auth)
                for peer, expected in may.items():
                    request = self.request(proto, peer=peer)
                    if expected:
                        self.granted(request)
                    else:
                        self.assertIs(self.refused(request).reason, Reason.DENIED)

    def test_pieces(self) -> None:
        """Who may not have the list gets no segment either."""
        self.begin_with(AuthConfig(allowed_countries=frozenset(["DE"])))
        self.assertIs(self.refused(self.request(part=True, peer="203.0.113.7")).reason, Reason.DENIED)
        self.granted(self.request(peer="192.0.2.9"))
        self.granted(self.request(part=True, peer="192.0.2.9"))

    def test_backends_hear_of_it(self) -> None:
        self.begin_with(ASKED)
        session = self.granted(self.request(peer="192.0.2.9", token="t"))
        self.assertEqual((session.country, self.backend.questions[0].country), ("DE", "DE"))


class Fields(GateTestCase):
    """C{auth_token NAME;}."""

    def test_another_field(self) -> None:
        """It has the token where C{token} is not there; nobody is told of it."""
        self.make(ASKED)
        self.gate.token_field = "ticket"
        self.table.secret_fields = frozenset(["ticket"])
        session = self.granted(self.request(query="ticket=a%20b&x=1"))
        self.assertEqual((self.backend.questions[0].token, session.token), ("a b", "a b"))
        self.assertIs(self.granted(self.request(part=True, query="ticket=a+b")), session)
        self.assertIs(self.granted(self.request(token="a b", query="token=a+b&ticket=other")), session)
        session.count(1)
        self.assertEqual([facts.query for facts in self.table], ["x=1"])
        self.backend.say = DENY
        self.refused(self.request(query="ticket=c"))

    def test_fields_that_look_like_secrets(self) -> None:
        """What viewers of other systems send with their URLs is not told either."""
        for hidden in ("Token=t", "cluster_key=k", "api_key=k", "PASSWORD=p", "client-secret=s", "x-token=t"):
            self.assertEqual(told_query(f"a=1&{hidden}&b=2"), "a=1&b=2")
        self.assertEqual(told_query("filter.tracks=v1&from=5"), "filter.tracks=v1&from=5")
