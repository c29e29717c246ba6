"""Sweep simulated schedules of the control plane, or hunt its planted bugs.

    python bench/sim_sweep.py --seeds 10000 --jobs 2  # PASS or FAIL, and a line into the ledger
    python bench/sim_sweep.py --mutants --jobs 2                # every planted bug within 5 000 seeds

A failing seed is shrunk to the faults it needs, and the command that replays it is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from sax_testing.sim import schedule
from sax_testing.sim.params import draw
from sax_testing.sim.sweep import MUTANTS, Report, hunt_all, shrink, sweep

RATE_GOAL = 100
YEAR_S = 365.25 * 86_400
LEDGER = Path(__file__).parent / "results" / "sim_ledger.jsonl"


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description="Sweep simulated schedules of the control plane.")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--budget_s", type=float, help="start no schedule after this many seconds")
    parser.add_argument("--mutants", action="store_true", help="hunt the planted bugs instead")
    parser.add_argument("--no_ledger", action="store_true", help="do not add a line to the ledger")
    flags = parser.parse_args()
    return hunt_mutants(flags) if flags.mutants else run_sweep(flags)


def run_sweep(flags: argparse.Namespace) -> int:
    """Sweep, say what came of it, add a line to the ledger."""
    started_s = time.monotonic()
    until_s = started_s + flags.budget_s if flags.budget_s else None
    report = sweep(range(flags.first, flags.first + flags.seeds), jobs=flags.jobs, until_s=until_s)
    wall_s = time.monotonic() - started_s
    for what, count in sorted(report.seen.items()):
        print(f"  {count:>9} {what}")
    line = ledger_line(flags, report, wall_s)
    print(json.dumps(line))
    for seed in sorted(report.failures)[:3]:
        explain(seed, report.failures[seed])
    fast = report.schedules / max(report.cpu_s, 1e-9) >= RATE_GOAL
    print(
        f"{'PASS' if fast else 'FAIL'} rate: {line['per_cpu_s']} schedules per core second, goal {RATE_GOAL}"
    )
    print(
        f"{'FAIL' if report.failures else 'PASS'} safety and convergence: {len(report.failures)} seeds fail"
    )
    if not flags.no_ledger:
        with LEDGER.open("a") as ledger:
            ledger.write(json.dumps(line) + "\n")
    return 1 if report.failures else 0


def ledger_line(flags: argparse.Namespace, report: Report, wall_s: float) -> dict[str, object]:
    """Say what was run, as one line."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "first_seed": flags.first,
        "schedules": report.schedules,
        "run_twice": report.repeated,
        "failing": len(report.failures),
        "first_failing_seed": min(report.failures, default=None),
        "simulated_years": round(report.virtual_ms / 1000 / YEAR_S, 5),
        "acknowledged": report.seen["acknowledged"],
        "takeovers": report.seen["takeovers"],
        "wall_s": round(wall_s, 1),
        "jobs": flags.jobs,
        "per_wall_s": round(report.schedules / wall_s, 1),
        "per_cpu_s": round(report.schedules / max(report.cpu_s, 1e-9), 1),
    }


def explain(seed: int, breaches: list[str]) -> None:
    """Say what a failing seed needs to fail and how to see it."""
    print(f"seed {seed} fails: {breaches[0]}")
    params = draw(seed)
    if schedule.run(params).breaches:
        for fault in shrink(params).faults:
            print(f"    needs: {fault}")
    print(f"    replay: python -m sax_testing.sim --seed {seed} --trace")


def hunt_mutants(flags: argparse.Namespace) -> int:
    """Hunt all planted bugs."""
    hunts = hunt_all(list(MUTANTS), jobs=flags.jobs)
    for found in hunts:
        how = f"found by seed {found.seeds - 1}: {found.breach}" if found.seeds else "SURVIVED"
        print(f"  {found.name}: {how}")
    survived = [found.name for found in hunts if found.seeds is None]
    print(json.dumps({"mutants": len(hunts), "survived": survived}))
    print(
        f"{'FAIL' if survived else 'PASS'} planted bugs: {len(hunts) - len(survived)} of {len(hunts)} found"
    )
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
