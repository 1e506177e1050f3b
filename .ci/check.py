"""Every check of the project, in order; ends with a line of its own: C{N passed, N failed}.

Run it with the Python that has the C{dev} extra: C{.venv/bin/python .ci/check.py [TEST...]}. The numbers are
those of the tests. A check that is no test (style, types, layers) is named above when it fails. The exit
status is 0 only when everything passed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
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
#: Modules of test/e2e that judge how long viewers see nothing, and the like.
JUDGED = (
    *("balancer", "black_hole", "catalogue", "cluster", "discovery", "dual_publish", "failover"),
    *("other_encode", "restart", "slow_reader", "source_faults", "storms", "transport", "viewers"),
)
#: Modules of test/e2e that run behind the unit tests, so that both lanes take as long.
BEHIND_UNITS = (
    *("auth", "backup", "media", "object_store", "ondemand", "options", "player", "replication", "vod"),
    *("admin", "other_clients", "shared_cache"),
)
#: With so many processors those that judge may run two at a time.
CORES_FOR_TWO = 4
#: The fuzzer, beside the tests, when it is installed.
FUZZ = ["nice", "-n", "19", sys.executable, "-m", "test.fuzz", "--seconds", "60", "--jobs", "1"]
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


def stages() -> list[list[list[str]]]:
    """All tests, in stages; the lists of one stage run at the same time.

    Most tests with whole nodes wait for media, so there is time for the others meanwhile. Those that judge
    delays come last: by themselves, or two at a time where there are processors to spare.
    """
    whole = sorted(f"test.e2e.{path.stem}" for path in (ROOT / "test" / "e2e").glob("test_*.py"))
    judged = [name for name in whole if name.rpartition(".test_")[2] in JUDGED]
    behind = [name for name in whole if name.rpartition(".test_")[2] in BEHIND_UNITS]
    rest = [name for name in whole if name not in judged + behind]
    folders = sorted(path.parent.name for path in (ROOT / "test").glob("*/__init__.py"))
    modules = sorted(path.stem for path in (ROOT / "test").glob("test_*.py"))
    units = [f"test.{name}" for name in (*folders, *modules) if name != "e2e"]
    if (os.cpu_count() or 1) >= CORES_FOR_TWO:
        return [[units + behind, rest], [judged[::2], judged[1::2]]]
    return [[units + behind, rest], [judged]]


class Trial:
    """Trial on some tests; its output is shown when it is over, or as it comes when it runs alone.

    @ivar result: (passed, failed, skipped), once L{wait} came back.
    """

    def __init__(self, number: int, names: list[str], alone: bool) -> None:
        folder = ROOT / f"_trial_temp.{number}"
        command = [sys.executable, "-m", "twisted.trial", f"--temp-directory={folder}", *names]
        self.result = (0, 1, 0)
        self._alone = alone
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def wait(self) -> None:
        """Come back when it is over."""
        self._reading.join()
        status = self._process.wait()
        if not self._alone:
            print("".join(self._lines), end="", flush=True)
        found = counts(self._lines)
        if found is None:
            print(f"trial ended with status {status} and no summary")
            return
        passed, failed, skipped = found
        if status and not failed:
            print(f"trial ended with status {status}")
            failed = 1
        self.result = passed, failed, skipped

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if self._alone:
                print(line, end="", flush=True)


def run_tests(names: list[str]) -> tuple[int, int, int]:
    """Run trial on C{names}, or on everything."""
    results = []
    for lists in [[names]] if names else stages():
        trials = [Trial(number, each, alone=len(lists) == 1) for number, each in enumerate(lists)]
        for trial in trials:
            trial.wait()
            results.append(trial.result)
    passed, failed, skipped = (sum(numbers) for numbers in zip(*results, strict=True))
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
    fuzzing = None
    if not sys.argv[1:] and importlib.util.find_spec("atheris") is not None:
        fuzzing = subprocess.Popen(
            FUZZ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    passed, failed, skipped = run_tests(sys.argv[1:])
    if fuzzing is None:
        print(f"fuzz: not run ({'some tests only' if sys.argv[1:] else 'atheris is not installed'})")
    else:
        found, _ = fuzzing.communicate()
        print(f"fuzz: {'failed' if fuzzing.returncode else 'ok'}\n{found}", flush=True)
        if fuzzing.returncode:
            broken.append("fuzz")
    print()
    if skipped:
        print(f"tests skipped: {skipped} (why: above)")
    if broken:
        print(f"checks failed: {', '.join(broken)}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or broken or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
