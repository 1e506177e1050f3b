"""A reactor that runs late and memory that runs out are noticed."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.pressure import Pressure, address_space, allowed_bytes, machine_bytes, resident_bytes


class PressureTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.resident = 10
        self.shed = 0
        self.pressure = Pressure(self.clock, lambda: self.resident, 100, self._drop)
        self.pressure.start()
        self.addCleanup(self.pressure.stop)

    def _drop(self) -> int:
        self.shed += 1
        return 3

    def test_late(self) -> None:
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.pressure.late, 0.0)
        self.clock.advance(1.5)
        self.assertAlmostEqual(self.pressure.late, 0.5)
        self.clock.pump([1.0] * 2)
        self.assertAlmostEqual(self.pressure.late, 0.0)
        self.assertAlmostEqual(self.pressure.worst, 0.5)

    def test_memory(self) -> None:
        self.clock.advance(1.0)
        self.assertFalse(self.pressure.crowded)
        self.resident = 71
        self.clock.advance(1.0)
        self.assertTrue(self.pressure.crowded)
        self.assertEqual(self.shed, 0)
        self.resident = 86
        self.clock.pump([1.0] * 2)
        self.assertEqual(self.shed, 2)
        self.resident = 60
        self.clock.advance(1.0)
        self.assertFalse(self.pressure.crowded)

    def test_addresses(self) -> None:
        """A limit of addresses counts as one of memory does, and may change while it runs (F17)."""
        space = (71, 0)
        pressure = Pressure(self.clock, lambda: 10, 100, self._drop, lambda: space)
        pressure.start()
        self.addCleanup(pressure.stop)
        self.clock.advance(1.0)
        self.assertFalse(pressure.crowded, "there is no limit")
        space = (71, 100)
        self.clock.advance(1.0)
        self.assertTrue(pressure.crowded)
        self.assertEqual(self.shed, 0)
        space = (86, 100)
        self.clock.advance(1.0)
        self.assertEqual(self.shed, 1)
        space = (86, 200)
        self.clock.advance(1.0)
        self.assertFalse(pressure.crowded)

    def test_overload(self) -> None:
        """Late three looks in a row: no new viewers, until it was in time as often (F19)."""
        self.clock.pump([3.0, 3.0, 1.0, 3.0, 3.0])
        self.assertFalse(self.pressure.crowded, "it caught up in between")
        self.clock.advance(2.0)
        self.assertTrue(self.pressure.crowded)
        self.clock.pump([1.0, 1.0, 3.0, 1.0, 1.0])
        self.assertTrue(self.pressure.crowded)
        self.clock.advance(1.0)
        self.assertFalse(self.pressure.crowded)
        self.assertEqual(self.shed, 0)

    def test_control_groups(self) -> None:
        """The least of what the groups above the process allow counts (F17)."""
        root = Path(self.mktemp())
        inner = root / "system.slice" / "restreamer.service"
        inner.mkdir(parents=True)
        groups = root / "cgroup"

        def allowed() -> int:
            return allowed_bytes(str(groups), str(root))

        self.assertEqual(allowed(), machine_bytes())
        groups.write_text("1:name=systemd:/x\n0::/system.slice/restreamer.service\n")
        self.assertEqual(allowed(), machine_bytes())
        (inner / "memory.max").write_text("max\n")
        self.assertEqual(allowed(), machine_bytes())
        (inner / "memory.max").write_text("500000000\n")
        self.assertEqual(allowed(), 500_000_000)
        (inner.parent / "memory.max").write_text("700000000\n")
        (inner / "memory.high").write_text("400000000\n")
        self.assertEqual(allowed(), 400_000_000)
        (root / "memory.max").write_text("300000000\n")
        self.assertEqual(allowed(), 300_000_000)
        groups.write_text("0::/../../etc\n")
        self.assertEqual(allowed(), machine_bytes())

    def test_stop(self) -> None:
        self.pressure.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_this_process(self) -> None:
        self.assertGreater(machine_bytes(), resident_bytes())
        self.assertGreater(resident_bytes(), 1 << 20)
        used, limit = address_space()
        self.assertTrue(limit == 0 or used > resident_bytes())
