"""What is installed, what is not, and whether every link in the documents leads somewhere."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "restreamer").rglob("*.md"))
    if "node_modules" not in path.parts
)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
_LINK = re.compile(r"\]\(([^()\s]+(?:\([^()\s]*\))?)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)


def run(command: list[str], cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def anchors(text: str) -> set[str]:
    """What C{#…} may be said of a Markdown text, as GitHub makes it."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        found.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return found


class TreeTests(SynchronousTestCase):
    """The checkout."""

    def test_no_package_file_among_the_plugins(self) -> None:
        """Such a file would hide Twisted's own plugins, or be deleted with ours."""
        self.assertFalse((ROOT / "twisted" / "__init__.py").exists())
        self.assertFalse((ROOT / "twisted" / "plugins" / "__init__.py").exists())
        self.assertTrue((ROOT / "twisted" / "plugins" / "restreamer_plugin.py").exists())

    def test_every_folder_of_code_is_a_package(self) -> None:
        for top in ("restreamer", "test"):
            for path in (ROOT / top).rglob("*.py"):
                self.assertTrue((path.parent / "__init__.py").exists(), f"{path.parent} has no __init__.py")

    def test_scripts_can_be_run(self) -> None:
        for name in ("run", "packages", "venv"):
            path = ROOT / ".ci" / name
            self.assertTrue(os.access(path, os.X_OK), path)
            run(["bash" if name == "run" else "sh", "-n", str(path)], ROOT)


class WheelTests(SynchronousTestCase):
    """The package as it is installed elsewhere."""

    def build(self) -> list[str]:
        """File names in a wheel built from a copy of what git would ship."""
        source = Path(self.mktemp()).absolute()
        out = source.with_name(source.name + "-out")
        source.mkdir(parents=True)
        for name in ("setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md"):
            (source / name).write_bytes((ROOT / name).read_bytes())
        for top in ("restreamer", "twisted", "test", "conf", "docs", "bench"):
            for path in sorted((ROOT / top).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts and path.name != "dropin.cache":
                    copy = source / path.relative_to(ROOT)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(path.read_bytes())
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        if self.has_setuptools():
            command.append("--no-build-isolation")
        run([*command, "--wheel-dir", str(out), str(source)], ROOT)
        (wheel,) = out.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.namelist()

    @staticmethod
    def has_setuptools() -> bool:
        try:
            return int(importlib.metadata.version("setuptools").split(".")[0]) >= 77
        except (importlib.metadata.PackageNotFoundError, ValueError):
            return False

    def test_content(self) -> None:
        names = self.build()
        inside = {name for name in names if ".dist-info/" not in name}
        for name in (
            "twisted/plugins/restreamer_plugin.py",
            "restreamer/tap.py",
            "restreamer/py.typed",
            "restreamer/demo/demo.mp4",
            "restreamer/config/grammar.lark",
            "restreamer/web/pages/embed.html",
        ):
            self.assertIn(name, inside)
        wanted = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / "restreamer").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        self.assertEqual(set(), wanted - inside, "not in the wheel")
        strangers = {name for name in inside if not name.startswith("restreamer/")}
        self.assertEqual({"twisted/plugins/restreamer_plugin.py"}, strangers)


class CommandTests(SynchronousTestCase):
    """What the commands say."""

    def test_twisted_lists_the_plugin(self) -> None:
        elsewhere = Path(self.mktemp())
        elsewhere.mkdir(parents=True)
        for place in (ROOT, elsewhere):
            if place == elsewhere and not self.installed():
                continue
            self.assertRegex(
                run([sys.executable, "-m", "twisted", "--help"], place), r"(?m)^ +restreamer +\S"
            )

    @staticmethod
    def installed() -> bool:
        try:
            importlib.metadata.version("restreamer")
        except importlib.metadata.PackageNotFoundError:
            return False
        return True

    def test_options(self) -> None:
        self.assertIn("--config", run([sys.executable, "-m", "twisted", "restreamer", "--help"], ROOT))


class LinkTests(SynchronousTestCase):
    """The documents."""

    def test_links(self) -> None:
        self.assertIn(ROOT / "README.md", DOCUMENTS)
        broken: list[str] = []
        for document in DOCUMENTS:
            text = _FENCE.sub("", document.read_text("utf-8"))
            for link in _LINK.findall(text):
                if re.match(r"[a-z]+:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = (document.parent / path).resolve() if path else document
                if not target.exists() or not target.is_relative_to(ROOT):
                    broken.append(f"{document.relative_to(ROOT)}: {link}: there is no such file")
                elif anchor and anchor not in anchors(target.read_text("utf-8")):
                    broken.append(f"{document.relative_to(ROOT)}: {link}: there is no such heading")
        self.assertEqual([], broken)


class CountTests(SynchronousTestCase):
    """The closing line of C{make test}."""

    def test_counts(self) -> None:
        spec = importlib.util.spec_from_file_location("check", ROOT / ".ci" / "check.py")
        assert spec is not None and spec.loader is not None
        check = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(check)
        for line, expected in (
            ("PASSED (successes=40)", (40, 0, 0)),
            ("PASSED (skips=2, successes=38)", (38, 0, 2)),
            ("FAILED (failures=2, errors=1, successes=37)", (37, 3, 0)),
            ("FAILED (unexpectedSuccesses=1, expectedFailures=4, successes=1)", (5, 1, 0)),
            ("PASSED", (0, 0, 0)),
        ):
            self.assertEqual(expected, check.counts(["test ... [OK]\n", line + "\n", "\n"]))
        self.assertIsNone(check.counts(["Killed\n"]))
