"""The tables of `make bench` in a document."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from bench.report import BEGIN, END, Part, document
from bench.scenario import Aim, Row


def part(title: str, *figures: float) -> Part:
    row = Row("key", f"row of {title}", "ms", Aim(5.0))
    for figure in figures:
        row.add(figure)
    return Part(title, f"{title} was told.", [row])


class DocumentTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "page.md"
        self.path.write_text(f"# Page\n\nBefore.\n\n{BEGIN}\n{END}\n\nAfter.\n")
        self.pictures = []
        for name in ("bench-a.png", "bench-b.png", "bench-c.png"):
            picture = self.folder / name
            picture.write_bytes(name.encode())
            self.pictures.append(picture)

    def test_all(self) -> None:
        document(self.path, {"a": part("A", 1, 2, 9), "b": part("B", 7)}, self.pictures[:2])
        text = self.path.read_text()
        self.assertIn("| row of A | 2 (1-9) ms |  |  | ≤ 5 ms | yes |", text)
        self.assertIn("| row of B | 7 ms |  |  | ≤ 5 ms | **no** |", text)
        self.assertEqual(text.count("### "), 2)
        self.assertEqual(text.count("!["), 2)
        self.assertEqual((self.folder / "images" / "bench-a.png").read_bytes(), b"bench-a.png")

    def test_chapters_that_were_not_made_again_stay(self) -> None:
        document(self.path, {"a": part("A", 1), "b": part("B", 2)}, self.pictures[:2])
        first = self.path.read_text()
        document(self.path, {"b": part("B", 3), "c": part("C", 4)}, self.pictures[1:])
        text = self.path.read_text()
        self.assertEqual(
            [line for line in text.splitlines() if line.startswith("### ")], ["### A", "### B", "### C"]
        )
        self.assertIn("| row of A | 1 ms |", text)
        self.assertIn("| row of B | 3 ms |", text)
        self.assertNotIn("| row of B | 2 ms |", text)
        self.assertEqual(text.count("!["), 3)
        self.assertTrue(text.startswith("# Page\n\nBefore.") and text.endswith("After.\n"))
        # The same again changes nothing.
        document(self.path, {"a": part("A", 1), "b": part("B", 2)}, self.pictures[:2])
        document(self.path, {"b": part("B", 3), "c": part("C", 4)}, self.pictures[1:])
        self.assertEqual(self.path.read_text(), text)
        self.assertNotEqual(first, text)

    def test_no_marks(self) -> None:
        self.path.write_text("# Page\n")
        self.assertRaises(ValueError, document, self.path, {"a": part("A", 1)}, [])
