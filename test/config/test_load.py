"""Files: includes, encodings, limits, what is no file, and which file is taken."""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.config import include, load
from restreamer.config.include import ConfigFileError
from restreamer.config.load import Loaded, find_config
from restreamer.errors import ConfigError

KEY = "0123456789abcdef"


class LoadTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.makedirs(self.folder)

    def write(self, name: str, text: str | bytes, mode: int = 0o640) -> str:
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    def load(self, text: str | bytes) -> Loaded:
        return load.load(self.write("r.conf", text))

    def wrong(self, text: str | bytes) -> ConfigError:
        error = self.assertRaises(ConfigError, self.load, text)
        assert isinstance(error, ConfigError)
        return error

    def test_include_in_order_of_names(self) -> None:
        self.write("d/2.conf", "stream b publish://;")
        self.write("d/1.conf", "stream a publish://;\ninclude more/x;")
        self.write("d/more/x", "stream x publish://;")
        self.write("d/3.off", "nonsense")
        found = self.load("http 80;\nstream first publish://;\ninclude d/*.conf;\nstream z publish://;")
        self.assertEqual(list(found.configuration.streams), ["first", "a", "x", "b", "z"])
        self.assertEqual(
            [os.path.relpath(each, self.folder) for each in found.files],
            ["r.conf", "d/1.conf", "d/more/x", "d/2.conf"],
        )
        place = found.configuration.streams["x"].place
        self.assertEqual((place.path, place.line), (os.path.join(self.folder, "d", "more/x"), 1))

    def test_keys_of_the_examples(self) -> None:
        """Refused where others than this machine can connect; in an example itself they are right."""
        known = "replace-this-by-a-long-random-key"
        for text in (
            f"http 80;\ncluster_key {known};",
            f"http 127.0.0.1:80;\nrtsp [::]:554; source h {{ cluster_key {known}; }}",
            f"rtmp 192.0.2.1:1;\nlive a {{ on_play securetoken://{known}?no_check_ip=true; }}",
            "http 80;\nauth_backend a { allow token choose-a-long-random-token; }",
        ):
            with self.subTest(text):
                path = self.write("r.conf", text)
                error = self.assertRaises(ConfigError, load.load, path)
                self.assertEqual((error.path, error.line), (path, 2))
                self.assertIn("a key of your own", str(error))
                self.assertNotIn(known, str(error))
                load.load(path, examples=True)
                inside = re.sub(r"(?<=http )80|(?<=rtmp )192.0.2.1:1|\[::\]:554", "[::1]:8443", text)
                self.load(inside)

    def test_include_in_a_block(self) -> None:
        self.write("common", "segment_count 7;\n")
        found = self.load(
            "stream a { input publish://; include common; }\n"
            "source h { include common; cluster_key 12345678; }"
        )
        self.assertEqual(found.configuration.streams["a"].segment_count, 7)
        self.assertEqual(found.configuration.sources[0].segment_count, 7)

    def test_included_error_names_its_own_place(self) -> None:
        path = self.write("d/1.conf", "stream a {\n  segment_count x;\n}")
        error = self.wrong("http 80;\n\n\n\ninclude d/*;")
        self.assertEqual((error.path, error.line, error.column), (path, 2, 17))

    def test_duplicate_over_two_files_names_the_first_file(self) -> None:
        path = self.write("d/1.conf", "\nstream a publish://;")
        error = self.wrong("include d/*;\nstream a publish://;")
        self.assertIn(f"{path}:2", error.expected)

    def test_block_must_close_in_its_file(self) -> None:
        path = self.write("half", "stream a {")
        self.assertEqual(self.wrong("include half;").path, path)

    def test_storage_is_relative_to_the_file_it_stands_in(self) -> None:
        self.write("d/v.conf", "vod v { storage media; }")
        found = self.load("include d/v.conf; http 80;")
        self.assertEqual(found.configuration.vods["v"].storages, (os.path.abspath(self.folder) + "/d/media",))
        self.assertEqual([each.word for each in found.warnings], ["storage"])
        os.mkdir(os.path.join(self.folder, "d", "media"))
        self.assertEqual(self.load("include d/v.conf; http 80;").warnings, ())

    def test_cycles(self) -> None:
        self.write("a", "\n include b;")
        self.write("b", "include a;")
        error = self.wrong("include a;")
        self.assertEqual((os.path.basename(error.path), error.line), ("b", 1))
        self.assertIn("no file that includes itself", error.expected)
        self.assertIn("includes itself", self.wrong("include r.conf;").expected)
        self.assertIn("includes itself", self.wrong("include *;").expected)

    def test_cycle_over_a_symbolic_link(self) -> None:
        os.symlink("r.conf", os.path.join(self.folder, "link"))
        self.assertIn("includes itself", self.wrong("include link;").expected)

    def test_deep_includes(self) -> None:
        for number in range(20):
            self.write(f"f{number}", f"include f{number + 1};")
        self.assertIn("at most 16 includes", self.wrong("include f0;").expected)

    def test_many_files(self) -> None:
        self.patch(include, "MAX_FILES", 3)
        for number in range(5):
            self.write(f"d/{number}", "")
        self.assertIn("at most 3 files", self.wrong("include d/*;").expected)

    def test_wrong_includes(self) -> None:
        os.mkdir(os.path.join(self.folder, "folder"))
        for text, expected in [
            ("include;", "include FILE;"),
            ("include a b;", "include FILE;"),
            ("include a { }", "; after include"),
            ('include "";', "a file name"),
            ("include absent;", "a file that exists"),
            ("include folder;", "a file that can be read: Is a directory"),
        ]:
            with self.subTest(text):
                self.assertIn(expected, self.wrong(text).expected)
        self.assertEqual(self.load("http 80; include absent/*.conf;").warnings, ())

    def test_no_regular_file(self) -> None:
        fifo = os.path.join(self.folder, "fifo")
        os.mkfifo(fifo)
        for path in (fifo, self.folder, "/dev/zero", os.path.join(self.folder, "absent")):
            with self.subTest(path):
                error = self.assertRaises(ConfigFileError, load.load, path)
                self.assertEqual(error.line, 0)
                self.assertTrue(str(error).startswith(f"{path}: cannot be read: "))
        self.assertIn("not a regular file", self.wrong("include fifo;").expected)

    def test_too_long(self) -> None:
        error = self.wrong(b"#" * (include.MAX_BYTES + 1))
        self.assertIn("longer than 10000000 bytes", str(error))
        self.write("part", b"#" * (include.MAX_BYTES - 10))
        self.assertIn("longer than", self.wrong("include part;\ninclude part;").expected)
        self.assertRaises(ConfigFileError, load.parse, "#" * (include.MAX_BYTES + 1))

    def test_encodings(self) -> None:
        self.assertEqual(self.load(b"\xef\xbb\xbfhttp 80;\r\n").configuration.http[0].port, 80)
        error = self.wrong(b"http 80;\n\xc3\xa9 \xff;")
        self.assertEqual((error.line, error.column, error.found), (2, 3, "byte 0xff"))

    def test_open_secret(self) -> None:
        path = self.write("r.conf", f"http 80;\n cluster_key {KEY};", mode=0o644)
        warning = load.load(path).warnings[0]
        self.assertEqual((warning.line, warning.column, warning.word), (2, 2, "cluster_key"))
        self.assertIn("mode 0644", warning.text)
        os.chmod(path, 0o640)
        self.assertEqual(load.load(path).warnings, ())

    def test_missing_films(self) -> None:
        """A film that is named and not there, or may not be read, is a warning with its place."""
        self.write("films/here.mp4", b"")
        os.symlink("here.mp4", os.path.join(self.folder, "films", "link.mp4"))
        head = f"http 80;\ncluster_key {KEY};\nvod v {{ storage films; }}\nvod w {{ storage none; }}\n"
        found = self.load(
            head + "stream a { input file://v/here.mp4; backup v/gone.mp4; }\n"
            "stream b { input publish://; input file://v/x/gone.mp4; }\n"
            "stream c file://v/link.mp4;\n"
            "template t { prefix t; input file://v/%s; backup v/gone.mp4; }\n"
            "stream d { template t; }\n"
            "source h { backup v/none.mp4 timeout=2; }\n"
            "stream e file://w/any.mp4;\n"
        )
        told = [(each.line, each.column, each.word, each.text.split(" (")[0]) for each in found.warnings]
        of_v = "in any storage of vod v"
        self.assertEqual(
            sorted(told),
            [
                (4, 1, "storage", f"vod w: there is no folder {os.path.abspath(self.folder)}/none"),
                (5, 37, "backup", f"there is no file gone.mp4 {of_v}"),
                (6, 36, "input", f"there is no file x/gone.mp4 {of_v}"),
                (7, 10, "input", f"there is no file link.mp4 {of_v}"),
                (8, 30, "input", f"there is no file d {of_v}"),
                (8, 43, "backup", f"there is no file gone.mp4 {of_v}"),
                (10, 12, "backup", f"there is no file none.mp4 {of_v}"),
            ],
        )

    def test_a_film_that_may_not_be_read(self) -> None:
        self.write("films/here.mp4", b"")
        self.patch(os, "access", lambda path, mode: False)
        found = self.load("http 80;\nvod v { storage films; }\nstream a file://v/here.mp4;\n")
        self.assertEqual([each.word for each in found.warnings], ["input"])
        self.assertIn("may not be read", found.warnings[0].text)

    def test_no_port(self) -> None:
        self.assertEqual([each.word for each in self.load("").warnings], ["http"])


class FindTests(SynchronousTestCase):
    def test_order(self) -> None:
        folder = self.mktemp()
        os.makedirs(folder)
        near, far = os.path.join(folder, "near"), os.path.join(folder, "far")
        self.patch(load, "NEAR", near)
        self.patch(load, "FAR", far)
        error = self.assertRaises(ConfigError, find_config, None)
        self.assertIn(near, str(error))
        self.assertIn(far, str(error))
        for path in (far, near):
            with open(path, "w"):
                self.assertEqual(find_config(None), path)
        self.assertEqual(find_config("given"), "given")

    def test_places(self) -> None:
        self.assertEqual((load.NEAR, load.FAR), ("conf/restreamer.conf", "/etc/restreamer/restreamer.conf"))
