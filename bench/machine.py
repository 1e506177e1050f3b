"""What the machine and its processes use: processor time, memory, what others do meanwhile."""

from __future__ import annotations

import fcntl
import os
import platform
import socket
import statistics
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

#: Asks for the MTU of an interface, netdevice(7).
_SIOCGIFMTU = 0x8921
_TICK = os.sysconf("SC_CLK_TCK")
#: Additions of one round of the yardstick of L{noise}.
_ROUND = 200_000


def server_cpu(pid: int) -> float:
    """Seconds of processor time (user and system) that process C{pid} has used, all its threads together.

    Read from C{schedstat} (nanoseconds) where the kernel has it, else from C{stat} (hundredths of a second).
    """
    try:
        total = 0
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
        if total:
            return total / 1e9
    except (OSError, ValueError, IndexError):
        pass
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def server_wait(pid: int) -> float:
    """Seconds that the main thread of C{pid} could have run and something else had its core; 0 where
    unknown.
    """
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def rss_bytes(pid: int) -> int:
    """Resident memory of process C{pid}."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> list[int]:
    """C{pid} and all processes below it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def family_cpu(pid: int) -> float:
    """L{server_cpu} of C{pid} and all processes below it."""
    total = 0.0
    for each in family(pid):
        try:
            total += server_cpu(each)
        except OSError:
            continue
    return total


def cores_for(server: int) -> list[int]:
    """Every core we may use but the server's; the same one if there is no other."""
    mine = os.sched_getaffinity(0)
    return sorted(mine - {server}) or sorted(mine)


def noise(core: int, rounds: int = 60) -> float:
    """How much the time of the same small piece of work varies on C{core}: (90th percentile / best) - 1."""
    before = os.sched_getaffinity(0)
    took = []
    try:
        os.sched_setaffinity(0, {core})
        for _ in range(rounds):
            began = time.perf_counter()
            sum(range(_ROUND))
            took.append(time.perf_counter() - began)
    finally:
        os.sched_setaffinity(0, before)
    took.sort()
    return took[int(len(took) * 0.9) - 1] / took[0] - 1


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which C{part} of C{values} lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def median(values: Sequence[float]) -> float:
    """The median; 0 of none."""
    return statistics.median(values) if values else 0.0


def _first_line(path: str, otherwise: str) -> str:
    try:
        return Path(path).read_text().splitlines()[0].strip()
    except (OSError, IndexError):
        return otherwise


def _loopback_mtu() -> int:
    """Bytes; of the network namespace we are in. 0 where it cannot be asked."""
    try:
        with socket.socket() as any_socket:
            answer = fcntl.ioctl(any_socket, _SIOCGIFMTU, struct.pack("16sI12x", b"lo", 0))
    except OSError:
        return 0
    return int(struct.unpack_from("I", answer, 16)[0])


@frozen(kw_only=True)
class Machine:
    """What a table of figures must say of the machine.

    @ivar processor: its name. @ivar cores: that we may use. @ivar kernel: its release. @ivar memory: bytes.
    @ivar congestion: TCP's congestion control. @ivar mtu: of the loopback interface, bytes.
    """

    processor: str
    cores: int
    kernel: str
    memory: int
    congestion: str
    mtu: int

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
        return cls(
            processor=names[0].partition(":")[2].strip() if names else platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            kernel=platform.release(),
            memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            congestion=_first_line("/proc/sys/net/ipv4/tcp_congestion_control", "unknown"),
            mtu=_loopback_mtu(),
        )

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.cores} cores ({self.processor}), {self.memory / 2**30:.0f} GiB, Linux {self.kernel}, "
            f"loopback MTU {self.mtu}, congestion control {self.congestion}, "
            f"Python {platform.python_version()}"
        )
