"""How far viewers are who come back for each piece."""

from __future__ import annotations

from restreamer.config.model import AuthConfig
from test.sessions.rig import GateTestCase


class Shown(GateTestCase):
    """C{current_time} and C{ts_delay}."""

    def test_pieces(self) -> None:
        """Known from the first piece on: the end of the last one, and how old it was when asked for."""
        self.make(AuthConfig())
        session = self.granted(self.request())
        session.count(1)
        facts = self.table.facts(session)
        self.assertEqual((facts.current_time, facts.ts_delay), (None, None))
        now = facts.updated_at
        session.show((now - 4000) * 90)
        facts = self.table.facts(session)
        self.assertEqual((facts.current_time, facts.ts_delay), (now - 4000, 4000))
        self.pass_time(10)
        facts = self.table.facts(session)
        self.assertEqual((facts.current_time, facts.ts_delay), (now - 4000, 4000), "nothing was asked since")
        self.table.kick(session.session_id)
        self.assertIsNone(self.table.facts(session).current_time)

    def test_clocks_that_differ(self) -> None:
        """A stream whose time is ahead of ours is not behind."""
        self.make(AuthConfig())
        session = self.granted(self.request())
        session.count(1)
        session.show((self.table.facts(session).updated_at + 500) * 90)
        self.assertEqual(self.table.facts(session).ts_delay, 0)
