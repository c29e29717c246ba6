"""Replay one schedule: `python -m sax_testing.sim --seed N [--trace] [--mutant NAME] [--shrink]`.

Prints the schedule, its faults, what breached and, with --trace, every effect in order. Exits with 1 on a
breach.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext

from sax_testing.sim import schedule
from sax_testing.sim.params import draw
from sax_testing.sim.sweep import MUTANTS, be_quiet, shrink


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(
        prog="python -m sax_testing.sim", description="Replay one simulated schedule."
    )
    parser.add_argument("--seed", type=int, required=True, help="the schedule's seed")
    parser.add_argument("--trace", action="store_true", help="print every effect with its time in ms")
    parser.add_argument("--shrink", action="store_true", help="take away faults that are not needed to fail")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="switch a planted bug on, in its weather")
    flags = parser.parse_args()
    be_quiet()
    mutant = MUTANTS[flags.mutant] if flags.mutant else None
    params = mutant.params(flags.seed) if mutant else draw(flags.seed)
    with mutant.planted() if mutant else nullcontext():
        verdict = schedule.run(params)
        if verdict.breaches and flags.shrink:
            params = shrink(params)
            verdict = schedule.run(params)
    say = sys.stdout.write
    say(f"{params}\n")
    for fault in params.faults:
        say(f"  {fault}\n")
    for entry in verdict.trace if flags.trace else ():
        say(f"{entry[0]:>11} {' '.join(str(part) for part in entry[1:])}\n")
    for what, count in sorted(verdict.seen.items()):
        say(f"  seen {count:>5} {what}\n")
    for breach in verdict.breaches:
        say(f"BREACH {breach}\n")
    say(f"seed {flags.seed}: {len(verdict.breaches)} breaches, {verdict.virtual_ms / 1000:.1f} virtual s\n")
    return 1 if verdict.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
