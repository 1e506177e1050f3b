"""C{dvr} and C{cache}: every form, in any order, and what is wrong with the others."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.load import parse
from restreamer.config.model import CacheConfig, DvrConfig, S3Config, SourceConfig, StreamConfig
from restreamer.errors import ConfigError

DAY = 86400
HEAD = "cluster_key 0123456789abcdef0123; dvr main { root /mnt/a; fsync_interval 2.5; }\n"
RIGHT: list[tuple[str, DvrConfig]] = [
    ("/storage", DvrConfig(root="/storage")),
    ("/storage 2d", DvrConfig(root="/storage", depth=2 * DAY)),
    ("/storage 6h 97%", DvrConfig(root="/storage", depth=6 * 3600, percent=97)),
    ("/storage 90% 5d", DvrConfig(root="/storage", depth=5 * DAY, percent=90)),
    ("/storage 500G 1w", DvrConfig(root="/storage", depth=7 * DAY, size=500 * 10**9)),
    ("/storage 90m 10M", DvrConfig(root="/storage", depth=5400, size=10**7)),
    ("/storage 20d replicate", DvrConfig(root="/storage", depth=20 * DAY, replicate=True)),
    (
        "/storage replicate replication_port=8002 20d",
        DvrConfig(root="/storage", depth=20 * DAY, replicate=True, replication_port=8002),
    ),
    ("@main 7d 97%", DvrConfig(root="/mnt/a", depth=7 * DAY, percent=97, fsync_interval=2.5)),
    (
        "/storage copy=s3://key:se/cr+et@minio.local:9000/bucket/a/b",
        DvrConfig(
            root="/storage",
            copy=S3Config(
                endpoint="http://minio.local:9000",
                key="key",
                secret="se/cr+et",
                bucket="bucket",
                prefix="a/b",
            ),
        ),
    ),
    ("/s copy=s3s://h/b", DvrConfig(root="/s", copy=S3Config(endpoint="https://h", bucket="b"))),
]
WRONG: list[tuple[str, str, str]] = [
    ("dvr;", "dvr", "dvr PATH"),
    ("dvr @other 7d;", "@other", "@NAME of a dvr block"),
    ("dvr /s 7;", "7", "a depth (90m"),
    ("dvr /s 7d 8d;", "8d", "one depth only"),
    ("dvr /s 5%% 1;", "5%%", "a depth"),
    ("dvr /s 100%;", "100%", "1% to 99%"),
    ("dvr /s 30s;", "30s", "a depth from 1m"),
    ("dvr /s 1K;", "1K", "at least 10M"),
    ("dvr /s 7x;", "7x", "a depth"),
    ("dvr /s replicat;", "replicat", "did you mean replicate"),
    ("dvr /s replicate=2;", "replicate=2", "true or false"),
    ("dvr /s replication_port=0;", "replication_port=0", "1 to 65535"),
    ("dvr ftp://h/x;", "ftp://h/x", "the path of a folder"),
    ("dvr /s copy=s3://k:hunter2@;", "copy=s3://***@", "s3://KEY:SECRET@HOST"),
    ("dvr /s copy=s3://AK/IA:hun/ter2@h/b;", "copy=s3://***@h/b", "s3://KEY:SECRET@HOST"),
    ("dvr /s { }", "dvr {", "; after dvr"),
    ("cache /c 90%;", "90%", "an age"),
    ("cache /c misses=x;", "misses=x", "a whole number"),
    ("cache;", "cache", "cache PATH"),
]


class DvrTests(SynchronousTestCase):
    def test_right(self) -> None:
        for text, expected in RIGHT:
            for block in ("stream s { input publish://;", "source h {", "template t {"):
                with self.subTest(text=text, block=block):
                    found = parse(f"{HEAD}{block} dvr {text}; }}").configuration
                    streams: list[StreamConfig | SourceConfig] = [
                        *found.streams.values(),
                        *found.sources,
                        *[t.stream for t in found.templates.values()],
                    ]
                    self.assertEqual([each.dvr for each in streams], [expected])

    def test_wrong(self) -> None:
        for text, offending, expected in WRONG:
            with self.subTest(text=text):
                with self.assertRaises(ConfigError) as caught:
                    parse(f"{HEAD}stream s {{ input publish://; {text} }}")
                self.assertIn(expected, caught.exception.expected)
                self.assertEqual(caught.exception.found, offending)
                self.assertEqual(caught.exception.line, 2)
                self.assertNotIn("hunter2", str(caught.exception))

    def test_false_undoes_the_template(self) -> None:
        found = parse("template t { dvr /a 1d; } stream s { template t; input publish://; dvr false; }")
        self.assertIsNone(found.configuration.streams["s"].dvr)

    def test_inherited(self) -> None:
        found = parse("template t { dvr /a 1d; } stream s { template t; input publish://; }")
        self.assertEqual(found.configuration.streams["s"].dvr, DvrConfig(root="/a", depth=DAY))

    def test_relative_to_the_file(self) -> None:
        found = parse("stream s { input publish://; dvr movies; }", "/etc/x/restreamer.conf")
        dvr = found.configuration.streams["s"].dvr
        assert dvr is not None
        self.assertEqual(dvr.root, "/etc/x/movies")

    def test_secrets_are_not_shown(self) -> None:
        found = parse("stream s { input publish://; dvr /a copy=s3://key7:hunter2@h/b; }")
        self.assertNotIn("hunter2", repr(found))
        self.assertNotIn("key7", repr(found))
        dvr = found.configuration.streams["s"].dvr
        assert dvr is not None
        self.assertEqual(str(dvr.copy), "http://h/b")


class StoreTests(SynchronousTestCase):
    def test_named(self) -> None:
        text = "dvr a { root /x; copy s3://k:s@h/b; } stream s { input publish://; dvr @a; }"
        dvr = parse(text).configuration.streams["s"].dvr
        assert dvr is not None
        self.assertEqual((dvr.root, str(dvr.copy)), ("/x", "http://h/b"))

    def test_wrong(self) -> None:
        for text, expected in (
            ("dvr a { }", "root PATH;"),
            ("dvr a { root /x; } dvr a { root /y; }", "each dvr once"),
            ("dvr a { root /x; } dvr b { root /x; }", "each root of a dvr once"),
            ("dvr a { root /x; fsync_interval 0; }", "seconds from 0.1 to 60"),
            ("dvr a { rot /x; }", "did you mean root"),
            ("dvr /a;", "a name"),
        ):
            with self.subTest(text=text):
                with self.assertRaises(ConfigError) as caught:
                    parse(text)
                self.assertIn(expected, caught.exception.expected)

    def test_words_of_others_warn(self) -> None:
        found = parse("dvr a { root /x; raid 0; disk d1; }")
        self.assertEqual([each.word for each in found.warnings], ["raid", "disk"])


class NestedTests(SynchronousTestCase):
    """An archive in the folder of another would be played, and deleted, as that one's."""

    def test_refused(self) -> None:
        key = "cluster_key 0123456789abcdef0123;"
        for text, found in (
            ("template t { prefix live; dvr /a 1d; } stream x { input publish://; dvr /a/live 7d; }", "/a"),
            ("dvr m { root /a/b; } stream x { input publish://; dvr /a; }", "/a"),
            (f"{key} source h {{ dvr /a; cache /a/c; }}", "/a/c"),
            (f"{key} source h {{ dvr /a; cache /a; }}", "/a"),
        ):
            with self.subTest(text=text):
                with self.assertRaises(ConfigError) as caught:
                    parse(text)
                self.assertEqual(caught.exception.found, found)
                self.assertIn("apart from", caught.exception.expected)

    def test_beside_each_other(self) -> None:
        parse("stream x { input publish://; dvr /a/b; } stream y { input publish://; dvr /a/bc; }")
        parse("stream x { input publish://; dvr /a; } stream y { input publish://; dvr /a 1d; }")


class CacheTests(SynchronousTestCase):
    def test_right(self) -> None:
        for text, expected in (
            ("/c", CacheConfig(root="/c")),
            ("/c 2d 400G", CacheConfig(root="/c", age=2 * DAY, size=400 * 10**9)),
            ("/c 400G misses=2 1h", CacheConfig(root="/c", age=3600, size=400 * 10**9, misses=2)),
        ):
            with self.subTest(text=text):
                found = parse(f"{HEAD}source h {{ cache {text}; }}").configuration
                self.assertEqual(found.sources[0].cache, expected)


class ObjectTests(SynchronousTestCase):
    """C{dvr s3://…}: a spool, a copy, and a depth of the copies."""

    COPY = S3Config(endpoint="http://h", key="k", secret="s", bucket="b", prefix="p")

    def dvr(self, text: str, head: str = "state_dir /var/r;") -> DvrConfig | None:
        return parse(f"{head} stream s {{ input publish://; dvr {text}; }}").configuration.streams["s"].dvr

    def test_right(self) -> None:
        for head, root in (
            ("state_dir /var/r;", "/var/r/dvr"),
            ("dvr_spool /spool;", "/spool"),
            ("state_dir /var/r; dvr_spool /spool;", "/spool"),
        ):
            with self.subTest(head=head):
                expected = DvrConfig(root=root, depth=7200, copy=self.COPY, copy_depth=30 * DAY)
                self.assertEqual(self.dvr("s3://k:s@h/b/p 30d", head), expected)
        self.assertEqual(
            self.dvr("s3://k:s@h/b/p 90% replicate"),
            DvrConfig(root="/var/r/dvr", depth=7200, percent=90, replicate=True, copy=self.COPY),
        )
        found = self.dvr("s3s://k:s@h/b 1h")
        assert found is not None and found.copy is not None
        self.assertEqual((found.depth, found.copy_depth, found.copy.endpoint), (3600, 3600, "https://h"))

    def test_a_copy_with_a_depth(self) -> None:
        found = self.dvr("/a 2d copy=s3://k:s@h/b/p copy_depth=30d")
        self.assertEqual(found, DvrConfig(root="/a", depth=2 * DAY, copy=self.COPY, copy_depth=30 * DAY))
        head = "dvr main { root /a; copy s3://k:s@h/b/p; }"
        self.assertEqual(
            self.dvr("@main 2d copy_depth=1w", head),
            DvrConfig(root="/a", depth=2 * DAY, copy=self.COPY, copy_depth=7 * DAY),
        )

    def test_wrong(self) -> None:
        for text, expected, head in (
            ("s3://k:hunter2@h/b", "state_dir PATH; or dvr_spool PATH;", ""),
            ("s3://k:hunter2@h/b 30m", "a depth from 1h", "dvr_spool /s;"),
            ("s3://k:hunter2@h/b 500G", "a depth (30d)", "dvr_spool /s;"),
            ("s3://k:hunter2@h/b copy=s3://k:hunter2@h/b", "a depth (30d)", "dvr_spool /s;"),
            ("s3://k:hunter2@h/b copy_depth=3d", "a depth (30d)", "dvr_spool /s;"),
            ("s3://k:hunter2@", "s3://KEY:SECRET@HOST", "dvr_spool /s;"),
            ("/a copy_depth=3d", "copy=s3://", ""),
            ("/a copy=s3://k:hunter2@h/b copy_depth=30m", "a depth from 1h", ""),
        ):
            with self.subTest(text=text):
                with self.assertRaises(ConfigError) as caught:
                    self.dvr(text, head)
                self.assertIn(expected, caught.exception.expected)
                self.assertNotIn("hunter2", str(caught.exception))

    def test_the_spool_is_apart_from_archives(self) -> None:
        text = (
            "stream a { input publish://; dvr /var/r 1d; } stream b { input publish://; dvr s3://k:s@h/b; }"
        )
        self.assertRaises(ConfigError, parse, "state_dir /var/r; " + text)
