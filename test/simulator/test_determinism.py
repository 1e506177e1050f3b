"""The same seed is the same run, whatever the process."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from test.simulator.plan import Size
from test.simulator.simulation import simulate

_SIZE = Size(nodes=14, streams=6, minutes=1)
_ASK = (
    "from test.simulator.plan import Size\n"
    "from test.simulator.simulation import simulate\n"
    "print([simulate(seed, Size(nodes=14, streams=6, minutes=1)).digest for seed in (1, 2)])\n"
)


class DeterminismTests(SynchronousTestCase):
    """Digests of all events."""

    def test_twice(self) -> None:
        first, second = simulate(5, _SIZE), simulate(5, _SIZE)
        self.assertEqual((first.digest, first.events), (second.digest, second.events))
        self.assertNotEqual(simulate(6, _SIZE).digest, first.digest)

    def test_whatever_the_hash_seed(self) -> None:
        """No order of a set, no identity of an object plays a part."""
        found = set()
        for hash_seed in ("0", "1", "20251"):
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(
                [sys.executable, "-c", _ASK], env=environment, capture_output=True, text=True, timeout=120
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            found.add(done.stdout)
        self.assertEqual(len(found), 1, found)
