"""Changing directives in the text: what is not changed stays to the byte."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.load import parse
from restreamer.config.rewrite import RewriteError, changed, found, name_of, named, options_of, without
from restreamer.errors import ConfigError

TEXT = """\
# the node
http 8080; # where viewers come
cluster_key abcdefghijklmnop;

# the news, asked for by Ann
stream news {
  # first choice
  input rtmp://a/live/one; # main
  input rtmp://b/live/two priority=2; # spare
  title "Evening \\"news\\""; # shown
}
stream short rtmp://c/live/x;
stream line { input publish://; static false; }
stream bare publish:// {
}
source 10.0.0.1:8080 { only news; } # far
template t {
    prefix live;
    input publish://; }
"""


def edit(key: str, word: str = "stream", text: str = TEXT, **options: list[list[str]]) -> str:
    """The text after a change; it must be one that can be used."""
    made = changed(text, "f", word, key, options)
    parse(made, "f")
    return made


class ChangeTests(SynchronousTestCase):
    """One block is changed."""

    def check(self, made: str, *replaced: tuple[str, str]) -> None:
        """It is the text but for these."""
        text = TEXT
        for old, new in replaced:
            self.assertEqual(text.count(old), 1, old)
            text = text.replace(old, new)
        self.assertEqual(made, text)

    def test_a_value(self) -> None:
        self.check(edit("news", title=[["Late"]]), ('title "Evening \\"news\\"";', "title Late;"))
        self.check(edit("line", static=[["true"]]), ("static false;", "static true;"))

    def test_nothing_new(self) -> None:
        """What is there already is left as it is written."""
        self.check(edit("news", title=[['Evening "news"']]))
        self.check(edit("short", input=[["rtmp://c/live/x"]]))
        self.check(edit("news"))

    def test_a_new_directive(self) -> None:
        self.check(edit("news", static=[["false"]]), ("; # shown\n", "; # shown\n  static false;\n"))
        self.check(
            edit("line", title=[["a; b {} # c"]]), ("static false; }", 'static false; title "a; b {} # c"; }')
        )
        self.check(edit("bare", title=[["B"]]), ("publish:// {\n", "publish:// {\n  title B;\n"))
        self.check(edit("short", title=[["S"]]), ("live/x;", "live/x {\n  title S;\n}"))
        self.check(
            edit("t", "template", title=[["T"]]),
            ("    input publish://; }", "    input publish://; title T; }"),
        )

    def test_one_of_several(self) -> None:
        one, two = ["rtmp://a/live/one"], ["rtmp://b/live/two", "priority=2"]
        self.check(edit("news", input=[two]), ("  input rtmp://a/live/one; # main\n", ""))
        self.check(edit("news", input=[one]), ("  input rtmp://b/live/two priority=2; # spare\n", ""))
        self.check(
            edit("news", input=[one, ["rtmp://n/a/b"], two]),
            ("; # main\n", "; # main\n  input rtmp://n/a/b;\n"),
        )
        self.check(
            edit("news", input=[["rtmp://n/a/b"], one, two]),
            ("input rtmp://a/live/one;", "input rtmp://n/a/b;\n  input rtmp://a/live/one;"),
        )
        self.check(
            edit("news", input=[one, two, ["publish://"]]), ("# spare\n", "# spare\n  input publish://;\n")
        )
        self.check(
            edit("line", input=[["publish://"], one]),
            ("publish://; static", f"publish://; input {one[0]}; static"),
        )

    def test_the_short_form(self) -> None:
        made = edit("short", input=[["publish://"], ["rtmp://d/a/b"]])
        self.check(made, (" rtmp://c/live/x;", " {\n  input publish://;\n  input rtmp://d/a/b;\n}"))
        self.check(edit("bare", input=[]), ("bare publish:// {", "bare {"))

    def test_away(self) -> None:
        self.check(edit("news", title=[]), ('  title "Evening \\"news\\""; # shown\n', ""))
        self.check(edit("line", static=[]), (" static false;", ""))
        self.check(edit("line", password=[]))

    def test_a_new_block(self) -> None:
        made = edit("fresh/1", input=[["publish://"]], title=[["New one"]])
        self.assertEqual(made, TEXT + 'stream fresh/1 {\n  input publish://;\n  title "New one";\n}\n')
        self.assertEqual(changed("http 80;", "f", "source", "h:1", {}), "http 80;\nsource h:1 {\n}\n")

    def test_blocks_away(self) -> None:
        self.check(without(TEXT, "f", "stream", "short"), ("stream short rtmp://c/live/x;\n", ""))
        self.check(
            without(TEXT, "f", "source", "10.0.0.1:8080"), ("source 10.0.0.1:8080 { only news; } # far\n", "")
        )
        self.assertRaises(KeyError, without, TEXT, "f", "stream", "t")

    def test_what_is_told(self) -> None:
        spans = found(TEXT, "f")
        news = named(spans, "stream", "news")
        assert news is not None
        self.assertEqual(
            options_of(news),
            {
                "input": [["rtmp://a/live/one"], ["rtmp://b/live/two", "priority=2"]],
                "title": [['Evening "news"']],
            },
        )
        self.assertEqual(name_of(found("source m4fs://h:1;", "f")[0]), "h:1")
        self.assertIsNone(named(spans, "stream", "none"))

    def test_what_cannot_be_written(self) -> None:
        self.assertRaises(RewriteError, edit, "news", title=[["a\0b"]])
        self.assertRaises(RewriteError, changed, TEXT, "f", "stream", "news", {"x; } http": [["1"]]})
        self.assertRaises(ConfigError, changed, "stream {", "f", "stream", "a", {})

    @given(st.text(max_size=12), st.sampled_from(["news", "short", "line", "bare", "new"]))
    @settings(max_examples=100, deadline=None, derandomize=True)
    def test_any_text_stays_an_argument(self, text: str, key: str) -> None:
        """Nothing that is given as a value can become another directive."""
        try:
            made = changed(TEXT, "f", "stream", key, {"title": [[text]], "comment": [["c"]]})
        except RewriteError:
            return
        span = named(found(made, "f"), "stream", key)
        assert span is not None
        self.assertEqual(options_of(span)["title"], [[text]])
        back = changed(made, "f", "stream", key, {"title": [], "comment": []})
        again = named(found(back, "f"), "stream", key)
        assert again is not None
        self.assertEqual(options_of(again).keys() & {"title", "comment"}, set())
