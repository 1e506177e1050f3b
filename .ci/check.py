"""Every check of the project, in order; ends with a line of its own: C{N passed, N failed}.

Run it with the Python that has the C{dev} extra: C{.venv/bin/python .ci/check.py [TEST...]}. The numbers are
those of the tests. A check that is no test (style, types, layers) is named above when it fails. The exit
status is 0 only when everything passed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
CHECKS = (
    ("style", [str(TOOLS / "ruff"), "check", "."]),
    ("format", [str(TOOLS / "ruff"), "format", "--check", "."]),
    ("types", [str(TOOLS / "mypy"), "--config-file", "setup.cfg"]),
    ("layers", [str(TOOLS / "lint-imports")]),
)
_SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$")


def counts(lines: list[str]) -> tuple[int, int, int] | None:
    """(passed, failed, skipped) of trial's summary line, None without one."""
    for line in reversed(lines):
        match = _SUMMARY.match(line.strip())
        if match:
            numbers = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", match[1] or "")}
            passed = numbers.get("successes", 0) + numbers.get("expectedFailures", 0)
            failed = sum(numbers.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses"))
            return passed, failed, numbers.get("skips", 0)
    return None


def run_tests(names: list[str]) -> tuple[int, int, int]:
    """Run trial, showing its output as it comes."""
    command = [sys.executable, "-m", "twisted.trial", *(names or ["test"])]
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    found = counts(lines)
    if found is None:
        print(f"trial ended with status {trial.returncode} and no summary")
        return 0, 1, 0
    passed, failed, skipped = found
    if trial.returncode and not failed:
        print(f"trial ended with status {trial.returncode}")
        failed = 1
    return passed, failed, skipped


def main() -> int:
    """Run all checks."""
    broken: list[str] = []
    for name, command in CHECKS:
        begin = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        print(
            f"{name}: {'failed' if done.returncode else 'ok'} ({time.monotonic() - begin:.0f} s)", flush=True
        )
        if done.returncode:
            print(done.stdout)
            broken.append(name)
    passed, failed, skipped = run_tests(sys.argv[1:])
    print()
    if skipped:
        print(f"tests skipped: {skipped} (why: above)")
    if broken:
        print(f"checks failed: {', '.join(broken)}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or broken or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
