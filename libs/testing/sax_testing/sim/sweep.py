"""Many schedules, on several processes: which seeds fail, how fast, and what was covered.

A worker runs seeds in small blocks and collects garbage only between schedules. One schedule in fifty is run
twice, the second time after others, and must leave the same trace.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import structlog

from sax_testing.sim import schedule
from sax_testing.sim.mutants import SEEDS_MAX, Mutant
from sax_testing.sim.mutants_fleet import MUTANTS as FLEET_MUTANTS
from sax_testing.sim.mutants_store import MUTANTS as STORE_MUTANTS
from sax_testing.sim.params import draw

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sax_testing.sim.params import Params

BLOCK = 20
REPEAT_EVERY = 50
FAILURES_MAX = 20
MUTANTS = {mutant.name: mutant for mutant in (*STORE_MUTANTS, *FLEET_MUTANTS)}


@dataclass(slots=True)
class Report:
    """What came of a sweep. `failures` maps seeds to breaches."""

    schedules: int = 0
    repeated: int = 0
    virtual_ms: float = 0.0
    cpu_s: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    failures: dict[int, list[str]] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        """Take in another part of the sweep."""
        self.schedules += other.schedules
        self.repeated += other.repeated
        self.virtual_ms += other.virtual_ms
        self.cpu_s += other.cpu_s
        self.seen += other.seen
        self.failures |= other.failures


def be_quiet() -> None:
    """Turn off the production code's log lines: formatting them costs more than a schedule."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=True
    )


def run_block(seeds: range) -> Report:
    """Run some seeds and compare repeated runs of one of them."""
    be_quiet()
    report, started_s = Report(), time.process_time()
    first: schedule.Verdict | None = None
    for seed in seeds:
        verdict = schedule.run(draw(seed))
        if seed % REPEAT_EVERY == 0:
            first = verdict
        report.schedules += 1
        report.virtual_ms += verdict.virtual_ms
        report.seen += verdict.seen
        if verdict.breaches:
            report.failures[seed] = verdict.breaches
    if first is not None:
        report.repeated += 1
        if schedule.run(draw(first.seed)).trace != first.trace:
            report.failures[first.seed] = ["the same seed ran differently the second time"]
    gc.collect()
    report.cpu_s = time.process_time() - started_s
    return report


def sweep(seeds: range, *, jobs: int, until_s: float | None = None) -> Report:
    """Run all seeds, or as many as start before `until_s` of the monotonic clock."""
    blocks = [range(low, min(low + BLOCK, seeds.stop)) for low in range(seeds.start, seeds.stop, BLOCK)]
    report = Report()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_freeze) as pool:
        for part in pool.map(partial(_run_in_time, until_s=until_s), blocks):
            report.add(part)
            if len(report.failures) >= FAILURES_MAX:
                pool.shutdown(cancel_futures=True)
                break
    return report


def _run_in_time(seeds: range, until_s: float | None) -> Report:
    if until_s is not None and time.monotonic() >= until_s:
        return Report()
    return run_block(seeds)


def _freeze() -> None:
    """Keep what is imported out of every later garbage collection."""
    gc.collect()
    gc.freeze()


# ---- Mutants ----


@dataclass(frozen=True, slots=True)
class Hunt:
    """How a planted bug was found: after how many seeds and by which breach; `seeds` None if it survived."""

    name: str
    seeds: int | None
    breach: str = ""


def hunt(name: str, seeds_max: int = SEEDS_MAX) -> Hunt:
    """Switch one bug on and run its schedules until one fails."""
    be_quiet()
    mutant = MUTANTS[name]
    with mutant.planted():
        for seed in range(seeds_max):
            verdict = schedule.run(mutant.params(seed))
            if verdict.breaches:
                return Hunt(name, seed + 1, verdict.breaches[0])
            if seed % BLOCK == 0:
                gc.collect()
    return Hunt(name, None)


def hunt_all(names: Iterable[str], *, jobs: int, seeds_max: int = SEEDS_MAX) -> list[Hunt]:
    """Hunt several bugs."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_freeze) as pool:
        return list(pool.map(partial(hunt, seeds_max=seeds_max), names))


def clean_weather(mutant: Mutant, seeds: range) -> list[str]:
    """Run a mutant's schedules without its bug; returns breaches, which there must not be."""
    be_quiet()
    return [breach for seed in seeds for breach in schedule.run(mutant.params(seed)).breaches]


def shrink(params: Params) -> Params:
    """Take faults away one by one as long as the schedule still fails."""
    from dataclasses import replace  # noqa: PLC0415

    changed = True
    while changed:
        changed = False
        for fault in params.faults:
            fewer = replace(params, faults=tuple(one for one in params.faults if one is not fault))
            if schedule.run(fewer).breaches:
                params, changed = fewer, True
                break
    return params
