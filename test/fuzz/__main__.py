"""Run the fuzzer on some or all targets, each in a process of its own, a few at a time.

C{python -m test.fuzz [TARGET…] [--seconds 60] [--jobs 2] [--corpus FOLDER]}. Atheris instruments our modules
and looks for inputs that reach new code. A target fails when an exception escapes, when one input takes
longer than L{INPUT_SECONDS}, or when the process grows beyond L{MEGABYTES}. The input that did it is kept,
and named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from test.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]

#: The longest an input may take.
INPUT_SECONDS = 5
#: What the whole process may use.
MEGABYTES = 768
#: The longest input, bytes.
INPUT_BYTES = 32_768


def _one(target: str, arguments: list[str]) -> None:
    """Fuzz in this process; does not come back."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with atheris.instrument_imports(include=["restreamer"]):
        test = TARGETS[target].load()
    atheris.Setup([sys.argv[0], *arguments], test)
    atheris.Fuzz()


class _Run:
    """One target being fuzzed."""

    def __init__(self, target: str, seconds: int, corpus: Path, findings: Path) -> None:
        folder = corpus / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(TARGETS[target].seeds()):
            (folder / f"seed-{number}").write_bytes(seed[:INPUT_BYTES])
        self.target = target
        self.finding = findings / f"{target}-"
        self.log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.begun = time.monotonic()
        options = [
            f"-max_total_time={seconds}",
            f"-timeout={INPUT_SECONDS}",
            f"-rss_limit_mb={MEGABYTES}",
            f"-max_len={INPUT_BYTES}",
            f"-artifact_prefix={self.finding}",
            "-print_final_stats=1",
            str(folder),
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "test.fuzz", "--child", target, "--", *options],
            cwd=ROOT,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def result(self) -> str:
        """What came out, in one line; the whole log when it failed."""
        self.log.seek(0)
        text = self.log.read()
        runs = [line.rpartition(":")[2].strip() for line in text.splitlines() if "number_of_executed" in line]
        seconds = time.monotonic() - self.begun
        line = f"{self.target}: {runs[0] if runs else '?'} inputs in {seconds:.0f} s"
        if self.process.returncode:
            return f"{text}\n{line}: FAILED, the input is {self.finding}*"
        return f"{line}: ok"


def main() -> int:
    """Give 0 when all targets held."""
    parser = argparse.ArgumentParser(prog="python -m test.fuzz", description="Fuzz our parsers.")
    parser.add_argument("target", nargs="*", help=f"of {', '.join(TARGETS)}; none: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--jobs", type=int, default=2, help="targets at the same time (2)")
    parser.add_argument("--corpus", type=Path, help="folder to keep inputs that reach new code in")
    options = parser.parse_args()
    unknown = [each for each in options.target if each not in TARGETS]
    if unknown:
        parser.error(f"no target is called {unknown[0]}: there are {', '.join(TARGETS)}")
    waiting = list(options.target or TARGETS)
    running: list[_Run] = []
    failed = 0
    findings = Path(tempfile.mkdtemp(prefix="restreamer-fuzz-"))
    corpus = options.corpus or findings / "corpus"
    while waiting or running:
        while waiting and len(running) < options.jobs:
            running.append(_Run(waiting.pop(0), options.seconds, corpus, findings))
        time.sleep(0.2)
        for run in [each for each in running if each.process.poll() is not None]:
            running.remove(run)
            failed += run.process.returncode != 0
            print(run.result(), flush=True)
    print(f"{failed} targets failed" if failed else "no target failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _one(sys.argv[2], sys.argv[4:])
    sys.exit(main())
