"""Programs of others that judge formats: where they are, and what they said.

Packages of npm are looked for where C{NODE_PATH} says: C{npm install hls-parser mux.js} puts them there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from unittest import SkipTest

from test.e2e.nodes import wait_until


def node_says(package: str, script: str, *arguments: str) -> Any:
    """What a script for node prints as JSON; C{package} is there as C{it}.

    @raise SkipTest: node or the package is not installed. @raise AssertionError: the script failed.
    """
    node = shutil.which("node")
    if node is None:
        raise SkipTest("node is not installed")
    there = subprocess.run([node, "-e", f"require.resolve({package!r})"], capture_output=True, check=False)
    if there.returncode:
        raise SkipTest(f"{package} of npm is not where NODE_PATH says: {os.environ.get('NODE_PATH', '')!r}")
    whole = f"const it = require({package!r}); const fs = require('fs'); {script}"
    done = subprocess.run([node, "-e", whole, *arguments], capture_output=True, timeout=60, check=False)
    if done.returncode:
        raise AssertionError(f"{package}: {done.stderr.decode(errors='replace')[-1500:]}")
    return json.loads(done.stdout)


class Capture:
    """Packets of the loopback interface, from now until L{end}.

    @raise SkipTest: tshark is not installed, or may not listen.
    """

    def __init__(self, path: Path, what: str) -> None:
        """@param what: a capture filter."""
        tshark = shutil.which("tshark")
        if tshark is None:
            raise SkipTest("tshark is not installed")
        self.path = path
        self._tshark = tshark
        log = path.with_suffix(".log")
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [tshark, "-q", "-i", "lo", "-f", what, "-w", str(path)], stdout=errors, stderr=errors
            )

        def listening() -> bool:
            if self._process.poll() is not None:
                raise SkipTest(f"tshark may not listen here: {log.read_text(errors='replace')[-200:]}")
            return path.exists() and path.stat().st_size > 0

        wait_until(listening, 10.0, "tshark listens")

    def end(self) -> None:
        """Listen no more. Idempotent."""
        if self._process.poll() is not None:
            return
        time.sleep(0.5)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)

    def fields(self, filters: str, *names: str, decode: tuple[str, ...] = ()) -> list[list[str]]:
        """The fields C{names} of each packet that C{filters} lets through. @param decode: C{-d} options."""
        command = [self._tshark, "-r", str(self.path), "-Y", filters, "-T", "fields"]
        for name in names:
            command += ["-e", name]
        for each in decode:
            command += ["-d", each]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        if done.returncode:
            raise AssertionError(f"tshark: {done.stderr.decode(errors='replace')[-500:]}")
        return [line.split("\t") for line in done.stdout.decode().splitlines()]
