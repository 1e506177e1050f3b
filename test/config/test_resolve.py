"""Which configuration a name has."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.load import parse
from restreamer.config.resolve import resolve_stream

TEXT = """
cluster_key 0123456789abcdef;
stream live/fixed { input publish://; segment_count 9; }
stream live/off { input publish://; disabled; }
template live { prefix live; input publish://; input m4f://o/%s; segment_count 5; password pw; }
template deep { prefix live/deep; input publish://; segment_count 6; }
template pulled { prefix pulled; input m4f://o/%s; }
template unplaced { input publish://; }
live off { disabled; }
"""

NAMES: list[tuple[str, str | None, int]] = [
    # name, template of the result (None = nothing), segment_count
    ("live/fixed", "", 9),
    ("live/off", None, 0),
    ("live/x", "live", 5),
    ("live/x/y", "live", 5),
    ("live/deep", "live", 5),
    ("live/deep/x", "deep", 6),
    ("live/deeper", "live", 5),
    ("live", None, 0),
    ("liver/x", None, 0),
    ("x", None, 0),
    ("pulled/x", None, 0),
    ("unplaced/x", None, 0),
    ("off/x", None, 0),
    ("Live/x", None, 0),
]


class ResolveTests(SynchronousTestCase):
    def test_names(self) -> None:
        configuration = parse(TEXT).configuration
        for name, template, count in NAMES:
            with self.subTest(name):
                found = resolve_stream(configuration, name)
                if template is None:
                    self.assertIdentical(found, None)
                else:
                    assert found is not None
                    self.assertEqual(
                        (found.name, found.template, found.segment_count), (name, template, count)
                    )

    def test_placeholder(self) -> None:
        found = resolve_stream(parse(TEXT).configuration, "live/a/b")
        assert found is not None
        self.assertTrue(found.takes_publisher)
        self.assertEqual(found.inputs[1].url, "m4f://o/live/a/b")
        self.assertEqual(found.inputs[1].path, "live/a/b")
        self.assertEqual(found.password, "pw")
