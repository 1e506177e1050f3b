"""C{view_auth}, C{edit_auth}, C{session_log}, C{event_sink}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.load import parse
from restreamer.config.model import EventCondition, EventSinkConfig, JournalConfig, LoginConfig
from restreamer.errors import ConfigError


class ViewingOptions(SynchronousTestCase):
    """What may be written, and what comes of it."""

    def test_passwords(self) -> None:
        made = parse("view_auth monitor see-it-all;\nedit_auth admin change-it;").configuration
        self.assertEqual(made.view_auth, LoginConfig(user="monitor", password="see-it-all"))
        self.assertEqual(made.edit_auth, LoginConfig(user="admin", password="change-it"))
        self.assertNotIn("change-it", repr(made))
        self.assertIsNone(parse("").configuration.view_auth)

    def test_journal(self) -> None:
        for text, wanted in (
            ("", JournalConfig()),
            ("session_log off;", JournalConfig(off=True)),
            ("session_log sqlite:////a/b.db;", JournalConfig(url="sqlite:////a/b.db")),
            (
                "session_log postgresql://u:p@h/d 4w;",
                JournalConfig(url="postgresql://u:p@h/d", depth=4 * 7 * 86400),
            ),
        ):
            self.assertEqual(parse(text).configuration.session_log, wanted, text)
        self.assertNotIn("p@h", repr(parse("session_log postgresql://u:p@h/d;").configuration))

    def test_sinks(self) -> None:
        text = """
            event_sink a { url https://h/x; only event=play_*,stream_opened media=live/*; except media=t; }
            event_sink b { url jsonlog:///x; max_depth 5; throttle_delay 1; resend_limit 3; }
        """
        first, second = parse(text).configuration.event_sinks
        self.assertEqual(
            first,
            EventSinkConfig(
                name="a",
                url="https://h/x",
                only=(
                    EventCondition(key="event", values=("play_*", "stream_opened")),
                    EventCondition(key="media", values=("live/*",)),
                ),
                except_=(EventCondition(key="media", values=("t",)),),
            ),
        )
        self.assertEqual((second.max_depth, second.throttle_delay, second.resend_limit), (5, 1.0, 3))

    def test_wrong(self) -> None:
        """File, line, column, and what was expected."""
        for text, place, expected in (
            ("edit_auth admin;", "1:1", "USER PASSWORD"),
            ("edit_auth a:b long-enough;", "1:11", "without a colon"),
            ("edit_auth admin short;", "1:17", "8 characters"),
            ("edit_auth a long-enough;\nedit_auth b long-enough;", "2:1", "once"),
            ("session_log mysql://h/d;", "1:13", "postgresql://"),
            ("session_log sqlite:///x 5y;", "1:25", "30d"),
            ("session_log off 5d;", "1:13", "sqlite"),
            ("event_sink a { }", "1:1", "url URL"),
            ("event_sink a { url ftp://x; }", "1:20", "jsonlog"),
            ("event_sink a { url http://h/; only x; }", "1:36", "KEY=VALUE"),
            ("event_sink a { url http://h/; max_depth 0; }", "1:41", "1 to"),
            ("event_sink a { url http://h/; }\nevent_sink a { url http://h/; }", "2:12", "once"),
        ):
            with self.subTest(text):
                with self.assertRaises(ConfigError) as caught:
                    parse(text, "f")
                told = str(caught.exception)
                self.assertTrue(told.startswith(f"f:{place}: "), told)
                self.assertIn(expected, told)

    def test_no_password_in_an_error(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            parse("edit_auth admin secret;")
        self.assertNotIn("'secret'", str(caught.exception))
