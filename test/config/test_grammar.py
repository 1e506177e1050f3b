"""Text to statements, and what a mistake in the form is called."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config import grammar
from restreamer.config.grammar import Statement, read_statements
from restreamer.errors import ConfigError

WRONG: list[tuple[str, str, int, int, str, str]] = [
    # name, text, line, column, found, part of expected
    ("no semicolon at the end", "http 80", 1, 8, "end of file", "; to end the directive 'http' of line 1"),
    ("no semicolon before }", "a {\n b c\n}", 3, 1, "}", "; to end the directive 'b' of line 2"),
    ("unclosed block", "stream a {\n b;\n", 2, 4, "end of file", "'stream' opened in line 1"),
    ("unclosed inner block", "a {\n b {\n c;\n}\n", 4, 2, "end of file", "'a' opened in line 1"),
    ("stray }", "a;\n}", 2, 1, "}", "no block is open"),
    ("stray } after block", "a { } }", 1, 7, "}", "no block is open"),
    ("second ;", "a;;", 1, 3, ";", "no ; follows a block"),
    ("; after block", "a { };", 1, 6, ";", "no ; follows a block"),
    ("block without a word", "{ a; }", 1, 1, "{", "before its block"),
    ("string as directive", '"abc";', 1, 1, '"…"', "not a string"),
    ("unclosed string", 'a "bc;\nd;', 1, 3, '"', 'a closing "'),
    ("string ends in a backslash", 'a "bc\\";', 1, 3, '"', 'a closing "'),
    ("unknown escape", 'a\n "b\\q";', 2, 2, "\\q", r"\n \t"),
    ("NUL", "a \x00;", 1, 3, "\x00", "printable"),
    ("no-break space", "a \xa0b;", 1, 3, "\xa0", "ordinary space"),
    ("too deep", "a{" * 17, 1, 34, "{", "at most 16 blocks"),
]


def flat(statements: list[Statement]) -> list[object]:
    def one(statement: Statement) -> object:
        words = [each.text for each in statement.arguments]
        if statement.block is None:
            return [statement.word, *words]
        return [statement.word, *words, {"block": [one(each) for each in statement.block]}]

    return [one(each) for each in statements]


class GrammarTests(SynchronousTestCase):
    def test_tree(self) -> None:
        text = '# top\nhttp 80;a{b c;d{}}# end\nx "y \\"z\\\\ \\n\\t" http://h/#f 97% 16#fb k=v;'
        self.assertEqual(
            flat(read_statements(text, "f")),
            [
                ["http", "80"],
                ["a", {"block": [["b", "c"], ["d", {"block": []}]]}],
                ["x", 'y "z\\ \n\t', "http://h/#f", "97%", "16#fb", "k=v"],
            ],
        )

    def test_nothing(self) -> None:
        for text in ("", " \r\n\t", "# a { ;", "\n#x\n"):
            self.assertEqual(read_statements(text, "f"), [])

    def test_places(self) -> None:
        statement = read_statements('\n  http\t8080\n "é" x ;', "dir/f.conf")[0]
        self.assertEqual(str(statement.place), "dir/f.conf:2:3")
        places = [(each.place.line, each.place.column, each.quoted) for each in statement.arguments]
        self.assertEqual(places, [(2, 8, False), (3, 2, True), (3, 6, False)])

    def test_wrong(self) -> None:
        for name, text, line, column, found, expected in WRONG:
            with self.subTest(name):
                error = self.assertRaises(ConfigError, read_statements, text, "f")
                self.assertEqual((error.line, error.column, error.found), (line, column, found))
                self.assertIn(expected, error.expected)

    def test_length_is_bounded(self) -> None:
        self.patch(grammar, "MAX_TOKENS", 10)
        error = self.assertRaises(ConfigError, read_statements, "a b;" * 4, "f")
        self.assertIn("at most 10 words", error.expected)

    def test_message_is_cut(self) -> None:
        error = self.assertRaises(ConfigError, read_statements, "x" * 10_000, "f")
        self.assertTrue(len(str(error)) < 300)

    def test_arguments_are_not_in_the_repr(self) -> None:
        self.assertNotIn("hunter2", repr(read_statements("password hunter2;", "f")))
