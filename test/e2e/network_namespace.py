"""A network namespace of the test's own with one cable to it, which can be cut without a word."""

from __future__ import annotations

import os
import shutil
import subprocess
from unittest import SkipTest

_NOBODY = "02:00:00:00:00:01"


class Namespace:
    """A namespace and a pair of virtual interfaces.

    @ivar name: for C{ip netns exec}. @ivar outside, @ivar inside: the addresses of the two ends.
    """

    def __init__(self) -> None:
        """@raise SkipTest: this machine, or this user, cannot make one."""
        tag = os.getpid() % 100_000
        self.name = f"rst{tag}"
        self._ends = (f"ra{tag}", f"rb{tag}")
        block = os.urandom(2)
        net = f"10.{200 + block[0] % 50}.{block[1]}"
        self.outside, self.inside = f"{net}.1", f"{net}.2"
        if shutil.which("ip") is None or os.geteuid() != 0:
            raise SkipTest("a network namespace needs root and iproute2")
        try:
            self._ip("netns", "add", self.name)
            self._ip("link", "add", self._ends[0], "type", "veth", "peer", "name", self._ends[1])
            self._ip("link", "set", self._ends[1], "netns", self.name)
            self._ip("addr", "add", f"{self.outside}/30", "dev", self._ends[0])
            self._ip("link", "set", self._ends[0], "up")
            self._within("addr", "add", f"{self.inside}/30", "dev", self._ends[1])
            self._within("link", "set", self._ends[1], "up")
            self._within("link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            self.close()
            raise SkipTest(
                f"no network namespace here: {error.stderr.decode(errors='replace').strip()}"
            ) from error

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before a command that is to run inside."""
        return ("ip", "netns", "exec", self.name)

    def black_hole(self) -> None:
        """From now on every packet between inside and outside is lost; nobody is told."""
        self._ip("neigh", "replace", self.inside, "lladdr", _NOBODY, "dev", self._ends[0], "nud", "permanent")
        self._within(
            "neigh", "replace", self.outside, "lladdr", _NOBODY, "dev", self._ends[1], "nud", "permanent"
        )

    def heal(self) -> None:
        """Packets arrive again."""
        self._ip("neigh", "del", self.inside, "dev", self._ends[0])
        self._within("neigh", "del", self.outside, "dev", self._ends[1])

    def close(self) -> None:
        """Remove it; what runs inside must have ended."""
        for words in (("link", "del", self._ends[0]), ("netns", "del", self.name)):
            subprocess.run(["ip", *words], capture_output=True, check=False, timeout=10)

    def _within(self, *words: str) -> None:
        self._ip("-n", self.name, *words)

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], capture_output=True, check=True, timeout=10)
