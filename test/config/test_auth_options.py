"""C{on_play} and its kin, C{auth_backend}, C{geoip}, C{forwarded_for}."""

from __future__ import annotations

import os
from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.auth_model import AuthBackendConfig, AuthConfig
from restreamer.config.difference import compare
from restreamer.config.load import load, parse
from restreamer.config.model import Configuration
from restreamer.config.networks import parse_network
from restreamer.config.resolve_auth import AuthRules, used_urls
from restreamer.errors import ConfigError

KEY = "cluster_key 0123456789abcdef;"
FULL = """
    on_play https://site.example/may?site=1; domains Example.com. *.example.net; max_sessions 5;
    soft_limitation; no_auto_token; session_keys user_agent proto name ip; auth_grace 1.5m;
"""
RULES = AuthConfig(
    on_play="https://site.example/may?site=1",
    domains=("example.com", "*.example.net"),
    max_sessions=5,
    soft_limitation=True,
    auto_token=False,
    session_keys=("name", "ip", "proto", "user_agent"),
    grace=90.0,
)

#: URLs that no backend may have (file, gopher, credentials, sockets, addresses of a link, broken IPv6 …).
BAD_URLS = [
    "file:///etc/passwd",
    "gopher://h/x",
    "ftp://h/x",
    "http+unix://%2Frun%2Fsocket/x",
    "http://",
    "http:///x",
    "http:h/x",
    "//h/x",
    "h",
    "http://user@h/",
    "http://user:hunter2@h/",
    "http://:@h/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[::1%eth0]/",
    "http://[::1/",
    "http://::1/",
    "http://[::1]x/",
    "http://0.0.0.0/",
    "http://[::]/",
    "http://224.0.0.1/",
    "http://256.1.1.1/",
    "http://1.2.3/",
    "http://2130706433/",
    "http://h:0/",
    "http://h:65536/",
    "http://h:x/",
    "http://-h/",
    "http://h/#x",
    "http://h/\\x",
    "http://h/\u00e9",
    "http://h/" + "x" * 2000,
]


def errors(text: str) -> str:
    try:
        parse(text, "f")
    except ConfigError as error:
        return str(error)
    return ""


def read(text: str) -> Configuration:
    return parse(text, "f").configuration


class WordsTests(SynchronousTestCase):
    def test_in_every_block(self) -> None:
        text = (
            f"{KEY} vod v {{ storage /x; {FULL} }} template t {{ prefix p; {FULL} }} live l {{ {FULL} }}"
            f"stream s {{ input publish://; {FULL} }} source h {{ {FULL} }}"
        )
        made = parse(text, "f")
        found = made.configuration
        blocks = [
            found.vods["v"].auth,
            found.streams["s"].auth,
            found.sources[0].auth,
            *(each.stream.auth for each in found.templates.values()),
        ]
        self.assertEqual(blocks, [RULES] * 5)
        self.assertEqual([each.word for each in made.warnings if each.word != "storage"], [])
        self.assertNotIn("site.example", repr(found))

    def test_a_stream_takes_from_its_template_what_it_does_not_say(self) -> None:
        found = read(
            f"template t {{ {FULL} on_publish http://p/; }}"
            "stream a { input publish://; template t; max_sessions 9; }"
            "stream b { input publish://; template t; on_play false; domains false; on_publish false; }"
            "stream c { input publish://; }"
        ).streams
        self.assertEqual(found["a"].auth.max_sessions, 9)
        self.assertEqual((found["a"].auth.on_play, found["a"].auth.on_publish), (RULES.on_play, "http://p/"))
        told = found["b"].auth
        self.assertEqual((told.on_play, told.on_publish, told.domains, told.max_sessions), ("", "", (), 5))
        self.assertEqual(found["c"].auth, AuthConfig())

    def test_no_auto_token_for_all(self) -> None:
        found = read(
            "no_auto_token; stream a publish://; stream b { input publish://; no_auto_token false; }"
            "vod v { storage /x; } live l { }"
        )
        self.assertEqual(
            [
                found.streams["a"].auth.auto_token,
                found.streams["b"].auth.auto_token,
                found.vods["v"].auth.auto_token,
                found.templates["l"].stream.auth.auto_token,
            ],
            [False, True, False, False],
        )

    def test_urls_that_no_backend_may_have(self) -> None:
        for url in BAD_URLS:
            quoted = '"' + url.replace("\\", "\\\\") + '"'
            for block, column in (
                ("stream s { input publish://; \n on_play %s; }", 10),
                ("stream s { input publish://; \n on_publish %s; }", 13),
                ("auth_backend a { \n backend %s; }", 10),
            ):
                with self.subTest(url=url, block=block):
                    told = errors(block % quoted)
                    self.assertTrue(told.startswith(f"f:2:{column}: found "), told)
                    self.assertNotIn("hunter2", told)

    def test_good_urls(self) -> None:
        for url, kept in (
            ("http://[::1]:8080/x?y=1", "http://[::1]:8080/x?y=1"),
            ("http://[::ffff:127.0.0.1]:80/", "http://127.0.0.1:80/"),
            ("http://[2001:DB8:0:0::1]/", "http://[2001:db8::1]/"),
            ("https://a_b.example/%20?x", "https://a_b.example/%20?x"),
            ("http://localhost", "http://localhost"),
        ):
            found = read(f"stream s {{ input publish://; on_play {url}; }}").streams["s"]
            self.assertEqual(found.auth.on_play, kept)

    def test_wrong(self) -> None:
        for text, place, expected in (
            ("on_play;", "2:2", "on_play URL"),
            ("on_play auth://nobody;", "2:10", "there are none"),
            ("on_publish securetoken://k;", "2:13", "auth://NAME"),
            ("on_play securetoken://;", "2:10", "with a key"),
            ("on_play securetoken://k?x=1;", "2:10", "no_check_ip"),
            ("domains http://a;", "2:10", "without http://"),
            ("domains *;", "2:10", "a host"),
            ("domains a..b;", "2:10", "a host"),
            ("max_sessions -1;", "2:15", "whole number"),
            ("soft_limitation maybe;", "2:18", "true or false"),
            ("session_keys name ip;", "2:2", "session_keys name ip proto"),
            ("session_keys name ip token;", "2:2", "proto is missing"),
            ("session_keys name ip proto cookie;", "2:29", "user_agent"),
            ("session_keys name ip proto ip;", "2:29", "once"),
            ("auth_grace soon;", "2:13", "seconds"),
            ("on_play http://a/; on_play http://b/;", "2:21", "once"),
        ):
            with self.subTest(text):
                told = errors(f"stream s {{ input publish://;\n {text} }}")
                self.assertTrue(told.startswith(f"f:{place}: "), told)
                self.assertIn(expected, told)


class CountryTests(SynchronousTestCase):
    def test_without_a_database(self) -> None:
        """C{disallowed_countries} keeps nobody out where no country is known: that is said, at the word."""
        for block in ("stream s { %s }", "template t { %s }", "vod f { storage /v; %s }"):
            for words, told in (
                ("disallowed_countries DE;", 1),
                ("allowed_countries DE; disallowed_countries GB;", 2),
                ("allowed_countries false;", 0),
            ):
                text = block % words
                found = [str(each) for each in parse(text, "f").warnings if "geoip" in str(each)]
                self.assertEqual(len(found), told, text)
                for each in found:
                    self.assertIn(f"f:1:{block.index('%') + 1}" if told == 1 else "f:1:", each)
                known = parse("geoip /c.mmdb; " + text, "f").warnings
                self.assertEqual([each for each in known if "geoip" in str(each)], [], text)


class BackendTests(SynchronousTestCase):
    def test_whole(self) -> None:
        made = parse(
            """geoip x/c.mmdb; auth_backend main {
              allow ip 172.16/24 ::ffff:10.1.0.0/112; deny ip 8.8.8.8; allow token hunter2; deny token b c;
              allow country ru US; deny country gb; allow ua MAG; deny ua "Evil Bot";
              backend http://a/1; backend http://b/2; allow default; }
            stream s { input publish://; on_play auth://main; on_publish auth://main; }""",
            "/etc/f",
        )
        found = made.configuration
        self.assertEqual(made.warnings, ())
        self.assertEqual(
            found.auth_backends["main"],
            AuthBackendConfig(
                name="main",
                allow_tokens=frozenset({"hunter2"}),
                deny_tokens=frozenset({"b", "c"}),
                allow_ips=(ip_network("172.16.0.0/24"), ip_network("10.1.0.0/16")),
                deny_ips=(ip_network("8.8.8.8"),),
                allow_countries=frozenset({"RU", "US"}),
                deny_countries=frozenset({"GB"}),
                allow_agents=("MAG",),
                deny_agents=("Evil Bot",),
                backends=("http://a/1", "http://b/2"),
                allow_default=True,
            ),
        )
        self.assertEqual(found.geoip, "/etc/x/c.mmdb")
        self.assertNotIn("hunter2", repr(found))
        self.assertEqual(used_urls(found), {"auth://main"})

    def test_wrong(self) -> None:
        for text, place, expected in (
            ("auth_backend a { }", "1:1", "at least one"),
            ("auth_backend a { allow ip; }", "1:18", "at least one value"),
            ("auth_backend a { allow ip 10.10; }", "1:27", "a network"),
            ("auth_backend a { allow ip 10.1.1.1/8; }", "1:27", "is 10.0.0.0/8 meant"),
            ("stream s { on_play securetoken://hunter2; }", "1:20", "at least 8 characters"),
            ("auth_backend a { allow ip fe80::1%eth0; }", "1:27", "an address"),
            ("auth_backend a { allow who x; }", "1:24", "ip, token"),
            ("auth_backend a { allow default; deny default; }", "1:38", "alone"),
            ("auth_backend a { allow country Germany; }", "1:32", "two letters"),
            ("auth_backend a { backend http://a/; backend http://a/; }", "1:45", "once"),
            ("auth_backend a { alow ip 1.1.1.1; }", "1:18", "did you mean allow"),
            ("auth_backend a { allow default; }\nauth_backend a { allow default; }", "2:14", "once"),
            ("forwarded_for;", "1:1", "forwarded_for ADDRESS"),
            ("forwarded_for 10/8 localhost;", "1:20", "an address"),
        ):
            with self.subTest(text):
                told = errors(text)
                self.assertTrue(told.startswith(f"f:{place}: "), told)
                self.assertIn(expected, told)
        self.assertNotIn("hunter2", errors("auth_backend a { allow token hunter2 hunt\u00e9r2; }"))

    def test_warnings(self) -> None:
        for text, word in (
            ("auth_backend a { deny country DE; }", "country"),
            ("forwarded_for 0.0.0.0/0;", "forwarded_for"),
            ("stream s { input publish://; on_play securetoken://short-key; }", "on_play"),
        ):
            self.assertEqual([each.word for each in parse(text).warnings], [word], text)

    def test_a_file_with_a_signing_key_that_everybody_can_read(self) -> None:
        path = self.mktemp()
        for text, warned in (
            ("stream s { input publish://; on_play securetoken://0123456789abcdef; }", True),
            ("auth_backend a { allow token abc; }", True),
            ("stream s { input publish://; on_play http://a/; }", False),
        ):
            with open(path, "w") as file:
                file.write("http 80;" + text)
            os.chmod(path, 0o644)
            told = [str(each) for each in load(path).warnings]
            self.assertEqual([f"{path} (mode 0644" in each for each in told], [True] * warned, told)
            os.chmod(path, 0o640)
            self.assertEqual(load(path).warnings, ())

    def test_networks(self) -> None:
        for text, wanted in (
            ("10/8", "10.0.0.0/8"),
            ("172.16/24", "172.16.0.0/24"),
            ("10.10/16", "10.10.0.0/16"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("::ffff:127.0.0.1", "127.0.0.1/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ):
            self.assertEqual(str(parse_network(text)), wanted)
        for text in ("", "10", "10.10", "10.1/8", "1.2.3.4/33", "[::1]", "::1%lo", "10.0.0.0/255.0.0.0", "a"):
            self.assertIsNone(parse_network(text), text)


class RulesOfNamesTests(SynchronousTestCase):
    def test_of(self) -> None:
        fed = {"far": "h:80", "live/x": "h:80"}
        rules = AuthRules(
            read(
                f"{KEY} stream s {{ input publish://; max_sessions 1; }}"
                "live live { max_sessions 2; on_publish http://p/; } vod a/v { storage /x; max_sessions 3; }"
                "source h { max_sessions 4; } source i { on_play http://i/; }"
            ),
            fed.get,
        )

        def most(name: str) -> int:
            found = rules.of(name)
            assert found is not None
            return found.max_sessions

        self.assertEqual([most(name) for name in ("s", "live/y", "a/v/b/c.mp4", "far")], [1, 2, 3, 4])
        self.assertEqual(most("live/x"), 4)  # a source feeds it
        self.assertEqual(getattr(rules.of("live/x"), "on_publish", None), "http://p/")
        self.assertIs(rules.of("live/x"), rules.of("live/x"))
        self.assertEqual(most("away"), 4)  # what a source once gave may be kept here
        del fed["live/x"]
        self.assertEqual(most("live/x"), 2)

    def test_nothing_said(self) -> None:
        self.assertIsNone(AuthRules(read("stream s publish://;"), lambda name: None).of("x"))
        self.assertEqual(AuthRules(read("stream s publish://;"), lambda name: None).of("s"), AuthConfig())

    def test_what_a_reload_touches(self) -> None:
        before = "stream a publish://; stream b { input publish://; on_play http://x/; }"
        after = "stream a publish://; stream b { input publish://; on_play http://y/; }"
        found = compare(read(before), read(after))
        self.assertEqual(dict(found.streams.changed), {"b": ("auth",)})
        self.assertFalse(compare(read(before), read(before)))
        block = "auth_backend m { allow ip 1.1.1.1; }"
        self.assertEqual(
            compare(read(block), read(block.replace("allow", "deny"))).globals, ("auth_backends",)
        )
