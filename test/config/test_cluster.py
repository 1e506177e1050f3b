"""Sources, peers, balancers, TLS, backups, pushes and what else a stream and a source have alike."""

from __future__ import annotations

import os

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.load import load, parse
from restreamer.config.model import (
    BackupConfig,
    BalancerConfig,
    CacheConfig,
    Configuration,
    DvrConfig,
    Listen,
    PeerConfig,
    PushConfig,
    SourceConfig,
    StreamConfig,
)
from restreamer.config.resolve import resolve_stream
from restreamer.errors import ConfigError

KEY = "0123456789abcdef"
HEAD = f"cluster_key {KEY}; vod v {{ storage /x; }} "
AT = len(HEAD)
SOURCE = SourceConfig(host="h", cluster_key=KEY)
PUSH = PushConfig(url="m4f://o:81/in/%s", scheme="m4f", host="o", port=81, path="in/%s", cluster_key=KEY)


def read(text: str) -> Configuration:
    return parse(HEAD + text).configuration


NODES: list[tuple[str, str, int, bool]] = [
    # as written, host, port, TLS
    ("h", "h", 80, False),
    ("h:81", "h", 81, False),
    ("m4f://h", "h", 80, False),
    ("http://H:81/", "h", 81, False),
    ("m4fs://h", "h", 443, True),
    ("https://h", "h", 443, True),
    ("HTTPS://h:8443", "h", 8443, True),
    ("m4fs://[2001:DB8::1]:8443", "2001:db8::1", 8443, True),
]

SOURCES: list[tuple[str, SourceConfig]] = [
    ("prefix live/eu;", evolve(SOURCE, prefix="live/eu")),
    ("prepush 3.5;", evolve(SOURCE, prepush=3.5)),
    ("prepush false;", evolve(SOURCE, prepush=0.0)),
    ("retry_limit 5;", evolve(SOURCE, retry_limit=5)),
    ("retry_limit false;", SOURCE),
    ("protocols hls rtmp;", evolve(SOURCE, protocols=frozenset({"hls", "rtmp"}))),
    ("protocols -rtmp -tshttp -jpeg -rtsp -dash -flv;", evolve(SOURCE, protocols=frozenset({"hls", "m4f"}))),
    ("url_prefix https://cdn.example.net/a/;", evolve(SOURCE, url_prefix="https://cdn.example.net/a")),
    ("url_prefix //cdn.example.net;", evolve(SOURCE, url_prefix="//cdn.example.net")),
    ("url_prefix /cdn;", evolve(SOURCE, url_prefix="/cdn")),
    ("url_prefix false;", SOURCE),
    ("backup v/a/b.mp4;", evolve(SOURCE, backup=BackupConfig(path="v/a/b.mp4"))),
    (
        "backup v/b.mp4 timeout=10 audio_timeout=5s video_timeout=1m transcode=false dvr=false;",
        evolve(
            SOURCE,
            backup=BackupConfig(path="v/b.mp4", timeout=10.0, audio_timeout=5.0, video_timeout=60.0),
        ),
    ),
    ("backup v/b.mp4 audio_timeout=false;", evolve(SOURCE, backup=BackupConfig(path="v/b.mp4"))),
    ("push m4f://o:81/in/%s;", evolve(SOURCE, push=(PUSH,))),
    (
        "push m4f://o:81/in/%s; push m4fs://p/%s;",
        evolve(
            SOURCE,
            push=(
                PUSH,
                PushConfig(
                    url="m4fs://p/%s",
                    scheme="m4fs",
                    host="p",
                    port=443,
                    path="%s",
                    tls=True,
                    cluster_key=KEY,
                ),
            ),
        ),
    ),
]

PROTOCOLS: list[tuple[str, set[str]]] = [
    ("hls", {"hls"}),
    ("HLS tshttp", {"hls", "mpegts"}),
    ("-m4f", {"dash", "flv", "hls", "mpegts", "rtmp", "rtsp"}),
    ("-srt -jpeg", {"dash", "flv", "hls", "mpegts", "rtmp", "rtsp", "m4f"}),
    ("-hls -rtmp -mpegts -m4f -dash -rtsp -flv", set()),
    ("srt hls", {"hls"}),
]

WRONG: list[tuple[str, int, str, str]] = [
    # text after HEAD, column after it, found, part of expected
    ("source h { protocols hls -rtmp; }", 25, "-rtmp", "all to be left out"),
    ("source h { protocols hsl; }", 21, "hsl", "a protocol: dash, flv, hls, m4f, mpegts, rtmp, rtsp"),
    ("source h { protocols; }", 11, "protocols", "protocols WORD"),
    ("source h { prepush 61; }", 19, "61", "at most 60 seconds"),
    ("source h { prepush -1; }", 19, "-1", "seconds from"),
    ("source h { retry_limit 0; }", 23, "0", "a whole number from 1"),
    ("source h { url_prefix cdn; }", 22, "cdn", "http://HOST"),
    ("source h { url_prefix https://u:p@cdn; }", 22, "https://***@cdn", "http://HOST"),
    ("source h { url_prefix https://cdn/?token=x; }", 22, "https://cdn/?***", "http://HOST"),
    ("source h { url_prefix ftp://cdn; }", 22, "ftp://cdn", "http://HOST"),
    ("source h { prefix a/*; }", 18, "a/*", "a name"),
    ("source h { priority 0; }", 20, "0", "from 1 to 1000"),
    ("source h { backup w/x.mp4; }", 18, "w/x.mp4", "the name of a vod block (v)"),
    ("source h { backup v/../x.mp4; }", 18, "v/../x.mp4", "without . and .. parts"),
    ("source h { backup /etc/x.mp4; }", 18, "/etc/x.mp4", "VOD/PATH"),
    ("source h { backup v; }", 18, "v", "VOD/PATH"),
    ("source h { backup; }", 11, "backup", "backup VOD/PATH;"),
    ("source h { backup v/x timeout=0; }", 22, "timeout=0", "timeout= with seconds"),
    ("source h { backup v/x timeout; }", 22, "timeout", "timeout= with seconds"),
    ("source h { backup v/x dvr=2; }", 22, "dvr=2", "dvr= with true or false"),
    ("source h { backup v/x timout=3; }", 22, "timout", "did you mean timeout?"),
    ("source h { backup v/x; backup v/y; }", 23, "backup", "each directive once"),
    ("source h { push x; }", 16, "x", "a push URL with one of m4f://, m4fs://"),
    ("source h { push gopher://u:p@h; }", 16, "gopher://***@h", "a push URL"),
    ("source h { push m4f://o; }", 16, "m4f://o", "m4f://HOST[:PORT]/NAME"),
    ("source h { push m4f://o/a?k=v; }", 16, "m4f://o/a?***", "m4f://HOST[:PORT]/NAME"),
    ("source h { push m4f://o/a; push m4f://o/a; }", 32, "m4f://", "each push of a stream once"),
    ("source h { push m4f://o/a qqq=1; }", 26, "qqq", "a word of the options of a push: bitrate"),
    ("source h { push rtmp://o/secret; }", 16, "rtmp://o/***", "HOST[:PORT]/APPLICATION/KEY"),
    ("source h { on_play; }", 11, "on_play", "on_play URL;"),
    ("source h; source http://h;", 17, "h:80", "each source once; the first is in line 1"),
    ("stream s { push m4f://o/%s; }", 16, "m4f://o/%s", "m4f://HOST"),
    ("stream s publish:// priority=x;", 20, "priority=x", "from 1 to 1000"),
    ("stream s m4fs://h;", 9, "m4fs://h", "m4fs://HOST[:PORT]/NAME"),
    ("stream s { backup file://v/x.mp4; }", 18, "file://v/x.mp4", "VOD/PATH"),
    ("https 443;", 0, "https", "ssl_certificate FILE; at the top level"),
    ("ssl_certificate_key k;", 0, "ssl_certificate_key", "ssl_certificate FILE; beside it"),
    ("ssl_certificate c; http 443; https 443;", 35, "443", "http 443 has it (restreamer.conf:1)"),
    ("ssl_certificate c; ssl_certificate d;", 19, "ssl_certificate", "each directive once"),
    ('ssl_ca "";', 7, "", "the path of a file"),
    ("peer;", 0, "peer", "peer HOST[:PORT];"),
    ("peer p; peer http://p;", 13, "p:80", "each peer once"),
    ("peer p { public a b; }", 18, "b", "public HOST[:PORT];"),
    ("peer p { public http://a/b; }", 16, "http://a/b", "https://HOST[:PORT]"),
    ("peer p { public m4f://a; }", 16, "m4f://a", "https://HOST[:PORT]"),
    ("peer p { only; }", 9, "only", "only belongs in a source block"),
    ("balancer lb { mode clients; }", 0, "balancer", "at least one peer"),
    ("balancer lb { peer p; }", 19, "p", "one of the peers of the top level (there are none)"),
    ("peer p:81; balancer lb { peer p:80; }", 30, "p:80", "(p:81)"),
    ("peer p:1; peer p:2; balancer lb { peer p; }", 39, "p", "(p:1, p:2)"),
    ("peer p; balancer lb { mode usage; peer p; }", 39, "p", "max_bitrate=40M"),
    ("peer p; balancer lb { mode most; peer p; }", 27, "most", "one of clients, bitrate, usage, streams"),
    ("peer p; balancer lb { peer p; peer p:80; }", 35, "p:80", "each peer of a balancer once"),
    ("peer p; balancer lb { peer p max_bitrate=0; }", 29, "max_bitrate=0", "bits per second"),
    ("peer p; balancer lb { peer p max=1; }", 29, "max", "max_bitrate"),
    ("peer p; balancer a { peer p; } balancer a { peer p; }", 40, "a", "each balancer once"),
    ("stream lb/x publish://; peer p; balancer lb { peer p; }", 32, "lb", "(lb/x does)"),
    ("live a/b { } peer p; balancer a { peer p; }", 21, "a", "(a/b/… does)"),
    ("live a { } peer p; balancer a { peer p; }", 19, "a", "(a/… does)"),
    ("peer p; balancer ../a { peer p; }", 17, "../a", "a name"),
]

KEYLESS: list[tuple[str, int]] = [
    ("peer p;", 6),
    ("stream s { push m4f://o/a; }", 17),
    ("stream s m4fs://o/a;", 10),
]


class NodeTests(SynchronousTestCase):
    def test_sources_and_peers_are_named_alike(self) -> None:
        for text, *expected in NODES:
            with self.subTest(text):
                found = read(f"source {text}; peer {text};")
                source, peer = found.sources[0], found.peers[0]
                self.assertEqual([source.host, source.port, source.tls], expected)
                self.assertEqual([peer.host, peer.port, peer.tls], expected)

    def test_input_over_tls(self) -> None:
        found = read("stream s { input m4fs://O/a; input m4fs://[::1]:8443/a; }").streams["s"].inputs
        first, second = found
        self.assertEqual((first.host, first.port, first.path, first.tls), ("o", 443, "a", True))
        self.assertEqual((second.host, second.port, second.path, second.tls), ("::1", 8443, "a", True))
        self.assertEqual((first.scheme, first.cluster_key), ("m4fs", KEY))

    def test_wrong(self) -> None:
        for text, column, found, expected in WRONG:
            with self.subTest(text):
                error = self.assertRaises(ConfigError, parse, HEAD + text)
                self.assertEqual((error.column - AT - 1, error.found), (column, found))
                self.assertIn(expected, error.expected)

    def test_no_link_without_a_key(self) -> None:
        for text, column in KEYLESS:
            with self.subTest(text):
                error = self.assertRaises(ConfigError, parse, text)
                self.assertEqual(error.column, column)
                self.assertIn("a cluster_key", error.expected)

    def test_short_keys(self) -> None:
        error = self.assertRaises(ConfigError, parse, "http 80;\ncluster_key hunter2;")
        self.assertEqual((error.line, error.column, error.found), (2, 13, "***"))
        self.assertIn("at least 8 characters", error.expected)
        warning = parse("http 80;\ncluster_key hunter22;").warnings[0]
        self.assertEqual((warning.word, "can be guessed" in warning.text), ("cluster_key", True))

    def test_own_key_is_enough(self) -> None:
        text = (
            "source h { cluster_key abcdefghijklmnop; push m4f://o/%s; }"
            "peer p { cluster_key ponmlkjihgfedcba; }"
        )
        found = parse(text).configuration
        self.assertEqual(found.sources[0].push[0].cluster_key, "abcdefghijklmnop")
        self.assertEqual(found.peers[0].cluster_key, "ponmlkjihgfedcba")


class SourceTests(SynchronousTestCase):
    def test_options(self) -> None:
        for text, expected in SOURCES:
            with self.subTest(text):
                found = parse(f"{HEAD} source h {{ {text} }}")
                self.assertEqual(found.configuration.sources, (expected,))
                self.assertEqual({each.word for each in found.warnings} - {"retry_limit"}, set())

    def test_priority_orders_what_is_marked(self) -> None:
        for marks, order, priorities in (
            (("", "", ""), "abc", (0, 0, 0)),
            (("priority 3;", "priority 2;", "priority 1;"), "cba", (1, 2, 3)),
            (("", "", "priority 1;"), "acb", (1, 1, 2)),
            (("priority 9;", "", ""), "bca", (2, 3, 9)),
            (("priority 1;", "priority 1;", ""), "abc", (1, 1, 3)),
        ):
            with self.subTest(marks):
                blocks = " ".join(
                    f"source {host} {{ {mark} }}" for host, mark in zip("abc", marks, strict=True)
                )
                found = read(blocks).sources
                self.assertEqual("".join(each.host for each in found), order)
                self.assertEqual(tuple(each.priority for each in found), priorities)
                inputs = " ".join(
                    f"input m4f://{host}/x {mark.replace(' ', '=').rstrip(';')};"
                    for host, mark in zip("abc", marks, strict=True)
                )
                stream = read(f"stream s {{ {inputs} }}").streams["s"]
                self.assertEqual("".join(each.host for each in stream.inputs), order)
                self.assertEqual(tuple(each.priority for each in stream.inputs), priorities)

    def test_storages_of_a_backup(self) -> None:
        found = read("source h { backup v/a.mp4; }").sources[0].backup
        assert found is not None
        self.assertEqual((found.vod, found.url), ("v", "file://v/a.mp4"))


class StreamTests(SynchronousTestCase):
    def test_options(self) -> None:
        for text, source in SOURCES:
            if text.startswith("prefix"):
                continue
            fields = ("prepush", "retry_limit", "protocols", "url_prefix", "backup", "push")
            expected = StreamConfig(name="t", **{each: getattr(source, each) for each in fields})
            with self.subTest(text):
                self.assertEqual(read(f"template t {{ {text} }}").templates["t"].stream, expected)
                live = read(f"live t {{ {text} }}").templates["t"].stream
                self.assertEqual(evolve(live, inputs=()), expected)
                if "%s" not in text:
                    stream = read(f"stream t {{ {text} }}").streams["t"]
                    self.assertEqual(stream, expected)

    def test_protocols(self) -> None:
        for text, expected in PROTOCOLS:
            found = read(f"stream s {{ input publish://; protocols {text}; }}").streams["s"]
            self.assertEqual(found.protocols, frozenset(expected), text)

    def test_inheritance(self) -> None:
        found = read(
            "template t { backup v/a; push m4f://o:81/in/%s; url_prefix /x; protocols hls; retry_limit 2; }"
            "stream a { template t; }"
            "stream b { template t; backup false; push m4f://p/q; url_prefix false; retry_limit false; }"
        ).streams
        a, b = found["a"], found["b"]
        self.assertEqual((a.backup, a.url_prefix, a.retry_limit), (BackupConfig(path="v/a"), "/x", 2))
        self.assertEqual((a.push[0].url, a.push[0].path), ("m4f://o:81/in/a", "in/a"))
        self.assertEqual((b.backup, b.url_prefix, b.retry_limit), (None, "", None))
        self.assertEqual([(each.host, each.path) for each in b.push], [("p", "q")])
        self.assertEqual(b.protocols, {"hls"})

    def test_push_of_a_published_stream(self) -> None:
        found = resolve_stream(read("live l { push m4f://o:81/in/%s; }"), "l/x/y")
        assert found is not None
        self.assertEqual([each.path for each in found.push], ["in/l/x/y"])

    def test_a_stream_may_be_its_backup_alone(self) -> None:
        self.assertEqual(parse(HEAD + "stream s { backup v/a; }").warnings, ())


class PeerTests(SynchronousTestCase):
    def test_public(self) -> None:
        for written, public in (
            ("peer p:81;", "http://p:81"),
            ("peer https://p;", "https://p:443"),
            ("peer p:81 { public E.example.net; }", "http://e.example.net:81"),
            ("peer p:81 { public e:82; }", "http://e:82"),
            ("peer p:81 { public http://e; }", "http://e:80"),
            ("peer p:81 { public https://e/; }", "https://e:443"),
            ("peer m4fs://p { public [2001:db8::1]; }", "https://[2001:db8::1]:443"),
            ("peer [::1]:81;", "http://[::1]:81"),
        ):
            with self.subTest(written):
                peer = read(written).peers[0]
                self.assertEqual(peer.public_url, public)
                self.assertEqual(peer.public_host, public.split("//")[1].rpartition(":")[0])

    def test_balancer_beside_other_names(self) -> None:
        found = read("stream lb publish://; live lbs { } peer p; balancer lb { peer p; }")
        self.assertEqual(list(found.balancers), ["lb"])

    def test_balancer(self) -> None:
        found = read(
            "balancer lb { mode usage; peer a max_bitrate=40M; peer b:81 max_bitrate=900k; }"
            "peer a:80; peer b:81;"
        )
        a, b = found.peers
        expected = BalancerConfig(name="lb", mode="usage", peers=((a, 40_000_000), (b, 900_000)))
        self.assertEqual(dict(found.balancers), {"lb": expected})
        plain = read("peer a:81; balancer lb { peer a; }")
        self.assertEqual(
            plain.balancers["lb"].peers, ((PeerConfig(host="a", port=81, cluster_key=KEY), None),)
        )
        self.assertEqual(plain.balancers["lb"].mode, "clients")


class TlsTests(SynchronousTestCase):
    def test_files_begin_at_the_folder_of_the_file(self) -> None:
        found = parse(
            "https 443; https [::1]:444 { api false; }"
            "ssl_certificate tls/c.pem; ssl_certificate_key /k.pem; ssl_ca ../ca.pem;",
            "/etc/r/r.conf",
        ).configuration
        self.assertEqual(found.https, (Listen(port=443), Listen(address="::1", port=444, api=False)))
        self.assertEqual(found.ssl_certificate, "/etc/r/tls/c.pem")
        self.assertEqual((found.ssl_certificate_key, found.ssl_ca), ("/k.pem", "/etc/ca.pem"))
        one = parse("https 443; ssl_certificate /c.pem;").configuration
        self.assertEqual(one.ssl_certificate_key, "/c.pem")

    def test_files_that_are_not_there_or_open_warn(self) -> None:
        folder = self.mktemp()
        os.makedirs(folder)
        path = os.path.join(folder, "r.conf")

        def warned(text: str) -> list[str]:
            with open(path, "w") as file:
                file.write("https 443;" + text)
            return [f"{each.word} {each.text.split()[0]}" for each in load(path).warnings]

        self.assertEqual(warned("ssl_certificate c; ssl_ca a;"), ["ssl_certificate there", "ssl_ca there"])
        for name, mode in (("c", 0o644), ("k", 0o644), ("a", 0o644)):
            with open(os.path.join(folder, name), "w"):
                os.chmod(os.path.join(folder, name), mode)
        self.assertEqual(warned("ssl_certificate c; ssl_ca a;"), ["ssl_certificate its"])
        self.assertEqual(warned("ssl_certificate c; ssl_certificate_key k;"), ["ssl_certificate_key its"])
        os.chmod(os.path.join(folder, "k"), 0o640)
        self.assertEqual(warned("ssl_certificate c; ssl_certificate_key k;"), [])


class HeldTests(SynchronousTestCase):
    def test_kept_with_a_warning(self) -> None:
        body = '\n on_play "http://a/?t=hunter2";\n drm hunter2;\n dvr /d 7d 90%;\n cache /c 2d;\n}'
        for head in ("stream s { input publish://;", "template s {", "live s {", "source s {"):
            found = parse(HEAD + head + body)
            config = found.configuration
            templates = [each.stream for each in config.templates.values()]
            blocks: list[StreamConfig | SourceConfig] = [
                *config.streams.values(),
                *config.sources,
                *templates,
            ]
            (held,) = blocks
            self.assertEqual(held.auth.on_play, "http://a/?t=hunter2")
            self.assertEqual(held.dvr, DvrConfig(root="/d", depth=7 * 86400, percent=90))
            self.assertEqual(held.cache, CacheConfig(root="/c", age=2 * 86400))
            self.assertEqual(
                [(each.line, each.column, each.word) for each in found.warnings],
                [(3, 2, "drm")],
            )
            self.assertIn("nobody is kept out", found.warnings[0].text)
            self.assertNotIn("hunter2", repr(found))
            self.assertNotIn("hunter2", " ".join(map(str, found.warnings)))

    def test_pushes(self) -> None:
        found = parse(
            "template t { push rtmp://u:hunter2@O/app/hunter2?x=hunter2 retry_timeout=5;"
            " push rtmps://o:444/a/hunter2; push udp://239.0.0.1:1234; }"
        )
        pushes = found.configuration.templates["t"].stream.push
        shown = [str(each) for each in pushes]
        self.assertEqual(shown, ["rtmp://o:1935", "rtmp://o:444", "udp://239.0.0.1:1234"])
        self.assertEqual((pushes[0].path, pushes[0].query), ("/app/hunter2", "x=hunter2"))
        self.assertEqual((pushes[0].user, pushes[0].password), ("u", "hunter2"))
        self.assertEqual([each.tls for each in pushes], [False, True, False])
        self.assertEqual([each.word for each in found.warnings], ["retry_timeout"])
        self.assertNotIn("hunter2", repr(found))

    def test_options_of_a_backup(self) -> None:
        found = parse(HEAD + "stream s { backup v/x transcode dvr=true; }")
        self.assertEqual([each.word for each in found.warnings], ["transcode"])
        backup = found.configuration.streams["s"].backup
        self.assertEqual(backup, BackupConfig(path="v/x", transcode=True, dvr=True))

    def test_protocols_of_others(self) -> None:
        found = parse("stream s { input publish://; protocols srt hls; }")
        self.assertEqual([(each.column, each.word) for each in found.warnings], [(40, "srt")])


class ListWarningTests(SynchronousTestCase):
    """Lists of a source that cannot do what they are there for."""

    def told(self, body: str) -> list[tuple[str, str]]:
        return [(each.word, each.text) for each in parse(HEAD + f"source h {{ {body} }}").warnings]

    def test_nothing_to_say(self) -> None:
        for body in (
            "only a live/b; except live/*x y;".replace("*x", "z"),
            "only live/*; except live/private;",
            "only;",
            "prefix eu; only a eu2/b; except b;",
        ):
            with self.subTest(body):
                self.assertEqual(self.told(body), [])

    def test_hidden(self) -> None:
        hidden = "does not exist here: except"
        self.assertEqual(
            self.told("except live/* b; only a b live/a live/x/* live/*;"),
            [
                ("only", f"b {hidden} b hides it"),
                ("only", f"live/a {hidden} live/* hides it"),
                ("only", f"live/x/* {hidden} live/* hides it"),
                ("only", f"live/* {hidden} live/* hides it"),
            ],
        )

    def test_with_its_prefix(self) -> None:
        self.assertEqual(
            self.told("prefix eu; only eu/a; except eu/b/*;"),
            [
                ("only", "eu/a is a name here, so eu/eu/a there: is a meant?"),
                ("except", "eu/b/* is a name here, so eu/eu/b/* there: is b/* meant?"),
            ],
        )

    def test_a_bare_one_beside_names(self) -> None:
        self.assertEqual(
            self.told("only a; only;"),
            [("only", "without a name it adds nothing to the names of the others")],
        )
