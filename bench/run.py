"""Every measurement, ours and the peers' in the same run; a table and plots of it.

    python -m bench.run                                   # all scenarios: what make bench does
    python -m bench.run --only fanout --repeats 1         # one of them
    python -m bench.run --list
    python -m bench.run --mtu 1500                        # in a network namespace with that MTU (root)

Each repeat measures ours and its peer one after the other, so that what else the machine does hits both. The
figures are medians over the repeats; ratios are made within one. A scenario that is run again replaces its
chapter of the table; the others stay as they were.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import cast

from bench.machine import Machine, cores_for, noise
from bench.report import Part, document, draw, load, save, table
from bench.scenario import Bench, OutOfTimeError, Scenario, SkipError

#: In the order in which they run.
SCENARIOS = (
    "fanout",
    "neighbours",
    "matrix",
    "segments",
    "ll_hls",
    "delay",
    "start",
    "ingest",
    "memory",
    "tls",
    "failover",
    "scaling",
)


def scenario(name: str) -> Scenario:
    """The module of a scenario."""
    return cast(Scenario, importlib.import_module(f"bench.scenarios.{name}"))


def measure(each: Scenario, bench: Bench, repeats: int, budget: float) -> None:
    """All repeats of one scenario, as long as its time lasts."""
    began = time.monotonic()
    for number in range(repeats):
        bench.deadline = began + budget * (number + 1) / repeats
        load = os.getloadavg()[0]
        print(f"{each.NAME} {number + 1}/{repeats} (load average {load:.1f})", flush=True)
        try:
            each.run(bench)
        except OutOfTimeError:
            bench.say("out of time")
        except SkipError as reason:
            bench.say(f"skipped: {reason}")
            for row in bench.rows.values():
                row.skipped = row.skipped or str(reason)
            if not bench.rows:
                bench.row(each.NAME, each.TITLE, "").skipped = str(reason)
            return
        except Exception:
            # One scenario that fails must not cost the figures of the others.
            traceback.print_exc()
            reason_text = traceback.format_exc().strip().splitlines()[-1]
            bench.row(f"{each.NAME}-failed", f"{each.TITLE}: failed", "").skipped = reason_text[:200]


def inside_namespace(mtu: int) -> None:
    """Run this command again in a network namespace whose loopback interface has that MTU; does not
    return.
    """
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        sys.exit("--mtu needs root, unshare and ip")
    words = [word for word in sys.argv[1:] if not word.startswith("--mtu=")]
    if "--mtu" in words:
        at = words.index("--mtu")
        del words[at : at + 2]
    inner = f'ip link set lo mtu {mtu} up && exec "$0" "$@"'
    os.execvp("unshare", ["unshare", "-n", "sh", "-c", inner, sys.executable, "-m", "bench.run", *words])


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="these scenarios only; repeatable")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    parser.add_argument(
        "--kept", action="store_true", help="measure nothing: table and plots of what is kept"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one window")
    parser.add_argument("--budget", type=float, default=0.0, help="seconds per scenario, for all repeats")
    parser.add_argument(
        "--full", action="store_true", help="more connections and streams, not the rows with an aim alone"
    )
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)), help="the server's core")
    parser.add_argument("--nice", type=int, default=0, help="of the servers under measurement (root: -10)")
    parser.add_argument("--mtu", type=int, default=0, help="of the loopback interface, in a namespace; root")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder of the results")
    parser.add_argument(
        "--document", type=Path, help="also put table and plots into this file, between its marks"
    )
    return parser.parse_args()


def main() -> None:
    options = options_of()
    if options.list:
        for name in SCENARIOS:
            print(f"{name:10} {scenario(name).TITLE}")
        return
    os.environ["BENCH_NICE"] = str(options.nice)
    if options.mtu:
        inside_namespace(options.mtu)
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "results.json"
    parts = load(kept)
    for name in () if options.kept else options.only or SCENARIOS:
        parts[name] = chapter(name, options)
        # After each, so that a run that is ended half way has its table, too.
        parts = {each: parts[each] for each in SCENARIOS if each in parts}
        save(kept, parts)
        (options.out / "table.md").write_text(table(parts))
    (options.out / "table.md").write_text(table(parts))
    print("\n" + (options.out / "table.md").read_text())
    pictures = draw(parts, options.out)
    for path in pictures:
        print(path)
    if options.document:
        document(options.document, parts, pictures)


def chapter(name: str, options: argparse.Namespace) -> Part:
    """Run one scenario."""
    each = scenario(name)
    bench = Bench(
        core=options.core, others=cores_for(options.core), seconds=options.seconds, full=options.full
    )
    machine = Machine.here()
    before, load_before = noise(options.core), os.getloadavg()[0]
    began = time.time()
    print(f"{machine.describe()}; noise of core {options.core}: {before * 100:.0f} %")
    measure(each, bench, options.repeats, options.budget or each.BUDGET)
    after, load_after = noise(options.core), os.getloadavg()[0]
    repeats = max((len(row.ours) for row in bench.rows.values()), default=0)
    told = (
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(began))} UTC, {machine.describe()}; {repeats} "
        f"repeat{'s' * (repeats != 1)}, windows of {options.seconds:g} s; noise of the server's core "
        f"{max(before, after) * 100:.0f} %, load average {load_before:.1f} before and {load_after:.1f} after."
    )
    return Part(each.TITLE, told, list(bench.rows.values()))


if __name__ == "__main__":
    main()
